"""Every member of every request, at every depth, with every constraint that botocore's model gives it, broken alone and all together.

The texts are those of the service. What the model does not say (names, durations, priorities) is `test_validation.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from judge import MODEL

from flowdsl.engine.validation import validate
from flowdsl.errors import Fault
from flowdsl.limits import REQUEST_BYTES
from flowdsl.model.lifecycle import DECISIONS

OPERATIONS = sorted(MODEL.operation_names)

#: a good value where the model's own bounds do not say all
GOOD = {
    "DurationInDays": "7", "DurationInSeconds": "7", "DurationInSecondsOptional": "7", "TaskPriority": "1", "ResourceTagKey": "k",
    "FunctionName": "f", "Arn": "arn:aws:swf:us-east-1:000000000000:/domain/d",
}  # fmt: skip
#: shapes whose rule in the reference is stricter than their bounds: the values at the bounds are not good ones
RULED = {"DurationInDays", "DurationInSeconds", "DurationInSecondsOptional", "TaskPriority"}

Path = tuple[str | int, ...]


def good(shape: Any) -> Any:
    """The smallest good value; of a decision one with attributes."""
    kind = shape.type_name
    if shape.name == "Decision":
        return decision("RecordMarker")
    if kind == "structure":
        return {name: good(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [good(shape.member)]
    if kind == "string":
        return shape.enum[0] if shape.enum else GOOD.get(shape.name, "x")
    return {"integer": 1, "long": 1, "boolean": True, "timestamp": 0}[kind]


def decision(decision_type: str) -> dict[str, Any]:
    key = DECISIONS[decision_type].key
    return {"decisionType": decision_type, key: good(MODEL.shape_for(f"{decision_type}DecisionAttributes"))}


def requests(operation: str) -> Iterator[dict[str, Any]]:
    """Good requests that have every member between them."""
    shape: Any = MODEL.operation_model(operation).input_shape
    least = good(shape)
    yield least
    for name, member in shape.members.items():
        if name == "decisions":
            for decision_type in DECISIONS:
                whole: Any = MODEL.shape_for(f"{decision_type}DecisionAttributes")
                every = decision(decision_type) | {
                    DECISIONS[decision_type].key: {each: full(of) for each, of in whole.members.items()}
                }  # fmt: skip
                yield least | {name: [every]}
        else:
            yield least | {name: full(member)}


def full(shape: Any) -> Any:
    """A good value with every member."""
    if shape.type_name == "structure":
        return {name: full(member) for name, member in shape.members.items()}
    return good(shape)


def places(value: Any, shape: Any, path: Path = ()) -> Iterator[tuple[Path, Any, bool]]:
    """(path, shape, required) of everything in a request."""
    if shape.type_name == "structure":
        for name, item in value.items():
            yield (*path, name), shape.members[name], name in shape.required_members
            yield from places(item, shape.members[name], (*path, name))
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            yield from places(item, shape.member, (*path, number))


def text_of(path: Path) -> str:
    return ".".join(f"{step + 1}.member" if isinstance(step, int) else step for step in path)


def changed(request: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    copy = deepcopy(request)
    place: Any = copy
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


def broken(shape: Any, required: bool) -> Iterator[tuple[Any, str | None]]:
    """(bad value, the constraint that it breaks); None for a constraint of the reference's prose."""
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if required:
        yield None, "not be null"
    if shape.type_name == "string" and shape.enum:
        yield "Nothing", "satisfy enum value set: ["
    elif shape.type_name == "string":
        if high is not None:
            yield "9" * (high + 1), f"have length less than or equal to {high}"
        if low:
            yield "", f"have length greater than or equal to {low}"
    elif shape.type_name == "list" and high is not None:
        yield [good(shape.member)] * (high + 1), f"have length less than or equal to {high}"
    elif shape.type_name == "integer":
        yield high + 1, f"have value less than or equal to {high}"
        yield low - 1, f"have value greater than or equal to {low}"


def refusal(operation: str, request: dict[str, Any]) -> str:
    with pytest.raises(Fault) as refused:
        validate(operation, request, max_bytes=REQUEST_BYTES)
    assert refused.value.code == "ValidationException"
    return refused.value.message


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_constraint_of_the_model_is_checked_at_its_place(operation):
    shape: Any = MODEL.operation_model(operation).input_shape
    cases = 0
    for request in requests(operation):
        validate(operation, request, max_bytes=REQUEST_BYTES)
        for path, member, required in places(request, shape):
            for value, constraint in broken(member, required):
                told = refusal(operation, changed(request, path, value))
                beginning = (
                    f"1 validation error detected: Value {shown(value)} at '{text_of(path)}' failed to satisfy constraint: Member must "
                )
                assert told.startswith(beginning + constraint), (told, beginning, constraint)
                cases += 1
    assert cases


def shown(value: Any) -> str:
    if value is None:
        return "null"
    whole = f"'[{', '.join(map(str, value))}]'" if isinstance(value, list) else f"'{value}'"
    return whole if len(whole) <= 512 else whole[:512] + "..."


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_value_at_its_bound_is_taken(operation):
    shape: Any = MODEL.operation_model(operation).input_shape
    for request in requests(operation):
        for path, member, _ in places(request, shape):
            low, high = member.metadata.get("min"), member.metadata.get("max")
            if member.type_name == "string" and not member.enum and member.name not in RULED:
                for length in {low or 0, high or 0} - {0}:
                    validate(operation, changed(request, path, "x" * length), max_bytes=REQUEST_BYTES)
            elif member.type_name == "integer":
                for bound in (low, high):
                    validate(operation, changed(request, path, bound), max_bytes=REQUEST_BYTES)


WRONG = {
    "string": (7, 7.5, True, ["x"], {"x": "y"}),
    "integer": ("7", 7.5, True, [7], {"x": 7}),
    "boolean": ("true", 1, [True], {"x": True}),
    "timestamp": ("yesterday", True, [0], {"x": 0}),
    "list": ("x", 7, True, {"x": "y"}),
    "structure": ("x", 7, True, ["x"]),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_value_of_another_type_cannot_be_read_whatever_else_is_wrong(operation):
    shape: Any = MODEL.operation_model(operation).input_shape
    for request in requests(operation):
        for path, member, _ in places(request, shape):
            for value in WRONG[member.type_name]:
                with pytest.raises(Fault) as refused:
                    validate(operation, changed(request, path, value), max_bytes=REQUEST_BYTES)
                assert refused.value.code == "SerializationException", (path, value)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_all_that_is_missing_is_told_in_one_message(operation):
    shape: Any = MODEL.operation_model(operation).input_shape
    told = refusal(operation, {}) if shape.required_members else None
    if told is not None:
        count = len(shape.required_members)
        assert told.startswith(f"{count} validation error{'s' if count > 1 else ''} detected: Value null at '")
        for name in shape.required_members:
            assert f"Value null at '{name}' failed to satisfy constraint: Member must not be null" in told
        assert told.count("; ") == count - 1
