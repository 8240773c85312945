"""The command line, as a user meets it: in a process of its own, by its output and its exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowdsl.engine import Engine, ManualClock, Service, Ticket
from flowdsl.server import ThreadedServer

ROOT = Path(__file__).parents[2]

SHOP = """
from dataclasses import dataclass
from flowdsl import activity, sleep, workflow

@dataclass
class Receipt:
    order: str
    cents: int

class Declined(Exception):
    pass

@activity
def charge(order, cents):
    if cents > 1000:
        raise Declined(f"{order}: {cents} is too much")
    return Receipt(order, cents)

@workflow
def fulfil(order: str, cents: int = 5, gift: bool = False) -> dict:
    receipt = charge(order, cents)
    return {"order": receipt.order, "cents": receipt.cents, "gift": gift, "kind": type(order).__name__}

@workflow
def kind(value: object) -> str:
    return type(value).__name__

@workflow
def typed() -> Receipt:
    return charge("o", 7)

@workflow
def odd() -> object:
    return (lambda: None).__class__

@workflow
def wrong() -> None:
    sleep(-1)

@workflow
def text() -> str:
    return "größe"

@workflow
def nothing() -> None:
    pass

def plain():
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "broken.py").write_text("import shop\n\n1 / 0\n")
    return tmp_path


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWDSL_", "AWS_"))}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "AWS_EC2_METADATA_DISABLED": "true"}


def flowdsl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "flowdsl", *arguments)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )


FLEET = """
import sys, shop
from flowdsl import Swf, run
fleet = Swf(domain="shop", endpoint_url=sys.argv[1], region="us-east-1", serve=False, task_list="fleet")
receipt = run(shop.fulfil, "o-1", backend=fleet)
print(receipt["order"], receipt["cents"])
"""


def flowdsl_with(variables: dict[str, str], folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_the_commands_and_loads_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from flowdsl.cli import main; main(['--help'], standalone_mode=False);"
        "heavy = {'boto3', 'botocore', 'starlette', 'uvicorn', 'sqlite3', 'dill', 'flowdsl.engine', 'flowdsl.run'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = python(folder, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n  {command} " in done.stdout for command in ("run", "worker", "server"))


def test_run_prints_the_result_as_json(folder: Path) -> None:
    done = flowdsl(folder, "run", "shop.py:fulfil", "o-1", "12", "--kw", "gift=true")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '{"order": "o-1", "cents": 12, "gift": true, "kind": "str"}\n'


@pytest.mark.parametrize(
    ("name", "output"),
    [("text", '"größe"\n'), ("nothing", "null\n"), ("typed", '{"order":"o","cents":7}\n'), ("odd", "<class 'function'>\n")],
)
def test_run_prints_any_result_readably(folder: Path, name: str, output: str) -> None:
    done = flowdsl(folder, "run", f"shop:{name}")
    assert (done.returncode, done.stdout) == (0, output)


@pytest.mark.parametrize(
    ("argument", "kind"), [('"5"', "str"), ("5", "int"), ("five", "str"), ("[1]", "list"), ("null", "NoneType"), ("{", "str")]
)
def test_an_argument_is_json_where_it_parses(folder: Path, argument: str, kind: str) -> None:
    assert flowdsl(folder, "run", "shop.py:kind", argument).stdout == f'"{kind}"\n'


def test_a_failed_workflow_exits_1_with_its_traceback_on_stderr(folder: Path) -> None:
    done = flowdsl(folder, "run", "shop.py:fulfil", "o-1", "5000")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.rstrip().endswith("shop.Declined: o-1: 5000 is too much")
    assert 'raise Declined(f"{order}: {cents} is too much")' in done.stderr


def test_a_mistake_inside_the_workflow_is_its_failure_and_has_its_traceback(folder: Path) -> None:
    done = flowdsl(folder, "run", "shop.py:wrong")
    assert done.returncode == 1
    assert "    sleep(-1)\n" in done.stderr
    assert "[FD101]" in done.stderr


def test_a_file_that_another_process_serves_exits_2(folder: Path) -> None:
    with contextlib.closing(Engine(folder / "flows.db")):
        done = flowdsl(folder, "run", "shop.py:text", "--backend", "embedded", "--path", "flows.db")
    assert (done.returncode, done.stdout) == (2, "")
    assert "[FD120]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop.py:fulfil"], "fulfil(order: str, cents: int = 5, gift: bool = False) -> dict: missing a required argument: 'order'"),
        (["shop.py:fulfil", "o", "--kw", "gif=true"], "got an unexpected keyword argument 'gif'"),
        (["shop.py:fulfil", "o", "--kw", "gift"], "--kw 'gift' is not of the form NAME=VALUE"),
        (["shop.py:fulfill", "o"], "shop.py has no 'fulfill'. Did you mean 'fulfil'?"),
        (["shop.py:charge", "o", "1"], "shop.py:charge is a definition of kind 'activity', not a @workflow"),
        (["shop.py:plain"], "shop.py:plain is a function, not a @workflow"),
        (["shp.py:fulfil", "o"], "there is no file 'shp.py'. Did you mean 'shop.py'?"),
        (["shop.py:fulfil", "o", "--backend", "embeded"], "embeded"),
        (["shop.py:fulfil", "o", "--region", "eu-west-1"], "--region has no meaning for the backend local: add --backend swf"),
        (["shop.py:fulfil", "o", "--path", "x.db"], "--path has no meaning for the backend local: add --backend embedded"),
        (["shop.py:fulfil", "o", "--backend", "swf", "--profile", "nobody"], "The config profile (nobody) could not be found"),
        (["shop.py:fulfil", "o", "--backnd", "swf"], "No such option"),
    ],
)
def test_wrong_usage_exits_2_with_one_message(folder: Path, arguments: list[str], message: str) -> None:
    done = flowdsl(folder, "run", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["run", "broken.py:fulfil"], ["worker", "broken"]])
def test_an_error_inside_the_target_exits_2_with_its_own_traceback_only(folder: Path, arguments: list[str]) -> None:
    done = flowdsl(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ZeroDivisionError" in done.stderr
    assert "broken.py" in done.stderr
    assert "targets.py" not in done.stderr
    assert "importlib" not in done.stderr


def test_run_on_an_embedded_file_resumes_by_id(folder: Path) -> None:
    arguments = ("run", "shop.py:fulfil", "o-1", "--backend", "embedded", "--path", "flows.db", "--id", "order-1")
    first = flowdsl(folder, *arguments)
    assert (first.returncode, first.stdout) == (0, '{"order": "o-1", "cents": 5, "gift": false, "kind": "str"}\n'), first.stderr
    assert (folder / "flows.db").exists()
    failed = flowdsl(folder, "run", "shop.py:fulfil", "o-2", "2000", "--backend", "embedded", "--path", "flows.db")
    assert failed.returncode == 1
    assert "shop.Declined: o-2: 2000 is too much" in failed.stderr


class Watched(Service):
    """The engine's service; says when a worker polls for decisions and activities, and holds back nothing."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_800_000_000)
        super().__init__(Engine(":memory:"), self.clock)
        self.polled = {"PollForDecisionTask": threading.Event(), "PollForActivityTask": threading.Event()}

    def submit_all(self, calls: Sequence[tuple[str, Mapping[str, Any], Callable[[Any], None]]]) -> list[Ticket]:
        for operation, _, _ in calls:
            if operation in self.polled:
                self.polled[operation].set()
        return super().submit_all(calls)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_serves_a_fleet_and_ends_in_order(folder: Path, number: signal.Signals) -> None:
    service = Watched()
    with ThreadedServer(service) as url:
        address = ("--backend", "swf", "--endpoint-url", url, "--region", "us-east-1", "--domain", "shop")
        credentials = {"AWS_ACCESS_KEY_ID": "flowdsl", "AWS_SECRET_ACCESS_KEY": "flowdsl"}
        worker = subprocess.Popen(
            [sys.executable, "-m", "flowdsl", "worker", "shop.py", *address, "--task-list", "fleet", "--activities", "1"],
            cwd=folder,
            env=environment() | credentials,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            for polled in service.polled.values():
                assert polled.wait(60)
            started = flowdsl_with(credentials, folder, FLEET, url)
            assert (started.returncode, started.stdout) == (0, "o-1 5\n"), started.stderr
            worker.send_signal(number)
            while worker.poll() is None:  # it waits for the end of its open polls, and they for the clock
                service.clock.advance(60)
            output, errors = worker.communicate()
            assert (worker.returncode, output) == (0, "")
            assert errors.startswith("serving the task list 'fleet'")
            assert "Traceback" not in errors
        finally:
            worker.kill()
            worker.communicate()


def test_a_worker_without_targets_is_wrong_usage(folder: Path) -> None:
    done = flowdsl(folder, "worker")
    assert done.returncode == 2
    assert "Missing argument 'TARGET...'" in done.stderr
