"""Workflows whose histories were recorded once and are replayed for ever, and the lives in which they were recorded.

Rule 1: a workflow here never changes. What it returned is in its history; a replay that differs, or misfits, is a replay that breaks the
        executions that users have open.
Rule 2: a history is named after what it shows. `python tests/kit/recorded_flows.py` records those whose file is missing; a file that is
        there is never written again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from replay_world import World

from flowdsl import (
    Cancelled,
    Retry,
    activity,
    cached,
    continue_as_new,
    first,
    gather,
    info,
    mark,
    now,
    publish,
    signal,
    sleep,
    spawn,
    timer,
    workflow,
)

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "histories"


@activity(name="recorded.echo")
def echo(x: Any) -> Any:
    return x


@activity(name="recorded.refuse")
def refuse(x: Any) -> Any:
    raise ValueError(f"refused {x}")


@activity(name="recorded.flaky", retry=Retry(4, first=2, factor=3))
def flaky(fails: int) -> int:
    if info().attempt <= fails:
        raise RuntimeError(f"attempt {info().attempt}")
    return info().attempt


@cached(name="recorded.look_up")
def look_up(key: str) -> Any:
    if key == "missing":
        raise LookupError(key)
    return {"zero": 0, "none": None, "empty": ""}[key]


@timer(name="recorded.pause")
def pause(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


@signal(name="recorded.news")
def news(text: str) -> str:
    return text


@workflow(name="recorded.child", task_list="list")
def child(x: int) -> Any:
    if x < 0:
        raise KeyError("below zero")
    return echo(x)


@workflow(name="recorded.sequence")
def sequence(n: int) -> list[Any]:
    publish({"begun": n})
    values = [echo(number) for number in range(n)]
    mark("half way", n)
    return [*values, look_up("zero"), look_up("none"), look_up("empty"), flaky(2)]


@workflow(name="recorded.failures")
def failures() -> list[str]:
    seen = []
    for call in (lambda: refuse(1), lambda: look_up("missing"), lambda: child(-1), lambda: flaky(9)):
        try:
            call()
        except Exception as error:
            seen.append(f"{type(error).__name__}({error}) from {type(error.__cause__).__name__}")
    return seen


@workflow(name="recorded.reversed")
def in_reverse() -> list[Any]:
    one, two = echo.start("one"), echo.start("two")
    order: list[str] = []

    def note(promise: Any) -> None:
        order.append(promise.result())

    gather(spawn(note, one), spawn(note, two))
    return order


@workflow(name="recorded.timers")
def timers() -> list[Any]:
    begun = now()
    long, short = pause.start(3600), pause.start(2)
    short.result()
    long.cancel()
    try:
        long.result()
    except Cancelled:
        sleep(1.5)
    return [(now() - begun).total_seconds(), long.is_ready()]


@workflow(name="recorded.signals")
def signals() -> list[str]:
    seen = [news.wait()]
    try:
        seen.append(news.wait(timeout=5))
    except TimeoutError:
        seen.append("nothing")
    return [*seen, news.wait()]


@workflow(name="recorded.race")
def race() -> list[Any]:
    fast, slow = echo.start("fast"), pause.start(600)
    return [first(fast, slow), slow.is_ready()]


@workflow(name="recorded.many")
def many(n: int) -> int:
    return sum(echo.map(range(n)))


@workflow(name="recorded.again")
def again(left: int, seen: tuple[str, ...] = ()) -> tuple[str, ...]:
    seen = (*seen, news.wait())
    if left:
        continue_as_new(left - 1, seen)
    return seen


@workflow(name="recorded.coroutine")
async def coroutine() -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_later(n)) for n in (2, 1)]
    try:
        await asyncio.wait_for(_later(50), 3)
    except TimeoutError:
        values: list[Any] = await asyncio.gather(*[_later(n) for n in range(3)])
        return [task.result() for task in tasks] + values
    return []


async def _later(n: int) -> int:
    await asyncio.sleep(n)
    value: int = await echo.start(n)
    return value


def straight(world: World) -> None:
    """Nothing special: decide and work in turn."""


def second_first(world: World) -> None:
    world.decide()
    world.take_activity()
    world.take_activity()
    world.finish_activity(1)
    world.decide()


def news_at_bad_moments(world: World) -> None:
    world.signal(news, "before the first decision")
    world.decide()
    world.pass_time(6)
    world.decide(between=lambda: world.signal(news, "while it closed"))


def a_decider_dies(world: World) -> None:
    for _ in range(2):
        world.take_decision()
        world.pass_time(61)


def news_in_advance(world: World) -> None:
    for n in range(3):
        world.signal(news, f"news {n}")


#: name of the history -> (workflow, its arguments, what happens before everything else takes its course)
RECORDINGS: Mapping[str, tuple[Any, tuple[Any, ...], Callable[[World], None]]] = {
    "activities_markers_and_retries_in_sequence": (sequence, (3,), straight),
    "a_sequence_whose_first_two_decision_tasks_timed_out": (sequence, (2,), a_decider_dies),
    "failures_of_every_kind_are_caught": (failures, (), straight),
    "two_activities_completed_in_the_opposite_order": (in_reverse, (), second_first),
    "a_timer_was_cancelled_while_another_one_fired": (timers, (), straight),
    "signals_came_before_the_start_and_during_the_close": (signals, (), news_at_bad_moments),
    "a_timer_lost_a_race_against_an_activity": (race, (), straight),
    "more_activities_than_one_response_takes": (many, (130,), straight),
    "unread_signals_went_along_to_the_next_run": (again, (2,), news_in_advance),
    "a_coroutine_with_a_group_and_a_timeout": (coroutine, (), straight),
}


def record(name: str) -> dict[str, Any]:
    """Live through one of the recordings: its first run's history, and at which events it was decided."""
    flow, args, begin = RECORDINGS[name]
    world = World()
    try:
        world.start(flow, *args, workflow_id=name)
        begin(world)
        while world.is_open:
            if not (world.decide() or world.work()):
                world.pass_time(1)
        recorded = {"runId": world.run_id, "decided": [started for started, _ in world.decided], "events": world.history()}
        whole: dict[str, Any] = json.loads(json.dumps(recorded).replace(f"{ROOT}/", ""))  # lines of code, wherever it lies
        return whole
    finally:
        world.engine.close()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for recording in RECORDINGS:
        path = FOLDER / f"{recording}.json"
        if not path.exists():
            path.write_text(json.dumps(record(recording), indent=1) + "\n")
            print("recorded", path.name)  # noqa: T201 - a script's word to whoever calls it
