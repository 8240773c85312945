"""Values of every kind are the same on every backend, wherever they travel."""

from __future__ import annotations

import functools
import json
import math
import uuid
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import attrs
import pydantic
import pytest
from contract_stage import DURABLE, events

from flowdsl import activity, cached, workflow


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Mixed(Enum):
    TEXT = "text"
    NUMBER = 2
    PAIR = (1, 2)


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Rights(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclass(frozen=True)
class Item:
    name: str
    price: Decimal
    colour: Colour = Colour.RED
    sizes: tuple[int, ...] = ()


@dataclass
class Order:
    id: uuid.UUID
    items: list[Item]
    placed: datetime
    tags: set[str] = field(default_factory=set)
    note: str | None = None
    by_name: dict[str, Item] = field(default_factory=dict)


class Customer(pydantic.BaseModel):
    name: str
    born: date
    orders: list[int] = []


@attrs.define
class Address:
    street: str
    number: int = 1
    lines: tuple[str, ...] = ()


class Opaque:
    """A class that nobody knows anything about."""

    def __init__(self, secret: object) -> None:
        self.secret = secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.secret == self.secret

    __hash__ = None


ORDER = Order(
    uuid.UUID(int=7),
    [Item("pen", Decimal("1.10")), Item("ink", Decimal("2.00"), Colour.BLUE, (1, 2))],
    datetime(2026, 3, 29, 1, 30, tzinfo=ZoneInfo("Europe/Zurich")),
    {"a", "b"},
    by_name={"pen": Item("pen", Decimal("1.10"))},
)

VALUES: dict[str, Any] = {
    "none": None,
    "false": False,
    "zero": 0,
    "empty text": "",
    "empty list": [],
    "empty dict": {},
    "minus zero": -0.0,
    "infinity": math.inf,
    "large int": 2**200,
    "negative large": -(2**64),
    "fraction of a float": 0.1 + 0.2,
    "text": "quotes \" ' \\ \n \t \x00 \x7f",
    "emoji": "\U0001f600 \u202e rtl",
    "lone surrogate": "a\ud800b",
    "envelope-like": "fd1.j...:nothing",
    "bytes": bytes(range(256)),
    "bytearray": bytearray(b"ab"),
    "tuple": (1, (2, "3"), []),
    "empty tuple": (),
    "set": {1, 2, 3},
    "frozenset": frozenset({"a"}),
    "int keys": {1: "a", 2: "b"},
    "tuple keys": {(1, 2): [3]},
    "dollar": {"$": "tuple", "v": [1]},
    "deque": deque([1, 2], 5),
    "counter": Counter("aab"),
    "ordered": OrderedDict(b=1, a=2),
    "complex": 1 + 2j,
    "decimal": Decimal("1.10"),
    "decimal of no number": Decimal("-Infinity"),
    "fraction": Fraction(1, 3),
    "uuid": uuid.UUID(int=5),
    "naive datetime": datetime(2026, 1, 2, 3, 4, 5, 6),
    "utc": datetime(2026, 1, 2, tzinfo=UTC),
    "offset": datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    "zone": datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Zurich")),
    "date": date(2026, 1, 2),
    "time": time(1, 2, 3, tzinfo=UTC),
    "timedelta": timedelta(days=-1, microseconds=5),
    "path": PurePosixPath("/tmp/x y"),
    "enum": Colour.BLUE,
    "enum of several kinds": [Mixed.TEXT, Mixed.NUMBER, Mixed.PAIR],
    "int enum": Level.HIGH,
    "flag": Rights.READ | Rights.WRITE,
    "named tuple": Point(1, 2.5),
    "dataclass": ORDER,
    "list of dataclasses": [ORDER.items[0], ORDER],
    "pydantic": Customer(name="Ann", born=date(2000, 1, 2), orders=[1]),
    "attrs": Address("Main", 5, ("x",)),
    "opaque": Opaque([1, {2}]),
    "class": Item,
    "builtin function": math.sqrt,
    "deep": [[[[[[[[[[1]]]]]]]]]],
    "very deep": functools.reduce(lambda inner, _: [inner], range(500), []),
    "slice": slice(1, 5, 2),
    "range": range(2, 9, 3),
}


@activity
def through_an_activity(x: Any) -> Any:
    return x


@cached
def through_a_record(x: Any) -> Any:
    return x


@workflow
def through_a_child(x: Any) -> Any:
    return x


@workflow
def everywhere(x: Any) -> list[Any]:
    return [x, through_an_activity(x), through_a_record(x), through_a_child(x), through_an_activity(x=x)]


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_is_the_same_wherever_it_travels(stage, kind):
    value = VALUES[kind]
    for copy in stage.run(everywhere, value):
        assert type(copy) is type(value)
        assert copy == value
        assert repr(copy) == repr(value) or isinstance(value, (set, frozenset, Opaque))


def test_nan_stays_nan_and_minus_zero_negative(stage):
    for copy in stage.run(everywhere, [math.nan, -0.0]):
        assert math.isnan(copy[0])
        assert math.copysign(1, copy[1]) == -1


def test_the_zone_and_the_fold_of_a_moment_stay(stage):
    for copy in stage.run(everywhere, VALUES["zone"]):
        assert copy.tzinfo.key == "Europe/Zurich"
        assert copy.fold == 1


def test_lambdas_and_closures_travel(stage):
    offset = 10
    for copy in stage.run(everywhere, lambda x: x + offset):
        assert copy(5) == 15


# --- typed -----------------------------------------------------------------------------------------------------------


@activity
def ship(order: Order, to: Address, customer: Customer, points: list[Point], limits: tuple[Decimal, ...] | None = None) -> Order:
    assert isinstance(order.items[0], Item)
    assert isinstance(to, Address)
    assert isinstance(customer, Customer)
    assert all(isinstance(point, Point) for point in points)
    order.note = f"{to.street} {customer.name} {sum(p.x for p in points)} {limits}"
    return order


@workflow
def typed(order: Order, customer: Customer) -> Order:
    return ship(order, Address("Main"), customer, [Point(1), Point(2)], limits=(Decimal(1),))


def test_annotated_values_arrive_as_their_annotations_say(stage):
    order = stage.run(typed, ORDER, VALUES["pydantic"])
    assert order.note == "Main Ann 3 (Decimal('1'),)"
    assert order.items == ORDER.items
    assert order.placed == ORDER.placed


@pytest.mark.stages(*DURABLE)
def test_annotated_values_are_plain_json_in_the_history(stage):
    execution = stage.start(typed, replace(ORDER, placed=VALUES["utc"]), VALUES["pydantic"])
    execution.result()
    (scheduled,) = events(execution, "ActivityTaskScheduled")
    order, address, customer, points = json.loads(scheduled["input"])["args"]
    assert order["items"][1] == {"name": "ink", "price": "2.00", "colour": "blue", "sizes": [1, 2]}
    assert address == {"street": "Main", "number": 1, "lines": []}
    assert customer["born"] == "2000-01-02"
    assert points == [[1, 0.0], [2, 0.0]]


@workflow
def changes_its_argument(xs: list[int]) -> list[list[int]]:
    appended = appends(xs)
    return [xs, appended]


@activity
def appends(xs: list[int]) -> list[int]:
    xs.append(99)
    return xs


def test_an_activity_that_changes_its_argument_changes_its_own_copy(stage):
    given = [1]
    assert stage.run(changes_its_argument, given) == [[1], [1, 99]]
    assert given == [1]
