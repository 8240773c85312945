"""Decisions, built from plain Python values, and packed into responses that the service takes.

Rule 1: one function per decision type; its arguments are the attributes' own names in snake case, without "timeout" where that is clear.
Rule 2: durations are float seconds. None is written as NONE where the service knows that ("no limit"); elsewhere, and for every other
        optional member, None leaves the member out and the type's own default holds.
Rule 3: nothing is checked here. Names, durations and lengths were checked where the user wrote them; ids were made to fit (`limits`).
Rule 4: `pack` always takes a prefix. What is left is sent after a zero timer with a reserved id, which the caller adds: replay never
        depends on where a list was cut.
Rule 5: a closing decision goes last, never beside a decision that the service refuses there, and never in a cut batch.

Source of the members: the API reference of Amazon SWF, "Decision".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from flowdsl import limits
from flowdsl.errors import InternalError
from flowdsl.limits import whole_seconds
from flowdsl.model.lifecycle import DECISIONS

Decision = dict[str, Any]

#: Timers whose id begins so are flowdsl's own: they wake the decider and belong to no call.
RESERVED_TIMER_PREFIX = "flowdsl."

#: Bytes that decisions may take of a request of 1 MB: the rest is for an execution context at its limit (escaped, six bytes a character),
#: the task token and the headers.
MAX_BYTES = 1_000_000 - 6 * limits.DATA - 16_384

# What the wake-up timer of a cut batch takes: one decision, and no more bytes than this.
_WAKE_UP_BYTES = 512


# --- activities -----------------------------------------------------------------------------------------------------


def schedule_activity_task(
    *,
    activity_id: str,
    name: str,
    version: str,
    task_list: str | None = None,
    input: str | None = None,  # noqa: A002 - the service's own word
    control: str | None = None,
    task_priority: int | None = None,
    start_to_close: float | None = None,
    schedule_to_start: float | None = None,
    schedule_to_close: float | None = None,
    heartbeat: float | None = None,
) -> Decision:
    """Ask for an activity. All four timeouts are always written, because the service has no default of its own for any of them."""
    return _decision(
        "ScheduleActivityTask",
        activityId=activity_id,
        activityType={"name": name, "version": version},
        taskList=_task_list(task_list),
        input=input,
        control=control,
        taskPriority=_priority(task_priority),
        startToCloseTimeout=whole_seconds(start_to_close),
        scheduleToStartTimeout=whole_seconds(schedule_to_start),
        scheduleToCloseTimeout=whole_seconds(schedule_to_close),
        heartbeatTimeout=whole_seconds(heartbeat),
    )


def request_cancel_activity_task(*, activity_id: str) -> Decision:
    """Ask an activity to stop. One that nobody has started is cancelled at once."""
    return _decision("RequestCancelActivityTask", activityId=activity_id)


# --- timers and markers ---------------------------------------------------------------------------------------------


def start_timer(*, timer_id: str, start_to_fire: float, control: str | None = None) -> Decision:
    """Start a timer that fires after `start_to_fire` seconds; 0 fires in a moment, with a decision task of its own."""
    return _decision("StartTimer", timerId=timer_id, startToFireTimeout=whole_seconds(start_to_fire), control=control)


def cancel_timer(*, timer_id: str) -> Decision:
    """Stop a timer. Its event schedules no decision task."""
    return _decision("CancelTimer", timerId=timer_id)


def record_marker(*, name: str, details: str | None = None) -> Decision:
    """Write something into the history. Its event schedules no decision task."""
    return _decision("RecordMarker", markerName=name, details=details)


# --- other executions -----------------------------------------------------------------------------------------------


def start_child_workflow_execution(
    *,
    workflow_id: str,
    name: str,
    version: str,
    task_list: str | None = None,
    input: str | None = None,  # noqa: A002 - the service's own word
    control: str | None = None,
    task_priority: int | None = None,
    execution_start_to_close: float | None = None,
    task_start_to_close: float | None = None,
    child_policy: str | None = None,
    tag_list: Iterable[str] = (),
    lambda_role: str | None = None,
) -> Decision:
    """Start a child. `execution_start_to_close` None is the type's default: an execution without a limit does not exist.

    `child_policy` is "terminate", "request_cancel" or "abandon", in any case of letters: what becomes of the child's own children.
    """
    return _decision(
        "StartChildWorkflowExecution",
        workflowId=workflow_id,
        workflowType={"name": name, "version": version},
        taskList=_task_list(task_list),
        input=input,
        control=control,
        taskPriority=_priority(task_priority),
        executionStartToCloseTimeout=_limit(execution_start_to_close),
        taskStartToCloseTimeout=whole_seconds(task_start_to_close),
        childPolicy=_policy(child_policy),
        tagList=list(tag_list) or None,
        lambdaRole=lambda_role,
    )


def signal_external_workflow_execution(
    *,
    workflow_id: str,
    signal_name: str,
    run_id: str | None = None,
    input: str | None = None,  # noqa: A002 - the service's own word
    control: str | None = None,
) -> Decision:
    """Signal an open execution of the same domain; without `run_id`, the open run of the workflow id."""
    return _decision(
        "SignalExternalWorkflowExecution", workflowId=workflow_id, runId=run_id, signalName=signal_name, input=input, control=control
    )


def request_cancel_external_workflow_execution(*, workflow_id: str, run_id: str | None = None, control: str | None = None) -> Decision:
    """Ask an open execution of the same domain to stop; a child too, once it has started."""
    return _decision("RequestCancelExternalWorkflowExecution", workflowId=workflow_id, runId=run_id, control=control)


def schedule_lambda_function(
    *,
    id: str,  # noqa: A002 - the service's own word
    name: str,
    input: str | None = None,  # noqa: A002 - the service's own word
    control: str | None = None,
    start_to_close: float | None = None,
) -> Decision:
    """Ask the service to run a lambda function; `name` may be its ARN. Without `start_to_close` it has 900 s."""
    return _decision("ScheduleLambdaFunction", id=id, name=name, input=input, control=control, startToCloseTimeout=_limit(start_to_close))


# --- closing --------------------------------------------------------------------------------------------------------


def complete_workflow_execution(*, result: str | None = None) -> Decision:
    """Close the execution as COMPLETED."""
    return _decision("CompleteWorkflowExecution", result=result)


def fail_workflow_execution(*, reason: str | None = None, details: str | None = None) -> Decision:
    """Close the execution as FAILED."""
    return _decision("FailWorkflowExecution", reason=reason, details=details)


def cancel_workflow_execution(*, details: str | None = None) -> Decision:
    """Close the execution as CANCELED; nobody needs to have asked for it."""
    return _decision("CancelWorkflowExecution", details=details)


def continue_as_new_workflow_execution(
    *,
    input: str | None = None,  # noqa: A002 - the service's own word
    version: str | None = None,
    task_list: str | None = None,
    task_priority: int | None = None,
    execution_start_to_close: float | None = None,
    task_start_to_close: float | None = None,
    child_policy: str | None = None,
    tag_list: Iterable[str] = (),
    lambda_role: str | None = None,
) -> Decision:
    """Close the execution and begin a new run of it. What is left out comes from the type's defaults, not from the old run."""
    return _decision(
        "ContinueAsNewWorkflowExecution",
        input=input,
        workflowTypeVersion=version,
        taskList=_task_list(task_list),
        taskPriority=_priority(task_priority),
        executionStartToCloseTimeout=_limit(execution_start_to_close),
        taskStartToCloseTimeout=whole_seconds(task_start_to_close),
        childPolicy=_policy(child_policy),
        tagList=list(tag_list) or None,
        lambdaRole=lambda_role,
    )


# --- values ---------------------------------------------------------------------------------------------------------


def json_string(value: str) -> str:
    """`value` as a JSON string that keeps its letters readable."""
    return json.dumps(value, ensure_ascii=False)


def _decision(decision_type: str, **members: Any) -> Decision:
    return {
        "decisionType": decision_type,
        DECISIONS[decision_type].key: {name: value for name, value in members.items() if value is not None},
    }


def _task_list(name: str | None) -> dict[str, str] | None:
    return None if name is None else {"name": name}


def _priority(priority: int | None) -> str | None:
    return None if priority is None else str(priority)


def _policy(policy: str | None) -> str | None:
    return None if policy is None else policy.upper()


def _limit(seconds: float | None) -> str | None:
    return None if seconds is None else whole_seconds(seconds)


# --- packing --------------------------------------------------------------------------------------------------------


def size(decision: Decision) -> int:
    """The bytes that a decision takes in a request: JSON in ASCII, as botocore writes it, and the separator."""
    return len(json.dumps(decision)) + 2


def pack(
    decisions: Sequence[Decision], *, max_count: int = limits.DECISIONS, max_bytes: int = MAX_BYTES
) -> tuple[list[Decision], list[Decision]]:
    """Cut `decisions` into what one response can carry and what is left for the next one.

    If something is left, the batch has room for one more decision: the wake-up timer that the caller adds, without which the service
    would have no reason to come back. A batch is empty only if nothing was given: the first decision always goes, or nothing ever would
    (no legal decision takes half of a request). `max_count` is 2 or more. Raises `InternalError` if a decision follows a closing one.
    """
    given = list(decisions)
    _check_order(given)
    sizes = [size(decision) for decision in given]
    if len(given) <= 1 or (len(given) <= max_count and sum(sizes) <= max_bytes and _may_close(given)):
        return given, []
    end = len(given) - 1 if DECISIONS[given[-1]["decisionType"]].closes else len(given)
    count, room = 0, max_bytes - _WAKE_UP_BYTES
    while count < min(end, max_count - 1) and (count == 0 or sizes[count] <= room):
        room -= sizes[count]
        count += 1
    return given[:count], given[count:]


def _check_order(decisions: Sequence[Decision]) -> None:
    for decision in decisions[:-1]:
        if DECISIONS[decision["decisionType"]].closes:
            raise InternalError(f"decisions follow {decision['decisionType']}, which must be the last one")


def _may_close(decisions: Sequence[Decision]) -> bool:
    """Whether the service takes these together: nothing closes, or all that comes before the close may stand beside it."""
    if not decisions or not DECISIONS[decisions[-1]["decisionType"]].closes:
        return True
    return all(DECISIONS[decision["decisionType"]].beside_close for decision in decisions[:-1])
