"""The rules of replay again, for generated `async def` workflows that use asyncio's own means."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay_async_programs import async_programs, play_async
from replay_programs import drive, schedules
from replay_world import World, fed

from flowdsl.model.history import History

thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def lived(program: list[Any], schedule: list[int]) -> tuple[World, list[dict[str, Any]]]:
    world = World()
    world.start(play_async, program)
    drive(world, schedule)
    world.run_to_end()
    return world, world.history()


def never(*call: Any) -> Any:
    raise AssertionError(f"a recorded function ran again: {call}")


@thorough
@given(async_programs, schedules, st.data())
def test_1_how_a_history_was_cut_never_changes_what_a_coroutine_sees(program: Any, schedule: list[int], data: st.DataObject) -> None:
    world, events = lived(program, schedule)
    History().extend(events)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events)), max_size=6)))
    slices = [events[i:j] for i, j in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    whole = fed(world.replayer(never), [events])
    single = fed(world.replayer(never, foresee=events), [[event] for event in events])
    cut = fed(world.replayer(never, foresee=events), slices)
    results = [r.main.promise.result() for r in (whole, single, cut)]  # type: ignore[union-attr]
    assert results[0] == results[1] == results[2]
    assert not whole.outbox
    assert not single.outbox
    assert not cut.outbox


@thorough
@given(async_programs, schedules)
def test_1_a_cached_replayer_and_a_fresh_one_decide_the_same(program: Any, schedule: list[int]) -> None:
    world, events = lived(program, schedule)
    cached = world.replayer()
    place = 0
    with contextlib.closing(cached):
        for started, sent in world.decided:
            cached.feed(events[place:started])
            place = started
            assert cached.decisions() == sent


@thorough
@given(async_programs, schedules)
def test_8_tearing_a_coroutine_down_at_any_point_asks_for_nothing(program: Any, schedule: list[int]) -> None:
    world, events = lived(program, schedule)
    for started, _ in world.decided:
        replayer = world.replayer()
        replayer.feed(events[:started])
        before = list(replayer.outbox)
        replayer.close()
        assert list(replayer.outbox) == before


def test_the_generated_coroutines_reach_what_asyncio_has() -> None:
    reached: set[str] = set()

    @settings(max_examples=300, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(async_programs, schedules)
    def explore(program: Any, schedule: list[int]) -> None:
        world, events = lived(program, schedule)
        reached.update(e["eventType"] for e in events)
        reached.update(_names(world.outcome()))

    explore()
    wanted = {"TimeoutError", "CancelledError", "TimerCanceled", "ActivityTaskCancelRequested", "ValueError", "DecisionTaskTimedOut"}
    if not wanted <= reached:
        pytest.fail(f"never reached: {sorted(wanted - reached)}")


def _names(seen: Any) -> set[str]:
    if isinstance(seen, list):
        return set().union(*map(_names, seen))
    return {seen} if isinstance(seen, str) else set()
