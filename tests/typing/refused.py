"""What type checkers must refuse: each marked line, in each checker that is named, and nothing else. Judged by `test_typing.py`, never run."""

from __future__ import annotations

from flowdsl.lang.definitions import activity, cached, signal, timer, workflow
from flowdsl.lang.options import Retry


@activity
def charge(order_id: str, amount: float = 1.0) -> int:
    return int(amount)


@activity
async def fetch(url: str) -> bytes:
    return url.encode()


@cached
def rate(currency: str) -> float:
    return 1.0


@signal
def approved(by: str) -> str:
    return by


@timer
def grace(days: int) -> float:
    return days


class Shop:
    @activity
    def charge(self, order_id: str) -> float:
        return 1.0

    @activity
    @classmethod
    def by_class(cls, order_id: str) -> int:
        return 3


@workflow
def fulfil(order: str) -> int:
    charge(3)  # refused: mypy pyright
    charge()  # refused: mypy pyright
    charge("a", colour=3)  # refused: mypy pyright
    charge.start(3)  # refused: mypy pyright
    charge.start("a", 1.0, 2)  # refused: mypy pyright
    charge.map([1, 2])  # refused: pyright
    charge.map(["a"], concurrency="3")  # refused: mypy pyright
    charge.options(retri=3)  # refused: mypy pyright
    charge.options(timeout="3")  # refused: mypy pyright
    text: str = charge("a")  # refused: mypy pyright
    later: str = charge.start("a").result()  # refused: mypy pyright
    several: list[str] = charge.map(["a"])  # refused: mypy pyright
    data: bytes = fetch("a")  # refused: mypy pyright
    rate(3)  # refused: mypy pyright
    rate.options(retry=3)  # refused: mypy pyright
    pause: float = grace(3)  # refused: mypy pyright
    grace.start("3")  # refused: mypy pyright
    approved.wait("3")  # refused: mypy pyright
    approved.send(by="ann")  # refused: mypy pyright
    approved.send("order-7", 3)  # refused: mypy pyright
    who: int = approved.wait()  # refused: mypy pyright
    approved.map(["ann"])  # refused: mypy
    charge.strat("a")  # refused: mypy
    Shop().charge(3)  # refused: mypy pyright
    Shop().charge.start(order="a")  # refused: mypy pyright
    Shop().charge.options(child_policy="abandon")  # refused: mypy pyright
    Shop.by_class(3)  # refused: mypy pyright
    return 3


async def gently() -> None:
    data: str = await fetch("a")  # refused: mypy pyright
    await charge("a")  # refused: mypy pyright


@activity(timeout="3")  # refused: mypy pyright
def a() -> None: ...


@activity(retries=3)  # refused: mypy pyright
def b() -> None: ...


@workflow(child_policy="forget")  # refused: mypy pyright
def c() -> None: ...


@timer(heartbeat=3)  # refused: mypy pyright
def d() -> int:
    return 3


@timer  # refused: mypy pyright
def e() -> str:
    return "tomorrow"


policy = Retry("3")  # refused: mypy pyright
other = Retry(3, on="fail")  # refused: mypy pyright
activity(3)  # refused: mypy pyright
