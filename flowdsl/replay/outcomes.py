"""What each event of a history does to the replayer: one function per event type that matters to it, in one table.

Rule 1: acknowledgements take their call out of the outbox, matched by id; one that matches nothing is a misfit (replay rule 3).
Rule 2: outcomes settle promises, lazily where a value would have to be decoded.
Rule 3: refusals are not failures (replay rule 6). Rates and open limits put the call back and narrow the window; a type that the
        service does not know is registered and asked for again; only what the user can mend is raised at the call's line.
Rule 4: a failure asks the retry policy first; the next attempt is a timer and a task with a new id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from flowdsl import limits
from flowdsl.errors import ActivityTimedOut, Cancelled, CancelRequested, ChildFailed, DefinitionError, SignalFailed
from flowdsl.model.attempts import with_heartbeat
from flowdsl.model.carried import UPGRADE_SIGNAL
from flowdsl.model.decisions import RESERVED_TIMER_PREFIX
from flowdsl.replay.operations import ASKED, CLOSED, OPEN, STARTED, Operation, activity_failed
from flowdsl.replay.records import PATCHED, split_record
from flowdsl.replay.retry import next_delay

if TYPE_CHECKING:
    from flowdsl.replay.replayer import Replayer

Attributes = Mapping[str, Any]
_PACE_PREFIX = RESERVED_TIMER_PREFIX + "pace-"
_MAX_REGISTRATIONS = 3

_LIMIT_CAUSES = frozenset({
    "OPEN_ACTIVITIES_LIMIT_EXCEEDED", "OPEN_TIMERS_LIMIT_EXCEEDED", "OPEN_CHILDREN_LIMIT_EXCEEDED", "OPEN_WORKFLOWS_LIMIT_EXCEEDED",
})  # fmt: skip
_RATE_CAUSES = frozenset({
    "ACTIVITY_CREATION_RATE_EXCEEDED", "TIMER_CREATION_RATE_EXCEEDED", "CHILD_CREATION_RATE_EXCEEDED",
    "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_RATE_EXCEEDED", "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_RATE_EXCEEDED",
})  # fmt: skip
_UNKNOWN_TYPE_CAUSES = frozenset({"ACTIVITY_TYPE_DOES_NOT_EXIST", "WORKFLOW_TYPE_DOES_NOT_EXIST"})


# --- activities


def _activity_scheduled(r: Replayer, event_id: int, a: Attributes) -> None:
    op = r.acknowledge(("activity", a["activityId"]), lambda: f"ActivityTaskScheduled {_line(event_id, a['activityId'], a)}")
    _check_target(r, op, event_id, a["activityType"]["name"], a)
    _opened(r, op, event_id)


def _schedule_activity_failed(r: Replayer, event_id: int, a: Attributes) -> None:
    op = r.acknowledge(("activity", a["activityId"]), f"ScheduleActivityTaskFailed (event {event_id}) {a['activityId']}")
    _refused(r, op, a["cause"])


def _activity_completed(r: Replayer, _: int, a: Attributes) -> None:
    op = _closed(r, a["scheduledEventId"])
    if not op.promise.is_ready():
        op.promise.settle_lazily(partial(r.values.decode_result, op.call.target, a.get("result")))


def _activity_task_failed(r: Replayer, _: int, a: Attributes) -> None:
    op = _closed(r, a["scheduledEventId"])
    if op.promise.is_ready():
        return
    reason = a.get("reason") or "no reason was given"
    failure = activity_failed(op.call.target.name, op.call_id, op.attempt, reason)
    error = _decoded(r, op, a)
    _failed(r, op, "failed", error, lambda: r.values.attach_cause(error, failure))


def _activity_timed_out(r: Replayer, _: int, a: Attributes) -> None:
    op = _closed(r, a["scheduledEventId"])
    if op.promise.is_ready():
        return
    kind, name = a["timeoutType"], op.call.target.name
    details = a.get("details")
    error = ActivityTimedOut(
        f"activity {name} ({op.call_id}, attempt {op.attempt}) timed out: {_TIMEOUTS[kind]} ({kind})",
        kind=kind, name=name, call_id=op.call_id, attempt=op.attempt,
    )  # fmt: skip
    if details is not None and op.input is not None:
        op.details = details
    _failed(r, op, "timed_out", error, lambda: error)


_TIMEOUTS = {
    "START_TO_CLOSE": "it ran longer than its timeout",
    "SCHEDULE_TO_START": "no worker took it in time",
    "SCHEDULE_TO_CLOSE": "it was not done in time, waiting included",
    "HEARTBEAT": "its worker was lost, it sent no heartbeat in time",
}


def _activity_canceled(r: Replayer, _: int, a: Attributes) -> None:
    op = _closed(r, a["scheduledEventId"])
    if not op.promise.is_ready():
        op.promise.fail(Cancelled(f"activity {op.call.target.name} ({op.call_id}) was cancelled by its worker"))


# --- timers


def _timer_started(r: Replayer, event_id: int, a: Attributes) -> None:
    timer_id = a["timerId"]
    if timer_id.startswith(RESERVED_TIMER_PREFIX):
        if timer_id.startswith(_PACE_PREFIX):
            r.pace_timer_open = True
            r.pauses += 1
        return
    op = r.acknowledge(("timer", timer_id), f"TimerStarted {_line(event_id, timer_id, a)}")
    _opened(r, op, event_id)


def _start_timer_failed(r: Replayer, event_id: int, a: Attributes) -> None:
    if a["timerId"].startswith(RESERVED_TIMER_PREFIX):
        return
    op = r.acknowledge(("timer", a["timerId"]), f"StartTimerFailed (event {event_id}) {a['timerId']}")
    _refused(r, op, a["cause"])


def _timer_fired(r: Replayer, _: int, a: Attributes) -> None:
    if a["timerId"].startswith(RESERVED_TIMER_PREFIX):
        if a["timerId"].startswith(_PACE_PREFIX):
            r.pace_timer_open = False
            r.paced.clear()
        return
    op = _closed(r, a["startedEventId"])
    if not op.promise.is_ready():
        op.promise.settle(None)


def _timer_canceled(r: Replayer, event_id: int, a: Attributes) -> None:
    if a["timerId"].startswith(RESERVED_TIMER_PREFIX):
        return
    r.acknowledge(("cancel timer", a["timerId"]), f"TimerCanceled (event {event_id}) {a['timerId']}")
    _closed(r, a["startedEventId"])


# --- child workflows


def _child_initiated(r: Replayer, event_id: int, a: Attributes) -> None:
    op = r.acknowledge(("workflow", a["workflowId"]), f"StartChildWorkflowExecutionInitiated {_line(event_id, a['workflowId'], a)}")
    _check_target(r, op, event_id, a["workflowType"]["name"], a)
    _opened(r, op, event_id)


def _child_not_started(r: Replayer, event_id: int, a: Attributes) -> None:
    if a.get("initiatedEventId"):
        op = _closed(r, a["initiatedEventId"])
    else:
        op = r.acknowledge(("workflow", a["workflowId"]), f"StartChildWorkflowExecutionFailed (event {event_id}) {a['workflowId']}")
    _refused(r, op, a["cause"])


def _child_started(r: Replayer, _: int, a: Attributes) -> None:
    op = r.operations[a["initiatedEventId"]]
    op.state, op.run_id = STARTED, a["workflowExecution"]["runId"]
    if op.cancelled:
        r.runtime.ask_to_cancel(op)


def _child_completed(r: Replayer, _: int, a: Attributes) -> None:
    op = _closed(r, a["initiatedEventId"])
    if not op.promise.is_ready():
        op.promise.settle_lazily(partial(r.values.decode_result, op.call.target, a.get("result")))


def _child_closed(status: str, state: str, r: Replayer, _: int, a: Attributes) -> None:
    op = _closed(r, a["initiatedEventId"])
    if op.promise.is_ready():
        return
    target = op.call.target
    failure = _child_failure(op, status, a.get("reason") or _STATUSES[status])
    if status == "FAILED":
        error = _decoded(r, op, a)
        _failed(r, op, state, error, lambda: r.values.attach_cause(error, failure))
    elif status == "CANCELED":
        op.promise.fail(Cancelled(f"child workflow {target.name} ({op.call_id}) was cancelled"))
    else:
        _failed(r, op, state, failure, lambda: failure)


_STATUSES = {
    "FAILED": "no reason was given",
    "TIMED_OUT": "it ran longer than its timeout",
    "TERMINATED": "it was terminated",
    "CANCELED": "it was cancelled",
}


def _child_failure(op: Operation, status: str, reason: str) -> ChildFailed:
    name = op.call.target.name
    tried = f", attempt {op.attempt}" if op.attempt > 1 else ""
    text = f"child workflow {name} ({op.call_id}{tried}, workflow id {op.id}) ended {status}: {reason}"
    return ChildFailed(text, name=name, call_id=op.call_id, attempt=op.attempt, status=status, reason=reason)


# --- markers, signals, other executions


def _marker_recorded(r: Replayer, event_id: int, a: Attributes) -> None:
    name = a["markerName"]
    if name.startswith(PATCHED) and ("marker", name) not in r.outbox:
        return  # the code asks no more: the old way is gone
    if ("marker", name) in r.outbox:
        op = r.acknowledge(("marker", name), name)
        op.state = CLOSED
        recorded = (split_record(name) or ("", ""))[1]
        if recorded and op.input and recorded != op.input:
            r.outbox[("marker", name)] = op
            raise r.misfit(f"MarkerRecorded (event {event_id}) {name}, recorded for other arguments")
        return
    number = next((n for n in range(1, r.marks[name] + 1) if ("mark", f"{name}#{n}") in r.outbox), None)
    if number is None:
        raise r.misfit(f"MarkerRecorded (event {event_id}) {name}")
    r.acknowledge(("mark", f"{name}#{number}"), name).state = CLOSED


def _signaled(r: Replayer, _: int, a: Attributes) -> None:
    if a["signalName"] != UPGRADE_SIGNAL:
        r.runtime.deliver_signal(a["signalName"], a.get("input"))


def _send_initiated(r: Replayer, event_id: int, a: Attributes) -> None:
    call_id = _control(a).get("id", "")
    recorded = f"SignalExternalWorkflowExecutionInitiated (event {event_id}) {a['signalName']} to {a['workflowId']}"
    op = r.acknowledge(("send", call_id), recorded)
    op.state, op.event_id = OPEN, event_id
    r.operations[event_id] = op


def _send_delivered(r: Replayer, _: int, a: Attributes) -> None:
    op = _closed(r, a["initiatedEventId"])
    if not op.promise.is_ready():
        op.promise.settle(None)


def _send_failed(r: Replayer, _: int, a: Attributes) -> None:
    op = _closed(r, a["initiatedEventId"])
    if op.promise.is_ready():
        return
    if a["cause"] in _RATE_CAUSES:
        _put_back(r, op)
        r.paced.add("send")
        return
    text = f"signal {op.call.target.name} was not delivered: no open execution has the workflow id {a['workflowId']!r} ({a['cause']})"
    error = SignalFailed(text, workflow_id=a["workflowId"], reason=a["cause"])
    _failed(r, op, "failed", error, lambda: error)


def _cancel_initiated(r: Replayer, event_id: int, a: Attributes) -> None:
    r.cancels[event_id] = r.acknowledge(("cancel workflow", a["workflowId"]), f"cancel workflow (event {event_id}) {a['workflowId']}")


def _cancel_failed(r: Replayer, _: int, a: Attributes) -> None:
    op = r.cancels.pop(a["initiatedEventId"])
    if a["cause"] in _RATE_CAUSES and op.state == STARTED and not r.finished:  # any other cause: it is over already
        r.paced.add("cancel workflow")
        r.ask(("cancel workflow", op.id), op)


# --- the execution itself


def _started(r: Replayer, _: int, a: Attributes) -> None:
    r.begin(a)


def _cancel_requested(r: Replayer, _: int, a: Attributes) -> None:
    r.runtime.cancel_requested = True
    if r.main is not None and not r.main.promise.is_ready():
        r.hub.interrupt(r.main, CancelRequested())


def _close_refused(r: Replayer, event_id: int, a: Attributes) -> None:
    r.refuse_close(a["cause"], event_id)


def _execution_closed(kind: str, r: Replayer, event_id: int, a: Attributes) -> None:
    r.end(kind, event_id)


# --- what several of them do


def _opened(r: Replayer, op: Operation, event_id: int) -> None:
    op.state, op.event_id, op.register = OPEN, event_id, False
    r.operations[event_id] = op
    r.open[op.verb] += 1
    r.pauses = 0
    if op.verb in r.widening:
        r.windows[op.verb] += 1


def _closed(r: Replayer, event_id: int) -> Operation:
    """The operation that `event_id` opened is over; a cancellation that was never sent is withdrawn."""
    op = r.operations.pop(event_id)
    op.state = CLOSED
    if op.verb in r.windows:
        r.open[op.verb] -= 1
    if op.cancelled:
        r.withdraw((f"cancel {op.verb}", op.id))
    return op


def _decoded(r: Replayer, op: Operation, a: Attributes) -> BaseException:
    try:
        return r.values.decode_failure(op.call.target, a.get("reason"), a.get("details"))
    except Exception as lost:  # noqa: BLE001 - a failure whose details are lost fails the call with that error
        return lost


def _failed(r: Replayer, op: Operation, state: str, error: BaseException, final: Callable[[], BaseException]) -> None:
    """Ask the policy; begin the next attempt or settle the promise with `final()`."""
    delay = None
    if not r.finished:
        seed = f"{r.run_id}/{op.call_id}"
        elapsed = r.now - op.asked_at
        policy = None if op.call.options is None else op.call.options.retry  # sleep() has no options
        delay = next_delay(policy, state=state, error=error, attempt=op.attempt, elapsed=elapsed, seed=seed)
    if delay is None:
        op.promise.fail(final())
        return
    r.runtime.next_attempt(op)
    if op.details is not None and op.input is not None:
        op.input = with_heartbeat(op.input, op.details, limits.DATA)
    if delay == 0:
        r.ask((op.verb, op.id), op)
        return
    op.retry_timer = r.runtime.retry_timer(op, delay)
    op.retry_timer.subscribe(lambda timer: None if timer.failed or r.finished else r.ask((op.verb, op.id), op))


def _refused(r: Replayer, op: Operation, cause: str) -> None:
    if op.promise.is_ready():
        return
    if cause in _RATE_CAUSES:
        r.paced.add(op.verb)
        _put_back(r, op)
    elif cause in _LIMIT_CAUSES:
        r.windows[op.verb] = max(1, min(r.windows[op.verb], r.open[op.verb]))
        if cause == "OPEN_WORKFLOWS_LIMIT_EXCEEDED":  # the domain's: others' executions count, and end
            r.widening.add(op.verb)
        if not r.open[op.verb]:
            r.paced.add(op.verb)
        _put_back(r, op)
    elif cause in _UNKNOWN_TYPE_CAUSES and op.registrations < _MAX_REGISTRATIONS:
        op.registrations += 1
        op.register = True
        _put_back(r, op)
    else:
        error = _refusal(op, cause)
        _failed(r, op, "failed_to_schedule", error, lambda: error)


def _refusal(op: Operation, cause: str) -> Exception:
    if op.verb == "workflow":
        return _child_failure(op, "NOT_STARTED", cause)
    if op.verb == "timer":
        return DefinitionError(f"the timer {op.call_id} was refused by the service: {cause}")
    return activity_failed(op.call.target.name, op.call_id, op.attempt, cause)


def _put_back(r: Replayer, op: Operation) -> None:
    if not r.finished:
        op.state = ASKED
        r.ask((op.verb, op.id), op)


def _check_target(r: Replayer, op: Operation, event_id: int, recorded_name: str, a: Attributes) -> None:
    """An id says the place; the name and the arguments say that it is the same call."""
    if recorded_name != op.call.target.name:
        r.outbox[(op.verb, op.id)] = op
        raise r.misfit(f"{op.verb} {recorded_name} {_line(event_id, op.id, a)}")
    recorded = a.get("input")
    if op.input is None:
        op.input = recorded  # it could not be compared; a later attempt gets the same text
    if recorded == op.input or op.attempt > 1 or recorded is None or op.input is None:
        return
    if r.values.same(recorded, op.input) is False:
        r.outbox[(op.verb, op.id)] = op
        raise r.misfit(f"{op.verb} {recorded_name} with {recorded[:200]} {_line(event_id, op.id, a)}")


def _control(a: Attributes) -> dict[str, Any]:
    try:
        control = json.loads(a.get("control") or "{}")
    except ValueError:
        return {}
    return control if isinstance(control, dict) else {}


def _line(event_id: int, call_id: str, a: Attributes) -> str:
    line = _control(a).get("line")
    return f"(event {event_id}) {call_id}" + (f"    recorded at {line}" if line else "")


HANDLERS: Mapping[str, Callable[[Replayer, int, Attributes], None]] = {
    "WorkflowExecutionStarted": _started,
    "WorkflowExecutionSignaled": _signaled,
    "WorkflowExecutionCancelRequested": _cancel_requested,
    "ActivityTaskScheduled": _activity_scheduled,
    "ScheduleActivityTaskFailed": _schedule_activity_failed,
    "ActivityTaskCompleted": _activity_completed,
    "ActivityTaskFailed": _activity_task_failed,
    "ActivityTaskTimedOut": _activity_timed_out,
    "ActivityTaskCanceled": _activity_canceled,
    "ActivityTaskCancelRequested": lambda r, i, a: _acknowledged(r, "cancel activity", a["activityId"], i),
    "RequestCancelActivityTaskFailed": lambda r, i, a: _acknowledged(r, "cancel activity", a["activityId"], i),
    "TimerStarted": _timer_started,
    "StartTimerFailed": _start_timer_failed,
    "TimerFired": _timer_fired,
    "TimerCanceled": _timer_canceled,
    "CancelTimerFailed": lambda r, i, a: _acknowledged(r, "cancel timer", a["timerId"], i),
    "MarkerRecorded": _marker_recorded,
    "RecordMarkerFailed": _marker_recorded,
    "StartChildWorkflowExecutionInitiated": _child_initiated,
    "StartChildWorkflowExecutionFailed": _child_not_started,
    "ChildWorkflowExecutionStarted": _child_started,
    "ChildWorkflowExecutionCompleted": _child_completed,
    "ChildWorkflowExecutionFailed": partial(_child_closed, "FAILED", "failed"),
    "ChildWorkflowExecutionTimedOut": partial(_child_closed, "TIMED_OUT", "timed_out"),
    "ChildWorkflowExecutionCanceled": partial(_child_closed, "CANCELED", "failed"),
    "ChildWorkflowExecutionTerminated": partial(_child_closed, "TERMINATED", "failed"),
    "RequestCancelExternalWorkflowExecutionInitiated": _cancel_initiated,
    "RequestCancelExternalWorkflowExecutionFailed": _cancel_failed,
    "SignalExternalWorkflowExecutionInitiated": _send_initiated,
    "SignalExternalWorkflowExecutionFailed": _send_failed,
    "ExternalWorkflowExecutionSignaled": _send_delivered,
    "CompleteWorkflowExecutionFailed": _close_refused,
    "FailWorkflowExecutionFailed": _close_refused,
    "CancelWorkflowExecutionFailed": _close_refused,
    "ContinueAsNewWorkflowExecutionFailed": _close_refused,
    **{
        kind: partial(_execution_closed, kind)
        for kind in (
            "WorkflowExecutionCompleted", "WorkflowExecutionFailed", "WorkflowExecutionCanceled", "WorkflowExecutionContinuedAsNew",
            "WorkflowExecutionTimedOut", "WorkflowExecutionTerminated",
        )
    },
}  # fmt: skip
"""Event type → what it does. Types that are missing here do nothing to the code: tasks of the service, and starts of what was scheduled."""


def _acknowledged(r: Replayer, verb: str, call_id: str, event_id: int) -> None:
    r.acknowledge((verb, call_id), f"{verb} (event {event_id}) {call_id}")
