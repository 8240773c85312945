"""The thirteen decisions, applied.

Rule 1: decisions are applied in the order of the list, each to the state that the ones before it left; each writes exactly one event
        that carries `decisionTaskCompletedEventId`: what was asked, or `…Failed` with a cause. A failed one stops nothing.
Rule 2: a close is refused with UNHANDLED_DECISION if and only if a decision task was waiting when the call was made. Open activities,
        timers and children never hold a close up.
Rule 3: what reaches another execution is only queued here (see `effects.py`).
Rule 4: cancelling an activity that was never started closes it after the last decision of the batch, unless the batch closed the
        execution.
Rule 5: a value is the decision's own, else the type's default, else the failure that names the missing default. Causes are looked for
        in the order: existence, deprecation, defaults, id in use, limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flowdsl.engine.catalogue import DEPRECATED, Type
from flowdsl.engine.effects import Body, link
from flowdsl.limits import YEAR
from flowdsl.model.lifecycle import DECISIONS

if TYPE_CHECKING:
    from flowdsl.engine.execution import Execution
    from flowdsl.engine.world import World

Attributes = Mapping[str, Any]


class Turn:
    """One RespondDecisionTaskCompleted while it is applied."""

    __slots__ = ("completed_id", "continuation", "domain", "effects", "execution", "unhandled", "withdrawn", "world")

    def __init__(self, world: World, execution: Execution, completed_id: int, *, unhandled: bool) -> None:
        self.world = world
        self.execution = execution
        self.domain = execution.domain
        self.completed_id = completed_id
        self.unhandled = unhandled
        #: never-started activities that were cancelled, in order
        self.withdrawn: dict[int, None] = {}
        self.effects: list[tuple[str, Body]] = []
        #: (run id, attributes of WorkflowExecutionStarted) of the run that continues this one
        self.continuation: tuple[str, dict[str, Any]] | None = None

    def write(self, event_type: str, attributes: Mapping[str, Any]) -> int:
        """The event of one decision."""
        return self.execution.append(event_type, {**attributes, "decisionTaskCompletedEventId": self.completed_id})

    def apply(self, decision: Mapping[str, Any]) -> None:
        """Apply one decision."""
        decision_type = decision["decisionType"]
        _APPLY[decision_type](self, decision.get(DECISIONS[decision_type].key) or {})

    def rate_exceeded(self, decision_type: str, task_list: str | None = None) -> str | None:
        """The cause for which the engine's throttles refuse one more decision of this type, or None."""
        return self.world.buckets.refuse_decision(self.execution.now, decision_type, self.domain, task_list)

    def send(self, kind: str, initiated: int, attributes: Mapping[str, Any], decision_type: str) -> None:
        """Queue what an Initiated event announces for another execution; or, if there is too much of it, the news that it failed."""
        body: Body = {**link(self.execution, initiated), "attributes": {**attributes, "decisionTaskCompletedEventId": self.completed_id}}
        cause = self.rate_exceeded(decision_type)
        self.effects.append((kind, body) if cause is None else ("not_sent", {**body, "event": f"{decision_type}Failed", "cause": cause}))

    def finish(self) -> None:
        """What follows the last decision of the batch."""
        execution = self.execution
        if execution.is_open:
            for scheduled_id in self.withdrawn:
                task = execution.activities[scheduled_id]
                execution.append(
                    "ActivityTaskCanceled",
                    {"scheduledEventId": scheduled_id, "startedEventId": 0, "latestCancelRequestedEventId": task.cancel_requested_id},
                )
        for kind, body in self.effects:
            self.world.effects.add(execution.now, kind, body)


def _pick(attributes: Attributes, names: Iterable[str]) -> dict[str, Any]:
    return {name: attributes[name] for name in names if attributes.get(name) is not None}


class _Refused(Exception):
    """The decision cannot be done; carries the cause."""


def _check_rate(turn: Turn, decision_type: str, task_list: str | None = None) -> None:
    cause = turn.rate_exceeded(decision_type, task_list)
    if cause is not None:
        raise _Refused(cause)


def _registered(turn: Turn, kind: str, name: str, version: str) -> Type:
    found = turn.world.catalogue.find_type(turn.domain, kind, name, version)
    if found is None:
        raise _Refused(f"{kind.upper()}_TYPE_DOES_NOT_EXIST")
    if found.status == DEPRECATED:
        raise _Refused(f"{kind.upper()}_TYPE_DEPRECATED")
    return found


def _resolve(attributes: Attributes, defaults: Mapping[str, Any], wanted: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Each (member, default's name, cause) from the decision, else from the type. An empty text is no value."""
    resolved = {}
    for member, default, cause in wanted:
        value = attributes.get(member) or defaults.get(default)
        if not value:
            raise _Refused(cause)
        resolved[member] = value
    return resolved


# --- activities -----------------------------------------------------------------------------------------------------

_ACTIVITY_DEFAULTS = (
    ("taskList", "defaultTaskList", "DEFAULT_TASK_LIST_UNDEFINED"),
    ("scheduleToCloseTimeout", "defaultTaskScheduleToCloseTimeout", "DEFAULT_SCHEDULE_TO_CLOSE_TIMEOUT_UNDEFINED"),
    ("scheduleToStartTimeout", "defaultTaskScheduleToStartTimeout", "DEFAULT_SCHEDULE_TO_START_TIMEOUT_UNDEFINED"),
    ("startToCloseTimeout", "defaultTaskStartToCloseTimeout", "DEFAULT_START_TO_CLOSE_TIMEOUT_UNDEFINED"),
    ("heartbeatTimeout", "defaultTaskHeartbeatTimeout", "DEFAULT_HEARTBEAT_TIMEOUT_UNDEFINED"),
)


def _schedule_activity(turn: Turn, a: Attributes) -> None:
    named = _pick(a, ("activityType", "activityId"))
    try:
        found = _registered(turn, "activity", a["activityType"]["name"], a["activityType"]["version"])
        resolved = _resolve(a, found.defaults, _ACTIVITY_DEFAULTS)
        if a["activityId"] in turn.execution.activity_ids:
            raise _Refused("ACTIVITY_ID_ALREADY_IN_USE")
        if len(turn.execution.activities) >= turn.world.quotas.open_activities:
            raise _Refused("OPEN_ACTIVITIES_LIMIT_EXCEEDED")
        _check_rate(turn, "ScheduleActivityTask", resolved["taskList"]["name"])
    except _Refused as cause:
        turn.write("ScheduleActivityTaskFailed", {**named, "cause": str(cause)})
        return
    priority = a.get("taskPriority") or found.defaults.get("defaultTaskPriority")
    turn.write("ActivityTaskScheduled", {**named, **_pick(a, ("input", "control")), **resolved, "taskPriority": priority})


def _cancel_activity(turn: Turn, a: Attributes) -> None:
    scheduled_id = turn.execution.activity_ids.get(a["activityId"])
    if scheduled_id is None:
        turn.write("RequestCancelActivityTaskFailed", {"activityId": a["activityId"], "cause": "ACTIVITY_ID_UNKNOWN"})
        return
    turn.write("ActivityTaskCancelRequested", {"activityId": a["activityId"]})
    if not turn.execution.activities[scheduled_id].started_id:
        turn.withdrawn[scheduled_id] = None


# --- timers and markers ---------------------------------------------------------------------------------------------


def _start_timer(turn: Turn, a: Attributes) -> None:
    cause = None
    if a["timerId"] in turn.execution.timer_ids:
        cause = "TIMER_ID_ALREADY_IN_USE"
    elif len(turn.execution.timers) >= turn.world.quotas.open_timers:
        cause = "OPEN_TIMERS_LIMIT_EXCEEDED"
    else:
        cause = turn.rate_exceeded("StartTimer")
    if cause is not None:
        turn.write("StartTimerFailed", {"timerId": a["timerId"], "cause": cause})
        return
    turn.write("TimerStarted", _pick(a, ("timerId", "control", "startToFireTimeout")))


def _cancel_timer(turn: Turn, a: Attributes) -> None:
    started_id = turn.execution.timer_ids.get(a["timerId"])
    if started_id is None:
        turn.write("CancelTimerFailed", {"timerId": a["timerId"], "cause": "TIMER_ID_UNKNOWN"})
        return
    turn.write("TimerCanceled", {"timerId": a["timerId"], "startedEventId": started_id})


def _record_marker(turn: Turn, a: Attributes) -> None:
    turn.write("MarkerRecorded", _pick(a, ("markerName", "details")))


# --- other executions -----------------------------------------------------------------------------------------------

_RUN_TIME = ("executionStartToCloseTimeout", "defaultExecutionStartToCloseTimeout", "DEFAULT_EXECUTION_START_TO_CLOSE_TIMEOUT_UNDEFINED")
_TASK_TIME = ("taskStartToCloseTimeout", "defaultTaskStartToCloseTimeout", "DEFAULT_TASK_START_TO_CLOSE_TIMEOUT_UNDEFINED")
_TASK_LIST = ("taskList", "defaultTaskList", "DEFAULT_TASK_LIST_UNDEFINED")
_CHILD_POLICY = ("childPolicy", "defaultChildPolicy", "DEFAULT_CHILD_POLICY_UNDEFINED")
_RUN_DEFAULTS = (_RUN_TIME, _TASK_TIME, _TASK_LIST, _CHILD_POLICY)


def _resolve_run(a: Attributes, found: Type) -> dict[str, Any]:
    """The configuration of a new run. `NONE` is allowed here for its time, but nothing lasts longer than a year."""
    resolved = _resolve(a, found.defaults, _RUN_DEFAULTS)
    if resolved["executionStartToCloseTimeout"] == "NONE":
        resolved["executionStartToCloseTimeout"] = str(YEAR)
    for member, default in (("taskPriority", "defaultTaskPriority"), ("lambdaRole", "defaultLambdaRole")):
        resolved[member] = a.get(member) or found.defaults.get(default)
    return resolved


def _start_child(turn: Turn, a: Attributes) -> None:
    named = _pick(a, ("workflowType", "workflowId", "control"))
    try:
        found = _registered(turn, "workflow", a["workflowType"]["name"], a["workflowType"]["version"])
        resolved = _resolve_run(a, found)
        _check_room(turn)
        _check_rate(turn, "StartChildWorkflowExecution")
    except _Refused as cause:
        # known at once: there is no Initiated event, which the 0 says (recorded)
        turn.write("StartChildWorkflowExecutionFailed", {**named, "cause": str(cause), "initiatedEventId": 0})
        return
    attributes = {**named, **_pick(a, ("input",)), **resolved, "tagList": a.get("tagList") or None}
    initiated = turn.write("StartChildWorkflowExecutionInitiated", attributes)
    sent = {**attributes, "decisionTaskCompletedEventId": turn.completed_id}
    turn.effects.append(("start_child", {**link(turn.execution, initiated), "attributes": sent}))


def _check_room(turn: Turn) -> None:
    if len(turn.execution.children) >= turn.world.quotas.open_children:
        raise _Refused("OPEN_CHILDREN_LIMIT_EXCEEDED")
    waiting = sum(1 for kind, _ in turn.effects if kind == "start_child")
    if turn.world.runs.open_count.get(turn.domain, 0) + waiting >= turn.world.quotas.open_executions:
        raise _Refused("OPEN_WORKFLOWS_LIMIT_EXCEEDED")


def _signal_external(turn: Turn, a: Attributes) -> None:
    attributes = _pick(a, ("workflowId", "runId", "signalName", "input", "control"))
    initiated = turn.write("SignalExternalWorkflowExecutionInitiated", attributes)
    turn.send("signal", initiated, attributes, "SignalExternalWorkflowExecution")


def _cancel_external(turn: Turn, a: Attributes) -> None:
    attributes = _pick(a, ("workflowId", "runId", "control"))
    initiated = turn.write("RequestCancelExternalWorkflowExecutionInitiated", attributes)
    turn.send("cancel", initiated, attributes, "RequestCancelExternalWorkflowExecution")


def _schedule_lambda(turn: Turn, a: Attributes) -> None:
    execution, cause = turn.execution, None
    if not turn.world.place.has_lambda:
        cause = "LAMBDA_SERVICE_NOT_AVAILABLE_IN_REGION"
    elif any(task.lambda_id == a["id"] for task in execution.lambdas.values()):
        cause = "ID_ALREADY_IN_USE"
    elif len(execution.lambdas) >= turn.world.quotas.open_lambdas:
        cause = "OPEN_LAMBDA_FUNCTIONS_LIMIT_EXCEEDED"
    else:
        cause = turn.rate_exceeded("ScheduleLambdaFunction")
    if cause is not None:
        turn.write("ScheduleLambdaFunctionFailed", {"id": a["id"], "name": a["name"], "cause": cause})
        return
    scheduled = turn.write("LambdaFunctionScheduled", _pick(a, ("id", "name", "control", "input", "startToCloseTimeout")))
    turn.effects.append(("lambda", {**link(execution, scheduled), "name": a["name"]}))


# --- closing --------------------------------------------------------------------------------------------------------


def _close(event_type: str, failed: str, members: tuple[str, ...]) -> Callable[[Turn, Attributes], None]:
    def apply(turn: Turn, a: Attributes) -> None:
        if turn.unhandled:
            turn.write(failed, {"cause": "UNHANDLED_DECISION"})
        else:
            turn.write(event_type, _pick(a, members))

    return apply


def _continue_as_new(turn: Turn, a: Attributes) -> None:
    old = turn.execution.config
    name, version = old["workflowType"]["name"], a.get("workflowTypeVersion") or old["workflowType"]["version"]
    try:
        if turn.unhandled:
            raise _Refused("UNHANDLED_DECISION")
        # the type's defaults fill the gaps, not the old run's values (API reference, for each member)
        resolved = _resolve_run(a, _registered(turn, "workflow", name, version))
        _check_rate(turn, "ContinueAsNewWorkflowExecution")
    except _Refused as cause:
        turn.write("ContinueAsNewWorkflowExecutionFailed", {"cause": str(cause)})
        return
    run_id = turn.world.new_run_id()
    kind = {"name": name, "version": version}
    new: dict[str, Any] = {**_pick(a, ("input",)), **resolved, "tagList": a.get("tagList") or None, "workflowType": kind}
    turn.write("WorkflowExecutionContinuedAsNew", {**new, "newExecutionRunId": run_id})
    new |= _pick(old, ("parentWorkflowExecution", "parentInitiatedEventId"))
    turn.continuation = run_id, {**new, "continuedExecutionRunId": turn.execution.run_id}


_APPLY: Mapping[str, Callable[[Turn, Attributes], None]] = {
    "ScheduleActivityTask": _schedule_activity,
    "RequestCancelActivityTask": _cancel_activity,
    "StartTimer": _start_timer,
    "CancelTimer": _cancel_timer,
    "RecordMarker": _record_marker,
    "StartChildWorkflowExecution": _start_child,
    "SignalExternalWorkflowExecution": _signal_external,
    "RequestCancelExternalWorkflowExecution": _cancel_external,
    "ScheduleLambdaFunction": _schedule_lambda,
    "CompleteWorkflowExecution": _close("WorkflowExecutionCompleted", "CompleteWorkflowExecutionFailed", ("result",)),
    "FailWorkflowExecution": _close("WorkflowExecutionFailed", "FailWorkflowExecutionFailed", ("reason", "details")),
    "CancelWorkflowExecution": _close("WorkflowExecutionCanceled", "CancelWorkflowExecutionFailed", ("details",)),
    "ContinueAsNewWorkflowExecution": _continue_as_new,
}
