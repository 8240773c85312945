"""What a backend is made of once it is opened: the service behind one façade, values, and who serves.

Rule 1: one connection per backend and process; one engine per file and process, whatever connections use it.
Rule 2: an embedded connection serves everything in its file with one server, because no other process can. A service connection serves
        each execution on a task list of its own (`leases`).
Rule 3: the domain and the types register themselves, when a call shows that they are missing or a worker starts.
Rule 4: a forked child has no connections: what it inherited is its parent's, and is never touched.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdsl import config
from flowdsl.backends import MEMORY, Embedded, Swf
from flowdsl.data.setup import default_converter
from flowdsl.data.values import Values
from flowdsl.errors import DefinitionError
from flowdsl.lang.registry import default_registry
from flowdsl.service.swf import Swf as Service

if TYPE_CHECKING:
    from flowdsl.engine import Service as EngineService
    from flowdsl.leases import Lease, Leases
    from flowdsl.serving import Server

RETENTION_DAYS = 30

CLOSING = 2.0
"""Seconds that what is in hand has to be answered when a connection is closed; what takes longer is lost, and done again elsewhere or
later."""


class Connection:
    """An opened backend."""

    def __init__(self, backend: Embedded | Swf, transport: Any, store: Any) -> None:
        self.backend = backend
        self.domain = backend.domain
        self.transport = transport
        self.swf = Service(transport, backend.domain)
        self.converter = default_converter(store, serializer=backend.serializer, codecs=backend.codecs)
        self.values = Values(self.converter, backend.domain)
        self._registered: set[tuple[str, str, str]] = set()
        self._lock = threading.Lock()

    def register(self, *definitions: Any) -> None:
        """Register the domain and these types, once per process."""
        with self._lock:
            if ("domain", self.domain, "") not in self._registered:
                self.swf.register_domain(retention_days=RETENTION_DAYS)
                self._registered.add(("domain", self.domain, ""))
            for definition in definitions:
                key = (definition.kind, definition.name, definition.version)
                if key in self._registered:
                    continue
                if definition.kind == "workflow":
                    self.swf.register_workflow_type(name=definition.name, version=definition.version)
                elif definition.kind == "activity":
                    self.swf.register_activity_type(name=definition.name, version=definition.version)
                self._registered.add(key)

    # --- who serves; each backend answers in its own way

    def lease(self, task_list: str | None = None) -> Lease:
        """The right to have an execution served, on this task list, or (None) on one that the backend chooses.

        `Lease.begin` serves it from this process, where this backend does that; whoever sees the execution closed ends the lease.
        """
        raise NotImplementedError

    def when_closed(self, workflow_id: str, run_id: str, wake: Callable[[], None]) -> bool:
        """Ask to be woken when the run closes; False if this backend cannot tell (then the caller looks from time to time)."""
        return False

    def close(self) -> None:
        """Stop serving; what is open stays open."""
        raise NotImplementedError


class EmbeddedConnection(Connection):
    """One domain of an engine in this process."""

    backend: Embedded

    def __init__(self, backend: Embedded, service: EngineService) -> None:
        self.service = service
        super().__init__(backend, service, _store_beside(backend))
        self._server: Server | None = None
        self._serving = threading.Lock()
        self._instances: list[Any] = []
        self._found_open = False
        self._waiting: dict[Callable[[], None], None] = {}
        self.closed = False

    def lease(self, task_list: str | None = None) -> Lease:
        """The first one that begins serves the file, until the process ends or the connection is closed."""
        from flowdsl.leases import Lease  # noqa: PLC0415 - workers are loaded by who serves

        task_list = task_list or config.task_list()
        return Lease(task_list, partial(self._serve, task_list))

    def _serve(self, task_list: str, instances: Sequence[Any]) -> None:
        from flowdsl.leases import remember  # noqa: PLC0415 - workers are loaded by who serves
        from flowdsl.serving import Server  # noqa: PLC0415 - as above

        with self._serving:
            if self.closed:
                return
            remember(self._instances, instances)
            if self._server is None:  # known before it starts: Ctrl-C may come at any line, and `close` has to find what polls
                self._server = Server(self, default_registry, self._instances, every_list=True)
            self._server.start(task_list)
            if not self._found_open:
                for name, decide in self._lists_in_use():
                    self._server.add(name, decide=decide)
                self._found_open = True

    def _lists_in_use(self) -> set[tuple[str, bool]]:
        """The task lists of executions that are open already, and whether decisions are made there."""
        found = set()
        for info in self.swf.list_open():
            names = info["execution"]["workflowId"], info["execution"]["runId"]
            about = self.swf.describe(*names)
            found.add((about["executionConfiguration"]["taskList"]["name"], True))
            if about["openCounts"]["openActivityTasks"]:
                scheduled = (e.get("activityTaskScheduledEventAttributes") for e in self.swf.history(*names))
                found |= {(attributes["taskList"]["name"], False) for attributes in scheduled if attributes}
        return found

    def when_closed(self, workflow_id: str, run_id: str, wake: Callable[[], None]) -> bool:
        """The engine tells; so does the end of the connection."""
        with self._serving:
            self._waiting[wake] = None
            if self.closed:
                wake()

        def closed() -> None:
            self._waiting.pop(wake, None)
            wake()

        self.service.when_closed(self.domain, workflow_id, run_id, closed)
        return True

    def close(self) -> None:
        """Stop serving and let go of the engine; what is open goes on when the file is opened again."""
        with self._serving:
            self.closed = True
            server, self._server = self._server, None
            waiting = list(self._waiting)
        if server is not None:
            server.stop(0)
            server.join(CLOSING)
        _engines.give_back(self.backend, self.service)
        for wake in waiting:
            wake()


class SwfConnection(Connection):
    """A service behind its protocol."""

    backend: Swf

    def __init__(self, backend: Swf) -> None:
        transport = backend.transport
        if transport is None:
            from flowdsl.service.boto import BotoTransport  # noqa: PLC0415 - boto3 is loaded when a service is called

            transport = BotoTransport(backend.session, backend.endpoint_url, backend.region)
        from flowdsl.service.wrappers import Retrying  # noqa: PLC0415 - loaded with the transport

        super().__init__(backend, Retrying(transport), backend.store if backend.store is not None else config.store_uri())
        self._leases: Leases | None = None

    def lease(self, task_list: str | None = None) -> Lease:
        """Served on a list of its own, until the lease ends; with `serve=False` the fleet's list is named, and others serve it."""
        from flowdsl.leases import Lease, Leases  # noqa: PLC0415 - workers are loaded by who serves

        task_list = task_list or self.backend.task_list
        if not self.backend.serve:
            return Lease(task_list or config.task_list())
        with self._lock:
            if self._leases is None:
                self._leases = Leases(self)
            return self._leases.take(task_list)

    def close(self) -> None:
        """Stop serving."""
        with self._lock:
            leases, self._leases = self._leases, None
        if leases is not None:
            leases.close(CLOSING)


class Engines:
    """The engines of this process, one per file; every `:memory:` is the same one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[EngineService, str, int]] = {}

    def take(self, backend: Embedded) -> EngineService:
        """The engine of the backend's file; opened, if nobody here has it open. Raises `FileInUse`, `NotAnEngineFile`,
        `DefinitionError`.
        """
        from flowdsl.engine import Engine  # noqa: PLC0415 - `import flowdsl` does not load the engine
        from flowdsl.engine import Service as EngineService  # noqa: PLC0415 - as above

        with self._lock:
            if backend.file not in self._opened:
                engine = Engine(backend.file, durability=backend.durability, recover=True)
                self._opened[backend.file] = EngineService(engine), backend.durability, 0
            service, durability, users = self._opened[backend.file]
            if durability != backend.durability:
                raise _in_other_use(backend, f"durability={durability!r}")
            self._opened[backend.file] = service, durability, users + 1
            return service

    def give_back(self, backend: Embedded, service: EngineService) -> None:
        """One user less; without any the engine is closed."""
        with self._lock:
            opened, durability, users = self._opened.get(backend.file, (None, "", 0))
            if opened is service and users > 1:
                self._opened[backend.file] = service, durability, users - 1
                return
            if opened is service:
                del self._opened[backend.file]
            service.close()


_connections: dict[Any, Connection] = {}
_engines = Engines()
_lock = threading.Lock()
_inherited: list[Any] = []


def connect(backend: Embedded | Swf) -> Connection:
    """The connection of a backend; opened at the first call. Raises `FileInUse`, `NotAnEngineFile`, `Fault`.

    An embedded file that is open here already is the same connection; `DefinitionError` if it was opened with another store or durability.
    """
    key = _key(backend)
    with _lock:
        connection = _connections.get(key)
        if connection is None:
            connection = _opened(backend)
            _connections[key] = connection
        elif isinstance(backend, Embedded) and connection.backend != backend:
            _check_same(backend, connection.backend)
    return connection


def opened() -> list[Connection]:
    """The connections of this process, the latest first."""
    with _lock:
        return list(_connections.values())[::-1]


def install(backend: Embedded, service: EngineService) -> Connection:
    """Let `backend` mean an engine that is open already: the testing kit's, on a clock of its own. The connection closes it."""
    with _lock:
        if _key(backend) in _connections:
            raise DefinitionError(f"{backend!r} is open in this process: disconnect it first")
        connection = _connections[_key(backend)] = EmbeddedConnection(backend, service)
    return connection


def disconnect(backend: Embedded | Swf) -> None:
    """Close a backend's connection, if it is open: an embedded file can then be opened by another process."""
    with _lock:
        connection = _connections.pop(_key(backend), None)
    if connection is not None:
        connection.close()


def _opened(backend: Embedded | Swf) -> Connection:
    if isinstance(backend, Swf):
        return SwfConnection(backend)
    service = _engines.take(backend)
    try:
        return EmbeddedConnection(backend, service)
    except BaseException:
        _engines.give_back(backend, service)
        raise


def _key(backend: Embedded | Swf) -> Any:
    if isinstance(backend, Embedded):
        return "embedded", backend.file, backend.domain
    try:
        hash(backend)
    except TypeError:  # a store or a session that cannot be hashed; the connection keeps the backend, so the id stays its own
        return id(backend)
    return backend


def _check_same(backend: Embedded, opened: Any) -> None:
    if backend.durability != opened.durability:
        raise _in_other_use(backend, f"durability={opened.durability!r}")
    if backend.store is not opened.store and backend.store != opened.store:
        raise _in_other_use(backend, f"store={opened.store!r}")


def _in_other_use(backend: Embedded, how: str) -> DefinitionError:
    return DefinitionError(
        f"{backend.file!r} is open in this process already, with {how}. Give the same here, or close it first:  "
        f"flowdsl.connection.disconnect({backend!r})"
    )


@atexit.register
def _close_all() -> None:
    with _lock:
        connections = list(_connections.values())
        _connections.clear()
    for connection in connections:
        connection.close()


def _forget() -> None:
    """In a forked child: the parent's engines and threads are not ours; closing a copy of an open database would harm the file."""
    global _lock, _engines
    _inherited.append((dict(_connections), _engines))
    _connections.clear()
    _lock, _engines = threading.Lock(), Engines()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _store_beside(backend: Embedded) -> Any:
    if backend.store is not None:
        return backend.store
    return config.store_uri() or ("memory:" if backend.file == MEMORY else str(Path(backend.file).with_suffix(".values")))
