"""The operations on tasks: both polls, the four answers, the heartbeat, the backlog counts.

Rule 1: a poll hands a task out at most once: the …Started event is written before the answer is given. A poll that finds nothing answers at
        once with zeros and no `taskToken`; waiting for a task is `service.py`'s work.
Rule 2: a token that is not ours is "Invalid token"; one whose task is over is UnknownResourceFault, in two spellings: the task's, or the
        execution's if that is closed. Workers tell them apart.
Rule 3: a decision task shows history up to its own DecisionTaskStarted and never further, on every page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowdsl.engine.decisions import Turn
from flowdsl.engine.faults import unknown_activity, unknown_decision, unknown_run
from flowdsl.engine.history import Page, page_size, read_events

if TYPE_CHECKING:
    from flowdsl.engine.execution import Execution
    from flowdsl.engine.open_work import ActivityTask, DecisionTask
    from flowdsl.engine.world import Operation, World

Params = Mapping[str, Any]
Answer = dict[str, Any]

_POLL_USE = "PollForDecisionTask"


# --- decision tasks -------------------------------------------------------------------------------------------------


def _poll_decision(world: World, now: int, p: Params) -> Answer:
    world.catalogue.domain(p["domain"])
    if p.get("nextPageToken"):
        return _poll_next_page(world, now, p)
    ref = world.lists.first(("D", p["domain"], p["taskList"]["name"]))
    execution = None if ref is None else world.runs.get(ref[0])
    if execution is None or execution.waiting is None:
        return {"previousStartedEventId": 0, "startedEventId": 0}
    world.runs.begin(execution, now)
    attributes = {"identity": p.get("identity"), "scheduledEventId": execution.waiting.scheduled_id}
    started_id = execution.append("DecisionTaskStarted", attributes)
    world.runs.save(execution)
    first = max(execution.previous_started, 1) if p.get("startAtPreviousStartedEvent") else 1
    reverse = bool(p.get("reverseOrder"))
    return _decision_answer(world, now, execution, {"at": started_id if reverse else first, "first": first, "reverse": reverse}, p)


def _poll_next_page(world: World, now: int, p: Params) -> Answer:
    position = world.tokens.read_page(_POLL_USE, p["nextPageToken"], now)
    execution, _ = _decision_of(world, position["key"], position["task"])
    return _decision_answer(world, now, execution, position, p)


def _decision_answer(world: World, now: int, execution: Execution, position: dict[str, Any], p: Params) -> Answer:
    task = execution.started
    assert task is not None
    page = Page(position["first"], task.started_id, position["at"], page_size(p), position["reverse"])
    events, at = read_events(world, execution.key, execution, page)
    answer: Answer = {
        "events": events,
        "previousStartedEventId": execution.previous_started,
        "startedEventId": task.started_id,
        "taskToken": world.tokens.task("D", execution.key, task.scheduled_id),
        "workflowExecution": execution.execution,
        "workflowType": dict(execution.config["workflowType"]),
    }
    if at is not None:
        after = {**position, "at": at, "key": execution.key, "task": task.scheduled_id}
        answer["nextPageToken"] = world.tokens.page(_POLL_USE, after, now)
    return answer


def _decision_of(world: World, key: int, scheduled_id: int) -> tuple[Execution, DecisionTask]:
    execution = world.runs.get(key)
    if execution is None:
        raise unknown_run(*world.runs.name_of(key))
    task = execution.started
    if task is None or task.scheduled_id != scheduled_id:
        raise unknown_decision(scheduled_id)
    return execution, task


def _respond_decision(world: World, now: int, p: Params) -> Answer:
    execution, task = _decision_of(world, *world.tokens.read_task("D", p["taskToken"]))
    world.runs.begin(execution, now)
    unhandled = execution.waiting is not None
    attributes = {name: p.get(name) for name in ("executionContext", "taskList", "taskListScheduleToStartTimeout")}
    attributes["taskListScheduleToStartTimeout"] = attributes["taskListScheduleToStartTimeout"] or None
    completed_id = execution.append(
        "DecisionTaskCompleted", {**attributes, "scheduledEventId": task.scheduled_id, "startedEventId": task.started_id}
    )
    turn = Turn(world, execution, completed_id, unhandled=unhandled)
    for decision in p.get("decisions") or ():
        turn.apply(decision)
    turn.finish()
    world.runs.save(execution)
    if turn.continuation is not None:
        run_id, started = turn.continuation
        world.runs.create(execution.now, execution.domain, execution.workflow_id, run_id, started)
    return {}


# --- activity tasks -------------------------------------------------------------------------------------------------


def _poll_activity(world: World, now: int, p: Params) -> Answer:
    world.catalogue.domain(p["domain"])
    ref = world.lists.first(("A", p["domain"], p["taskList"]["name"]))
    execution = None if ref is None else world.runs.get(ref[0])
    if ref is None or execution is None:
        return {"startedEventId": 0}
    task = execution.activities[ref[1]]
    world.runs.begin(execution, now)
    attributes = {"identity": p.get("identity"), "scheduledEventId": task.scheduled_id}
    started_id = execution.append("ActivityTaskStarted", attributes)
    world.runs.save(execution)
    answer = {
        "activityId": task.activity_id,
        "activityType": dict(task.attributes["activityType"]),
        "startedEventId": started_id,
        "taskToken": world.tokens.task("A", execution.key, task.scheduled_id),
        "workflowExecution": execution.execution,
    }
    if "input" in task.attributes:
        answer["input"] = task.attributes["input"]
    return answer


def _activity_of(world: World, token: str) -> tuple[Execution, ActivityTask]:
    key, scheduled_id = world.tokens.read_task("A", token)
    execution = world.runs.get(key)
    if execution is None:
        raise unknown_run(*world.runs.name_of(key))
    task = execution.activities.get(scheduled_id)
    if task is None or not task.started_id:
        raise unknown_activity(scheduled_id)
    return execution, task


def _respond_activity(event_type: str, members: tuple[str, ...]) -> Operation:
    def respond(world: World, now: int, p: Params) -> Answer:
        execution, task = _activity_of(world, p["taskToken"])
        world.runs.begin(execution, now)
        attributes: dict[str, Any] = {name: p.get(name) for name in members}
        attributes |= {"scheduledEventId": task.scheduled_id, "startedEventId": task.started_id}
        if event_type == "ActivityTaskCanceled" and task.cancel_requested_id:
            attributes["latestCancelRequestedEventId"] = task.cancel_requested_id
        execution.append(event_type, attributes)
        world.runs.save(execution)
        return {}

    return respond


def _heartbeat(world: World, now: int, p: Params) -> Answer:
    execution, task = _activity_of(world, p["taskToken"])
    world.runs.heartbeat(execution, task.scheduled_id, now, p.get("details"))
    return {"cancelRequested": bool(task.cancel_requested_id)}


# --- backlog --------------------------------------------------------------------------------------------------------


def _count_pending(kind: str) -> Operation:
    def count(world: World, now: int, p: Params) -> Answer:
        world.catalogue.domain(p["domain"])
        (found,) = world.store.one(
            "SELECT count(*) FROM agenda a JOIN executions e ON e.id = a.execution "
            "WHERE a.kind = ? AND a.list = ? AND a.started = 0 AND e.domain = ?",
            (kind, p["taskList"]["name"], p["domain"]),
        )
        return {"count": found, "truncated": False}

    return count


OPERATIONS: Mapping[str, Operation] = {
    "PollForDecisionTask": _poll_decision,
    "RespondDecisionTaskCompleted": _respond_decision,
    "PollForActivityTask": _poll_activity,
    "RespondActivityTaskCompleted": _respond_activity("ActivityTaskCompleted", ("result",)),
    "RespondActivityTaskFailed": _respond_activity("ActivityTaskFailed", ("reason", "details")),
    "RespondActivityTaskCanceled": _respond_activity("ActivityTaskCanceled", ("details",)),
    "RecordActivityTaskHeartbeat": _heartbeat,
    "CountPendingDecisionTasks": _count_pending("D"),
    "CountPendingActivityTasks": _count_pending("A"),
}
