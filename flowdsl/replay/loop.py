"""A deterministic asyncio loop: its callbacks run in the order in which history woke them, its only clock is history.

Rule 1: one loop per `async def` branch. It has no selector and no thread; when nothing is ready its branch suspends.
Rule 2: `call_later` is a durable timer. `time()` is the execution's `now()`.
Rule 3: every task is a scope of its own, so the ids of calls do not depend on how tasks interleave.
Rule 4: what cannot be durable (sockets, executors, subprocesses, signals) is refused with a sentence that says what to write instead.
Rule 5: a cancellation of the branch is one of its main task, as `asyncio.run` does it on Ctrl-C: the code sees `CancelledError`.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVarTuple

from flowdsl.errors import DefinitionError, Evicted
from flowdsl.lang.context import Call
from flowdsl.replay.branches import scope

if TYPE_CHECKING:
    from flowdsl.lang.context import Runtime
    from flowdsl.replay.branches import Branch, Hub

_Ts = TypeVarTuple("_Ts")

_swap_current_task = getattr(asyncio.tasks, "_swap_current_task", None)


def drive(hub: Hub, branch: Branch, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end inside `branch`."""
    loop = DeterministicLoop(hub, branch)  # type: ignore[abstract]  # the methods it seems to lack are set below the class
    branch.loop = loop
    loop.enter()
    try:
        return loop.run(coroutine)
    finally:
        loop.leave()
        branch.loop = None


class DeterministicLoop(asyncio.AbstractEventLoop):
    """What `asyncio` needs of a loop, without the world outside."""

    def __init__(self, hub: Hub, branch: Branch) -> None:
        self._hub = hub
        self._branch = branch
        self._callbacks: deque[asyncio.Handle] = deque()
        self._born = zlib.crc32(f"{self._runtime.info().run_id}/{branch.name}".encode()) << 32  # the first task's number
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._outer: asyncio.AbstractEventLoop | None = None
        self._task_inside: asyncio.Task[Any] | None = None
        self._parked = False
        self._closed = False
        self._main: asyncio.Task[Any] | None = None
        self._interrupt: BaseException | None = None
        self.blocked_task: asyncio.Task[Any] | None = None  # the one whose plain call holds the whole branch

    @property
    def _runtime(self) -> Runtime:
        return self._hub._runtime  # noqa: SLF001 - the loop is a part of the hub's branch

    # --- running

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run callbacks until the coroutine's task is done; suspend the branch whenever none is ready."""
        main = self._main = _Task(self._born, coroutine, loop=self)
        self._tasks[main] = None
        try:
            self._run_until(main)
            self._cancel_leftovers(main)
            if main.cancelled() and self._interrupt is not None:
                raise self._interrupt
            return main.result()
        except BaseException:
            self._abandon_tasks()
            raise
        finally:
            self._closed = True

    def _run_until(self, task: asyncio.Future[Any]) -> None:
        while not task.done():
            while self._callbacks and not task.done():
                handle = self._callbacks.popleft()
                if not handle.cancelled():
                    handle._run()
            if not task.done():
                self._parked = True
                try:
                    self._hub.suspend(self._branch)
                finally:
                    self._parked = False

    @property
    def is_waiting(self) -> bool:
        """Whether the branch is suspended because no task of the loop can run (and not inside a plain call of one task)."""
        return self._parked

    def interrupt(self, error: BaseException) -> None:
        """Cancel the main task; if it ends by that, the branch ends with `error`."""
        if self._main is not None and self._main.cancel():
            self._interrupt = error

    def _cancel_leftovers(self, main: asyncio.Task[Any]) -> None:
        """As `asyncio.run` does: what is still going when the main task ends is cancelled."""
        leftovers = [t for t in self._tasks if t is not main and not t.done()]
        for task in leftovers:
            task.cancel()
        for task in leftovers:
            self._run_until(task)

    def _abandon_tasks(self) -> None:
        for task in list(self._tasks):
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is torn down on purpose: no warning at collection
                coroutine = task.get_coro()
                if coroutine is not None:
                    try:
                        coroutine.close()
                    except (RuntimeError, ValueError, Evicted):
                        continue  # it swallowed its GeneratorExit, is the one that is running, or asked for something in a `finally`

    @property
    def running_task(self) -> asyncio.Task[Any] | None:
        """The task whose code is running."""
        return asyncio.current_task(self)

    def enter(self) -> None:
        """Make this the running loop of the thread; the branch has the floor."""
        self._outer = events._get_running_loop()
        events._set_running_loop(self)
        self.blocked_task = None
        if self._task_inside is not None and _swap_current_task is not None:
            _swap_current_task(self, self._task_inside)
            self._task_inside = None

    def leave(self) -> None:
        """Give the thread back to whatever loop was running."""
        self.blocked_task = None if self._parked else asyncio.current_task(self)
        if _swap_current_task is not None:
            self._task_inside = _swap_current_task(self, None)
        events._set_running_loop(self._outer)

    # --- what asyncio asks of a loop

    def call_soon(self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None) -> asyncio.Handle:
        """Run it when the callbacks before it have run."""
        handle = asyncio.Handle(callback, args, self, context)
        self._callbacks.append(handle)
        if self._parked:
            self._hub.wake(self._branch)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it after `delay` seconds: a durable timer."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None) -> asyncio.TimerHandle:
        """Run it when `time()` is `when`: a durable timer."""
        handle = _DurableTimer(when, callback, args, self, context)
        delay = when - self.time()
        if delay <= 0:
            self._callbacks.append(handle)
            return handle
        handle.promise = self._runtime.start(Call("sleep", "timer", (round(delay, 6),)))
        handle.promise.subscribe(lambda promise: None if promise.failed or handle.cancelled() else self._fire(handle))
        return handle

    def _fire(self, handle: asyncio.Handle) -> None:
        self._callbacks.append(handle)
        if self._parked:
            self._hub.wake(self._branch)

    def time(self) -> float:
        """The execution's `now()`, in epoch seconds."""
        moment = self._runtime.info().now
        return moment.timestamp() if moment is not None else 0.0

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None, **options: Any) -> asyncio.Task[Any]:
        """A task with a scope of its own for the ids of its calls."""
        inner = scope.get().child("task")
        own = copy_context() if context is None else context.copy()
        own.run(scope.set, inner)
        options.pop("eager_start", None)
        self._born += 1
        task = _Task(self._born, coro, loop=self, name=name, context=own, **options)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    def is_running(self) -> bool:
        """Whether the branch has not ended."""
        return not self._closed

    def is_closed(self) -> bool:
        """Whether the branch has ended."""
        return self._closed

    def get_debug(self) -> bool:
        """Never: asyncio's debug mode looks at the clock."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Exceptions that nobody asked for stay where they are, as a promise that nobody reads does."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """See `call_exception_handler`."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, _DurableTimer) and handle.promise is not None:
            handle.promise.cancel()

    async def shutdown_asyncgens(self) -> None:
        """Async generators end with their branch."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's own signature
        """There is none."""


class _Task(asyncio.Task[Any]):
    """A task that hashes by its number: asyncio keeps tasks in sets, and cancels them in the order in which those iterate.

    The low half of the number counts the tasks of the loop, and orders them. The high half is the loop's own: asyncio also knows all
    tasks of the process in one weak set, which would have to look at every task that has the same hash.
    """

    def __init__(self, number: int, *args: Any, **kwargs: Any) -> None:
        self._number = number  # first: asyncio asks for the hash while the task is made
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _DurableTimer(asyncio.TimerHandle):
    __slots__ = ("promise",)

    def __init__(self, when: float, callback: Callable[..., Any], args: Any, loop: DeterministicLoop, context: Context | None) -> None:
        super().__init__(when, callback, args, loop, context)
        self._scheduled = True
        self.promise: Any = None


def _refused(name: str) -> Callable[..., Any]:
    why = next((why for words, why in _WHY_NOT if any(word in name for word in words)), "what it does is not recorded")

    def refuse(self: DeterministicLoop, *args: Any, **kwargs: Any) -> Any:
        raise DefinitionError(
            f"{name}() cannot be durable inside a workflow: {why}. Put it into an @activity (or @cached) function and call that"
        )

    refuse.__name__ = name
    return refuse


_WHY_NOT = (
    (("executor", "threadsafe"), "what a thread does, and when, is not recorded"),
    (("subprocess",), "what a subprocess prints is not recorded"),
    (("signal_handler",), "signals of the operating system are not recorded; a workflow listens to @signal functions"),
    (("run_", "stop", "close"), "the loop belongs to the workflow; await what is to run"),
    (
        ("connect", "server", "sock", "reader", "writer", "pipe", "addrinfo", "nameinfo", "tls", "sendfile", "endpoint"),
        "what comes over a socket is not recorded",
    ),
)

for _name, _base in vars(asyncio.AbstractEventLoop).items():  # whatever is not written above is refused, in every Python version
    if not _name.startswith("_") and callable(_base) and _name not in vars(DeterministicLoop):
        setattr(DeterministicLoop, _name, _refused(_name))


if sys.version_info < (3, 12):  # before 3.12 a task that is suspended by a greenlet switch stays "current" of its own loop only
    _swap_current_task = None
