"""Blocks of workflow code: `with scope():`, `with timeout(…):`, `with shield():`; each with `async with` too.

Rule 1: what is started inside a block belongs to it, also what a branch of the block starts. Leaving a block by an error cancels all of
        it and waits for what cleans up; leaving a scope without one waits for its activities, children and branches. Nothing leaks.
Rule 2: a branch that fails ends its scope: the siblings are cancelled, the body is interrupted at the line where it waits, and the block
        raises the branch's own exception. The timer of a timeout does the same, with `TimeoutError`.
Rule 3: an interruption is a `BaseException` (`asyncio.CancelledError` in a coroutine) until it has reached its block, which turns it into
        what it stands for. Blocks between are left by an error, so rule 1 holds for each.
Rule 4: leaving is written once (`_leaving`), as questions: it yields what has to be waited for and is told what came in between.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextvars import ContextVar, Token
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from flowdsl.errors import Cancelled, DefinitionError, Evicted, Interrupted
from flowdsl.lang.context import Call, workflow_runtime
from flowdsl.limits import seconds

if TYPE_CHECKING:
    from types import TracebackType

    from flowdsl.lang.context import Line, Runtime
    from flowdsl.lang.promises import Promise

_current: ContextVar[Block | None] = ContextVar("flowdsl_block", default=None)

_AWAITED = ("activity", "workflow", "branch")  # timers and signals that nobody waits for are dropped, as at a workflow's end

Leaving = Generator["list[Promise[Any]]", "BaseException | None", None]


def note(kind: str, promise: Promise[Any]) -> None:
    """A runtime has started something: it belongs to the block that is running, if there is one."""
    block = _current.get()
    if block is not None and not promise.is_ready():
        block._add(kind, promise)


class Block:
    """What scopes and timeouts have in common."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._line: Line | None = None
        self._token: Token[Block | None] | None = None
        self._members: dict[Promise[Any], str] = {}
        self._interruption: Interrupted | None = None
        self._reason: BaseException | None = None  # what the block raises because it was ended
        self._left = False

    # --- going in

    def _enter(self) -> None:
        if self._token is not None:
            raise DefinitionError(f"{self._what} is entered already: write a new one for every `with`")
        self._runtime = workflow_runtime()
        if self._runtime is not None:
            self._line = self._runtime.here()
            self._begin(self._runtime)
        self._token = _current.set(self)

    def __enter__(self) -> Self:
        self._enter()
        return self

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    # --- while inside

    def _add(self, kind: str, promise: Promise[Any]) -> None:
        self._members[promise] = kind
        promise.subscribe(self._settled)

    def _settled(self, promise: Promise[Any]) -> None:
        kind = self._members.pop(promise)
        if kind == "branch" and promise.failed and not self._left:
            error = promise.exception()
            if error is not None and not isinstance(error, Cancelled):
                self._end(error)

    def _end(self, reason: BaseException) -> None:
        """Interrupt the body, because of `reason`; only the first one counts."""
        if self._reason is None and self._line is not None:
            self._reason = reason
            self._interruption = Interrupted(self._what)
            self._line.interrupt(self._interruption)

    # --- going out

    def _leaving(self, error: BaseException | None) -> Leaving:
        if isinstance(error, Evicted | GeneratorExit):  # torn down, from another context: nothing is asked for any more
            return
        if self._token is not None:
            _current.reset(self._token)
        if self._runtime is None:
            return
        self._finish()
        others = None if error is None or self._is_ours(error) else error
        if error is not None:
            self._cancel_members()
        while waited := self._awaited(failed=error is not None):
            came = yield waited
            if isinstance(came, Evicted):
                raise came
            if came is not None:
                error = came
                self._cancel_members()
                if not self._is_ours(came) and others is None:
                    others = came
        self._left = True
        self._drop()
        if self._line is not None and self._interruption is not None:
            self._line.forget(self._interruption)
        if others is not None:
            raise others
        if self._reason is not None:
            raise self._reason

    def _is_ours(self, error: BaseException) -> bool:
        if isinstance(error, Interrupted):
            return error is self._interruption
        return self._interruption is not None and self._line is not None and self._line.took(error, self._interruption)

    def _cancel_members(self) -> None:
        for promise in list(self._members):
            promise.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        leaving = self._leaving(error)
        try:
            waited = next(leaving)
            while True:
                waited = leaving.send(self._wait(waited))
        except StopIteration:
            return False
        except BaseException as raised:
            if raised is error:
                return False
            raise

    def _wait(self, promises: list[Promise[Any]]) -> BaseException | None:
        assert self._runtime is not None
        try:
            self._runtime.wait(lambda: all(promise.is_ready() for promise in promises), promises, None)
        except BaseException as came:  # noqa: BLE001 - what interrupts the wait is judged by whoever leaves
            return came
        return None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        leaving = self._leaving(error)
        try:
            waited = next(leaving)
            while True:
                waited = leaving.send(await self._await(waited))
        except StopIteration:
            return False
        except BaseException as raised:
            if raised is error:
                return False
            raise

    @staticmethod
    async def _await(promises: Iterable[Promise[Any]]) -> BaseException | None:
        for promise in promises:
            try:
                await promise.settling()
            except BaseException as came:  # noqa: BLE001 - as above
                return came
        return None

    # --- what each kind says for itself

    _what = "the block"

    def _begin(self, runtime: Runtime) -> None:
        """The body is about to run."""

    def _finish(self) -> None:
        """The body has ended."""

    def _awaited(self, *, failed: bool) -> list[Promise[Any]]:
        """What has to settle before the block is left."""
        return [promise for promise, kind in self._members.items() if kind in _AWAITED]

    def _drop(self) -> None:
        """What was started and is not waited for."""
        self._cancel_members()


class scope(Block):  # noqa: N801 - used like a keyword
    """`with scope():` what is started inside ends inside. Leaving by an error cancels it; a branch that fails ends the block.

    Raises the exception of the first branch that failed. Outside every run calls have run when they return, so it does nothing.
    """

    _what = "scope()"


class timeout(Block):  # noqa: N801 - used like a keyword
    """`with timeout(seconds):` the block has so long, by a durable timer; then what was started inside is cancelled.

    `duration` is seconds or a timedelta, None is no limit. Raises `TimeoutError` when the time is over, `DefinitionError` for a negative
    or non-numeric duration and outside workflows. What was started inside and is not done when the block ends in time goes on.
    """

    _what = "timeout()"

    def __init__(self, duration: float | timedelta | None) -> None:
        super().__init__()
        self._limit = seconds(duration, "timeout()")
        self._timer: Promise[Any] | None = None

    def _enter(self) -> None:
        if workflow_runtime() is None:
            raise DefinitionError("timeout() belongs inside a workflow: nothing can interrupt plain code. Give the @activity a timeout=…")
        super()._enter()

    def _begin(self, runtime: Runtime) -> None:
        if self._limit is not None:
            self._timer = runtime.start(Call("sleep", "timeout", (self._limit,)))
            self._timer.subscribe(self._fired)

    def _fired(self, timer: Promise[Any]) -> None:
        if not timer.failed and not self._left:
            self._end(TimeoutError(f"the block took longer than {self._limit:g} s"))

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _settled(self, promise: Promise[Any]) -> None:
        self._members.pop(promise)

    def _awaited(self, *, failed: bool) -> list[Promise[Any]]:
        return super()._awaited(failed=failed) if failed else []

    def _drop(self) -> None:
        if self._reason is not None:
            super()._drop()


class shield:  # noqa: N801 - used like a keyword
    """`with shield():` a cancellation that comes from outside the block waits for its end: what cleans up is done in peace.

    Blocks inside it are not held up. Outside every run it does nothing.
    """

    def __init__(self) -> None:
        self._line: Line | None = None

    def __enter__(self) -> Self:
        runtime = workflow_runtime()
        if runtime is not None:
            self._line = runtime.here()
            self._line.shield()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        if self._line is not None:
            self._line.unshield(quiet=error is not None)
        return False

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Literal[False]:
        return self.__exit__(kind, error, trace)
