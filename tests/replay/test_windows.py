"""Rule 7: windows. One response holds at most 100 decisions and 1 MB, and at most 1,000 of a kind are open. User code never sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_world import World, attributes, fed, kinds

from flowdsl import activity, cached, gather, limits, mark, sleep, spawn, workflow


@activity
def size_of(text: str) -> int:
    return len(text)


@activity
def same(x: int) -> int:
    return x


@workflow
def fan_out(count: int) -> list[int]:
    return same.map(range(count))


def batches(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What each completed decision task decided, by its events."""
    found: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        completed = attributes(event).get("decisionTaskCompletedEventId")
        if completed and event["eventType"] not in ("ExternalWorkflowExecutionSignaled",):
            found.setdefault(completed, []).append(event)
    return list(found.values())


def test_250_activities_at_once_go_out_in_batches_with_a_reserved_wake_up_timer() -> None:
    world = World()
    world.start(fan_out, 250)
    while world.decide():
        pass
    sent = batches(world.history())
    counts = [len(kinds(batch, "ActivityTaskScheduled")) for batch in sent]
    assert counts == [99, 99, 52]
    assert all(len(batch) <= limits.DECISIONS for batch in sent)
    wakes = [attributes(batch[-1])["timerId"] for batch in sent[:2]]
    assert all(timer.startswith("flowdsl.more-") for timer in wakes)
    assert len(set(wakes)) == 2
    assert world.run_to_end(in_bulk=True) == list(range(250))


def test_of_1500_activities_never_more_than_1000_are_open_and_none_is_refused() -> None:
    world = World()
    world.start(fan_out, 1500)
    while world.decide():
        pass
    assert world.describe()["openCounts"]["openActivityTasks"] == 1000
    for _ in range(700):
        assert world.take_activity()
        assert world.finish_activity()
    while world.decide():
        pass
    assert world.describe()["openCounts"]["openActivityTasks"] == 800
    events = world.history()
    assert len(kinds(events, "ActivityTaskScheduled")) == 1500
    assert kinds(events, "ScheduleActivityTaskFailed") == []


def test_more_than_a_megabyte_of_inputs_goes_out_in_several_responses() -> None:
    texts = [chr(0x4E00 + n) * 4_000 for n in range(60)]

    @workflow(name="windows.large")
    def large(count: int) -> int:
        return sum(size_of.map([chr(0x4E00 + n) * 4_000 for n in range(count)]))

    world = World()
    sent: list[int] = []
    real = world.call

    def call(operation: str, **params: Any) -> dict[str, Any]:
        if operation == "RespondDecisionTaskCompleted":
            sent.append(len(json.dumps(params)))
        return real(operation, **params)

    world.call = call  # type: ignore[method-assign]  # only looks
    world.start(large, 60)
    assert world.run_to_end(1000) == sum(map(len, texts))
    assert len(sent) > 2
    assert max(sent) < limits.REQUEST_BYTES


@pytest.mark.parametrize("where", ["alone", "after activities"])
def test_hundreds_of_recorded_calls_in_one_turn_run_once_each(where: str) -> None:
    """A record that did not fit into the response would be lost with the turn, and its function would run again."""
    runs: list[int] = []

    @cached(name="windows.number")
    def number(x: int) -> int:
        runs.append(x)
        return x

    @workflow(name="windows.records")
    def records(count: int, activities: int) -> list[Any]:
        started = [same.start(n) for n in range(activities)]
        return [[number(n) for n in range(count)], gather(*started)]

    activities = 150 if where == "after activities" else 0
    world = World()
    world.start(records, 300, activities)
    assert world.run_to_end(in_bulk=True) == [list(range(300)), list(range(activities))]
    assert runs == list(range(300))
    assert all(len(batch) <= limits.DECISIONS for batch in batches(world.history()))


def test_large_records_of_one_turn_run_once_each() -> None:
    runs: list[int] = []

    @cached(name="windows.long")
    def long(x: int) -> str:
        runs.append(x)
        return chr(0x4E00 + x) * 3_900

    @workflow(name="windows.long records")
    def records(count: int) -> int:
        return sum(len(long(n)) for n in range(count))

    world = World()
    world.start(records, 100)
    assert world.run_to_end() == 390_000
    assert runs == list(range(100))


def test_branches_that_record_much_see_the_same_order_in_every_replay() -> None:
    @cached(name="windows.letter")
    def letter(x: int) -> int:
        return x

    @workflow(name="windows.branches")
    def branches(count: int) -> list[Any]:
        seen: list[Any] = []

        def line(name: str) -> None:
            for n in range(count):
                seen.append([name, letter(n)])  # noqa: PERF401 - one by one: the branches take turns

        gather(spawn(line, "a"), spawn(line, "b"))
        sleep(1)
        return seen

    world = World()
    world.start(branches, 120)
    seen = world.run_to_end()
    assert len(seen) == 240
    events = world.history()
    for slices in ([events], [[e] for e in events]):
        again = fed(world.replayer(foresee=events), slices)
        assert not again.outbox
        result = world.values.decode_result(branches, again.main.promise.result())  # type: ignore[union-attr]
        assert result == seen


@settings(max_examples=15, deadline=None)
@given(st.integers(80, 230), st.integers(0, 120), st.integers(0, 120))
def test_any_mixture_that_is_too_large_arrives_whole_and_in_order(activities: int, timers: int, marks: int) -> None:
    @workflow(name="windows.mixture")
    def mixture(activities: int, timers: int, marks: int) -> int:
        started = [same.start(n) for n in range(activities)]
        sleepers = [spawn(sleep, 1) for _ in range(timers)]
        for n in range(marks):
            mark("note", n)
        return len(gather(*started, *sleepers))

    world = World()
    world.start(mixture, activities, timers, marks)
    assert world.run_to_end(in_bulk=True) == activities + timers
    events = world.history()
    assert all(len(batch) <= limits.DECISIONS for batch in batches(events))
    asked = [attributes(e)["activityId"] for e in events if e["eventType"] == "ActivityTaskScheduled"]
    assert asked == [f"same-{n + 1}" for n in range(activities)]
    assert len(kinds(events, "MarkerRecorded")) == marks


def test_a_workflow_that_ends_with_much_to_say_says_all_of_it_before_it_closes() -> None:
    @workflow(name="windows.last words")
    def last_words() -> str:
        for n in range(250):
            mark("note", n)
        return "end"

    world = World()
    world.start(last_words)
    assert world.run_to_end() == "end"
    assert len(kinds(world.history(), "MarkerRecorded")) == 250
