"""`Promise`: the outcome of a call that was started, and the functions that combine promises.

Rule 1: a promise is settled once, by the runtime that made it; user code only looks, waits and cancels.
Rule 2: waiting goes through the runtime's `wait`: only the branch that asks is suspended, never another one.
Rule 3: an outcome may be lazy. It is decoded when somebody reads it, once; a result that nobody reads is never fetched.
Rule 4: `settled_at` numbers the settlings, so that "which was first" is the history's order and not the looker's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flowdsl.errors import Cancelled, InternalError
from flowdsl.lang.context import outside_workflow, workflow_runtime

if TYPE_CHECKING:
    from types import TracebackType

    from flowdsl.lang.context import Runtime

T = TypeVar("T")

_PENDING, _VALUE, _ERROR, _LAZY_VALUE, _LAZY_ERROR = range(5)
_settlements = count(1)


class Promise(Generic[T]):
    """The outcome, now or later, of one started call.

    In an `async def` workflow it can be awaited.
    """

    __slots__ = ("__weakref__", "_callbacks", "_outcome", "_runtime", "_state", "_traceback", "call_id", "on_cancel", "settled_at")

    def __init__(self, runtime: Runtime | None, call_id: str = "", on_cancel: Callable[[], None] | None = None) -> None:
        self._runtime = runtime
        self._state = _PENDING
        self._outcome: Any = None
        self._traceback: TracebackType | None = None
        self._callbacks: list[Callable[[Promise[T]], None]] | None = None
        self.call_id = call_id
        self.on_cancel = on_cancel
        self.settled_at = 0

    @classmethod
    def of(cls, function: Callable[[], T]) -> Promise[T]:
        """A promise that is settled already, with what `function` returns or raises here and now."""
        promise: Promise[T] = cls(None)
        try:
            promise.settle(function())
        except Exception as error:
            promise.fail(error)
        return promise

    # --- for runtimes

    def settle(self, value: T) -> None:
        """Settle with a value."""
        self._finish(_VALUE, value)

    def settle_lazily(self, read: Callable[[], T]) -> None:
        """Settle with a value that `read` returns (or raises, if it can't be had) when somebody asks; it is called at most once."""
        self._finish(_LAZY_VALUE, read)

    def fail(self, error: BaseException) -> None:
        """Settle with an exception."""
        self._traceback = error.__traceback__
        self._finish(_ERROR, error)

    def fail_lazily(self, read: Callable[[], BaseException]) -> None:
        """Settle with an exception that `read` returns when somebody asks; it is called at most once."""
        self._finish(_LAZY_ERROR, read)

    def _finish(self, state: int, outcome: Any) -> None:
        if self._state != _PENDING:
            raise InternalError(f"the promise {self.call_id!r} is settled already")
        self._state, self._outcome = state, outcome
        self.settled_at = next(_settlements)
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback(self)

    def subscribe(self, callback: Callable[[Promise[T]], None]) -> None:
        """Call `callback(self)` when it settles; at once if it has."""
        if self._state != _PENDING:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def unsubscribe(self, callback: Callable[[Promise[T]], None]) -> None:
        """Forget a callback that was not called yet."""
        if self._callbacks and callback in self._callbacks:
            self._callbacks.remove(callback)

    # --- for everyone

    @property
    def failed(self) -> bool:
        """Whether it is settled with an exception; does not decode anything."""
        return self._state in (_ERROR, _LAZY_ERROR)

    def is_ready(self) -> bool:
        """Whether `result()` would answer without waiting."""
        return self._state != _PENDING

    def result(self, timeout: float | None = None) -> T:
        """The value; waits for it. Raises what the work raised, or `TimeoutError` after `timeout` seconds."""
        self._wait(timeout)
        if self._state >= _LAZY_VALUE:
            self._read()
        if self._state == _ERROR:
            error: BaseException = self._outcome
            raise error.with_traceback(self._traceback)
        value: T = self._outcome
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the work raised, or None; waits like `result`."""
        self._wait(timeout)
        if self._state >= _LAZY_VALUE:
            self._read()
        error: BaseException | None = self._outcome if self._state == _ERROR else None
        return error

    def cancel(self) -> bool:
        """Ask that the work be cancelled; a settled promise stays as it is. Return whether there was something to cancel."""
        if self.is_ready():
            return False
        if self.on_cancel is not None:
            self.on_cancel()
        elif self._runtime is None:
            self.fail(Cancelled("the call was cancelled"))
        return True

    def __await__(self) -> Generator[Any, Any, T]:
        if not self.is_ready():
            yield from _await_settled(self)
        return self.result()

    async def settling(self) -> None:
        """Await that it settles, in an `async def` workflow; the outcome is not looked at."""
        if not self.is_ready():
            await _Settling(self)

    def __repr__(self) -> str:
        state = ("pending", "done", "failed", "done", "failed")[self._state]
        return f"<Promise {self.call_id or 'of a plain call'} {state}>"

    def _wait(self, timeout: float | None) -> None:
        if self.is_ready():
            return
        if self._runtime is None:
            raise InternalError(f"nothing will ever settle the promise {self.call_id!r}")
        if not self._runtime.wait(self.is_ready, (self,), timeout):
            raise TimeoutError(f"{self.call_id} is not ready after {timeout:g} s")

    def _read(self) -> None:
        done = _VALUE if self._state == _LAZY_VALUE else _ERROR
        try:
            with outside_workflow():
                self._state, self._outcome = done, self._outcome()
        except Exception as error:
            self._state, self._outcome, self._traceback = _ERROR, error, error.__traceback__
        else:
            if done == _ERROR:
                self._traceback = self._outcome.__traceback__


def _await_settled(promise: Promise[Any]) -> Generator[Any, Any, None]:
    """Suspend one asyncio task until the promise settles; the loop is the deterministic one of the workflow."""
    import asyncio  # noqa: PLC0415 - only `async def` workflows pay for it

    future = asyncio.get_running_loop().create_future()

    def wake(_: Promise[Any]) -> None:
        if not future.done():
            future.set_result(None)

    promise.subscribe(wake)
    try:
        yield from future
    except asyncio.CancelledError:
        promise.unsubscribe(wake)
        promise.cancel()
        raise


class _Settling:
    """Awaits a promise without its outcome."""

    def __init__(self, promise: Promise[Any]) -> None:
        self._promise = promise

    def __await__(self) -> Generator[Any, Any, None]:
        return _await_settled(self._promise)


def _runtime_of(promises: Iterable[Promise[Any]]) -> Runtime:
    """Who can wait for them: the workflow that is running, outside of one (plain timers) whoever made a pending one."""
    runtime = workflow_runtime() or next((p._runtime for p in promises if not p.is_ready()), None)
    if runtime is None:
        raise InternalError("nothing will ever settle these promises")
    return runtime


def gather(*promises: Promise[Any], return_exceptions: bool = False) -> list[Any]:
    """Wait for all; the values in the order of the arguments.

    The first exception (in the order in which they happened) is raised at once, the others go on;
    with `return_exceptions` exceptions are returned in their places instead.
    """
    pending = [p for p in promises if not p.is_ready()]
    if pending:
        waiting = len(pending)
        failed = False

        def settled(promise: Promise[Any]) -> None:
            nonlocal waiting, failed
            waiting -= 1
            failed = failed or promise.failed

        for promise in pending:
            promise.subscribe(settled)
        if return_exceptions or not any(p.failed for p in promises):
            _runtime_of(pending).wait(lambda: waiting == 0 or (failed and not return_exceptions), pending, None)
        for promise in pending:
            promise.unsubscribe(settled)
    if return_exceptions:
        return [p.exception() or p.result() for p in promises]
    failures = [p for p in promises if p.failed]
    if failures:
        min(failures, key=lambda p: p.settled_at).result()
    return [p.result() for p in promises]


def first(*promises: Promise[Any]) -> Any:
    """Wait for the first to settle and return its value (or raise its exception); the others are cancelled."""
    if not promises:
        raise ValueError("first() needs at least one promise")
    if not any(p.is_ready() for p in promises):
        _runtime_of(promises).wait(lambda: any(p.is_ready() for p in promises), promises, None)
    winner = min((p for p in promises if p.is_ready()), key=lambda p: p.settled_at)
    for promise in promises:
        if promise is not winner:
            promise.cancel()
    return winner.result()


def as_completed(promises: Iterable[Promise[T]]) -> Iterator[Promise[T]]:
    """The promises in the order in which they settle."""
    remaining = list(promises)
    while remaining:
        if not any(p.is_ready() for p in remaining):
            _runtime_of(remaining).wait(lambda: any(p.is_ready() for p in remaining), remaining, None)
        ready = min((p for p in remaining if p.is_ready()), key=lambda p: p.settled_at)
        remaining.remove(ready)
        yield ready
