"""Self-describing JSON: standard library values that bare JSON has no word for, readable and exact without any annotation.

Rule 1: what JSON has a word for stays as it is. Anything else is an object with the key `$`: `{"$": "tuple", "v": [1, 2]}`.
Rule 2: a value is rebuilt with exactly its own type: the table of encoders is asked by `type(x)`, never by `isinstance`.
Rule 3: the text is the same in every process: sets are sorted by the text of their items, dicts keep their order.
Rule 4: a user's dict that has the key `$` (or keys that are no text) is written as pairs and can therefore never be taken for a tag.
Rule 5: what no row covers is offered to `leaf`; without one, or if it declines, `Unsupported` is raised and nothing is half written.
Rule 6: an object that stands in two places arrives as two equal ones, as in JSON; a cycle is `Unsupported` (dill keeps both).
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import NoneType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from flowdsl.data.classes import ClassMissing, carrier_of, class_path, find_class, travels_by_name

#: Returns the JSON that stands for a value no row covers; raises `Unsupported` to decline.
Leaf = Callable[[Any], Any]
#: Returns the value of an object whose tag this module does not know.
ReadLeaf = Callable[[dict[str, Any]], Any]

_BIG = 1 << 8192  # an int of more than 4,300 digits cannot be read as decimal text by default (CPython's limit against long conversions)


class Unsupported(TypeError):
    """The value has no place in self-describing JSON."""


def dumps(value: Any, leaf: Leaf | None = None) -> bytes:
    """The JSON text of a value. Raises `Unsupported`."""
    try:
        return msgspec.json.encode(encode(value, leaf))
    except RecursionError:
        raise Unsupported("it is nested too deep or contains itself") from None


def loads(data: bytes | str, read_leaf: ReadLeaf | None = None) -> Any:
    """The value of a text that `dumps` made. Raises `ValueError` for other text, `ClassMissing` for a class this process does not have."""
    return decode(msgspec.json.decode(data), read_leaf)


# --- encode -------------------------------------------------------------------------------------------------------


def encode(value: Any, leaf: Leaf | None = None) -> Any:
    """The value as JSON types. Raises `Unsupported`."""
    row = _ENCODERS.get(type(value))
    if row is not None:
        return row(value, leaf)
    tagged = _encode_carrier(value, leaf)
    if tagged is not None:
        return tagged
    if leaf is None:
        raise Unsupported(f"{type(value).__module__}.{type(value).__qualname__} has no place in JSON")
    return leaf(value)


def _encode_carrier(value: Any, leaf: Leaf | None) -> dict[str, Any] | None:
    cls = type(value)
    carrier = carrier_of(cls)
    if carrier is None or not travels_by_name(cls):
        return None
    state = carrier.take(value)
    if state is None:
        return None
    return {"$": carrier.kind, "class": class_path(cls), "v": encode(state, leaf)}


def _itself(value: Any, _: Leaf | None) -> Any:
    return value


def _text(value: str, _: Leaf | None) -> Any:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # lone surrogates, as file names of unknown encoding have them
            return {"$": "str", "v": value.encode("unicode_escape").decode("ascii")}
    return value


def _int(value: int, _: Leaf | None) -> Any:
    return value if -_BIG < value < _BIG else {"$": "int", "v": hex(value)}


def _float(value: float, _: Leaf | None) -> Any:
    return value if math.isfinite(value) else {"$": "float", "v": repr(value)}


def _list(value: list[Any], leaf: Leaf | None) -> Any:
    return [encode(item, leaf) for item in value]


def _dict(value: dict[Any, Any], leaf: Leaf | None) -> Any:
    if "$" not in value and all(type(key) is str and type(_text(key, None)) is str for key in value):
        return {key: encode(item, leaf) for key, item in value.items()}
    return {"$": "dict", "v": _pairs(value, leaf)}


def _pairs(value: dict[Any, Any], leaf: Leaf | None) -> list[Any]:
    return [[encode(key, leaf), encode(item, leaf)] for key, item in value.items()]


def _items(tag: str) -> Callable[[Any, Leaf | None], Any]:
    return lambda value, leaf: {"$": tag, "v": [encode(item, leaf) for item in value]}


def _sorted_items(tag: str) -> Callable[[Any, Leaf | None], Any]:
    return lambda value, leaf: {"$": tag, "v": sorted((encode(item, leaf) for item in value), key=msgspec.json.encode)}


def _as_text(tag: str, form: Callable[[Any], Any] = str) -> Callable[[Any, Leaf | None], Any]:
    return lambda value, _: {"$": tag, "v": form(value)}


def _datetime(value: datetime, _: Leaf | None) -> Any:
    return {"$": "datetime", "v": value.replace(tzinfo=None, fold=0).isoformat(), **_zone(value)}


def _time(value: time, _: Leaf | None) -> Any:
    return {"$": "time", "v": value.replace(tzinfo=None, fold=0).isoformat(), **_zone(value)}


def _zone(value: datetime | time) -> dict[str, Any]:
    fold = {"fold": 1} if value.fold else {}
    zone = value.tzinfo
    if zone is None:
        return fold
    if zone is UTC:
        return {**fold, "tz": "utc"}
    if type(zone) is ZoneInfo and zone.key is not None:
        return {**fold, "tz": {"zone": zone.key}}
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # the pickling protocol's own name for offset and name
        return {**fold, "tz": {"offset": offset // timedelta(microseconds=1), "name": _text(name[0], None) if name else None}}
    raise Unsupported(f"a time zone of type {type(zone).__qualname__} has no name")


def _timedelta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _complex(value: complex) -> list[Any]:
    return [repr(value.real), repr(value.imag)]


def _deque(value: deque[Any], leaf: Leaf | None) -> Any:
    return {"$": "deque", "v": [encode(item, leaf) for item in value], "maxlen": value.maxlen}


def _path(value: PurePosixPath | PureWindowsPath, _: Leaf | None) -> Any:
    return {"$": "path", "kind": type(value).__name__, "v": _text(str(value), None)}


_ENCODERS: dict[type, Callable[[Any, Leaf | None], Any]] = {
    NoneType: _itself,
    bool: _itself,
    str: _text,
    int: _int,
    float: _float,
    list: _list,
    dict: _dict,
    tuple: _items("tuple"),
    set: _sorted_items("set"),
    frozenset: _sorted_items("frozenset"),
    deque: _deque,
    OrderedDict: lambda value, leaf: {"$": "ordereddict", "v": _pairs(value, leaf)},
    Counter: lambda value, leaf: {"$": "counter", "v": _pairs(value, leaf)},
    bytes: _as_text("bytes", lambda value: b64encode(value).decode()),
    bytearray: _as_text("bytearray", lambda value: b64encode(value).decode()),
    datetime: _datetime,
    date: _as_text("date", date.isoformat),
    time: _time,
    timedelta: _as_text("timedelta", _timedelta),
    Decimal: _as_text("decimal"),
    Fraction: _as_text("fraction"),
    UUID: _as_text("uuid"),
    complex: _as_text("complex", _complex),
    range: _as_text("range", lambda value: [encode(n) for n in (value.start, value.stop, value.step)]),
    type(...): _as_text("ellipsis", lambda _: None),
    **dict.fromkeys((PosixPath, WindowsPath, PurePosixPath, PureWindowsPath), _path),
}


# --- decode -------------------------------------------------------------------------------------------------------


def decode(tree: Any, read_leaf: ReadLeaf | None = None) -> Any:
    """The value of what `encode` returned. Raises `ValueError` and `ClassMissing`."""
    if type(tree) is list:
        return [decode(item, read_leaf) for item in tree]
    if type(tree) is not dict:
        return tree
    tag = tree.get("$")
    if tag is None:
        return {key: decode(item, read_leaf) for key, item in tree.items()}
    try:
        plain = _PLAIN_DECODERS.get(tag)
        if plain is not None:
            return plain(tree["v"])
        row = _DECODERS.get(tag)
        if row is not None:
            return row(tree, lambda item: decode(item, read_leaf))
        if tag in _CARRIERS:
            return _decode_carrier(tree, read_leaf)
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        if isinstance(error, ClassMissing):
            raise
        raise ValueError(f"malformed {tag}: {error}") from error
    if read_leaf is None:
        raise ValueError(f"the tag {tag!r} is unknown to this version of flowdsl")
    return read_leaf(tree)


_CARRIERS = {"enum", "namedtuple", "model", "struct", "attrs", "dataclass"}


def _decode_carrier(tree: dict[str, Any], read_leaf: ReadLeaf | None) -> Any:
    cls = find_class(tree["class"])
    carrier = carrier_of(cls)
    if carrier is None or carrier.kind != tree["$"]:
        raise ClassMissing(f"the class {tree['class']} is not the {tree['$']} here that it was where the value was written")
    return carrier.rebuild(cls, decode(tree["v"], read_leaf))


def _read_zone(tree: dict[str, Any], part: Callable[[Any], Any]) -> tzinfo | None:
    zone = tree.get("tz")
    if zone is None:
        return None
    if zone == "utc":
        return UTC
    if "zone" in zone:
        return ZoneInfo(zone["zone"])
    offset = timedelta(microseconds=zone["offset"])
    return timezone(offset) if zone["name"] is None else timezone(offset, part(zone["name"]))


def _read_datetime(tree: dict[str, Any], part: Callable[[Any], Any]) -> datetime:
    return datetime.fromisoformat(tree["v"]).replace(tzinfo=_read_zone(tree, part), fold=tree.get("fold", 0))


def _read_time(tree: dict[str, Any], part: Callable[[Any], Any]) -> time:
    return time.fromisoformat(tree["v"]).replace(tzinfo=_read_zone(tree, part), fold=tree.get("fold", 0))


_PATHS = {cls.__name__: cls for cls in (PosixPath, WindowsPath, PurePosixPath, PureWindowsPath)}

#: Tags whose `v` is text or numbers.
_PLAIN_DECODERS: dict[str, Callable[[Any], Any]] = {
    "str": lambda v: v.encode("ascii").decode("unicode_escape"),
    "int": lambda v: int(v, 16),
    "float": float,
    "bytes": lambda v: b64decode(v, validate=True),
    "bytearray": lambda v: bytearray(b64decode(v, validate=True)),
    "date": date.fromisoformat,
    "timedelta": lambda v: timedelta(*v),
    "decimal": Decimal,
    "fraction": Fraction,
    "uuid": UUID,
    "complex": lambda v: complex(float(v[0]), float(v[1])),
    "ellipsis": lambda _: ...,
}

#: Tags whose parts are values themselves; the second argument decodes one.
_DECODERS: dict[str, Callable[[dict[str, Any], Callable[[Any], Any]], Any]] = {
    "dict": lambda tree, part: {part(key): part(item) for key, item in tree["v"]},
    "tuple": lambda tree, part: tuple([part(item) for item in tree["v"]]),
    "set": lambda tree, part: {part(item) for item in tree["v"]},
    "frozenset": lambda tree, part: frozenset([part(item) for item in tree["v"]]),
    "deque": lambda tree, part: deque((part(item) for item in tree["v"]), tree["maxlen"]),
    "ordereddict": lambda tree, part: OrderedDict([(part(key), part(item)) for key, item in tree["v"]]),
    "counter": lambda tree, part: Counter({part(key): part(item) for key, item in tree["v"]}),
    "range": lambda tree, part: range(*[part(item) for item in tree["v"]]),
    "path": lambda tree, part: _PATHS[tree["kind"]](part(tree["v"])),
    "datetime": _read_datetime,
    "time": _read_time,
}
