"""Rule 8: tearing a suspended body down schedules nothing, whatever its code does with the exception that ends it."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from replay_world import World

from flowdsl import activity, cached, gather, mark, publish, signal, sleep, spawn, timer, workflow

effects: list[str] = []


@activity
def work(x: int) -> int:
    effects.append("work")
    return x


@cached
def record(x: int) -> int:
    effects.append("record")
    return x


@timer
def pause() -> int:
    return 1


@signal
def go(text: str) -> str:
    return text


@workflow
def kid(x: int) -> int:
    return x


def evict(workflow: Any, *forget: Any, decisions: int = 1) -> tuple[Any, list[Any], list[Any]]:
    """Let the workflow wait, tear it down; the replayer and its outbox before and after.

    `forget` are lists of what bodies have said; what those of earlier decisions said is not looked at.
    """
    world = World()
    world.start(workflow)
    for _ in range(decisions):
        world.decide()
        world.take_activity()
        world.finish_activity()
    for said in (effects, *forget):
        said.clear()
    replayer = world.replayer()
    task = world.take_decision()
    replayer.feed(task["events"] if task else world.history())
    before, published = list(replayer.outbox), replayer.published
    replayer.close()
    assert replayer.published == published
    return replayer, before, list(replayer.outbox)


CLEANUPS = {
    "an activity": lambda: work(2),
    "a started activity": lambda: work.start(2),
    "a map": lambda: work.map([1, 2]),
    "a recorded function": lambda: record(2),
    "a child": lambda: kid(2),
    "a timer": pause,
    "a sleep": lambda: sleep(1),
    "a marker": lambda: mark("note", 1),
    "a published value": lambda: publish("closing"),
    "a branch": lambda: spawn(lambda: work(1)),
    "a signal's wait": lambda: go.wait(timeout=5),
    "a signal": lambda: go.send("other", "hello"),
}


@pytest.mark.parametrize("cleanup", CLEANUPS)
@pytest.mark.parametrize("catch", ["finally", "except"])
def test_what_cleanup_code_asks_for_at_eviction_is_not_asked(cleanup: str, catch: str) -> None:
    reached: list[str] = []

    @workflow(name="closing.cleans")
    def cleans() -> None:
        if catch == "finally":
            try:
                sleep(100)
            finally:
                reached.append("cleanup")
                CLEANUPS[cleanup]()
        else:
            try:
                sleep(100)
            except BaseException:
                reached.append("cleanup")
                CLEANUPS[cleanup]()
                reached.append("after")

    _, before, after = evict(cleans)
    assert reached[-1] == "cleanup", "it ran, and nothing that it asked for let it go on"
    assert before == after
    assert effects == []


def test_cancelling_in_cleanup_code_asks_for_nothing_either() -> None:
    @workflow(name="closing.cancels")
    def cancels() -> None:
        promise = work.start(1)
        timer = spawn(sleep, 100)
        try:
            gather(promise, timer)
            sleep(100)
        finally:
            timer.cancel()
            promise.cancel()

    for decisions in (1, 0):
        _, before, after = evict(cancels, decisions=decisions)
        assert before == after


def test_a_body_that_swallows_everything_for_ever_is_abandoned_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    @workflow(name="closing.never ends")
    def never_ends() -> None:
        while True:
            try:
                sleep(100)
            except BaseException:
                continue

    with caplog.at_level(logging.WARNING, "flowdsl.replay"):
        _, before, after = evict(never_ends, caplog)
    assert before == after
    [warning] = [r.getMessage() for r in caplog.records]
    assert "swallows its eviction" in warning
    assert "test_closing.py" in warning


def test_every_branch_is_torn_down_also_beside_one_that_swallows_everything(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    def stubborn() -> None:
        while True:
            try:
                sleep(100)
            except BaseException:
                continue

    def good(name: str) -> None:
        try:
            sleep(100)
        finally:
            ended.append(name)

    @workflow(name="closing.branches")
    def branches() -> None:
        gather(spawn(good, "a"), spawn(stubborn), spawn(good, "b"))

    with caplog.at_level(logging.WARNING, "flowdsl.replay"):
        _, before, after = evict(branches, ended)
    assert before == after
    assert sorted(ended) == ["a", "b"]


def test_nested_finally_blocks_all_run() -> None:
    order: list[int] = []

    @workflow(name="closing.nested")
    def nested() -> None:
        def level(n: int) -> None:
            try:
                if n:
                    level(n - 1)
                else:
                    sleep(100)
            finally:
                order.append(n)
                work(n)

        level(30)

    _, before, after = evict(nested, order)
    assert before == after
    assert order == list(range(31))


def test_a_context_manager_and_a_generator_of_the_users_are_closed_quietly() -> None:
    from contextlib import contextmanager

    closed: list[str] = []

    @contextmanager
    def resource() -> Any:
        try:
            yield
        finally:
            closed.append("resource")
            work(1)

    @workflow(name="closing.with")
    def uses() -> None:
        with resource():
            sleep(100)

    _, before, after = evict(uses, closed)
    assert before == after
    assert closed == ["resource"]


def test_an_async_body_is_torn_down_without_effects_and_without_warnings(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def line(name: str) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(name)
            await asyncio.sleep(1)

    @workflow(name="closing.async")
    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(line(name))

    _, before, after = evict(body, ended, caplog)
    gc.collect()
    assert before == after
    assert sorted(ended) == ["a", "b", "c"]
    assert not caplog.records


def test_an_async_body_that_swallows_everything_ends_too(caplog: pytest.LogCaptureFixture) -> None:
    @workflow(name="closing.async for ever")
    async def never_ends() -> None:
        while True:
            try:
                await asyncio.sleep(100)
            except BaseException:
                continue

    with caplog.at_level(logging.WARNING, "flowdsl.replay"):
        _, before, after = evict(never_ends)
    gc.collect()
    assert before == after
    assert "swallows its eviction" in caplog.text


def test_an_exception_at_eviction_that_is_replaced_by_the_users_own_changes_nothing() -> None:
    @workflow(name="closing.replaces")
    def replaces() -> None:
        try:
            sleep(100)
        except BaseException as error:
            raise ValueError("mine") from error

    replayer, before, after = evict(replaces)
    assert before == after
    assert not replayer.main.promise.is_ready()


def test_closing_twice_and_closing_what_has_ended_are_fine() -> None:
    @workflow(name="closing.ends")
    def ends() -> int:
        return 1

    world = World()
    world.start(ends)
    assert world.run_to_end() == 1
    replayer = world.replayer()
    replayer.feed(world.history())
    replayer.close()
    replayer.close()
    fresh = world.replayer()
    fresh.close()
