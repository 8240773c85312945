"""Unmodified clients against the server: boto3, the AWS CLI and the AWS SDK for JavaScript each drive a whole execution.

The server is in a thread or in a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from swf_clients import (
    CLIENTS,
    DOMAIN,
    LIST,
    ROOT,
    RUN_LATE,
    Client,
    Javascript,
    Process,
    by_boto,
    charge,
    decide,
    finish,
    register,
    start,
)

from flowdsl.engine import Engine, Service
from flowdsl.server import ThreadedServer


@pytest.fixture(autouse=True)
def _no_node_is_left() -> Iterator[None]:
    yield
    while Javascript.running:
        with Javascript.running.pop() as process:
            process.kill()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with ThreadedServer(Service(Engine(tmp_path / "flows.db"))) as address:
        yield address


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_drives_a_whole_execution(url: str, client: Callable[[str], Client]) -> None:
    call = client(url)
    register(call)
    run_id = start(call)
    decide(call, charge(), ("StartTimer", RUN_LATE))
    finish(call)

    execution = {"workflowId": "order-1", "runId": run_id}
    events = call("GetWorkflowExecutionHistory", **DOMAIN, execution=execution)["events"]
    types = [event["eventType"] for event in events]
    assert [event["eventId"] for event in events] == list(range(1, len(events) + 1))
    assert types[:6] == [
        "WorkflowExecutionStarted",
        "DecisionTaskScheduled",
        "DecisionTaskStarted",
        "DecisionTaskCompleted",
        "ActivityTaskScheduled",
        "TimerStarted",
    ]
    assert {"ActivityTaskStarted", "ActivityTaskCompleted", "TimerFired"} < set(types)
    assert types[-1] == "WorkflowExecutionCompleted"
    assert events[-1]["workflowExecutionCompletedEventAttributes"]["result"] == "done"
    info = call("DescribeWorkflowExecution", **DOMAIN, execution=execution)["executionInfo"]
    assert (info["executionStatus"], info["closeStatus"]) == ("CLOSED", "COMPLETED")
    closed = call("ListClosedWorkflowExecutions", **DOMAIN, startTimeFilter={"oldestDate": 0}, closeStatusFilter={"status": "COMPLETED"})
    assert [one["execution"] for one in closed["executionInfos"]] == [execution]


@pytest.mark.parametrize("client", CLIENTS)
def test_an_execution_goes_on_after_the_server_was_stopped_and_started_again(tmp_path: Path, client: Callable[[str], Client]) -> None:
    path = tmp_path / "with space and ü.db"
    with Process(path) as first:
        call = client(first.url)
        register(call)
        run_id = start(call)
        decide(call, charge(), ("StartTimer", RUN_LATE))
        assert first.end() == (0, "")
    with Process(path) as second:
        call = client(second.url)
        finish(call)
        history = call("GetWorkflowExecutionHistory", **DOMAIN, execution={"workflowId": "order-1", "runId": run_id})
        assert history["events"][-1]["eventType"] == "WorkflowExecutionCompleted"
        assert second.end(signal.SIGINT) == (0, "")


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "flows.db"
    with Process(path) as first:
        call = by_boto(first.url)
        register(call)
        acknowledged: list[tuple[str, str]] = []

        def keep_starting() -> None:
            try:
                while True:
                    workflow_id = f"order-{len(acknowledged)}"
                    acknowledged.append((workflow_id, start(call, workflow_id)))
            except Exception:  # the server is gone
                return

        starter = threading.Thread(target=keep_starting)
        starter.start()
        while len(acknowledged) < 20:
            assert starter.is_alive()
        first.process.kill()
        starter.join()
    with Process(path) as second:
        call = by_boto(second.url)
        for workflow_id, run_id in acknowledged:
            execution = {"workflowId": workflow_id, "runId": run_id}
            info = call("DescribeWorkflowExecution", **DOMAIN, execution=execution)["executionInfo"]
            assert info["executionStatus"] == "OPEN"
        assert second.end() == (0, "")


def test_faults_reach_boto3_as_its_own_exceptions(url: str) -> None:
    client = boto3.client("swf", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with pytest.raises(client.exceptions.UnknownResourceFault) as unknown:
        client.describe_domain(name="nowhere")
    assert unknown.value.response["Error"]["Message"] == "Unknown domain: nowhere"
    assert unknown.value.response["ResponseMetadata"]["RequestId"]
    client.register_domain(name="d", workflowExecutionRetentionPeriodInDays="1")
    with pytest.raises(client.exceptions.DomainAlreadyExistsFault):
        client.register_domain(name="d", workflowExecutionRetentionPeriodInDays="1")
    with pytest.raises(ClientError) as invalid:
        client.register_domain(name="d" * 300, workflowExecutionRetentionPeriodInDays="1")
    assert invalid.value.response["Error"]["Code"] == "ValidationException"


def test_faults_reach_javascript_as_its_own_exceptions(url: str) -> None:
    client = Javascript(url)
    unknown = client.told("DescribeDomain", {"name": "nowhere"})
    assert unknown == {"error": "UnknownResourceFault", "message": "Unknown domain: nowhere", "typed": True}
    client("RegisterDomain", name="d", workflowExecutionRetentionPeriodInDays="1")
    exists = client.told("RegisterDomain", {"name": "d", "workflowExecutionRetentionPeriodInDays": "1"})
    assert (exists["error"], exists["typed"]) == ("DomainAlreadyExistsFault", True)
    invalid = client.told("RegisterDomain", {"name": "d" * 300, "workflowExecutionRetentionPeriodInDays": "1"})
    assert invalid["error"] == "ValidationException"


def test_a_client_that_vanishes_during_its_poll_takes_no_task_with_it(url: str) -> None:
    call = by_boto(url)
    register(call)
    impatient = boto3.client(
        "swf",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(read_timeout=0.3, retries={"max_attempts": 0}),
    )
    for _ in range(3):
        with pytest.raises(Exception, match="Read timeout"):
            impatient.poll_for_decision_task(domain="shop", taskList={"name": "main"})
    start(call)
    assert "taskToken" in call("PollForDecisionTask", **DOMAIN, **LIST)


def test_a_waiting_poll_gets_the_task_of_a_later_start(url: str) -> None:
    call = by_boto(url)
    register(call)
    tasks: list[dict[str, Any]] = []
    poller = threading.Thread(target=lambda: tasks.append(call("PollForDecisionTask", **DOMAIN, **LIST)))
    poller.start()
    run_id = start(call)
    poller.join(30)
    assert [task["workflowExecution"]["runId"] for task in tasks] == [run_id]


def test_the_end_of_a_process_answers_its_waiting_polls_empty(tmp_path: Path) -> None:
    with Process(tmp_path / "flows.db") as server:
        call = by_boto(server.url)
        register(call)
        answers: list[dict[str, Any]] = []
        empty = {"PollForDecisionTask": {"previousStartedEventId": 0, "startedEventId": 0}, "PollForActivityTask": {"startedEventId": 0}}
        pollers = [threading.Thread(target=lambda name=name: answers.append(call(name, **DOMAIN, **LIST))) for name in empty]
        for poller in pollers:
            poller.start()
        call("DescribeDomain", name="shop")
        status = server.end()
        for poller in pollers:
            poller.join(30)
        assert status == (0, "")
    assert sorted(answers, key=len, reverse=True) == list(empty.values())


def test_a_process_says_how_to_reach_it(tmp_path: Path) -> None:
    with Process(tmp_path / "flows.db") as server:
        assert server.lines == [
            f"export AWS_ENDPOINT_URL_SWF={server.url}",
            "export AWS_ACCESS_KEY_ID=flowdsl AWS_SECRET_ACCESS_KEY=flowdsl AWS_DEFAULT_REGION=us-east-1",
        ]
        assert server.url.startswith("http://127.0.0.1:")


def test_the_printed_lines_are_all_that_a_client_needs(tmp_path: Path) -> None:
    with Process(tmp_path / "flows.db", credentials="ann:a long secret") as server:
        assert "secret" not in "".join(server.lines).lower().replace("aws_secret_access_key", "")
        code = "import boto3; print(boto3.client('swf').list_domains(registrationStatus='REGISTERED')['domainInfos'])"
        script = "\n".join([*server.lines, f'exec "{sys.executable}" -c "{code}"'])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        for credentials, output in (("ann:a long secret", "[]\n"), ("ann:another secret", "")):
            done = subprocess.run(
                ["sh", "-c", script],
                env=environment | {"FLOWDSL_SERVER_CREDENTIALS": credentials},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.stdout == output
            assert ("InvalidSignatureException" in done.stderr) is not output


def refused(*arguments: str, **environment: str) -> str:
    """What `flowdsl server` says when it does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "flowdsl", "server", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_one_file_is_served_by_one_process(tmp_path: Path) -> None:
    with Process(tmp_path / "flows.db") as server:
        message = refused("--port", "0", "--path", str(tmp_path / "flows.db"))
        assert "[FD120]" in message
        assert "flows.db" in message
        by_boto(server.url)("ListDomains", registrationStatus="REGISTERED")


def test_a_port_in_use_stops_the_start(tmp_path: Path) -> None:
    with Process(tmp_path / "flows.db") as server:
        port = server.url.rpartition(":")[2]
        assert f"port {port}: Address already in use" in refused("--port", port, "--path", str(tmp_path / "other.db"))
    assert not (tmp_path / "other.db").exists()


def test_a_foreign_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Ann,\n" * 1000)
    assert "[FD121]" in refused("--port", "0", "--path", str(tmp_path / "letter.txt"))
    assert (tmp_path / "letter.txt").read_text() == "Dear Ann,\n" * 1000


def test_an_open_address_needs_credentials(tmp_path: Path) -> None:
    message = refused("--host", "0.0.0.0", "--path", str(tmp_path / "flows.db"), FLOWDSL_SERVER_CREDENTIALS="")
    assert "set FLOWDSL_SERVER_CREDENTIALS=access_key:secret" in message
    message = refused("--host", "0.0.0.0", "--path", str(tmp_path / "flows.db"), FLOWDSL_SERVER_CREDENTIALS="ann")
    assert "must be access_key:secret" in message


def test_missing_packages_are_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['starlette'] = None; from flowdsl.cli import main; main(['server', '--port', '0'], prog_name='flowdsl')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "flowdsl server needs packages that are not installed. Run:  pip install 'flowdsl[server]' [FD104]" in done.stderr
