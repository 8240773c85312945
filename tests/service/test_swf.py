"""The façade: its names are Amazon's, its answers the engine's."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from flowdsl.errors import DefinitionError, Fault
from flowdsl.service.swf import Swf

IDS = {"workflow_id": "w"}
EVERYTHING: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("register_domain", (), {"retention_days": 7, "description": "text"}),
    ("register_workflow_type", (), {"name": "n", "version": "1", "description": "text"}),
    ("register_activity_type", (), {"name": "n", "version": "1", "description": "text"}),
    (
        "start_workflow_execution", (),
        {
            "workflow_id": "w", "name": "n", "version": "1", "task_list": "t", "execution_start_to_close": 10.2,
            "task_start_to_close": None, "child_policy": "abandon", "input": "{}", "tag_list": ("a", "b"), "task_priority": -3,
            "lambda_role": "arn:aws:iam::1:role/x",
        },
    ),
    ("signal", ("w", "s"), {"run_id": "r", "input": "{}"}),
    ("request_cancel", ("w",), {"run_id": "r"}),
    ("terminate", ("w",), {"run_id": "r", "reason": "why", "details": "more", "child_policy": "terminate"}),
    ("describe", ("w", "r"), {}),
    ("history", ("w", "r"), {"reverse": True, "page_size": 10}),
    ("poll_for_decision_task", (), {"task_list": "t", "identity": "me", "page_size": 10, "since_previous": True}),
    ("further_events", ({"nextPageToken": "p"},), {"task_list": "t", "identity": "me", "page_size": 10, "since_previous": True}),
    (
        "respond_decision_task_completed", (),
        {
            "task_token": "t", "decisions": [{"decisionType": "CancelTimer", "cancelTimerDecisionAttributes": {"timerId": "t"}}],
            "execution_context": "{}", "task_list": "sticky", "task_list_schedule_to_start": 5.0,
        },
    ),
    ("poll_for_activity_task", (), {"task_list": "t", "identity": "me"}),
    ("heartbeat", (), {"task_token": "t", "details": "d"}),
    ("respond_activity_task_completed", (), {"task_token": "t", "result": "r"}),
    ("respond_activity_task_failed", (), {"task_token": "t", "reason": "r", "details": "d"}),
    ("respond_activity_task_canceled", (), {"task_token": "t", "details": "d"}),
    ("list_open", (), {"type_name": "n", "type_version": "1", "oldest": 1.5, "latest": 2.5, "reverse": True, "most": 3}),
    ("list_open", (), IDS),
    ("list_closed", (), {"tag": "a"}),
    ("list_closed", (), {"status": "FAILED"}),
    ("list_workflow_types", (), {"name": "n", "deprecated": True}),
    ("count_open", (), {"type_name": "n"}),
    ("count_closed", (), {"status": "FAILED"}),
    ("count_pending_decision_tasks", ("t",), {}),
    ("count_pending_activity_tasks", ("t",), {}),
]  # fmt: skip


class Answers:
    """Takes calls down, and answers everything with everything."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, operation: str, params: Any) -> dict[str, Any]:
        self.calls.append((operation, dict(params)))
        if operation.startswith("Register"):
            raise Fault("DomainAlreadyExistsFault" if operation == "RegisterDomain" else "TypeAlreadyExistsFault")
        return {
            "runId": "r", "events": [], "executionInfos": [], "typeInfos": [], "count": 2, "domainInfo": {"status": "REGISTERED"},
            "typeInfo": {"status": "REGISTERED"},
        }  # fmt: skip


def calls_of(method: str, args: tuple[Any, ...], options: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    answers = Answers()
    result = getattr(Swf(answers, "d"), method)(*args, **options)
    if inspect.isgenerator(result):
        list(result)
    return answers.calls


@pytest.mark.parametrize(("method", "args", "options"), EVERYTHING, ids=[f"{n}-{case[0]}" for n, case in enumerate(EVERYTHING)])
def test_every_operation_and_member_exists_in_amazons_model_with_that_type(method, args, options) -> None:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    model = ServiceModel(Loader().load_service_model("swf", "service-2"), "swf")
    calls = calls_of(method, args, options)
    assert calls
    for operation, params in calls:
        report = ParamValidator().validate(params, model.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
        assert set(params) <= set(model.operation_model(operation).input_shape.members)
        assert None not in params.values()


def test_the_cases_above_are_all_methods_of_the_facade_with_all_their_arguments() -> None:
    methods = {name for name, _ in inspect.getmembers(Swf, inspect.isfunction) if not name.startswith("_")}
    assert methods == {name for name, _, _ in EVERYTHING}
    for name in methods:
        known = {parameter for parameter in inspect.signature(getattr(Swf, name)).parameters if parameter != "self"}
        given: set[str] = set()
        for method, args, options in EVERYTHING:
            if method == name:
                given |= set(options) | set(list(inspect.signature(getattr(Swf, name)).parameters)[1 : len(args) + 1])
        assert known - given <= {"workflow_id", "type_name", "type_version", "tag", "oldest", "latest", "reverse", "most"}, name


def test_the_recorded_model_beside_the_project_knows_the_operations_too() -> None:
    path = Path(__file__).parents[2] / "../shared/swf/model.json"
    if not path.exists():
        pytest.skip("the machine-readable model is not beside this checkout")
    model = json.loads(path.read_text())
    text = json.dumps(model)
    for method, args, options in EVERYTHING:
        for operation, params in calls_of(method, args, options):
            assert f'"{operation}"' in text
            assert all(f'"{member}"' in text for member in params), params


def test_durations_are_whole_seconds_rounded_up_and_none_is_the_word() -> None:
    ((_, params),) = calls_of(*EVERYTHING[3])
    assert params["executionStartToCloseTimeout"] == "11"
    assert params["taskStartToCloseTimeout"] == "NONE"
    assert params["childPolicy"] == "ABANDON"
    assert params["taskPriority"] == "-3"


def test_what_is_not_said_is_left_out() -> None:
    ((_, params),) = calls_of("terminate", ("w",), {})
    assert params == {"domain": "d", "workflowId": "w"}


def test_an_identity_that_is_too_long_is_cut() -> None:
    ((_, params),) = calls_of("poll_for_activity_task", (), {"task_list": "t", "identity": "x" * 300})
    assert len(params["identity"]) == 256


def test_two_filters_are_refused_before_the_service_does(script) -> None:
    with pytest.raises(DefinitionError, match="one thing at a time"):
        Swf(script(), "d").list_open(workflow_id="w", tag="t")
    with pytest.raises(DefinitionError, match="needs a type_name"):
        Swf(script(), "d").count_open(type_version="1")


def test_an_empty_poll_is_none_however_the_service_says_it(script) -> None:
    swf = Swf(
        script({"startedEventId": 0}, {"startedEventId": 0, "taskToken": ""}, {"previousStartedEventId": 0, "startedEventId": 0}), "d"
    )
    assert swf.poll_for_activity_task(task_list="t") is None
    assert swf.poll_for_activity_task(task_list="t") is None
    assert swf.poll_for_decision_task(task_list="t") is None


# --- against the engine


def start(swf: Swf, workflow_id: str = "w", **options: Any) -> str:
    return swf.start_workflow_execution(
        workflow_id=workflow_id, name="flow", version="1", task_list="t", execution_start_to_close=60, task_start_to_close=None, **options
    )


def schedule(activity_id: str) -> dict[str, Any]:
    never = dict.fromkeys(("scheduleToStartTimeout", "scheduleToCloseTimeout", "startToCloseTimeout", "heartbeatTimeout"), "NONE")
    inner = {"activityId": activity_id, "activityType": {"name": "act", "version": "1"}, "taskList": {"name": "a"}, **never}
    return {"decisionType": "ScheduleActivityTask", "scheduleActivityTaskDecisionAttributes": inner}


def test_a_whole_execution_through_the_facade(swf) -> None:
    run_id = start(swf, tag_list=["gold"])
    assert swf.describe("w", run_id)["executionInfo"]["tagList"] == ["gold"]
    assert swf.count_pending_decision_tasks("t") == 1
    task = swf.poll_for_decision_task(task_list="t", identity="me")
    swf.respond_decision_task_completed(task_token=task["taskToken"], decisions=[schedule(f"a{n}") for n in range(3)])
    assert swf.count_pending_activity_tasks("a") == 3
    tokens = [swf.poll_for_activity_task(task_list="a")["taskToken"] for _ in range(3)]
    assert swf.heartbeat(task_token=tokens[0], details="1") is False
    swf.respond_activity_task_completed(task_token=tokens[0], result="1")
    swf.respond_activity_task_failed(task_token=tokens[1], reason="why", details="more")
    swf.respond_activity_task_canceled(task_token=tokens[2], details="enough")
    swf.signal("w", "hello", input="{}")
    swf.request_cancel("w", run_id=run_id)
    assert [info["execution"]["runId"] for info in swf.list_open(workflow_id="w")] == [run_id]
    assert (swf.count_open(), swf.count_closed()) == (1, 0)
    swf.terminate("w", reason="the end")
    assert [info["closeStatus"] for info in swf.list_closed(status="TERMINATED")] == ["TERMINATED"]
    kinds = [event["eventType"] for event in swf.history("w", run_id)]
    assert kinds[0] == "WorkflowExecutionStarted"
    assert {"ActivityTaskCompleted", "ActivityTaskFailed", "ActivityTaskCanceled", "WorkflowExecutionSignaled"} <= set(kinds)
    assert next(iter(swf.history("w", run_id, reverse=True)))["eventType"] == "WorkflowExecutionTerminated"


def test_pages_of_a_history_are_put_together_and_fetched_only_when_needed(swf, service) -> None:
    run_id = start(swf)
    for number in range(10):
        swf.signal("w", f"s{number}")
    counted = Counting(service)
    events = Swf(counted, "d").history("w", run_id, page_size=4)
    assert next(events)["eventId"] == 1
    assert counted.calls == ["GetWorkflowExecutionHistory"]
    assert [event["eventId"] for event in events] == list(range(2, 13))
    assert len(counted.calls) == 3


def test_pages_of_a_decision_task_are_put_together(swf) -> None:
    start(swf)
    for number in range(10):
        swf.signal("w", f"s{number}")
    task = swf.poll_for_decision_task(task_list="t", page_size=4)
    events = task["events"] + list(swf.further_events(task, task_list="t", page_size=4))
    assert [event["eventId"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["eventType"] == "DecisionTaskStarted"
    assert len(task["events"]) == 4


def test_a_list_stops_at_the_most_that_is_wanted(swf) -> None:
    for number in range(5):
        start(swf, f"w{number}")
    assert len(swf.list_open(most=2)) == 2
    assert len(swf.list_open()) == 5
    assert len(swf.list_open(reverse=True, most=0)) == 0


class Counting:
    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.calls: list[str] = []

    def call(self, operation: str, params: Any) -> dict[str, Any]:
        self.calls.append(operation)
        result: dict[str, Any] = self._transport.call(operation, params)
        return result


# --- registration


def test_registering_twice_is_fine_and_says_who_did_it(service) -> None:
    swf = Swf(service, "fresh")
    assert [swf.register_domain(retention_days=1) for _ in range(2)] == [True, False]
    assert [swf.register_workflow_type(name="n", version="1") for _ in range(2)] == [True, False]
    assert [swf.register_activity_type(name="n", version="1") for _ in range(2)] == [True, False]


def test_what_is_deprecated_is_refused_with_the_command_that_mends_it(service, swf) -> None:
    service.call("DeprecateActivityType", {"domain": "d", "activityType": {"name": "act", "version": "1"}})
    with pytest.raises(Fault, match="aws swf undeprecate-activity-type --domain d --activity-type name=act,version=1") as refused:
        swf.register_activity_type(name="act", version="1")
    assert refused.value.code == "TypeDeprecatedFault"
    service.call("DeprecateDomain", {"name": "d"})
    with pytest.raises(Fault, match="aws swf undeprecate-domain --name d") as refused:
        swf.register_domain(retention_days=1)
    assert refused.value.code == "DomainDeprecatedFault"


def test_a_type_of_an_unknown_domain_is_the_services_own_fault(service) -> None:
    with pytest.raises(Fault, match="Unknown domain: nowhere"):
        Swf(service, "nowhere").register_workflow_type(name="n", version="1")


NOT_YOU = Fault("OperationNotPermittedFault", "not you")


def test_who_may_not_register_is_content_with_what_others_registered(script) -> None:
    assert Swf(script(NOT_YOU, {"typeInfo": {"status": "REGISTERED"}}), "d").register_workflow_type(name="n", version="1") is False


def test_who_may_not_register_hears_of_what_is_missing(script) -> None:
    missing = Fault("UnknownResourceFault", "Unknown type")
    with pytest.raises(Fault, match=r"these credentials may not register it.*flowdsl register") as refused:
        Swf(script(NOT_YOU, missing), "d").register_workflow_type(name="n", version="1")
    assert refused.value.code == "UnknownResourceFault"


def test_who_may_not_even_ask_is_believed(script) -> None:
    assert Swf(script(NOT_YOU, NOT_YOU), "d").register_domain(retention_days=1) is False
