"""A user's own serializer: any object with `dumps(value) -> bytes | str` and `loads(data)`.

Rule 1: it is asked before anything else and sees the value as it is; `loads` gets the type that `dumps` returned.
Rule 2: the text names the serializer's class, so that a reader without it is told which one is missing.
Rule 3: its output is not signed: whether it can be trusted is its author's affair.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from flowdsl.data.packing import Content
from flowdsl.errors import DefinitionError, NotSerializable
from flowdsl.model.payload import USER, Slot

#: What `serializer=` may be besides an object.
NAMES = ("json", "dill")


class Serializer(Protocol):
    """Two methods; any object that has them is one."""

    def dumps(self, value: Any) -> bytes | str:
        """The value as bytes or text."""

    def loads(self, data: Any) -> Any:
        """The value of what `dumps` returned."""


def checked_serializer(serializer: Any) -> Serializer | str | None:
    """The serializer, if it is one. Raises `DefinitionError`."""
    if serializer is None or serializer in NAMES:
        return serializer  # type: ignore[no-any-return]  # it is None or one of the names
    if isinstance(serializer, type) or not all(callable(getattr(serializer, name, None)) for name in ("dumps", "loads")):
        raise DefinitionError(f"serializer={serializer!r}: it is 'json', 'dill', or an object with dumps(value) and loads(data)")
    return serializer  # type: ignore[no-any-return]  # it has both methods


def _name(serializer: Any) -> str:
    cls = type(serializer)
    named = serializer if cls.__name__ == "module" else cls
    return re.sub(r"[^\w.]", "_", f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', named.__name__)}".lstrip("."))


def user_dumps(serializer: Serializer, value: Any, what: str) -> Content:
    """What the serializer makes of a value. Raises `NotSerializable`, which names `what`."""
    try:
        data = serializer.dumps(value)
        if isinstance(data, str):
            return Content(USER, data.encode(), f"text-{_name(serializer)}")
        return Content(USER, bytes(data), f"bytes-{_name(serializer)}", binary=True)
    except Exception as error:
        raise NotSerializable(f"{what} was refused by its serializer {_name(serializer)}: {type(error).__name__}: {error}") from error


def user_loads(serializer: Serializer | str | None, content: Content, slot: Slot) -> Any:
    """The value. Raises `DefinitionError` when the serializer is not here, `NotSerializable` when it fails."""
    form, _, name = content.meta.partition("-")
    if serializer is None or isinstance(serializer, str):
        raise DefinitionError(f"{slot} was written by the serializer {name}; give the function here the same `serializer=`")
    try:
        return serializer.loads(str(content.data, "utf-8") if form == "text" else bytes(content.data))
    except Exception as error:
        raise NotSerializable(f"{slot} could not be read by its serializer {_name(serializer)}: {type(error).__name__}: {error}") from error
