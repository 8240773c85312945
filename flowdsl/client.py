"""A handle to one execution: its result, its state, and what can be done to it from outside.

Rule 1: a handle holds ids, not state; whatever is asked is asked of the service. It can be made anywhere by `attach`.
Rule 2: it follows continue-as-new: the result is the last run's.
Rule 3: what the workflow raised is raised as itself; its cause is a `WorkflowFailed` with the execution's ids.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flowdsl.errors import Cancelled, DefinitionError, Fault, WorkflowFailed, WorkflowTerminated, WorkflowTimedOut
from flowdsl.lang.registry import default_registry
from flowdsl.model.lifecycle import attributes
from flowdsl.replay.operations import with_own_id
from flowdsl.workers.parking import read_context

if TYPE_CHECKING:
    from flowdsl.connection import Connection
    from flowdsl.leases import Lease

log = logging.getLogger("flowdsl")

_FIRST_LOOK, _LONGEST_LOOK = 0.02, 2.0

NO_WORKER_AFTER = 15.0
"""Seconds after which somebody who waits is told that nobody takes the execution's tasks."""


class Execution:
    """One workflow execution on a durable backend."""

    def __init__(self, connection: Connection, workflow_id: str, run_id: str, definition: Any = None, lease: Lease | None = None) -> None:
        self._connection = connection
        self._definition = definition
        self._lease = lease
        self._watched: tuple[str, threading.Event, bool] | None = None
        self.id = workflow_id
        self.run_id = run_id

    def __repr__(self) -> str:
        return f"<execution {self.id} ({self._connection.backend.name}, run {self.run_id[:8]}…)>"

    # --- the outcome

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end; return the workflow's value or raise what it raised.

        Raises `TimeoutError` after `timeout` seconds; the execution goes on. `WorkflowTimedOut`, `WorkflowTerminated` and `Cancelled`
        say how else it ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._wait_closed(deadline)
            event = next(iter(self._connection.swf.history(self.id, self.run_id, reverse=True)))
            if event["eventType"] != "WorkflowExecutionContinuedAsNew":
                break
            self.run_id = attributes(event)["newExecutionRunId"]
        self.give_up_lease()
        return self._outcome(event["eventType"], attributes(event))

    def _wait_closed(self, deadline: float | None) -> None:
        closed, told = self._watch()
        pause, warn_at = _FIRST_LOOK, time.monotonic() + NO_WORKER_AFTER
        while True:
            if not told and self.describe()["executionInfo"]["executionStatus"] == "CLOSED":
                return
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0 and not (told and closed.is_set()):
                raise TimeoutError(f"the execution {self.id!r} is still open")
            limits = [x for x in (left, None if told else pause) if x is not None]
            if closed.wait(min(limits) if limits else None):
                if told:
                    return
                closed.clear()
                self._listen(closed)
            pause = min(pause * 1.5, _LONGEST_LOOK)
            if not told and time.monotonic() >= warn_at:
                warn_at = float("inf") if self._warn_if_nobody_polls() else time.monotonic() + NO_WORKER_AFTER

    def _watch(self) -> tuple[threading.Event, bool]:
        """An event that is set when this run is closed, or may be; and whether that can be relied on. One for all who wait, however
        often.
        """
        if self._watched is None or self._watched[0] != self.run_id:
            closed = threading.Event()
            told = self._connection.when_closed(self.id, self.run_id, closed.set)
            self._watched = self.run_id, closed, told
            if not told:
                self._listen(closed)
        return self._watched[1:]

    def _listen(self, closed: threading.Event) -> None:
        """Set the event when a decision that is made here closes the execution: sooner than the next look finds it."""
        lease = self._lease
        if lease is not None:
            lease.when_closed(self.id, closed.set)

    def _warn_if_nobody_polls(self) -> bool:
        """Say so if a task waits and nothing else has happened for a while; return whether it was said."""
        task = _task_that_waits(self._connection.swf.history(self.id, self.run_id, reverse=True))
        if task is None:
            return False
        kind, task_list, since = task
        if time.time() - since < NO_WORKER_AFTER:
            return False
        log.warning(
            "%s has waited %.0f s for somebody to take %s from the task list %r of the domain %r. Start a worker that has the code:  "
            "flowdsl worker TARGET --backend swf --task-list %s",
            self.id, time.time() - since, kind, task_list, self._connection.domain, task_list,
        )  # fmt: skip
        return True

    def _outcome(self, kind: str, close: Mapping[str, Any]) -> Any:
        values, definition = self._connection.values, self._definition_of()
        where = f"workflow {definition.name} (workflow id {self.id}, run {self.run_id})"
        ids = {"workflow_id": self.id, "run_id": self.run_id}
        if kind == "WorkflowExecutionCompleted":
            return values.decode_result(definition, close.get("result"))
        if kind == "WorkflowExecutionFailed":
            reason = close.get("reason") or "no reason was given"
            error = values.decode_failure(definition, close.get("reason"), close.get("details"))
            raise values.attach_cause(error, WorkflowFailed(f"{where} failed: {reason}", reason=reason, **ids))
        if kind == "WorkflowExecutionTimedOut":
            raise WorkflowTimedOut(f"{where} ran longer than its timeout", reason="START_TO_CLOSE", **ids)
        if kind == "WorkflowExecutionTerminated":
            reason = close.get("reason") or close.get("cause") or ""
            raise WorkflowTerminated(f"{where} was terminated: {reason}", reason=reason, **ids)
        raise Cancelled(f"{where} was cancelled")

    def _definition_of(self) -> Any:
        if self._definition is None:
            kind = self.describe()["executionInfo"]["workflowType"]
            self._definition = default_registry.find("workflow", kind["name"], kind["version"]) or Untyped(kind["name"], kind["version"])
        return self._definition

    # --- what it is now

    def describe(self) -> dict[str, Any]:
        """What SWF's DescribeWorkflowExecution says of it."""
        return self._connection.swf.describe(self.id, self.run_id)

    def history(self) -> list[dict[str, Any]]:
        """All events so far, oldest first, as SWF writes them."""
        return list(self._connection.swf.history(self.id, self.run_id))

    def published(self) -> Any:
        """The value that the workflow published last, None if it has not; also after the end."""
        context = read_context(self.describe().get("latestExecutionContext"))
        return self._connection.values.decode_plain(self._definition_of().name, "published", context.get("published"))

    def blocked(self) -> str | None:
        """Why no decision can be made for it now (its code does not fit its history, or fails again and again); None if one can."""
        reason: str | None = read_context(self.describe().get("latestExecutionContext")).get("blocked")
        return reason

    # --- what can be done to it

    def signal(self, definition: Any, *args: Any, **kwargs: Any) -> None:
        """Send it a signal: a `@signal` function (or a name, then with plain values) and its arguments."""
        if isinstance(definition, str):
            definition = default_registry.find("signal", definition, "1") or Untyped(definition, "1")
        elif getattr(definition, "kind", None) != "signal":
            raise DefinitionError(f"Execution.signal({definition!r}): give a @signal function or a signal's name")
        text = with_own_id(definition, self._connection.values.encode_call(definition, args, kwargs))
        self._connection.swf.signal(self.id, definition.name, input=text)

    def cancel(self) -> None:
        """Ask it to end; the workflow's code decides what that takes."""
        self._connection.swf.request_cancel(self.id)

    def terminate(self, reason: str = "") -> None:
        """End it at once; its code does not hear of it."""
        self._connection.swf.terminate(self.id, reason=reason)

    def give_up_lease(self) -> None:
        """This process does not serve it, or no more."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.end()

    def serve(self) -> None:
        """Serve it from this process, if it is open, its workflow is known here, and the backend serves what it runs."""
        if self._lease is None:
            about = self.describe()
            kind = about["executionInfo"]["workflowType"]
            known = default_registry.find("workflow", kind["name"], kind["version"]) is not None
            if known and about["executionInfo"]["executionStatus"] == "OPEN":
                self._lease = self._connection.lease(about["executionConfiguration"]["taskList"]["name"]).of(self.id, self.run_id)
        if self._lease is not None:
            self._lease.begin()


def _task_that_waits(newest_first: Iterable[Mapping[str, Any]]) -> tuple[str, str, float] | None:
    """The task that waits for somebody to take it, and since when nothing has happened: (what it is, its task list, epoch seconds).

    While a decision task is in somebody's hands, the next one waits for its end and not for a poll.
    """
    taken: set[int] = set()
    waiting: tuple[str, str, float] | None = None
    decided = False  # whether the latest decision task that was started has been reached
    since = None
    for event in newest_first:
        about = attributes(event)
        since = event["eventTimestamp"] if since is None else since
        if event["eventType"] == "DecisionTaskStarted" and not decided:
            if event["eventId"] not in taken:
                return None
            decided = True
        if waiting is None and event["eventType"] in ("DecisionTaskScheduled", "ActivityTaskScheduled") and event["eventId"] not in taken:
            kind = "a decision task" if event["eventType"] == "DecisionTaskScheduled" else f"the activity {about['activityType']['name']!r}"
            waiting = kind, about["taskList"]["name"], float(since)
        if waiting is not None and decided:
            return waiting
        taken |= {about.get("scheduledEventId", 0), about.get("startedEventId", 0)}
    return waiting


class Untyped:
    """Stands for a definition that this process does not have: values come without annotations."""

    def __init__(self, name: str, version: str) -> None:
        import inspect  # noqa: PLC0415 - rarely needed

        from flowdsl.lang.options import Options  # noqa: PLC0415 - rarely needed

        self.name = name
        self.version = version
        self.returns = Any
        self.settings = Options()
        anything = inspect.Parameter
        self.call_signature = inspect.Signature([anything("args", anything.VAR_POSITIONAL), anything("kwargs", anything.VAR_KEYWORD)])


class LocalExecution:
    """One workflow running in a thread of this process; the same handle, without a history."""

    def __init__(self, run: Any) -> None:
        self._run = run
        run.handle = self
        self._outcome: list[tuple[Any, BaseException | None]] = []
        self._done = threading.Event()
        self.id: str = run.workflow_id
        threading.Thread(target=self._body, name=f"flowdsl-{self.id}", daemon=True).start()

    @property
    def run_id(self) -> str:
        """The run's id."""
        run_id: str = self._run.run_id
        return run_id

    def __repr__(self) -> str:
        return f"<execution {self.id} (local)>"

    def _body(self) -> None:
        try:
            self._outcome.append((self._run.run(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._outcome.append((None, error))
        finally:
            self._done.set()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end; the value, or what it raised. Raises `TimeoutError` after `timeout` seconds."""
        if not self._done.wait(timeout):
            raise TimeoutError(f"the execution {self.id!r} is still open")
        value, error = self._outcome[0]
        if error is not None:
            raise error
        return value

    def describe(self) -> dict[str, Any]:
        """The part of SWF's description that a local run has."""
        closed = self._done.is_set()
        info = {"execution": {"workflowId": self.id, "runId": self.run_id}, "executionStatus": "CLOSED" if closed else "OPEN"}
        if closed:
            info["closeStatus"] = self._run.status
        return {"executionInfo": info}

    def history(self) -> list[dict[str, Any]]:
        """A local run keeps no history."""
        return []

    def published(self) -> Any:
        """The value that the workflow published last, None if it has not."""
        return self._run.published

    def signal(self, definition: Any, *args: Any, **kwargs: Any) -> None:
        """Send it a signal. Raises `Fault` when it is closed, as the service does."""
        if self._done.is_set():
            raise Fault("UnknownResourceFault", f"Unknown execution, workflowId = {self.id}")
        if isinstance(definition, str):
            definition = default_registry.find("signal", definition, "1") or Untyped(definition, "1")
        self._run.signal(definition.name, with_own_id(definition, self._run.values.encode_call(definition, args, kwargs)))

    def cancel(self) -> None:
        """Ask it to end."""
        self._run.cancel()

    def terminate(self, reason: str = "") -> None:
        """End it at its next wait."""
        self._run.terminate(reason)
