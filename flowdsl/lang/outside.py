"""What a call gives outside every run, where plain Python has no word for it: a timer that really waits, an `async def` that was started.

Rule 1: this is the one file of its floor that looks at the clock, and only for timers that nobody replays.
Rule 2: a duration is what a timer's function may return: seconds, a `timedelta`, or an aware datetime; `delay` reads it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from flowdsl.errors import Cancelled, DefinitionError, InternalError
from flowdsl.lang.promises import Promise
from flowdsl.limits import seconds

if TYPE_CHECKING:
    import asyncio

    from flowdsl.lang.context import Call, Info, Line

T = TypeVar("T")


def delay(value: Any, now: datetime, what: str) -> float:
    """Seconds from `now` (aware) that a timer's function asks for by returning `value`; a moment that is past gives 0.

    Raises `DefinitionError`, naming `what`, for everything but a number of 0 or more, a `timedelta` or an aware datetime.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise DefinitionError(f"{what} returned {value!r}: give an aware datetime, e.g. datetime.now(UTC) + timedelta(days=1)")
        return max(0.0, (value - now).total_seconds())
    wait = seconds(value, what)
    if wait is None:
        raise DefinitionError(f"{what} returned None: return how long to wait (seconds, a timedelta, or an aware datetime)")
    return wait


def delay_from_now(value: Any, what: str) -> float:
    """`delay` from the process's own clock."""
    return delay(value, datetime.now(UTC), what)


def sleep(wait: float) -> None:
    """Wait, really."""
    time.sleep(wait)


def loop_is_running() -> bool:
    """Whether this thread is inside an asyncio loop; asks without loading asyncio."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def run_now(make: Callable[[], Coroutine[Any, Any, T]], what: str) -> T:
    """Run a coroutine to its end, here. Raises `DefinitionError` inside a running event loop, where only `await` can."""
    if loop_is_running():
        raise DefinitionError(f"{what} is `async def` and an event loop is running here: await it instead")
    import asyncio  # noqa: PLC0415 - plain callers do not pay for it

    return asyncio.run(make())


def settled(function: Callable[..., Any], is_async: bool, what: str) -> Promise[Any]:
    """The promise of a call that ran here and now. An `async def` inside a running event loop becomes a task of that loop."""
    if not is_async:
        return Promise.of(function)
    return TaskPromise(function(), what) if loop_is_running() else Promise.of(lambda: run_now(function, what))


class _Waiting:
    """As much of a runtime as a promise needs that settles by itself."""

    transparent = True

    def start(self, call: Call) -> Promise[Any]:
        raise InternalError("nothing can be started here")

    def here(self) -> Line:
        raise InternalError("nothing outside a run can be interrupted")

    def spawn(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Promise[Any]:
        raise InternalError("nothing can be started here")

    def info(self) -> Info:
        raise InternalError("there is nothing to know here")


class _Clock(_Waiting):
    def wait(self, ready: Callable[[], bool], promises: Sequence[Promise[Any]], timeout: float | None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while not ready():
            pending = [p.due for p in promises if isinstance(p, TimerPromise) and not p.is_ready()]
            if not pending:
                return ready()
            wake = min(pending) if end is None else min(*pending, end)
            time.sleep(max(0.0, wake - time.monotonic()))
            if end is not None and time.monotonic() >= end:
                return ready()
        return True


class TimerPromise(Promise[None]):
    """A timer that was started outside every run: ready when the time is over."""

    __slots__ = ("due",)

    def __init__(self, wait: float, name: str) -> None:
        super().__init__(_Clock(), name)
        self.due = time.monotonic() + wait

    def is_ready(self) -> bool:
        """Whether the time is over."""
        if not super().is_ready():
            if time.monotonic() < self.due:
                return False
            self.settle(None)
        return True

    def cancel(self) -> bool:
        """Stop waiting: whoever asks for the result gets `Cancelled`."""
        if self.is_ready():
            return False
        self.fail(Cancelled(f"the timer {self.call_id} was cancelled"))
        return True

    def __await__(self) -> Generator[Any, Any, None]:
        import asyncio  # noqa: PLC0415 - whoever awaits has loaded it

        while not self.is_ready():
            yield from asyncio.sleep(max(0.0, self.due - time.monotonic())).__await__()
        self.result()


class _Loop(_Waiting):
    def __init__(self, what: str) -> None:
        self.what = what

    def wait(self, ready: Callable[[], bool], promises: Sequence[Promise[Any]], timeout: float | None) -> bool:
        raise DefinitionError(f"{self.what} runs in the event loop of this thread, which cannot wait for itself: await the promise")


class TaskPromise(Promise[Any]):
    """An `async def` that was started outside every run, inside a running event loop: await it."""

    __slots__ = ("_task",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        import asyncio  # noqa: PLC0415 - a loop is running: it is loaded

        super().__init__(_Loop(name), name)
        self._task = asyncio.ensure_future(coroutine)
        self._task.add_done_callback(self._take)
        self.on_cancel = self._stop

    def _stop(self) -> None:
        self._task.cancel()

    def _take(self, task: asyncio.Future[Any]) -> None:
        if task.cancelled():
            self.fail(Cancelled(f"{self.call_id} was cancelled"))
            return
        error = task.exception()
        if error is None:
            self.settle(task.result())
        else:
            self.fail(error)


# --- timers


def wait(value: Any, what: str) -> None:
    """Wait as long as a timer's function said by returning `value`."""
    sleep(delay_from_now(value, what))


async def wait_async(body: Coroutine[Any, Any, Any], what: str) -> None:
    """Run an `async def` timer's body and wait as long as it says."""
    import asyncio  # noqa: PLC0415 - whoever awaits has loaded it

    await asyncio.sleep(delay_from_now(await body, what))


def start_timer(body: Callable[[], Any], is_async: bool, what: str) -> Promise[Any]:
    """The promise of a timer whose length `body` says; a body that raises gives a failed promise, as an activity's would."""
    if is_async and loop_is_running():
        return TaskPromise(wait_async(body(), what), what)
    length = Promise.of(lambda: delay_from_now(run_now(body, what) if is_async else body(), what))
    return length if length.exception() is not None else TimerPromise(length.result(), what)


# --- signals


def finish(coroutine: Coroutine[Any, Any, T], what: str) -> T:
    """The value of a coroutine that awaits nothing. Raises `DefinitionError` for one that does."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise DefinitionError(f"{what} awaits something, but only says what its payload is: compute the value, and await in the workflow")
