"""Activities in processes of their own: real interpreters, real signals."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest

from flowdsl.errors import ActivityFailed, LimitExceeded, NotSerializable, RetryAfter
from flowdsl.lang.api import heartbeat, info
from flowdsl.lang.context import current
from flowdsl.lang.definitions import activity

PATIENCE = 30.0


class Overdrawn(Exception):
    def __init__(self, cents: int) -> None:
        super().__init__(f"{cents} too much")
        self.cents = cents


@activity(executor="process")
def far(x: int) -> list[Any]:
    assert current.get().transparent
    return [x, os.getpid(), info().call_id, info().attempt]


@activity(executor="process")
async def far_async(x: int) -> int:
    return x + 1


@activity(executor="process")
def overdraws(cents: int) -> None:
    raise Overdrawn(cents)


@activity(executor="process")
def reports(at_least: int) -> str:
    heartbeat({"row": at_least})
    with pytest.raises(LimitExceeded):
        heartbeat(os.urandom(3_000))
    return "reported"


@activity(executor="process")
def exits(code: int) -> None:
    os._exit(code)


@activity(executor="process")
def kills_itself(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)


@activity(executor="process")
def unstorable() -> Any:
    return (x for x in ())


@activity(executor="process", heartbeat=0.01)
def hangs(folder: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(folder, "pids").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)


class Ledger:
    def __init__(self, name: str) -> None:
        self.name = name

    @activity(executor="process")
    def book(self, cents: int) -> str:
        return f"{self.name}:{cents}:{os.getpid()}"


def test_a_function_runs_in_another_process_and_knows_its_ids(bench) -> None:
    x, pid, call_id, attempt = bench.run(far, 5, call_id="far-1~2")
    assert (x, call_id, attempt) == (5, "far-1", 2)
    assert pid != os.getpid()


def test_a_coroutine_runs_there_too(bench) -> None:
    assert bench.run(far_async, 1) == 2


def test_an_exception_comes_back_as_itself_with_the_remote_line(bench) -> None:
    bench.schedule(overdraws, 7)
    bench.worker(overdraws).run_once()
    error = bench.failure(overdraws)
    assert isinstance(error, Overdrawn)
    assert error.cents == 7
    assert "raise Overdrawn(cents)" in bench.outcome()[1]["details"]


def test_a_method_takes_its_instance_along(bench) -> None:
    bench.schedule(Ledger.book, 3)
    bench.worker(Ledger.book, instances=[Ledger("main")]).run_once()
    name, cents, pid = bench.result(Ledger.book).split(":")
    assert (name, cents) == ("main", "3")
    assert int(pid) != os.getpid()


def test_heartbeats_cross_the_border_and_so_do_their_refusals(bench) -> None:
    bench.schedule(reports, 9)
    bench.worker(reports).run_once()
    assert bench.result(reports) == "reported"


def test_a_function_without_a_module_travels_by_value(bench) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "activity": activity}
    exec("@activity(executor='process')\ndef square(x):\n    return helper(x)\ndef helper(x):\n    return x * x\n", namespace)
    assert bench.run(namespace["square"], 12) == 144


@pytest.mark.parametrize(("definition", "number", "text"), [(exits, 3, "exit code 3"), (kills_itself, 9, "killed by SIGKILL")])
def test_a_process_that_ends_without_an_answer_is_a_failure_that_says_how(bench, definition, number, text) -> None:
    bench.schedule(definition, number)
    bench.worker(definition).run_once()
    error = bench.failure(definition)
    assert isinstance(error, ActivityFailed)
    assert text in error.message
    assert error.name == definition.name


def test_a_value_that_cannot_leave_the_process_is_a_failure_that_names_the_function(bench) -> None:
    bench.schedule(unstorable)
    bench.worker(unstorable).run_once()
    error = bench.failure(unstorable)
    assert isinstance(error, NotSerializable)
    assert unstorable.name in error.message


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where `hangs` says that it runs: its pids go through a pipe, so that a reader waits for them."""
    os.mkfifo(tmp_path / "pids")
    return tmp_path


def pids_in(folder: Path) -> list[int]:
    """The pids that `hangs` wrote, as soon as it has."""
    pipe = os.open(folder / "pids", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert select.select([pipe], [], [], PATIENCE)[0], "the activity did not begin"
        return [int(pid) for pid in os.read(pipe, 100).split()]
    finally:
        os.close(pipe)


def assert_dead(pids: list[int]) -> None:
    """Wait until the processes have ended; they are nobody's children here, so the kernel's own handles tell."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([handle], [], [], PATIENCE)[0], f"process {pid} goes on"
        finally:
            os.close(handle)


def test_cancelling_kills_the_process_and_its_children(bench, folder) -> None:
    bench.schedule(hangs, str(folder))
    thread = threading.Thread(target=bench.worker(hangs).run_once)
    thread.start()
    pids = pids_in(folder)
    bench.cancel()
    thread.join(PATIENCE)
    assert bench.outcome()[0] == "canceled"
    assert_dead(pids)


def test_a_timeout_kills_the_process_and_its_children(bench, folder) -> None:
    bench.schedule(hangs, str(folder))
    thread = threading.Thread(target=bench.worker(hangs).run_once)
    thread.start()
    pids = pids_in(folder)
    bench.swf.terminate("wf")
    thread.join(PATIENCE)
    assert bench.outcomes() == []
    assert_dead(pids)


def test_the_workers_end_kills_the_process_and_gives_the_activity_back(bench, folder) -> None:
    bench.schedule(hangs, str(folder))
    worker = bench.worker(hangs)
    worker.start()
    pids = pids_in(folder)
    worker.stop(0)
    assert worker.join(PATIENCE)
    assert isinstance(bench.failure(hangs), RetryAfter)
    assert_dead(pids)


def test_a_process_dies_with_its_worker(folder) -> None:
    (folder / "hanging.py").write_text(
        "import os, subprocess, sys, time\n"
        "from flowdsl.lang.definitions import activity\n"
        "@activity(executor='process')\n"
        "def hangs():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"    with open({str(folder / 'pids')!r}, 'w') as pipe: pipe.write(f'{{os.getpid()}} {{child.pid}}')\n"
        "    time.sleep(600)\n"
    )
    (folder / "worker.py").write_text(
        f"import sys; sys.path[:0] = [{str(folder)!r}, {str(Path(__file__).parents[2])!r}]\n"
        "import hanging\n"
        "from flowdsl.lang.context import Info\n"
        "from flowdsl.workers.processes import run_in_process\n"
        "from types import SimpleNamespace\n"
        "about = Info('activity', 'n', '1', 'w', 'r')\n"
        "attempt = SimpleNamespace(definition=hanging.hangs, about=about, reason=None, interruptible=lambda interrupt: None)\n"
        "run_in_process(attempt, (), {}, None)\n"
    )
    worker = subprocess.Popen([sys.executable, folder / "worker.py"])
    try:
        pids = pids_in(folder)
    finally:
        worker.kill()
        worker.wait()
    assert_dead(pids)


def test_a_module_that_the_process_cannot_import_is_a_failure_that_names_it(bench) -> None:
    module = types.ModuleType("nowhere_to_be_found")
    module.__dict__.update(activity=activity)
    sys.modules[module.__name__] = module
    try:
        exec("@activity(executor='process')\ndef lost():\n    return 1\n", module.__dict__)
        bench.schedule(module.lost)
        bench.worker(module.lost).run_once()
        assert isinstance(bench.failure(module.lost), ModuleNotFoundError)
        assert "nowhere_to_be_found" in bench.outcome()[1]["reason"]
    finally:
        del sys.modules[module.__name__]


def test_a_call_that_cannot_be_carried_into_the_process_is_a_failure_that_says_so(bench) -> None:
    ledger = Ledger("main")
    ledger.lines = (x for x in ())
    bench.schedule(Ledger.book, 3)
    bench.worker(Ledger.book, instances=[ledger]).run_once()
    error = bench.failure(Ledger.book)
    assert isinstance(error, NotSerializable)
    assert "executor='process'" in error.message
    assert "generator" in error.message
