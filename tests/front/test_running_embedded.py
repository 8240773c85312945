"""The embedded backend as a whole: one engine per file and process, whatever the file is called, and everything in the file is served."""

from __future__ import annotations

import gc
import random
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from front_kit import Program

from flowdsl import (
    DefinitionError,
    Embedded,
    Fault,
    FileInUse,
    Swf,
    WorkflowTerminated,
    activity,
    attach,
    executions,
    gather,
    run,
    signal,
    sleep,
    start,
    workflow,
)
from flowdsl.connection import connect, disconnect, install
from flowdsl.engine import Engine, Service, SkippingClock
from flowdsl.model.decisions import schedule_activity_task


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder is the test's own; what it opened there is closed."""
    from flowdsl import connection

    monkeypatch.chdir(tmp_path)
    before = set(connection._connections)
    yield tmp_path
    for key in set(connection._connections) - before:
        connection._connections.pop(key).close()


@signal
def go(text: str) -> str:
    return text


@activity
def double(number: int) -> int:
    return number * 2


@activity(task_list="of its own")
def triple(number: int) -> int:
    return number * 3


@workflow
def flow(number: int) -> int:
    return double(number)


@workflow
def waiting() -> str:
    return go.wait()


@workflow
def on_many_lists(number: int) -> list[int]:
    return [
        triple(number),
        double.options(task_list="named by a call")(number),
        flow.options(task_list="named by a child's call")(number),
    ]


@workflow
def large(size: int) -> int:
    return len(echo(random.Random(1).randbytes(size).hex()))


@activity
def echo(text: str) -> str:
    return text


@pytest.mark.parametrize("name", ["flows.db", "with a space/größe 試.db", "./a/../flows.db", "100%.db", "q?mark#.db"])
def test_any_path_is_a_file(here: Path, name: str) -> None:
    path = here / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (here / "a").mkdir(exist_ok=True)
    assert run(flow, 4, backend=Embedded(name)) == 8
    assert path.exists()
    disconnect(Embedded(path))  # the same file, however it is written
    Engine(path).close()


def test_all_runs_of_a_process_share_one_engine(here: Path) -> None:
    link = here / "link.db"
    link.symlink_to(here / "flows.db")
    first, second = Embedded("flows.db"), Embedded(link)
    execution = start(waiting.options(id="w"), backend=first)
    assert connect(first) is connect(second)
    assert run(flow, 1, backend=second) == 2
    attach("w", backend=second).signal(go, "seen")
    assert execution.result() == "seen"


def test_two_domains_in_one_file_share_its_engine_and_see_nothing_of_each_other() -> None:
    one, two = Embedded("flows.db", domain="one"), Embedded("flows.db", domain="two")
    execution = start(waiting.options(id="w"), backend=one)
    assert run(flow, 1, backend=two) == 2
    assert executions(two) == []
    disconnect(two)
    execution.signal(go, "still served")
    assert execution.result() == "still served"
    disconnect(one)
    Engine("flows.db").close()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Embedded("flows.db", durability="full"), "durability='process'"),
        (Embedded("flows.db", store="memory:"), "store=None"),
        (Embedded("flows.db", domain="other", durability="full"), "durability='process'"),
    ],
)
def test_a_file_that_is_open_is_not_opened_in_another_way(other: Embedded, words: str) -> None:
    run(flow, 1, backend=Embedded("flows.db"))
    with pytest.raises(DefinitionError, match=f"is open in this process already, with {words}") as refused:
        run(flow, 1, backend=other)
    assert "disconnect(" in str(refused.value)
    assert run(flow, 1, backend=Embedded("flows.db")) == 2
    disconnect(Embedded("flows.db"))
    assert run(flow, 1, backend=other) == 2


def test_memory_is_one_engine_for_all_and_is_gone_after_disconnect(here: Path) -> None:
    execution = start(waiting.options(id="w"), backend=Embedded(":memory:"))
    attach("w", backend=Embedded(":memory:")).signal(go, "same")
    assert execution.result() == "same"
    disconnect(Embedded(":memory:"))
    assert executions(Embedded(":memory:"), status="closed") == []
    assert list(here.iterdir()) == []


def test_disconnect_frees_the_file_ends_the_threads_and_wakes_who_waits(here: Path) -> None:
    before = set(threading.enumerate())
    backend = Embedded("flows.db")
    execution = start(waiting.options(id="w"), backend=backend)
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(execution.result())
        except Fault as fault:
            outcome.append(fault.message)

    waiter = threading.Thread(target=wait)
    waiter.start()
    with pytest.raises(FileInUse):
        Engine("flows.db")
    disconnect(backend)
    disconnect(backend)  # nothing is left to be closed
    waiter.join()
    assert outcome == ["the embedded engine is closed"]
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before
    Engine("flows.db").close()
    attach("w", backend=backend).signal(go, "opened again")
    assert attach("w", backend=backend).result() == "opened again"


def test_every_task_list_that_is_named_anywhere_is_served() -> None:
    backend = Embedded("flows.db")
    assert run(on_many_lists, 5, backend=backend) == [15, 10, 10]
    assert run(flow.options(task_list="named by a run"), 5, backend=backend) == 10


def test_what_waits_on_lists_that_only_an_earlier_process_named_is_served_when_the_file_is_opened() -> None:
    backend = Embedded("flows.db")
    service = Service(Engine("flows.db"))
    earlier = connect_to(backend, service)
    for number, name in enumerate(("here", "there")):
        earlier.swf.start_workflow_execution(
            workflow_id=f"old-{number}", name=flow.name, version="1", task_list=name, input=f'{{"args":[{number}]}}',
            execution_start_to_close=3600, task_start_to_close=60,
        )  # fmt: skip
    task = earlier.swf.poll_for_decision_task(task_list="there")
    assert task is not None
    asked = schedule_activity_task(activity_id="double-1", name=double.name, version="1", task_list="far away", input='{"args":[1]}')
    earlier.swf.respond_decision_task_completed(task_token=task["taskToken"], decisions=[asked], execution_context='{"flowdsl": 1}')
    disconnect(backend)

    assert run(flow, 9, backend=backend) == 18
    assert attach("old-0", backend=backend).result() == 0
    assert attach("old-1", backend=backend).result() == 2


def connect_to(backend: Embedded, service: Service) -> Any:
    connection = install(backend, service)
    connection.register(flow, double)
    return connection


def test_an_engine_on_a_clock_of_its_own_can_be_installed() -> None:
    backend = Embedded(":memory:", domain="virtual")
    install(backend, Service(Engine(":memory:"), SkippingClock()))
    with pytest.raises(DefinitionError, match="disconnect it first"):
        install(backend, Service(Engine(":memory:")))

    @workflow
    def for_a_year() -> str:
        sleep(360 * 86_400)
        return "over"

    assert run(for_a_year, backend=backend) == "over"
    disconnect(backend)


def test_the_environment_says_what_was_not_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWDSL_BACKEND", "embedded")
    monkeypatch.setenv("FLOWDSL_DOMAIN", "mine")
    monkeypatch.setenv("FLOWDSL_TASK_LIST", "my-list")
    monkeypatch.setenv("FLOWDSL_STORE", str(here / "values"))
    execution = start(large.options(id="l"), 100_000)
    assert execution.result() == 200_000
    assert execution.describe()["executionConfiguration"]["taskList"]["name"] == "my-list"
    assert [one.id for one in executions(Embedded("flowdsl.db", domain="mine"), status="closed")] == ["l"]
    assert any(path.is_file() for path in (here / "values").rglob("*"))
    assert Swf().domain == "mine"
    monkeypatch.setenv("FLOWDSL_BACKEND", "nonsense")
    with pytest.raises(DefinitionError, match="backend='nonsense'"):
        run(flow, 1)


def test_large_values_are_put_beside_the_file(here: Path) -> None:
    assert run(large, 100_000, backend=Embedded("flows.db")) == 200_000
    assert any(path.is_file() for path in (here / "flows.values").rglob("*"))


def test_nothing_is_left_open_by_many_connections() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        before = threading.active_count()
        for number in range(10):
            backend = Embedded(f"flows-{number}.db")
            assert run(flow, number, backend=backend) == 2 * number
            disconnect(backend)
        gc.collect()
    assert threading.active_count() <= before + 2  # somebody may just be ending


def test_a_terminated_execution_ends_the_wait_at_once() -> None:
    execution = start(waiting, backend=Embedded("flows.db"))
    threading.Timer(0, execution.terminate, ["enough"]).start()
    with pytest.raises(WorkflowTerminated, match="enough"):
        execution.result()


def test_an_interpreter_that_ends_with_a_thousand_branches_open_says_nothing(here: Path) -> None:
    (here / "wide.py").write_text(
        "from flowdsl import *\n"
        "@signal\ndef go(): ...\n"
        "@workflow\ndef wide():\n    publish('on')\n    gather(*[spawn(lambda: sleep(3600)) for _ in range(900)])\n"
    )
    code = "import wide, flowdsl\nfrom flowdsl import Embedded\n"
    code += "x = flowdsl.start(wide.wide, backend=Embedded('w.db'))\nwhile not x.published(): pass"
    with Program(here, "-c", code) as program:
        assert program.rest() == []


def test_many_executions_at_once_end_with_their_own_values() -> None:
    backend = Embedded("flows.db")
    open_ones = [start(spread, number, backend=backend) for number in range(30)]
    assert [one.result() for one in open_ones] == [number * 20 for number in range(30)]


@workflow
def spread(number: int) -> int:
    return sum(gather(*[double.start(number) for _ in range(10)]))


def test_what_ctrl_c_left_half_started_is_stopped_with_the_connection(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(connection: Any) -> Any:
        raise KeyboardInterrupt

    backend = Embedded(here / "half.db")
    connection = connect(backend)
    monkeypatch.setattr(type(connection), "_lists_in_use", interrupted)  # the user's Ctrl-C, just after the first pollers began
    with pytest.raises(KeyboardInterrupt):
        start(waiting.options(id="half"), backend=backend)
    server = connection._server
    assert server is not None
    disconnect(backend)
    assert server.join(0), "nobody polls an engine that is closed"
    monkeypatch.undo()
    monkeypatch.chdir(here)
    attach("half", backend=backend).signal(go, "on")
    assert attach("half", backend=backend).result() == "on"
