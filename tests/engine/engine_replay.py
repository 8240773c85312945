"""Feeds a recorded history's external inputs to an engine: starts, polls, answers, signals, the passing of time.

What the engine writes by itself (decision tasks, timeouts, acknowledgements) is never fed; it must come out as it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine_kit import START, Swf, check_history

from flowdsl.engine.codec import decode
from flowdsl.engine.effects import deliver
from flowdsl.engine.expiry import expire
from flowdsl.engine.lambdas import Failed, Returned
from flowdsl.engine.shapes import SHAPES
from flowdsl.model.lifecycle import DECISIONS, EVENTS, attributes, attributes_key

Event = Mapping[str, Any]

#: members whose values the service makes up, or that only some years' recordings have
_OPAQUE = frozenset({"runId", "newExecutionRunId", "continuedExecutionRunId"})


def _from_the_first(events: list[Event]) -> list[Event]:
    """The events, and before them the start that a page without it implies: its time and configuration are what later events say."""
    if events[0]["eventType"] == "WorkflowExecutionStarted":
        return events
    scheduled, closed = events[0], events[-1]
    assert closed["eventType"] == "WorkflowExecutionTimedOut"
    started = {
        "childPolicy": attributes(closed)["childPolicy"],
        "executionStartToCloseTimeout": str(int(closed["eventTimestamp"] - scheduled["eventTimestamp"])),
        "parentInitiatedEventId": 0,
        "taskList": attributes(scheduled)["taskList"],
        "taskStartToCloseTimeout": attributes(scheduled)["startToCloseTimeout"],
        "workflowType": {"name": "on another page", "version": "1"},
    }
    kind = "WorkflowExecutionStarted"
    first = {"eventId": 1, "eventType": kind, attributes_key(kind): started, "eventTimestamp": scheduled["eventTimestamp"]}
    return [first, *events]


class Replay:
    """One recording on its way through an engine."""

    def __init__(self, recording: Mapping[str, Any]) -> None:
        self.events: list[Event] = _from_the_first(recording["events"])
        self.timed = all("eventTimestamp" in event for event in self.events)
        self.swf = Swf(":memory:")
        self.run_id = ""
        self.parent = ""
        self.workflow_id = self._find_workflow_id(recording)
        self.tokens: dict[int, str] = {}
        self.decision: dict[str, Any] = {}
        #: recorded run id -> the engine's
        self.run_ids: dict[str, str] = {}

    def _find_workflow_id(self, recording: Mapping[str, Any]) -> str:
        started = recording.get("startWorkflowExecution")
        if started:
            return str(started["request"]["workflowId"])
        for event in self.events:  # an execution that signals itself must have the id that it names
            given = attributes(event)
            if event["eventType"] == "WorkflowExecutionSignaled" and given.get("externalInitiatedEventId"):
                return str(given["externalWorkflowExecution"]["workflowId"])
        return "recorded"

    # --- running

    def run(self) -> list[dict[str, Any]]:
        """Feed everything; the history that came out."""
        self._prepare()
        index = 0
        while index < len(self.events):
            event = self.events[index]
            have = self._length()
            if event["eventId"] > have:
                self._set_time(event)
                _FEED.get(event["eventType"], Replay._wait_for)(self, event)
            index += 1
        history = self.swf.history(self.run_id, self.workflow_id)
        check_history(history)
        return history

    def _length(self) -> int:
        if not self.run_id:
            return 0
        last = self.swf.here(
            "GetWorkflowExecutionHistory",
            execution={"workflowId": self.workflow_id, "runId": self.run_id},
            reverseOrder=True,
            maximumPageSize=1,
        )
        return int(last["events"][0]["eventId"])

    def _set_time(self, event: Event) -> None:
        if self.timed:
            self.swf.now = round(event["eventTimestamp"] * 1000)

    def _prepare(self) -> None:
        swf = self.swf
        if self.timed:
            swf.now = round(self.events[0]["eventTimestamp"] * 1000)
        swf.call("RegisterDomain", name=swf.domain, workflowExecutionRetentionPeriodInDays="7")
        unknown = {
            (given[kind]["name"], given[kind]["version"])
            for event in self.events
            for kind in ("activityType", "workflowType")
            if kind in (given := attributes(event)) and "DOES_NOT_EXIST" in given.get("cause", "")
        }
        known: set[tuple[str, str, str]] = set()
        for event in self.events:
            for kind in ("activityType", "workflowType"):
                named = attributes(event).get(kind)
                if named and (named["name"], named["version"]) not in unknown:
                    known.add((kind, named["name"], named["version"]))
        for kind, name, version in sorted(known):
            swf.here(f"Register{kind[0].upper()}{kind[1:]}", name=name, version=version)
        self._start_targets()

    def _start_targets(self) -> None:
        """Executions that the recorded one signalled or cancelled with success, and did not start itself."""
        own = {attributes(event)["workflowId"] for event in self.events if event["eventType"] == "StartChildWorkflowExecutionInitiated"}
        for event in self.events:
            if event["eventType"] in {"ExternalWorkflowExecutionSignaled", "ExternalWorkflowExecutionCancelRequested"}:
                target = attributes(event)["workflowExecution"]["workflowId"]
                if target not in own | {self.workflow_id}:
                    own.add(target)
                    self._start_plain(target)

    def _start_plain(self, workflow_id: str) -> None:
        given = {
            "childPolicy": "TERMINATE", "executionStartToCloseTimeout": "3600", "taskStartToCloseTimeout": "60",
            "taskList": {"name": "nobody"}, "workflowType": attributes(self.events[0])["workflowType"],
        }  # fmt: skip
        self.swf.here("StartWorkflowExecution", workflowId=workflow_id, **given)

    # --- what each event needs

    def _start(self, event: Event) -> None:
        given = attributes(event)
        if "parentWorkflowExecution" in given:
            self._start_by_parent(given)
            return
        members = set(SHAPES["StartWorkflowExecutionInput"][1])
        params = {name: value for name, value in given.items() if name in members}
        self.run_id = self.swf.here("StartWorkflowExecution", workflowId=self.workflow_id, **params)["runId"]

    def _start_by_parent(self, given: Mapping[str, Any]) -> None:
        """The recording is a child's: a parent of our own starts it (and its Initiated event has the recorded id)."""
        swf, parent = self.swf, given["parentWorkflowExecution"]["workflowId"]
        policies = {attributes(event).get("cause"): event["eventType"] for event in self.events}
        asks = policies.get("CHILD_POLICY_APPLIED") == "WorkflowExecutionCancelRequested"
        swf.here("RegisterWorkflowType", name="parent", version="1")
        config = {
            "childPolicy": "REQUEST_CANCEL" if asks else "TERMINATE", "executionStartToCloseTimeout": "90000",
            "taskStartToCloseTimeout": "NONE", "taskList": {"name": "of the parent"}, "workflowType": {"name": "parent", "version": "1"},
        }  # fmt: skip
        swf.here("StartWorkflowExecution", workflowId=parent, **config)
        task = swf.poll_decision("of the parent")
        members = SHAPES["StartChildWorkflowExecutionDecisionAttributes"][1]
        sent = {name: given[name] for name in members if name in given} | {"workflowId": self.workflow_id}
        swf.respond(task, {"decisionType": "StartChildWorkflowExecution", "startChildWorkflowExecutionDecisionAttributes": sent})
        swf.tick()
        self.run_id = swf.open_run(self.workflow_id)
        self.parent = parent

    def _close_parent(self, event: Event) -> None:
        self.swf.decide({"decisionType": "CompleteWorkflowExecution"}, task_list="of the parent")
        self._wait_for(event)

    def _decision_started(self, event: Event) -> None:
        scheduled = attributes(self.events[attributes(event)["scheduledEventId"] - 1])
        self.decision = self._poll("PollForDecisionTask", scheduled, event)

    def _activity_started(self, event: Event) -> None:
        number = attributes(event)["scheduledEventId"]
        scheduled = attributes(self.events[number - 1])
        self._put_first(scheduled["taskList"]["name"], number)
        task = self._poll("PollForActivityTask", scheduled, event)
        assert task["activityId"] == scheduled["activityId"]
        self.tokens[number] = task["taskToken"]

    def _put_first(self, task_list: str, scheduled: int) -> None:
        """The service starts the activities of one list in no particular order: let it be the recorded one."""
        lists = self.swf.engine._world.lists
        name = "A", self.swf.domain, task_list
        behind = []
        while (ref := lists.first(name)) is not None and ref[1] != scheduled:
            behind.append(ref)
            lists.discard(ref)
        lists.discard(wanted := (ref or behind[-1]))
        lists.put(name, 0, 0, wanted)
        for other in behind:
            lists.put(name, 0, self.swf.now, other)

    def _poll(self, operation: str, scheduled: Mapping[str, Any], event: Event) -> dict[str, Any]:
        identity = {"identity": attributes(event)["identity"]} if "identity" in attributes(event) else {}
        return self.swf.here(operation, taskList=scheduled["taskList"], **identity)

    def _decision_completed(self, event: Event) -> None:
        given = attributes(event)
        decisions = []
        for later in self.events[event["eventId"] :]:
            if attributes(later).get("decisionTaskCompletedEventId") == event["eventId"]:
                decisions += self._decision_for(later)
            elif later["eventType"] in {"DecisionTaskCompleted"}:
                break
        more = {name: given[name] for name in ("executionContext", "taskList", "taskListScheduleToStartTimeout") if name in given}
        self.swf.respond(self.decision, *decisions, **more)

    def _decision_for(self, event: Event) -> list[dict[str, Any]]:
        row, given = EVENTS[event["eventType"]], dict(attributes(event))
        decision_type = row.acknowledges or row.refuses
        if row.refuses and given.get("initiatedEventId"):
            return []  # it was taken and failed later
        members = SHAPES[f"{decision_type}DecisionAttributes"][1]
        if decision_type == "ContinueAsNewWorkflowExecution":
            given["workflowTypeVersion"] = (
                "unknown" if "DOES_NOT_EXIST" in given.get("cause", "") else given.get("workflowType", {}).get("version")
            )
        sent = {name: given[name] for name in members if given.get(name) is not None}
        if "runId" in sent:
            sent["runId"] = self.run_ids.get(sent["runId"], self.run_id if self.workflow_id == sent.get("workflowId") else "")
            sent = {name: value for name, value in sent.items() if value}
        if decision_type == "StartTimer":
            sent.setdefault("startToFireTimeout", "0")
        return [{"decisionType": decision_type, DECISIONS[decision_type].key: sent}]

    def _answer_activity(self, event: Event) -> None:
        given = attributes(event)
        operation = event["eventType"].replace("ActivityTask", "RespondActivityTask")
        sent = {name: given[name] for name in ("result", "reason", "details") if name in given}
        self.swf.call(operation, taskToken=self.tokens[given["scheduledEventId"]], **sent)

    def _signaled(self, event: Event) -> None:
        given = attributes(event)
        if given.get("externalInitiatedEventId"):
            self._wait_for(event)
            return
        sent = {name: given[name] for name in ("signalName", "input") if name in given}
        self.swf.here("SignalWorkflowExecution", workflowId=self.workflow_id, **sent)

    def _cancel_requested(self, event: Event) -> None:
        if "cause" in attributes(event):
            self._close_parent(event)
            return
        if attributes(event).get("externalInitiatedEventId"):
            self._wait_for(event)
            return
        self.swf.here("RequestCancelWorkflowExecution", workflowId=self.workflow_id)

    def _terminated(self, event: Event) -> None:
        given = attributes(event)
        if given.get("cause", "OPERATOR_INITIATED") != "OPERATOR_INITIATED":
            self._close_parent(event)
            return
        sent = {name: given[name] for name in ("reason", "details", "childPolicy") if name in given}
        self.swf.here("TerminateWorkflowExecution", workflowId=self.workflow_id, **sent)

    def _child_closed(self, event: Event) -> None:
        """Let the child do what its parent's history says it did."""
        given = attributes(event)
        named = given["workflowExecution"]["workflowId"]
        initiated = attributes(self.events[given["initiatedEventId"] - 1])
        kind = event["eventType"].removeprefix("ChildWorkflowExecution")
        if kind == "Terminated":
            self.swf.here("TerminateWorkflowExecution", workflowId=named)
        elif kind != "TimedOut":
            decision_type = {
                "Completed": "CompleteWorkflowExecution",
                "Failed": "FailWorkflowExecution",
                "Canceled": "CancelWorkflowExecution",
            }[kind]
            sent = {name: given[name] for name in ("result", "reason", "details") if name in given}
            task = self.swf.here("PollForDecisionTask", taskList=initiated["taskList"])
            assert task["workflowExecution"]["workflowId"] == named, "the child has a task list of its own"
            self.swf.respond(task, {"decisionType": decision_type, DECISIONS[decision_type].key: sent})
        self._wait_for(event)

    def _lambda_called(self, event: Event) -> None:
        """The function does what the recording says it did."""
        given, engine = attributes(event), self.swf.engine
        called = [call.ref for call in engine.take_invocations()]
        assert called == [(self._key(), given["scheduledEventId"])], "the engine does not ask for this call"
        answered = Returned(given["result"]) if "result" in given else Failed(given["reason"], given["details"])
        engine.finish_lambda(self.swf.now, called[0], answered)

    def _key(self) -> int:
        return self.swf.engine._world.runs.key_of(self.swf.domain, self.workflow_id, self.run_id)

    def _wait_for(self, event: Event) -> None:
        """An event that the service writes by itself. Nothing but it may happen now: several things may be due at once, and the
        service does them in no particular order, so the recording says which one is next."""
        engine, world = self.swf.engine, self.swf.engine._world
        assert world is not None
        if not self.timed and world.effects.due is None and (first := world.deadlines.first()) is not None:
            self.swf.now = max(self.swf.now, first[0])
        have, passed = self._length(), 0
        while passed < len(world.effects._queue):
            if not self._leads_to(event, world.effects._queue[0]):
                world.effects._queue.rotate(-1)
                passed += 1
                continue
            engine._transaction(lambda: deliver(world, self.swf.now))
            if self._length() > have:
                return
            passed = 0
        engine._transaction(lambda: expire(world, self.swf.now, self._deadline_of(event)))
        if event["eventType"] == "ChildWorkflowExecutionTimedOut":
            self._wait_for(event)

    def _deadline_of(self, event: Event) -> tuple[int, int]:
        world, given = self.swf.engine._world, attributes(event)
        workflow_id, run_id, member = self.workflow_id, self.run_id, "scheduledEventId"
        if event["eventType"] == "ChildWorkflowExecutionTimedOut":
            workflow_id = given["workflowExecution"]["workflowId"]
            run_id, member = self.swf.open_run(workflow_id), ""
        elif event["eventType"] == "TimerFired":
            member = "startedEventId"
        ref = world.runs.key_of(self.swf.domain, workflow_id, run_id), given.get(member, 0)
        assert world.deadlines._due[ref][0] <= self.swf.now, f"{event['eventType']} ({event['eventId']}) is early"
        return ref

    def _leads_to(self, event: Event, effect: tuple[int, int, str, str]) -> bool:
        """Whether delivering this effect writes this event, or is on the way to it."""
        event_type, given, body = event["eventType"], attributes(event), decode(effect[3])
        wanted = given.get("externalInitiatedEventId") or given.get("initiatedEventId") or given.get("scheduledEventId")
        if wanted and wanted != (body.get("initiated") or body["attributes"]["initiatedEventId"]):
            return False
        kinds = {
            "child_policy": "Terminated Requested", "signal": "Signal", "cancel": "Cancel", "delivered": "External", "lambda": "Lambda",
        }  # fmt: skip
        return any(word in event_type for word in kinds.get(effect[2], "Child").split())


_FEED: Mapping[str, Callable[[Replay, Event], None]] = {
    "WorkflowExecutionStarted": Replay._start,
    "DecisionTaskStarted": Replay._decision_started,
    "DecisionTaskCompleted": Replay._decision_completed,
    "ActivityTaskStarted": Replay._activity_started,
    "ActivityTaskCompleted": Replay._answer_activity,
    "ActivityTaskFailed": Replay._answer_activity,
    "ActivityTaskCanceled": Replay._answer_activity,
    "WorkflowExecutionSignaled": Replay._signaled,
    "WorkflowExecutionCancelRequested": Replay._cancel_requested,
    "WorkflowExecutionTerminated": Replay._terminated,
    "ChildWorkflowExecutionCompleted": Replay._child_closed,
    "ChildWorkflowExecutionFailed": Replay._child_closed,
    "ChildWorkflowExecutionCanceled": Replay._child_closed,
    "ChildWorkflowExecutionTerminated": Replay._child_closed,
    "ChildWorkflowExecutionTimedOut": Replay._child_closed,
    "LambdaFunctionCompleted": Replay._lambda_called,
    "LambdaFunctionFailed": Replay._lambda_called,
}


def comparable(event: Event, *, timed: bool) -> dict[str, Any]:
    """An event without what the service makes up; without zeros where the recording has dropped them (and times)."""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                name: clean(item)
                for name, item in value.items()
                if name not in _OPAQUE and item != [] and (timed or item != 0) and not (name == "scheduleToStartTimeout" and item == "NONE")
            }
        return value

    shown = {"eventId": event["eventId"], "eventType": event["eventType"], "attributes": clean(attributes(event))}
    return shown | ({"eventTimestamp": event["eventTimestamp"]} if timed else {})


__all__ = ["START", "Replay", "attributes_key", "comparable"]
