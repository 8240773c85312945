"""Options of a decorator, checked where they are written.

Rule 1: an option is checked and normalised at decoration. A wrong one is a `DefinitionError` there, never a fault of the service later.
Rule 2: each kind has its own options (`OPTIONS_OF`); one that a kind does not have is refused with the nearest name it does have.
Rule 3: every field has one row in `_CHECKS`; a missing row is an error of this file, and a test looks for it.
Rule 4: durations become float seconds here, once; `None` is no limit, `UNSET` is "not said", where the two differ.
Rule 5: `Options` and `Retry` are frozen: a definition with other options is another object.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, TypedDict

from flowdsl.errors import DefinitionError
from flowdsl.limits import HIGHEST_PRIORITY, LOWEST_PRIORITY, NAME, TAG, TAGS, VERSION, check_name, length, seconds

Duration: TypeAlias = float | timedelta
Failure: TypeAlias = type[BaseException] | Literal["failed", "timed_out", "failed_to_schedule"]

STATES: Final = ("failed", "timed_out", "failed_to_schedule")
CHILD_POLICIES: Final = ("terminate", "request_cancel", "abandon")
EXECUTORS: Final = ("thread", "process")


class Unset(enum.Enum):
    """The type of `UNSET`, as an enum so that it survives pickle and copy as itself and type checkers can tell it apart."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset.UNSET
"""The option was not given; not the same as `None`, which says "no limit"."""


@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """When work that did not end well is tried again: the same for activities, child workflows and whole workflows.

    `attempts` counts all attempts (an int, 1 or more; 1 means at most once). `on` says after what: exception classes, or any of the states
    `"failed"`, `"timed_out"`, `"failed_to_schedule"`, one or several; `unless` takes the same and wins. The wait before attempt n + 1 is
    `min(cap, first * factor ** (n - 1))`; with `jitter` between half of it and all of it. `first`, `cap` and `within` are durations
    (seconds or a `timedelta`); no attempt begins later than `within` after the first one was asked for. `cap=None` and `within=None` mean
    no limit.

    Raises `DefinitionError` for anything else.
    """

    attempts: int
    on: tuple[Failure, ...]
    unless: tuple[Failure, ...]
    first: float
    factor: float
    cap: float | None
    jitter: bool
    within: float | None

    # Written by hand because it takes more forms than the fields hold; `dataclasses.replace` goes through it as well.
    def __init__(
        self,
        attempts: int,
        on: Failure | Iterable[Failure] = STATES,
        unless: Failure | Iterable[Failure] = (),
        first: Duration = 1,
        factor: float = 2,
        cap: Duration | None = 60,
        jitter: bool = True,
        within: Duration | None = None,
    ) -> None:
        checked = {
            "attempts": _whole(attempts, "Retry(attempts=…)", 1),
            "on": _failures(on, "Retry(on=…)"),
            "unless": _failures(unless, "Retry(unless=…)"),
            "first": _required_seconds(first, "Retry(first=…)"),
            "factor": _number(factor, "Retry(factor=…)", 1),
            "cap": seconds(cap, "Retry(cap=…)"),
            "jitter": _flag(jitter, "Retry(jitter=…)"),
            "within": seconds(within, "Retry(within=…)"),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one definition, checked; one class for all kinds, fields of other kinds have their defaults.

    Durations are float seconds or None (no limit). `heartbeat` is `UNSET` unless it was given.
    """

    name: str = ""
    version: str = "1"
    task_list: str | None = None
    priority: int | None = None
    serializer: Any = None
    store: Any = None
    timeout: float | None = None
    schedule_to_start: float | None = None
    schedule_to_close: float | None = None
    heartbeat: float | Unset | None = UNSET
    watchdog: float | None = None
    retry: Retry | None = None
    executor: str = "thread"
    manual: bool = False
    task_timeout: float | None = 60.0
    child_policy: str = "terminate"
    tags: tuple[str, ...] = ()
    id: str | None = None
    on_failure: Callable[..., Any] | None = None

    def changed(self, kind: str, changes: Mapping[str, Any]) -> Options:
        """These options with `changes`, each checked. Raises `DefinitionError` if `kind` has no such option or it no such value."""
        known = OPTIONS_OF[kind]
        for option in changes:
            if option not in known:
                raise DefinitionError(_no_such_option(kind, option))
        return replace(self, **{option: _CHECKS[option](value, f"@{kind}({option}=…)") for option, value in changes.items()})


class CommonOptions(TypedDict, total=False):
    """What every decorator takes."""

    name: str
    version: str
    task_list: str | None
    priority: int | None
    serializer: Any
    store: Any


class ActivityOptions(CommonOptions, total=False):
    """What `@activity` takes. Durations are seconds or a `timedelta`; None means no limit."""

    timeout: Duration | None
    schedule_to_start: Duration | None
    schedule_to_close: Duration | None
    heartbeat: Duration | None
    watchdog: Duration | None
    retry: Retry | int | None
    executor: Literal["thread", "process"]
    manual: bool


class WorkflowOptions(CommonOptions, total=False):
    """What `@workflow` takes. Durations are seconds or a `timedelta`; None means no limit."""

    timeout: Duration | None
    task_timeout: Duration | None
    child_policy: Literal["terminate", "request_cancel", "abandon"]
    tags: Sequence[str]
    retry: Retry | int | None
    id: str | None
    on_failure: Callable[..., Any] | None


class SignalOptions(CommonOptions, total=False):
    """What `@signal` takes: `id` makes a sent one unique, `retry` sends again from a workflow while no open execution has the id."""

    id: str | None
    retry: Retry | int | None


OPTIONS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "activity": tuple(ActivityOptions.__annotations__),
    "workflow": tuple(WorkflowOptions.__annotations__),
    "cached": tuple(CommonOptions.__annotations__),
    "timer": tuple(CommonOptions.__annotations__),
    "signal": tuple(SignalOptions.__annotations__),
}
"""The options of each kind, in the order of the manual."""


def _no_such_option(kind: str, option: str) -> str:
    known = OPTIONS_OF[kind]
    near = difflib.get_close_matches(option, known, 1, 0.5)
    others = [f"@{other}" for other, options in OPTIONS_OF.items() if option in options]
    if others:
        return f"@{kind} has no option {option!r}: it belongs to {' and '.join(others)}. Options of @{kind}: {', '.join(known)}"
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"@{kind} has no option {option!r}{hint} Options of @{kind}: {', '.join(known)}"


# --- one check per value: (value, what to call it in the message) -> the value as it is kept ---------------------------


def _refuse(value: object, what: str, wanted: str) -> DefinitionError:
    return DefinitionError(f"{what}: {wanted}, not {value!r}")


def _whole(value: Any, what: str, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise _refuse(value, what, f"give a whole number, {low} or more")
    return value


def _number(value: Any, what: str, low: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < float("inf"):
        raise _refuse(value, what, f"give a number, {low:g} or more")
    return float(value)


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise _refuse(value, what, "give True or False")
    return value


def _required_seconds(value: Any, what: str) -> float:
    checked = seconds(value, what)
    if checked is None:
        raise _refuse(value, what, "give seconds (a number, 0 or more) or a timedelta")
    return checked


def _failures(value: Any, what: str) -> tuple[Failure, ...]:
    wanted = f"give exception classes, or any of {', '.join(map(repr, STATES))}, one or several"
    if isinstance(value, (str, type)):
        given: tuple[Any, ...] = (value,)
    elif isinstance(value, Iterable):
        given = tuple(value)
    else:
        raise _refuse(value, what, wanted)
    for one in given:
        if not (one in STATES if isinstance(one, str) else isinstance(one, type) and issubclass(one, BaseException)):
            raise _refuse(one, what, wanted)
    return given


def _retry(value: Any, what: str) -> Retry | None:
    if value is None or isinstance(value, Retry):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _refuse(value, what, "give the number of attempts (1 or more) or a Retry(attempts=…)")
    return Retry(value)


def _name(maximum: int) -> Callable[[Any, str], str]:
    return lambda value, what: check_name(value, what, maximum)


def _or_none(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, what: None if value is None else check(value, what)


def _one_of(*choices: str) -> Callable[[Any, str], str]:
    def check(value: Any, what: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise _refuse(value, what, f"give one of {', '.join(map(repr, choices))}")
        return value

    return check


def _priority(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        raise _refuse(value, what, f"give a whole number from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}")
    return value


def _tags(value: Any, what: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _refuse(value, what, "give a list of strings")
    tags = tuple(value)
    if len(tags) > TAGS:
        raise DefinitionError(f"{what}: at most {TAGS} tags, not {len(tags)}")
    for tag in tags:
        if not isinstance(tag, str) or not 0 < length(tag) <= TAG:
            raise _refuse(tag, what, f"each tag is a string of 1 to {TAG} characters")
    return tags


def _callable(value: Any, what: str) -> Callable[..., Any]:
    if not callable(value):
        raise _refuse(value, what, "give a function or an activity")
    checked: Callable[..., Any] = value
    return checked


def _store(value: Any, what: str) -> Any:
    if not (isinstance(value, str) and value) and not (callable(getattr(value, "put", None)) and callable(getattr(value, "get", None))):
        raise _refuse(value, what, "give a store's URI or an object with put() and get()")
    return value


def _serializer(value: Any, what: str) -> Any:
    if isinstance(value, (bool, int, float, bytes)) or value == "":
        raise _refuse(value, what, "give a serializer or the name of one")
    return value


_CHECKS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "name": _name(NAME),
    "version": _name(VERSION),
    "task_list": _or_none(_name(NAME)),
    "priority": _or_none(_priority),
    "serializer": _or_none(_serializer),
    "store": _or_none(_store),
    "timeout": seconds,
    "schedule_to_start": seconds,
    "schedule_to_close": seconds,
    "heartbeat": seconds,
    "watchdog": seconds,
    "retry": _retry,
    "executor": _one_of(*EXECUTORS),
    "manual": _flag,
    "task_timeout": seconds,
    "child_policy": _one_of(*CHILD_POLICIES),
    "tags": _tags,
    "id": _or_none(_name(NAME)),
    "on_failure": _or_none(_callable),
}
