"""The rules of replay, each as a property of generated workflows under generated orders of events."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay_programs import drive, play, programs, schedules
from replay_world import World, fed

from flowdsl.model.attempts import split_attempt
from flowdsl.model.history import History

thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def lived(program: list[Any], schedule: list[int]) -> tuple[World, list[dict[str, Any]]]:
    """A world in which the program ran to its end, and its history."""
    world = World()
    world.start(play, program)
    drive(world, schedule)
    world.run_to_end()
    return world, world.history()


def never(*call: Any) -> Any:
    raise AssertionError(f"a recorded function ran again: {call}")


def calls_of(events: list[dict[str, Any]]) -> set[str]:
    scheduled = [e["activityTaskScheduledEventAttributes"] for e in events if e["eventType"] == "ActivityTaskScheduled"]
    return {split_attempt(attributes["activityId"])[0] for attributes in scheduled}


def seen(replayer: Any) -> Any:
    return replayer.main.promise.result()


@thorough
@given(programs, schedules, st.data())
def test_1_how_a_history_was_cut_never_changes_what_the_code_sees(program: Any, schedule: list[int], data: st.DataObject) -> None:
    world, events = lived(program, schedule)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events)), max_size=6)))
    slices = [events[i:j] for i, j in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    whole = fed(world.replayer(), [events])
    single = fed(world.replayer(foresee=events), [[event] for event in events])
    cut = fed(world.replayer(foresee=events), slices)
    assert seen(whole) == seen(single) == seen(cut)
    assert whole.published == single.published == cut.published
    assert not whole.outbox
    assert not single.outbox
    assert not cut.outbox


@thorough
@given(programs, schedules)
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
@given(programs, schedules)
def test_2_every_id_is_its_position_and_no_id_stands_twice(program: Any, schedule: list[int]) -> None:
    _, events = lived(program, schedule)
    keys = [("ActivityTaskScheduled", "activityId"), ("TimerStarted", "timerId"), ("StartChildWorkflowExecutionInitiated", "workflowId")]
    for kind, attribute in keys:
        ids = [e[f"{kind[0].lower()}{kind[1:]}EventAttributes"][attribute] for e in events if e["eventType"] == kind]
        assert len(ids) == len(set(ids))
    again = World()
    again.start(play, program)
    drive(again, schedule)
    again.run_to_end()
    # the order and the number of attempts follow the delays between them, which are drawn from the run's id; the calls do not
    assert calls_of(again.history()) == calls_of(events)


@thorough
@given(programs, schedules)
def test_3_what_was_recorded_is_never_run_again(program: Any, schedule: list[int]) -> None:
    world, events = lived(program, schedule)
    assert seen(fed(world.replayer(never), [events])) is not None


@thorough
@given(programs, schedules)
def test_4_time_is_the_turns_and_the_same_in_every_replay(program: Any, schedule: list[int]) -> None:
    world, events = lived([["now"], *[s for step in program for s in (step, ["now"])]], schedule)
    turns = {
        e["decisionTaskCompletedEventAttributes"]["startedEventId"] for e in events if e["eventType"] == "DecisionTaskCompleted"
    }  # fmt: skip
    times = {events[i - 1]["eventTimestamp"] for i in turns}
    observed = world.outcome()[::2]
    assert {t for t in observed if isinstance(t, float)} <= times
    assert seen(fed(world.replayer(foresee=events), [[e] for e in events])) == seen(fed(world.replayer(), [events]))


@thorough
@given(programs, schedules)
def test_the_histories_that_come_out_are_legal(program: Any, schedule: list[int]) -> None:
    _, events = lived(program, schedule)
    History().extend(events)


@thorough
@given(programs, schedules)
def test_8_tearing_a_body_down_at_any_point_asks_for_nothing(program: Any, schedule: list[int]) -> None:
    world, events = lived(program, schedule)
    for started, _ in world.decided:
        replayer = world.replayer()
        replayer.feed(events[:started])
        before = list(replayer.outbox)
        replayer.close()
        assert list(replayer.outbox) == before


def test_the_generated_programs_reach_every_kind_of_event() -> None:
    """The properties above mean little if the programs stay shallow: what they reach is shown here."""
    reached: set[str] = set()

    @settings(max_examples=500, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(programs, schedules)
    def explore(program: Any, schedule: list[int]) -> None:
        reached.update(e["eventType"] for e in lived(program, schedule)[1])

    explore()
    wanted = {
        "ActivityTaskFailed", "ActivityTaskTimedOut", "ActivityTaskCancelRequested", "TimerFired", "TimerCanceled", "MarkerRecorded",
        "WorkflowExecutionSignaled", "ChildWorkflowExecutionCompleted", "ChildWorkflowExecutionFailed", "DecisionTaskTimedOut",
        "CompleteWorkflowExecutionFailed",
    }  # fmt: skip
    if not wanted <= reached:
        pytest.fail(f"never reached: {sorted(wanted - reached)}")
