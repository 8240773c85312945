"""Decisions from plain values, and what of them goes into one response."""

from __future__ import annotations

import inspect
import json
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from flowdsl import limits
from flowdsl.errors import InternalError
from flowdsl.model import decisions
from flowdsl.model.decisions import pack, size
from flowdsl.model.lifecycle import DECISIONS

FULL = {
    "ScheduleActivityTask": decisions.schedule_activity_task(
        activity_id="charge-1", name="charge", version="1", task_list="flowdsl", input="{}", control="c", task_priority=-3,
        start_to_close=30.0, schedule_to_start=0.5, schedule_to_close=None, heartbeat=60.0,
    ),
    "RequestCancelActivityTask": decisions.request_cancel_activity_task(activity_id="charge-1"),
    "StartTimer": decisions.start_timer(timer_id="sleep-1", start_to_fire=0.2, control="c"),
    "CancelTimer": decisions.cancel_timer(timer_id="sleep-1"),
    "RecordMarker": decisions.record_marker(name="rate-1", details="1.5"),
    "StartChildWorkflowExecution": decisions.start_child_workflow_execution(
        workflow_id="w", name="ship", version="2", task_list="flowdsl", input="{}", control="c", task_priority=7,
        execution_start_to_close=60.0, task_start_to_close=10.0, child_policy="request_cancel", tag_list=("a", "b"),
        lambda_role="arn:aws:iam::1:role/r",
    ),
    "SignalExternalWorkflowExecution": decisions.signal_external_workflow_execution(
        workflow_id="w", run_id="r", signal_name="approved", input="{}", control="c"
    ),
    "RequestCancelExternalWorkflowExecution": decisions.request_cancel_external_workflow_execution(
        workflow_id="w", run_id="r", control="c"
    ),
    "ScheduleLambdaFunction": decisions.schedule_lambda_function(id="l-1", name="f", input="{}", control="c", start_to_close=900.0),
    "CompleteWorkflowExecution": decisions.complete_workflow_execution(result="7"),
    "FailWorkflowExecution": decisions.fail_workflow_execution(reason="ValueError", details="d"),
    "CancelWorkflowExecution": decisions.cancel_workflow_execution(details="d"),
    "ContinueAsNewWorkflowExecution": decisions.continue_as_new_workflow_execution(
        input="{}", version="2", task_list="flowdsl", task_priority=7, execution_start_to_close=60.0, task_start_to_close=10.0,
        child_policy="abandon", tag_list=["a"], lambda_role="arn:aws:iam::1:role/r",
    ),
}  # fmt: skip

LEAST = {
    "ScheduleActivityTask": decisions.schedule_activity_task(activity_id="a", name="charge", version="1"),
    "StartTimer": decisions.start_timer(timer_id="t", start_to_fire=0),
    "RecordMarker": decisions.record_marker(name="m"),
    "StartChildWorkflowExecution": decisions.start_child_workflow_execution(workflow_id="w", name="ship", version="1"),
    "SignalExternalWorkflowExecution": decisions.signal_external_workflow_execution(workflow_id="w", signal_name="s"),
    "RequestCancelExternalWorkflowExecution": decisions.request_cancel_external_workflow_execution(workflow_id="w"),
    "ScheduleLambdaFunction": decisions.schedule_lambda_function(id="l", name="f"),
    "CompleteWorkflowExecution": decisions.complete_workflow_execution(),
    "FailWorkflowExecution": decisions.fail_workflow_execution(),
    "CancelWorkflowExecution": decisions.cancel_workflow_execution(),
    "ContinueAsNewWorkflowExecution": decisions.continue_as_new_workflow_execution(),
}


@pytest.fixture(scope="module")
def client() -> Any:
    return boto3.client("swf", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


# --- builders ---


def test_there_is_a_builder_for_each_of_the_13_decisions():
    assert set(FULL) == set(DECISIONS)
    assert {decision["decisionType"] for decision in [*FULL.values(), *LEAST.values()]} == set(DECISIONS)


@pytest.mark.parametrize("decision", [*FULL.values(), *LEAST.values()], ids=[*FULL, *(f"{name} at least" for name in LEAST)])
def test_boto3_takes_what_is_built(client, decision):
    shape = client.meta.service_model.operation_model("RespondDecisionTaskCompleted").input_shape
    assert not ParamValidator().validate({"taskToken": "t", "decisions": [decision]}, shape).has_errors()
    with Stubber(client) as stub:
        stub.add_response("respond_decision_task_completed", {}, {"taskToken": "t", "decisions": [decision]})
        client.respond_decision_task_completed(taskToken="t", decisions=[decision])


@pytest.mark.parametrize("decision_type", DECISIONS)
def test_every_member_of_a_decision_can_be_given(client, decision_type):
    row = DECISIONS[decision_type]
    members = client.meta.service_model.shape_for("Decision").members[row.key].members
    assert set(FULL[decision_type]) == {"decisionType", row.key}
    assert set(FULL[decision_type][row.key]) == set(members)
    assert json.loads(json.dumps(FULL[decision_type])) == FULL[decision_type]


def test_durations_are_whole_seconds_and_none_means_no_limit_where_the_service_knows_that():
    given = FULL["ScheduleActivityTask"]["scheduleActivityTaskDecisionAttributes"]
    assert (given["startToCloseTimeout"], given["scheduleToStartTimeout"], given["scheduleToCloseTimeout"]) == ("30", "1", "NONE")
    least = LEAST["ScheduleActivityTask"]["scheduleActivityTaskDecisionAttributes"]
    assert {name: value for name, value in least.items() if "Timeout" in name or "heartbeat" in name} == {
        "startToCloseTimeout": "NONE", "scheduleToStartTimeout": "NONE", "scheduleToCloseTimeout": "NONE", "heartbeatTimeout": "NONE",
    }  # fmt: skip
    # An execution, a timer and a lambda task always have a limit: None leaves the type's own default.
    for name in ("StartChildWorkflowExecution", "ContinueAsNewWorkflowExecution"):
        child = LEAST[name][DECISIONS[name].key]
        assert "executionStartToCloseTimeout" not in child
        assert child["taskStartToCloseTimeout"] == "NONE"
    assert "startToCloseTimeout" not in LEAST["ScheduleLambdaFunction"]["scheduleLambdaFunctionDecisionAttributes"]
    assert FULL["StartTimer"]["startTimerDecisionAttributes"]["startToFireTimeout"] == "1"


def test_what_is_none_is_left_out_and_what_is_empty_is_kept():
    assert decisions.complete_workflow_execution()["completeWorkflowExecutionDecisionAttributes"] == {}
    assert decisions.complete_workflow_execution(result="")["completeWorkflowExecutionDecisionAttributes"] == {"result": ""}
    assert "tagList" not in LEAST["StartChildWorkflowExecution"]["startChildWorkflowExecutionDecisionAttributes"]


def test_priorities_policies_and_tags_are_written_as_the_service_wants_them():
    child = FULL["StartChildWorkflowExecution"]["startChildWorkflowExecutionDecisionAttributes"]
    assert (child["taskPriority"], child["childPolicy"], child["tagList"]) == ("7", "REQUEST_CANCEL", ["a", "b"])
    assert FULL["ScheduleActivityTask"]["scheduleActivityTaskDecisionAttributes"]["taskPriority"] == "-3"


def test_builders_take_keywords_only_so_that_no_two_texts_are_ever_confused():
    for name, builder in inspect.getmembers(decisions, inspect.isfunction):
        if name not in {"pack", "size", "json_string", "whole_seconds"} and not name.startswith("_"):
            assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(builder).parameters.values()), name


def test_a_json_string_keeps_its_letters():
    assert decisions.json_string('Größe "10 €"') == '"Größe \\"10 €\\""'


# --- packing ---

CLOSING = sorted(row.type for row in DECISIONS.values() if row.closes)
NOT_BESIDE = sorted(row.type for row in DECISIONS.values() if not row.closes and not row.beside_close)
OTHERS = sorted(set(DECISIONS) - set(CLOSING))


def closes(decision: dict[str, Any]) -> bool:
    return DECISIONS[decision["decisionType"]].closes


@st.composite
def outboxes(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What a turn may want to send: markers of any size among others, and perhaps a close at the end."""
    some = st.sampled_from([FULL[name] for name in OTHERS])
    marker = st.builds(
        lambda n, letter: decisions.record_marker(name="m", details=letter * n), st.integers(0, 300), st.sampled_from("aß😀")
    )
    given = draw(st.lists(some | marker, max_size=30))
    if draw(st.booleans()):
        given.append(FULL[draw(st.sampled_from(CLOSING))])
    return given


@given(outboxes(), st.integers(2, 12), st.integers(0, 6_000))
def test_a_batch_is_always_a_prefix_within_the_limits(given, max_count, max_bytes):
    batch, rest = pack(given, max_count=max_count, max_bytes=max_bytes)
    assert batch + rest == given
    assert bool(batch) == bool(given)
    assert len(batch) + bool(rest) <= max_count, "the wake-up timer needs a place"
    body = len(json.dumps(batch))
    assert body <= max_bytes or len(batch) <= 1


@given(outboxes(), st.integers(2, 12), st.integers(0, 6_000))
def test_a_close_goes_last_with_nothing_the_service_refuses_there_and_in_no_cut_batch(given, max_count, max_bytes):
    batch, rest = pack(given, max_count=max_count, max_bytes=max_bytes)
    assert not any(closes(decision) for decision in batch[:-1])
    if batch and closes(batch[-1]):
        assert not rest
        assert not {decision["decisionType"] for decision in batch} & set(NOT_BESIDE)


@given(outboxes(), st.integers(2, 12), st.integers(0, 6_000))
def test_batch_after_batch_everything_is_sent_once(given, max_count, max_bytes):
    sent, rest = [], given
    for _ in range(len(given)):
        batch, rest = pack(rest, max_count=max_count, max_bytes=max_bytes)
        sent += batch
    assert (sent, rest) == (given, [])


@given(outboxes())
def test_nothing_is_cut_without_need(given):
    batch, rest = pack(given)
    legal_together = not (given and closes(given[-1]) and {d["decisionType"] for d in given} & set(NOT_BESIDE))
    assert (rest == []) == legal_together
    if rest:
        assert (batch, rest) == (given[:-1], given[-1:])


def test_a_hundred_decisions_go_out_in_one_response_and_the_hundred_and_first_waits():
    hundred = [decisions.request_cancel_activity_task(activity_id=f"a-{n}") for n in range(limits.DECISIONS)]
    assert pack(hundred) == (hundred, [])
    batch, rest = pack([*hundred, hundred[0]])
    assert (len(batch), len(rest)) == (99, 2)


@pytest.mark.parametrize("closing", CLOSING)
@pytest.mark.parametrize("other", OTHERS)
def test_what_may_stand_beside_a_close_does(other, closing):
    batch, rest = pack([FULL[other], FULL[closing]])
    assert (batch, rest) == (([FULL[other]], [FULL[closing]]) if other in NOT_BESIDE else ([FULL[other], FULL[closing]], []))


def test_the_service_refuses_two_decisions_beside_a_close():
    assert NOT_BESIDE == ["ScheduleActivityTask", "StartTimer"]


def test_a_decision_after_a_close_is_a_bug_of_ours():
    with pytest.raises(InternalError, match="decisions follow CompleteWorkflowExecution"):
        pack([FULL["CompleteWorkflowExecution"], FULL["RecordMarker"]])


def test_a_request_with_everything_at_its_limit_stays_under_one_megabyte():
    """The worst letters: one UTF-16 unit, six bytes in a request."""
    worst = "\u20ac" * limits.DATA
    given = [decisions.schedule_activity_task(activity_id=f"a-{n}", name="a", version="1", input=worst, control=worst) for n in range(9)]
    while given:
        batch, given = pack(given)
        wake_up = decisions.start_timer(timer_id=decisions.RESERVED_TIMER_PREFIX + "x" * 248, start_to_fire=0.0)
        request = {"taskToken": "t" * limits.TASK_TOKEN, "executionContext": worst, "decisions": [*batch, wake_up]}
        assert len(json.dumps(request)) < 1_000_000
        assert size(wake_up) <= decisions._WAKE_UP_BYTES
