"""Outside every run, and inside an activity, a call is the plain function's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from flowdsl.errors import Cancelled, DefinitionError
from flowdsl.lang import outside
from flowdsl.lang.definitions import activity, cached, signal, timer, workflow
from flowdsl.lang.promises import Promise


@activity
def charge(order_id: str, amount: int = 1) -> str:
    if amount < 0:
        raise ValueError(amount)
    return f"{order_id}:{amount}"


@cached
def rate(currency: str) -> float:
    return 1.5


@activity
async def fetch(url: str) -> str:
    await asyncio.sleep(0)
    if not url:
        raise ValueError(url)
    return url.upper()


@workflow
def fulfil(order_id: str, *, times: int = 1) -> list[str]:
    if not order_id:
        raise LookupError(order_id)
    return [charge(order_id)] * times


@workflow
async def gently(order_id: str) -> str:
    return order_id.upper()


@signal
def approved(by: str, level: int = 1) -> str:
    return by.title()


@timer
def pause(length):
    return length


@timer
async def async_pause(length):
    return length


class Clock:
    """Stands for the module `time`: sleeping moves it."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(outside, "time", clock)
    return clock


# --- activities and recorded functions


def test_a_call_is_the_functions():
    assert charge("a", amount=3) == "a:3"
    assert rate("EUR") == 1.5
    with pytest.raises(ValueError, match="-1"):
        charge("a", -1)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        charge()


def test_inside_an_activity_a_call_is_the_functions(in_activity):
    assert charge("a") == "a:1"
    assert charge.start("a").result() == "a:1"
    assert charge.map(["a", "b"]) == ["a:1", "b:1"]


def test_start_gives_a_settled_promise():
    promise = charge.start("a", amount=2)
    assert isinstance(promise, Promise)
    assert promise.is_ready()
    assert promise.result() == "a:2"
    assert rate.start("EUR").result() == 1.5


def test_start_keeps_the_exception_for_whoever_asks():
    promise = charge.start("a", -1)
    assert isinstance(promise.exception(), ValueError)
    with pytest.raises(ValueError, match="-1"):
        promise.result()


@pytest.mark.parametrize("start", [charge.start, fulfil.start, pause.start])
def test_start_with_wrong_arguments_is_a_type_error_at_once(start):
    with pytest.raises(TypeError, match=r"\(\): got an unexpected keyword argument 'colour'|\(\): missing a required argument"):
        start(colour=3)


def test_map_gives_a_list_in_order():
    assert charge.map(iter("ab")) == ["a:1", "b:1"]
    assert charge.map([]) == []
    assert charge.map("ab", concurrency=1) == ["a:1", "b:1"]


def test_map_passes_each_item_as_one_argument():
    assert activity(lambda pair: pair, name="pairs").map([(1, 2)]) == [(1, 2)]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "3"])
def test_a_concurrency_that_is_no_whole_number_above_zero_is_refused(wrong):
    with pytest.raises(DefinitionError, match=r"concurrency=.*whole number, 1 or more"):
        charge.map(["a"], concurrency=wrong)


# --- async def


def test_an_async_call_is_the_coroutine():
    coroutine = fetch("a")
    assert asyncio.iscoroutine(coroutine)
    assert asyncio.run(coroutine) == "A"


def test_start_of_an_async_function_has_run_when_it_returns():
    assert fetch.start("a").is_ready()
    assert fetch.start("a").result() == "A"
    assert isinstance(fetch.start("").exception(), ValueError)
    assert fetch.map(["a", "b"]) == ["A", "B"]


def test_in_a_running_loop_a_started_async_function_is_awaited():
    async def main():
        good, bad, stopped = fetch.start("a"), fetch.start(""), fetch.start("c")
        with pytest.raises(DefinitionError, match="await the promise"):
            good.result()
        stopped.cancel()
        with pytest.raises(Cancelled):
            await stopped
        with pytest.raises(ValueError):
            await bad
        return await good

    assert asyncio.run(main()) == "A"


def test_in_a_running_loop_map_of_an_async_function_says_that_it_cannot():
    async def main():
        with pytest.raises(DefinitionError, match="event loop is running here: await it instead"):
            fetch.map(["a"])
        assert fetch.map([]) == []

    asyncio.run(main())


# --- workflows


def test_a_workflow_runs_here_and_now(direct):
    assert fulfil("a", times=2) == ["a:1", "a:1"]
    (call,) = direct
    assert (call.kind, call.name, call.args, call.kwargs) == ("workflow", "fulfil", ("a",), {"times": 2})
    assert (call.target, call.options) == (fulfil, fulfil.settings)


def test_a_workflow_inside_an_activity_runs_here_and_now(direct, in_activity):
    assert fulfil("a") == ["a:1"]
    assert len(direct) == 1


def test_an_async_workflow_is_awaited(direct):
    coroutine = gently("a")
    assert direct == []
    assert asyncio.run(coroutine) == "A"
    assert len(direct) == 1


def test_a_started_workflow_has_run(direct):
    assert fulfil.start("a").result() == ["a:1"]
    assert gently.start("a").result() == "A"
    assert isinstance(fulfil.start("").exception(), LookupError)
    assert fulfil.map(["a", "b"]) == [["a:1"], ["b:1"]]
    assert len(direct) == 5


def test_a_workflow_with_wrong_arguments_never_starts(direct):
    with pytest.raises(TypeError, match=r"fulfil\(\): missing a required argument: 'order_id'"):
        fulfil()
    assert direct == []


# --- timers


@pytest.mark.parametrize("length", [2, 2.0, timedelta(seconds=2)])
def test_a_timer_waits_and_gives_none(clock, length):
    assert pause(length) is None
    assert clock.slept == [2.0]


def test_a_timer_waits_until_a_moment():
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert outside.delay(now + timedelta(hours=1), now, "x") == 3600
    assert outside.delay((now + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5))), now, "x") == 3600
    assert outside.delay(now - timedelta(hours=1), now, "x") == 0


@pytest.mark.parametrize("length", [-1, "3", None, datetime(2030, 1, 1), True, float("nan")])
def test_a_timer_that_says_no_length_is_refused_by_name(clock, length):
    with pytest.raises(DefinitionError, match=r"the timer .*pause\(\)"):
        pause(length)
    assert isinstance(pause.start(length).exception(), DefinitionError)
    assert clock.slept == []


def test_a_started_timer_is_ready_when_the_time_is_over(clock):
    promise = pause.start(5)
    assert not promise.is_ready()
    clock.now += 4
    assert not promise.is_ready()
    with pytest.raises(TimeoutError):
        promise.result(timeout=0.5)
    assert clock.slept == [0.5]
    assert promise.result() is None
    assert clock.slept == [0.5, 0.5]
    assert promise.is_ready()


def test_a_started_timer_can_be_cancelled(clock):
    promise = pause.start(5)
    assert promise.cancel()
    with pytest.raises(Cancelled):
        promise.result()
    done = pause.start(0)
    assert not done.cancel()
    assert done.result() is None
    assert clock.slept == []


def test_timers_of_a_map_are_waited_for_one_after_the_other(clock):
    assert pause.map([1, 2]) == [None, None]
    assert clock.slept == [1.0, 2.0]


def test_an_async_timer_is_awaited():
    async def main():
        assert await async_pause(0) is None
        assert await async_pause.start(0) is None
        assert await pause.start(0) is None
        with pytest.raises(DefinitionError):
            await async_pause(-1)

    asyncio.run(main())
    assert async_pause.start(0).result() is None


# --- signals


def test_a_signals_call_runs_its_body():
    assert approved("ann") == "Ann"


@pytest.mark.parametrize("ask", [approved.wait, approved.start, lambda: approved.wait(3)])
def test_a_signal_can_only_be_waited_for_inside_a_workflow(ask, in_activity):
    with pytest.raises(DefinitionError, match="can only be waited for inside a workflow"):
        ask()


def test_a_signal_is_sent_by_the_front(monkeypatch):
    from flowdsl.lang import signals
    from flowdsl.lang.definitions import install_sender

    monkeypatch.setattr(signals, "_sender", None)
    sent = []
    install_sender(lambda *what: sent.append(what))
    assert approved.send("order-7", "ann", level=2) is None
    assert sent == [(approved, "order-7", ("ann",), {"level": 2})]
    with pytest.raises(TypeError, match=r"approved\(\): missing a required argument: 'by'"):
        approved.send("order-7")
    for no_id in ("", 7, None):
        with pytest.raises(DefinitionError, match="the first argument is the id of the execution"):
            approved.send(no_id, "ann")
    assert len(sent) == 1
