"""Generated values of generated annotations, and an oracle that tells whether a copy is exact."""

from __future__ import annotations

import dataclasses
import enum
import typing
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st


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
