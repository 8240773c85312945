"""Unmodified clients against the server: boto3, the AWS CLI and the AWS SDK for JavaScript each drive a whole execution.

The server is in a thread or in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from flowdsl.engine import Engine, Service
from flowdsl.server import ThreadedServer

ROOT = Path(__file__).parents[2]
DUMMY = {"AWS_ACCESS_KEY_ID": "flowdsl", "AWS_SECRET_ACCESS_KEY": "flowdsl", "AWS_DEFAULT_REGION": "us-east-1"}


class Client(Protocol):
    """One call of SWF by some client: the operation and its parameters; gives the output."""

    def __call__(self, operation: str, **params: Any) -> dict[str, Any]: ...


class Process:
    """A real `flowdsl server` on a file."""

    def __init__(self, path: Path, port: int = 0, credentials: str | None = None) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment.pop("FLOWDSL_SERVER_CREDENTIALS", None)
        if credentials:
            environment["FLOWDSL_SERVER_CREDENTIALS"] = credentials
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowdsl", "server", "--port", str(port), "--path", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline().rstrip("\n") for _ in range(2)]
        self.url = self.lines[0].rpartition("=")[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def by_boto(url: str) -> Client:
    client = boto3.client(
        "swf",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="flowdsl",
        aws_secret_access_key="flowdsl",
        config=Config(read_timeout=75, retries={"max_attempts": 0}),
    )

    def call(operation: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = client._make_api_call(operation, params)
        answer.pop("ResponseMetadata")
        return answer

    return call


def by_aws_cli(url: str) -> Client:
    aws = shutil.which("aws")
    if aws is None:
        pytest.skip("the AWS CLI is not installed")

    def call(operation: str, **params: Any) -> dict[str, Any]:
        command = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("-")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | DUMMY
        done = subprocess.run(
            [aws, "swf", command, "--endpoint-url", url, "--cli-input-json", json.dumps(params), "--output", "json", "--no-paginate"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer

    return call


class Javascript:
    """A node process with the SDK (see `swf_client.cjs`); ended with the test."""

    running: ClassVar[list[subprocess.Popen[str]]] = []

    def __init__(self, url: str) -> None:
        node, modules = shutil.which("node"), ROOT / ".node-swf" / "node_modules"
        if node is None or not (modules / "@aws-sdk" / "client-swf").is_dir():
            pytest.skip("node or @aws-sdk/client-swf is not installed: make test-setup")
        command = [node, str(Path(__file__).parent / "swf_client.cjs"), url]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"NODE_PATH": str(modules)}
        )
        self.running.append(self.process)

    def told(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"operation": operation, "params": params}) + "\n")
        self.process.stdin.flush()
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        told = self.told(operation, params)
        assert "error" not in told, told
        assert told["requestId"]
        answer: dict[str, Any] = told["answer"]
        return answer


@pytest.fixture(autouse=True)
def _no_node_is_left() -> Iterator[None]:
    yield
    while Javascript.running:
        with Javascript.running.pop() as process:
            process.kill()


CLIENTS = [pytest.param(by_boto, id="boto3"), pytest.param(by_aws_cli, id="aws-cli"), pytest.param(Javascript, id="javascript")]
DOMAIN = {"domain": "shop"}
LIST = {"taskList": {"name": "main"}}
RUN_LATE = {"timerId": "pause", "startToFireTimeout": "0"}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with ThreadedServer(Service(Engine(tmp_path / "flows.db"))) as address:
        yield address


def register(call: Client) -> None:
    call("RegisterDomain", name="shop", workflowExecutionRetentionPeriodInDays="1")
    call("RegisterActivityType", **DOMAIN, name="charge", version="1", defaultTaskHeartbeatTimeout="NONE")
    call(
        "RegisterWorkflowType",
        **DOMAIN,
        name="fulfil",
        version="1",
        defaultTaskStartToCloseTimeout="60",
        defaultExecutionStartToCloseTimeout="3600",
        defaultTaskList={"name": "main"},
        defaultChildPolicy="TERMINATE",
    )


def start(call: Client, workflow_id: str = "order-1") -> str:
    kind = {"name": "fulfil", "version": "1"}
    run_id: str = call("StartWorkflowExecution", **DOMAIN, workflowId=workflow_id, workflowType=kind, input="3")["runId"]
    return run_id


def decide(call: Client, *decisions: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Take the waiting decision task and answer it; gives the task."""
    task = call("PollForDecisionTask", **DOMAIN, **LIST)
    call(
        "RespondDecisionTaskCompleted",
        taskToken=task["taskToken"],
        decisions=[{"decisionType": kind, f"{kind[0].lower()}{kind[1:]}DecisionAttributes": attributes} for kind, attributes in decisions],
    )
    return task


def charge() -> tuple[str, dict[str, Any]]:
    return "ScheduleActivityTask", {
        "activityType": {"name": "charge", "version": "1"},
        "activityId": "charge-1",
        "taskList": {"name": "main"},
        "input": "grüße \N{GRINNING FACE}",
        "scheduleToStartTimeout": "60",
        "scheduleToCloseTimeout": "60",
        "startToCloseTimeout": "60",
    }


def finish(call: Client) -> None:
    """From the moment at which activity and timer are under way to the close."""
    task = call("PollForActivityTask", **DOMAIN, **LIST, identity="worker")
    assert task["input"] == "grüße \N{GRINNING FACE}"
    assert call("RecordActivityTaskHeartbeat", taskToken=task["taskToken"], details="half") == {"cancelRequested": False}
    call("RespondActivityTaskCompleted", taskToken=task["taskToken"], result="paid")
    seen: set[str] = set()
    while not {"TimerFired", "ActivityTaskCompleted"} <= seen:
        polled = call("PollForDecisionTask", **DOMAIN, **LIST)
        seen |= {event["eventType"] for event in polled["events"]}
        finished = {"TimerFired", "ActivityTaskCompleted"} <= seen
        closing = [{"decisionType": "CompleteWorkflowExecution", "completeWorkflowExecutionDecisionAttributes": {"result": "done"}}]
        call("RespondDecisionTaskCompleted", taskToken=polled["taskToken"], decisions=closing if finished else [])


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
