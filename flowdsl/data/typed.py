"""Typed JSON: bare text that the annotation turns back into exactly the value that was sent.

Rule 1: an annotation is *plain* when it only speaks of JSON's own types (`dict[str, list[int]]`, `str | None`, a `TypedDict`, `Any`).
        Text under a plain annotation is read as what it says, as Python itself never converts an argument: 3 under `float` stays the int 3.
Rule 2: under any other annotation msgspec decodes to the annotated type. The encoder proves it: it decodes what it has written and compares
        (`identical`). What does not come back exactly does not travel as bare JSON.
Rule 3: `identical` is stricter than `==`: True is not 1, 0.0 is not -0.0, a list is not a tuple, and dicts have an order.
"""

from __future__ import annotations

import dataclasses
import operator
import typing
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from math import isfinite
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect

from flowdsl.data.classes import field_names, is_pydantic, take_model

_ATOMS = frozenset({str, int, bool, NoneType})
_LEAVES = _ATOMS | {float, list, dict}
_MANY = 16
_CHUNK = 1024  # items whose parts are looked at together: few enough to stay in the processor's cache


def is_native(value: Any) -> bool:
    """Whether a value consists of nothing but JSON's own types, exactly, with text keys and finite floats. It contains no cycle."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is float:
        return isfinite(value)
    if kind is list:
        if len(value) > _MANY:
            return all(_are_native(value[start : start + _CHUNK]) for start in range(0, len(value), _CHUNK))
        for item in value:  # noqa: SIM110 - a generator would cost a frame per level and a third of the speed
            if not (type(item) in _ATOMS or is_native(item)):
                return False
        return True
    if kind is dict:
        for key, item in value.items():  # noqa: SIM110 - see above
            if type(key) is not str or not (type(item) in _ATOMS or is_native(item)):
                return False
        return True
    return False


def _are_native(items: list[Any]) -> bool:
    """The same of many values at a time, level by level: types, keys and parts are gone through in C. It never ends for a cycle."""
    while items:
        kinds = set(map(type, items))
        if kinds <= _ATOMS:
            return True
        if not kinds <= _LEAVES:
            return False
        if float in kinds and not all(map(isfinite, [item for item in items if type(item) is float])):
            return False
        dicts = [item for item in items if type(item) is dict] if dict in kinds else []
        if dicts and not set(map(type, chain.from_iterable(dicts))) <= {str}:
            return False
        items = [*chain.from_iterable([item for item in items if type(item) is list] if list in kinds else [])]
        items += chain.from_iterable(map(dict.values, dicts))
    return True


# --- annotations --------------------------------------------------------------------------------------------------

_PLAIN = frozenset({Any, object, str, int, float, bool, NoneType, None, list, dict, typing.List, typing.Dict})  # noqa: UP006 - users write them


def is_plain(annotation: Any) -> bool:
    """Whether an annotation only speaks of JSON's own types (rule 1)."""
    try:
        return annotation in _PLAIN or _is_plain(annotation)
    except TypeError:  # unhashable: something only its author understands; msgspec will say
        return _is_plain.__wrapped__(annotation)
    except RecursionError:  # an alias that names itself: its text is read untyped as well as any other way
        return True


@lru_cache(maxsize=4096)
def _is_plain(annotation: Any) -> bool:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return all(type(item) in _ATOMS for item in arguments)
    if origin is typing.Annotated:
        return is_plain(arguments[0])
    if origin in (typing.Union, UnionType) or origin is list:
        return all(map(is_plain, arguments))
    if origin is dict:
        return arguments[0] in (str, Any) and is_plain(arguments[1])
    if origin in (typing.Required, typing.NotRequired, typing.Final):
        return is_plain(arguments[0])
    if typing.is_typeddict(annotation):
        return all(map(is_plain, typing.get_type_hints(annotation, include_extras=False).values()))
    if isinstance(annotation, (typing.TypeVar, typing.ParamSpecArgs, typing.ParamSpecKwargs)):
        bound = getattr(annotation, "__bound__", None)
        return bound is None or is_plain(bound)
    if isinstance(annotation, typing.NewType):
        return is_plain(annotation.__supertype__)
    if isinstance(annotation, (str, typing.ForwardRef)):  # a name nobody could resolve says nothing
        return True
    alias = getattr(annotation, "__value__", None)  # `type Rows = list[dict]`
    return alias is not None and type(annotation).__name__ == "TypeAliasType" and is_plain(alias)


# --- encode and decode --------------------------------------------------------------------------------------------


def _to_json(value: Any) -> Any:
    if is_pydantic(type(value)):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__qualname__} is no JSON")


def _from_json(annotation: Any, tree: Any) -> Any:
    if is_pydantic(annotation):
        return annotation.model_validate(tree)
    if isinstance(annotation, type) and issubclass(annotation, PurePath) and isinstance(tree, str):
        return annotation(tree)
    raise TypeError(f"JSON cannot say what a {annotation!r} is")


_NO = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_plain_encoder = msgspec.json.Encoder()
_encoder = msgspec.json.Encoder(enc_hook=_to_json, decimal_format="string")
_sorting_encoder = msgspec.json.Encoder(enc_hook=_to_json, decimal_format="string", order="deterministic")
_untyped = msgspec.json.Decoder()


@dataclasses.dataclass(frozen=True, slots=True)
class _Form:
    """How values of one annotation are written and read."""

    encoder: msgspec.json.Encoder
    decoder: msgspec.json.Decoder[Any]


def _form(annotation: Any) -> _Form | None:
    try:
        return _make_form(annotation)
    except TypeError:  # unhashable
        return _make_form.__wrapped__(annotation)


@lru_cache(maxsize=4096)
def _make_form(annotation: Any) -> _Form | None:
    try:
        decoder = msgspec.json.Decoder(annotation, dec_hook=_from_json)
        return _Form(_sorting_encoder if _holds_sets(annotation, set()) else _encoder, decoder)
    except Exception:  # whatever an annotation does when it is looked at, the value still travels untyped
        return None


def _holds_sets(annotation: Any, models: set[Any]) -> bool:
    """Whether there may be a set somewhere: then the encoder sorts, so that the text is the same under every hash seed.

    `models` are the pydantic models that were looked into already.
    """
    seen: dict[int, Any] = {}  # keeps the nodes alive, so that their ids stay theirs
    waiting: list[Any] = [inspect.type_info(annotation)]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen[id(node)] = node
        if isinstance(node, (inspect.SetType, inspect.FrozenSetType)):
            return True
        if isinstance(node, inspect.CustomType) and is_pydantic(node.cls) and node.cls not in models:
            models.add(node.cls)
            fields: Any = getattr(node.cls, "model_fields")  # noqa: B009 - mypy knows no pydantic here
            if any(_holds_sets(field.annotation, models) for field in fields.values()):
                return True
        if isinstance(node, (tuple, list)):
            waiting += node
        elif isinstance(node, msgspec.Struct):  # a node of msgspec's own description of the type
            waiting += [getattr(node, name) for name in node.__struct_fields__]
    return False


def dumps(value: Any, annotation: Any = Any) -> bytes | None:
    """Bare JSON that comes back exactly under the annotation, or None when there is no such text."""
    if is_plain(annotation):
        try:
            text = _plain_encoder.encode(value)  # the first: it ends for a value that contains itself
            return text if is_native(value) else None
        except _NO:
            return None
    form = _form(annotation)
    if form is None:
        return None
    try:
        text = form.encoder.encode(value)
        return text if identical(value, form.decoder.decode(text)) else None
    except Exception:  # a user's own validators run here; whatever they raise, the value still travels another way
        return None


def loads(text: str | bytes | memoryview, annotation: Any = Any) -> Any:
    """The value of bare JSON under an annotation. Raises `ValueError` when the text does not fit it."""
    if is_plain(annotation):
        return _untyped.decode(text)
    form = _form(annotation)
    return (_untyped if form is None else form.decoder).decode(text)


# --- identical ----------------------------------------------------------------------------------------------------


def identical(one: Any, other: Any) -> bool:
    """Whether two values have the same types and contents throughout (rule 3). Unknown classes are never identical."""
    if type(one) is not type(other):
        return False
    kind: Any = type(one)
    return (_COMPARE.get(kind) or _comparer(kind))(one, other)


@lru_cache(maxsize=4096)
def _comparer(kind: Any) -> Callable[[Any, Any], bool]:
    """How two values of one class are compared that is none of the builtin ones."""
    if issubclass(kind, Enum):
        return operator.is_
    if issubclass(kind, tuple):
        return _same_tuple
    if issubclass(kind, PurePath):
        return lambda one, other: str(one) == str(other)
    if is_pydantic(kind):
        return lambda one, other: identical(take_model(one), take_model(other))
    if dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct) or hasattr(kind, "__attrs_attrs__"):
        return _Fields(field_names(kind))
    return lambda _one, _other: False


class _Fields:
    """Compares two objects of one class field by field."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._values = operator.attrgetter(*names) if len(names) > 1 else lambda value: [getattr(value, name) for name in names]

    def __call__(self, one: Any, other: Any) -> bool:
        if getattr(one, "__dict__", {}).keys() != getattr(other, "__dict__", {}).keys():
            return False
        try:
            return _same_items(self._values(one), self._values(other))
        except AttributeError:  # a field that was never set
            return all(_same_field(one, other, name) for name in self._names)


def _same_field(one: Any, other: Any, name: str) -> bool:
    if not (hasattr(one, name) and hasattr(other, name)):
        return hasattr(one, name) == hasattr(other, name)
    return identical(getattr(one, name), getattr(other, name))


def _same_tuple(one: Any, other: Any) -> bool:
    return _same_items(one, other) and identical(getattr(one, "__dict__", None), getattr(other, "__dict__", None))


def _same(one: Any, other: Any) -> bool:
    return bool(one == other)


def _same_repr(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


def _same_items(one: Any, other: Any) -> bool:
    if len(one) != len(other):
        return False
    if len(one) > _MANY:
        kinds = list(map(type, one))
        if kinds != list(map(type, other)):
            return False
        if len(set(kinds)) == 1:
            return _same_column(kinds[0], one, other)
    for mine, its in zip(one, other, strict=True):
        kind = type(mine)
        if kind is not type(its):
            return False
        if not (mine == its if kind in _ATOMS else identical(mine, its)):
            return False
    return True


def _same_column(kind: Any, one: Any, other: Any) -> bool:
    """The same of many values of one class: their parts are compared together, field by field, as far as possible in C."""
    if kind in _ATOMS:
        return list(one) == list(other)
    if kind in (float, complex):
        return list(map(repr, one)) == list(map(repr, other))
    if kind in (list, tuple, dict) and list(map(len, one)) != list(map(len, other)):
        return False
    if kind in (list, tuple):
        return _same_items(list(chain.from_iterable(one)), list(chain.from_iterable(other)))
    if kind is dict:
        keys = _same_items(list(chain.from_iterable(one)), list(chain.from_iterable(other)))
        return keys and _same_items(list(chain.from_iterable(map(dict.values, one))), list(chain.from_iterable(map(dict.values, other))))
    compare = _COMPARE.get(kind) or _comparer(kind)
    names = field_names(kind) if isinstance(compare, _Fields) and not hasattr(kind, "__slots__") else ()
    if names and _have_just(names, one) and _have_just(names, other):
        readers = map(operator.attrgetter, names)
        return all(_same_items(list(map(read, one)), list(map(read, other))) for read in readers)
    return all(map(compare, one, other))


def _have_just(names: tuple[str, ...], items: Any) -> bool:
    """Whether every object holds its fields and nothing else."""
    return all(sorted(held) == sorted(names) for held in set(map(tuple, map(vars, items))))


def _same_dict(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    return _same_items(list(one), list(other)) and _same_items(list(one.values()), list(other.values()))


def _same_set(one: Any, other: Any) -> bool:
    mine = {item: item for item in other}
    return len(one) == len(other) and all(item in mine and identical(item, mine[item]) for item in one)


def _same_moment(one: Any, other: Any) -> bool:
    return (
        one.replace(tzinfo=None) == other.replace(tzinfo=None)
        and one.fold == other.fold
        and type(one.tzinfo) is type(other.tzinfo)
        and repr(one.tzinfo) == repr(other.tzinfo)
    )


_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    **dict.fromkeys((str, int, bool, NoneType, bytes, bytearray, date, timedelta, UUID, Fraction, range), _same),
    **dict.fromkeys((float, complex), _same_repr),
    **dict.fromkeys((list, tuple), _same_items),
    **dict.fromkeys((set, frozenset), _same_set),
    **dict.fromkeys((datetime, time), _same_moment),
    dict: _same_dict,
    Decimal: lambda one, other: one.as_tuple() == other.as_tuple(),
}
