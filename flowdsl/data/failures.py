"""Exceptions as plain data, and exceptions again: class, arguments, attributes, chain, groups and traceback.

Rule 1: writing never fails and runs as little of the exception's own code as it can: `str()`, and reading its attributes.
Rule 2: reading never fails and never calls the class: the object is made by its builtin base's `__new__`, then its state is set. A class
        whose constructor takes other arguments than its `args` is therefore rebuilt like any other.
Rule 3: nothing is imported. The class is looked up among what this process has imported; a class of `__main__` or of a function is
        known in the process that defined it, elsewhere it travels by value, if somebody signs it.
Rule 4: what has no class here becomes `RemoteError` with the whole text of the remote traceback.
Rule 5: errors are numbered. Chains, groups and arguments refer to numbers, so that a shared cause stays shared and a cycle ends.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import GetSetDescriptorType, MemberDescriptorType, TracebackType
from typing import Any

import msgspec

from flowdsl.data import classes, tagged, tracebacks, typed
from flowdsl.data.culprit import class_name
from flowdsl.errors import RemoteError
from flowdsl.limits import REASON
from flowdsl.model.payload import shorten

#: The failure's form. A reader refuses what it does not know.
VERSION = 1

_MOST_ERRORS = 100
_TEXT = 12_000
_ERROR_TAG = "error"
_NATIVE_TAG = "native"  # JSON that is nested too deep to stand among the rest
#: Members of the builtin classes that are not state: chain and traceback travel by themselves, `obj` may be anything of any size.
_NOT_STATE = frozenset(
    {"args", "obj", "message", "exceptions", "__dict__", "__weakref__", "__traceback__", "__cause__", "__context__", "__suppress_context__"}
)


def reason_of(error: BaseException, limit: int = REASON, *, secret: bool = False) -> str:
    """`module.Class: message` in at most `limit` characters, for the history's reason; builtins without their module.

    A `secret` one is the class alone.
    """
    name, message = class_name(type(error)), "" if secret else message_of(error)
    text = f"{name}: {message}" if message else name
    return shorten(text.encode("utf-8", "backslashreplace").decode(), limit)


def message_of(error: BaseException) -> str:
    """The text of an exception, whatever the exception's own code does."""
    try:
        return str(error)
    except Exception as broken:
        return f"<its text cannot be had: {type(broken).__qualname__}>"


class Writer:
    """Turns one exception, with all that hangs on it, into plain data.

    `seal` returns JSON that stands for a value or class that only dill can carry, or raises. `thrift` says what is left out: 0 nothing,
    1 the text, long values and most frames, 2 everything but the first error's class and message. With `exact`, what cannot be carried
    exactly is not replaced by its repr: `tagged.Unsupported` is raised instead (an exception that is a value, not a failure).
    """

    def __init__(self, seal: Callable[[Any], Any], thrift: int = 0, *, exact: bool = False) -> None:
        self._seal = seal
        self._thrift = thrift
        self._exact = exact
        self._numbers: dict[int, int] = {}
        self._errors: list[BaseException] = []

    def write(self, error: BaseException) -> dict[str, Any]:
        """The exception as JSON types."""
        self._number(error)
        records = [self._record(one) for one in self._errors]  # the list grows while it is walked: records number what they refer to
        failure: dict[str, Any] = {"version": VERSION, "errors": records}
        if not self._thrift:
            text = tracebacks.text_of(error)
            failure["text"] = _clean(text if len(text) <= _TEXT else "…" + text[-_TEXT:])
        return failure

    def _number(self, error: BaseException | None) -> int | None:
        if error is None:
            return None
        number = self._numbers.get(id(error))
        if number is None and len(self._errors) < _MOST_ERRORS:
            number = self._numbers[id(error)] = len(self._errors)
            self._errors.append(error)
        return number

    def _record(self, error: BaseException) -> dict[str, Any]:
        cls = type(error)
        message = message_of(error)
        record: dict[str, Any] = {"type": classes.class_path(cls)}
        if self._thrift or len(error.args) != 1 or type(error.args[0]) is not str or error.args[0] != message:  # else the arguments say it
            record["message"] = self._short(_clean(message))
        if cls.__module__ != "builtins" and not classes.travels_by_name(cls):
            if self._exact:
                raise tagged.Unsupported(f"the class {class_name(cls)} has no name elsewhere")
            record["home"] = classes.home_tag(cls)
            record["main"] = classes.main_name() if cls.__module__ == "__main__" else None
            with suppress(Exception):
                record["class"] = None if self._thrift else self._seal(cls)
        if self._thrift > 1:
            return record
        if isinstance(error, BaseExceptionGroup):
            record["group"] = [error.message, [self._number(one) for one in error.exceptions]]
        else:
            record["args"] = [self._value(item) for item in error.args]
        record["members"] = {name: self._value(item) for name, item in _members(error)}
        record["state"] = {str(name): self._value(item) for name, item in getattr(error, "__dict__", {}).items()}
        record["frames"] = tracebacks.frames_of(error.__traceback__, **({"first": 3, "last": 12} if self._thrift else {}))
        if not self._thrift or len(self._errors) < 5:
            record["cause"], record["context"] = self._number(error.__cause__), self._number(error.__context__)
        record["suppress"] = error.__suppress_context__
        return {name: item for name, item in record.items() if item or (item == 0 and item is not False)}

    def _value(self, value: Any) -> Any:
        try:
            tree = tagged.encode(value, self._leaf)
        except Exception as error:
            if self._exact:
                raise
            text = typed.dumps(value) if isinstance(error, RecursionError) else None
            return self._repr(value) if text is None or self._thrift else {"$": _NATIVE_TAG, "v": text.decode()}
        if self._thrift and len(msgspec.json.encode(tree)) > 500:
            return self._repr(value)
        return tree

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, BaseException):
            return {"$": _ERROR_TAG, "v": self._number(value)}
        try:
            return self._seal(value)
        except Exception:
            if self._exact:
                raise
            return self._repr(value)

    def _repr(self, value: Any) -> str:
        try:
            text = value if isinstance(value, str) else repr(value)
        except Exception:
            text = f"<{class_name(type(value))}>"
        return self._short(_clean(text))

    def _short(self, text: str) -> str:
        return shorten(text, 1_000) if self._thrift else text


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _members(error: BaseException) -> Iterator[tuple[str, Any]]:
    """What the builtin classes and `__slots__` keep outside `__dict__`: `errno`, `filename`, `code` and the like."""
    seen = set(_NOT_STATE)
    for cls in type(error).__mro__[:-1]:  # without `object`
        for name, member in vars(cls).items():
            if isinstance(member, (MemberDescriptorType, GetSetDescriptorType)) and name not in seen:
                seen.add(name)
                with suppress(AttributeError):
                    item = member.__get__(error)
                    if item is not None or cls.__flags__ & _HEAP_TYPE:  # a builtin's None is an unset field; setting it would show
                        yield name, item


class Reader:
    """Turns plain data into the exception again. `unseal` returns what the writer's `seal` stood for, or raises."""

    def __init__(self, failure: dict[str, Any], unseal: Callable[[Any], Any]) -> None:
        if failure.get("version") != VERSION:
            raise ValueError(f"the failure has the form {failure.get('version')!r}, which this version of flowdsl does not know")
        self._records: list[dict[str, Any]] = failure["errors"]
        self._text = str(failure.get("text", ""))
        self._unseal = unseal
        self._made: dict[int, BaseException] = {}

    def read(self) -> BaseException:
        """The first error, with all that hangs on it. Raises `ValueError` for what no writer has written."""
        errors = [self._make(number) for number in range(len(self._records))]
        for error, record in zip(errors, self._records, strict=True):
            self._fill(error, record)
            _set(error, "__cause__", self._referred(record, "cause"))
            _set(error, "__context__", self._referred(record, "context"))
            _set(error, "__suppress_context__", bool(record.get("suppress", False)))  # the last: setting a cause sets it too
        return errors[0]

    def _referred(self, record: dict[str, Any], name: str) -> BaseException | None:
        number = record.get(name)
        return None if number is None else self._make(number)

    def _make(self, number: int) -> BaseException:
        """The error of that number, without its state; a group with its members, for it cannot be made without."""
        found = self._made.get(number)
        if found is not None:
            return found
        record = self._records[number]
        cls = self._class_of(record)
        try:
            error = self._new(cls, record) if cls is not None else self._remote(record)
        except Exception:
            error = self._remote(record)
        self._made[number] = error
        return error

    def _new(self, cls: type[BaseException], record: dict[str, Any]) -> BaseException:
        if "group" not in record:
            return _bare_instance(cls)
        message, members = record["group"]
        return _bare_instance(cls, message, [self._make(number) for number in members if number is not None])

    def _remote(self, record: dict[str, Any]) -> RemoteError:
        module, _, qualname = str(record["type"]).partition(":")
        message = record.get("message", next(iter(record.get("args", ())), ""))
        return RemoteError(str(self._value(message)), type_name=f"{module}.{qualname}", traceback=self._text)

    def _class_of(self, record: dict[str, Any]) -> type[BaseException] | None:
        found: Any = None
        module, _, qualname = str(record["type"]).partition(":")
        if module == "builtins":
            found = getattr(builtins, qualname, None)
        elif "home" in record:
            found = classes.at_home(record["home"]) or self._elsewhere(record, qualname)
        else:
            with suppress(classes.ClassMissing):
                found = classes.find_class(record["type"])
        return found if isinstance(found, type) and issubclass(found, BaseException) else None

    def _elsewhere(self, record: dict[str, Any], qualname: str) -> Any:
        """A class of another process's `__main__`: the module it is here, else by value, else the namesake in our own `__main__`."""
        main = record.get("main")
        if main and "<" not in qualname:
            with suppress(classes.ClassMissing):
                return classes.find_class(f"{main}:{qualname}")
        if "class" in record:
            with suppress(Exception):
                return self._unseal(record["class"])
        with suppress(classes.ClassMissing):
            return classes.find_class(record["type"])
        return None

    def _fill(self, error: BaseException, record: dict[str, Any]) -> None:
        if type(error) is not RemoteError or record["type"] == "flowdsl.errors:RemoteError":
            if "group" not in record:
                _set(error, "args", tuple(self._value(item) for item in record.get("args", ())))
            for name, item in record.get("members", {}).items():
                with suppress(AttributeError, TypeError):
                    _set(error, name, self._value(item))
            state = {name: self._value(item) for name, item in record.get("state", {}).items()}
        else:
            state = {name: self._value(item) for name, item in record.get("state", {}).items() if name == "__notes__"}
        if state:
            error.__dict__.update(state)
        _set(error, "__traceback__", self._trace(record))

    @staticmethod
    def _trace(record: dict[str, Any]) -> TracebackType | None:
        try:
            return tracebacks.rebuild(record.get("frames", []))
        except (TypeError, ValueError):
            return None

    def _value(self, tree: Any) -> Any:
        try:
            return tagged.decode(tree, self._leaf)
        except Exception as error:
            return f"<it could not be rebuilt here: {error}>"

    def _leaf(self, tree: dict[str, Any]) -> Any:
        if tree["$"] == _ERROR_TAG:
            return None if tree["v"] is None else self._make(tree["v"])
        if tree["$"] == _NATIVE_TAG:
            return typed.loads(tree["v"])
        return self._unseal(tree)


def _bare_instance(cls: type[BaseException], *args: Any) -> BaseException:
    """An instance of which neither the class's own `__new__` nor its `__init__` was called (rule 2)."""
    base: type = cls
    while base.__flags__ & _HEAP_TYPE:
        base = base.__base__  # type: ignore[assignment]  # only `object` has none, and it is no heap type
    made = base.__new__(cls, *args)
    if not isinstance(made, BaseException):
        raise TypeError(f"{cls!r} is no exception class")
    return made


_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: the class was made by a class statement
_set = BaseException.__setattr__  # past a `__setattr__` of the class's own


def attach_cause(error: BaseException, failure: BaseException) -> BaseException:
    """Put `failure` between an arrived exception and its own cause: `error ← failure ← what caused it over there`. Returns `error`."""
    if error.__cause__ is not failure and error is not failure:
        failure.__cause__, failure.__context__ = error.__cause__, error.__context__
        failure.__suppress_context__ = error.__suppress_context__
        _set(error, "__cause__", failure)
    return error
