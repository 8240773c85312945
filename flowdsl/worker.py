"""`Worker`: serves a task list until it is told to stop. `Server` is its inside: deciders and activity workers of one connection.

Rule 1: a worker serves what it was given (definitions, modules, classes), or everything that is registered.
Rule 2: stopping drains: open polls are finished, running activities end or their grace is over. Twice is at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flowdsl import config
from flowdsl.backends import Backend, Local, Swf, resolve
from flowdsl.connection import Connection, connect
from flowdsl.errors import DefinitionError
from flowdsl.lang.registry import Registry, default_registry
from flowdsl.workers.activities import ActivityWorker
from flowdsl.workers.decider import Decider
from flowdsl.workers.hooks import Hooks

DEFAULT_GRACE = 30.0


class Server:
    """Deciders and activity workers on one task list of one connection."""

    def __init__(
        self, connection: Connection, task_list: str, registry: Registry, instances: list[Any], *,
        activities: int = 8, deciders: int = 1, hooks: Hooks | None = None, every_list: bool = False,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._registry = registry
        self._task_list = task_list
        self._every_list = every_list
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        backend = connection.backend.name
        self._decider = Decider(
            connection.swf, task_list, registry, connection.values, threads=deciders, instances=instances, hooks=hooks, backend=backend,
            on_response=self._closed,
        )  # fmt: skip
        self._hooks = hooks
        self._instances = instances
        self._slots = activities
        self._activities: dict[str, ActivityWorker] = {}
        self._running = False

    def start(self) -> None:
        """Register what is served and begin to poll."""
        self._running = True
        self.refresh()
        self._decider.start()

    def refresh(self) -> None:
        """Take in what was decorated since."""
        self._connection.register(*[d for d in self._registry if d.kind in ("workflow", "activity")])
        lists = {self._task_list}
        if self._every_list:
            lists |= {d.settings.task_list for d in self._registry if d.kind == "activity" and d.settings.task_list}
        for name in sorted(lists - set(self._activities)):
            worker = ActivityWorker(
                self._connection.transport, self._connection.domain, name, self._registry, self._connection.values,
                instances=self._instances, slots=self._slots, hooks=self._hooks, backend=self._connection.backend.name,
            )  # fmt: skip
            self._activities[name] = worker
            worker.start()

    def on_closed(self, workflow_id: str, wake: Callable[[], None]) -> None:
        """Call `wake` after a decision of ours that ends this execution."""
        with self._lock:
            self._waiting.setdefault(workflow_id, []).append(wake)

    def _closed(self, workflow_id: str, _: str) -> None:
        with self._lock:
            waiting = self._waiting.pop(workflow_id, [])
        for wake in waiting:
            wake()

    def stop(self, grace: float | None = DEFAULT_GRACE) -> None:
        """Poll no more; activities that run have `grace` seconds. Does not wait: see `join`."""
        self._running = False
        self._decider.stop()
        for worker in self._activities.values():
            worker.stop(grace)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until everything has ended."""
        return all([self._decider.join(timeout), *[worker.join(timeout) for worker in self._activities.values()]])


class Worker:
    """Serves a task list: decides for workflows and runs activities.

    `definitions` are definitions, modules, packages or classes (default: everything registered); `instances` are what methods run on;
    `activities` is how many run at once, `deciders` how many decisions are made at once. `on_idle()` is called when a poll came back empty,
    `on_error(error, about)` when something went wrong that no caller hears of.
    """

    def __init__(
        self, *definitions: Any, backend: str | Backend | None = None, task_list: str | None = None, instances: Sequence[Any] = (),
        activities: int = 8, deciders: int = 1, on_idle: Callable[[], None] | None = None,
        on_error: Callable[[BaseException, dict[str, Any]], None] | None = None,
    ) -> None:  # fmt: skip
        where = resolve(backend)
        if isinstance(where, Local):
            raise DefinitionError("Worker(backend='local'): a local run needs no worker; give 'embedded' or 'swf'")
        for what, number in (("activities", activities), ("deciders", deciders)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise DefinitionError(f"Worker({what}={number!r}): give a whole number, 0 or more")
        connection = connect(where)
        registry = Registry.collect(*definitions) if definitions else default_registry
        own = where.task_list if isinstance(where, Swf) else None
        self.task_list = task_list or own or config.task_list()
        self._server = Server(
            connection, self.task_list, registry, list(instances), activities=activities, deciders=deciders,
            hooks=Hooks(on_idle=on_idle, on_error=on_error), every_list=not isinstance(where, Swf),
        )  # fmt: skip
        self._stopping = threading.Event()

    def start(self) -> Worker:
        """Begin to serve, in background threads."""
        self._server.start()
        return self

    def stop(self, grace: float | None = DEFAULT_GRACE) -> None:
        """Drain and end: open polls are finished, running activities have `grace` seconds."""
        self._stopping.set()
        self._server.stop(grace)
        self._server.join(None if grace is None else grace + 65)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. In a thread that is not the main one: until `stop()` is called elsewhere."""
        self.start()
        previous = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                previous[number] = signal.signal(number, lambda *_: self._stopping.set())
        try:
            self._stopping.wait()
            self._server.stop()
            self._server.join(DEFAULT_GRACE + 65)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def __enter__(self) -> Worker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
