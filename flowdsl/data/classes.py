"""Classes by name: how a payload may name a class, and how its instances are taken apart and rebuilt.

Rule 1: a name is `module:QualName`. It is looked up among what the process has imported already; nothing is ever imported because a
        payload says so.
Rule 2: only plain carriers of fields travel by name: dataclasses, attrs classes, msgspec structs, pydantic models, enums, named tuples.
        An instance is rebuilt from its fields; `__init__` is not called again, so that what arrives is what was sent and nothing runs.
Rule 3: an instance that holds more than its fields, or whose class has its own way to be pickled, is no plain carrier.
Rule 4: `__main__` differs from process to process: its classes do not travel by name. A script that one process runs and another one
        imports is the same module: its file's stem.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag
from itertools import count
from pathlib import PurePath
from secrets import token_hex
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec


class ClassMissing(LookupError):
    """No class of this name in this process. The text says what to import."""


def class_path(cls: type) -> str:
    """`module:QualName` of a class."""
    return f"{cls.__module__}:{cls.__qualname__}"


def find_class(path: str) -> type:
    """The class of that name in this process (rule 1). Raises `ClassMissing`."""
    module_name, _, qualname = path.partition(":")
    found: Any = sys.modules.get(module_name) or _main_as(module_name)
    if found is None:
        raise ClassMissing(f"the class {qualname} is in the module {module_name}, which this process has not imported; import it first")
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, type):
        raise ClassMissing(f"the module {module_name} has no class {qualname} here")
    return found


def main_name() -> str | None:
    """The name under which other processes import what is `__main__` here, or None (a notebook, a console)."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return PurePath(file).stem if file else None


def _main_as(module_name: str) -> Any:
    return sys.modules.get("__main__") if module_name == main_name() else None


def travels_by_name(cls: type) -> bool:
    """Whether another process can find this very class under its name."""
    if cls.__module__ == "__main__" or "<" in cls.__qualname__:
        return False
    try:
        return find_class(class_path(cls)) is cls
    except ClassMissing:
        return False


@dataclass(frozen=True, slots=True)
class Carrier:
    """How instances of one kind of class are taken apart and rebuilt. `take` returns None for one that holds more than its fields."""

    kind: str
    accepts: Callable[[type], bool]
    take: Callable[[Any], Any]
    rebuild: Callable[[type, Any], Any]


def _take_enum(member: Enum) -> Any:
    name: str | None = member.name  # a combination of flags need not have one
    if name and type(member).__members__.get(name) is member:
        return name
    return {"value": member.value} if isinstance(member, Flag) else None


def _rebuild_enum(cls: Any, state: Any) -> Any:
    return cls[state] if isinstance(state, str) else cls(state["value"])


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and cls.__bases__ == (tuple,) and isinstance(getattr(cls, "_fields", None), tuple)


def _take_named_tuple(value: Any) -> Any:
    return None if getattr(value, "__dict__", None) else list(value)


def _rebuild_named_tuple(cls: type, state: Any) -> Any:
    return tuple.__new__(cls, state)


def _slots(cls: type) -> set[str]:
    names: set[str] = set()
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names.update((slots,) if isinstance(slots, str) else slots)
    return names - {"__dict__", "__weakref__"}


def _own_pickling(cls: type, tools: tuple[str, ...]) -> bool:
    """Whether a class says itself how it is pickled; what its library generated (`tools`: module names) does not count."""
    if any(getattr(cls, name) is not getattr(object, name) for name in ("__reduce_ex__", "__reduce__", "__new__")):
        return True
    setter = getattr(cls, "__setstate__", None)
    return setter is not None and getattr(setter, "__globals__", {}).get("__name__", "").split(".")[0] not in tools


def _take_fields(value: Any, names: tuple[str, ...]) -> dict[str, Any] | None:
    extra = getattr(value, "__dict__", {}).keys() | _slots(type(value))
    if not extra <= set(names):
        return None
    missing = object()
    state = {name: getattr(value, name, missing) for name in names}
    return {name: item for name, item in state.items() if item is not missing}


def _rebuild_fields(cls: type, state: Any) -> Any:
    value: Any = object.__new__(cls)
    for name, item in state.items():
        object.__setattr__(value, name, item)
    return value


def _is_dataclass(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) and not _own_pickling(cls, ("dataclasses",))


def field_names(cls: type) -> tuple[str, ...]:
    """The fields of a dataclass, an attrs class or a msgspec struct, in their order; empty for anything else."""
    if dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls))
    if issubclass(cls, msgspec.Struct):
        return tuple(cls.__struct_fields__)
    return tuple(attribute.name for attribute in getattr(cls, "__attrs_attrs__", ()))


def _is_attrs(cls: type) -> bool:
    return "__attrs_attrs__" in cls.__dict__ and not _own_pickling(cls, ("attr", "attrs"))


def _is_struct(cls: type) -> bool:
    return issubclass(cls, msgspec.Struct) and cls.__reduce__ is msgspec.Struct.__reduce__ and not hasattr(cls, "__post_init__")


def _take_struct(value: Any) -> dict[str, Any] | None:
    return _take_fields(value, tuple(value.__struct_fields__))


def _rebuild_struct(cls: Any, state: Any) -> Any:
    return cls(**state)  # msgspec's own constructor, in C: there is no other way, and no code of the user's in it


_PYDANTIC_STATE = ("__dict__", "__pydantic_extra__", "__pydantic_private__")


def is_pydantic(cls: Any) -> bool:
    """Whether a class is a pydantic model, without importing pydantic."""
    pydantic = sys.modules.get("pydantic.main")
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


def _is_plain_model(cls: type) -> bool:
    if not is_pydantic(cls):
        return False
    return getattr(cls.__setstate__, "__module__", "").startswith("pydantic")  # type: ignore[attr-defined]  # every model has it


def take_model(value: Any) -> dict[str, Any] | None:
    """The state of a pydantic model: its fields, which of them were set, extras and private attributes."""
    state = {name: getattr(value, name, None) for name in _PYDANTIC_STATE}
    return {**state, "__pydantic_fields_set__": sorted(value.__pydantic_fields_set__)}


def _rebuild_model(cls: Any, state: Any) -> Any:
    value = cls.__new__(cls)
    for name in _PYDANTIC_STATE:
        object.__setattr__(value, name, state[name])
    object.__setattr__(value, "__pydantic_fields_set__", set(state["__pydantic_fields_set__"]))
    return value


CARRIERS = (
    Carrier("enum", lambda cls: issubclass(cls, Enum), _take_enum, _rebuild_enum),
    Carrier("namedtuple", _is_named_tuple, _take_named_tuple, _rebuild_named_tuple),
    Carrier("model", _is_plain_model, take_model, _rebuild_model),
    Carrier("struct", _is_struct, _take_struct, _rebuild_struct),
    Carrier("attrs", _is_attrs, lambda value: _take_fields(value, field_names(type(value))), _rebuild_fields),
    Carrier("dataclass", _is_dataclass, lambda value: _take_fields(value, field_names(type(value))), _rebuild_fields),
)


def carrier_of(cls: type) -> Carrier | None:
    """How instances of `cls` travel, or None when it is no plain carrier of fields."""
    return next((carrier for carrier in CARRIERS if carrier.accepts(cls)), None)


# --- classes without a name ---------------------------------------------------------------------------------------

_at_home: WeakValueDictionary[str, type] = WeakValueDictionary()
_tags: WeakKeyDictionary[type, str] = WeakKeyDictionary()
_process = token_hex(8)
_counter = count(1)


def home_tag(cls: type) -> str:
    """A tag by which this process, and no other one, finds a class again that has no name elsewhere (rule 4)."""
    home = f"{_process}-{os.getpid()}-"
    tag = _tags.get(cls)
    if tag is None or not tag.startswith(home):  # a forked child has a home of its own
        tag = _tags[cls] = f"{home}{next(_counter)}"
        _at_home[tag] = cls
    return tag


def at_home(tag: str) -> type | None:
    """The class of that tag, if this process made the tag and the class still exists."""
    return _at_home.get(tag)
