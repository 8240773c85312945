"""Human steps: activities that somebody ends later, by the task token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from contract_stage import DURABLE, HANDLES, events, new_id, wait_for

from flowdsl import ActivityFailed, ActivityTimedOut, Fault, activity, complete, fail, info, still_alive, workflow
from flowdsl.cli import main

tokens: dict[str, str] = {}
"""Where the functions below put their tokens: a mail, in real life."""


@activity(manual=True)
def decided(case: str) -> dict[str, Any]:
    tokens[case] = info().task_token or ""
    return {"this": "is not the result"}


@activity(manual=True, timeout=5)
def decided_soon(case: str) -> str:
    tokens[case] = info().task_token or ""
    return ""


@activity(manual=True)
def cannot_ask(case: str) -> str:
    raise ConnectionError(case)


@workflow
def approval(case: str) -> Any:
    try:
        return decided(case)
    except (ActivityFailed, ValueError) as error:
        return f"{type(error).__name__}: {error.args[0]}"


@workflow
def impatient(case: str) -> str:
    try:
        return decided_soon(case)
    except ActivityTimedOut as error:
        return error.kind


@workflow
def hopeless(case: str) -> str:
    try:
        return cannot_ask(case)
    except ConnectionError as error:
        return f"{error} {type(error.__cause__).__name__}"


def asked(stage: Any, flow: Any = approval) -> tuple[Any, str]:
    case = new_id("case")
    execution = stage.start(flow, case)
    return execution, wait_for(lambda: tokens.get(case))


@pytest.mark.stages(*HANDLES)
def test_what_is_said_by_token_is_the_activitys_value(stage):
    execution, token = asked(stage)
    complete(token, {"approved": True, "by": ("ann", 2)}, backend=stage.backend)
    assert execution.result() == {"approved": True, "by": ("ann", 2)}


@pytest.mark.stages(*HANDLES)
def test_a_failure_by_token_is_the_activitys_exception(stage):
    execution, token = asked(stage)
    fail(token, ValueError("too expensive"), backend=stage.backend)
    assert execution.result() == "ValueError: too expensive"
    execution, token = asked(stage)
    fail(token, "nobody is here", backend=stage.backend)
    assert execution.result() == "ActivityFailed: nobody is here"


@pytest.mark.stages(*HANDLES)
def test_a_token_answers_once(stage):
    execution, token = asked(stage)
    complete(token, 1, backend=stage.backend)
    assert execution.result() == 1
    with pytest.raises(Fault, match="UnknownResourceFault"):
        complete(token, 2, backend=stage.backend)


@pytest.mark.stages(*DURABLE)
def test_a_manual_activity_is_kept_alive_by_token_and_open_until_then(stage):
    execution, token = asked(stage)
    assert still_alive(token, {"seen": 1}, backend=stage.backend) is False
    assert not events(execution, "ActivityTaskCompleted", "ActivityTaskTimedOut")
    complete(token, "x", backend=stage.backend)
    assert execution.result() == "x"


@pytest.mark.stages("embedded", "replayed", "server")
def test_a_manual_activity_has_the_timeout_of_its_options(stage):
    execution, _ = asked(stage, impatient)
    stage.clock.advance(6)
    assert execution.result(timeout=20) == "START_TO_CLOSE"


@pytest.mark.stages(*HANDLES)
def test_a_function_that_cannot_ask_fails_the_activity_at_once(stage):
    assert stage.run(hopeless, "no mail today") == "no mail today ActivityFailed"


@pytest.mark.stages("server")
def test_a_token_is_answered_from_the_command_line(stage, monkeypatch):
    monkeypatch.setattr("flowdsl.commands.executions.chosen_backend", lambda **_: stage.backend)
    runner = CliRunner()
    execution, token = asked(stage)
    assert runner.invoke(main, ["complete", token, json.dumps({"approved": False})]).exit_code == 0
    assert execution.result() == {"approved": False}
    execution, token = asked(stage)
    assert runner.invoke(main, ["complete", token, "--fail", "no"]).exit_code == 0
    assert execution.result() == "ActivityFailed: no"
    assert runner.invoke(main, ["complete", token]).exit_code == 1
    assert runner.invoke(main, ["complete", token, "1", "--fail", "x"]).exit_code == 2
