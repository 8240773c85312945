"""Signals: messages to a running workflow.

Rule 1: the decorated function is the payload's signature; what it returns for a payload is what the receiver gets. A call just runs it.
Rule 2: a signal goes to the wait that began first. A wait that ended without one listens no longer: the next signal is the next wait's.
Rule 3: waiting is for workflows. Sending is for all: workflows through their runtime, others through the hook that the front installs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from flowdsl.errors import Cancelled, DefinitionError, InternalError
from flowdsl.lang import outside
from flowdsl.lang.context import Call, Runtime, workflow_runtime
from flowdsl.lang.wrapping import Definition
from flowdsl.limits import seconds

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Self, Unpack

    from flowdsl.lang.options import SignalOptions
    from flowdsl.lang.promises import Promise

P = ParamSpec("P")
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
V = TypeVar("V")

_sender: Callable[[Any, str, tuple[Any, ...], dict[str, Any]], None] | None = None


def install_sender(send: Callable[[Any, str, tuple[Any, ...], dict[str, Any]], None]) -> None:
    """Say who delivers `signal.send(...)` outside a workflow: `send(signal, workflow_id, args, kwargs)`."""
    global _sender  # noqa: PLW0603 - one hook, set once at import, like the one in context.py
    _sender = send


class Signal(Definition[P, R_co]):
    """A message to a running workflow. The function is the payload's signature; what it returns is what the receiver gets."""

    kind = "signal"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """What a receiver would get for this payload; nothing is sent."""
        return self.__wrapped__(*args, **kwargs)

    def invoke(self, args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any = None) -> Any:
        """The value that a receiver gets for this payload: the body runs, an `async def` to its end.

        Raises `DefinitionError` if an `async def` body awaits something: it runs where nothing can be waited for.
        """
        value = super().invoke(args, kwargs, instance)
        return outside.finish(value, f"the signal {self.name}()") if self.is_async else value

    @overload
    def start(self: Signal[Q, Coroutine[Any, Any, V]]) -> Promise[V]: ...
    @overload
    def start(self: Signal[Q, S]) -> Promise[S]: ...
    def start(self: Any) -> Promise[Any]:
        """The promise of the next one (first in, first out). Raises `DefinitionError` outside a workflow."""
        promise: Promise[Any] = self._listen(self._runtime("start"))
        return promise

    def wait(self, timeout: float | timedelta | None = None) -> R_co:
        """Wait for the next one and return what the signal's function makes of it; awaitable if that is `async def`.

        `timeout` is seconds or a `timedelta`, None waits for ever. Raises `TimeoutError` when nothing came in time (a later signal is
        kept for the next wait), `DefinitionError` outside a workflow.
        """
        runtime = self._runtime("wait")
        limit = seconds(timeout, f"{self.short_name}.wait(timeout=…)")
        if self._self_target.is_async and outside.loop_is_running():
            answer: Any = self._receive(runtime, limit)
            return answer  # type: ignore[no-any-return]  # a coroutine that gives the value
        promise = self._listen(runtime)
        try:
            if not promise.is_ready() and not runtime.wait(promise.is_ready, (promise,), limit):
                raise self._late(limit)
        except BaseException:  # whatever ends the wait: nobody listens any more, and the next signal belongs to the next wait
            promise.cancel()
            raise
        value: R_co = promise.result()
        return value

    async def _receive(self, runtime: Runtime, limit: float | None) -> Any:
        import asyncio  # noqa: PLC0415 - its loop is running: it is loaded

        promise = self._listen(runtime)
        try:
            async with asyncio.timeout(limit):
                await promise
        except TimeoutError:
            if not promise.is_ready() or isinstance(promise.exception(), Cancelled):
                raise self._late(limit) from None
        return promise.result()

    def _late(self, limit: float | None) -> TimeoutError:
        return TimeoutError(f"no signal {self.name} within {limit:g} s")

    def _listen(self, runtime: Runtime) -> Promise[Any]:
        instance = self._self_bound_to if self._self_is_bound else None
        return runtime.start(Call("signal", self.short_name, target=self, options=self._self_settings, instance=instance))

    def _runtime(self, verb: str) -> Runtime:
        runtime = workflow_runtime()
        if runtime is None:
            raise DefinitionError(
                f"{self.short_name}.{verb}(): a signal can only be waited for inside a workflow. "
                f"From outside, send one: {self.short_name}.send(workflow_id, …)"
            )
        return runtime

    def send(self, workflow_id: str, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Send one to the execution with this id, from a workflow or from a client.

        Raises `TypeError` for arguments that do not fit the signal's function, `SignalFailed` if no open execution has the id.
        """
        if not workflow_id or not isinstance(workflow_id, str):
            raise DefinitionError(f"{self.short_name}.send({workflow_id!r}, …): the first argument is the id of the execution, a string")
        call = self._call(args, kwargs, "send")
        runtime = workflow_runtime()
        if runtime is not None:
            call.args = (workflow_id, *call.args)
            runtime.start(call).result()
        elif _sender is None:
            raise InternalError("no front is installed that could send a signal")
        else:
            _sender(self, workflow_id, call.args, call.kwargs)

    def options(self, **changes: Unpack[SignalOptions]) -> Self:
        """The same signal with other options. Raises `DefinitionError` for an option that signals do not have, or a wrong value."""
        return self._changed(changes)
