"""What type checkers must accept: the decorated function keeps its types. Judged by `test_typing.py`, never run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from flowdsl.lang.definitions import Activity, Timer, Workflow, activity, cached, nondeterministic, signal, timer, workflow
from flowdsl.lang.options import Retry
from flowdsl.lang.promises import Promise


@activity
def charge(order_id: str, amount: float = 1.0) -> int:
    return int(amount)


@activity(retry=Retry(5, on=(ValueError, "timed_out")), timeout=timedelta(seconds=3), heartbeat=None, executor="process")
def refund(order_id: str, *, reason: str) -> list[str]:
    return [reason]


@activity(retry=3)
async def fetch(url: str) -> bytes:
    return url.encode()


@cached
def rate(currency: str) -> float:
    return 1.0


@nondeterministic(version="2")
async def slow_rate(currency: str) -> float:
    return 1.0


@timer
def grace(days: int) -> timedelta:
    return timedelta(days=days)


@timer(name="until")
async def until(day: str) -> datetime:
    return datetime.now(UTC)


@timer
def short() -> float:
    return 3


@signal
def approved(by: str) -> str:
    return by


@signal(name="refused")
async def refused(by: str) -> str:
    return by


@workflow
def fulfil(order: dict[str, str]) -> int:
    assert_type(charge("a"), int)
    assert_type(charge("a", amount=2), int)
    assert_type(charge.start("a", 2), Promise[int])
    assert_type(charge.start("a").result(), int)
    assert_type(charge.map(["a", "b"], concurrency=3), list[int])
    assert_type(charge.options(retry=3, timeout=None)("a"), int)
    assert_type(charge.options(task_list="gpu").start("a"), Promise[int])
    assert_type(refund("a", reason="b"), list[str])
    assert_type(rate("EUR"), float)
    assert_type(grace(3), None)
    assert_type(grace.start(3), Promise[None])
    assert_type(grace.start(3).is_ready(), bool)
    assert_type(approved("ann"), str)
    assert_type(approved.wait(timeout=3), str)
    assert_type(approved.wait(timedelta(hours=1)), str)
    assert_type(approved.start(), Promise[str])
    approved.send("order-7", by="ann")
    assert_type(fetch.start("a"), Promise[bytes])
    assert_type(fetch.map(["a"]), list[bytes])
    return 3


@workflow(tags=["a"], child_policy="abandon", task_timeout=30, id="order-7", on_failure=charge)
async def gently(order: str) -> str:
    assert_type(await fetch("a"), bytes)
    assert_type(await fetch.start("a"), bytes)
    assert_type(await fetch.options(heartbeat=3)("a"), bytes)
    assert_type(charge("a"), int)
    assert_type(await charge.start("a"), int)
    assert_type(await slow_rate("EUR"), float)
    assert_type(await until("monday"), None)
    assert_type(until.start("monday"), Promise[None])
    assert_type(await refused.wait(3), str)
    assert_type(await refused.start(), str)
    assert_type(fulfil({}), int)
    assert_type(fulfil.start({}), Promise[int])
    return order


async def outside() -> None:
    assert_type(await gently("a"), str)
    assert_type(gently.start("a"), Promise[str])


class Shop:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    @activity
    def charge(self, order_id: str) -> float:
        return self.rate

    @activity(timeout=3)
    async def fetch(self, url: str) -> bytes:
        return url.encode()

    @activity
    @classmethod
    def by_class(cls, order_id: str) -> int:
        return 3

    @activity
    @staticmethod
    def static(order_id: str) -> int:
        return 3

    @staticmethod
    @activity
    def outer_static(order_id: str) -> int:
        return 3

    @classmethod
    @activity
    def outer_class(cls, order_id: str) -> int:
        return 3

    @timer
    def pause(self, days: int) -> float:
        return days

    @workflow
    def fulfil(self, order: dict[str, str]) -> int:
        assert_type(self.charge("a"), float)
        assert_type(self.charge.start("a"), Promise[float])
        assert_type(self.charge.map(["a"]), list[float])
        assert_type(self.charge.options(retry=3)("a"), float)
        assert_type(self.pause(3), None)
        return 3


shop = Shop(1.0)
assert_type(shop.charge("a"), float)
assert_type(Shop.charge(shop, "a"), float)
assert_type(shop.charge.start("a"), Promise[float])
assert_type(shop.fulfil({}), int)
assert_type(Shop.by_class("a"), int)
assert_type(Shop.by_class.start("a"), Promise[int])
assert_type(shop.by_class("a"), int)
assert_type(Shop.static("a"), int)
assert_type(Shop.static.map(["a"]), list[int])

assert_type(Shop.outer_static("a"), int)
assert_type(Shop.outer_static.start("a"), Promise[int])
assert_type(Shop.outer_class("a"), int)
assert_type(Shop.outer_class.start("a"), Promise[int])

bound = activity(functools.partial(charge.__wrapped__, "a"), name="partial")


def takes_function(function: Callable[[str], float]) -> None: ...
def takes_async(function: Callable[[str], Coroutine[Any, Any, bytes]]) -> None: ...
def takes_activity(one: Activity[[str], float], other: Timer[[int], None], third: Workflow[[dict[str, str]], int]) -> None: ...


takes_function(rate)
takes_function(shop.charge)
takes_async(fetch)
takes_activity(shop.charge, grace, fulfil)
