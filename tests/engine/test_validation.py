"""What a request must be like, and how the service says that it is not."""

from __future__ import annotations

import pytest
from engine_kit import activity, child, complete, decision, timer

from flowdsl.errors import Fault


def refusal(swf, operation, **params):
    with pytest.raises(Fault) as caught:
        swf.call(operation, **params)
    return caught.value


def batch_refusal(swf, *decisions):
    swf.start()
    task = swf.poll_decision()
    with pytest.raises(Fault) as caught:
        swf.respond(task, *decisions)
    assert swf.poll_decision()["startedEventId"] == 0, "the task stays started"
    swf.respond(task)  # and its token stays good for the corrected call
    return caught.value


def test_an_unknown_operation(swf):
    assert refusal(swf, "PollForCoffee").code == "UnknownOperationException"


def test_a_missing_member_is_null_at_its_path(swf):
    fault = refusal(swf, "DescribeDomain")
    assert fault.code == "ValidationException"
    assert fault.message == ("1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null")


def test_null_is_a_missing_member(swf):
    assert "Value null at 'name'" in refusal(swf, "DescribeDomain", name=None).message


def test_unknown_members_are_ignored(swf):
    assert swf.call("DescribeDomain", name=swf.domain, colour="red")["domainInfo"]["name"] == swf.domain


def test_all_violations_are_reported_together_and_counted(swf):
    fault = refusal(swf, "RegisterDomain", name="", workflowExecutionRetentionPeriodInDays="x", description="d" * 1025)
    assert fault.message.startswith("3 validation errors detected: Value '' at 'name' failed to satisfy constraint: ")
    assert "Member must have length greater than or equal to 1; " in fault.message
    assert "Member must have length less than or equal to 1024" in fault.message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "class java.lang.Long can not be converted to an String"),
        (1.5, "class java.lang.Double can not be converted to an String"),
        (True, "class java.lang.Boolean can not be converted to an String"),
        ({}, "Start of structure or map found where not expected."),
        ([], "Start of list found where not expected."),
    ],
)
def test_a_value_of_the_wrong_type_is_a_serialization_fault(swf, value, message):
    fault = refusal(swf, "DescribeDomain", name=value)
    assert (fault.code, fault.message) == ("SerializationException", message)


@pytest.mark.parametrize("params", [{"maximumPageSize": "5"}, {"maximumPageSize": True}, {"reverseOrder": "true"}, {"reverseOrder": 1}])
def test_numbers_and_booleans_are_not_texts(swf, params):
    assert refusal(swf, "ListDomains", registrationStatus="REGISTERED", **params).code == "SerializationException"


@pytest.mark.parametrize("when", ["yesterday", True, float("nan"), float("inf"), 1e300, [], None])
def test_a_time_is_a_number(swf, when):
    code = refusal(swf, "CountOpenWorkflowExecutions", domain=swf.domain, startTimeFilter={"oldestDate": when}).code
    assert code == ("ValidationException" if when is None else "SerializationException")


@pytest.mark.parametrize(("size", "bound"), [(1001, "less than or equal to 1000"), (-1, "greater than or equal to 0")])
def test_page_sizes_have_bounds(swf, size, bound):
    assert refusal(swf, "ListDomains", registrationStatus="REGISTERED", maximumPageSize=size).message == (
        f"1 validation error detected: Value '{size}' at 'maximumPageSize' failed to satisfy constraint: Member must have value {bound}"
    )


def test_an_unknown_decision_type_lists_the_known_ones_in_the_service_s_own_order(swf):
    fault = batch_refusal(swf, timer(), {"decisionType": "Foo"})
    assert fault.message == (
        "1 validation error detected: Value 'Foo' at 'decisions.2.member.decisionType' failed to satisfy constraint: Member must satisfy "
        "enum value set: [CompleteWorkflowExecution, StartTimer, RequestCancelExternalWorkflowExecution, "
        "SignalExternalWorkflowExecution, CancelTimer, RecordMarker, ScheduleActivityTask, ContinueAsNewWorkflowExecution, "
        "ScheduleLambdaFunction, FailWorkflowExecution, RequestCancelActivityTask, StartChildWorkflowExecution, CancelWorkflowExecution]"
    )


def test_a_missing_member_of_a_decision_is_named_by_its_place(swf):
    fault = batch_refusal(swf, decision("StartTimer", startToFireTimeout="1"))
    assert fault.message == (
        "1 validation error detected: Value null at 'decisions.1.member.startTimerDecisionAttributes.timerId' failed to satisfy "
        "constraint: Member must not be null"
    )


@pytest.mark.parametrize(
    "kind",
    [
        "ScheduleActivityTask", "RequestCancelActivityTask", "RecordMarker", "StartTimer", "CancelTimer", "StartChildWorkflowExecution",
        "SignalExternalWorkflowExecution", "RequestCancelExternalWorkflowExecution", "ScheduleLambdaFunction",
    ],
)  # fmt: skip
def test_attributes_with_required_members_may_not_be_left_out(swf, kind):
    fault = batch_refusal(swf, {"decisionType": kind})
    member = f"decisions.1.member.{kind[0].lower()}{kind[1:]}DecisionAttributes"
    assert f"Value null at '{member}' failed to satisfy constraint: Member must not be null" in fault.message


@pytest.mark.parametrize(
    "kind", ["CompleteWorkflowExecution", "FailWorkflowExecution", "CancelWorkflowExecution", "ContinueAsNewWorkflowExecution"]
)
def test_a_close_needs_no_attributes(swf, kind):
    run = swf.start()
    swf.decide({"decisionType": kind})
    assert swf.describe("w", run)["executionInfo"]["executionStatus"] == "CLOSED"


def test_attributes_of_another_decision_type_are_checked_as_well(swf):
    stray = timer() | {"recordMarkerDecisionAttributes": {"markerName": ""}}
    assert "'decisions.1.member.recordMarkerDecisionAttributes.markerName'" in batch_refusal(swf, stray).message


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        (decision("FailWorkflowExecution", reason="r" * 257), "failWorkflowExecutionDecisionAttributes.reason"),
        (complete("r" * 32_769), "completeWorkflowExecutionDecisionAttributes.result"),
        (decision("RecordMarker", markerName="m" * 257), "recordMarkerDecisionAttributes.markerName"),
        (activity("a" * 257), "scheduleActivityTaskDecisionAttributes.activityId"),
        (timer("t", 10**8), "startTimerDecisionAttributes.startToFireTimeout"),
        (child(tagList=["x"] * 6), "startChildWorkflowExecutionDecisionAttributes.tagList"),
        (child(tagList=["x" * 257]), "startChildWorkflowExecutionDecisionAttributes.tagList.1.member"),
    ],
)
def test_one_over_each_limit_is_refused(swf, bad, path):
    fault = batch_refusal(swf, bad)
    assert f"'decisions.1.member.{path}' failed to satisfy constraint: Member must have length less than or equal to" in fault.message


def test_one_under_each_limit_is_taken(swf):
    run = swf.start(input="i" * 32_768)
    swf.decide(activity("a" * 256, input="x" * 32_768), decision("RecordMarker", markerName="m" * 256, details="d" * 32_768))
    swf.signal(name="s" * 256)
    swf.decide(decision("FailWorkflowExecution", reason="r" * 256))
    assert swf.types(run)[-1] == "WorkflowExecutionFailed"


def test_lengths_count_utf_16_units_as_java_does(swf):
    swf.start()
    task = swf.poll_decision()
    with pytest.raises(Fault, match="less than or equal to 256"):
        swf.respond(task, decision("FailWorkflowExecution", reason="\N{GRINNING FACE}" * 129))
    swf.respond(task, decision("FailWorkflowExecution", reason="\N{GRINNING FACE}" * 128))


def test_half_a_surrogate_pair_is_refused(swf):
    fault = refusal(swf, "StartWorkflowExecution", domain=swf.domain, workflowId="\ud800", workflowType={"name": "flow", "version": "1"})
    assert fault.code == "SerializationException"


@pytest.mark.parametrize("bad", ["a:b", "a/b", "a|b", "a\x00", "a\x7f", "a\x9f", "a\n", "arn", " a", "a ", "\ta"])
def test_names_that_amazon_swf_does_not_take(swf, bad):
    start = {"domain": swf.domain, "workflowType": {"name": "flow", "version": "1"}}
    for operation, params in [
        ("RegisterDomain", {"name": bad, "workflowExecutionRetentionPeriodInDays": "1"}),
        ("RegisterActivityType", {"domain": swf.domain, "name": bad, "version": "1"}),
        ("RegisterWorkflowType", {"domain": swf.domain, "name": "n", "version": bad}),
        ("StartWorkflowExecution", start | {"workflowId": bad}),
        ("StartWorkflowExecution", start | {"workflowId": "ok", "taskList": {"name": bad}}),
        ("PollForActivityTask", {"domain": swf.domain, "taskList": {"name": bad}}),
    ]:
        assert refusal(swf, operation, **params).code == "ValidationException", operation
    for one in (activity(bad), timer(bad), child(bad), activity(taskList={"name": bad})):
        swf.start(f"w{id(one)}")
        task = swf.poll_decision()
        with pytest.raises(Fault) as caught:
            swf.respond(task, one)
        assert caught.value.code == "ValidationException"
        swf.respond(task, complete())


@pytest.mark.parametrize(
    "good", ["arn:".strip(":") + "x", "a b", "'; DROP TABLE events; --", '"', "\u202e", "\N{GRINNING FACE}" * 128, "-"]
)
def test_strange_names_that_amazon_swf_takes(swf, good):
    run = swf.start(good)
    swf.decide(activity(good), timer(good))
    swf.signal(good, name=good)
    assert swf.work()["activityId"] == good
    assert swf.describe(good, run)["executionInfo"]["execution"]["workflowId"] == good


@pytest.mark.parametrize("bad", ["-1", "x", "1.5", "١", "none", "31536001", "NONE", "123456789"])
def test_the_time_of_an_execution_is_a_number_of_seconds_up_to_a_year(swf, bad):
    fault = swf.refused(
        "StartWorkflowExecution", workflowId="w", workflowType={"name": "flow", "version": "1"}, executionStartToCloseTimeout=bad
    )
    assert fault.code == "ValidationException"


@pytest.mark.parametrize("bad", ["-1", "x", "NONE", "", "1e3"])
def test_the_time_of_a_timer_is_a_number_of_seconds(swf, bad):
    fault = batch_refusal(swf, decision("StartTimer", timerId="t", startToFireTimeout=bad))
    assert "startToFireTimeout" in fault.message


@pytest.mark.parametrize("bad", ["0", "901", "NONE", "x"])
def test_the_time_of_a_lambda_task_is_1_to_900(swf, bad):
    batch_refusal(swf, decision("ScheduleLambdaFunction", id="l", name="f", startToCloseTimeout=bad))


@pytest.mark.parametrize("bad", ["91", "-1", "x"])
def test_retention_is_0_to_90_days(swf, bad):
    assert refusal(swf, "RegisterDomain", name="d2", workflowExecutionRetentionPeriodInDays=bad).code == "ValidationException"


@pytest.mark.parametrize("bad", ["x", "", "2147483648", "-2147483649", "1.0", "--1"])
def test_a_priority_is_an_integer_of_32_bits(swf, bad):
    fault = swf.refused("StartWorkflowExecution", workflowId="w", workflowType={"name": "flow", "version": "1"}, taskPriority=bad)
    assert fault.code == "ValidationException"


def test_a_request_over_one_megabyte_is_too_large_and_the_corrected_one_goes_through(swf):
    run = swf.start()
    task = swf.poll_decision()
    many = [decision("RecordMarker", markerName="m", details="d" * 32_768) for _ in range(33)]
    with pytest.raises(Fault) as caught:
        swf.respond(task, *many)
    assert caught.value.code == "RequestEntityTooLargeException"
    swf.respond(task, *many[:30])
    assert swf.types(run).count("MarkerRecorded") == 30


def test_many_small_decisions_can_be_too_large_as_well(swf):
    swf.start()
    task = swf.poll_decision()
    with pytest.raises(Fault, match="1 MB"):
        swf.respond(task, *[decision("CancelTimer", timerId="t")] * 14_000)


def test_a_list_may_hold_null_where_it_holds_texts_and_nowhere_else(swf):
    """A recorded start has the tag list [null], and the service shows it again."""
    run = swf.start(tagList=[None])
    assert swf.history(run)[0]["workflowExecutionStartedEventAttributes"]["tagList"] == [None]
    task = swf.poll_decision()
    with pytest.raises(Fault, match=r"Value null at 'decisions.1.member' failed to satisfy constraint: Member must not be null"):
        swf.call("RespondDecisionTaskCompleted", taskToken=task["taskToken"], decisions=[None])


# --- the batch matrix

CLOSES = ("CompleteWorkflowExecution", "FailWorkflowExecution", "CancelWorkflowExecution", "ContinueAsNewWorkflowExecution")

COMPANIONS = {
    "CancelTimer": (decision("CancelTimer", timerId="open timer"), "TimerCanceled"),
    "RecordMarker": (decision("RecordMarker", markerName="m"), "MarkerRecorded"),
    "RequestCancelActivityTask": (decision("RequestCancelActivityTask", activityId="open activity"), "ActivityTaskCancelRequested"),
    "StartChildWorkflowExecution": (child(), "StartChildWorkflowExecutionInitiated"),
    "SignalExternalWorkflowExecution": (
        decision("SignalExternalWorkflowExecution", workflowId="other", signalName="s"),
        "SignalExternalWorkflowExecutionInitiated",
    ),
    "RequestCancelExternalWorkflowExecution": (
        decision("RequestCancelExternalWorkflowExecution", workflowId="other"),
        "RequestCancelExternalWorkflowExecutionInitiated",
    ),
    "ScheduleLambdaFunction": (decision("ScheduleLambdaFunction", id="l", name="f"), "LambdaFunctionScheduled"),
}


def _with_open_work(swf):
    run = swf.start()
    swf.decide(activity("open activity"), timer("open timer", 1000))
    swf.signal()
    return run, swf.poll_decision()


@pytest.mark.parametrize("close", CLOSES)
@pytest.mark.parametrize("companion", COMPANIONS)
def test_what_may_stand_before_a_close_is_applied_and_then_the_close(swf, close, companion):
    run, task = _with_open_work(swf)
    given, written = COMPANIONS[companion]
    swf.respond(task, given, decision(close))
    assert swf.types(run)[-2] == written
    assert swf.describe("w", run)["executionInfo"]["executionStatus"] == "CLOSED"
    swf.tick()
    assert swf.types(run)[-2] == written, "nothing follows the close"


@pytest.mark.parametrize("close", CLOSES)
@pytest.mark.parametrize("companion", [activity(), timer()], ids=lambda one: one["decisionType"])
def test_an_activity_or_a_timer_in_a_batch_with_a_close_is_refused_and_the_corrected_call_goes_through(swf, close, companion):
    run, task = _with_open_work(swf)
    before = swf.types(run)
    with pytest.raises(Fault) as caught:
        swf.respond(task, companion, decision(close))
    assert (caught.value.code, caught.value.message) == ("ValidationException", "Specified decision is incompatible with close decision")
    assert swf.types(run) == before, "nothing is recorded"
    swf.respond(task, decision(close))
    assert swf.describe("w", run)["executionInfo"]["executionStatus"] == "CLOSED"


@pytest.mark.parametrize("close", CLOSES)
@pytest.mark.parametrize("after", [*COMPANIONS, *CLOSES, "ScheduleActivityTask", "StartTimer"])
def test_nothing_may_follow_a_close(swf, close, after):
    run, task = _with_open_work(swf)
    more = {"ScheduleActivityTask": activity(), "StartTimer": timer()} | {one: decision(one) for one in CLOSES}
    given = COMPANIONS[after][0] if after in COMPANIONS else more[after]
    with pytest.raises(Fault, match="Close must be last decision in list"):
        swf.respond(task, decision(close), given)
    assert swf.types(run)[-1] == "DecisionTaskStarted"
