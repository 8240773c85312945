"""`run`, wherever it is called from: plain code, a running event loop, other threads; and where it is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from front_kit import served

from flowdsl import DefinitionError, Embedded, Execution, Local, Swf, activity, gather, info, run, sleep, start, workflow
from flowdsl.connection import disconnect


@pytest.fixture(params=["local", "embedded", "swf"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Each backend, opened for one test."""
    if request.param == "local":
        yield Local()
    elif request.param == "embedded":
        yield (one := Embedded(tmp_path / "flows.db"))
        disconnect(one)
    else:
        with served() as (url, _):
            yield (one := Swf(endpoint_url=url))
            disconnect(one)


class Declined(Exception):
    """What a user's code raises."""


@activity
def double(number: int) -> int:
    return number * 2


@activity
async def triple(number: int) -> int:
    await asyncio.sleep(0)
    return number * 3


@activity
def decline() -> None:
    raise Declined("no")


@workflow
def plain(number: int) -> int:
    return sum(gather(double.start(number), triple.start(number))) + double(1)


@workflow
async def awaiting(number: int) -> int:
    tripled, _ = await asyncio.gather(triple(number), asyncio.sleep(0))
    return tripled + double(number) + await triple(1)


@workflow
def declined() -> None:
    decline()


@workflow
def running_inside(how: str) -> None:
    {"run": run, "start": start}[how](plain, 1)


class Shop:
    """Its methods run on the instance that `run` saw."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @activity
    def price(self, number: int) -> int:
        return number * self.factor

    @workflow
    def total(self, number: int) -> int:
        return self.price(number) + self.price(1)


FLOWS = pytest.mark.parametrize(("flow", "result"), [(plain, 27), (awaiting, 28)], ids=["def", "async def"])


@FLOWS
def test_run_gives_the_value(backend: Any, flow: Any, result: int) -> None:
    assert run(flow, 5, backend=backend) == result


@FLOWS
def test_run_works_in_a_running_event_loop(backend: Any, flow: Any, result: int) -> None:
    async def cell() -> tuple[int, bool]:
        loop = asyncio.get_running_loop()
        value = run(flow, 5, backend=backend)
        await asyncio.sleep(0)
        return value, asyncio.get_running_loop() is loop

    assert asyncio.run(cell()) == (result, True)


@FLOWS
def test_run_works_in_many_threads_at_once(backend: Any, flow: Any, result: int) -> None:
    with ThreadPoolExecutor(6) as threads:
        values = list(threads.map(lambda _: run(flow, 5, backend=backend), range(18)))
    assert values == [result] * 18


def test_run_raises_what_the_workflow_raised(backend: Any) -> None:
    with pytest.raises(Declined, match="no"):
        run(declined, backend=backend)


@pytest.mark.parametrize("how", ["run", "start"])
def test_run_inside_a_workflow_is_refused_and_says_what_to_do(backend: Any, how: str) -> None:
    with pytest.raises(DefinitionError, match=r"belong outside workflows; inside one, call the other workflow: that is a child workflow"):
        run(running_inside, how, backend=backend)


def test_run_takes_nothing_but_a_workflow(backend: Any) -> None:
    for wrong in (double, print, Shop):
        with pytest.raises(DefinitionError, match="give a function decorated with @workflow"):
            run(wrong, 1, backend=backend)


def test_methods_run_on_the_instance_that_run_saw_last(backend: Any) -> None:
    assert run(Shop(2).total, 10, backend=backend) == 22
    assert run(Shop(3).total, 10, backend=backend) == 33


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DefinitionError, match=r"backend='embeded': give 'local', 'embedded', 'swf', or an object"):
        run(plain, 1, backend="embeded")


@workflow
def passing(seconds: float) -> str:
    sleep(seconds)
    return info().workflow_id


def test_start_does_not_wait_and_result_can_be_asked_for_from_any_thread(backend: Any) -> None:
    execution = start(passing.options(id="p-1"), 0.01, backend=backend)
    values: list[Any] = []
    waiting = [threading.Thread(target=lambda: values.append(execution.result())) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    assert values == ["p-1"] * 3
    assert execution.result() == "p-1"
    if isinstance(execution, Execution):
        assert execution.describe()["executionInfo"]["closeStatus"] == "COMPLETED"
