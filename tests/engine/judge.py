"""Judges every answer of an engine by botocore's model of Amazon SWF: members, types, lengths, ranges, enums; and every event.

Rule 1: what the model requires is there, what it does not know is not, and nothing is null.
Rule 2: an event has the attributes of its own type and no others.
Rule 3: what the wire makes of an answer, botocore's own parser reads back as the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.parsers import create_parser

from flowdsl.limits import length
from flowdsl.model.lifecycle import attributes_key
from flowdsl.server import wire

MODEL = ServiceModel(Loader().load_service_model("swf", "service-2", "2012-01-25"), "swf")
PARSER: Any = create_parser("json")

#: a history page of more events is read back by botocore's parser only once in a while: the parser takes a second for a thousand
_READ_BACK = 60

Check = Callable[[Any, str], None]


def judge(operation: str, answer: Mapping[str, Any]) -> None:
    """Raises `AssertionError` that names the member."""
    shape = MODEL.operation_model(operation).output_shape
    if wire.EMPTY_POLLS.get(operation) == answer:  # the service leaves out what the model requires when there is no task (observed)
        return
    if shape is None:
        assert answer == {}, f"{operation} has no output, but answered {answer}"
        return
    _check(shape.name)(answer, operation)
    if len(answer.get("events", ())) <= _READ_BACK:
        assert read_back(operation, answer) == answer


def read_back(operation: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer as botocore reads it off the wire, with its timestamps as numbers again."""
    reply = wire.answer(operation, answer)
    response = {"status_code": reply.status, "headers": dict(reply.headers), "body": reply.body}
    parsed = PARSER.parse(response, MODEL.operation_model(operation).output_shape)
    del parsed["ResponseMetadata"]
    found: dict[str, Any] = _numbers(parsed)
    return found


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return round(value.astimezone(UTC).timestamp(), 3) if hasattr(value, "astimezone") else value


@cache
def _check(name: str) -> Check:
    shape = MODEL.shape_for(name)
    return _COMPILE[shape.type_name](shape)


def _structure(shape: Any) -> Check:
    members = {name: member.name for name, member in shape.members.items()}
    required = frozenset(shape.required_members)
    is_event = shape.name == "HistoryEvent"

    def check(value: Any, path: str) -> None:
        assert isinstance(value, Mapping), f"{path}: {value!r} is no structure"
        assert required <= value.keys(), f"{path}: {sorted(required - value.keys())} missing"
        for member, item in value.items():
            assert member in members, f"{path}.{member} is not in the model"
            assert item is not None, f"{path}.{member} is null"
            _check(members[member])(item, f"{path}.{member}")
        if is_event:
            assert value.keys() == {"eventId", "eventTimestamp", "eventType", attributes_key(value["eventType"])}, path

    return check


def _list(shape: Any) -> Check:
    item = shape.member.name
    low, high = _bounds(shape)

    def check(value: Any, path: str) -> None:
        assert isinstance(value, list), f"{path}: {value!r} is no list"
        assert low <= len(value) <= high, f"{path}: {len(value)} elements"
        for number, each in enumerate(value):
            # a recorded history has the tag list [null]
            assert each is not None or shape.name == "TagList"
            if each is not None:
                _check(item)(each, f"{path}[{number}]")

    return check


def _string(shape: Any) -> Check:
    low, high = _bounds(shape)
    enum = frozenset(shape.enum)

    def check(value: Any, path: str) -> None:
        assert isinstance(value, str), f"{path}: {value!r} is no string"
        assert not enum or value in enum, f"{path}: {value!r} is none of {sorted(enum)}"
        assert low <= length(value) <= high, f"{path}: {length(value)} characters"

    return check


def _number(shape: Any) -> Check:
    low, high = _bounds(shape)

    def check(value: Any, path: str) -> None:
        assert isinstance(value, int), f"{path}: {value!r} is no integer"
        assert not isinstance(value, bool), path
        assert low <= value <= high, f"{path}: {value}"

    return check


def _boolean(shape: Any) -> Check:
    def check(value: Any, path: str) -> None:
        assert isinstance(value, bool), f"{path}: {value!r} is no boolean"

    return check


def _timestamp(shape: Any) -> Check:
    def check(value: Any, path: str) -> None:
        assert isinstance(value, float), f"{path}: {value!r} is no time"
        assert round(value, 3) == value, f"{path}: {value!r} is finer than a millisecond"

    return check


def _bounds(shape: Shape) -> tuple[float, float]:
    return shape.metadata.get("min", float("-inf")), shape.metadata.get("max", float("inf"))


_COMPILE: Mapping[str, Callable[[Any], Check]] = {
    "structure": _structure,
    "list": _list,
    "string": _string,
    "integer": _number,
    "long": _number,
    "boolean": _boolean,
    "timestamp": _timestamp,
}
