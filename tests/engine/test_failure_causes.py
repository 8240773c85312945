"""What a decision that fails writes and leaves, cause by cause; `test_everything.py` sees to it that no cause is forgotten."""

from __future__ import annotations

import pytest
from engine_kit import Swf, activity, child, complete, decision, timer

from flowdsl.engine import Quotas

ACTIVITY_DEFAULTS = {
    "DEFAULT_TASK_LIST_UNDEFINED": "defaultTaskList",
    "DEFAULT_SCHEDULE_TO_CLOSE_TIMEOUT_UNDEFINED": "defaultTaskScheduleToCloseTimeout",
    "DEFAULT_SCHEDULE_TO_START_TIMEOUT_UNDEFINED": "defaultTaskScheduleToStartTimeout",
    "DEFAULT_START_TO_CLOSE_TIMEOUT_UNDEFINED": "defaultTaskStartToCloseTimeout",
    "DEFAULT_HEARTBEAT_TIMEOUT_UNDEFINED": "defaultTaskHeartbeatTimeout",
}
RUN_DEFAULTS = {
    "DEFAULT_EXECUTION_START_TO_CLOSE_TIMEOUT_UNDEFINED": "defaultExecutionStartToCloseTimeout",
    "DEFAULT_TASK_START_TO_CLOSE_TIMEOUT_UNDEFINED": "defaultTaskStartToCloseTimeout",
    "DEFAULT_TASK_LIST_UNDEFINED": "defaultTaskList",
    "DEFAULT_CHILD_POLICY_UNDEFINED": "defaultChildPolicy",
}


@pytest.fixture
def run(swf):
    return swf.start()


def fails(swf, run, event_type, cause, *decisions):
    """The last decision fails with the cause, as the last event before the decision task that it asks for."""
    swf.decide(*decisions)
    assert swf.types(run, last=2) == [event_type, "DecisionTaskScheduled"]
    given = swf.last(run, event_type)
    assert given["cause"] == cause
    return given


def test_an_activity_of_an_unknown_type(swf, run):
    given = fails(swf, run, "ScheduleActivityTaskFailed", "ACTIVITY_TYPE_DOES_NOT_EXIST", activity("a", "nothing"))
    assert given == {
        "activityType": {"name": "nothing", "version": "1"},
        "activityId": "a",
        "cause": "ACTIVITY_TYPE_DOES_NOT_EXIST",
        "decisionTaskCompletedEventId": 4,
    }


def test_an_activity_of_a_deprecated_type(swf, run):
    swf.here("DeprecateActivityType", activityType={"name": "act", "version": "1"})
    fails(swf, run, "ScheduleActivityTaskFailed", "ACTIVITY_TYPE_DEPRECATED", activity())


@pytest.mark.parametrize("cause", ACTIVITY_DEFAULTS)
def test_an_activity_without_a_default(swf, run, cause):
    swf.register_activity("bare", **{ACTIVITY_DEFAULTS[cause]: None})
    fails(swf, run, "ScheduleActivityTaskFailed", cause, activity("a", "bare"))
    member = {"defaultTaskList": "taskList"}.get(ACTIVITY_DEFAULTS[cause]) or ACTIVITY_DEFAULTS[cause].removeprefix("defaultTask")
    member = member[0].lower() + member[1:]
    swf.decide(activity("a", "bare", **{member: {"name": "x"} if member == "taskList" else "7"}))
    assert swf.types(run)[-1] == "ActivityTaskScheduled", "the decision's own value is enough"


def test_an_empty_duration_is_no_duration(swf, run):
    swf.register_activity("bare", defaultTaskStartToCloseTimeout=None)
    fails(swf, run, "ScheduleActivityTaskFailed", "DEFAULT_START_TO_CLOSE_TIMEOUT_UNDEFINED", activity("a", "bare", startToCloseTimeout=""))


def test_an_activity_id_that_is_open(swf, run):
    fails(swf, run, "ScheduleActivityTaskFailed", "ACTIVITY_ID_ALREADY_IN_USE", activity("a"), activity("a"))
    swf.work()
    swf.decide(activity("a"))
    assert swf.types(run)[-1] == "ActivityTaskScheduled", "a closed activity's id is free again"


def test_a_cancel_of_an_unknown_activity(swf, run):
    cancel = decision("RequestCancelActivityTask", activityId="a")
    fails(swf, run, "RequestCancelActivityTaskFailed", "ACTIVITY_ID_UNKNOWN", cancel)


def test_a_cancel_of_a_closed_activity(swf, run):
    swf.decide(activity("a"))
    swf.work()
    cancel = decision("RequestCancelActivityTask", activityId="a")
    fails(swf, run, "RequestCancelActivityTaskFailed", "ACTIVITY_ID_UNKNOWN", cancel)


def test_a_timer_id_that_is_open(swf, run):
    fails(swf, run, "StartTimerFailed", "TIMER_ID_ALREADY_IN_USE", timer("t"), timer("t"))


def test_a_timer_that_is_started_and_cancelled_in_one_batch(swf, run):
    swf.decide(timer("t"), decision("CancelTimer", timerId="t"), timer("t"))
    assert swf.types(run, last=3) == ["TimerStarted", "TimerCanceled", "TimerStarted"]


@pytest.mark.parametrize("first", [(), (timer("t", 0),)])
def test_a_cancel_of_a_timer_that_is_not_open(swf, run, first):
    swf.decide(*first)
    swf.signal()
    swf.tick()
    fails(swf, run, "CancelTimerFailed", "TIMER_ID_UNKNOWN", decision("CancelTimer", timerId="t"))


def test_a_child_of_an_unknown_type(swf, run):
    given = fails(swf, run, "StartChildWorkflowExecutionFailed", "WORKFLOW_TYPE_DOES_NOT_EXIST", child("c", "nothing", control="x"))
    assert given["initiatedEventId"] == 0
    assert given["control"] == "x"
    assert "StartChildWorkflowExecutionInitiated" not in swf.types(run)


def test_a_child_of_a_deprecated_type(swf, run):
    swf.register_workflow("old")
    swf.here("DeprecateWorkflowType", workflowType={"name": "old", "version": "1"})
    fails(swf, run, "StartChildWorkflowExecutionFailed", "WORKFLOW_TYPE_DEPRECATED", child("c", "old"))


@pytest.mark.parametrize("cause", RUN_DEFAULTS)
def test_a_child_without_a_default(swf, run, cause):
    swf.register_workflow("bare", **{RUN_DEFAULTS[cause]: None})
    asked = child("c", "bare")
    del asked["startChildWorkflowExecutionDecisionAttributes"]["taskList"]
    fails(swf, run, "StartChildWorkflowExecutionFailed", cause, asked)


def test_a_child_whose_workflow_id_is_open_fails_after_its_initiation(swf, run):
    swf.decide(child("w", control="c"))
    assert swf.types(run)[-1] == "StartChildWorkflowExecutionInitiated"
    swf.tick()
    assert swf.types(run, last=2) == ["StartChildWorkflowExecutionFailed", "DecisionTaskScheduled"]
    assert swf.last(run, "StartChildWorkflowExecutionFailed") == {
        "workflowType": {"name": "flow", "version": "1"},
        "workflowId": "w",
        "cause": "WORKFLOW_ALREADY_RUNNING",
        "initiatedEventId": 5,
        "decisionTaskCompletedEventId": 4,
        "control": "c",
    }
    assert swf.describe("w", run)["openCounts"]["openChildWorkflowExecutions"] == 0


@pytest.mark.parametrize(
    ("kind", "more"), [("SignalExternalWorkflowExecution", {"signalName": "s"}), ("RequestCancelExternalWorkflowExecution", {})]
)
@pytest.mark.parametrize("named", [{"workflowId": "nobody"}, {"workflowId": "w", "runId": "22another"}])
def test_nobody_at_the_other_end(swf, run, kind, more, named):
    swf.decide(decision(kind, **named, **more, control="c"))
    assert swf.types(run)[-1] == f"{kind}Initiated"
    swf.tick()
    assert swf.types(run, last=2) == [f"{kind}Failed", "DecisionTaskScheduled"]
    assert swf.last(run, f"{kind}Failed") == named | {
        "cause": "UNKNOWN_EXTERNAL_WORKFLOW_EXECUTION",
        "initiatedEventId": 5,
        "decisionTaskCompletedEventId": 4,
        "control": "c",
    }


def test_a_lambda_id_that_is_open(swf, run):
    ask = decision("ScheduleLambdaFunction", id="l", name="f")
    given = fails(swf, run, "ScheduleLambdaFunctionFailed", "ID_ALREADY_IN_USE", ask, ask)
    assert given == {"id": "l", "name": "f", "cause": "ID_ALREADY_IN_USE", "decisionTaskCompletedEventId": 4}


@pytest.mark.parametrize("cause", RUN_DEFAULTS)
def test_a_continuation_takes_the_type_s_defaults_and_not_the_old_run_s_values(swf, cause):
    swf.register_workflow("bare", **{RUN_DEFAULTS[cause]: None})
    values = {
        "executionStartToCloseTimeout": "10", "taskStartToCloseTimeout": "10", "taskList": {"name": "deciders"}, "childPolicy": "ABANDON",
    }  # fmt: skip
    run = swf.start("w", "bare", **values)
    fails(swf, run, "ContinueAsNewWorkflowExecutionFailed", cause, decision("ContinueAsNewWorkflowExecution"))


def test_a_continuation_of_a_version_that_does_not_exist(swf, run):
    ask = decision("ContinueAsNewWorkflowExecution", workflowTypeVersion="2")
    fails(swf, run, "ContinueAsNewWorkflowExecutionFailed", "WORKFLOW_TYPE_DOES_NOT_EXIST", ask)


def test_a_continuation_of_a_deprecated_type(swf, run):
    swf.here("DeprecateWorkflowType", workflowType={"name": "flow", "version": "1"})
    fails(swf, run, "ContinueAsNewWorkflowExecutionFailed", "WORKFLOW_TYPE_DEPRECATED", decision("ContinueAsNewWorkflowExecution"))


# --- open limits, scaled down

LIMITS = {
    "OPEN_ACTIVITIES_LIMIT_EXCEEDED": ("open_activities", "ScheduleActivityTaskFailed", activity),
    "OPEN_TIMERS_LIMIT_EXCEEDED": ("open_timers", "StartTimerFailed", timer),
    "OPEN_CHILDREN_LIMIT_EXCEEDED": ("open_children", "StartChildWorkflowExecutionFailed", child),
    "OPEN_WORKFLOWS_LIMIT_EXCEEDED": ("open_executions", "StartChildWorkflowExecutionFailed", child),
    "OPEN_LAMBDA_FUNCTIONS_LIMIT_EXCEEDED": (
        "open_lambdas",
        "ScheduleLambdaFunctionFailed",
        lambda id_: decision("ScheduleLambdaFunction", id=id_, name="f"),
    ),
}


@pytest.mark.parametrize("cause", LIMITS)
def test_an_open_limit(tmp_path, cause):
    quota, event_type, ask = LIMITS[cause]
    allowed = 2
    swf = Swf(tmp_path / "e.db", quotas=Quotas(**{quota: allowed + (quota == "open_executions")}))
    swf.prepare()
    run = swf.start()
    swf.decide(*[ask(f"id{number}") for number in range(allowed + 2)])
    types = swf.types(run)
    assert types.count(event_type) == 2
    assert swf.last(run, event_type)["cause"] == cause
    swf.check_all()
    swf.engine.close()


def test_the_default_limit_of_open_activities_is_a_thousand(swf, run):
    swf.decide(*[activity(f"a{number}") for number in range(1001)])
    assert swf.types(run, last=3) == ["ActivityTaskScheduled", "ScheduleActivityTaskFailed", "DecisionTaskScheduled"]
    assert swf.describe("w", run)["openCounts"]["openActivityTasks"] == 1000
    swf.work()
    swf.decide(activity("another"))
    assert swf.types(run)[-1] == "ActivityTaskScheduled"


def test_a_history_that_reaches_its_limit_is_terminated_with_its_last_event(tmp_path):
    swf = Swf(tmp_path / "e.db", quotas=Quotas(history_events=20))
    swf.prepare()
    run = swf.start()
    for _ in range(17):
        swf.signal()
    types = swf.types(run)
    assert len(types) == 20
    assert types[-1] == "WorkflowExecutionTerminated"
    assert swf.last(run, "WorkflowExecutionTerminated") == {"cause": "EVENT_LIMIT_EXCEEDED", "childPolicy": "TERMINATE"}
    swf.check_all()
    swf.engine.close()


def test_a_refused_close_leaves_the_rest_of_its_batch_applied(swf, run):
    task = swf.poll_decision()
    swf.signal()
    swf.respond(task, decision("RecordMarker", markerName="m"), child(), complete())
    swf.tick()
    types = swf.types(run)
    assert "CompleteWorkflowExecutionFailed" in types
    assert {"MarkerRecorded", "ChildWorkflowExecutionStarted"} <= set(types)
