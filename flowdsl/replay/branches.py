"""A branch is a concurrent line of workflow code: a greenlet that runs a `def` or drives an `async def`.

Rule 1: this is the only place that suspends. Everything that waits ends in `Hub.wait`, and only the branch that asks is suspended.
Rule 2: one branch runs at a time, on the thread of its hub; branches become ready in the order of the settlings that woke them.
Rule 3: a branch knows its `Scope`: its path, and a counter per name. Ids come from there and from nowhere else (replay rule 2).
Rule 4: closing throws `Evicted` into every suspended branch. While the hub is closing, whatever would wait raises it again and nothing
        is started, so `finally` blocks of user code run without any effect on history (replay rule 8).
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from random import Random
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

from flowdsl.errors import Control, DefinitionError, Evicted, InternalError
from flowdsl.lang.context import current
from flowdsl.limits import clean_id

if TYPE_CHECKING:
    from flowdsl.lang.context import Runtime
    from flowdsl.lang.promises import Promise
    from flowdsl.replay.loop import DeterministicLoop

log = logging.getLogger("flowdsl.replay")

_MAX_PATH = 160
_MAX_ID = 220  # leaves room for an attempt's suffix, and for the prefix of a recorded function's marker
_MAX_EVICTIONS = 100
_abandoned: list[Branch] = []


class Scope:
    """The source of call ids: `name-1`, `name-2` … under a path; a pure function of the position in the code."""

    __slots__ = ("_chance", "_counts", "path")

    def __init__(self, path: str = "") -> None:
        self.path = path
        self._counts: dict[str, int] = {}
        self._chance: Random | None = None

    def next_id(self, name: str) -> str:
        """The id of the next thing called `name` in this scope."""
        count = self._counts[name] = self._counts.get(name, 0) + 1
        text = f"{self.path}{name}-{count}"
        return text if len(text) <= _MAX_ID else clean_id(text, _MAX_ID)

    def child(self, name: str) -> Scope:
        """A scope below this one, for a branch or for one item of a map."""
        path = self.next_id(name)
        return Scope((path if len(path) <= _MAX_PATH else clean_id(path, _MAX_PATH)) + ".")

    def chance(self, run_id: str) -> Random:
        """The random numbers of this scope in this run: the same in every replay."""
        if self._chance is None:
            self._chance = Random(f"{run_id}/{self.path}")
        return self._chance


scope: ContextVar[Scope] = ContextVar("flowdsl_scope")


class Branch:
    """One line of workflow code and where it stands."""

    __slots__ = ("evictions", "greenlet", "held", "interrupt", "loop", "name", "promise", "queued", "shields")

    def __init__(self, name: str, promise: Promise[Any]) -> None:
        self.name = name
        self.promise = promise
        self.greenlet: greenlet | None = None
        self.queued = False
        self.interrupt: BaseException | None = None
        self.loop: DeterministicLoop | None = None
        self.evictions = 0
        self.shields = 0
        self.held: list[BaseException] = []  # interruptions that wait for the end of a shield

    def __repr__(self) -> str:
        return f"<branch {self.name or 'main'}>"


class Hub:
    """The ready queue of one execution's branches."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._ready: deque[Branch] = deque()
        self._pollers: list[Branch] = []
        self._progressed = False
        self._greenlet = getcurrent()
        self._outside: Any = None  # the event loop that runs around this hub, in a notebook for instance
        self.branches: dict[Branch, None] = {}
        self.running: Branch | None = None
        self.closing = False

    def begin(self, branch: Branch, inner: Scope, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make a branch that runs `fn(*args, **kwargs)` and settles its promise with the outcome; it runs when its turn comes."""
        self.refuse_if_closing()

        def body() -> None:
            current.set(self._runtime)
            scope.set(inner)
            try:
                value = fn(*args, **kwargs)
                if inspect.iscoroutine(value):
                    from flowdsl.replay.loop import drive  # noqa: PLC0415 - asyncio is loaded for `async def` workflows only

                    value = drive(self, branch, value)
            except Evicted:
                pass
            except BaseException as error:  # noqa: BLE001 - whatever a body raises is its outcome
                if not self.closing:
                    branch.promise.fail(_without_our_frames(error))
            else:
                if not self.closing:
                    branch.promise.settle(value)
            finally:
                self.branches.pop(branch, None)

        branch.greenlet = greenlet(body, parent=self._greenlet)
        branch.greenlet.gr_context = copy_context()
        self.branches[branch] = None
        self.wake(branch)

    def wake(self, branch: Branch) -> None:
        """Put a suspended branch into the ready queue, once."""
        if not branch.queued:
            branch.queued = True
            self._ready.append(branch)

    def run(self) -> None:
        """Run every branch that can run until each waits."""
        if self.running is not None:
            raise InternalError("a hub cannot be run from one of its own branches")
        self._progressed = True
        self._outside = _running_loop()
        while True:
            while self._ready:
                branch = self._ready.popleft()
                branch.queued = False
                self._progressed = True
                self._resume(branch)
            if not (self._pollers and self._progressed):
                return
            self._progressed = False
            pollers, self._pollers = self._pollers, []
            for branch in pollers:
                self._resume(branch)

    def _resume(self, branch: Branch) -> None:
        if branch.greenlet is None or branch.greenlet.dead:
            return
        self.running = branch
        try:
            branch.greenlet.switch()
        finally:
            self.running = None

    def wait(self, ready: Callable[[], bool], promises: Sequence[Promise[Any]]) -> None:
        """Suspend the running branch until `ready()`; asked when one of `promises` settles, or after every event if there are none."""
        self.refuse_if_closing()
        branch = self.here()
        if branch.interrupt is not None:
            self._deliver(branch)
        if ready():
            return
        if not promises:
            while True:
                self._pollers.append(branch)
                self.suspend(branch)
                if ready():
                    self._progressed = True
                    return

        def settled(_: Promise[Any]) -> None:
            if not branch.queued and ready():
                self.wake(branch)

        pending = [p for p in promises if not p.is_ready()]
        for promise in pending:
            promise.subscribe(settled)
        try:
            while not ready():
                self.suspend(branch)
        finally:
            for promise in pending:
                promise.unsubscribe(settled)

    def suspend(self, branch: Branch) -> None:
        """Give way to the other branches until somebody wakes this one."""
        loop = branch.loop
        if loop is not None:
            loop.leave()
        try:
            self._greenlet.switch()
        finally:
            if loop is not None:
                loop.enter()
        self.refuse_if_closing()
        if branch.interrupt is not None:
            self._deliver(branch)

    def interrupt(self, branch: Branch, error: BaseException) -> None:
        """Raise `error` at the line where the branch waits (or will wait next); an `async def` sees asyncio's `CancelledError`."""
        if branch.shields:
            branch.held.append(error)
            return
        self.interrupt_now(branch, error)

    def interrupt_now(self, branch: Branch, error: BaseException) -> None:
        """The same, through every shield."""
        if branch.loop is not None and branch.loop.is_waiting:
            branch.loop.interrupt(error)
            return
        branch.interrupt = error
        if branch in self._pollers:
            self._pollers.remove(branch)
        self.wake(branch)

    def line(self) -> BranchLine:
        """The line of code that is running."""
        branch = self.here()
        return BranchLine(self, branch, None if branch.loop is None else branch.loop.running_task)

    def _deliver(self, branch: Branch) -> None:
        error, branch.interrupt = branch.interrupt, None
        if error is not None:
            raise error

    def here(self) -> Branch:
        """The branch that is running; refuses code on a thread or in an event loop that is none of this hub's."""
        branch = self.running
        if branch is None or getcurrent() is not branch.greenlet:
            raise DefinitionError(
                "a durable call came from a thread that the workflow started itself. The order of threads can't be replayed: "
                "call it from the workflow's own code, use spawn(fn) for concurrency, or move the thread into an @activity"
            )
        if _running_loop() is not (branch.loop or self._outside):
            raise DefinitionError(
                "a durable call came from an event loop that the workflow started itself (asyncio.run?). What wakes that loop is not "
                "recorded: write the workflow as `async def` and await the call there"
            )
        return branch

    def refuse_if_closing(self) -> None:
        """While the body is torn down, nothing starts and nothing waits."""
        if not self.closing:
            return
        branch = self.running
        if branch is not None:
            branch.evictions += 1
            if branch.evictions > _MAX_EVICTIONS:
                _abandoned.append(branch)
                where = _user_line(inspect.currentframe())
                log.warning(
                    "%s swallows its eviction again and again at %s; it is abandoned. Do not catch BaseException there", branch, where
                )
                self._greenlet.switch()
        raise Evicted

    def close(self) -> None:
        """Tear down every branch that has not ended."""
        self.closing = True
        self._ready.clear()
        for branch in list(self.branches):
            body = branch.greenlet
            if body is None or body.dead or not body:
                continue
            self.running = branch
            try:
                body.throw(Evicted)
            finally:
                self.running = None
        self.branches.clear()


class BranchLine:
    """A branch, or one asyncio task of a branch, as something that can be interrupted (see `lang.context.Line`)."""

    __slots__ = ("_branch", "_cancelling", "_hub", "_shields", "_task")

    def __init__(self, hub: Hub, branch: Branch, task: Any) -> None:
        self._hub = hub
        self._branch = branch
        self._task = task
        self._cancelling = 0 if task is None else task.cancelling()
        self._shields = branch.shields

    def interrupt(self, error: BaseException) -> None:
        """Raise it at the waiting place; a shield that was put up after this line was taken holds it back."""
        if self._branch.shields > self._shields:
            self._branch.held.append(error)
        else:
            self._interrupt(error)

    def _interrupt(self, error: BaseException) -> None:
        loop = self._branch.loop
        if self._task is None or (loop is not None and loop.blocked_task is self._task):
            self._hub.interrupt_now(self._branch, error)
        else:
            self._task.cancel()

    def forget(self, error: BaseException) -> None:
        """Take back what was not delivered."""
        if self._branch.interrupt is error:
            self._branch.interrupt = None
        if error in self._branch.held:
            self._branch.held.remove(error)

    def took(self, error: BaseException, interruption: BaseException) -> bool:
        """A coroutine sees `CancelledError`; it is this line's if nobody else has cancelled the task as well."""
        if self._task is None or type(error).__name__ != "CancelledError":
            return False
        return bool(self._task.uncancel() <= self._cancelling)

    def shield(self) -> None:
        """One more shield over the branch."""
        self._branch.shields += 1

    def unshield(self, *, quiet: bool) -> None:
        """One shield less; under none, what was held back arrives."""
        branch = self._branch
        branch.shields -= 1
        if branch.shields or not branch.held or self._hub.closing:
            return
        held, branch.held = branch.held, []
        if quiet or self._task is not None:
            for error in held:
                self._hub.interrupt(branch, error)
        else:
            raise held[0]


def _without_our_frames(error: BaseException) -> BaseException:
    """Drop the frame of `body` from the traceback: it says nothing to a user."""
    if isinstance(error, Control) or error.__traceback__ is None:
        return error
    return error.with_traceback(error.__traceback__.tb_next)


def _running_loop() -> Any:
    """The event loop that runs on this thread, or None; does not load asyncio."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


def _user_line(frame: Any) -> str:
    while frame is not None and "/flowdsl/" in frame.f_code.co_filename.replace("\\", "/"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "an unknown line"
