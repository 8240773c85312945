"""The typed façade: the operations that flowdsl uses, with Python's names and types.

Rule 1: one method per operation. It turns keyword arguments into SWF's members and back, and does nothing else; the exceptions are the
        registrations, which are idempotent, and the iterators over pages.
Rule 2: None is left out of a request. Durations are seconds and are written as the service writes them, whole and rounded up; a
        duration that may be `NONE` is None for that.
Rule 3: answers are SWF's own dicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowdsl.errors import DefinitionError
from flowdsl.limits import IDENTITY, whole_seconds
from flowdsl.model.payload import shorten
from flowdsl.service import registration

if TYPE_CHECKING:
    from flowdsl.service.transport import Transport

Event = dict[str, Any]


class Swf:
    """One domain of Amazon SWF behind a transport. Every method raises `Fault`."""

    def __init__(self, transport: Transport, domain: str) -> None:
        self.transport = transport
        self.domain = domain

    def __repr__(self) -> str:
        return f"<Swf {self.domain!r} of {self.transport!r}>"

    def _call(self, operation: str, **members: Any) -> dict[str, Any]:
        return self.transport.call(operation, {name: value for name, value in members.items() if value is not None})

    def _call_in_domain(self, operation: str, **members: Any) -> dict[str, Any]:
        return self._call(operation, domain=self.domain, **members)

    # --- registration: each answers whether it registered something, and refuses what is deprecated

    def register_domain(self, *, retention_days: int, description: str | None = None) -> bool:
        """See to it that the domain is registered; closed executions are kept for `retention_days` (0 to 90)."""
        return registration.ensure(
            f"the domain {self.domain!r}",
            register=lambda: self._call(
                "RegisterDomain", name=self.domain, workflowExecutionRetentionPeriodInDays=str(retention_days), description=description
            ),
            status=lambda: self._call("DescribeDomain", name=self.domain)["domainInfo"]["status"],
            mend=f"aws swf undeprecate-domain --name {self.domain}",
        )

    def register_workflow_type(self, *, name: str, version: str, description: str | None = None) -> bool:
        """See to it that the workflow type is registered. Its defaults stay open: every start says everything."""
        return self._register_type("Workflow", name, version, description)

    def list_workflow_types(self, *, name: str | None = None, deprecated: bool = False) -> list[dict[str, Any]]:
        """The registered (or the deprecated) workflow types, one `workflowType`, `creationDate` and more for each version."""
        members = {"name": name, "registrationStatus": "DEPRECATED" if deprecated else "REGISTERED"}
        return list(self._items("ListWorkflowTypes", "typeInfos", members, reverse=False))

    def register_activity_type(self, *, name: str, version: str, description: str | None = None) -> bool:
        """See to it that the activity type is registered. Its defaults stay open: every schedule decision says everything."""
        return self._register_type("Activity", name, version, description)

    def _register_type(self, kind: str, name: str, version: str, description: str | None) -> bool:
        member = f"{kind.lower()}Type"
        return registration.ensure(
            f"the {kind.lower()} type {name!r}, version {version!r}, of the domain {self.domain!r}",
            register=lambda: self._call_in_domain(f"Register{kind}Type", name=name, version=version, description=description),
            status=lambda: self._call_in_domain(f"Describe{kind}Type", **{member: {"name": name, "version": version}})["typeInfo"][
                "status"
            ],
            mend=f"aws swf undeprecate-{kind.lower()}-type --domain {self.domain} --{kind.lower()}-type name={name},version={version}",
        )

    # --- executions

    def start_workflow_execution(
        self,
        *,
        workflow_id: str,
        name: str,
        version: str,
        task_list: str,
        execution_start_to_close: float,
        task_start_to_close: float | None,
        child_policy: str = "terminate",
        input: str | None = None,  # noqa: A002 - the service's word
        tag_list: Sequence[str] = (),
        task_priority: int | None = None,
        lambda_role: str | None = None,
    ) -> str:
        """Start an execution and return its run id. `task_start_to_close=None` means no limit; an execution always has one.

        Raises `Fault` `WorkflowExecutionAlreadyStartedFault` if an open execution has the id.
        """
        answer = self._call_in_domain(
            "StartWorkflowExecution",
            workflowId=workflow_id,
            workflowType={"name": name, "version": version},
            taskList={"name": task_list},
            executionStartToCloseTimeout=whole_seconds(execution_start_to_close),
            taskStartToCloseTimeout=whole_seconds(task_start_to_close),
            childPolicy=child_policy.upper(),
            input=input,
            tagList=list(tag_list) or None,
            taskPriority=None if task_priority is None else str(task_priority),
            lambdaRole=lambda_role,
        )
        run_id: str = answer["runId"]
        return run_id

    def signal(self, workflow_id: str, name: str, *, run_id: str | None = None, input: str | None = None) -> None:  # noqa: A002 - the service's word
        """Send a signal to an open execution (of this run, if one is named)."""
        self._call_in_domain("SignalWorkflowExecution", workflowId=workflow_id, runId=run_id, signalName=name, input=input)

    def request_cancel(self, workflow_id: str, *, run_id: str | None = None) -> None:
        """Ask an open execution to cancel itself."""
        self._call_in_domain("RequestCancelWorkflowExecution", workflowId=workflow_id, runId=run_id)

    def terminate(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        reason: str | None = None,
        details: str | None = None,
        child_policy: str | None = None,
    ) -> None:
        """Close an open execution at once."""
        self._call_in_domain(
            "TerminateWorkflowExecution",
            workflowId=workflow_id,
            runId=run_id,
            reason=reason,
            details=details,
            childPolicy=None if child_policy is None else child_policy.upper(),
        )

    def describe(self, workflow_id: str, run_id: str) -> dict[str, Any]:
        """What the service knows of one run: `executionInfo`, `executionConfiguration`, `openCounts` and more."""
        return self._call_in_domain("DescribeWorkflowExecution", execution={"workflowId": workflow_id, "runId": run_id})

    def history(self, workflow_id: str, run_id: str, *, reverse: bool = False, page_size: int | None = None) -> Iterator[Event]:
        """The events of one run, oldest first (newest first with `reverse`); pages are fetched as they are needed."""
        members: dict[str, Any] = {"execution": {"workflowId": workflow_id, "runId": run_id}, "maximumPageSize": page_size}
        return self._items("GetWorkflowExecutionHistory", "events", members, reverse=reverse)

    # --- decisions

    def poll_for_decision_task(
        self, *, task_list: str, identity: str | None = None, page_size: int | None = None, since_previous: bool = False
    ) -> dict[str, Any] | None:
        """Wait up to 60 s for a decision task; the first page of it, or None. `further_events` has the rest.

        With `since_previous` the events begin at the last decision task that was started, not at the first event.
        """
        task = self._call_in_domain(
            "PollForDecisionTask",
            taskList={"name": task_list},
            identity=_identity(identity),
            maximumPageSize=page_size,
            startAtPreviousStartedEvent=since_previous or None,
        )
        return task if task.get("taskToken") else None

    def further_events(
        self,
        task: Mapping[str, Any],
        *,
        task_list: str,
        identity: str | None = None,
        page_size: int | None = None,
        since_previous: bool = False,
    ) -> Iterator[Event]:
        """The events of a decision task that its first page did not hold.

        Raises `Fault` `UnknownResourceFault` if the task was lost meanwhile (timed out, execution closed).
        """
        token = task.get("nextPageToken")
        while token:
            page = self._call_in_domain(
                "PollForDecisionTask",
                taskList={"name": task_list},
                identity=_identity(identity),
                maximumPageSize=page_size,
                startAtPreviousStartedEvent=since_previous or None,
                nextPageToken=token,
            )
            yield from page.get("events", ())
            token = page.get("nextPageToken")

    def respond_decision_task_completed(
        self,
        *,
        task_token: str,
        decisions: Sequence[Mapping[str, Any]] = (),
        execution_context: str | None = None,
        task_list: str | None = None,
        task_list_schedule_to_start: float | None = None,
    ) -> None:
        """Answer a decision task. With `task_list`, the next tasks of the execution go there (sticky) while they are taken in time."""
        self._call(
            "RespondDecisionTaskCompleted",
            taskToken=task_token,
            decisions=list(decisions),
            executionContext=execution_context,
            taskList=None if task_list is None else {"name": task_list},
            taskListScheduleToStartTimeout=None if task_list_schedule_to_start is None else whole_seconds(task_list_schedule_to_start),
        )

    # --- activities

    def poll_for_activity_task(self, *, task_list: str, identity: str | None = None) -> dict[str, Any] | None:
        """Wait up to 60 s for an activity task; the task, or None."""
        task = self._call_in_domain("PollForActivityTask", taskList={"name": task_list}, identity=_identity(identity))
        return task if task.get("taskToken") else None

    def heartbeat(self, *, task_token: str, details: str | None = None) -> bool:
        """Say that an activity task is still worked on (`details`: 2,048 characters); return whether its cancellation was asked for."""
        return bool(self._call("RecordActivityTaskHeartbeat", taskToken=task_token, details=details).get("cancelRequested", False))

    def respond_activity_task_completed(self, *, task_token: str, result: str | None = None) -> None:
        """An activity task is done."""
        self._call("RespondActivityTaskCompleted", taskToken=task_token, result=result)

    def respond_activity_task_failed(self, *, task_token: str, reason: str | None = None, details: str | None = None) -> None:
        """An activity task failed."""
        self._call("RespondActivityTaskFailed", taskToken=task_token, reason=reason, details=details)

    def respond_activity_task_canceled(self, *, task_token: str, details: str | None = None) -> None:
        """An activity task was cancelled."""
        self._call("RespondActivityTaskCanceled", taskToken=task_token, details=details)

    # --- visibility

    def list_open(
        self,
        *,
        workflow_id: str | None = None,
        type_name: str | None = None,
        type_version: str | None = None,
        tag: str | None = None,
        oldest: float = 0.0,
        latest: float | None = None,
        reverse: bool = False,
        most: int | None = None,
    ) -> list[dict[str, Any]]:
        """Open executions, the newest first, started from `oldest` to `latest` (epoch seconds); `most` of them, one filter at most."""
        members = {**_filter(workflow_id, type_name, type_version, tag), "startTimeFilter": _between(oldest, latest)}
        return self._list("ListOpenWorkflowExecutions", members, reverse, most)

    def list_closed(
        self,
        *,
        workflow_id: str | None = None,
        type_name: str | None = None,
        type_version: str | None = None,
        tag: str | None = None,
        status: str | None = None,
        oldest: float = 0.0,
        latest: float | None = None,
        reverse: bool = False,
        most: int | None = None,
    ) -> list[dict[str, Any]]:
        """Closed executions that are still kept, as `list_open`; `status` is SWF's close status (`COMPLETED`, `FAILED`, …)."""
        members = {**_filter(workflow_id, type_name, type_version, tag, status), "startTimeFilter": _between(oldest, latest)}
        return self._list("ListClosedWorkflowExecutions", members, reverse, most)

    def count_open(
        self, *, workflow_id: str | None = None, type_name: str | None = None, type_version: str | None = None, tag: str | None = None
    ) -> int:
        """How many executions are open; at most one filter."""
        members = {**_filter(workflow_id, type_name, type_version, tag), "startTimeFilter": _between(0.0, None)}
        return int(self._call_in_domain("CountOpenWorkflowExecutions", **members)["count"])

    def count_closed(
        self,
        *,
        workflow_id: str | None = None,
        type_name: str | None = None,
        type_version: str | None = None,
        tag: str | None = None,
        status: str | None = None,
    ) -> int:
        """How many closed executions are kept; at most one filter."""
        members = {**_filter(workflow_id, type_name, type_version, tag, status), "startTimeFilter": _between(0.0, None)}
        return int(self._call_in_domain("CountClosedWorkflowExecutions", **members)["count"])

    def count_pending_decision_tasks(self, task_list: str) -> int:
        """About how many decision tasks wait in the list."""
        return int(self._call_in_domain("CountPendingDecisionTasks", taskList={"name": task_list})["count"])

    def count_pending_activity_tasks(self, task_list: str) -> int:
        """About how many activity tasks wait in the list."""
        return int(self._call_in_domain("CountPendingActivityTasks", taskList={"name": task_list})["count"])

    def _list(self, operation: str, members: dict[str, Any], reverse: bool, most: int | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for info in self._items(operation, "executionInfos", members, reverse=reverse):
            if most is not None and len(found) >= most:
                break
            found.append(info)
        return found

    def _items(self, operation: str, member: str, members: dict[str, Any], *, reverse: bool) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            page = self._call_in_domain(operation, **members, reverseOrder=reverse or None, nextPageToken=token)
            yield from page.get(member, ())
            token = page.get("nextPageToken")
            if not token:
                return


def _identity(identity: str | None) -> str | None:
    return None if identity is None else shorten(identity, IDENTITY)


def _between(oldest: float, latest: float | None) -> dict[str, float]:
    return {"oldestDate": oldest} if latest is None else {"oldestDate": oldest, "latestDate": latest}


def _filter(
    workflow_id: str | None, type_name: str | None, type_version: str | None, tag: str | None, status: str | None = None
) -> dict[str, Any]:
    """The one filter that is asked for. Raises `DefinitionError` for two, which the service would refuse."""
    filters: dict[str, Any] = {}
    if workflow_id is not None:
        filters["executionFilter"] = {"workflowId": workflow_id}
    if type_name is not None:
        filters["typeFilter"] = {"name": type_name} if type_version is None else {"name": type_name, "version": type_version}
    if tag is not None:
        filters["tagFilter"] = {"tag": tag}
    if status is not None:
        filters["closeStatusFilter"] = {"status": status}
    if len(filters) > 1:
        raise DefinitionError("Amazon SWF filters by one thing at a time: give one of workflow id, type name, tag and close status")
    if type_version is not None and type_name is None:
        raise DefinitionError(f"type_version={type_version!r} needs a type_name")
    return filters
