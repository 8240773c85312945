"""Drives an engine by hand: time is a number that the test moves, and every history that came out can be checked."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from flowdsl.engine import Engine, Quotas
from flowdsl.errors import Fault
from flowdsl.model.history import History
from flowdsl.model.lifecycle import EVENTS, Lives, attributes

START = 1_700_000_000_000

#: timeouts that never run out, for activities
NEVER = {
    "scheduleToCloseTimeout": "NONE",
    "scheduleToStartTimeout": "NONE",
    "startToCloseTimeout": "NONE",
    "heartbeatTimeout": "NONE",
}


def decision(decision_type: str, **attributes: Any) -> dict[str, Any]:
    """`decision("StartTimer", timerId="t", startToFireTimeout="5")` as the wire has it."""
    return {"decisionType": decision_type, decision_type[0].lower() + decision_type[1:] + "DecisionAttributes": attributes}


def activity(activity_id: str = "a1", name: str = "act", **more: Any) -> dict[str, Any]:
    return decision("ScheduleActivityTask", activityId=activity_id, activityType={"name": name, "version": "1"}, **more)


def timer(timer_id: str = "t1", seconds: int = 10, **more: Any) -> dict[str, Any]:
    return decision("StartTimer", timerId=timer_id, startToFireTimeout=str(seconds), **more)


def child(workflow_id: str = "child", name: str = "flow", **more: Any) -> dict[str, Any]:
    """Its decision tasks are on the list "children", so that a poll of the parent's does not get them."""
    named = {"workflowId": workflow_id, "workflowType": {"name": name, "version": "1"}, "taskList": {"name": "children"}}
    return decision("StartChildWorkflowExecution", **named | more)


def complete(result: str | None = None) -> dict[str, Any]:
    return decision("CompleteWorkflowExecution", **({} if result is None else {"result": result}))


class Swf:
    """One engine, one domain, and the time."""

    domain = "dom"

    def __init__(
        self,
        path: Any = ":memory:",
        *,
        quotas: Quotas | None = None,
        restart: bool = False,
        durability: str = "process",
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.path = path
        self.quotas = quotas
        self.restart = restart
        self.durability = durability
        self.entropy = entropy
        self.now = START
        self.engine = self._open()
        self.runs: list[tuple[str, str]] = []

    def _open(self, **more: Any) -> Engine:
        return Engine(self.path, quotas=self.quotas, durability=self.durability, entropy=self.entropy, **more)

    def reopen(self, **more: Any) -> None:
        """Close the engine and open its file again."""
        self.engine.close()
        self.engine = self._open(**more)

    # --- calls

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        """One operation; with `restart` the engine is closed and opened again after it."""
        answer = self.engine.apply(self.now, operation, params)
        if self.restart:
            self.reopen()
        return answer

    def here(self, operation: str, **params: Any) -> dict[str, Any]:
        """One operation in this domain."""
        return self.call(operation, domain=self.domain, **params)

    def refused(self, operation: str, **params: Any) -> Fault:
        """The refusal of an operation in this domain."""
        try:
            answer = self.here(operation, **params)
        except Fault as fault:
            return fault
        raise AssertionError(f"{operation} was not refused: {answer}")

    def tick(self) -> int | None:
        due = self.engine.tick(self.now)
        if self.restart:
            self.reopen()
        return due

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at each deadline."""
        target = self.now + round(seconds * 1000)
        while True:
            due = self.engine.tick(self.now)
            if due is None or due > target:
                break
            self.now = max(due, self.now)
        self.now = target
        self.tick()

    # --- shortcuts

    def prepare(self) -> None:
        self.call("RegisterDomain", name=self.domain, workflowExecutionRetentionPeriodInDays="7")
        self.register_workflow("flow")
        self.register_activity("act")

    def register_workflow(self, name: str, version: str = "1", **defaults: Any) -> None:
        given = {
            "defaultTaskList": {"name": "deciders"},
            "defaultTaskStartToCloseTimeout": "60",
            "defaultExecutionStartToCloseTimeout": "3600",
            "defaultChildPolicy": "TERMINATE",
        } | defaults
        self.here("RegisterWorkflowType", name=name, version=version, **{k: v for k, v in given.items() if v is not None})

    def register_activity(self, name: str, version: str = "1", **defaults: Any) -> None:
        given = {
            "defaultTaskList": {"name": "workers"},
            "defaultTaskScheduleToCloseTimeout": "NONE",
            "defaultTaskScheduleToStartTimeout": "NONE",
            "defaultTaskStartToCloseTimeout": "NONE",
            "defaultTaskHeartbeatTimeout": "NONE",
        } | defaults
        self.here("RegisterActivityType", name=name, version=version, **{k: v for k, v in given.items() if v is not None})

    def start(self, workflow_id: str = "w", name: str = "flow", **more: Any) -> str:
        answer = self.here("StartWorkflowExecution", workflowId=workflow_id, workflowType={"name": name, "version": "1"}, **more)
        self.runs.append((workflow_id, answer["runId"]))
        return str(answer["runId"])

    def poll_decision(self, task_list: str = "deciders", **more: Any) -> dict[str, Any]:
        return self.here("PollForDecisionTask", taskList={"name": task_list}, **more)

    def poll_activity(self, task_list: str = "workers", **more: Any) -> dict[str, Any]:
        return self.here("PollForActivityTask", taskList={"name": task_list}, **more)

    def respond(self, task: dict[str, Any], *decisions: dict[str, Any], **more: Any) -> None:
        self.call("RespondDecisionTaskCompleted", taskToken=task["taskToken"], decisions=list(decisions), **more)

    def decide(self, *decisions: dict[str, Any], task_list: str = "deciders", **more: Any) -> dict[str, Any]:
        """Poll a decision task and answer it; the task."""
        task = self.poll_decision(task_list)
        assert "taskToken" in task, "there is no decision task"
        self.respond(task, *decisions, **more)
        return task

    def signal(self, workflow_id: str = "w", name: str = "sig", **more: Any) -> None:
        self.here("SignalWorkflowExecution", workflowId=workflow_id, signalName=name, **more)

    def work(self, task_list: str = "workers", result: str | None = None) -> dict[str, Any]:
        """Poll an activity task and complete it; the task."""
        task = self.poll_activity(task_list)
        assert "taskToken" in task, "there is no activity task"
        self.call("RespondActivityTaskCompleted", taskToken=task["taskToken"], **({} if result is None else {"result": result}))
        return task

    # --- looking

    def describe(self, workflow_id: str, run_id: str) -> dict[str, Any]:
        return self.here("DescribeWorkflowExecution", execution={"workflowId": workflow_id, "runId": run_id})

    def history(self, run_id: str, workflow_id: str = "w") -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        more: dict[str, Any] = {}
        while True:
            page = self.here("GetWorkflowExecutionHistory", execution={"workflowId": workflow_id, "runId": run_id}, **more)
            events += page["events"]
            if "nextPageToken" not in page:
                return events
            more = {"nextPageToken": page["nextPageToken"]}

    def types(self, run_id: str, workflow_id: str = "w", *, last: int = 0) -> list[str]:
        """The event types of a history, or of its `last` events."""
        return [event["eventType"] for event in self.history(run_id, workflow_id)][-last:]

    def last(self, run_id: str, event_type: str, workflow_id: str = "w") -> dict[str, Any]:
        """The attributes of the latest event of a type."""
        for event in reversed(self.history(run_id, workflow_id)):
            if event["eventType"] == event_type:
                return attributes(event)
        raise AssertionError(f"no {event_type} in {self.types(run_id, workflow_id)}")

    def all_runs(self) -> list[tuple[str, str]]:
        """(workflow id, run id) of every run in the domain, children and successors included."""
        window = {"startTimeFilter": {"oldestDate": 0}}
        infos = self.here("ListOpenWorkflowExecutions", **window)["executionInfos"]
        infos += self.here("ListClosedWorkflowExecutions", **window)["executionInfos"]
        return [(info["execution"]["workflowId"], info["execution"]["runId"]) for info in infos]

    def open_run(self, workflow_id: str) -> str:
        found = self.here("ListOpenWorkflowExecutions", startTimeFilter={"oldestDate": 0}, executionFilter={"workflowId": workflow_id})
        return str(found["executionInfos"][0]["execution"]["runId"])

    def check_all(self) -> None:
        """Every history of the domain keeps the invariants."""
        for workflow_id, run_id in self.all_runs():
            check_history(self.history(run_id, workflow_id))


def check_history(events: list[dict[str, Any]]) -> None:
    """The rules that hold in every history of Amazon SWF, whatever produced it; asked twice, of two judges."""
    History.check(events)
    lives = Lives()
    waiting = started = False
    asked = False  # a scheduling event found no decision task waiting, and none has been written yet
    batch = 0
    completions: set[int] = set()
    last_at = 0.0
    for number, event in enumerate(events, 1):
        event_type, given = event["eventType"], attributes(event)
        row = EVENTS[event_type]
        assert event["eventId"] == number, "ids are dense"
        assert event["eventTimestamp"] >= last_at, "time goes on"
        assert lives.execution.is_open or number == 1, f"{event_type} follows the close"
        lives.apply(event)
        if "decisionTaskCompletedEventId" in given:
            assert given["decisionTaskCompletedEventId"] in completions
        in_batch = given.get("decisionTaskCompletedEventId") == batch or (
            event_type == "ActivityTaskCanceled" and given["startedEventId"] == 0
        )
        if asked:
            assert event["eventTimestamp"] == last_at, "a decision task is scheduled in the transaction that asks for it"
            assert event_type == "DecisionTaskScheduled" or in_batch or row.closes, f"{event_type} stands before the decision task"
        if event_type == "DecisionTaskScheduled":
            assert asked, "nothing asks for this decision task"
            assert not waiting, "two decision tasks wait"
            waiting, asked = True, False
        elif event_type == "DecisionTaskStarted":
            assert waiting, "it was not scheduled"
            assert not started, "two decision tasks are started"
            waiting, started = False, True
        elif event_type == "DecisionTaskCompleted":
            started, batch = False, number
            completions.add(number)
        elif event_type == "DecisionTaskTimedOut":
            if given["startedEventId"]:
                started = False
            else:
                waiting = False
        if row.schedules and not waiting:
            asked = True
        if row.closes:
            asked = False
        last_at = event["eventTimestamp"]
    assert not asked, "the last event asks for a decision task in vain"
