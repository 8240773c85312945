"""The commands that look at executions and do something to them, against a served engine; and those that look after code."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from front_kit import served

from flowdsl.backends import Swf
from flowdsl.cli import main
from flowdsl.connection import disconnect, opened
from flowdsl.engine import ManualClock
from flowdsl.lang.registry import default_registry
from flowdsl.service.swf import Swf as Service

SHOP = """
from flowdsl import activity, publish, signal, workflow

@signal
def approved(by):
    return by

@activity
def double(x):
    return 2 * x

@workflow
def flow(x):
    publish("waiting")
    by = approved.wait()
    return [by, double(x)]
"""

Run = Callable[..., Result]


@pytest.fixture
def swf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Service, Run]]:
    """A served engine, and the command line in a folder with `shop.py`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    before = dict(default_registry._held)
    with served(ManualClock()) as (url, service):

        def run(*words: str) -> Result:
            wire = [] if words[0] == "run" else ["--backend", "swf", "--endpoint-url", url, "--region", "us-east-1"]
            return CliRunner().invoke(main, [words[0], *wire, *words[1:]])

        yield Service(service, "flowdsl"), run
        for connection in opened():
            if isinstance(connection.backend, Swf):
                disconnect(connection.backend)
    sys.modules.pop("shop", None)
    default_registry._held.clear()
    default_registry._held.update(before)


def done(result: Result) -> str:
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def deploy(folder: Path, text: str) -> None:
    """Other code under the same names, as a new process would see it."""
    (folder / "shop.py").write_text(text)
    importlib.invalidate_caches()
    sys.modules.pop("shop", None)
    for key in [key for key in default_registry._held if key[1].startswith("shop.")]:
        del default_registry._held[key]


def decide(service: Service, registry: Any = None) -> None:
    """One decision, made as a worker with the code would make it."""
    from flowdsl.data.setup import default_converter
    from flowdsl.data.values import Values
    from flowdsl.workers.decider import Decider

    decider = Decider(service, "flowdsl", registry or default_registry, Values(default_converter(None), "flowdsl"))
    assert decider.run_once()


def test_an_execution_is_started_listed_shown_signalled_and_read(swf: tuple[Service, Run]) -> None:
    service, run = swf
    begun = json.loads(done(run("start", "--output", "json", "--id", "w1", "shop.py:flow", "3")))
    assert begun["workflowId"] == "w1"
    assert "OPEN        w1  shop.flow 1" in done(run("list"))
    decide(service)
    shown = done(run("show", "w1"))
    assert 'published  "waiting"' in shown
    done(run("signal", "w1", "shop.approved", "ann"))
    events = json.loads(done(run("history", "w1", "--output", "json", "--run-id", begun["runId"])))["events"]
    assert events == list(service.history("w1", begun["runId"]))
    assert [e["eventType"] for e in events][-2:] == ["WorkflowExecutionSignaled", "DecisionTaskScheduled"]
    (latest,) = done(run("history", "w1", "--reverse-order", "--max-items", "1")).splitlines()
    assert "DecisionTaskScheduled" in latest


@pytest.mark.parametrize(
    ("words", "last"),
    [(("terminate", "w", "--reason", "a test"), "WorkflowExecutionTerminated"), (("cancel", "w"), "WorkflowExecutionCancelRequested")],
)
def test_an_execution_is_ended(swf: tuple[Service, Run], words: tuple[str, ...], last: str) -> None:
    service, run = swf
    done(run("start", "--id", "w", "shop.py:flow", "3"))
    done(run(*words))
    (info,) = service.list_closed(workflow_id="w") or service.list_open(workflow_id="w")
    assert last in [event["eventType"] for event in service.history("w", info["execution"]["runId"])]
    if words[0] == "terminate":
        assert "TERMINATED" in done(run("list", "--closed", "--status", "terminated"))


def test_a_replay_says_whether_the_code_agrees_and_writes_nothing(swf: tuple[Service, Run], tmp_path: Path) -> None:
    service, run = swf
    done(run("start", "--id", "w", "shop.py:flow", "3"))
    decide(service)
    done(run("signal", "w", "shop.approved", "ann"))
    decide(service)
    written = done(run("history", "w", "--output", "json"))
    (tmp_path / "history.json").write_text(written)
    assert "the code agrees" in done(run("replay", "shop.py", "--workflow-id", "w"))
    assert "the code agrees" in done(run("replay", "shop.py", "--history", "history.json"))
    deploy(tmp_path, SHOP.replace("double(x)]", "None]"))
    refused = run("replay", "shop.py", "--history", "history.json")
    assert refused.exit_code == 1, refused.output
    assert "took another path than its history" in refused.stderr
    assert done(run("history", "w", "--output", "json")) == written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "nobody"), "Unknown execution, workflowId = nobody"),
        (("list", "--status", "failed"), "add --closed"),
        (("list", "--tag", "a", "--type", "b"), "one thing at a time"),
        (("replay", "shop.py"), "give either --workflow-id or --history"),
        (("replay", "shop.py", "--history", "shop.py"), "holds no history"),
        (("start", "shop.py:flow"), "missing a required argument"),
        (("worker", "shop.py", "--health", "nowhere"), "give a port, or HOST:PORT"),
    ],
)
def test_wrong_usage_is_one_message_and_2(swf: tuple[Service, Run], words: tuple[str, ...], message: str) -> None:
    result = swf[1](*words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_local_backend_has_no_executions_to_look_at() -> None:
    result = CliRunner().invoke(main, ["list", "--backend", "local"])
    assert result.exit_code == 2
    assert "add --backend embedded or --backend swf" in result.stderr


def test_an_embedded_file_is_served_by_one_process(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["worker", "x.py", "--backend", "embedded", "--path", str(tmp_path / "f.db"), "--processes", "2"])
    assert result.exit_code == 2
    assert "an embedded file is served by one process" in result.stderr


def test_register_and_doctor(swf: tuple[Service, Run]) -> None:
    service, run = swf
    assert done(run("register", "shop.py")).splitlines() == ["activity shop.double 1", "workflow shop.flow 1"]
    assert [info["workflowType"]["name"] for info in service.list_workflow_types()] == ["shop.flow"]
    report = json.loads(done(run("doctor", "--output", "json")))
    assert report["reachable"] == "yes"
    assert report["extras"]["server"] is True


def test_what_fits_a_new_build_is_moved_and_what_does_not_stays(swf: tuple[Service, Run], tmp_path: Path) -> None:
    from flowdsl.data.setup import default_converter
    from flowdsl.data.values import Values
    from flowdsl.workers.builds import Build
    from flowdsl.workers.cache import Cache
    from flowdsl.workers.decider import Decider

    service, run = swf
    for workflow_id in ("fits", "does not"):
        done(run("start", "--id", workflow_id, "shop.py:flow", "3"))
    build = Build(service, "flowdsl", "old")
    build.register()
    decider = Decider(service, "flowdsl", default_registry, Values(default_converter(None), "flowdsl"), build=build)
    for _ in range(2):
        assert decider._bring("flowdsl", Cache(0), None, lambda work: work())
    done(run("signal", "does not", "shop.approved", "ann"))
    assert decider._bring("flowdsl.old", Cache(0), None, lambda work: work())
    deploy(tmp_path, SHOP.replace("double(x)]", "None]"))
    result = run("upgrade", "shop.py", "--build", "new")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "fits: moved" in lines
    assert any(line.startswith("does not: stays: ") for line in lines)
    (info,) = service.list_open(workflow_id="fits")
    names = [e["eventType"] for e in service.history("fits", info["execution"]["runId"])]
    assert names[-2:] == ["WorkflowExecutionSignaled", "DecisionTaskScheduled"]
