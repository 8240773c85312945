"""What goes in comes out: generated values of generated annotations, values without annotation, and values under a wrong annotation."""

from __future__ import annotations

import dataclasses
import enum
import typing
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl.data import Converter, KeyRing, MemoryStore
from flowdsl.model.payload import Slot

SLOT = Slot("orders", "score", "result")


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: int
    y: float
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    id: UUID
    at: datetime
    lines: tuple[Point, ...]
    total: Decimal
    colour: Colour | None = None


class Pair(typing.NamedTuple):
    left: int
    right: str


class Row(typing.TypedDict):
    name: str
    amount: float


def canonical(value):
    """An oracle of its own, stricter than ==: types throughout, order of dicts, sign of zero, folds and zones."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return kind, value.name
    if isinstance(value, dict):
        return kind, [(canonical(k), canonical(v)) for k, v in value.items()]
    if isinstance(value, (set, frozenset)):
        return kind, sorted((canonical(item) for item in value), key=repr)
    if isinstance(value, (list, tuple)):
        return kind, [canonical(item) for item in value]
    if dataclasses.is_dataclass(value):
        return kind, [(f.name, canonical(getattr(value, f.name))) for f in dataclasses.fields(value)]
    if isinstance(value, (datetime, time)):
        return kind, value.replace(tzinfo=None).isoformat(), value.fold, repr(value.tzinfo)
    return kind, repr(value)


zones = (
    st.none()
    | st.just(UTC)
    | st.sampled_from([timezone(timedelta(hours=2)), timezone(timedelta(minutes=-90), "odd"), ZoneInfo("Europe/Berlin")])
)
datetimes = st.datetimes(timezones=zones)
points = st.builds(Point, x=st.integers(), y=st.floats(allow_nan=False) | st.integers(0, 3), tags=st.lists(st.text(), max_size=2))

#: annotation → values of it
LEAVES = {
    int: st.integers() | st.integers(-(2**300), 2**300),
    float: st.floats() | st.integers(-3, 3),
    str: st.text(st.characters()) | st.text(st.characters(categories=["Cs", "L"])),
    bool: st.booleans(),
    None: st.none(),
    bytes: st.binary(),
    datetime: datetimes,
    date: st.dates(),
    time: st.times(timezones=st.none() | st.just(UTC)),
    timedelta: st.timedeltas(),
    Decimal: st.decimals(),
    UUID: st.uuids(),
    complex: st.complex_numbers(),
    Fraction: st.fractions(),
    PurePosixPath: st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(PurePosixPath),
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Point: points,
    Order: st.builds(
        Order,
        id=st.uuids(),
        at=datetimes,
        lines=st.lists(points, max_size=2).map(tuple),
        total=st.decimals(),
        colour=st.none() | st.sampled_from(Colour),
    ),
    Pair: st.builds(Pair, st.integers(), st.text()),
    Row: st.fixed_dictionaries({"name": st.text(), "amount": st.floats() | st.integers()}),
}
HASHABLE = [int, str, bool, bytes, date, timedelta, UUID, Colour, Decimal]
leaves = st.sampled_from(list(LEAVES.items()))
hashable = st.sampled_from(
    [(annotation, st.decimals(allow_nan=False) if annotation is Decimal else LEAVES[annotation]) for annotation in HASHABLE]
)


def grow(inner):
    return st.one_of(
        inner.map(lambda t: (list[t[0]], st.lists(t[1], max_size=3))),
        inner.map(lambda t: (dict[str, t[0]], st.dictionaries(st.text(), t[1], max_size=3))),
        inner.map(lambda t: (tuple[t[0], ...], st.lists(t[1], max_size=3).map(tuple))),
        inner.map(lambda t: (typing.Optional[t[0]], st.none() | t[1])),  # noqa: UP045
        st.tuples(inner, inner).map(lambda t: (tuple[t[0][0], t[1][0]], st.tuples(t[0][1], t[1][1]))),
        st.tuples(hashable, inner).map(lambda t: (dict[t[0][0], t[1][0]], st.dictionaries(t[0][1], t[1][1], max_size=3))),
        hashable.map(lambda t: (set[t[0]], st.sets(t[1], max_size=3))),
        hashable.map(lambda t: (frozenset[t[0]], st.frozensets(t[1], max_size=3))),
    )


typed_values = st.recursive(leaves, grow, max_leaves=4).flatmap(lambda t: st.tuples(st.just(t[0]), t[1]))
many = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(scope="module")
def converter():
    return Converter(keys=KeyRing({"k1": b"k" * 32}), store=MemoryStore())


@many
@given(typed_values)
def test_a_value_under_its_annotation_comes_back_exactly(converter, case):
    annotation, value = case
    assert canonical(converter.decode(converter.encode(value, SLOT, annotation), SLOT, annotation)) == canonical(value)


@many
@given(typed_values)
def test_a_value_without_annotation_comes_back_exactly_and_without_a_pickle(converter, case):
    _, value = case
    text = converter.encode(value, SLOT)
    assert canonical(converter.decode(text, SLOT)) == canonical(value)
    assert not text.startswith("fd1.dill")


@many
@given(typed_values, typed_values)
def test_a_value_under_a_wrong_annotation_comes_back_exactly(converter, case, other):
    value, annotation = case[1], other[0]
    assert canonical(converter.decode(converter.encode(value, SLOT, annotation), SLOT, annotation)) == canonical(value)


@many
@given(typed_values)
def test_a_text_is_its_own_equal(converter, case):
    annotation, value = case
    assert converter.same(converter.encode(value, SLOT, annotation), converter.encode(value, SLOT, annotation)) is True


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@many
@given(json_values)
def test_a_value_of_json_types_is_bare_json(converter, value):
    import json

    text = converter.encode(value, SLOT)
    assert not text.startswith("fd1.")
    assert canonical(json.loads(text)) == canonical(value)
    assert canonical(converter.decode(text, SLOT)) == canonical(value)


@many
@given(st.text())
def test_whatever_text_stands_in_a_history_is_read_or_refused_by_name(converter, text):
    from flowdsl.errors import FlowError

    for candidate in (text, "fd1." + text, "fd1.json...:" + text, "fd1.typed.z..:" + text, "fd1.json.r..:" + text):
        converter.same(candidate, text)
        with suppress(FlowError):
            converter.decode(candidate, SLOT)
