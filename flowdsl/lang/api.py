"""The functions that workflow and activity code may call, besides the decorated ones.

Rule 1: each is a `Call` given to the runtime in `current`, or a question to its `info()`; nothing here knows which runtime it is.
Rule 2: outside every run a function does what its plain Python cousin does (`sleep` sleeps, `now` is the clock) where there is one,
        and says clearly where it belongs where there is none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from flowdsl.errors import ContinueAsNew, DefinitionError
from flowdsl.lang import outside
from flowdsl.lang.context import Call, Info, Runtime, current, workflow_runtime
from flowdsl.lang.promises import Promise
from flowdsl.limits import seconds

if TYPE_CHECKING:
    from typing import Protocol

    class _Heart(Protocol):
        def heartbeat(self, details: Any = None) -> None: ...


T = TypeVar("T")

RESERVED_MARKER_PREFIX = "flowdsl:"


def _inside(what: str) -> Runtime:
    runtime = workflow_runtime()
    if runtime is None:
        raise DefinitionError(f"{what} can only be called inside a workflow; outside there is no execution it could belong to")
    return runtime


def sleep(duration: float | timedelta) -> None:
    """Wait for `duration` (seconds or a timedelta): a durable timer inside a workflow, `time.sleep` elsewhere.

    Raises `DefinitionError` for a negative or non-numeric duration. Amazon SWF counts whole seconds and rounds up.
    """
    delay = seconds(duration, "sleep()") or 0.0
    runtime = workflow_runtime()
    if runtime is None:
        outside.wait(delay, "sleep()")
    else:
        runtime.start(Call("sleep", "sleep", (delay,))).result()


def sleep_until(moment: datetime) -> None:
    """Wait until an aware datetime; one that is past already does not wait. Raises `DefinitionError` for a naive one."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise DefinitionError(f"sleep_until({moment!r}): give an aware datetime, e.g. datetime(2030, 1, 1, tzinfo=timezone.utc)")
    sleep(max(0.0, (moment - now()).total_seconds()))


def now() -> datetime:
    """The time, aware, in UTC. Inside a workflow it is the history's and the same in every replay."""
    runtime = workflow_runtime()
    moment = None if runtime is None else runtime.info().now
    return datetime.now(UTC) if moment is None else moment


def info() -> Info:
    """What the running workflow or activity may know of itself. Raises `DefinitionError` outside of both."""
    runtime = current.get()
    if runtime is None:
        raise DefinitionError("info() can only be called inside a workflow or an activity")
    return runtime.info()


def heartbeat(details: Any = None) -> None:
    """Inside an activity: still alive, and this far. The details of a lost attempt reach the next one as `info().heartbeat_details`.

    Raises `Cancelled` when the activity was asked to stop. Outside every run it does nothing.
    """
    runtime = current.get()
    if runtime is None:
        return
    if not runtime.transparent:
        raise DefinitionError("heartbeat() belongs into an activity; workflow code needs none")
    heart: _Heart = runtime  # type: ignore[assignment]  # a transparent runtime is an activity's scope, which has a heart
    heart.heartbeat(details)


def mark(name: str, details: Any = None) -> None:
    """Record a marker of your own in the history: `name` (up to 256 characters) and any value. Outside every run it does nothing."""
    if not isinstance(name, str) or not 0 < len(name) <= 256 or name.startswith(RESERVED_MARKER_PREFIX):
        raise DefinitionError(f"mark({name!r}): a marker's name is 1 to 256 characters and does not begin with {RESERVED_MARKER_PREFIX!r}")
    runtime = workflow_runtime()
    if runtime is not None:
        runtime.start(Call("marker", name, (details,)))


def publish(value: Any) -> None:
    """Make a value readable from outside by `Execution.published()`, also after the end. Outside every run it does nothing."""
    runtime = workflow_runtime()
    if runtime is not None:
        runtime.start(Call("publish", "publish", (value,)))


def patched(change: str) -> bool:
    """Whether this execution runs the new code of a change.

    True for an execution that comes here for the first time under the new code; that is recorded, and it stays so. False for one that had
    come past here under the old code; that stays so too. Outside a workflow, and locally, it is True. `change` is 1 to 100 characters.
    Raises `DefinitionError` for anything else.
    """
    if not isinstance(change, str) or not 0 < len(change) <= 100:
        raise DefinitionError(f"patched({change!r}): give the change a name of 1 to 100 characters")
    runtime = workflow_runtime()
    return True if runtime is None else bool(runtime.start(Call("patched", change)).result())


def spawn(fn: Callable[..., T], *args: Any, **kwargs: Any) -> Promise[T]:
    """Run ordinary workflow code as a concurrent branch; the promise is its outcome. Outside every run it runs here and now."""
    runtime = workflow_runtime()
    if runtime is None:
        return Promise.of(lambda: fn(*args, **kwargs))
    return runtime.spawn(fn, args, kwargs)


def wait_until(predicate: Callable[[], bool], timeout: float | timedelta | None = None) -> bool:
    """Wait until `predicate()` is true; it is asked again after every event. False if `timeout` seconds passed first."""
    limit = seconds(timeout, "wait_until(timeout=)")
    return _inside("wait_until()").wait(predicate, (), limit)


def continue_as_new(*args: Any, **kwargs: Any) -> None:
    """End this run and begin a new one of the same workflow, under the same id, with these arguments; never returns."""
    _inside("continue_as_new()")
    raise ContinueAsNew(args, kwargs)


class _ReplayAwareLogger(logging.LoggerAdapter[logging.Logger]):
    """Says nothing while a workflow replays, and adds the execution's ids to each record."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        """Whether the record is wanted: not while a workflow replays."""
        runtime = workflow_runtime()
        return not (runtime is not None and runtime.info().replaying) and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        runtime = current.get()
        if runtime is not None:
            about = runtime.info()
            ids = {"workflow_id": about.workflow_id, "run_id": about.run_id, "call_id": about.call_id}
            kwargs["extra"] = {**(kwargs.get("extra") or {}), **ids}
        return msg, kwargs


logger = _ReplayAwareLogger(logging.getLogger("flowdsl.workflow"), {})
