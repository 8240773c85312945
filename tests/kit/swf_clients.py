"""Unmodified clients of Amazon SWF, a server in a process of its own, and one small workflow that each client can drive through it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import boto3
import pytest
from botocore.config import Config

ROOT = Path(__file__).parents[2]
DUMMY = {"AWS_ACCESS_KEY_ID": "flowdsl", "AWS_SECRET_ACCESS_KEY": "flowdsl", "AWS_DEFAULT_REGION": "us-east-1"}


class Client(Protocol):
    """One call of SWF by some client: the operation and its parameters; gives the output."""

    def __call__(self, operation: str, **params: Any) -> dict[str, Any]: ...


class Process:
    """A real `flowdsl server` on a file."""

    def __init__(self, path: Path, port: int = 0, credentials: str | None = None, more: tuple[str, ...] = ()) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment.pop("FLOWDSL_SERVER_CREDENTIALS", None)
        if credentials:
            environment["FLOWDSL_SERVER_CREDENTIALS"] = credentials
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowdsl", "server", "--port", str(port), "--path", str(path), *more],
            cwd=path.parent,
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


CLIENTS = [pytest.param(by_boto, id="boto3"), pytest.param(by_aws_cli, id="aws-cli"), pytest.param(Javascript, id="javascript")]
DOMAIN = {"domain": "shop"}
LIST = {"taskList": {"name": "main"}}
RUN_LATE = {"timerId": "pause", "startToFireTimeout": "0"}


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
