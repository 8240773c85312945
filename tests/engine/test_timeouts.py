"""Timers and timeouts: which clock runs from where, and what its end writes."""

from __future__ import annotations

import pytest
from engine_kit import NEVER, START, activity, complete, decision, timer

from flowdsl.errors import Fault

MEMBER = {
    "SCHEDULE_TO_START": "scheduleToStartTimeout",
    "START_TO_CLOSE": "startToCloseTimeout",
    "SCHEDULE_TO_CLOSE": "scheduleToCloseTimeout",
    "HEARTBEAT": "heartbeatTimeout",
}


@pytest.fixture
def run(swf):
    return swf.start(executionStartToCloseTimeout="90000")


@pytest.mark.parametrize("kind", MEMBER)
@pytest.mark.parametrize("started", [False, True])
def test_the_four_activity_timeouts(swf, run, kind, started):
    swf.decide(activity(**NEVER | {MEMBER[kind]: "10"}))
    swf.advance(4)
    if started:
        task = swf.poll_activity()
    runs = kind == "SCHEDULE_TO_CLOSE" or (kind == "SCHEDULE_TO_START") != started
    since = 0 if kind.startswith("SCHEDULE") else 4
    swf.advance(since + 10 - 4 - 0.001)
    assert swf.types(run)[-1] == ("ActivityTaskStarted" if started else "ActivityTaskScheduled")
    swf.advance(0.001)
    if not runs:
        swf.advance(20_000)
        assert "ActivityTaskTimedOut" not in swf.types(run)
        return
    assert swf.types(run, last=2) == ["ActivityTaskTimedOut", "DecisionTaskScheduled"]
    given = swf.last(run, "ActivityTaskTimedOut")
    assert given == {"timeoutType": kind, "scheduledEventId": 5, "startedEventId": 6 if started else 0}
    assert swf.history(run)[-2]["eventTimestamp"] == (START + (since + 10) * 1000) / 1000
    assert "taskToken" not in swf.poll_activity(), "it is not handed out any more"
    if started:
        for operation in ("RespondActivityTaskCompleted", "RespondActivityTaskFailed", "RecordActivityTaskHeartbeat"):
            with pytest.raises(Fault, match="Unknown activity, scheduledEventId = 5"):
                swf.call(operation, taskToken=task["taskToken"])


def test_a_heartbeat_restarts_its_own_clock_and_its_details_are_reported(swf, run):
    swf.decide(activity(**NEVER | {"heartbeatTimeout": "10"}))
    task = swf.poll_activity()
    for number in range(5):
        swf.advance(9)
        answer = swf.call("RecordActivityTaskHeartbeat", taskToken=task["taskToken"], details=f"{number}")
        assert answer == {"cancelRequested": False}
    swf.advance(9)
    swf.call("RecordActivityTaskHeartbeat", taskToken=task["taskToken"])
    swf.advance(10)
    assert swf.last(run, "ActivityTaskTimedOut") == {
        "timeoutType": "HEARTBEAT", "scheduledEventId": 5, "startedEventId": 6, "details": "4",
    }  # fmt: skip


def test_a_heartbeat_writes_no_event_and_does_not_extend_the_other_clocks(swf, run):
    swf.decide(activity(**NEVER | {"heartbeatTimeout": "5", "startToCloseTimeout": "12"}))
    task = swf.poll_activity()
    before = len(swf.types(run))
    for _ in range(3):
        swf.advance(3)
        swf.call("RecordActivityTaskHeartbeat", taskToken=task["taskToken"], details="d")
    assert len(swf.types(run)) == before
    swf.advance(3)
    assert swf.last(run, "ActivityTaskTimedOut")["timeoutType"] == "START_TO_CLOSE"
    assert swf.last(run, "ActivityTaskTimedOut")["details"] == "d"


def test_heartbeats_survive_a_restart(swf, run):
    swf.decide(activity(**NEVER | {"heartbeatTimeout": "10"}))
    task = swf.poll_activity()
    swf.advance(9)
    swf.call("RecordActivityTaskHeartbeat", taskToken=task["taskToken"], details="last words")
    swf.reopen()
    swf.advance(9)
    assert "ActivityTaskTimedOut" not in swf.types(run)
    swf.advance(1)
    assert swf.last(run, "ActivityTaskTimedOut")["details"] == "last words"


@pytest.mark.parametrize(
    ("lengths", "named"),
    [
        (("10", "10", "10"), "SCHEDULE_TO_CLOSE"),
        (("NONE", "10", "10"), "START_TO_CLOSE"),
        (("11", "10", "9"), "HEARTBEAT"),
        (("10", "NONE", "10"), "SCHEDULE_TO_CLOSE"),
    ],
)
def test_the_earliest_clock_wins_and_the_wider_one_among_equals(swf, run, lengths, named):
    close, work, beat = lengths
    swf.decide(activity(**NEVER | {"scheduleToCloseTimeout": close, "startToCloseTimeout": work, "heartbeatTimeout": beat}))
    swf.poll_activity()
    swf.advance(30)
    assert swf.types(run).count("ActivityTaskTimedOut") == 1
    assert swf.last(run, "ActivityTaskTimedOut")["timeoutType"] == named


@pytest.mark.parametrize("kind", ["START_TO_CLOSE", "HEARTBEAT", "SCHEDULE_TO_START", "SCHEDULE_TO_CLOSE"])
def test_a_timeout_of_zero_is_over_at_once(swf, run, kind):
    swf.decide(activity(**NEVER | {MEMBER[kind]: "0"}))
    if not kind.startswith("SCHEDULE"):
        swf.poll_activity()
    swf.tick()
    assert swf.last(run, "ActivityTaskTimedOut")["timeoutType"] == kind


# --- timers


def test_a_timer_fires_once_at_its_time(swf, run):
    swf.decide(timer("t", 10, control="c"))
    swf.advance(9.999)
    assert swf.types(run)[-1] == "TimerStarted"
    swf.advance(0.001)
    assert swf.types(run, last=2) == ["TimerFired", "DecisionTaskScheduled"]
    assert swf.last(run, "TimerFired") == {"timerId": "t", "startedEventId": 5}
    swf.advance(100)
    assert swf.types(run).count("TimerFired") == 1


def test_a_timer_of_zero_seconds_fires_in_a_transaction_of_its_own(swf, run):
    swf.decide(timer("t", 0))
    assert swf.types(run)[-1] == "TimerStarted"
    assert swf.tick() is not None
    assert swf.types(run, last=2) == ["TimerFired", "DecisionTaskScheduled"]


def test_a_cancelled_timer_never_fires_and_its_cancellation_schedules_nothing(swf, run):
    swf.decide(timer("t", 10), timer("wake", 0))
    swf.tick()
    swf.decide(decision("CancelTimer", timerId="t"))
    assert swf.types(run)[-1] == "TimerCanceled"
    assert swf.last(run, "TimerCanceled") == {"timerId": "t", "startedEventId": 5, "decisionTaskCompletedEventId": 10}
    swf.advance(1000)
    assert swf.types(run)[-1] == "TimerCanceled"


def test_timers_fire_in_the_order_of_their_times(swf, run):
    swf.decide(*[timer(f"t{seconds}", seconds) for seconds in (30, 10, 20)])
    swf.now += 60_000
    swf.tick()
    fired = [event["timerFiredEventAttributes"]["timerId"] for event in swf.history(run) if event["eventType"] == "TimerFired"]
    assert fired == ["t10", "t20", "t30"]
    assert swf.types(run).count("DecisionTaskScheduled") == 2


def test_a_timer_may_be_longer_than_its_execution(swf):
    run = swf.start("short", executionStartToCloseTimeout="100")
    swf.decide(timer("t", 8_640_000))
    swf.advance(100)
    assert swf.types(run, "short")[-1] == "WorkflowExecutionTimedOut"


# --- the execution


def test_an_execution_that_is_out_of_time_closes_in_whatever_state(swf):
    run = swf.start(executionStartToCloseTimeout="100", taskStartToCloseTimeout="NONE", childPolicy="ABANDON")
    swf.decide(activity(), timer("t", 1000))
    swf.signal()
    task = swf.poll_decision()
    worker = swf.poll_activity()
    swf.advance(100)
    assert swf.types(run)[-1] == "WorkflowExecutionTimedOut"
    assert swf.last(run, "WorkflowExecutionTimedOut") == {"timeoutType": "START_TO_CLOSE", "childPolicy": "ABANDON"}
    info = swf.describe("w", run)
    assert info["executionInfo"]["closeStatus"] == "TIMED_OUT"
    assert info["openCounts"] == {
        "openActivityTasks": 1, "openChildWorkflowExecutions": 0, "openDecisionTasks": 0, "openLambdaFunctions": 0, "openTimers": 1,
    }  # fmt: skip
    for operation, token in (("RespondDecisionTaskCompleted", task), ("RespondActivityTaskCompleted", worker)):
        with pytest.raises(Fault, match="Unknown execution: WorkflowExecution="):
            swf.call(operation, taskToken=token["taskToken"])
    swf.advance(2000)
    assert swf.types(run)[-1] == "WorkflowExecutionTimedOut", "its timers are dropped"


def test_an_execution_with_no_time_at_all_is_over_at_once(swf):
    run = swf.start(executionStartToCloseTimeout="0")
    swf.tick()
    assert swf.types(run)[-1] == "WorkflowExecutionTimedOut"


def test_a_continued_run_has_a_fresh_clock(swf):
    swf.start(executionStartToCloseTimeout="100")
    swf.advance(60)
    swf.decide(decision("ContinueAsNewWorkflowExecution", executionStartToCloseTimeout="100"))
    run = swf.open_run("w")
    swf.advance(99)
    assert swf.describe("w", run)["executionInfo"]["executionStatus"] == "OPEN"
    swf.advance(1)
    assert swf.describe("w", run)["executionInfo"]["closeStatus"] == "TIMED_OUT"


# --- the task list override


def test_a_permanent_override_is_for_future_decision_tasks(swf, run):
    swf.decide(timer("t", 1), taskList={"name": "mine"})
    assert swf.last(run, "DecisionTaskCompleted")["taskList"] == {"name": "mine"}
    swf.advance(1)
    assert "taskToken" not in swf.poll_decision()
    assert swf.describe("w", run)["executionConfiguration"]["taskList"] == {"name": "mine"}
    swf.decide(timer("t", 1), task_list="mine")
    swf.advance(1)
    assert swf.poll_decision("mine")["startedEventId"], "a completion without a list keeps it"


def test_a_task_that_waits_already_stays_on_its_list(swf, run):
    task = swf.poll_decision()
    swf.signal()
    swf.respond(task, taskList={"name": "mine"})
    assert swf.poll_decision("mine")["startedEventId"] == 0
    assert swf.poll_decision()["startedEventId"] == 7


def test_a_temporary_override_that_nobody_takes_up_falls_back_to_the_original_list(swf, run):
    swf.decide(timer("t", 1), taskList={"name": "mine"}, taskListScheduleToStartTimeout="5")
    swf.advance(1)
    assert swf.last(run, "DecisionTaskScheduled") == {
        "taskList": {"name": "mine"}, "startToCloseTimeout": "60", "scheduleToStartTimeout": "5",
    }  # fmt: skip
    swf.advance(5)
    assert swf.types(run, last=2) == ["DecisionTaskTimedOut", "DecisionTaskScheduled"]
    assert swf.last(run, "DecisionTaskTimedOut") == {"timeoutType": "SCHEDULE_TO_START", "scheduledEventId": 7, "startedEventId": 0}
    assert swf.last(run, "DecisionTaskScheduled") == {
        "taskList": {"name": "deciders"}, "startToCloseTimeout": "60", "scheduleToStartTimeout": "NONE",
    }  # fmt: skip
    assert "taskToken" not in swf.poll_decision("mine")
    assert swf.poll_decision()["startedEventId"] == 10


def test_a_temporary_override_whose_decider_dies_falls_back_too(swf, run):
    swf.decide(timer("t", 1), taskList={"name": "mine"}, taskListScheduleToStartTimeout="5")
    swf.advance(1)
    swf.poll_decision("mine")
    swf.advance(60)
    assert swf.last(run, "DecisionTaskTimedOut")["timeoutType"] == "START_TO_CLOSE"
    assert swf.poll_decision()["startedEventId"]


@pytest.mark.parametrize("wait", ["NONE", ""])
def test_an_override_without_a_time_is_permanent(swf, run, wait):
    swf.decide(timer("t", 1), taskList={"name": "mine"}, taskListScheduleToStartTimeout=wait)
    swf.advance(1000)
    assert swf.poll_decision("mine")["startedEventId"]


def test_children_and_continuations_do_not_inherit_the_override(swf, run):
    swf.decide(timer("t", 1), taskList={"name": "mine"})
    swf.advance(1)
    swf.decide(decision("ContinueAsNewWorkflowExecution"), task_list="mine")
    assert swf.poll_decision()["startedEventId"] == 3


def test_time_that_runs_backwards_stands_still_within_an_execution(swf, run):
    swf.now += 5000
    swf.signal()
    swf.now -= 60_000
    swf.signal()
    swf.decide(complete())
    times = [event["eventTimestamp"] for event in swf.history(run)]
    assert times == sorted(times)
    assert times[-1] == (START + 5000) / 1000
