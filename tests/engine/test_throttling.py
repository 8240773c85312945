"""Rates that an engine keeps if it is told to; quotas that a test scales down."""

from __future__ import annotations

from dataclasses import replace

import pytest
from engine_kit import Swf, activity, child, decision, timer
from hypothesis import given
from hypothesis import strategies as st

from flowdsl import limits
from flowdsl.engine import Engine, ManualClock, Quotas, Service, Throttles
from flowdsl.engine.throttling import CAUSES, Buckets
from flowdsl.errors import Fault
from flowdsl.model.lifecycle import attributes

NONE = Throttles(calls={}, decisions={}, executions={}, task_list=(1e9, 1e9))


def throttled_swf(**rates):
    swf = Swf(throttles=replace(NONE, **rates))
    swf.prepare()
    return swf


def test_a_bucket_begins_full_and_gains_its_rate():
    swf = throttled_swf(calls={"ListDomains": (3, 2)})

    def taken():
        count = 0
        with pytest.raises(Fault, match="Rate exceeded") as refused:
            while True:
                swf.call("ListDomains", registrationStatus="REGISTERED")
                count += 1
        assert (refused.value.code, refused.value.retryable) == ("ThrottlingException", True)
        return count

    assert taken() == 3
    swf.now += 499
    assert taken() == 0
    swf.now += 1
    assert taken() == 1
    swf.now += 60_000
    assert taken() == 3
    swf.engine.close()


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 5))))
def test_no_window_ever_lets_more_through_than_the_bucket_and_its_rate(steps):
    now, passed, buckets = 0, [], Buckets(Throttles(calls={"op": (4, 2)}, executions={}), None)
    for wait, calls in steps:
        now += wait
        for _ in range(calls):
            try:
                buckets.check_call(now, "op", {})
            except Fault:
                continue
            passed.append(now)
    for begin, since in enumerate(passed):
        assert all(len(passed[begin : end + 1]) <= 4 + (passed[end] - since) * 2 / 1000 + 1e-9 for end in range(begin, len(passed)))


def test_buckets_of_executions_that_are_over_do_not_pile_up():
    buckets = Buckets(Throttles(calls={}, executions={"SignalWorkflowExecution": (2, 1)}), None)
    for number in range(25_000):
        buckets.check_call(number * 10, "SignalWorkflowExecution", {"domain": "d", "workflowId": str(number)})
    assert len(buckets._left) < 10_100


def test_an_invalid_request_costs_nothing():
    swf = throttled_swf(calls={"ListDomains": (1, 0)})
    with pytest.raises(Fault, match="validation error"):
        swf.call("ListDomains")
    swf.call("ListDomains", registrationStatus="REGISTERED")
    swf.engine.close()


@pytest.mark.parametrize("operation", list(limits.EXECUTION_RATES))
def test_one_execution_has_a_bucket_of_its_own(operation):
    swf = throttled_swf(executions={operation: (2, 1)})

    def call_for(workflow_id):
        run = swf.start(workflow_id)
        swf.decide(activity())
        token = swf.poll_activity()["taskToken"]
        sent = {
            "GetWorkflowExecutionHistory": {"domain": "dom", "execution": {"workflowId": workflow_id, "runId": run}},
            "RecordActivityTaskHeartbeat": {"taskToken": token},
            "RequestCancelWorkflowExecution": {"domain": "dom", "workflowId": workflow_id},
            "SignalWorkflowExecution": {"domain": "dom", "workflowId": workflow_id, "signalName": "s"},
        }[operation]
        return lambda: swf.call(operation, **sent)

    one, other = call_for("one"), call_for("other")
    for call in (one, one, other, other):
        call()
    for call in (one, other):
        with pytest.raises(Fault, match="Rate exceeded"):
            call()
    swf.engine.close()


def test_a_heartbeat_with_a_forged_token_is_invalid_and_not_throttled():
    swf = throttled_swf(executions={"RecordActivityTaskHeartbeat": (1, 1)})
    with pytest.raises(Fault, match="Invalid token"):
        swf.call("RecordActivityTaskHeartbeat", taskToken="forged")
    swf.engine.close()


EXTERNAL = {"workflowId": "nobody"}
DECISIONS = {
    "ScheduleActivityTask": (activity("a1"), activity("a2")),
    "StartTimer": (timer("t1"), timer("t2")),
    "StartChildWorkflowExecution": (child("c1"), child("c2")),
    "SignalExternalWorkflowExecution": (decision("SignalExternalWorkflowExecution", **EXTERNAL, signalName="s"),) * 2,
    "RequestCancelExternalWorkflowExecution": (decision("RequestCancelExternalWorkflowExecution", **EXTERNAL),) * 2,
    "ScheduleLambdaFunction": tuple(decision("ScheduleLambdaFunction", id=name, name="f") for name in ("l1", "l2")),
}


@pytest.mark.parametrize("kind", DECISIONS)
def test_a_decision_beyond_its_rate_fails_with_its_cause_and_asks_for_a_decision(kind):
    swf = throttled_swf(decisions={kind: (1, 1)})
    run = swf.start()
    swf.decide(*DECISIONS[kind])
    swf.tick()
    failed = {
        "ScheduleActivityTask": "ScheduleActivityTaskFailed",
        "StartTimer": "StartTimerFailed",
        "ScheduleLambdaFunction": "ScheduleLambdaFunctionFailed",
    }.get(kind, f"{kind}Failed")
    causes = [attributes(event)["cause"] for event in swf.history(run) if event["eventType"] == failed]
    assert causes.count(CAUSES[kind]) == 1
    assert "DecisionTaskScheduled" in swf.types(run)[4:]
    swf.check_all()
    swf.engine.close()


def test_a_continuation_beyond_its_rate_fails_and_the_run_goes_on():
    swf = throttled_swf(decisions={"ContinueAsNewWorkflowExecution": (1, 1)})
    swf.start()
    swf.decide(decision("ContinueAsNewWorkflowExecution"))
    run = swf.open_run("w")
    swf.decide(decision("ContinueAsNewWorkflowExecution"))
    cause = swf.last(run, "ContinueAsNewWorkflowExecutionFailed")["cause"]
    assert cause == "CONTINUE_AS_NEW_WORKFLOW_EXECUTION_RATE_EXCEEDED"
    swf.now += 1000
    swf.decide(decision("ContinueAsNewWorkflowExecution"))
    assert swf.open_run("w") != run
    swf.engine.close()


def test_what_is_refused_by_rate_was_initiated_and_carries_both_ids():
    swf = throttled_swf(decisions={"SignalExternalWorkflowExecution": (0.5, 0.1)})
    run = swf.start()
    swf.start("target")
    swf.decide(decision("SignalExternalWorkflowExecution", workflowId="target", signalName="s", control="c"))
    swf.tick()
    assert swf.last(run, "SignalExternalWorkflowExecutionFailed") == {
        "workflowId": "target",
        "initiatedEventId": 5,
        "decisionTaskCompletedEventId": 4,
        "control": "c",
        "cause": "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_RATE_EXCEEDED",
    }
    assert "WorkflowExecutionSignaled" not in swf.types(swf.open_run("target"), "target")
    swf.engine.close()


def test_one_task_list_takes_so_many_activities_a_second():
    swf = throttled_swf(task_list=(2, 2))
    run = swf.start()
    swf.decide(*(activity(f"a{number}") for number in range(3)), activity("other", taskList={"name": "other"}))
    assert swf.types(run).count("ActivityTaskScheduled") == 3
    assert swf.last(run, "ScheduleActivityTaskFailed")["activityId"] == "a2"
    swf.engine.close()


def test_a_poll_that_waits_is_counted_once():
    throttles = Throttles(calls={"PollForDecisionTask": (1, 0)}, decisions={}, executions={})
    service = Service(Engine(throttles=throttles), ManualClock())
    service.call("RegisterDomain", {"name": "d", "workflowExecutionRetentionPeriodInDays": "1"})
    service.call("RegisterWorkflowType", {"domain": "d", "name": "flow", "version": "1"})
    answers = []
    poll = {"domain": "d", "taskList": {"name": "l"}}
    service.submit("PollForDecisionTask", poll, answers.append)
    service.call("StartWorkflowExecution", {
        "domain": "d", "workflowId": "w", "workflowType": {"name": "flow", "version": "1"}, "taskList": {"name": "l"},
        "taskStartToCloseTimeout": "NONE", "executionStartToCloseTimeout": "9", "childPolicy": "TERMINATE",
    })  # fmt: skip
    assert "taskToken" in answers[0]
    with pytest.raises(Fault, match="Rate exceeded"):
        service.call("PollForDecisionTask", poll)
    service.close()


def test_without_throttles_nothing_is_throttled(swf):
    for _ in range(2500):
        swf.here("CountPendingActivityTasks", taskList={"name": "l"})


def test_the_rates_are_amazon_swf_s_and_can_be_scaled():
    throttles = Throttles()
    assert throttles.calls["StartWorkflowExecution"] == (2000, 200)
    scaled = throttles.scaled(0.001)
    assert scaled.calls["StartWorkflowExecution"] == (2, 0.2)
    assert scaled.calls["ListDomains"] == (1, 0.006), "a bucket holds at least one token"


def test_quotas_are_scaled_all_at_once():
    scaled = Quotas().scaled(0.01)
    assert (scaled.domains, scaled.open_timers, scaled.open_executions, scaled.history_events) == (1, 10, 1000, 250)
    assert scaled.request_bytes == Quotas().request_bytes, "the size of a request is no count"
    assert Quotas().scaled(1e-9).open_timers == 1


def test_an_execution_fits_into_the_shortest_history():
    swf = Swf(quotas=Quotas().scaled(1e-9))
    swf.prepare()
    run = swf.start()
    swf.decide(decision("CompleteWorkflowExecution"))
    assert swf.types(run)[-1] == "WorkflowExecutionCompleted"
    swf.engine.close()
