"""What a served engine can be told: functions for its lambda tasks, smaller quotas, rates. And how an empty poll looks to each client."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from swf_clients import DOMAIN, LIST, Process, by_aws_cli, by_boto, decide, register, start

from flowdsl.engine import Engine, ManualClock, Service
from flowdsl.server import ThreadedServer

HANDLER = """
def double(event, context):
    return event["n"] * 2
"""


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "handlers.py").write_text(HANDLER, encoding="utf-8")
    more = ("--lambda", "double=handlers.py:double", "--quota", "open_timers=1", "--throttle", "--scale", "0.03")
    with Process(tmp_path / "flows.db", more=more) as process:
        yield process


def timer(timer_id: str) -> tuple[str, dict[str, Any]]:
    return "StartTimer", {"timerId": timer_id, "startToFireTimeout": "60"}


def test_a_server_calls_functions_and_keeps_quotas_and_rates(told: Process) -> None:
    call = by_boto(told.url)
    register(call)
    kind = {"name": "fulfil", "version": "1"}
    role = "arn:aws:iam::000000000000:role/flows"
    call("StartWorkflowExecution", **DOMAIN, workflowId="order-1", workflowType=kind, lambdaRole=role)
    decide(call, ("ScheduleLambdaFunction", {"id": "l1", "name": "double", "input": json.dumps({"n": 21})}), timer("t1"), timer("t2"))
    seen: dict[str, dict[str, Any]] = {}
    while "LambdaFunctionCompleted" not in seen:
        task = call("PollForDecisionTask", **DOMAIN, **LIST)
        call("RespondDecisionTaskCompleted", taskToken=task["taskToken"])
        for event in task["events"]:
            (key,) = event.keys() - {"eventId", "eventTimestamp", "eventType"}
            seen[event["eventType"]] = event[key]
    assert seen["LambdaFunctionCompleted"]["result"] == "42"
    assert (seen["StartTimerFailed"]["timerId"], seen["StartTimerFailed"]["cause"]) == ("t2", "OPEN_TIMERS_LIMIT_EXCEEDED")

    client = boto3.client(
        "swf", endpoint_url=told.url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b",
        config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip
    with pytest.raises(client.exceptions.ClientError) as refused:  # a bucket of three, refilled in more than five seconds
        for _ in range(100):
            client.list_domains(registrationStatus="REGISTERED")
    assert refused.value.response["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(("more", "message"), [
    (("--lambda", "f"), "NAME=MODULE:FUNCTION or NAME=URL"),
    (("--quota", "timers=3"), "the names are domains"),
    (("--scale", "2"), "0<x<=1"),
])  # fmt: skip
def test_a_wrong_choice_stops_the_start(tmp_path: Path, more: tuple[str, ...], message: str) -> None:
    with Process(tmp_path / "flows.db", more=more) as process:
        process.process.wait(60)
        assert process.process.returncode == 2
        assert process.process.stderr is not None
        assert message in process.process.stderr.read()
    assert not (tmp_path / "flows.db").exists()


# --- the empty poll ---------------------------------------------------------------------------------------------------


class Watched(Service):
    """A service that says when a poll has begun to wait."""

    def __init__(self, engine: Engine, clock: ManualClock) -> None:
        super().__init__(engine, clock)
        self.waits = threading.Event()

    def submit_all(self, calls: Any) -> Any:
        tickets = super().submit_all(calls)
        if any(ticket.queue is not None for ticket in tickets):
            self.waits.set()
        return tickets


def by_hand(url: str) -> Any:
    """A client without any SDK: what comes over the wire is what is seen."""

    def call(operation: str, **params: Any) -> Any:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=75)
        headers = {"X-Amz-Target": f"SimpleWorkflowService.{operation}", "Content-Type": "application/x-amz-json-1.0"}
        connection.request("POST", "/", json.dumps(params), headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status == 200
        return json.loads(body or b"{}")

    return call


@pytest.mark.parametrize("client", [by_boto, by_aws_cli, by_hand])
@pytest.mark.parametrize(("operation", "empty"), [
    ("PollForDecisionTask", {"previousStartedEventId": 0, "startedEventId": 0}),
    ("PollForActivityTask", {"startedEventId": 0}),
])  # fmt: skip
def test_an_empty_poll_has_zeros_and_no_token_for_every_client(operation: str, empty: dict[str, int], client: Callable[[str], Any]) -> None:
    clock = ManualClock()
    service = Watched(Engine(), clock)
    with ThreadedServer(service) as url:
        call = client(url)
        service.call("RegisterDomain", {"name": "shop", "workflowExecutionRetentionPeriodInDays": "1"})
        answers: list[Any] = []
        poller = threading.Thread(target=lambda: answers.append(call(operation, **DOMAIN, **LIST)))
        poller.start()
        assert service.waits.wait(60)
        clock.advance(60)
        poller.join(60)
    assert answers == [empty]


def test_a_start_answers_a_poll_that_waits_on_the_virtual_clock() -> None:
    service = Watched(Engine(), ManualClock())
    with ThreadedServer(service) as url:
        call = by_boto(url)
        register(call)
        answers: list[Any] = []
        poller = threading.Thread(target=lambda: answers.append(by_boto(url)("PollForDecisionTask", **DOMAIN, **LIST)))
        poller.start()
        assert service.waits.wait(60)
        run_id = start(call)
        poller.join(60)
    assert answers[0]["workflowExecution"] == {"workflowId": "order-1", "runId": run_id}
