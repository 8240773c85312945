"""Which part of a value cannot be stored: the path to it, for the error message.

Rule 1: the path leads to the smallest part that still fails: `.pool → [3] → sqlite3.Connection`.
Rule 2: it is a help, not a proof: at most `_ATTEMPTS` parts are tried, and a part whose own code fails is the culprit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

_ATTEMPTS = 300
_CHILDREN = 100


def path_to(value: Any, can_store: Callable[[Any], bool]) -> str:
    """The path from `value` to the part that `can_store` refuses, ending in that part's class."""
    steps: list[str] = []
    seen: set[int] = set()
    budget = _ATTEMPTS
    while id(value) not in seen:
        seen.add(id(value))
        for label, child in islice(_children(value), _CHILDREN):
            budget -= 1
            if budget < 0:
                break
            if id(child) not in seen and not can_store(child):
                steps.append(label)
                value = child
                break
        else:
            break
        if budget < 0:
            break
    return " → ".join([*steps, class_name(type(value))])


def class_name(cls: type) -> str:
    """The class as people write it; builtins without their module."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"key {key!r:.40}", key
            yield f"[{key!r:.40}]", item
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif callable(value) and hasattr(value, "__closure__"):
        yield from _captured(value)
    yield from ((f".{name}", item) for name, item in getattr(value, "__dict__", {}).items())
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield f".{name}", getattr(value, name)
    bound_to = getattr(value, "__self__", None)
    if bound_to is not None and not isinstance(value, type):
        yield ".__self__", bound_to


def _captured(function: Any) -> Iterator[tuple[str, Any]]:
    """The variables a function takes with it: its closure and the globals it names."""
    code = getattr(function, "__code__", None)
    for name, cell in zip(getattr(code, "co_freevars", ()), function.__closure__ or (), strict=False):
        try:
            yield f"variable '{name}'", cell.cell_contents
        except ValueError:  # not filled yet
            continue
    names = getattr(code, "co_names", ())
    for name, item in getattr(function, "__globals__", {}).items():
        if name in names:
            yield f"global '{name}'", item
