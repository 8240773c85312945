"""Which runtime a decorated call goes to: one context variable, five verbs.

Rule 1: `current` is `None` outside every run. A decorated call then is the plain call; that path is the fast one.
Rule 2: inside a workflow `current` is a `Runtime`: the replayer's or the local one. Whatever a workflow does is one of its verbs:
        `start` a call, `wait` for promises, `spawn` a branch, say what line of code is `here`, ask for `info`.
Rule 3: inside an activity `current` is a `Runtime` whose `transparent` is true: calls are plain calls again.
Rule 4: a runtime is set once per branch, in the branch's own context; nothing here is global but the variable.
Rule 5: what flowdsl does for a workflow (encoding, storing, a local activity's thread) is not workflow code: it runs `outside_workflow`,
        though on the workflow's branch. Where it calls user code of the workflow again (a signal's function), that runs `inside`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from flowdsl.errors import InternalError

if TYPE_CHECKING:
    from datetime import datetime

    from flowdsl.lang.options import Options
    from flowdsl.lang.promises import Promise


@dataclass(slots=True)
class Call:
    """One decorated call on its way to a runtime.

    `kind` is one of `activity`, `cached`, `timer`, `workflow`, `signal` (wait for one), `send` (send one), `sleep`, `marker`,
    `publish`. `target` is the definition (or, for the kinds without one, None); `name` is the short name from which the call id is
    made; `instance` is what a method is bound to: it never travels.
    """

    kind: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    target: Any = None
    options: Options | None = None
    instance: Any = None


@dataclass(frozen=True, slots=True)
class Info:
    """What a workflow or an activity may know of itself; fields that do not apply are None.

    `attempt` counts from 1. `history_length` is the number of events the decider has seen. `idempotency_key` stays the same over all
    attempts of one call.
    """

    kind: str
    name: str
    version: str
    workflow_id: str
    run_id: str
    call_id: str | None = None
    attempt: int = 1
    task_token: str | None = None
    heartbeat_details: Any = None
    idempotency_key: str | None = None
    now: datetime | None = None
    started: datetime | None = None
    history_length: int = 0
    replaying: bool = False
    task_list: str | None = None
    backend: str = ""
    tags: tuple[str, ...] = ()
    parent: tuple[str, str] | None = None


class Line(Protocol):
    """A line of running workflow code, which can be interrupted where it waits: a branch, or one asyncio task of a branch."""

    def interrupt(self, error: BaseException) -> None:
        """Raise `error` at the line's waiting place, or at its next one; a coroutine sees `asyncio.CancelledError`."""

    def forget(self, error: BaseException) -> None:
        """An interruption that was not delivered is not delivered any more."""

    def took(self, error: BaseException, interruption: BaseException) -> bool:
        """Whether `error`, which arrived in the code, is how it saw `interruption`."""

    def shield(self) -> None:
        """Hold back what is not yet under way to it."""

    def unshield(self, *, quiet: bool) -> None:
        """Let through what was held back: raise it here, or (`quiet`) at the next waiting place."""


class Runtime(Protocol):
    """Where calls go inside a run."""

    transparent: bool

    def start(self, call: Call) -> Promise[Any]:
        """Begin the call; return its promise without waiting."""

    def wait(self, ready: Callable[[], bool], promises: Sequence[Promise[Any]], timeout: float | None) -> bool:
        """Suspend the branch until `ready()`; asked again whenever one of `promises` settles (after every event if there are none).

        Return False if `timeout` seconds passed first.
        """

    def spawn(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Promise[Any]:
        """Run ordinary workflow code as a concurrent branch."""

    def here(self) -> Line:
        """The line of code that asks."""

    def info(self) -> Info:
        """What the running code may know of itself."""


current: ContextVar[Runtime | None] = ContextVar("flowdsl_current", default=None)

_direct: Callable[[Call], Any] | None = None


def install_direct(run_workflow: Callable[[Call], Any]) -> None:
    """Say who runs a workflow that is called outside every run (the local runtime, a floor above this one)."""
    global _direct  # noqa: PLW0603 - one hook, set once at import: floors forbid importing the local runtime from here
    _direct = run_workflow


def run_directly(call: Call) -> Any:
    """Run a workflow call here and now, as `run(f, …, backend="local")` would."""
    if _direct is None:
        raise InternalError("no local runtime is installed")
    return _direct(call)


@contextmanager
def inside(runtime: Runtime | None) -> Iterator[None]:
    """The code of this block runs in `runtime`; None: outside every run."""
    token = current.set(runtime)
    try:
        yield
    finally:
        current.reset(token)


def outside_workflow() -> AbstractContextManager[None]:
    """The code of this block is flowdsl's own business: nothing of a workflow's rules holds for it."""
    return inside(None)


def workflow_runtime() -> Runtime | None:
    """The runtime of the workflow that is running, or None outside a workflow (also inside an activity)."""
    runtime = current.get()
    return None if runtime is None or runtime.transparent else runtime
