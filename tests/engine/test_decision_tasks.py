"""When decision tasks are scheduled, handed out, completed and lost."""

from __future__ import annotations

import pytest
from engine_kit import START, activity, child, complete, decision, timer

from flowdsl.engine import Returned
from flowdsl.errors import Fault


def test_a_start_writes_the_start_and_a_decision_task_at_one_moment(swf):
    run = swf.start(input="in", tagList=["x"])
    events = swf.history(run)
    assert [event["eventType"] for event in events] == ["WorkflowExecutionStarted", "DecisionTaskScheduled"]
    assert {event["eventTimestamp"] for event in events} == {START / 1000}
    started = events[0]["workflowExecutionStartedEventAttributes"]
    assert started == {
        "childPolicy": "TERMINATE",
        "executionStartToCloseTimeout": "3600",
        "taskStartToCloseTimeout": "60",
        "taskList": {"name": "deciders"},
        "workflowType": {"name": "flow", "version": "1"},
        "input": "in",
        "tagList": ["x"],
        "parentInitiatedEventId": 0,
    }
    assert events[1]["decisionTaskScheduledEventAttributes"] == {
        "taskList": {"name": "deciders"},
        "startToCloseTimeout": "60",
        "scheduleToStartTimeout": "NONE",
    }


def test_a_poll_shows_the_history_up_to_its_own_start(swf):
    run = swf.start()
    task = swf.poll_decision(identity="me")
    assert [event["eventType"] for event in task["events"]][-1] == "DecisionTaskStarted"
    assert task["startedEventId"] == 3 == task["events"][-1]["eventId"]
    assert task["previousStartedEventId"] == 0
    assert task["workflowExecution"] == {"workflowId": "w", "runId": run}
    assert task["workflowType"] == {"name": "flow", "version": "1"}
    assert swf.last(run, "DecisionTaskStarted") == {"identity": "me", "scheduledEventId": 2}


def test_a_poll_without_a_task_answers_zeros_and_no_token(swf):
    assert swf.poll_decision() == {"previousStartedEventId": 0, "startedEventId": 0}
    assert swf.poll_activity() == {"startedEventId": 0}


def test_polling_an_unknown_domain_is_refused_at_once(swf):
    with pytest.raises(Fault, match="Unknown domain: nowhere"):
        swf.call("PollForDecisionTask", domain="nowhere", taskList={"name": "l"})


def test_an_event_during_a_decision_schedules_the_next_task_at_once_and_not_at_the_completion(swf):
    run = swf.start()
    task = swf.poll_decision()
    swf.signal()
    assert swf.types(run, last=2) == ["WorkflowExecutionSignaled", "DecisionTaskScheduled"]
    assert swf.poll_decision() == {"previousStartedEventId": 0, "startedEventId": 0}, "one decision task at a time"
    swf.respond(task)
    assert swf.types(run)[-1] == "DecisionTaskCompleted"
    assert swf.poll_decision()["previousStartedEventId"] == 3


def test_what_happens_while_a_task_waits_is_absorbed_by_it(swf):
    run = swf.start()
    for _ in range(5):
        swf.signal()
    assert swf.types(run).count("DecisionTaskScheduled") == 1


def test_a_completion_without_decisions_writes_only_itself(swf):
    run = swf.start()
    task = swf.poll_decision()
    swf.call("RespondDecisionTaskCompleted", taskToken=task["taskToken"], executionContext="")
    assert swf.last(run, "DecisionTaskCompleted") == {"scheduledEventId": 2, "startedEventId": 3, "executionContext": ""}
    assert swf.poll_decision()["startedEventId"] == 0


def test_a_failed_decision_schedules_one_task_after_the_whole_batch(swf):
    run = swf.start()
    swf.decide(decision("CancelTimer", timerId="x"), decision("CancelTimer", timerId="y"), timer())
    assert swf.types(run, last=5) == [
        "DecisionTaskCompleted",
        "CancelTimerFailed",
        "CancelTimerFailed",
        "TimerStarted",
        "DecisionTaskScheduled",
    ]


def test_a_decision_task_that_is_not_answered_in_time_is_given_out_again(swf):
    run = swf.start(taskStartToCloseTimeout="5")
    task = swf.poll_decision()
    swf.advance(5)
    assert swf.types(run, last=2) == ["DecisionTaskTimedOut", "DecisionTaskScheduled"]
    assert swf.last(run, "DecisionTaskTimedOut") == {"timeoutType": "START_TO_CLOSE", "scheduledEventId": 2, "startedEventId": 3}
    with pytest.raises(Fault, match="Unknown decision task, scheduledEventId = 2"):
        swf.respond(task)
    assert swf.poll_decision()["previousStartedEventId"] == 0, "a task that timed out does not move it"


def test_a_decision_task_that_times_out_while_another_waits_schedules_no_third(swf):
    run = swf.start(taskStartToCloseTimeout="5")
    swf.poll_decision()
    swf.signal()
    swf.advance(5)
    assert swf.types(run)[-1] == "DecisionTaskTimedOut"
    assert swf.poll_decision()["startedEventId"] == 7


def test_a_waiting_decision_task_never_times_out_by_itself(swf):
    swf.start(executionStartToCloseTimeout="31536000")
    swf.advance(86_400)
    assert swf.poll_decision()["startedEventId"] == 3


def test_the_closed_execution_answers_its_decider_in_the_spelling_for_closed_executions(swf):
    run = swf.start()
    task = swf.poll_decision()
    swf.here("TerminateWorkflowExecution", workflowId="w")
    with pytest.raises(Fault) as caught:
        swf.respond(task, complete())
    assert caught.value.message == f"Unknown execution: WorkflowExecution=[workflowId=w, runId={run}]"
    assert swf.types(run)[-1] == "WorkflowExecutionTerminated"


def test_a_completed_task_cannot_be_completed_twice(swf):
    swf.start()
    task = swf.decide()
    with pytest.raises(Fault, match="Unknown decision task, scheduledEventId = 2"):
        swf.respond(task)


@pytest.mark.parametrize("token", ["x", "AAAA", "ä", "A" * 1024, "=" * 4])
def test_a_token_that_was_never_given_out_is_invalid(swf, token):
    swf.start()
    swf.poll_decision()
    with pytest.raises(Fault, match="Invalid token") as caught:
        swf.call("RespondDecisionTaskCompleted", taskToken=token)
    assert caught.value.code == "ValidationException"


def test_a_token_of_an_activity_is_no_token_of_a_decision_task(swf):
    swf.start()
    swf.decide(activity())
    with pytest.raises(Fault, match="Invalid token"):
        swf.respond(swf.poll_activity())


def test_a_token_of_another_engine_is_invalid(swf, tmp_path):
    from engine_kit import Swf

    other = Swf(tmp_path / "other.db")
    other.prepare()
    other.start()
    task = other.poll_decision()
    swf.start()
    swf.poll_decision()
    with pytest.raises(Fault, match="Invalid token"):
        swf.respond(task)
    other.engine.close()


# --- close and UNHANDLED_DECISION

_CLOSES = {
    "CompleteWorkflowExecution": ("WorkflowExecutionCompleted", "COMPLETED"),
    "FailWorkflowExecution": ("WorkflowExecutionFailed", "FAILED"),
    "CancelWorkflowExecution": ("WorkflowExecutionCanceled", "CANCELED"),
    "ContinueAsNewWorkflowExecution": ("WorkflowExecutionContinuedAsNew", "CONTINUED_AS_NEW"),
}


@pytest.mark.parametrize("close", _CLOSES)
def test_a_close_is_refused_while_a_decision_task_waits_and_applied_on_the_next_one(swf, close):
    run = swf.start()
    task = swf.poll_decision()
    swf.signal()
    swf.respond(task, decision("RecordMarker", markerName="m"), decision(close))
    assert swf.types(run, last=3) == ["DecisionTaskCompleted", "MarkerRecorded", f"{close}Failed"]
    assert swf.last(run, f"{close}Failed") == {"cause": "UNHANDLED_DECISION", "decisionTaskCompletedEventId": 6}
    swf.decide(decision(close))
    event_type, status = _CLOSES[close]
    assert swf.types(run)[-1] == event_type
    assert swf.describe("w", run)["executionInfo"]["closeStatus"] == status


@pytest.mark.parametrize("close", _CLOSES)
def test_open_work_does_not_hold_a_close_up(swf, close):
    run = swf.start()
    swf.decide(activity(), timer(), child())
    swf.tick()
    assert swf.types(run)[-1] == "DecisionTaskScheduled", "the child's start asks for a decision"
    swf.decide(decision(close))
    assert swf.types(run)[-1] == _CLOSES[close][0]


def test_a_failure_of_the_same_batch_does_not_hold_the_close_up(swf):
    run = swf.start()
    swf.decide(decision("CancelTimer", timerId="x"), complete())
    assert swf.types(run, last=2) == ["CancelTimerFailed", "WorkflowExecutionCompleted"]


def test_the_start_of_an_activity_during_the_decision_does_not_hold_the_close_up(swf):
    run = swf.start()
    swf.decide(activity())
    swf.signal()
    task = swf.poll_decision()
    swf.poll_activity()
    swf.respond(task, complete())
    assert swf.types(run)[-1] == "WorkflowExecutionCompleted"


# --- the race matrix


def _external_events():
    def signal(swf, state):
        swf.signal()

    def cancel(swf, state):
        swf.here("RequestCancelWorkflowExecution", workflowId="w")

    def activity_done(swf, state):
        swf.call("RespondActivityTaskCompleted", taskToken=state["activity"]["taskToken"])

    def timer_fires(swf, state):
        swf.advance(10)

    def child_closes(swf, state):
        swf.here("TerminateWorkflowExecution", workflowId="child")
        swf.tick()

    def function_done(swf, state):
        swf.engine.finish_lambda(swf.now, state["call"].ref, Returned("1"))

    return {f.__name__: f for f in (signal, cancel, activity_done, timer_fires, child_closes, function_done)}


@pytest.mark.parametrize("event", _external_events().values(), ids=_external_events())
@pytest.mark.parametrize("when", ["before the task is started", "while it is started", "after it is completed"])
@pytest.mark.parametrize("answer", ["nothing", "schedule", "close"])
def test_race_matrix(swf, event, when, answer):
    role = "arn:aws:iam::000000000000:role/r"
    run = swf.start(executionStartToCloseTimeout="9000", taskStartToCloseTimeout="NONE", lambdaRole=role)
    swf.decide(activity(), timer("t1", 10), child(), decision("ScheduleLambdaFunction", id="l", name="f"))
    swf.tick()
    state = {"activity": swf.poll_activity(), "call": swf.engine.take_invocations()[0]}
    answers = {"nothing": (), "schedule": (timer("t2", 100),), "close": (complete(),)}[answer]
    if when == "before the task is started":
        event(swf, state)
    task = swf.poll_decision()
    if when == "while it is started":
        event(swf, state)
    swf.respond(task, *answers)
    types = swf.types(run)
    if answer == "close":
        refused = when == "while it is started"
        assert types[-1] == ("CompleteWorkflowExecutionFailed" if refused else "WorkflowExecutionCompleted")
        if not refused:
            return
    if when == "after it is completed":
        event(swf, state)
        assert swf.types(run)[-1] == "DecisionTaskScheduled"
    expects_task = when != "before the task is started"
    assert (swf.poll_decision()["startedEventId"] > 0) == expects_task
