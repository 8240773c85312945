"""`Worker` and `flowdsl worker`: a fleet's worker serves, hears of trouble, drains, ends at once if told twice, and may be killed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from front_kit import PATIENCE, Program, Watched, attributes, kinds, served

from flowdsl import ActivityFailed, DefinitionError, Embedded, Fault, Swf, Worker, activity, run, start, workflow
from flowdsl.connection import connect, disconnect
from flowdsl.engine import ManualClock

SHOP = """
import time
from pathlib import Path

from flowdsl import Retry, activity, heartbeat, info, workflow


@activity
def double(number: int) -> int:
    return number * 2


@activity
def slow() -> int:
    print(f"begun {info().attempt}", flush=True)
    if info().attempt == 1:
        heartbeat("half way")
        while not Path("go").exists():
            time.sleep(0.01)
    return info().attempt


@workflow
def flow(number: int) -> int:
    return double(number)


@workflow
def waiting_for_slow() -> int:
    return slow()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def fleet(clock: ManualClock) -> Iterator[tuple[Swf, Watched]]:
    with served(clock) as (url, service):
        yield (one := Swf(endpoint_url=url, serve=False)), service
        disconnect(one)


@activity
def double(number: int) -> int:
    return number * 2


@activity
def unlisted() -> None: ...


@workflow
def flow(number: int) -> int:
    return double(number)


@workflow
def with_unlisted() -> None:
    unlisted()


def begin(backend: Swf, name: str, *args: int) -> Any:
    """Start a workflow of `shop.py`, whose code this process has not."""
    from flowdsl import attach

    swf = connect(backend).swf
    connect(backend).register()
    swf.register_workflow_type(name=f"shop.{name}", version="1")
    text = f'{{"args":{list(args)}}}' if args else "{}"
    swf.start_workflow_execution(
        workflow_id=name,
        name=f"shop.{name}",
        version="1",
        task_list="flowdsl",
        input=text,
        execution_start_to_close=86_400,
        task_start_to_close=60,
    )
    return attach(name, backend=backend)


def worker_process(folder: Path, backend: Swf) -> Program:
    assert backend.endpoint_url is not None
    return Program(folder, "-m", "flowdsl", "worker", "shop.py", "--backend", "swf", "--endpoint-url", backend.endpoint_url)


def test_a_worker_serves_the_fleets_list_until_it_is_stopped(fleet: tuple[Swf, Watched]) -> None:
    backend, service = fleet
    with ended_by(Worker(flow, double, backend=backend), service):
        assert [run(flow, number, backend=backend) for number in range(3)] == [0, 2, 4]
    assert kinds(start(flow, 1, backend=backend).history()) == {"WorkflowExecutionStarted": 1, "DecisionTaskScheduled": 1}


class ended_by:
    """Run a worker in the background; at the end its open polls are ended, as SWF's are by time."""

    def __init__(self, worker: Worker, service: Watched) -> None:
        self.worker, self.service = worker, service

    def __enter__(self) -> Worker:
        return self.worker.start()

    def __exit__(self, *_: object) -> None:
        stopper = threading.Thread(target=self.worker.stop)
        stopper.start()
        while stopper.is_alive():
            self.service._clock.advance(61)  # type: ignore[attr-defined]  # a manual clock
            stopper.join(0.05)


def test_hooks_hear_of_empty_polls_and_of_errors(fleet: tuple[Swf, Watched], clock: ManualClock) -> None:
    backend, service = fleet
    idle, failed = threading.Event(), threading.Event()
    heard: list[tuple[BaseException, dict[str, Any]]] = []

    def on_error(error: BaseException, about: dict[str, Any]) -> None:
        heard.append((error, about))
        failed.set()

    with ended_by(Worker(flow, double, backend=backend, on_idle=idle.set, on_error=on_error), service):
        service.wait_for("PollForDecisionTask")
        service.wait_for("PollForActivityTask")
        assert not idle.is_set()
        clock.advance(61)
        assert idle.wait(PATIENCE)
        assert not heard
    broken = Swf(transport=Refusing(), serve=False)
    connect(broken)._registered.add(("domain", "flowdsl", ""))  # else starting would say so at once
    worker = Worker(backend=broken, on_error=on_error, activities=0)
    connect(broken)._registered |= {(d.kind, d.name, d.version) for d in worker._server._registry}
    with worker:
        assert failed.wait(PATIENCE)
    error, about = heard[0]
    assert isinstance(error, Fault)
    assert (error.code, about["worker"]) == ("ServiceUnavailable", "flowdsl-decider-1")
    disconnect(broken)


class Refusing:
    """A service that is not well."""

    def call(self, operation: str, params: Any) -> dict[str, Any]:
        raise Fault("ServiceUnavailable", "not today")


def test_a_worker_that_does_not_know_an_activity_fails_it_with_its_name_and_what_it_knows(fleet: tuple[Swf, Watched]) -> None:
    backend, service = fleet
    worker = Worker(with_unlisted, flow, double, backend=backend)
    with (
        ended_by(worker, service),
        pytest.raises(DefinitionError, match=r"has no activity '.*unlisted', version '1'. It has: .*double") as raised,
    ):
        run(with_unlisted, backend=backend)
    assert isinstance(raised.value.__cause__.__cause__, ActivityFailed)  # WorkflowFailed, ActivityFailed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "local"}, "a local run needs no worker"),
        ({"backend": Embedded(":memory:"), "activities": -1}, r"Worker\(activities=-1\): give a whole number"),
        ({"backend": Embedded(":memory:"), "deciders": 1.5}, r"Worker\(deciders=1.5\): give a whole number"),
        ({"backend": Embedded(":memory:"), "deciders": True}, r"Worker\(deciders=True\): give a whole number"),
    ],
)
def test_a_worker_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        Worker(**options)


def test_a_worker_on_an_embedded_file_stops_at_once(tmp_path: Path) -> None:
    backend = Embedded(tmp_path / "flows.db")
    before = set(threading.enumerate())
    with Worker(flow, double, backend=backend):
        assert run(flow, 3, backend=backend) == 6
    disconnect(backend)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before


def test_run_in_a_thread_serves_until_stop_is_called_elsewhere(fleet: tuple[Swf, Watched], clock: ManualClock) -> None:
    backend, _service = fleet
    worker = Worker(flow, double, backend=backend)
    running = threading.Thread(target=worker.run)
    running.start()
    assert run(flow, 3, backend=backend) == 6
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    while stopper.is_alive():
        clock.advance(61)
        stopper.join(0.05)
    running.join(PATIENCE)
    assert not running.is_alive()


# --- the process


def test_sigterm_during_an_open_poll_waits_for_its_end_and_does_what_it_brings(
    folder: Path, fleet: tuple[Swf, Watched], clock: ManualClock
) -> None:
    backend, service = fleet
    with worker_process(folder, backend) as worker:
        service.wait_for("PollForDecisionTask")
        service.wait_for("PollForActivityTask")
        worker.signal(signal.SIGTERM)
        execution = begin(backend, "flow", 4)
        service.wait_for("RespondDecisionTaskCompleted")
        service.wait_for("RespondActivityTaskCompleted")
        assert worker.end()[0] == 0
    assert service.made["PollForDecisionTask"] == service.made["PollForActivityTask"] == 1
    assert kinds(execution.history())["ActivityTaskCompleted"] == 1
    assert execution.describe()["executionInfo"]["executionStatus"] == "OPEN"  # whoever comes next goes on with it


def test_sigterm_during_an_activity_waits_for_it(folder: Path, fleet: tuple[Swf, Watched], clock: ManualClock) -> None:
    backend, service = fleet
    execution = begin(backend, "waiting_for_slow")
    with worker_process(folder, backend) as worker:
        assert worker.line() == "begun 1"
        worker.signal(signal.SIGTERM)
        (folder / "go").touch()
        service.wait_for("RespondActivityTaskCompleted")
        assert end_in_time(worker, clock) == 0
    assert kinds(execution.history())["ActivityTaskCompleted"] == 1


def test_sigterm_twice_ends_at_once_and_gives_the_activity_back(folder: Path, fleet: tuple[Swf, Watched], clock: ManualClock) -> None:
    backend, _service = fleet
    execution = begin(backend, "waiting_for_slow")
    with worker_process(folder, backend) as worker:
        assert worker.line() == "begun 1"
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGINT)
        assert worker.end()[0] == 0  # and nobody has moved the clock: the polls were still open
    failed = next(event for event in execution.history() if event["eventType"] == "ActivityTaskFailed")
    assert "was stopped before shop.slow had ended" in attributes(failed)["reason"]
    with worker_process(folder, backend) as worker:
        attempt = int(
            line_in_time(worker, clock).removeprefix("begun ")
        )  # the second one may have gone to the open poll of the first worker
        assert attempt in (2, 3)
        assert execution.result(PATIENCE) in (attempt, attempt + 1)  # and the time that passed may have lost that one, too


def end_in_time(worker: Program, clock: ManualClock) -> int:
    """How the worker ended, while time passes: a poll that began after the clock was moved ends at its next move."""
    codes: list[int] = []
    waiting = threading.Thread(target=lambda: codes.append(worker.end()[0]))
    waiting.start()
    while waiting.is_alive():
        clock.advance(61)
        waiting.join(0.2)
    return codes[0]


def line_in_time(worker: Program, clock: ManualClock) -> str:
    """The worker's next line, while time passes: a decision task may have gone to a process that has just died, and has to time out
    first."""
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(worker.line()))
    reader.start()
    while reader.is_alive():
        clock.advance(61)
        reader.join(0.2)
    return lines[0]


def test_an_activity_of_a_worker_that_was_killed_is_taken_by_another_one(
    folder: Path, fleet: tuple[Swf, Watched], clock: ManualClock
) -> None:
    backend, service = fleet
    execution = begin(backend, "waiting_for_slow")
    with worker_process(folder, backend) as worker:
        assert worker.line() == "begun 1"
        service.wait_for("RecordActivityTaskHeartbeat")
        worker.kill()
    with worker_process(folder, backend) as worker:
        service.wait_for("PollForDecisionTask", 3)
        assert line_in_time(worker, clock) == "begun 2"
        assert execution.result(PATIENCE) == 2
    (lost,) = [attributes(event) for event in execution.history() if event["eventType"] == "ActivityTaskTimedOut"]
    assert (lost["timeoutType"], "half way" in lost["details"]) == ("HEARTBEAT", True)
