"""`Worker`: serves a task list until it is told to stop.

Rule 1: a worker serves what it was given (definitions, modules, classes), or everything that is registered.
Rule 2: the first signal drains: open polls are finished or withdrawn, running activities end or their grace is over. The second one
        does not
        wait: what runs is cancelled and given back, so that another worker gets it.
Rule 3: a signal's handler only leaves a note; what it asks for is done by the thread that runs the worker.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from flowdsl import config
from flowdsl.backends import Backend, Local, Swf, resolve
from flowdsl.connection import connect
from flowdsl.errors import DefinitionError
from flowdsl.lang.registry import Registry, default_registry
from flowdsl.limits import LONG_POLL, VERSION, check_name
from flowdsl.serving import Server
from flowdsl.workers.hooks import Hooks

if TYPE_CHECKING:
    from flowdsl.service.observed import Observer

_GLANCE = 0.5  # seconds
DEFAULT_GRACE = 30.0
"""Seconds that running activities have to end after the first signal."""

LAST_WORDS = 5.0
"""Seconds that decisions in hand have to end, and cancelled activities to be given back, after the second signal."""

_POLL_END = LONG_POLL + 5.0


class Worker:
    """Serves a task list: decides for workflows and runs activities.

    `definitions` are definitions, modules, packages or classes (default: everything registered); `instances` are what methods run on;
    `activities` is how many run at once, `deciders` how many decisions are made at once. `on_idle()` is called when a poll came back empty,
    `on_error(error, about)` when something went wrong that no caller hears of, and each of `observers` with every task that was answered.

    `sticky` sends an execution's decision tasks back to the thread that keeps it, where several decide for one list (default: with more
    than one decider; say True when more processes serve the list). `build` names this code: an execution stays with workers of the build
    that began it, and new ones begin with the newest build.
    """

    def __init__(
        self, *definitions: Any, backend: str | Backend | None = None, task_list: str | None = None, instances: Sequence[Any] = (),
        activities: int = 8, deciders: int = 1, on_idle: Callable[[], None] | None = None,
        on_error: Callable[[BaseException, dict[str, Any]], None] | None = None, sticky: bool | None = None, build: str | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:  # fmt: skip
        where = resolve(backend)
        if isinstance(where, Local):
            raise DefinitionError("Worker(backend='local'): a local run needs no worker; give 'embedded' or 'swf'")
        for what, number in (("activities", activities), ("deciders", deciders)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise DefinitionError(f"Worker({what}={number!r}): give a whole number, 0 or more")
        if build is not None and sticky:
            raise DefinitionError("Worker(build=…, sticky=True): a build has a decision task list of its own; give one of the two")
        if build is not None:
            check_name(build, "Worker(build=…)", VERSION)
        connection = connect(where)
        registry = Registry.collect(*definitions) if definitions else default_registry
        own = where.task_list if isinstance(where, Swf) else None
        self.task_list = task_list or own or config.task_list()
        self._server = Server(
            connection, registry, list(instances), activities=activities, deciders=deciders,
            hooks=Hooks(on_idle=on_idle, on_error=on_error), every_list=not isinstance(where, Swf),
            sticky=sticky, build=build, observers=observers,
        )  # fmt: skip
        self.stopping = False
        self._notes: SimpleQueue[str] = SimpleQueue()  # its `put` may be called by a signal's handler, whatever it interrupts

    def start(self) -> Worker:
        """Begin to serve, in background threads."""
        self._server.start(self.task_list)
        return self

    def stop(self, grace: float | None = DEFAULT_GRACE) -> None:
        """Drain and end: open polls are finished or withdrawn, running activities have `grace` seconds (None: as long as it takes)."""
        self.stopping = True
        self._server.stop(grace)
        self._server.join(None if grace is None else max(grace, _POLL_END) + LAST_WORDS)
        self._notes.put("ended")

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once. In a thread that is not the main one: until `stop()`."""
        with self._listening():
            self.start()
            if self._note() == "ended":
                return
            threading.Thread(target=self.stop, name="flowdsl-drain", daemon=True).start()
            if self._note() == "ended":
                return
            self._server.stop(0)
            self._server.settle(LAST_WORDS)

    def _note(self) -> str:
        """The next note. It wakes now and then: the system may give a signal to any thread, and only this one runs its handler."""
        while True:
            with suppress(Empty):
                return self._notes.get(timeout=_GLANCE)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Note signals, if this is the thread that gets them."""
        previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                previous[number] = signal.signal(number, lambda *_: self._notes.put("signal"))
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
