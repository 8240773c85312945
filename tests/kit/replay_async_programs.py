"""Generated `async def` workflows: a program is data, `play_async` plays it with asyncio's own means. What it sees is what it returns."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies as st
from replay_programs import CALLS, news, refuse, small

from flowdsl import Cancelled, activity, now, scope, spawn, workflow
from flowdsl import timeout as block_timeout


@activity(name="programs.echo_async")
async def echo_async(x: Any) -> Any:
    return x


@workflow(name="programs.play_async")
async def play_async(program: list[Any]) -> list[Any]:
    return await _play(program, {}, asyncio.Semaphore(2))


async def _play(program: list[Any], tasks: dict[str, Any], gate: asyncio.Semaphore) -> list[Any]:
    seen: list[Any] = []
    for statement in program:
        try:
            seen.append(await _step(statement, tasks, gate))
        except (ValueError, RuntimeError, LookupError, TimeoutError, Cancelled, asyncio.CancelledError) as error:
            seen.append([type(error).__name__, type(error.__cause__).__name__])
        except ExceptionGroup as group:
            seen.append([[type(error).__name__ for error in group.exceptions]])
    return seen


async def _call(name: str, x: int) -> Any:
    return await CALLS[name].start(x)


async def _gated(name: str, x: int, gate: asyncio.Semaphore) -> Any:
    async with gate:
        return await _call(name, x)


async def _step(statement: list[Any], tasks: dict[str, Any], gate: asyncio.Semaphore) -> Any:
    verb, *rest = statement
    if verb == "call":
        return await _call(*rest)
    if verb == "call async":
        return await echo_async(rest[0])
    if verb == "task":
        tasks[rest[0]] = asyncio.create_task(_play(rest[1], dict(tasks), gate))
        return None
    if verb == "await":
        task = tasks.get(rest[0])
        return None if task is None else await task
    if verb == "cancel":
        task = tasks.get(rest[0])
        return None if task is None else task.cancel()
    if verb == "gather":
        values = await asyncio.gather(*[_gated(name, x, gate) for name, x in rest[0]], return_exceptions=rest[1])
        return [type(value).__name__ if isinstance(value, BaseException) else value for value in values]
    if verb == "wait_for":
        return await asyncio.wait_for(_call(rest[0], rest[1]), rest[2])
    if verb == "timeout":
        async with asyncio.timeout(rest[0]):
            return await _play(rest[1], tasks, gate)
    if verb == "block":
        async with scope() if rest[0] else block_timeout(rest[1]):
            if rest[2]:
                spawn(refuse, rest[1])
            return await _play(rest[3], dict(tasks), gate)
    if verb == "group":
        async with asyncio.TaskGroup() as group:
            members = [group.create_task(_call(name, x)) for name, x in rest[0]]
        return [member.result() for member in members]
    if verb == "queue":
        return await _through_a_queue(rest[0])
    if verb == "first":
        done, pending = await asyncio.wait(
            [asyncio.ensure_future(_call(name, x)) for name, x in rest[0]], return_when=asyncio.FIRST_COMPLETED
        )
        for task in pending:
            task.cancel()
        return len(done)
    if verb == "sleep":
        return await asyncio.sleep(rest[0])
    if verb == "signal":
        return news.wait(timeout=rest[0])
    return now().timestamp()


async def _through_a_queue(count: int) -> list[Any]:
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def produce() -> None:
        for n in range(count):
            await queue.put(await echo_async(n))

    task = asyncio.create_task(produce())
    values = [await queue.get() for _ in range(count)]
    await task
    return values


names = st.sampled_from("abc")
calls = st.tuples(st.sampled_from(sorted(CALLS)), small)
several = st.lists(calls, min_size=1, max_size=3)
simple = st.one_of(
    calls.map(lambda c: ("call", *c)),
    st.tuples(st.just("call async"), small),
    st.tuples(st.just("await"), names),
    st.tuples(st.just("cancel"), names),
    st.tuples(st.just("gather"), several, st.booleans()),
    st.tuples(st.just("wait_for"), st.sampled_from(sorted(CALLS)), small, small),
    st.tuples(st.just("group"), several),
    st.tuples(st.just("first"), several),
    st.tuples(st.just("queue"), small),
    st.tuples(st.just("sleep"), small),
    st.tuples(st.just("signal"), st.integers(0, 4)),
    st.tuples(st.just("now")),
).map(list)
tasks = st.tuples(st.just("task"), names, st.lists(simple, max_size=3)).map(list)
limited = st.tuples(st.just("timeout"), st.integers(0, 4), st.lists(simple, max_size=3)).map(list)
blocks = st.tuples(st.just("block"), st.booleans(), small, st.booleans(), st.lists(simple, max_size=3)).map(list)
async_programs = st.lists(st.one_of(simple, simple, tasks, limited, blocks), min_size=2, max_size=7)
