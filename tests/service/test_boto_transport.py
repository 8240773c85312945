"""boto3 as a transport: against a server of our own over the real engine, and against moto."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

from flowdsl.errors import Fault
from flowdsl.service import boto as boto_module
from flowdsl.service.retrying import Retrying
from flowdsl.service.swf import Swf

POLL = {"domain": "d", "taskList": {"name": "t"}}


def play(swf: Swf) -> list[Any]:
    """A story that meets many shapes of answers; everything that the service said."""
    told: list[Any] = []
    swf.register_domain(retention_days=1)
    swf.register_workflow_type(name="flow", version="1")
    swf.register_activity_type(name="act", version="1")
    run_id = swf.start_workflow_execution(
        workflow_id="w",
        name="flow",
        version="1",
        task_list="t",
        execution_start_to_close=60,
        task_start_to_close=60,
        input="grüße 🌍",
        tag_list=["a"],
    )
    swf.signal("w", "hello", input='{"a": [1, 2.5, null]}')
    task = swf.poll_for_decision_task(task_list="t", identity="me")
    never = dict.fromkeys(("scheduleToStartTimeout", "scheduleToCloseTimeout", "startToCloseTimeout", "heartbeatTimeout"), "NONE")
    act = {"activityId": "a1", "activityType": {"name": "act", "version": "1"}, "taskList": {"name": "a"}, **never}
    decisions = [
        {"decisionType": "ScheduleActivityTask", "scheduleActivityTaskDecisionAttributes": act},
        {"decisionType": "StartTimer", "startTimerDecisionAttributes": {"timerId": "t1", "startToFireTimeout": "50"}},
        {"decisionType": "RecordMarker", "recordMarkerDecisionAttributes": {"markerName": "m", "details": "x" * 100}},
    ]
    swf.respond_decision_task_completed(task_token=task["taskToken"], decisions=decisions, execution_context="")
    activity = swf.poll_for_activity_task(task_list="a")
    told += [swf.heartbeat(task_token=activity["taskToken"], details="1")]
    swf.respond_activity_task_completed(task_token=activity["taskToken"], result='"done"')
    told += [task, activity, swf.describe("w", run_id), list(swf.history("w", run_id)), list(swf.history("w", run_id, reverse=True))]
    told += [swf.list_open(), swf.count_pending_decision_tasks("t"), swf.transport.call("DescribeDomain", {"name": swf.domain})]
    return told


def reread(swf: Swf) -> list[Any]:
    """What can be asked again and again."""
    run_id = swf.list_open(workflow_id="w")[0]["execution"]["runId"]
    return [
        swf.describe("w", run_id), list(swf.history("w", run_id)), swf.list_open(), swf.list_closed(),
        swf.transport.call("ListDomains", {"registrationStatus": "REGISTERED"}),
        swf.transport.call("DescribeWorkflowType", {"domain": "d", "workflowType": {"name": "flow", "version": "1"}}),
    ]  # fmt: skip


def same_types(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same_types(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same_types, one, other))
    return type(one) is type(other)


def test_the_same_story_through_http_is_what_the_engine_says_itself(http, boto, service) -> None:
    server = http(service.call)
    told = play(Swf(boto(endpoint_url=server.url), "d"))
    assert told[0] is False
    assert reread(Swf(boto(endpoint_url=server.url), "d")) == reread(Swf(service, "d"))


def test_the_quick_way_and_botocores_own_give_identical_answers(http, boto, service) -> None:
    play(Swf(service, "d"))
    server = http(service.call)
    quick = reread(Swf(boto(endpoint_url=server.url), "d"))
    plain = reread(Swf(boto(endpoint_url=server.url, quick=False), "d"))
    assert quick == plain
    assert same_types(quick, plain)


def test_the_quick_way_is_really_taken_and_really_left(http, boto, service, monkeypatch) -> None:
    read: list[bool] = []
    original = boto_module._with_floats
    monkeypatch.setattr(boto_module, "_with_floats", lambda value: [read.append(True), original(value)][1])
    server = http(service.call)
    params = {"registrationStatus": "REGISTERED"}
    boto(endpoint_url=server.url).call("ListDomains", params)
    assert not read
    boto(endpoint_url=server.url, quick=False).call("ListDomains", params)
    assert read


@pytest.fixture(scope="module")
def moto() -> Any:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.parametrize("quick", [True, False])
def test_moto_an_implementation_that_is_not_ours_tells_the_same_story(boto, moto, quick) -> None:
    told = play_moto(Swf(boto(endpoint_url=moto, quick=quick), f"d-{quick}"))
    kinds = [event["eventType"] for event in told["history"]]
    assert kinds[:4] == ["WorkflowExecutionStarted", "DecisionTaskScheduled", "DecisionTaskStarted", "DecisionTaskCompleted"]
    assert "ActivityTaskCompleted" in kinds
    assert all(isinstance(event["eventTimestamp"], float) for event in told["history"])
    assert told["empty"] is None
    assert told["unknown"] == "UnknownResourceFault"


def play_moto(swf: Swf) -> dict[str, Any]:
    assert swf.register_domain(retention_days=1) is True
    assert swf.register_domain(retention_days=1) is False
    swf.register_workflow_type(name="flow", version="1")
    swf.register_activity_type(name="act", version="1")
    run_id = swf.start_workflow_execution(
        workflow_id="w", name="flow", version="1", task_list="t", execution_start_to_close=60, task_start_to_close=60
    )
    task = swf.poll_for_decision_task(task_list="t")
    never = dict.fromkeys(("scheduleToStartTimeout", "scheduleToCloseTimeout", "startToCloseTimeout", "heartbeatTimeout"), "60")
    act = {"activityId": "a1", "activityType": {"name": "act", "version": "1"}, "taskList": {"name": "a"}, **never}
    swf.respond_decision_task_completed(
        task_token=task["taskToken"], decisions=[{"decisionType": "ScheduleActivityTask", "scheduleActivityTaskDecisionAttributes": act}]
    )
    activity = swf.poll_for_activity_task(task_list="a")
    swf.respond_activity_task_completed(task_token=activity["taskToken"], result='"done"')
    try:
        swf.describe("nobody", "no run")
        unknown = ""
    except Fault as fault:
        unknown = fault.code
    return {"history": list(swf.history("w", run_id)), "empty": swf.poll_for_activity_task(task_list="a"), "unknown": unknown}


# --- settings


def test_requests_carry_our_name_and_clients_the_settings_of_a_long_poll(http, boto, service) -> None:
    server = http(service.call)
    transport = boto(endpoint_url=server.url)
    Swf(transport, "d").register_domain(retention_days=1)
    agent = server.requests[0]["User-Agent"]
    assert "flowdsl/" in agent and "unknown" not in agent
    for poll, client in ((True, transport._client(poll=True)), (False, transport._client(poll=False))):
        config = client.meta.config
        assert config.connect_timeout == 5
        assert config.tcp_keepalive is True
        assert config.max_pool_connections > 10
        assert config.retries["total_max_attempts"] == 1
        assert (config.read_timeout >= 70) is poll


def test_clients_are_made_once_for_all_threads_and_at_the_first_call(http, boto, service) -> None:
    server = http(service.call)
    transport = boto(endpoint_url=server.url)
    assert transport._clients == {}
    barrier = threading.Barrier(4)

    def call() -> None:
        barrier.wait()
        transport.call("ListDomains", {"registrationStatus": "REGISTERED"})

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(transport._clients) == [False]
    assert len(server.requests) == 4


def test_a_session_and_a_region_of_the_callers_are_used(http, keys, service) -> None:
    import boto3

    server = http(service.call)
    session = boto3.session.Session(aws_access_key_id="AKIDSESSION", aws_secret_access_key="x")
    transport = boto_module.BotoTransport(session, server.url, "eu-west-3")
    transport.call("ListDomains", {"registrationStatus": "REGISTERED"})
    assert "AKIDSESSION" in server.requests[0]["Authorization"]
    assert "/eu-west-3/swf/" in server.requests[0]["Authorization"]
    transport.close()


def test_the_address_may_come_from_botocores_own_setting(http, boto, service, monkeypatch) -> None:
    server = http(service.call)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SWF", server.url)
    assert boto().call("ListDomains", {"registrationStatus": "REGISTERED"}) == {"domainInfos": []}


def test_a_closed_transport_opens_again(http, boto, service) -> None:
    server = http(service.call)
    transport = boto(endpoint_url=server.url)
    for _ in range(2):
        assert transport.call("ListDomains", {"registrationStatus": "REGISTERED"}) == {"domainInfos": []}
        transport.close()


def test_nothing_is_loaded_before_the_first_call() -> None:
    program = (
        "import sys; from flowdsl.service.boto import BotoTransport as T; T(); print('boto3' in sys.modules, 'botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]


# --- what goes wrong


@pytest.fixture
def answering(http, boto) -> Any:
    """A transport to a server that always answers so."""

    def make(answer: Any) -> Any:
        def respond(operation: str, params: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        server = http(respond)
        transport = boto(endpoint_url=server.url)
        transport.server = server
        return transport

    return make


def refusal(transport: Any, operation: str = "DescribeDomain", params: Any = None) -> Fault:
    with pytest.raises(Fault) as refused:
        transport.call(operation, {"name": "d"} if params is None else params)
    return refused.value


@pytest.mark.parametrize(
    ("operation", "answer"), [("PollForActivityTask", b"{}"), ("PollForActivityTask", b""), ("PollForDecisionTask", b'{"taskToken": ""}')]
)
def test_a_polls_answer_without_started_event_id_is_a_fault_and_no_empty_poll(answering, operation, answer) -> None:
    fault = refusal(answering((200, {}, answer)), operation, POLL)
    assert (fault.code, fault.retryable) == ("InternalFailure", True)
    assert "startedEventId" in fault.message


@pytest.mark.parametrize("empty", [{"startedEventId": 0}, {"startedEventId": 0, "previousStartedEventId": 0}])
def test_an_empty_poll_is_an_answer(answering, empty) -> None:
    assert answering(empty).call("PollForActivityTask", POLL) == {key: empty[key] for key in empty}


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (
            400,
            {"__type": "com.amazonaws.swf.base.model#UnknownResourceFault", "message": "Unknown domain: d"},
            "UnknownResourceFault",
            False,
        ),
        (400, {"__type": "com.amazon.coral.service#ThrottlingException", "message": "Rate exceeded"}, "ThrottlingException", True),
        (400, {"__type": "com.amazon.coral.validate#ValidationException", "message": "no"}, "ValidationException", False),
        (500, {"__type": "com.amazon.coral.service#InternalFailure"}, "InternalFailure", True),
        (500, {}, "InternalFailure", True),
        (503, {}, "ServiceUnavailable", True),
        (502, {"__type": "SomethingElse"}, "SomethingElse", True),
        (429, {"__type": "SlowerPlease"}, "SlowerPlease", True),
    ],
)
def test_an_error_answer_is_a_fault_with_the_services_own_code(answering, status, body, code, retryable) -> None:
    fault = refusal(answering((status, {}, json.dumps(body).encode())))
    assert (fault.code, fault.retryable) == (code, retryable)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("ExpiredTokenException", "aws sso login"),
        ("UnrecognizedClientException", "AWS_PROFILE"),
        ("InvalidSignatureException", "this machine's clock"),
    ],
)
def test_what_the_user_can_mend_says_how(answering, code, hint) -> None:
    fault = refusal(answering((400, {}, json.dumps({"__type": code, "message": "the service's own words"}).encode())))
    assert fault.code == code
    assert not fault.retryable
    assert hint in fault.message
    assert "the service's own words" in fault.message


def test_nobody_listening_is_a_call_that_was_not_sent(http, boto, service) -> None:
    server = http(service.call)
    server.close()
    fault = refusal(boto(endpoint_url=server.url))
    assert (fault.code, fault.retryable) == ("ConnectionError", True)
    assert server.url in fault.message


def test_a_connection_that_breaks_is_a_lost_answer_and_botocore_does_not_ask_again(answering) -> None:
    transport = answering((0, {}, b""))
    fault = refusal(transport, "SignalWorkflowExecution", {"domain": "d", "workflowId": "w", "signalName": "s"})
    assert (fault.code, fault.retryable) == ("ConnectionLost", True)
    assert len(transport.server.requests) == 1


@pytest.mark.parametrize("status", [400, 500])
def test_botocore_repeats_nothing_by_itself(answering, status) -> None:
    transport = answering((status, {}, b'{"__type": "ThrottlingException"}'))
    refusal(transport, "PollForActivityTask", POLL)
    refusal(transport)
    assert len(transport.server.requests) == 2


def test_retrying_repeats_what_may_be_repeated(http, boto, service) -> None:
    answers = [(500, {}, b"{}"), (400, {}, b'{"__type": "ThrottlingException"}')]
    server = http(lambda operation, params: answers.pop() if answers else service.call(operation, params))
    assert Retrying(boto(endpoint_url=server.url), sleep=lambda _: None).call("ListDomains", {"registrationStatus": "REGISTERED"}) == {
        "domainInfos": []
    }
    assert len(server.requests) == 3


@pytest.mark.parametrize("page", [b"<html>a proxy's page</html>", b"[]", b'"text"'])
def test_an_answer_that_is_no_json_object_is_no_answer(answering, page) -> None:
    fault = refusal(answering((200, {}, page)))
    assert (fault.code, fault.retryable) == ("InternalFailure", True)
    assert "something on the way is not Amazon SWF" in fault.message


def test_half_a_surrogate_pair_in_somebodys_text_costs_nobody_the_history(answering) -> None:
    answer = answering((200, {}, rb'{"events": [{"eventId": 1, "x": "\ud83d"}]}')).call("DescribeDomain", {"name": "d"})
    assert answer["events"][0]["x"] == "\ud83d"


def test_members_that_botocore_would_not_send_are_a_validation_fault(answering) -> None:
    transport = answering({})
    fault = refusal(transport, "DescribeDomain", {"name": 5})
    assert fault.code == "ValidationException"
    assert transport.server.requests == []


def test_an_operation_that_boto3_does_not_know_is_refused_by_name(answering) -> None:
    assert refusal(answering({}), "InventDomain").code == "UnknownOperationException"


def test_without_credentials_the_fault_says_where_they_may_come_from(boto, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    fault = refusal(boto(endpoint_url="http://127.0.0.1:9"))
    assert (fault.code, fault.retryable) == ("NoCredentials", False)
    assert "AWS_PROFILE" in fault.message and "aws configure" in fault.message


def test_without_a_region_the_fault_says_where_to_set_it(boto, monkeypatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    fault = refusal(boto())
    assert (fault.code, fault.retryable) == ("NoRegion", False)
    assert "AWS_REGION" in fault.message


def test_a_profile_that_does_not_exist_is_named(keys, monkeypatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    fault = refusal(boto_module.BotoTransport())
    assert fault.code == "NoCredentials"
    assert "no-such-profile" in fault.message
