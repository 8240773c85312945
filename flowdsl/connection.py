"""What a backend is made of once it is opened: the service behind one façade, values, and who serves.

Rule 1: one connection per backend and process; the embedded engine has one per file.
Rule 2: an embedded connection serves everything in its file with one worker, because no other process can. A service connection serves
        each execution on a task list of its own, so that nobody else's worker is asked for code it does not have.
Rule 3: the domain and the types register themselves, when a call shows that they are missing or a worker starts.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowdsl import config
from flowdsl.backends import MEMORY, Embedded, Swf
from flowdsl.data.setup import default_converter
from flowdsl.data.values import Values
from flowdsl.errors import Fault
from flowdsl.lang.registry import default_registry
from flowdsl.limits import digest
from flowdsl.service.swf import Swf as Service

if TYPE_CHECKING:
    from flowdsl.worker import Server

RETENTION_DAYS = 30


class Connection:
    """An opened backend."""

    def __init__(self, backend: Embedded | Swf, transport: Any, store: Any) -> None:
        self.backend = backend
        self.domain = backend.domain
        self.transport = transport
        self.swf = Service(transport, backend.domain)
        self.converter = default_converter(store)
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

    def task_list_for(self, workflow_id: str) -> str:
        """The decision task list of a new execution."""
        raise NotImplementedError

    def serve(self, task_list: str, instances: list[Any]) -> Server | None:
        """Serve a task list from this process, if this backend does; the caller stops it when its execution is closed."""
        raise NotImplementedError

    def when_closed(self, workflow_id: str, run_id: str, wake: Callable[[], None]) -> bool:
        """Ask to be woken when the run closes; False if this backend cannot tell (then the caller looks from time to time)."""
        return False


class EmbeddedConnection(Connection):
    """The engine in this process."""

    def __init__(self, backend: Embedded) -> None:
        from flowdsl.engine import Engine, Service as EngineService  # noqa: PLC0415 - `import flowdsl` does not load the engine

        engine = Engine(backend.file, durability=backend.durability, recover=True)
        self.service = EngineService(engine)
        super().__init__(backend, self.service, _store_beside(backend))
        self._server: Server | None = None
        self._serving = threading.Lock()
        self._instances: list[Any] = []

    def task_list_for(self, workflow_id: str) -> str:
        """One list for the whole file."""
        return config.task_list()

    def serve(self, task_list: str, instances: list[Any]) -> Server | None:
        """Begin to serve the file, once; it goes on until the process ends or the connection is closed."""
        from flowdsl.worker import Server  # noqa: PLC0415 - the worker builds on connections

        for instance in instances:
            if not any(one is instance for one in self._instances):
                self._instances.append(instance)
        with self._serving:
            if self._server is None:
                self._server = Server(self, task_list, default_registry, self._instances, every_list=True)
                self._server.start()
            else:
                self._server.refresh()
        return None

    def when_closed(self, workflow_id: str, run_id: str, wake: Callable[[], None]) -> bool:
        """The engine tells."""
        self.service.when_closed(self.domain, workflow_id, run_id, lambda *_: wake())
        return True

    def close(self) -> None:
        """Stop serving and close the file; what is open goes on when it is opened again."""
        with self._serving:
            server, self._server = self._server, None
        if server is not None:
            server.stop(0)
        self.service.close()
        if server is not None:
            server.join(5)


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

    def task_list_for(self, workflow_id: str) -> str:
        """A list of the execution's own when this process serves it, else the fleet's."""
        if not self.backend.serve:
            return self.backend.task_list or config.task_list()
        return self.backend.task_list or f"flowdsl-{digest(workflow_id)[:20]}"

    def serve(self, task_list: str, instances: list[Any]) -> Server | None:
        """Serve the execution's own list until the caller stops."""
        if not self.backend.serve:
            return None
        from flowdsl.worker import Server  # noqa: PLC0415 - the worker builds on connections

        server = Server(self, task_list, default_registry, instances)
        server.start()
        return server


_connections: dict[Any, Connection] = {}
_lock = threading.Lock()


def connect(backend: Embedded | Swf) -> Connection:
    """The connection of a backend; opened at the first call. Raises `FileInUse`, `NotAnEngineFile`, `Fault`."""
    key: Any = ("embedded", backend.file, backend.domain) if isinstance(backend, Embedded) else backend
    try:
        hash(key)
    except TypeError:
        key = id(backend)
    with _lock:
        connection = _connections.get(key)
        if connection is None:
            connection = EmbeddedConnection(backend) if isinstance(backend, Embedded) else SwfConnection(backend)
            _connections[key] = connection
    return connection


def disconnect(backend: Embedded | Swf) -> None:
    """Close a backend's connection, if it is open: an embedded file can then be opened by another process."""
    with _lock:
        found = [key for key, connection in _connections.items() if connection.backend == backend]
        closing = [_connections.pop(key) for key in found]
    for connection in closing:
        if isinstance(connection, EmbeddedConnection):
            connection.close()


@atexit.register
def _close_all() -> None:
    with _lock:
        connections = list(_connections.values())
        _connections.clear()
    for connection in connections:
        if isinstance(connection, EmbeddedConnection):
            connection.close()


def _store_beside(backend: Embedded) -> Any:
    if backend.store is not None:
        return backend.store
    return config.store_uri() or ("memory:" if backend.file == MEMORY else os.path.splitext(backend.file)[0] + ".values")


def is_unknown(fault: Fault, what: str) -> bool:
    """Whether a fault says that a domain, type or execution does not exist."""
    return fault.code == "UnknownResourceFault" and what in fault.message.lower()
