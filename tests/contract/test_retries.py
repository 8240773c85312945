"""Retries: how often, after what, how long between; the same for activities and for children."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from contract_stage import DURABLE, causes, events, new_id, wait_for

import flowdsl
from flowdsl import (
    ActivityFailed,
    ActivityTimedOut,
    ChildFailed,
    NonRetryable,
    Retry,
    RetryAfter,
    activity,
    info,
    workflow,
)

QUICK = {"first": 0.01, "cap": 0.01, "jitter": False}

calls: Counter[str] = Counter()


class Busy(Exception):
    pass


class Broken(Exception):
    pass


class VeryBusy(Busy):
    pass


@activity(retry=Retry(4, **QUICK))
def flaky(key: str, failures: int) -> list[int]:
    calls[key] += 1
    if calls[key] <= failures:
        raise Busy(f"attempt {info().attempt}")
    return [calls[key], info().attempt]


@workflow
def calls_flaky(key: str, failures: int) -> list[int]:
    return flaky(key, failures)


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_a_failing_activity_is_tried_again_and_knows_its_attempt(stage, failures):
    assert stage.run(calls_flaky, new_id(), failures) == [failures + 1, failures + 1]


def test_the_last_attempts_exception_is_raised_as_itself(stage):
    key = new_id()
    with pytest.raises(Busy, match="attempt 4") as caught:
        stage.run(calls_flaky, key, 99)
    assert calls[key] == 4
    assert [cause.attempt for cause in causes(caught.value) if isinstance(cause, ActivityFailed)] == [4]


@activity
def once(key: str) -> None:
    calls[key] += 1
    raise Busy(key)


@workflow
def calls_once(key: str) -> None:
    once(key)


def test_without_a_policy_an_exception_is_not_retried(stage):
    key = new_id()
    with pytest.raises(Busy):
        stage.run(calls_once, key)
    assert calls[key] == 1


@activity
def raises(key: str, kind: str) -> None:
    calls[key] += 1
    raise {"busy": Busy, "very": VeryBusy, "broken": Broken}[kind](kind)


@workflow
def raises_under(policy: str, key: str, kind: str) -> None:
    policies = {
        "a number": 3,
        "on classes": Retry(3, on=(Busy,), **QUICK),
        "unless": Retry(3, unless=VeryBusy, **QUICK),
        "on failed": Retry(3, on="failed", **QUICK),
        "on timeouts": Retry(3, on="timed_out", **QUICK),
        "never": Retry(1),
    }
    raises.options(retry=policies[policy])(key, kind)


@pytest.mark.parametrize(
    ("policy", "kind", "attempts"),
    [
        ("on classes", "busy", 3),
        ("on classes", "very", 3),
        ("on classes", "broken", 1),
        ("unless", "busy", 3),
        ("unless", "very", 1),
        ("on failed", "broken", 3),
        ("on timeouts", "broken", 1),
        ("never", "busy", 1),
    ],
)
def test_the_policy_says_which_failures_are_tried_again(stage, policy, kind, attempts):
    key = new_id()
    with pytest.raises((Busy, Broken)):
        stage.run(raises_under, policy, key, kind)
    assert calls[key] == attempts


@pytest.mark.stages(*DURABLE)
def test_a_number_is_short_for_that_many_attempts(stage):
    key = new_id()
    with pytest.raises(Busy):
        stage.run(raises_under, "a number", key, "busy")
    assert calls[key] == 3


@activity
def hangs_once(key: str) -> str:
    calls[key] += 1
    if calls[key] == 1:
        released[key].wait(60)
    return f"attempt {info().attempt}"


released: dict[str, threading.Event] = {}


@workflow
def calls_a_hanging_one(key: str, limit: float, attempts: int) -> str:
    return hangs_once.options(timeout=limit, retry=Retry(attempts, on="timed_out", **QUICK))(key)


@pytest.mark.stages("plain", "local")
def test_an_attempt_that_is_out_of_time_is_tried_again(stage):
    key = new_id()
    released[key] = threading.Event()
    try:
        assert stage.run(calls_a_hanging_one, key, 0.05, 2) == "attempt 2"
    finally:
        released[key].set()


@pytest.mark.stages("plain", "local")
def test_the_last_attempt_that_is_out_of_time_raises_activity_timed_out(stage):
    key = new_id()
    released[key] = threading.Event()
    try:
        with pytest.raises(ActivityTimedOut) as caught:
            stage.run(calls_a_hanging_one, key, 0.05, 1)
    finally:
        released[key].set()
    assert caught.value.kind == "START_TO_CLOSE"


@pytest.mark.stages(*DURABLE)
def test_an_attempt_that_is_out_of_time_is_tried_again_on_a_service(stage):
    key = new_id()
    released[key] = threading.Event()
    execution = stage.start(calls_a_hanging_one, key, 20, 2)
    try:
        wait_for(lambda: calls[key] == 1)
        stage.clock.advance(21)
        assert execution.result() == "attempt 2"
    finally:
        released[key].set()
    assert [event["timeoutType"] for event in events(execution, "ActivityTaskTimedOut")] == ["START_TO_CLOSE"]


@pytest.mark.stages(*DURABLE)
def test_the_last_timeout_is_raised_as_activity_timed_out(stage):
    key = new_id()
    released[key] = threading.Event()
    execution = stage.start(calls_a_hanging_one, key, 20, 1)
    try:
        wait_for(lambda: calls[key] == 1)
        stage.clock.advance(21)
        with pytest.raises(ActivityTimedOut) as caught:
            execution.result()
    finally:
        released[key].set()
    assert caught.value.kind == "START_TO_CLOSE"
    assert isinstance(caught.value, TimeoutError)


@workflow
def nobody_works(kind: str) -> str:
    limits = {"SCHEDULE_TO_START": {"schedule_to_start": 60}, "SCHEDULE_TO_CLOSE": {"schedule_to_close": 60}}
    try:
        once.options(**limits[kind])("nobody")
    except ActivityTimedOut as error:
        return f"{error.kind} {error.attempt}"
    return ""


@pytest.mark.stages(*DURABLE)
@pytest.mark.parametrize("kind", ["SCHEDULE_TO_START", "SCHEDULE_TO_CLOSE"])
def test_an_activity_that_nobody_takes_times_out(stage, kind):
    with stage.fleet() as fleet:
        execution = flowdsl.start(nobody_works, kind, backend=fleet.backend)
        fleet.work(activities=0)
        assert execution.result() == f"{kind} 1"


# --- how long between ------------------------------------------------------------------------------------------------


@activity(retry=Retry(5, first=2, factor=3, cap=20, jitter=False))
def backs_off(key: str) -> int:
    calls[key] += 1
    if calls[key] < 5:
        raise Busy
    return info().attempt


@workflow
def calls_backing_off(key: str) -> int:
    return backs_off(key)


@pytest.mark.stages(*DURABLE)
def test_the_pauses_grow_by_the_factor_up_to_the_cap(stage):
    execution = stage.start(calls_backing_off, new_id())
    assert execution.result() == 5
    assert [float(event["startToFireTimeout"]) for event in events(execution, "TimerStarted")] == [2, 6, 18, 20]


@workflow
def calls_with_jitter(key: str) -> int:
    return backs_off.options(retry=Retry(5, first=100, factor=1, cap=100))(key)


@pytest.mark.stages(*DURABLE)
def test_jitter_is_between_half_and_all_of_the_pause_and_the_same_in_every_replay(stage):
    execution = stage.start(calls_with_jitter, new_id())
    assert execution.result() == 5
    pauses = [float(event["startToFireTimeout"]) for event in events(execution, "TimerStarted")]
    assert len(pauses) == 4
    assert all(50 <= pause <= 100 for pause in pauses)
    assert len(set(pauses)) > 1
    assert _replayed_delays(execution, calls_with_jitter) == _replayed_delays(execution, calls_with_jitter)


def _replayed_delays(execution, definition) -> list[str]:
    """What a fresh replay of every prefix of the history asks for."""
    from flowdsl.data.converter import Converter
    from flowdsl.data.values import Values
    from flowdsl.replay.replayer import Replayer

    history = execution.history()
    delays = []
    for at, event in enumerate(history):
        if event["eventType"] != "DecisionTaskStarted":
            continue
        replayer = Replayer(definition, workflow_id=execution.id, run_id=execution.run_id, values=Values(Converter(), "d"), record=None)
        replayer.feed(history[: at + 1])
        asked = [one["startTimerDecisionAttributes"] for one in replayer.decisions() if one["decisionType"] == "StartTimer"]
        delays += [one["startToFireTimeout"] for one in asked]
        replayer.close()
    recorded = [one["startToFireTimeout"] for one in events(execution, "TimerStarted")]
    assert delays == recorded
    return delays


@activity
def asks_for_time(key: str, delay: float) -> str:
    calls[key] += 1
    if calls[key] == 1:
        raise RetryAfter(delay)
    return f"attempt {info().attempt}"


@workflow
def calls_retry_after(key: str, delay: float, attempts: int | None) -> str:
    return asks_for_time.options(retry=attempts)(key, delay)


@pytest.mark.parametrize("attempts", [None, 2])
def test_retry_after_tries_again_with_and_without_a_policy(stage, attempts):
    assert stage.run(calls_retry_after, new_id(), stage.seconds(5), attempts) == "attempt 2"


@pytest.mark.stages(*DURABLE)
def test_retry_after_says_how_long_to_wait(stage):
    execution = stage.start(calls_retry_after, new_id(), 35, None)
    execution.result()
    assert [event["startToFireTimeout"] for event in events(execution, "TimerStarted")] == ["35"]


def test_retry_after_does_not_exceed_the_attempts(stage):
    with pytest.raises(RetryAfter):
        stage.run(calls_retry_after, new_id(), 0.01, 1)


@activity(retry=Retry(5, **QUICK))
def gives_up(key: str) -> None:
    calls[key] += 1
    raise NonRetryable("no use")


@workflow
def calls_giving_up(key: str) -> None:
    gives_up(key)


def test_non_retryable_is_never_tried_again(stage):
    key = new_id()
    with pytest.raises(NonRetryable, match="no use"):
        stage.run(calls_giving_up, key)
    assert calls[key] == 1


@workflow
def calls_within(key: str, limit: timedelta, first: float) -> int:
    return backs_off.options(retry=Retry(50, first=first, factor=1, jitter=False, within=limit))(key)


def test_no_attempt_begins_after_the_time_that_the_policy_allows(stage):
    key = new_id()
    with pytest.raises(Busy):
        stage.run(calls_within, key, timedelta(seconds=stage.seconds(25)), stage.seconds(10))
    assert calls[key] == 3


# --- children --------------------------------------------------------------------------------------------------------


@workflow
def flaky_child(key: str, failures: int, kind: str) -> int:
    calls[key] += 1
    if calls[key] <= failures:
        raise {"busy": Busy, "never": NonRetryable, "later": lambda _: RetryAfter(0.05)}[kind](f"attempt {calls[key]}")
    return calls[key]


@workflow
def parent_of_flaky(key: str, failures: int, kind: str, own_id: str | None) -> int:
    return flaky_child.options(retry=Retry(3, **QUICK), id=own_id)(key, failures, kind)


@pytest.mark.parametrize("own", [False, True])
def test_a_failing_child_is_tried_again(stage, own):
    assert stage.run(parent_of_flaky, new_id(), 2, "busy", new_id("child") if own else None) == 3


def test_a_child_that_fails_every_time_raises_its_last_exception(stage):
    key = new_id()
    with pytest.raises(Busy, match="attempt 3") as caught:
        stage.run(parent_of_flaky, key, 99, "busy", None)
    assert calls[key] == 3
    assert [cause.attempt for cause in causes(caught.value) if isinstance(cause, ChildFailed)] == [3]


@workflow
def parent_without_a_policy(key: str) -> int:
    return flaky_child(key, 1, "later")


def test_a_child_may_ask_for_time_by_retry_after(stage):
    assert stage.run(parent_without_a_policy, new_id()) == 2


@workflow
def parent_in_a_hurry(key: str, limit: float, first: float) -> int:
    return flaky_child.options(retry=Retry(50, first=first, factor=1, jitter=False, within=limit))(key, 99, "busy")


def test_no_child_begins_after_the_time_that_the_policy_allows(stage):
    key = new_id()
    with pytest.raises(Busy):
        stage.run(parent_in_a_hurry, key, stage.seconds(25), stage.seconds(10))
    assert calls[key] == 3


def test_a_non_retryable_child_is_not_tried_again(stage):
    key = new_id()
    with pytest.raises(NonRetryable):
        stage.run(parent_of_flaky, key, 99, "never", None)
    assert calls[key] == 1
