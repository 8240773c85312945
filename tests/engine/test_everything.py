"""Everything that AWS's model names is written by the engine, but for permissions: each cause of each failure, each of the 54 events.

The names come from the model, so a cause or an event that AWS adds fails here until the engine writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from engine_kit import Swf, activity, child, complete, decision, timer
from judge import MODEL

from flowdsl.engine import Failed, Quotas, Returned, Throttles
from flowdsl.model.lifecycle import EVENTS, attributes

ROLE = {"lambdaRole": "arn:aws:iam::000000000000:role/r"}
SPENT = Throttles(calls={}, decisions=dict.fromkeys((
    "ScheduleActivityTask", "StartTimer", "StartChildWorkflowExecution", "SignalExternalWorkflowExecution",
    "RequestCancelExternalWorkflowExecution", "ContinueAsNewWorkflowExecution", "ScheduleLambdaFunction",
), (0, 0)), executions={})  # fmt: skip


def function(lambda_id: str = "l") -> dict[str, Any]:
    return decision("ScheduleLambdaFunction", id=lambda_id, name="f")


def signal_to(workflow_id: str) -> dict[str, Any]:
    return decision("SignalExternalWorkflowExecution", workflowId=workflow_id, signalName="s")


def cancel(workflow_id: str) -> dict[str, Any]:
    return decision("RequestCancelExternalWorkflowExecution", workflowId=workflow_id)


AGAIN = decision("ContinueAsNewWorkflowExecution")
CLOSES = {
    "CompleteWorkflowExecution": complete(),
    "FailWorkflowExecution": decision("FailWorkflowExecution"),
    "CancelWorkflowExecution": decision("CancelWorkflowExecution"),
    "ContinueAsNewWorkflowExecution": AGAIN,
}


class Way(NamedTuple):
    """How to get a failure: the engine's arguments, what happens before the decision task, its decisions, what happens while it runs."""

    decisions: tuple[dict[str, Any], ...]
    given: dict[str, Any] = {}
    before: Callable[[Swf], object] = lambda swf: None
    during: Callable[[Swf], object] = lambda swf: None


def deprecated(kind: str, name: str) -> Callable[[Swf], object]:
    return lambda swf: swf.here(f"Deprecate{kind}Type", **{f"{kind.lower()}Type": {"name": name, "version": "1"}})


def without(kind: str, default: str) -> Callable[[Swf], object]:
    register = Swf.register_workflow if kind == "workflow" else Swf.register_activity
    return lambda swf: register(swf, "bare", **{default: None})


def default_of(cause: str) -> str:
    """`DEFAULT_TASK_LIST_UNDEFINED` → `defaultTaskList`."""
    words = cause.removesuffix("_UNDEFINED").split("_")
    return "default" + "".join(word.capitalize() for word in words[1:])


def defaults(cause_events: str, kind: str, ask: dict[str, Any]) -> dict[tuple[str, str], Way]:
    found = {}
    for cause in causes_of(cause_events):
        if cause.startswith("DEFAULT_"):
            name = default_of(cause)
            if kind == "activity" and not name.startswith("defaultTask"):
                name = name.replace("default", "defaultTask", 1)
            found[cause_events, cause] = Way((ask,), before=without(kind, name))
    return found


def causes_of(event_type: str) -> list[str]:
    shape: Any = MODEL.shape_for(f"{event_type}EventAttributes")
    return [cause for cause in shape.members["cause"].enum if cause != "OPERATION_NOT_PERMITTED"]


FAILURES = [
    event_type
    for event_type, row in EVENTS.items()
    if "Failed" in event_type and "cause" in MODEL.shape_for(f"{event_type}EventAttributes").members
]  # type: ignore[attr-defined]  # a structure

SMALL = {"quotas": Quotas(open_activities=1, open_timers=1, open_children=1, open_lambdas=1)}

WAYS: dict[tuple[str, str], Way] = {
    ("ScheduleActivityTaskFailed", "ACTIVITY_TYPE_DOES_NOT_EXIST"): Way((activity("a", "nothing"),)),
    ("ScheduleActivityTaskFailed", "ACTIVITY_TYPE_DEPRECATED"): Way((activity(),), before=deprecated("Activity", "act")),
    ("ScheduleActivityTaskFailed", "ACTIVITY_ID_ALREADY_IN_USE"): Way((activity("a"), activity("a"))),
    ("ScheduleActivityTaskFailed", "OPEN_ACTIVITIES_LIMIT_EXCEEDED"): Way((activity("a"), activity("b")), SMALL),
    ("ScheduleActivityTaskFailed", "ACTIVITY_CREATION_RATE_EXCEEDED"): Way((activity(),), {"throttles": SPENT}),
    **defaults("ScheduleActivityTaskFailed", "activity", activity("a", "bare")),
    ("RequestCancelActivityTaskFailed", "ACTIVITY_ID_UNKNOWN"): Way((decision("RequestCancelActivityTask", activityId="a"),)),
    ("StartTimerFailed", "TIMER_ID_ALREADY_IN_USE"): Way((timer("t"), timer("t"))),
    ("StartTimerFailed", "OPEN_TIMERS_LIMIT_EXCEEDED"): Way((timer("t"), timer("u")), SMALL),
    ("StartTimerFailed", "TIMER_CREATION_RATE_EXCEEDED"): Way((timer(),), {"throttles": SPENT}),
    ("CancelTimerFailed", "TIMER_ID_UNKNOWN"): Way((decision("CancelTimer", timerId="t"),)),
    ("StartChildWorkflowExecutionFailed", "WORKFLOW_TYPE_DOES_NOT_EXIST"): Way((child("c", "nothing"),)),
    ("StartChildWorkflowExecutionFailed", "WORKFLOW_TYPE_DEPRECATED"): Way((child(),), before=deprecated("Workflow", "flow")),
    ("StartChildWorkflowExecutionFailed", "WORKFLOW_ALREADY_RUNNING"): Way((child("w"),)),
    ("StartChildWorkflowExecutionFailed", "OPEN_CHILDREN_LIMIT_EXCEEDED"): Way((child("c"), child("d")), SMALL),
    ("StartChildWorkflowExecutionFailed", "OPEN_WORKFLOWS_LIMIT_EXCEEDED"): Way((child("c"),), {"quotas": Quotas(open_executions=1)}),
    ("StartChildWorkflowExecutionFailed", "CHILD_CREATION_RATE_EXCEEDED"): Way((child("c"),), {"throttles": SPENT}),
    **defaults("StartChildWorkflowExecutionFailed", "workflow", decision("StartChildWorkflowExecution", workflowId="c",
               workflowType={"name": "bare", "version": "1"})),
    ("SignalExternalWorkflowExecutionFailed", "UNKNOWN_EXTERNAL_WORKFLOW_EXECUTION"): Way((signal_to("nobody"),)),
    ("SignalExternalWorkflowExecutionFailed", "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_RATE_EXCEEDED"): Way(
        (signal_to("w"),), {"throttles": SPENT}
    ),
    ("RequestCancelExternalWorkflowExecutionFailed", "UNKNOWN_EXTERNAL_WORKFLOW_EXECUTION"): Way((cancel("nobody"),)),
    ("RequestCancelExternalWorkflowExecutionFailed", "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_RATE_EXCEEDED"): Way(
        (cancel("w"),), {"throttles": SPENT}
    ),
    ("ScheduleLambdaFunctionFailed", "ID_ALREADY_IN_USE"): Way((function("l"), function("l"))),
    ("ScheduleLambdaFunctionFailed", "OPEN_LAMBDA_FUNCTIONS_LIMIT_EXCEEDED"): Way((function("l"), function("m")), SMALL),
    ("ScheduleLambdaFunctionFailed", "LAMBDA_FUNCTION_CREATION_RATE_EXCEEDED"): Way((function(),), {"throttles": SPENT}),
    ("ScheduleLambdaFunctionFailed", "LAMBDA_SERVICE_NOT_AVAILABLE_IN_REGION"): Way((function(),), {"has_lambda": False}),
    ("StartLambdaFunctionFailed", "ASSUME_ROLE_FAILED"): Way((function(),)),
    ("ContinueAsNewWorkflowExecutionFailed", "WORKFLOW_TYPE_DOES_NOT_EXIST"): Way(
        (decision("ContinueAsNewWorkflowExecution", workflowTypeVersion="9"),)
    ),
    ("ContinueAsNewWorkflowExecutionFailed", "WORKFLOW_TYPE_DEPRECATED"): Way((AGAIN,), before=deprecated("Workflow", "flow")),
    ("ContinueAsNewWorkflowExecutionFailed", "CONTINUE_AS_NEW_WORKFLOW_EXECUTION_RATE_EXCEEDED"): Way((AGAIN,), {"throttles": SPENT}),
    **{
        ("ContinueAsNewWorkflowExecutionFailed", cause): Way(
            (decision("ContinueAsNewWorkflowExecution", workflowTypeVersion="2"),),
            before=lambda swf, cause=cause: swf.register_workflow("flow", "2", **{default_of(cause): None}),
        )
        for cause in causes_of("ContinueAsNewWorkflowExecutionFailed")
        if cause.startswith("DEFAULT_")
    },
    **{(f"{close}Failed", "UNHANDLED_DECISION"): Way((decided,), during=lambda swf: swf.signal()) for close, decided in CLOSES.items()},
}  # fmt: skip


@pytest.mark.parametrize(("event_type", "cause"), [(event, cause) for event in FAILURES for cause in causes_of(event)])
def test_every_cause_of_the_model_is_written_and_a_decision_task_follows(event_type, cause):
    way = WAYS[event_type, cause]
    swf = Swf(**way.given)
    swf.prepare()
    run = swf.start()
    way.before(swf)
    task = swf.poll_decision()
    way.during(swf)
    swf.respond(task, *way.decisions)
    swf.tick()
    events = swf.history(run)
    assert [attributes(event)["cause"] for event in events if event["eventType"] == event_type] == [cause]
    assert swf.here("CountPendingDecisionTasks", taskList={"name": "deciders"})["count"] == 1
    swf.check_all()
    swf.engine.close()


def outcomes_of_children(swf: Swf) -> None:
    for status, closing in CLOSES.items():
        if status != "ContinueAsNewWorkflowExecution":
            swf.decide(closing, task_list=status)
    swf.here("TerminateWorkflowExecution", workflowId="terminated")
    swf.advance(5)
    swf.tick()


def test_every_event_of_the_model_is_written_but_the_one_that_needs_a_permission_to_be_missing():
    """One long scenario, and the failures of above."""
    swf = Swf()
    swf.prepare()
    swf.start("other", taskList={"name": "others"})
    swf.start(**ROLE)
    swf.decide(
        activity("completed"), activity("failed"), activity("canceled"), activity("late", startToCloseTimeout="1"),
        timer("fires", 1), timer("cancelled"), decision("CancelTimer", timerId="cancelled"),
        decision("RecordMarker", markerName="m"), signal_to("other"), cancel("other"),
        function("completed"), function("failed"), decision("ScheduleLambdaFunction", id="late", name="f", startToCloseTimeout="1"),
        *(child(f"child-{status}", taskList={"name": status}) for status in CLOSES if status != "ContinueAsNewWorkflowExecution"),
        child("terminated"), child("late", executionStartToCloseTimeout="5"),
    )  # fmt: skip
    swf.tick()
    calls = swf.engine.take_invocations()
    swf.engine.finish_lambda(swf.now, calls[0].ref, Returned("1"))
    swf.engine.finish_lambda(swf.now, calls[1].ref, Failed("Unhandled", "{}"))
    for answer in ("Completed", "Failed", "Canceled"):
        task = swf.poll_activity()
        if answer == "Canceled":
            swf.decide(decision("RequestCancelActivityTask", activityId="canceled"))
        swf.call(f"RespondActivityTask{answer}", taskToken=task["taskToken"])
    swf.poll_activity()
    outcomes_of_children(swf)
    swf.decide(AGAIN)
    swf.poll_decision()
    swf.advance(60)
    written = {event["eventType"] for name, run in swf.all_runs() for event in swf.history(run, name)} | {event for event, _ in WAYS}
    swf.start("timed out", executionStartToCloseTimeout="1", taskList={"name": "nobody"})
    swf.advance(1)
    written |= {event["eventType"] for name, run in swf.all_runs() for event in swf.history(run, name)}
    assert EVENTS.keys() - written == {"RecordMarkerFailed"}
    assert set(MODEL.shape_for("EventType").enum) == set(EVENTS)
    swf.check_all()
    swf.engine.close()
