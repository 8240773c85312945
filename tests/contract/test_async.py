"""`async def`: workflows, activities and recorded functions, mixed with plain ones; asyncio's own tools are durable."""

from __future__ import annotations

import asyncio

import pytest
from contract_stage import DURABLE, HANDLES, events

from flowdsl import activity, cached, signal, sleep, spawn, timer, workflow


@activity
async def fetch(x: int) -> int:
    await asyncio.sleep(0)
    return x * 10


@activity
def plain(x: int) -> int:
    return x + 1


@activity
async def refuses(text: str) -> None:
    await asyncio.sleep(0)
    raise KeyError(text)


@cached
async def rate() -> float:
    await asyncio.sleep(0)
    return 1.5


@timer
async def pause(duration: float) -> float:
    await asyncio.sleep(0)
    return duration


@workflow
async def awaits(x: int) -> list[object]:
    return [await fetch(x), plain(x), await rate(), await fetch.start(x), await plain.start(x)]


def test_an_async_workflow_awaits_both_kinds_of_activities(stage):
    assert stage.run(awaits, 4) == [40, 5, 1.5, 40, 5]


@workflow
def calls_async(x: int) -> list[object]:
    return [fetch(x), rate(), fetch.start(x).result(), *fetch.map([x, x + 1], concurrency=1)]


def test_a_plain_workflow_calls_async_activities_without_await(stage):
    assert stage.run(calls_async, 2) == [20, 1.5, 20, 20, 30]


@workflow
async def gathers(xs: list[int]) -> list[int]:
    return await asyncio.gather(*[fetch(x) for x in xs], *[_through_a_helper(x) for x in xs])


async def _through_a_helper(x: int) -> int:
    return plain(await fetch(x))


def test_asyncio_gather_runs_coroutines_side_by_side(stage):
    assert stage.run(gathers, [1, 2, 3]) == [10, 20, 30, 11, 21, 31]


@pytest.mark.stages(*DURABLE)
def test_what_asyncio_gathers_is_scheduled_in_one_decision(stage):
    execution = stage.start(gathers, [1, 2, 3])
    execution.result()
    scheduled = events(execution, "ActivityTaskScheduled")
    assert len({one["decisionTaskCompletedEventId"] for one in scheduled[:6]}) == 1


@workflow
async def sleeps(durations: list[float]) -> list[int]:
    order: list[int] = []

    async def one(number: int, duration: float) -> None:
        await asyncio.sleep(duration)
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number, duration in enumerate(durations):
            group.create_task(one(number, duration))
    return order


def test_asyncio_sleep_and_task_groups_are_durable(stage):
    assert stage.run(sleeps, [stage.seconds(n) for n in (8, 2, 5)]) == [1, 2, 0]


@workflow
async def limited(limit: float, duration: float) -> str:
    try:
        async with asyncio.timeout(limit):
            await asyncio.sleep(duration)
    except TimeoutError:
        return "late"
    return "in time"


@workflow
async def limited_by_wait_for(limit: float, duration: float) -> str:
    try:
        await asyncio.wait_for(asyncio.sleep(duration), limit)
    except TimeoutError:
        return "late"
    return "in time"


@pytest.mark.parametrize("flow", [limited, limited_by_wait_for])
def test_asyncio_timeouts_are_durable(stage, flow):
    assert stage.run(flow, stage.seconds(3), stage.seconds(60)) == "late"
    assert stage.run(flow, stage.seconds(600), stage.seconds(1)) == "in time"


@workflow
async def task_group_fails() -> str:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(refuses("a"))
            group.create_task(fetch(1))
    except BaseExceptionGroup as caught:
        return repr(caught.exceptions)
    return "nothing"


def test_a_task_group_raises_what_an_activity_raised(stage):
    assert stage.run(task_group_fails) == "(KeyError('a'),)"


@workflow
async def primitives() -> list[object]:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    event, lock, semaphore = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(1)
    seen: list[object] = []

    async def producer() -> None:
        for x in range(3):
            await queue.put(await fetch(x))
        event.set()

    async def consumer() -> None:
        for _ in range(3):
            async with lock, semaphore:
                seen.append(await queue.get())

    await asyncio.gather(producer(), consumer())
    await event.wait()
    return seen


def test_queues_events_locks_and_semaphores_work(stage):
    assert stage.run(primitives) == [0, 10, 20]


@workflow
async def child(x: int) -> int:
    return await fetch(x)


@workflow
async def parent(x: int) -> list[int]:
    return [await child(x), await child.start(x + 1)]


@workflow
def plain_parent(x: int) -> list[int]:
    return [child(x), child.start(x + 1).result()]


@pytest.mark.parametrize("flow", [parent, plain_parent])
def test_async_children_of_both_kinds_of_parents(stage, flow):
    assert stage.run(flow, 1) == [10, 20]


@workflow
async def pauses(duration: float) -> list[object]:
    promise = pause.start(duration)
    before = promise.is_ready()
    await promise
    return [before, promise.is_ready(), await pause(duration)]


def test_an_async_timer_is_awaited(stage):
    assert stage.run(pauses, stage.seconds(5)) == [False, True, None]


@workflow
async def catches() -> str:
    try:
        await refuses("x")
    except KeyError as error:
        return f"{error!r} because of {type(error.__cause__).__name__}"
    return ""


def test_an_async_workflow_catches_what_an_activity_raised(stage):
    assert stage.run(catches) == "KeyError('x') because of ActivityFailed"


@workflow
async def spawns() -> int:
    async def branch(x: int) -> int:
        return await fetch(x)

    one, two = spawn(branch, 1), spawn(plain, 5)
    return await one + await two


def test_an_async_workflow_spawns_branches_of_both_kinds(stage):
    assert stage.run(spawns) == 16


@workflow
async def mixes(duration: float) -> list[str]:
    async def background() -> str:
        await asyncio.sleep(duration)
        return "background"

    task = asyncio.create_task(background())
    sleep(duration * 3)
    return ["plain sleep", await task]


def test_a_plain_call_in_an_async_workflow_gives_its_value(stage):
    assert stage.run(mixes, stage.seconds(1)) == ["plain sleep", "background"]


@signal
async def approved(by: str) -> str:
    return by


@workflow
async def waits_for_a_signal(limit: float) -> str:
    try:
        return await approved.wait(timeout=limit)
    except TimeoutError:
        return "nobody"


def test_an_async_workflow_waits_for_a_signal_that_never_comes(stage):
    assert stage.run(waits_for_a_signal, stage.seconds(5)) == "nobody"


@pytest.mark.stages(*HANDLES)
def test_an_async_workflow_waits_for_a_signal(stage):
    execution = stage.start(waits_for_a_signal, None)
    execution.signal(approved, by="ann")
    assert execution.result() == "ann"
