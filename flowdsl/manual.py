"""Activities that somebody ends later: `@activity(manual=True)`. Whoever has the task token completes it, from anywhere.

Rule 1: the token is the service's own (`info().task_token` inside the function), so that any AWS client can do the same.
Rule 2: a value is written as the activity would write it. Without `activity=` its annotation is not known here: then it must be one that
        plain or tagged JSON can carry.
Rule 3: tokens of local runs are answered in the process of the run.
"""

from __future__ import annotations

from typing import Any

from flowdsl.backends import Backend, Local, resolve
from flowdsl.client import Untyped
from flowdsl.connection import Connection, connect
from flowdsl.data.values import Values
from flowdsl.errors import ActivityFailed, DefinitionError, Fault
from flowdsl.limits import HEARTBEAT_DETAILS, REASON
from flowdsl.local import desk
from flowdsl.model.payload import shorten
from flowdsl.service.faults import UNKNOWN_RESOURCE


def complete(token: str, value: Any = None, *, activity: Any = None, backend: str | Backend | None = None) -> None:
    """End the activity that this token names with `value`.

    `activity` is its definition: needed for values that only a pickle can carry. Raises `Fault` (UnknownResourceFault) if it is over, was
    completed before, or never existed; `NotSerializable` for a value that cannot be stored.
    """
    if _is_local(token):
        desk.answer(token, value, None)
        return
    connection = _connection(backend)
    result = _values(connection, activity).encode_result(activity or _ANY, value)
    connection.swf.respond_activity_task_completed(task_token=token, result=result)


def fail(token: str, error: BaseException | str, *, activity: Any = None, backend: str | Backend | None = None) -> None:
    """End the activity that this token names with an exception, or with a reason: `ActivityFailed` then. Raises as `complete`."""
    if not isinstance(error, BaseException):
        error = ActivityFailed(str(error), reason=shorten(str(error), REASON))
    if _is_local(token):
        desk.answer(token, None, error)
        return
    connection = _connection(backend)
    reason, details = _values(connection, activity).encode_failure(activity or _ANY, error)
    connection.swf.respond_activity_task_failed(task_token=token, reason=reason, details=details)


def still_alive(token: str, details: Any = None, *, backend: str | Backend | None = None) -> bool:
    """A heartbeat of the activity that this token names, at least as often as its `heartbeat` says. True if it was asked to stop."""
    if _is_local(token):
        return False
    connection = _connection(backend)
    text = None if details is None else connection.values.encode_plain("", "details", details)
    if text is not None and len(text) > HEARTBEAT_DETAILS:
        raise DefinitionError(f"heartbeat details take {len(text):,} characters, more than the {HEARTBEAT_DETAILS:,} that are allowed")
    return connection.swf.heartbeat(task_token=token, details=text)


_ANY = Untyped("", "1")


def _is_local(token: str) -> bool:
    if not isinstance(token, str) or not token:
        raise DefinitionError(f"{token!r} is no task token; inside the activity it is info().task_token")
    return token.startswith(desk.LOCAL)


def _connection(backend: str | Backend | None) -> Connection:
    where = resolve(backend)
    if isinstance(where, Local):
        raise Fault(UNKNOWN_RESOURCE, "this token is of no local run. Say where it belongs, e.g. backend='embedded'")
    connection = connect(where)
    connection.register()
    return connection


def _values(connection: Connection, activity: Any) -> Values:
    if activity is not None:
        return connection.values
    return Values(connection.converter.replaced(serializer="json", store=None), connection.domain)
