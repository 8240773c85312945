"""What happens when a deadline passes.

Rule 1: each deadline is handled in a transaction of its own, with the time of the tick as its timestamp: late, never early.
Rule 2: an activity names the clock that ran out first; a decision task is given out again (DecisionTaskTimedOut schedules), and a
        temporary task list is given up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowdsl.engine.deadlines import Ref
    from flowdsl.engine.execution import Execution
    from flowdsl.engine.open_work import ActivityTask, DecisionTask
    from flowdsl.engine.world import World


def expire(world: World, now: int, ref: Ref) -> None:
    """Handle the deadline `ref`, which has passed; the caller commits."""
    key, event = ref
    execution = world.runs.get(key)
    assert execution is not None  # the deadlines of a closed execution are gone
    world.runs.begin(execution, now)
    if event == 0:
        policy = execution.config["childPolicy"]
        execution.append("WorkflowExecutionTimedOut", {"timeoutType": "START_TO_CLOSE", "childPolicy": policy})
    elif event in execution.timers:
        timer = execution.timers[event]
        execution.append("TimerFired", {"timerId": timer.timer_id, "startedEventId": event})
    elif event in execution.activities:
        task = execution.activities[event]
        timeout = task.timeout()
        assert timeout is not None
        time_out_activity(execution, task, timeout[1])
    elif event in execution.lambdas:
        attributes = {"scheduledEventId": event, "startedEventId": execution.lambdas[event].started_id, "timeoutType": "START_TO_CLOSE"}
        execution.append("LambdaFunctionTimedOut", attributes)
    else:
        started = execution.started
        decision = started if started is not None and started.scheduled_id == event else execution.waiting
        assert decision is not None
        time_out_decision(execution, decision)
    world.runs.save(execution)


def time_out_activity(execution: Execution, task: ActivityTask, kind: str) -> None:
    """ActivityTaskTimedOut, with the details of the last heartbeat."""
    attributes = {"timeoutType": kind, "scheduledEventId": task.scheduled_id, "startedEventId": task.started_id, "details": task.details}
    execution.append("ActivityTaskTimedOut", attributes)


def time_out_decision(execution: Execution, task: DecisionTask) -> None:
    """DecisionTaskTimedOut; the next decision task follows by itself."""
    kind = "START_TO_CLOSE" if task.started_id else "SCHEDULE_TO_START"
    attributes = {"timeoutType": kind, "scheduledEventId": task.scheduled_id, "startedEventId": task.started_id}
    execution.append("DecisionTaskTimedOut", attributes)


def give_out_again(world: World, now: int) -> None:
    """Time out what a dead process had in hand: started decision tasks, and started activities that have a heartbeat timeout.

    Whoever held them cannot answer any more, so waiting for their clocks would only lose time.
    """
    for key, event in sorted(world.lists.in_hand):
        execution = world.runs.get(key)
        if execution is None or event in execution.lambdas:  # its function is called again, see `lambdas.py`
            continue
        activity = execution.activities.get(event)
        if activity is not None and activity.attributes["heartbeatTimeout"] == "NONE":
            continue
        world.runs.begin(execution, now)
        if activity is not None:
            time_out_activity(execution, activity, "HEARTBEAT")
        elif execution.started is not None:
            time_out_decision(execution, execution.started)
        world.runs.save(execution)
