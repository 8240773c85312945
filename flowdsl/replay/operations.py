"""One durable call as the replayer knows it, and the decisions that ask the service for it.

Rule 1: an `Operation` is known by its id (a position in the code), never by an event id: refusals have no event to refer to.
Rule 2: `DECISIONS` turns an operation into a decision, one row per verb. Nothing else builds decisions from calls.
Rule 3: attempts of one call share the operation; each has an id of its own (`charge-1`, `charge-1~2`).
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flowdsl.errors import ActivityFailed, LimitExceeded
from flowdsl.lang.options import UNSET
from flowdsl.limits import DATA, clean_id, digest, length
from flowdsl.model import decisions
from flowdsl.model.attempts import attempt_id
from flowdsl.model.carried import with_id

if TYPE_CHECKING:
    from types import FrameType

    from flowdsl.lang.context import Call
    from flowdsl.lang.options import Options
    from flowdsl.lang.promises import Promise

ASKED, OPEN, STARTED, CLOSED = range(4)

DEFAULT_HEARTBEAT = 60.0
ONE_YEAR = 31_536_000.0


class Operation:
    """An activity, timer, child workflow, signal to elsewhere or marker, from the call to its outcome."""

    __slots__ = (
        "asked_at", "attempt", "call", "call_id", "cancelled", "delay", "details", "event_id", "id", "input", "place",
        "promise", "register", "registrations", "retry_timer", "run_id", "state", "verb",
    )  # fmt: skip

    def __init__(self, verb: str, call_id: str, call: Call, promise: Promise[Any]) -> None:
        self.verb = verb
        self.call_id = call_id
        self.id = call_id
        self.call = call
        self.promise = promise
        self.attempt = 1
        self.state = ASKED
        self.registrations = 0
        self.register = False  # the service does not know the type: register it before asking again
        self.cancelled = False
        self.asked_at = 0.0
        self.event_id = 0
        self.run_id: str | None = None
        self.input: str | None = None
        self.details: str | None = None
        self.delay = 0.0
        self.place: tuple[str, int] | None = None
        self.retry_timer: Promise[Any] | None = None

    @property
    def options(self) -> Options:
        """The options of the call's definition."""
        options = self.call.options
        assert options is not None  # calls with a definition always carry its options
        return options

    def next_attempt(self) -> None:
        """Begin another attempt under an id of its own."""
        self.attempt += 1
        self.id = attempt_id(self.call_id, self.attempt)
        self.state = ASKED
        self.registrations = 0

    @property
    def line(self) -> str:
        """Where the call stands, as `order.py:31` with the whole path; empty if nobody knows."""
        return f"{self.place[0]}:{self.place[1]}" if self.place is not None else ""

    def describe(self) -> str:
        """`charge(3) as charge-1 at order.py:31`, for messages."""
        args = ", ".join([*map(_short, self.call.args), *(f"{k}={_short(v)}" for k, v in self.call.kwargs.items())])
        where = f"    {self.line}" if self.line else ""
        return f"{self.verb} {self.call.name}({args}) as {self.id}{where}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def activity_failed(name: str, call_id: str, attempt: int, reason: str) -> ActivityFailed:
    """The error that says which call failed; the cause of the exception that the call raised."""
    tried = f", attempt {attempt}" if attempt > 1 else ""
    text = f"activity {name} ({call_id}{tried}) failed: {reason}"
    return ActivityFailed(text, name=name, call_id=call_id, attempt=attempt, reason=reason)


def caller_place() -> tuple[str, int] | None:
    """File and line of the user code that is making a call."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_NOT_USERS):
        frame = frame.f_back
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


_NOT_USERS = (__file__.rpartition("replay")[0], inspect.__file__.rpartition("inspect")[0] + "asyncio")


def child_workflow_id(op: Operation, workflow_id: str, run_id: str) -> str:
    """A child's id: the user's own, or one that only this call of this run can have; later attempts carry their number."""
    own = op.options.id
    if own:
        return clean_id(attempt_id(own, op.attempt))
    return clean_id(f"{workflow_id}.{attempt_id(op.call_id, op.attempt)}.{digest(run_id)[:8]}")


def with_own_id(target: Any, text: str) -> str:
    """A signal's payload, under the id that its options give it, if they do. Raises `LimitExceeded` if both do not fit."""
    own = target.settings.id
    if own is None:
        return text
    wrapped = with_id(text, own)
    if length(wrapped) > DATA:
        raise LimitExceeded(f"the payload of the signal {target.name} and its id take {len(wrapped):,} characters, more than {DATA:,}")
    return wrapped


def _control(op: Operation) -> str:
    return json.dumps({"line": op.line}, ensure_ascii=False)[:1024] if op.line else "{}"


def _activity(op: Operation, task_list: str) -> dict[str, Any]:
    options = op.options
    heartbeat = options.heartbeat
    if heartbeat is UNSET:
        heartbeat = None if options.manual else DEFAULT_HEARTBEAT
    return decisions.schedule_activity_task(
        activity_id=op.id,
        name=op.call.target.name,
        version=op.call.target.version,
        input=op.input,
        control=_control(op),
        task_list=options.task_list or task_list,
        task_priority=options.priority,
        start_to_close=options.timeout,
        schedule_to_start=options.schedule_to_start,
        schedule_to_close=options.schedule_to_close,
        heartbeat=heartbeat,
    )


def _timer(op: Operation, _: str) -> dict[str, Any]:
    return decisions.start_timer(timer_id=op.id, start_to_fire=op.delay, control=_control(op))


def _child(op: Operation, task_list: str) -> dict[str, Any]:
    options = op.options
    return decisions.start_child_workflow_execution(
        workflow_id=op.id,
        name=op.call.target.name,
        version=op.call.target.version,
        input=op.input,
        control=_control(op),
        task_list=options.task_list or task_list,
        task_priority=options.priority,
        execution_start_to_close=ONE_YEAR if options.timeout is None else options.timeout,
        task_start_to_close=options.task_timeout,
        child_policy=options.child_policy,
        tag_list=options.tags,
    )


def _send(op: Operation, _: str) -> dict[str, Any]:
    return decisions.signal_external_workflow_execution(
        workflow_id=op.call.args[0], signal_name=op.call.target.name, input=op.input, control=json.dumps({"id": op.id}, ensure_ascii=False)
    )


def _marker(op: Operation, _: str) -> dict[str, Any]:
    return decisions.record_marker(name=op.id, details=op.details)


def _cancel_child(op: Operation, _: str) -> dict[str, Any]:
    return decisions.request_cancel_external_workflow_execution(workflow_id=op.id, run_id=op.run_id)


DECISIONS: Mapping[str, Callable[[Operation, str], dict[str, Any]]] = {
    "activity": _activity,
    "timer": _timer,
    "workflow": _child,
    "send": _send,
    "marker": _marker,
    "mark": lambda op, _: decisions.record_marker(name=op.call.name, details=op.details),
    "cancel activity": lambda op, _: decisions.request_cancel_activity_task(activity_id=op.id),
    "cancel timer": lambda op, _: decisions.cancel_timer(timer_id=op.id),
    "cancel workflow": _cancel_child,
}
