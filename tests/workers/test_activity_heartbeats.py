"""When the heart beats, what it says, and what it makes of the answer: on a clock that the test turns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.data.converter import Converter
from flowdsl.data.values import Values
from flowdsl.errors import Fault
from flowdsl.lang.definitions import activity
from flowdsl.service.swf import Swf
from flowdsl.workers.attempts import Attempt
from flowdsl.workers.heartbeats import Heart


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Service:
    """Takes heartbeats down; answers what `answers` says, then that all is well."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.beats: list[tuple[float, Any]] = []
        self.answers: list[Any] = []

    def call(self, operation: str, params: Any) -> dict[str, Any]:
        assert operation == "RecordActivityTaskHeartbeat"
        self.beats.append((self._clock.now - 1000, params.get("details")))
        answer = self.answers.pop(0) if self.answers else False
        if isinstance(answer, Exception):
            raise answer
        return {"cancelRequested": answer}


class World:
    def __init__(self, *, gap: float = 1.0, longest: float = 20.0) -> None:
        self.clock = Clock()
        self.service = Service(self.clock)
        self.heart = Heart(Swf(self.service, "d"), gap=gap, longest=longest, clock=self.clock).without_thread()

    def attempt(self, **options: Any) -> Attempt:
        @activity(**options)
        def works() -> None: ...

        task = {"taskToken": "token", "activityId": "works-1", "workflowExecution": {"workflowId": "wf", "runId": "r"}}
        attempt = Attempt(task, works, Values(Converter(), "d"), domain="d", task_list="l")
        attempt.on_news(self.heart.news)
        self.heart.add(attempt)
        return attempt

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass as the heart's thread would live through it."""
        end = self.clock.now + seconds
        while (left := self.heart.beat()) is not None and self.clock.now + left <= end:
            self.clock.now += left
        self.clock.now = end

    @property
    def times(self) -> list[float]:
        return [round(when, 6) for when, _ in self.service.beats]


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({}, [20, 40, 60]),
        ({"heartbeat": 30}, [10, 20, 30, 40, 50, 60]),
        ({"heartbeat": 600}, [20, 40, 60]),
        ({"heartbeat": None}, []),
        ({"manual": True}, []),
        ({"manual": True, "heartbeat": 60}, [20, 40, 60]),
    ],
)
def test_a_beat_comes_at_a_third_of_the_timeout_and_every_20_seconds_at_least(options, times) -> None:
    world = World()
    world.attempt(**options)
    world.pass_seconds(65)
    assert world.times == times


def test_an_attempt_that_is_answered_has_no_heart_any_more() -> None:
    world = World()
    attempt = world.attempt()
    world.pass_seconds(25)
    world.heart.remove(attempt)
    world.pass_seconds(100)
    attempt.report(1)
    assert world.times == [20]


def test_the_first_report_goes_out_at_once_and_puts_the_next_beat_off() -> None:
    world = World()
    attempt = world.attempt()
    world.pass_seconds(5)
    attempt.report({"row": 1})
    world.pass_seconds(21)
    assert world.service.beats == [(5.0, '{"row":1}'), (25.0, '{"row":1}')]


def test_many_reports_are_one_beat_per_second_and_the_last_one_is_told() -> None:
    world = World()
    attempt = world.attempt()
    for number in range(100):
        attempt.report(number)
        world.pass_seconds(0.035)
    world.pass_seconds(1)
    assert world.times == [0, 1, 2, 3, 4]
    assert world.service.beats[-1][1] == "99"


def test_without_a_gap_every_report_goes_out() -> None:
    world = World(gap=0.0)
    attempt = world.attempt()
    for number in range(5):
        attempt.report(number)
    assert [details for _, details in world.service.beats] == ["0", "1", "2", "3", "4"]


def test_a_report_without_details_takes_nothing_back() -> None:
    world = World(gap=0.0)
    attempt = world.attempt()
    attempt.report("half")
    attempt.report()
    assert [details for _, details in world.service.beats] == ['"half"', '"half"']


def test_an_activity_without_heartbeat_timeout_is_heard_of_when_it_reports() -> None:
    world = World()
    attempt = world.attempt(heartbeat=None)
    attempt.report("once")
    world.pass_seconds(100)
    assert world.service.beats == [(0.0, '"once"')]


def test_a_beat_that_fails_is_repeated_sooner_and_is_no_failure_of_the_activity() -> None:
    world = World()
    attempt = world.attempt(heartbeat=60)
    world.service.answers = [Fault("ThrottlingException", "Rate exceeded", retryable=True), ValueError("a bug")]
    world.pass_seconds(60)
    assert world.times == pytest.approx([20, 20 + 20 / 3, 20 + 40 / 3, 20 + 40 / 3 + 20])
    assert attempt.reason is None


def test_a_request_to_cancel_reaches_the_scope_and_what_can_be_interrupted() -> None:
    world = World()
    attempt = world.attempt()
    interrupted = []
    attempt.interruptible(lambda: interrupted.append(True))
    world.service.answers = [True, True]
    world.pass_seconds(41)
    assert attempt.reason == "requested"
    assert attempt.scope.cancelled
    assert interrupted == [True]


def test_a_cancellation_interrupts_what_becomes_interruptible_after_it() -> None:
    attempt = World().attempt()
    attempt.cancel("requested")
    interrupted = []
    attempt.interruptible(lambda: interrupted.append(True))
    assert interrupted == [True]


def test_a_task_that_the_service_does_not_know_is_gone_and_beats_no_more() -> None:
    world = World()
    attempt = world.attempt()
    world.service.answers = [Fault("UnknownResourceFault", "Unknown activity, scheduledEventId = 5")]
    world.pass_seconds(100)
    assert world.times == [20]
    assert attempt.reason == "gone"


def test_only_one_may_answer() -> None:
    attempt = World().attempt()
    assert [attempt.claim(), attempt.claim()] == [True, False]


@given(
    timeouts=st.lists(st.one_of(st.none(), st.floats(0.5, 300)), min_size=1, max_size=6),
    reports=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 5)), max_size=20),
    failures=st.lists(st.booleans(), max_size=10),
)
def test_no_attempt_is_silent_for_longer_than_a_third_of_its_timeout_while_beats_get_through(timeouts, reports, failures) -> None:
    world = World()
    heard: dict[int, list[float]] = {}
    answers = iter(failures)
    attempts = [world.attempt(heartbeat=timeout) for timeout in timeouts]
    for number, attempt in enumerate(attempts):
        attempt.token = str(number)

    def call(operation: str, params: Any) -> dict[str, Any]:
        heard.setdefault(int(params["taskToken"]), []).append(world.clock.now)
        if next(answers, False):
            raise Fault("InternalFailure", retryable=True)
        return {"cancelRequested": False}

    world.service.call = call  # type: ignore[method-assign]
    for when, number in sorted(reports):
        world.pass_seconds(1000 + when - world.clock.now)
        attempts[number % len(attempts)].report(when)
    world.pass_seconds(1100 - world.clock.now)
    for number, timeout in enumerate(timeouts):
        if timeout is not None:
            moments = [1000.0, *heard.get(number, []), 1100.0]
            allowed = min(20.0, timeout / 3) + 1e-6
            assert max(b - a for a, b in pairwise(moments)) <= allowed


def test_a_function_that_does_not_report_as_its_watchdog_asks_is_stuck_and_nobody_beats_for_it() -> None:
    world = World()
    attempt = world.attempt(heartbeat=30, watchdog=25)
    world.pass_seconds(15)
    attempt.report()
    world.pass_seconds(300)
    assert world.times == [10, 15, 25, 35]  # the beat at 45 would have been the first after 25 seconds of silence
    assert attempt.reason is None  # a thread cannot be interrupted; what it returns is still answered


def test_a_stuck_process_is_ended() -> None:
    world = World()
    ended: list[float] = []
    attempt = world.attempt(heartbeat=30, watchdog=25, executor="process")
    attempt.interruptible(lambda: ended.append(world.clock.now - 1000))
    world.pass_seconds(300)
    assert ended == [30]
    assert attempt.reason == "gone"


@pytest.mark.parametrize("options", [{"heartbeat": None}, {"heartbeat": 600}], ids=["no heartbeats", "rare ones"])
def test_right_after_its_timeout_an_attempt_hears_that_it_is_over(options: dict[str, Any]) -> None:
    world = World()
    attempt = world.attempt(timeout=4.5, **options)
    world.service.answers = [Fault("UnknownResourceFault", "Unknown activity")]
    world.pass_seconds(300)
    assert world.times == [5.1]
    assert attempt.reason == "gone"
