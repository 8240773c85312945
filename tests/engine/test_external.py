"""Signals and cancel requests, from the API and from other executions; activities' cancellation; lambda tasks; termination."""

from __future__ import annotations

import pytest
from engine_kit import activity, complete, decision, timer

from flowdsl.errors import Fault


def test_a_signal_from_the_api(swf):
    run = swf.start()
    swf.signal(input="x", runId=run)
    assert swf.last(run, "WorkflowExecutionSignaled") == {"signalName": "sig", "input": "x", "externalInitiatedEventId": 0}


def test_a_thousand_signals_keep_their_order(swf):
    run = swf.start()
    for number in range(1000):
        swf.signal(input=str(number))
    given = [e["workflowExecutionSignaledEventAttributes"]["input"] for e in swf.history(run) if "Signaled" in e["eventType"]]
    assert given == [str(number) for number in range(1000)]


def test_cancel_requests_are_recorded_each_time_and_decide_nothing(swf):
    run = swf.start()
    for _ in range(2):
        swf.here("RequestCancelWorkflowExecution", workflowId="w")
    assert swf.types(run).count("WorkflowExecutionCancelRequested") == 2
    assert swf.last(run, "WorkflowExecutionCancelRequested") == {"externalInitiatedEventId": 0}
    assert swf.describe("w", run)["executionInfo"]["cancelRequested"] is True
    swf.decide(complete("all the same"))
    info = swf.describe("w", run)["executionInfo"]
    assert (info["closeStatus"], info["cancelRequested"]) == ("COMPLETED", False), "recorded: false once it is closed"


@pytest.mark.parametrize("operation", ["SignalWorkflowExecution", "RequestCancelWorkflowExecution", "TerminateWorkflowExecution"])
def test_what_is_not_open_cannot_be_reached(swf, operation):
    more = {"signalName": "s"} if operation.startswith("Signal") else {}
    assert swf.refused(operation, workflowId="w", **more).message == "Unknown execution, workflowId = w"
    run = swf.start()
    fault = swf.refused(operation, workflowId="w", runId="another", **more)
    assert fault.message == "Unknown execution: WorkflowExecution=[workflowId=w, runId=another]"
    swf.decide(complete())
    for named in ({}, {"runId": run}):
        assert swf.refused(operation, workflowId="w", **named, **more).code == "UnknownResourceFault"


def test_a_termination_closes_at_once_also_during_a_decision(swf):
    run = swf.start()
    swf.poll_decision()
    swf.here("TerminateWorkflowExecution", workflowId="w", reason="r", details="d")
    assert swf.last(run, "WorkflowExecutionTerminated") == {
        "reason": "r", "details": "d", "childPolicy": "TERMINATE", "cause": "OPERATOR_INITIATED",
    }  # fmt: skip


# --- from execution to execution


def test_a_signal_from_another_execution_names_its_sender(swf):
    run, other = swf.start(), swf.start("other", taskList={"name": "others"})
    swf.decide(decision("SignalExternalWorkflowExecution", workflowId="other", signalName="s", input="i", control="c"))
    assert swf.last(run, "SignalExternalWorkflowExecutionInitiated") == {
        "workflowId": "other", "signalName": "s", "input": "i", "control": "c", "decisionTaskCompletedEventId": 4,
    }  # fmt: skip
    assert len(swf.types(other, "other")) == 2, "the delivery is a transaction of its own"
    swf.tick()
    assert swf.last(other, "WorkflowExecutionSignaled", "other") == {
        "signalName": "s", "input": "i", "externalWorkflowExecution": {"workflowId": "w", "runId": run}, "externalInitiatedEventId": 5,
    }  # fmt: skip
    assert swf.types(run, last=2) == ["ExternalWorkflowExecutionSignaled", "DecisionTaskScheduled"]
    assert swf.last(run, "ExternalWorkflowExecutionSignaled") == {
        "workflowExecution": {"workflowId": "other", "runId": other}, "initiatedEventId": 5,
    }  # fmt: skip


def test_a_signal_to_itself(swf):
    run = swf.start()
    swf.decide(decision("SignalExternalWorkflowExecution", workflowId="w", signalName="s"))
    swf.tick()
    assert swf.types(run, last=4) == [
        "SignalExternalWorkflowExecutionInitiated",
        "WorkflowExecutionSignaled",
        "DecisionTaskScheduled",
        "ExternalWorkflowExecutionSignaled",
    ]


def test_a_cancel_request_from_another_execution(swf):
    run, other = swf.start(), swf.start("other", taskList={"name": "others"})
    swf.decide(decision("RequestCancelExternalWorkflowExecution", workflowId="other", runId=other))
    swf.tick()
    assert swf.last(other, "WorkflowExecutionCancelRequested", "other") == {
        "externalWorkflowExecution": {"workflowId": "w", "runId": run}, "externalInitiatedEventId": 5,
    }  # fmt: skip
    assert swf.last(run, "ExternalWorkflowExecutionCancelRequested") == {
        "workflowExecution": {"workflowId": "other", "runId": other}, "initiatedEventId": 5,
    }  # fmt: skip
    assert swf.describe("other", other)["executionInfo"]["cancelRequested"] is True


def test_what_a_closing_batch_sends_is_delivered_all_the_same(swf):
    run, other = swf.start(), swf.start("other", taskList={"name": "others"})
    swf.decide(decision("SignalExternalWorkflowExecution", workflowId="other", signalName="s"), complete())
    swf.tick()
    assert "WorkflowExecutionSignaled" in swf.types(other, "other")
    assert swf.types(run)[-1] == "WorkflowExecutionCompleted"


# --- cancelling activities


def test_an_activity_that_was_never_started_is_cancelled_after_the_batch(swf):
    run = swf.start()
    swf.decide(activity("a"))
    swf.signal()
    swf.decide(decision("RequestCancelActivityTask", activityId="a"), timer())
    assert swf.types(run, last=4) == ["ActivityTaskCancelRequested", "TimerStarted", "ActivityTaskCanceled", "DecisionTaskScheduled"]
    assert swf.last(run, "ActivityTaskCanceled") == {"scheduledEventId": 5, "startedEventId": 0, "latestCancelRequestedEventId": 10}
    assert "taskToken" not in swf.poll_activity()


def test_a_batch_that_closes_leaves_the_cancellation_of_a_waiting_activity_out(swf):
    run = swf.start()
    swf.decide(activity("a"))
    swf.signal()
    swf.decide(decision("RequestCancelActivityTask", activityId="a"), complete())
    assert swf.types(run, last=2) == ["ActivityTaskCancelRequested", "WorkflowExecutionCompleted"]


def test_an_activity_that_is_scheduled_and_cancelled_in_one_batch(swf):
    run = swf.start()
    cancel = decision("RequestCancelActivityTask", activityId="a")
    swf.decide(activity("a"), cancel, cancel)
    assert swf.types(run, last=5) == [
        "ActivityTaskScheduled",
        "ActivityTaskCancelRequested",
        "ActivityTaskCancelRequested",
        "ActivityTaskCanceled",
        "DecisionTaskScheduled",
    ]


@pytest.mark.parametrize("answer", ["Canceled", "Completed", "Failed"])
def test_a_started_activity_learns_of_its_cancellation_and_answers_as_it_likes(swf, answer):
    run = swf.start()
    swf.decide(activity("a"))
    task = swf.poll_activity()
    assert swf.call("RecordActivityTaskHeartbeat", taskToken=task["taskToken"]) == {"cancelRequested": False}
    swf.signal()
    swf.decide(decision("RequestCancelActivityTask", activityId="a"))
    assert swf.types(run)[-1] == "ActivityTaskCancelRequested"
    assert swf.call("RecordActivityTaskHeartbeat", taskToken=task["taskToken"]) == {"cancelRequested": True}
    swf.call(f"RespondActivityTask{answer}", taskToken=task["taskToken"])
    expected = {"scheduledEventId": 5, "startedEventId": 6}
    assert swf.last(run, f"ActivityTask{answer}") == expected | ({"latestCancelRequestedEventId": 11} if answer == "Canceled" else {})


def test_an_activity_may_say_canceled_though_nobody_asked(swf):
    run = swf.start()
    swf.decide(activity("a"))
    swf.call("RespondActivityTaskCanceled", taskToken=swf.poll_activity()["taskToken"], details="d")
    assert swf.last(run, "ActivityTaskCanceled") == {"scheduledEventId": 5, "startedEventId": 6, "details": "d"}


def test_an_activity_answers_once(swf):
    run = swf.start()
    swf.decide(activity("a", input="in"))
    task = swf.poll_activity(identity="me")
    assert task["input"] == "in"
    assert task["activityType"] == {"name": "act", "version": "1"}
    assert swf.last(run, "ActivityTaskStarted") == {"identity": "me", "scheduledEventId": 5}
    swf.call("RespondActivityTaskFailed", taskToken=task["taskToken"], reason="r", details="d")
    assert swf.last(run, "ActivityTaskFailed") == {"reason": "r", "details": "d", "scheduledEventId": 5, "startedEventId": 6}
    with pytest.raises(Fault, match="Unknown activity, scheduledEventId = 5"):
        swf.call("RespondActivityTaskCompleted", taskToken=task["taskToken"])


def test_activities_of_a_higher_priority_go_first(swf):
    run = swf.start()
    swf.decide(activity("low", taskPriority="-5"), activity("plain"), activity("high", taskPriority="5"), activity("plain 2"))
    assert swf.last(run, "ActivityTaskScheduled").get("taskPriority") is None
    assert [swf.poll_activity()["activityId"] for _ in range(4)] == ["high", "plain", "plain 2", "low"]


def test_a_workflow_s_priority_is_that_of_its_decision_tasks_only(swf):
    swf.start("low")
    run = swf.start("high", taskPriority="1")
    assert swf.poll_decision()["workflowExecution"]["workflowId"] == "high"
    assert swf.last(run, "DecisionTaskScheduled", "high")["taskPriority"] == "1"


def test_lists_of_the_two_kinds_are_separate(swf):
    swf.start(taskList={"name": "same"})
    assert "taskToken" not in swf.poll_activity("same")
    assert swf.here("CountPendingActivityTasks", taskList={"name": "same"}) == {"count": 0, "truncated": False}
    assert swf.here("CountPendingDecisionTasks", taskList={"name": "same"}) == {"count": 1, "truncated": False}
