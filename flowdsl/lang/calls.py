"""What can be started: activities, recorded functions, timers, workflows (the manual's table "A call means what Python says it means").

Rule 1: outside every run, and inside an activity, a call is the plain function's. That path is the first lines of `__call__`.
Rule 2: inside a workflow a call is a `Call` given to the runtime; nothing here knows which runtime it is.
Rule 3: `def` gives the value, `async def` something to await; `.start` gives a promise for both.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from flowdsl.lang import outside
from flowdsl.lang.context import Call, Runtime, current, run_directly, workflow_runtime
from flowdsl.lang.promises import Promise
from flowdsl.lang.windows import map_calls
from flowdsl.lang.wrapping import Definition

if TYPE_CHECKING:
    from typing import Self, Unpack

    from flowdsl.lang.options import ActivityOptions, CommonOptions, WorkflowOptions

P = ParamSpec("P")
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
V = TypeVar("V")
X = TypeVar("X")

_current = current.get  # looked up once: it is asked at every call


class Startable(Definition[P, R_co]):
    """What activities, recorded functions, timers and workflows have in common: they can be started and mapped."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The value; inside a workflow the branch waits for it."""
        runtime = _current()
        if runtime is None or runtime.transparent:
            return self.__wrapped__(*args, **kwargs)
        answer: R_co = self._answer(runtime, self._call(args, kwargs))
        return answer

    def _answer(self, runtime: Runtime, call: Call) -> Any:
        """The value, or for `async def` under an event loop something that gives it when awaited."""
        if self._self_target.is_async and outside.loop_is_running():
            return _awaited(runtime, call)
        return runtime.start(call).result()

    @overload
    def start(self: Startable[Q, Coroutine[Any, Any, V]], /, *args: Q.args, **kwargs: Q.kwargs) -> Promise[V]: ...
    @overload
    def start(self: Startable[Q, S], /, *args: Q.args, **kwargs: Q.kwargs) -> Promise[S]: ...
    def start(self: Any, /, *args: Any, **kwargs: Any) -> Promise[Any]:
        """Begin the call and return its promise; nothing waits. Outside a workflow the function has run when this returns.

        Raises `TypeError` for arguments that do not fit.
        """
        call = self._call(args, kwargs)
        runtime = workflow_runtime()
        return self._start_plainly(call) if runtime is None else runtime.start(call)

    def _start_plainly(self, call: Call) -> Promise[Any]:
        return outside.settled(lambda: self.invoke(call.args, call.kwargs, call.instance), self.is_async, self.name)

    @overload
    def map(self: Startable[Concatenate[X, Q], Coroutine[Any, Any, V]], xs: Iterable[X], *, concurrency: int | None = None) -> list[V]: ...
    @overload
    def map(self: Startable[Concatenate[X, Q], S], xs: Iterable[X], *, concurrency: int | None = None) -> list[S]: ...
    def map(self: Any, xs: Iterable[Any], *, concurrency: int | None = None) -> list[Any]:
        """`[f(x) for x in xs]`, concurrently inside a workflow: at most `concurrency` calls are open at a time (None: all).

        The values stand in the order of `xs`. The first exception is raised as soon as it happened: nothing more is started then, what is
        open goes on. Raises `DefinitionError` for a `concurrency` that is not a whole number of 1 or more.
        """
        return map_calls(self, xs, concurrency)


async def _awaited(runtime: Runtime, call: Call) -> Any:
    return await runtime.start(call)


class Activity(Startable[P, R_co]):
    """Work outside the workflow, run at least once by a worker; a plain call elsewhere."""

    kind = "activity"

    def options(self, **changes: Unpack[ActivityOptions]) -> Self:
        """The same activity with other options. Raises `DefinitionError` for an option that activities do not have, or a wrong value."""
        return self._changed(changes)

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # wrapt's gives its own class; ours stays one of ours
        def __get__(self, instance: None, owner: Any = None, /) -> Self: ...
        @overload
        def __get__(self: Activity[Concatenate[Any, Q], S], instance: object, owner: Any = None, /) -> Activity[Q, S]: ...
        def __get__(self, instance: Any, owner: Any = None, /) -> Any:
            return super().__get__(instance, owner)


class Cached(Startable[P, R_co]):
    """A function that runs once inside the decision task; its outcome is recorded in a marker and read from there ever after."""

    kind = "cached"

    def options(self, **changes: Unpack[CommonOptions]) -> Self:
        """The same function with other options. Raises `DefinitionError` for an option that it does not have, or a wrong value."""
        return self._changed(changes)

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # wrapt's gives its own class; ours stays one of ours
        def __get__(self, instance: None, owner: Any = None, /) -> Self: ...
        @overload
        def __get__(self: Cached[Concatenate[Any, Q], S], instance: object, owner: Any = None, /) -> Cached[Q, S]: ...
        def __get__(self, instance: Any, owner: Any = None, /) -> Any:
            return super().__get__(instance, owner)


class Workflow(Startable[P, R_co]):
    """The function that calls all others: durable on every backend but the local one. Called inside a workflow it is a child workflow."""

    kind = "workflow"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """A child workflow inside a workflow; elsewhere it runs here and now, as `run(f, …, backend="local")` would."""
        call = self._call(args, kwargs)
        runtime = workflow_runtime()
        if runtime is not None:
            answer: R_co = self._answer(runtime, call)
            return answer
        run: Any = _later if self._self_target.is_async else run_directly
        value: R_co = run(call)
        return value

    def _start_plainly(self, call: Call) -> Promise[Any]:
        return Promise.of(lambda: run_directly(call))

    def options(self, **changes: Unpack[WorkflowOptions]) -> Self:
        """The same workflow with other options. Raises `DefinitionError` for an option that workflows do not have, or a wrong value."""
        return self._changed(changes)

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # wrapt's gives its own class; ours stays one of ours
        def __get__(self, instance: None, owner: Any = None, /) -> Self: ...
        @overload
        def __get__(self: Workflow[Concatenate[Any, Q], S], instance: object, owner: Any = None, /) -> Workflow[Q, S]: ...
        def __get__(self, instance: Any, owner: Any = None, /) -> Any:
            return super().__get__(instance, owner)


async def _later(call: Call) -> Any:
    return run_directly(call)


class Timer(Startable[P, R_co]):
    """A pause whose length the function says, once: a durable timer inside a workflow, a real pause elsewhere. A call gives None."""

    kind = "timer"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Wait as long as the function says, and give None."""
        runtime = workflow_runtime()
        if runtime is not None:
            answer: R_co = self._answer(runtime, self._call(args, kwargs))
            return answer
        value: Any = self.__wrapped__(*args, **kwargs)
        wait: Any = outside.wait_async if self._self_target.is_async else outside.wait
        waited: R_co = wait(value, self._what)
        return waited

    @property
    def _what(self) -> str:
        return f"the timer {self.name}()"

    def _start_plainly(self, call: Call) -> Promise[Any]:
        return outside.start_timer(lambda: self.invoke(call.args, call.kwargs, call.instance), self.is_async, self._what)

    def options(self, **changes: Unpack[CommonOptions]) -> Self:
        """The same timer with other options. Raises `DefinitionError` for an option that timers do not have, or a wrong value."""
        return self._changed(changes)

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # wrapt's gives its own class; ours stays one of ours
        def __get__(self, instance: None, owner: Any = None, /) -> Self: ...
        @overload
        def __get__(self: Timer[Concatenate[Any, Q], S], instance: object, owner: Any = None, /) -> Timer[Q, S]: ...
        def __get__(self, instance: Any, owner: Any = None, /) -> Any:
            return super().__get__(instance, owner)
