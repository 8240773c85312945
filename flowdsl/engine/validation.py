"""Checks a request before anything else looks at it: types, required members, lengths, enums, ranges, and the rules for names.

Rule 1: what AWS's model says is read from `shapes.py` (generated); what only its prose says (names, durations, priorities) is the
        table `_RULES` here. Each shape is compiled once into a closure; nothing is interpreted per call.
Rule 2: all violations of one request are found and reported together, numbered and worded as the service does
        ("N validation errors detected: Value … at 'path' failed to satisfy constraint: Member must …").
Rule 3: a value of the wrong JSON type ends the check at once: the service fails while parsing, before it validates.
Rule 4: unknown members are ignored, `null` is an absent member, list elements are numbered from 1 with a `.member` step.
Rule 5: lengths count UTF-16 units, as Java does. Half a surrogate pair is refused: UTF-8 cannot carry it, so no client of the real
        service could send it.
Rule 6: the batch rules of RespondDecisionTaskCompleted (a close is last, and neither an activity nor a timer goes with it) are part of
        the request's validity: a batch that breaks them records nothing and leaves the decision task started.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from flowdsl.engine.codec import encode
from flowdsl.engine.faults import invalid, too_large, unknown_operation, unserializable, wrong_type
from flowdsl.engine.shapes import INPUTS, SHAPES
from flowdsl.limits import HIGHEST_PRIORITY, LAMBDA_LONGEST, LAMBDA_SHORTEST, LONGEST, LOWEST_PRIORITY, RETENTION_DAYS, YEAR
from flowdsl.model.lifecycle import DECISIONS

#: the order in which the service lists the decision types in its messages (seen in a live refusal)
_DECISION_TYPES = (
    "CompleteWorkflowExecution, StartTimer, RequestCancelExternalWorkflowExecution, SignalExternalWorkflowExecution, CancelTimer, "
    "RecordMarker, ScheduleActivityTask, ContinueAsNewWorkflowExecution, ScheduleLambdaFunction, FailWorkflowExecution, "
    "RequestCancelActivityTask, StartChildWorkflowExecution, CancelWorkflowExecution"
)

_BAD_IN_NAMES = re.compile(r"[:/|\x00-\x1f\x7f-\x9f]")
_TAG_CHARACTERS = re.compile(r"[\w\s.:/=+\-@]*")


#: upper bounds, so that only a request that may be too large is measured: a member's name with its punctuation, and an escape
_CHARACTERS_OF_A_NAME, _BYTES_OF_A_CHARACTER = 64, 6


class Report:
    """What is wrong with one request so far, and (from above) how many characters it has."""

    __slots__ = ("characters", "violations")

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.characters = 0

    def add(self, value: str, path: str, constraint: str) -> None:
        """Note one violation; `value` is the text as the message shows it."""
        shown = value if len(value) <= 512 else value[:512] + "..."
        self.violations.append(f"Value {shown} at '{path}' failed to satisfy constraint: Member must {constraint}")


Check = Callable[[Any, str, Report], None]
Rule = Callable[[str], "str | None"]


# --- the rules of prose ---------------------------------------------------------------------------------------------


def _name(value: str) -> str | None:
    if _BAD_IN_NAMES.search(value):
        return "not contain ':', '/', '|' or control characters"
    if value == "arn":
        return "not be the literal string 'arn'"
    return "not start or end with whitespace" if value != value.strip() else None


def _number(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() else None


def _seconds(low: int, high: int, *, none: bool) -> Rule:
    wanted = f"be an integer number of seconds between {low} and {high}" + (" or NONE" if none else "")

    def rule(value: str) -> str | None:
        if value in {"NONE", ""}:
            return None if none or not value else wanted
        number = _number(value)
        return wanted if number is None or not low <= number <= high else None

    return rule


def _timer_seconds(value: str) -> str | None:
    return "be an integer number of seconds, 0 or more" if _number(value) is None else None


def _days(value: str) -> str | None:
    number = 0 if value == "NONE" else _number(value)
    bad = number is None or number > RETENTION_DAYS
    return f"be an integer number of days between 0 and {RETENTION_DAYS} or NONE" if bad else None


def _priority(value: str) -> str | None:
    digits = value.removeprefix("-")
    number = _number(digits) if len(digits) <= 10 else None
    if number is None or not LOWEST_PRIORITY <= int(value) <= HIGHEST_PRIORITY:
        return f"be an integer between {LOWEST_PRIORITY} and {HIGHEST_PRIORITY}"
    return None


def _tag_text(value: str) -> str | None:
    return None if _TAG_CHARACTERS.fullmatch(value) else "contain only letters, digits, whitespace and _ . : / = + - @"


_DURATION = _seconds(0, LONGEST, none=True)
_RUN_TIME = _seconds(0, YEAR, none=False)
_CHILD_RUN_TIME = _seconds(0, YEAR, none=True)

#: rules by shape, for every member of that shape
_SHAPE_RULES: Mapping[str, Rule] = {
    "DurationInSecondsOptional": _DURATION,
    "DurationInSeconds": _timer_seconds,
    "DurationInDays": _days,
    "TaskPriority": _priority,
    "ResourceTagKey": _tag_text,
    "ResourceTagValue": _tag_text,
}

#: rules by place; they replace the shape's rule. Names are checked where a thing gets its name: asking for a strange name is only asking.
_RULES: Mapping[tuple[str, str], Rule] = {
    ("RegisterDomainInput", "name"): _name,
    ("RegisterActivityTypeInput", "name"): _name,
    ("RegisterActivityTypeInput", "version"): _name,
    ("RegisterWorkflowTypeInput", "name"): _name,
    ("RegisterWorkflowTypeInput", "version"): _name,
    ("RegisterWorkflowTypeInput", "defaultExecutionStartToCloseTimeout"): _RUN_TIME,
    ("StartWorkflowExecutionInput", "workflowId"): _name,
    ("StartWorkflowExecutionInput", "executionStartToCloseTimeout"): _RUN_TIME,
    ("StartChildWorkflowExecutionDecisionAttributes", "workflowId"): _name,
    ("StartChildWorkflowExecutionDecisionAttributes", "executionStartToCloseTimeout"): _CHILD_RUN_TIME,
    ("ContinueAsNewWorkflowExecutionDecisionAttributes", "executionStartToCloseTimeout"): _CHILD_RUN_TIME,
    ("ScheduleActivityTaskDecisionAttributes", "activityId"): _name,
    ("StartTimerDecisionAttributes", "timerId"): _name,
    ("ScheduleLambdaFunctionDecisionAttributes", "startToCloseTimeout"): _seconds(LAMBDA_SHORTEST, LAMBDA_LONGEST, none=False),
    ("TaskList", "name"): _name,
}


# --- compiling shapes -----------------------------------------------------------------------------------------------

_JAVA = {bool: "Boolean", int: "Long", float: "Double"}


def _refuse(value: object, wanted: str) -> Exception:
    if isinstance(value, Mapping):
        return unserializable("Start of structure or map found where not expected.")
    if isinstance(value, (list, tuple)):
        return unserializable("Start of list found where not expected.")
    return wrong_type(_JAVA.get(type(value), "String"), wanted)


def _string(low: int | None, high: int | None, enum: tuple[str, ...] | None, rule: Rule | None) -> Check:
    listed = "" if enum is None else (_DECISION_TYPES if "StartTimer" in enum else ", ".join(enum))

    least, most = low or 0, math.inf if high is None else high
    plain = enum is None and rule is None

    def check(value: Any, path: str, report: Report) -> None:
        if type(value) is not str and not isinstance(value, str):
            raise _refuse(value, "String")
        length = len(value)
        if value.isascii():
            if plain and least <= length <= most:
                report.characters += length
                return
        else:
            try:
                length = len(value.encode("utf-16-le")) // 2
            except UnicodeEncodeError:
                raise unserializable(f"Unpaired surrogate in the value at '{path}'") from None
        report.characters += length
        if enum is not None:
            if value not in enum:
                report.add(f"'{value}'", path, f"satisfy enum value set: [{listed}]")
        elif high is not None and length > high:
            report.add(f"'{value}'", path, f"have length less than or equal to {high}")
        elif low is not None and length < low:
            report.add(f"'{value}'", path, f"have length greater than or equal to {low}")
        elif rule is not None and (broken := rule(value)):
            report.add(f"'{value}'", path, broken)

    return check


def _integer(low: int | None, high: int | None) -> Check:
    def check(value: Any, path: str, report: Report) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _refuse(value, "Integer")
        if high is not None and value > high:
            report.add(f"'{value}'", path, f"have value less than or equal to {high}")
        elif low is not None and value < low:
            report.add(f"'{value}'", path, f"have value greater than or equal to {low}")

    return check


def _boolean(value: Any, path: str, report: Report) -> None:
    if not isinstance(value, bool):
        raise _refuse(value, "Boolean")


def _timestamp(value: Any, path: str, report: Report) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or abs(value) > 1e12:
        raise _refuse(value, "Date")


def _list(item: Check, low: int | None, high: int | None, *, nullable: bool) -> Check:
    def check(value: Any, path: str, report: Report) -> None:
        if not isinstance(value, (list, tuple)):
            raise _refuse(value, "List")
        if high is not None and len(value) > high:
            report.add(f"'[{', '.join(map(str, value))}]'", path, f"have length less than or equal to {high}")
        elif low is not None and len(value) < low:
            report.add("'[]'", path, f"have length greater than or equal to {low}")
        for number, element in enumerate(value, 1):
            if element is not None:
                item(element, f"{path}.{number}.member", report)
            elif not nullable:
                report.add("null", f"{path}.{number}.member", "not be null")

    return check


def _structure(members: Mapping[str, tuple[Check, bool]]) -> Check:
    required = tuple(name for name, (_, needed) in members.items() if needed)

    def check(value: Any, path: str, report: Report) -> None:
        if type(value) is not dict and not isinstance(value, Mapping):
            raise _refuse(value, "Structure")
        prefix = f"{path}." if path else ""
        report.characters += _CHARACTERS_OF_A_NAME * len(value)
        for name in required:
            if name not in value or value[name] is None:
                report.add("null", prefix + name, "not be null")
        for name, given in value.items():
            if given is not None and (member := members.get(name)) is not None:
                member[0](given, prefix + name, report)

    return check


def _compile(shape: str, rule: Rule | None = None) -> Check:
    kind, *rest = SHAPES[shape]
    if kind == "string":
        return _string(rest[0], rest[1], rest[2], rule or _SHAPE_RULES.get(shape))
    if kind == "integer":
        return _integer(*rest)
    if kind == "list":
        # a recorded start has the tag list [null], which the service took and showed again
        return _list(_compile(rest[0]), rest[1], rest[2], nullable=SHAPES[rest[0]][0] == "string")
    if kind == "structure":
        check = _structure({name: (_compile(of, _RULES.get((shape, name))), needed) for name, (of, needed) in rest[0].items()})
        return _decision(check) if shape == "Decision" else check
    return _boolean if kind == "boolean" else _timestamp


# --- decisions ------------------------------------------------------------------------------------------------------


#: decision types whose attributes may not be left out, because a member of them is required
_NEEDS_ATTRIBUTES: Mapping[str, str] = {
    decision_type: row.key
    for decision_type, row in DECISIONS.items()
    if any(needed for _, needed in SHAPES[f"{decision_type}DecisionAttributes"][1].values())
}


def _decision(members: Check) -> Check:
    def check(value: Any, path: str, report: Report) -> None:
        members(value, path, report)
        needed = _NEEDS_ATTRIBUTES.get(value.get("decisionType") or "")
        if needed is not None and value.get(needed) is None:
            report.add("null", f"{path}.{needed}", "not be null")

    return check


def _check_batch(decisions: list[Mapping[str, Any]]) -> None:
    rows = [DECISIONS[decision["decisionType"]] for decision in decisions]
    if any(row.closes for row in rows[:-1]):
        raise invalid("Close must be last decision in list")
    if rows[-1].closes and not all(row.beside_close for row in rows[:-1]):
        raise invalid("Specified decision is incompatible with close decision")


_CHECKS: Mapping[str, Check] = {operation: _compile(shape) for operation, shape in INPUTS.items()}


def validate(operation: str, params: Mapping[str, Any], *, max_bytes: int) -> None:
    """Raise the service's own refusal if the request is not one that it would look at.

    Raises `Fault`: `UnknownOperationException`, `SerializationException` (wrong JSON type), `ValidationException`, or
    `RequestEntityTooLargeException` for more than `max_bytes`.
    """
    check = _CHECKS.get(operation)
    if check is None:
        raise unknown_operation(operation)
    report = Report()
    check(params, "", report)
    if report.violations:
        found = len(report.violations)
        plural = "error" if found == 1 else "errors"
        raise invalid(f"{found} validation {plural} detected: {'; '.join(report.violations)}")
    if report.characters * _BYTES_OF_A_CHARACTER > max_bytes and _size(params) > max_bytes:
        raise too_large()
    decisions = params.get("decisions")
    if decisions and operation == "RespondDecisionTaskCompleted":
        _check_batch(decisions)


def _size(params: Mapping[str, Any]) -> int:
    return len(encode(params).encode())
