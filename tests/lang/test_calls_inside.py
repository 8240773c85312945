"""Inside a workflow a call is a `Call` given to the runtime, and means what Python says it means."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl.errors import DefinitionError
from flowdsl.lang.definitions import activity, cached, signal, timer, workflow
from flowdsl.lang.promises import Promise, gather


@activity(retry=3)
def charge(order_id: str, amount: int = 1) -> str:
    if amount < 0:
        raise ValueError(amount)
    return f"{order_id}:{amount}"


@activity
async def fetch(url: str) -> str:
    return url.upper()


@cached
def rate(currency: str) -> float:
    return 1.5


@timer
def grace(days: int) -> timedelta:
    return timedelta(days=days)


@workflow(id="child")
def child(order_id: str) -> str:
    return order_id + "!"


@signal
def approved(by: str, level: int = 1) -> str:
    return f"{by} {level}"


@signal
async def refused(by: str) -> str:
    return by.title()


@signal
async def never(by: str) -> str:
    await asyncio.sleep(0)


def test_a_call_gives_the_value_and_travels_with_everything_a_runtime_needs(inside):
    with inside() as runtime:
        assert charge("a", amount=2) == "a:2"
    (call,) = runtime.calls
    assert (call.kind, call.name, call.args, call.kwargs) == ("activity", "charge", ("a",), {"amount": 2})
    assert (call.target, call.options, call.instance) == (charge, charge.settings, None)


@pytest.mark.parametrize(
    ("call", "kind", "value"),
    [(rate, "cached", 1.5), (grace, "timer", None), (child, "workflow", "3!"), (charge, "activity", "3:1")],
)
def test_each_kind_is_called_started_and_mapped(inside, call, kind, value):
    argument = 3 if kind == "timer" else "3"
    with inside() as runtime:
        assert call(argument) == value
        promise = call.start(argument)
        assert not promise.is_ready()
        assert promise.result() == value
        assert call.map([argument, argument]) == [value, value]
    assert [one.kind for one in runtime.calls] == [kind] * 4


def test_start_waits_for_nothing(inside):
    with inside() as runtime:
        promises = [charge.start("a", n) for n in range(3)]
        assert runtime.settled == 0
        assert gather(*promises) == ["a:0", "a:1", "a:2"]


def test_an_exception_is_raised_at_the_calls_line(inside):
    with inside(), pytest.raises(ValueError, match="-1"):
        charge("a", -1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (charge, r"charge\(\): missing a required argument: 'order_id'"),
        (lambda: charge("a", 1, 2), r"charge\(\): too many positional arguments"),
        (lambda: charge("a", colour=1), r"charge\(\): got an unexpected keyword argument 'colour'"),
        (lambda: charge.start("a", order_id="b"), r"charge\(\): multiple values for argument 'order_id'"),
        (lambda: approved.send("order-7"), r"approved\(\): missing a required argument: 'by'"),
    ],
)
def test_wrong_arguments_are_a_type_error_before_anything_starts(inside, wrong, message):
    with inside() as runtime, pytest.raises(TypeError, match=message):
        wrong()
    assert runtime.calls == []


def test_other_options_travel_with_the_call(inside):
    with inside() as runtime:
        charge.options(timeout=5, task_list="gpu")("a")
    assert (runtime.calls[0].options.timeout, runtime.calls[0].options.task_list) == (5.0, "gpu")


# --- async def


def test_in_a_def_workflow_an_async_function_gives_the_value(inside):
    with inside() as runtime:
        assert fetch("a") == "A"
        assert fetch.start("b").result() == "B"
        assert fetch.map(["c"]) == ["C"]
    assert len(runtime.calls) == 3


def test_in_an_async_workflow_an_async_function_is_awaited(inside):
    async def body(runtime):
        coroutine = fetch("a")
        assert runtime.calls == []
        assert await coroutine == "A"
        assert await asyncio.gather(fetch("b"), fetch("c")) == ["B", "C"]
        assert await fetch.start("d") == "D"
        assert charge("e") == "e:1"
        with pytest.raises(TypeError, match=r"fetch\(\): missing a required argument"):
            fetch()

    with inside() as runtime:
        asyncio.run(body(runtime))
    assert [call.args[0] for call in runtime.calls] == ["a", "b", "c", "d", "e"]


# --- map


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # `inside` makes a new runtime each time it is entered
@given(items=st.lists(st.integers(0, 9), max_size=12), concurrency=st.none() | st.integers(1, 5), order=st.sampled_from([0, -1]))
def test_a_map_keeps_order_and_window_whatever_settles_first(inside, items, concurrency, order):
    with inside(order=order) as runtime:
        assert rate.map(items, concurrency=concurrency) == [1.5] * len(items)
        assert charge.map(map(str, items), concurrency=concurrency) == [f"{item}:1" for item in items]
    assert runtime.most_open == min(len(items), concurrency or len(items))


def test_a_map_takes_an_item_only_when_its_call_is_started(inside):
    taken = []

    def source():
        for n in range(6):
            taken.append(n)
            yield str(n)

    with inside() as runtime:
        opened = []
        settle = runtime.settle_next
        runtime.settle_next = lambda: (opened.append(len(taken)), settle())
        charge.map(source(), concurrency=2)
    assert opened == [2, 3, 4, 5, 6, 6]


def test_a_map_raises_the_first_exception_that_happened_and_starts_nothing_more(inside):
    @activity
    def picky(n: int) -> int:
        if n % 2:
            raise ValueError(n)
        return n

    with inside() as runtime, pytest.raises(ValueError, match="1"):
        picky.map(range(10), concurrency=3)
    assert len(runtime.calls) == 4
    with inside(order=-1) as runtime, pytest.raises(ValueError, match="3"):
        picky.map([0, 1, 3, 4])
    assert len(runtime.calls) == 4


# --- signals


def test_a_signals_call_runs_its_body_and_starts_nothing(inside):
    with inside() as runtime:
        assert approved("ann") == "ann 1"
    assert runtime.calls == []


def test_wait_takes_the_next_one_first_in_first_out(inside):
    with inside() as runtime:
        runtime.deliver("ann")
        runtime.deliver(by="bob", level=2)
        assert approved.wait() == "ann 1"
        assert approved.wait(timeout=3) == "bob 2"
    assert [(call.kind, call.name, call.target) for call in runtime.calls] == [("signal", "approved", approved)] * 2
    assert runtime.waits == []


def test_start_is_the_promise_of_the_next_one(inside):
    with inside() as runtime:
        promise = approved.start()
        assert isinstance(promise, Promise)
        assert not promise.is_ready()
        runtime.deliver("ann")
        assert promise.result() == "ann 1"


@pytest.mark.parametrize("timeout", [3, timedelta(seconds=3)])
def test_a_late_signal_is_a_timeout_error_and_kept_for_the_next_wait(inside, timeout):
    with inside() as runtime:
        with pytest.raises(TimeoutError, match=r"no signal .*approved within 3 s"):
            approved.wait(timeout=timeout)
        assert runtime.waits == [3.0]
        runtime.deliver("ann")
        assert approved.wait() == "ann 1"


def test_a_wait_that_is_torn_down_loses_no_signal(inside):
    class Torn(BaseException): ...

    def tear(*_):
        raise Torn

    with inside() as runtime:
        runtime.wait = tear
        with pytest.raises(Torn):
            approved.wait()
        del runtime.wait
        runtime.deliver("ann")
        assert approved.wait() == "ann 1"


def test_a_wrong_timeout_is_refused_before_anybody_listens(inside):
    with inside() as runtime, pytest.raises(DefinitionError, match=r"approved\.wait\(timeout="):
        approved.wait(timeout=-1)
    assert runtime.calls == []


def test_a_timeout_error_of_the_signals_own_function_is_not_a_late_signal(inside):
    @signal
    def own() -> None:
        raise TimeoutError("my own")

    with inside() as runtime:
        runtime.deliver()
        with pytest.raises(TimeoutError, match="my own"):
            own.wait(timeout=3)


def test_the_same_holds_for_an_async_signal(inside):
    @signal
    async def own() -> None:
        raise TimeoutError("my own")

    async def body():
        with pytest.raises(TimeoutError, match="my own"):
            await own.wait(timeout=3)

    with inside() as runtime:
        runtime.deliver()
        asyncio.run(body())


def test_an_async_signal_is_awaited_in_an_async_workflow(inside):
    async def body(runtime):
        asyncio.get_running_loop().call_soon(runtime.deliver, "ann")
        assert await refused.wait() == "Ann"
        asyncio.get_running_loop().call_soon(runtime.deliver, "bob")
        assert await refused.start() == "Bob"
        with pytest.raises(TimeoutError, match="no signal"):
            await refused.wait(timeout=0)
        runtime.deliver("eve")
        assert await refused.wait(timeout=0) == "Eve"

    with inside() as runtime:
        asyncio.run(body(runtime))


def test_an_async_signal_gives_the_value_in_a_def_workflow(inside):
    with inside() as runtime:
        runtime.deliver("ann")
        assert refused.wait() == "Ann"


def test_an_async_signal_that_awaits_something_is_refused(inside):
    with inside() as runtime:
        runtime.deliver("ann")
        with pytest.raises(DefinitionError, match="awaits something, but only says what its payload is"):
            never.wait()


def test_send_goes_through_the_runtime(inside):
    with inside() as runtime:
        approved.send("order-7", "ann", level=2)
    (call,) = runtime.calls
    assert (call.kind, call.name, call.args, call.kwargs, call.target) == ("send", "approved", ("order-7", "ann"), {"level": 2}, approved)
    assert runtime.settled == 1
