"""Timers: a function says how long, once; `sleep` and `sleep_until`; what `now` is."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from contract_stage import DURABLE, events, new_id

from flowdsl import Cancelled, activity, cached, gather, now, sleep, sleep_until, timer, workflow

calls: Counter[str] = Counter()


@timer
def pause(duration: float) -> float:
    return duration


@timer
def pause_delta(duration: float) -> timedelta:
    return timedelta(seconds=duration)


@timer
def pause_until(moment: datetime) -> datetime:
    return moment


@timer
def pause_somewhere(key: str, longest: float) -> float:
    calls[key] += 1
    return random.uniform(longest / 2, longest)


@activity
def touch(x: int) -> int:
    return x


@workflow
def looks(duration: float) -> list[object]:
    promise = pause.start(duration)
    before = promise.is_ready()
    value = promise.result()
    return [before, promise.is_ready(), value, pause(duration)]


def test_a_started_timer_is_a_promise_that_is_ready_when_its_time_is_over(stage):
    assert stage.run(looks, stage.seconds(5)) == [False, True, None, None]


@workflow
def looks_between(duration: float) -> int:
    promise = pause.start(duration)
    looks = 0
    while not promise.is_ready():
        touch(looks)
        sleep(duration / 4)
        looks += 1
    return looks


def test_is_ready_can_be_asked_again_and_again_with_calls_between(stage):
    assert stage.run(looks_between, stage.seconds(40)) in (4, 5)


@workflow
def all_forms(duration: float) -> None:
    pause(duration)
    pause_delta(duration)
    pause_until(now() + timedelta(seconds=duration))
    sleep(duration)
    sleep(timedelta(seconds=duration))
    sleep_until(now() + timedelta(seconds=duration))


def test_seconds_timedeltas_and_moments_all_wait(stage):
    duration = stage.seconds(3)

    @workflow
    def measured() -> float:
        began = now()
        all_forms(duration)
        return (now() - began).total_seconds()

    assert stage.run(measured) >= 6 * duration


@pytest.mark.stages(*DURABLE)
def test_all_forms_are_durable_timers_of_that_length(stage):
    execution = stage.start(all_forms, 30)
    execution.result()
    started = [float(event["startToFireTimeout"]) for event in events(execution, "TimerStarted")]
    assert len(started) == 6
    assert all(29 <= duration <= 30 for duration in started)


@workflow
def random_pause(key: str, longest: float) -> int:
    first = pause_somewhere.start(key, longest)
    touch(1)
    gather(first, pause_somewhere.start(key, longest))
    return touch(2)


def test_a_delay_may_be_random_because_it_is_recorded(stage):
    key = new_id()
    assert stage.run(random_pause, key, stage.seconds(100)) == 2
    assert calls[key] == 2


@pytest.mark.stages(*DURABLE)
def test_a_random_delay_is_what_the_history_says(stage):
    execution = stage.start(random_pause, new_id(), 1000)
    execution.result()
    durations = [float(event["startToFireTimeout"]) for event in events(execution, "TimerStarted")]
    assert all(500 <= duration <= 1000 for duration in durations)
    assert len(set(durations)) == 2


@workflow
def far_away() -> float:
    began = now()
    sleep(timedelta(days=300))
    return (now() - began) / timedelta(days=1)


@pytest.mark.stages(*DURABLE)
def test_a_timer_of_most_of_a_year_takes_that_long(stage):
    assert stage.run(far_away) == pytest.approx(300, abs=0.01)


@workflow
def at_once() -> list[object]:
    sleep(0)
    sleep_until(datetime(2000, 1, 1, tzinfo=timezone(timedelta(hours=5))))
    return [pause(0), pause(0.004)]


def test_a_timer_of_no_time_and_a_moment_that_is_past_go_on_at_once(stage):
    assert stage.run(at_once) == [None, None]


@workflow
def cancels() -> list[object]:
    promise = pause.start(3600)
    touch(1)
    cancelled = promise.cancel()
    try:
        promise.result()
    except Cancelled:
        return [cancelled, promise.cancel(), promise.is_ready()]
    return []


@pytest.mark.stages("local", *DURABLE)
def test_a_cancelled_timer_raises_and_is_over(stage):
    assert stage.run(cancels) == [True, False, True]


@workflow
def raced(duration: float) -> str:
    promise = pause.start(duration)
    for n in range(50):
        if promise.is_ready():
            return "timer"
        touch(n)
    promise.cancel()
    return "activities"


@pytest.mark.stages(*DURABLE)
def test_a_timer_that_loses_against_activities_does_not_hold_the_workflow(stage):
    assert stage.run(raced, 3600 * 24) == "activities"


@cached
def clock_outside() -> float:
    return datetime.now(UTC).timestamp()


@workflow
def times(duration: float) -> list[object]:
    began = now()
    again = now()
    sleep(duration)
    return [began == again, now() - began >= timedelta(seconds=duration * 0.9), began.tzinfo is UTC, clock_outside() > 0]


def test_now_is_aware_and_moves_with_the_workflows_own_waits(stage):
    same, moved, aware, outside = stage.run(times, stage.seconds(5))
    assert moved
    assert aware
    assert outside
    assert same or not stage.durable


@timer
def refuses() -> float:
    raise LookupError("how long?")


@workflow
def waits_for_nothing() -> str:
    promise = refuses.start()
    try:
        promise.result()
    except LookupError as error:
        return repr(error)
    return ""


def test_a_timer_function_that_raises_fails_its_promise(stage):
    assert stage.run(waits_for_nothing) == "LookupError('how long?')"
