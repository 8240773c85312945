"""The task lists that this process serves for executions of its own, where the service is shared with others.

Rule 1: an execution has a list of its own, so that nobody else's worker is asked for code it does not have. A list that is free again
        goes to
        the next execution with its server: how many pollers there are depends on how many executions are open at once, and not on how many
        there were. (A long poll cannot be taken back from Amazon SWF, it ends after a minute; starting anew each time would pile them up.)
        Very many executions at once share `MOST_LISTS` lists.
Rule 2: an execution that goes on elsewhere (resumed, attached to), and one that names its list, is served on that list.
Rule 3: a lease ends when somebody has seen the execution closed: whoever waited for its result; else the server itself, after its own
        closing
        decision, or when a poll comes back empty. A list without a lease is polled until a poll comes back empty, then no more.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flowdsl.errors import Fault
from flowdsl.lang.registry import default_registry
from flowdsl.serving import Server
from flowdsl.workers.hooks import Hooks

if TYPE_CHECKING:
    from flowdsl.connection import Connection


MOST_LISTS: Final = 16
"""Lists of our own that are served at once; further executions share them. Each costs two open polls and their threads."""


class Lease:
    """One execution's right to be served. `task_list` is where its decision tasks go.

    It is taken before the execution is started, because the start names the list; and it begins only afterwards: what is open already
    must not
    go on, and perhaps end, before it is known that this execution is not the one that has the id.
    """

    def __init__(self, task_list: str, serve: Callable[[Sequence[Any]], Server | None] | None = None) -> None:
        self.task_list = task_list
        self.execution: tuple[str, str] | None = None
        self.on_end: Callable[[Lease], None] | None = None
        self._instances: Sequence[Any] = ()
        self._serve = serve
        self._server: Server | None = None

    def of(self, workflow_id: str, run_id: str, instances: Sequence[Any] = ()) -> Lease:
        """It is this execution's, whose methods run on these instances."""
        self.execution, self._instances = (workflow_id, run_id), instances
        return self

    def begin(self) -> None:
        """Serve the execution. Raises `Fault` where the service cannot be reached or refuses what is registered."""
        if self._serve is not None and self._server is None:
            self._server = self._serve(self._instances)

    def when_closed(self, workflow_id: str, wake: Callable[[], None]) -> None:
        """Call `wake` once after a decision made here that asks for this execution's end."""
        if self._server is not None:
            self._server.when_closed(workflow_id, wake)

    def end(self) -> None:
        """The execution is closed, or was never started. May be called again."""
        if self.on_end is not None:
            self.on_end(self)


class _Served:
    """A list, its server, and the leases on it."""

    def __init__(self, task_list: str, *, own: bool) -> None:
        self.task_list = task_list
        self.own = own
        self.server: Server
        self.leases: set[Lease] = set()


class Leases:
    """All lists of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._served: dict[str, _Served] = {}

    def take(self, task_list: str | None) -> Lease:
        """A lease on `task_list`, or on a free list of our own."""
        with self._lock:
            served = self._free() if task_list is None else self._served.get(task_list)
            if served is None:
                served = self._new(task_list or f"flowdsl-{uuid.uuid4().hex}", own=task_list is None)
            lease = Lease(served.task_list, partial(self._serve, served))
            lease.on_end = self._ended
            served.leases.add(lease)
        return lease

    def _serve(self, served: _Served, instances: Sequence[Any]) -> Server:
        with self._lock:
            remember(served.server.instances, instances)
        served.server.start(served.task_list)
        return served.server

    def close(self, patience: float) -> None:
        """Serve nothing any more. What runs is cancelled and given back; decisions in hand, and the giving back, have `patience`
        seconds.
        """
        with self._lock:
            closing = list(self._served.values())
            self._served.clear()
        for served in closing:
            served.server.stop(0)
        deadline = time.monotonic() + patience
        for served in closing:
            served.server.settle(max(0.0, deadline - time.monotonic()))

    def _free(self) -> _Served | None:
        own = [served for served in self._served.values() if served.own]
        least = min(own, key=lambda served: len(served.leases), default=None)
        return least if least is not None and (not least.leases or len(own) >= MOST_LISTS) else None

    def _new(self, task_list: str, *, own: bool) -> _Served:
        served = _Served(task_list, own=own)
        served.server = Server(
            self._connection, default_registry, [],
            hooks=Hooks(on_idle=lambda: self._idle(served)), on_closed=lambda workflow_id: self._look(served, workflow_id),
        )  # fmt: skip
        self._served[task_list] = served
        return served

    def _ended(self, lease: Lease) -> None:
        with self._lock:
            served = self._served.get(lease.task_list)
            if served is not None:
                served.leases.discard(lease)

    def _idle(self, served: _Served) -> None:
        """A poll came back empty: end the leases of what was closed from outside, and stop if none is left."""
        self._look(served)
        with self._lock:
            if served.leases or self._served.get(served.task_list) is not served:
                return
            del self._served[served.task_list]
        served.server.stop()

    def _look(self, served: _Served, workflow_id: str | None = None) -> None:
        """End the leases of executions (or of this one) that are closed."""
        for lease in list(served.leases):
            if lease.execution is not None and workflow_id in (None, lease.execution[0]) and self._is_closed(*lease.execution):
                lease.end()

    def _is_closed(self, workflow_id: str, run_id: str) -> bool:
        swf = self._connection.swf
        try:
            info = swf.describe(workflow_id, run_id)["executionInfo"]
            if info.get("closeStatus") == "CONTINUED_AS_NEW":
                return not swf.list_open(workflow_id=workflow_id)
        except Fault as fault:
            return fault.code == "UnknownResourceFault"
        return bool(info["executionStatus"] == "CLOSED")


def remember(instances: list[Any], more: Sequence[Any]) -> None:
    """Add instances for methods to run on; a newer one takes the place of an older one of its class, of a base or of a subclass of it.

    Of two that fit nobody could say which one an inherited method was called on.
    """
    for instance in more:
        kind = type(instance)
        instances[:] = [one for one in instances if not (isinstance(one, kind) or isinstance(instance, type(one)))]
        instances.append(instance)
