"""Timers of every length, cancelled at every moment; promises that are only looked at; signals of every number and order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from replay_world import DOMAIN, World, attributes, kinds, live

from flowdsl import activity, cached, first, gather, now, signal, sleep, sleep_until, spawn, timer, wait_until, workflow
from flowdsl.errors import Cancelled, DefinitionError, Fault


@activity
def echo(x: Any) -> Any:
    return x


@timer
def pause(delay: Any) -> Any:
    return delay


@signal
def left(text: str) -> str:
    return text


@signal
def right(text: str) -> str:
    return text


# --- timers


@pytest.mark.parametrize(
    ("delay", "written"),
    [(0, "0"), (0.0, "0"), (1, "1"), (0.2, "1"), (1.5, "2"), (timedelta(minutes=2), "120"), (31_536_000, "31536000")],
    ids=str,
)
@pytest.mark.parametrize("how", ["sleep", "timer"])
def test_a_timer_of_any_length_fires_once_its_time_is_over(delay: Any, written: str, how: str) -> None:
    @workflow(name="timers.any")
    def waits() -> float:
        before = now()
        sleep(delay) if how == "sleep" else pause(delay)
        return (now() - before).total_seconds()

    world = World()
    world.start(waits)
    world.decide()
    [started] = [attributes(e) for e in world.history() if e["eventType"] == "TimerStarted"]
    assert started["startToFireTimeout"] == written
    seconds = float(written)
    if seconds:
        assert not world.decide()
    if seconds < 1_000_000:
        world.pass_time(seconds)
        assert world.run_to_end() == seconds


@pytest.mark.parametrize("delay", [-1, timedelta(seconds=-1), "5", None, float("nan"), True])
def test_a_delay_that_is_none_is_refused_by_name(delay: Any) -> None:
    @workflow(name="timers.refused")
    def waits() -> str:
        try:
            pause(delay)
        except DefinitionError as error:
            return str(error)
        return "waited"

    world, message = live(waits)
    assert "pause" in message
    assert kinds(world.history(), "TimerStarted") == []


def test_a_timer_until_a_moment_counts_from_the_workflows_own_now() -> None:
    moment = datetime.fromtimestamp(1_000_000_090, UTC)

    @workflow(name="timers.until")
    def waits() -> float:
        sleep_until(moment)
        pause(moment + timedelta(seconds=30))
        sleep_until(moment)
        return now().timestamp()

    assert live(waits)[1] == moment.timestamp() + 30


def test_the_delay_may_be_different_each_time_it_is_asked_for_since_it_is_asked_once() -> None:
    delays = iter([5, 500, 5000])

    @timer(name="timers.moody")
    def moody() -> int:
        return next(delays)

    @workflow(name="timers.recorded")
    def waits() -> float:
        before = now()
        moody()
        return (now() - before).total_seconds()

    assert live(waits)[1] == 5
    assert next(delays) == 500


def test_a_timer_that_is_cancelled_in_the_turn_of_its_start_was_never_there() -> None:
    @workflow(name="timers.cancel at once")
    def cancels() -> bool:
        promise = pause.start(100)
        promise.cancel()
        return isinstance(promise.exception(), Cancelled)

    world, outcome = live(cancels)
    assert outcome is True
    assert kinds(world.history(), "TimerStarted", "TimerCanceled") == []


def test_a_timer_that_is_cancelled_before_it_fires_never_fires() -> None:
    @workflow(name="timers.cancel")
    def cancels() -> bool:
        promise = pause.start(100)
        sleep(1)
        promise.cancel()
        sleep(200)
        return isinstance(promise.exception(), Cancelled)

    world, outcome = live(cancels)
    assert outcome is True
    assert kinds(world.history(), "TimerStarted", "TimerCanceled", "TimerFired") == [
        "TimerStarted", "TimerStarted", "TimerFired", "TimerCanceled", "TimerStarted", "TimerFired",
    ]  # fmt: skip


def test_cancelling_a_timer_that_has_fired_changes_nothing() -> None:
    @workflow(name="timers.cancel late")
    def cancels() -> list[Any]:
        promise = pause.start(1)
        sleep(5)
        return [promise.cancel(), promise.exception()]

    world, outcome = live(cancels)
    assert outcome == [False, None]
    assert kinds(world.history(), "TimerCanceled", "CancelTimerFailed") == []


def test_a_timer_that_fires_while_its_cancellation_is_on_its_way_stays_cancelled() -> None:
    @workflow(name="timers.cancel race")
    def cancels() -> str:
        promise = pause.start(10)
        left.wait()
        promise.cancel()
        sleep(1)
        return type(promise.exception()).__name__

    world = World()
    world.start(cancels)
    world.decide()
    world.signal(left, "cancel")
    world.decide(between=lambda: world.pass_time(10))
    assert kinds(world.history(), "TimerFired", "CancelTimerFailed") == ["TimerFired", "CancelTimerFailed"]
    assert world.run_to_end() == "Cancelled"


@pytest.mark.parametrize("order", ["timer first", "activity first"])
def test_a_timer_and_an_activity_that_end_in_the_same_millisecond_race_by_their_events(order: str) -> None:
    @workflow(name="timers.race")
    def races() -> Any:
        return first(pause.start(10), echo.start("activity"))

    world = World()
    world.start(races)
    world.decide()
    world.take_activity()
    if order == "timer first":
        world.pass_time(10)
        world.finish_activity()
    else:
        world.now += 10_000
        task = world.tasks.pop()
        world.engine.apply(world.now, "RespondActivityTaskCompleted", {"taskToken": task["taskToken"], "result": '"activity"'})
        world.engine.tick(world.now)
    ends = [e for e in world.history() if e["eventType"] in ("TimerFired", "ActivityTaskCompleted")]
    assert len({e["eventTimestamp"] for e in ends}) == 1
    assert world.run_to_end() == (None if ends[0]["eventType"] == "TimerFired" else "activity")


def test_is_ready_can_be_asked_in_a_loop_with_activities_between() -> None:
    @workflow(name="timers.polled")
    def polls() -> int:
        grace = pause.start(7)
        rounds = 0
        while not grace.is_ready():
            echo(rounds)
            sleep(2)
            rounds += 1
        return rounds

    assert live(polls)[1] == 4


def test_a_wait_that_loses_by_one_event_leaves_the_signal_to_the_next_wait() -> None:
    @workflow(name="timers.lose")
    def loses() -> list[str]:
        seen = []
        try:
            seen.append(left.wait(timeout=10))
        except TimeoutError:
            seen.append("too late")
        seen.append(left.wait(timeout=10))
        return seen

    world = World()
    world.start(loses)
    world.decide()
    world.pass_time(10)
    world.signal(left, "just missed it")
    assert world.run_to_end() == ["too late", "just missed it"]
    world = World()
    world.start(loses)
    world.decide()
    world.now += 10_000
    world.engine.apply(
        world.now,
        "SignalWorkflowExecution",
        {"domain": DOMAIN, "workflowId": "w", "signalName": left.name, "input": '{"args":["made it"]}'},
    )
    world.engine.tick(world.now)
    world.signal(left, "next")
    seen = world.run_to_end()
    assert seen in (["made it", "next"], ["too late", "made it"])
    order = kinds(world.history(), "TimerFired", "WorkflowExecutionSignaled")
    assert (seen[0] == "made it") is (order[0] == "WorkflowExecutionSignaled"), "whose event came first has won"


def test_a_wait_that_was_won_cancels_its_timeout() -> None:
    @workflow(name="timers.won")
    def wins() -> str:
        value = left.wait(timeout=1000)
        echo(1)
        return value

    world = World()
    world.start(wins)
    world.decide()
    world.signal(left, "won")
    assert world.run_to_end() == "won"
    assert kinds(world.history(), "TimerStarted", "TimerCanceled") == ["TimerStarted", "TimerCanceled"]


def test_a_wait_that_ends_by_an_exception_cancels_its_timeout_too() -> None:
    def listens() -> str:
        return left.wait(timeout=1000)

    @workflow(name="timers.interrupted")
    def interrupted() -> str:
        branch = spawn(listens)
        sleep(1)
        branch.cancel()
        echo(1)
        return type(branch.exception()).__name__

    world, outcome = live(interrupted)
    assert outcome == "Cancelled"
    assert len(kinds(world.history(), "TimerCanceled")) == 1


def test_wait_until_is_asked_after_every_event_and_times_out() -> None:
    @workflow(name="timers.until true")
    def waits() -> list[Any]:
        box: list[str] = []

        def listens() -> None:
            while True:
                box.append(left.wait())

        listener = spawn(listens)
        seen = [wait_until(lambda: len(box) >= 2), list(box), wait_until(lambda: len(box) >= 3, timeout=5)]
        listener.cancel()
        return seen

    world = World()
    world.start(waits)
    world.signal(left, "a")
    world.decide()
    world.signal(left, "b")
    assert world.run_to_end() == [True, ["a", "b"], False]


def test_a_predicate_that_raises_raises_in_its_own_branch() -> None:
    @workflow(name="timers.predicate")
    def waits() -> str:
        def bad() -> bool:
            raise LookupError("mine")

        try:
            wait_until(bad)
        except LookupError as error:
            return str(error)
        return ""

    assert "mine" in live(waits)[1]


# --- signals


@workflow
def hears(count: int) -> list[str]:
    return [left.wait() for _ in range(count)]


def test_a_signal_before_the_first_decision_is_not_lost() -> None:
    world = World()
    world.start(hears, 1)
    world.signal(left, "early")
    assert world.run_to_end() == ["early"]


def test_a_signal_to_a_closed_execution_is_refused_by_the_service() -> None:
    world = World()
    world.start(hears, 0)
    world.run_to_end()
    with pytest.raises(Fault, match="UnknownResourceFault"):
        world.signal(left, "late")


def test_a_thousand_signals_arrive_once_and_in_order() -> None:
    world = World()
    world.start(hears, 1000)
    for n in range(1000):
        world.signal(left, str(n))
    assert world.run_to_end() == [str(n) for n in range(1000)]


def test_a_signal_of_300_kilobytes_arrives_whole() -> None:
    world = World()
    world.start(hears, 1)
    world.signal(left, "x" * 300_000)
    assert world.run_to_end() == ["x" * 300_000]


def test_signals_of_two_names_do_not_meet() -> None:
    @workflow(name="signals.two")
    def two() -> list[str]:
        return [right.wait(), left.wait(), left.wait(), right.wait()]

    world = World()
    world.start(two)
    for definition, text in ((left, "l1"), (right, "r1"), (left, "l2"), (right, "r2")):
        world.signal(definition, text)
    assert world.run_to_end() == ["r1", "l1", "l2", "r2"]


def test_who_waited_longest_gets_the_next_signal() -> None:
    @workflow(name="signals.queue")
    def queue() -> list[str]:
        return gather(spawn(left.wait), spawn(left.wait), spawn(left.wait))

    world = World()
    world.start(queue)
    world.decide()
    for text in "abc":
        world.signal(left, text)
    assert world.run_to_end() == ["a", "b", "c"]


def test_a_signal_with_input_that_is_no_payload_fails_who_reads_it() -> None:
    @workflow(name="signals.bad")
    def reads() -> list[str]:
        seen = []
        try:
            left.wait()
        except Exception as error:
            seen.append(type(error).__name__)
        seen.append(left.wait())
        return seen

    world = World()
    world.start(reads)
    world.call("SignalWorkflowExecution", domain=DOMAIN, workflowId="w", signalName=left.name, input="no json {")
    world.signal(left, "good")
    seen = world.run_to_end()
    assert seen[-1] == "good"
    assert len(seen) == 2


@pytest.mark.parametrize("value", [0, "", [], None, False, 0.0, {}], ids=repr)
def test_falsy_values_arrive_as_themselves(value: Any) -> None:
    @signal(name="signals.any")
    def anything(x: Any) -> Any:
        return x

    @cached(name="signals.cached")
    def keeps(x: Any) -> Any:
        return x

    @workflow(name="signals.falsy")
    def falsy() -> list[Any]:
        return [anything.wait(), echo(value), keeps(value), gather(echo.start(value)), first(echo.start(value)), echo.map([value])]

    world = World()
    world.start(falsy)
    world.signal(anything, value)
    assert world.run_to_end() == [value, value, value, [value], value, [value]]
