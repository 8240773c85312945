"""The server as a process (`serve`) and as a thread of another one (`ThreadedServer`).

Rule 1: what can go wrong at the start (no credentials for an open address, a port in use, a file in use) goes wrong before anything is
        printed or served, as a `UserError`.
Rule 2: the end is orderly: stop accepting, answer waiting polls empty, let begun calls finish, close the engine. SIGTERM and SIGINT
        are nothing but this.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import uvicorn

from flowdsl.errors import UserError
from flowdsl.server import guard
from flowdsl.server.app import application
from flowdsl.server.bridge import Bridge, Service
from flowdsl.server.protocol import BoundedProtocol

if TYPE_CHECKING:
    from types import FrameType, TracebackType

KEEP_ALIVE: Final = 75
"""Seconds an idle connection is kept: longer than a long poll's 60, so that botocore's pool never finds a closed one in between."""

GRACE: Final = 5
"""Seconds that begun calls have to finish when the server ends; none takes long, only a client that sends slowly could."""

MAX_CONNECTIONS: Final = 10_000

OTHER_FILES: Final = 100
"""File descriptors that are kept for everything but connections."""


def serve(
    path: str | os.PathLike[str] = "flowdsl.db",
    host: str = "127.0.0.1",
    port: int = 4010,
    *,
    durability: Literal["process", "full"] = "process",
    credentials: guard.Credentials | None = None,
    out: TextIO | None = None,
    functions: Sequence[str] = (),
    quotas: Sequence[str] = (),
    scale: float = 1.0,
    throttle: bool = False,
) -> None:
    """Serve the engine file `path` until SIGTERM or SIGINT; everything is stored when this returns.

    Args:
        path: the engine's SQLite file; made if it is not there. `:memory:` keeps nothing.
        host: the address to listen on. Any but a loopback address needs credentials.
        port: 0 takes a free one.
        durability: `process` survives the death of the process, `full` also that of the machine.
        credentials: the keys with which every call must be signed; None: any signature, or none, will do (loopback only).
        out: where the two environment lines go; None is stdout.
        functions: what lambda tasks call: texts `NAME=MODULE:FUNCTION` or `NAME=URL` (see `functions.py`).
        quotas: texts `NAME=NUMBER` (see `flowdsl.engine.Quotas`).
        scale: all other quotas, and the rates, are so many times Amazon SWF's own.
        throttle: whether the rates of Amazon SWF are kept.

    Raises:
        UserError: no credentials for an open address, the address cannot be had, or one of the texts is wrong.
        FileInUse, NotAnEngineFile: see `flowdsl.engine.Engine`.
    """
    from flowdsl.engine import Engine  # noqa: PLC0415 - `ThreadedServer` serves what it is given and needs no engine of its own
    from flowdsl.engine import Service as EngineService  # noqa: PLC0415 - as above
    from flowdsl.server import choices  # noqa: PLC0415 - as above

    called = choices.functions(functions)
    kept = choices.quotas(quotas, scale)
    with _listening(host, port, credentials) as listener:
        _allow_many_files()
        engine = Engine(path, durability=durability, quotas=kept, throttles=choices.throttles(scale, wanted=throttle))
        service = EngineService(engine, functions=called)
        url = _url(listener)
        server = _Server(listener, service, credentials, lambda: _announce(url, credentials, out or sys.stdout))
        with _until_signalled(server.stop):
            asyncio.run(server.serve_until_stopped())


class ThreadedServer:
    """A server in a thread of this process, for tests and notebooks; leaving it closes the service that it was given.

    >>> with ThreadedServer(Service(Engine(":memory:"))) as url:  # doctest: +SKIP
    ...     boto3.client("swf", endpoint_url=url, region_name="us-east-1")

    `url` is also an attribute while it runs. `port=0` takes a free port.
    """

    def __init__(self, service: Service, *, host: str = "127.0.0.1", port: int = 0, credentials: str | None = None) -> None:
        self._service = service
        self._host = host
        self._port = port
        self._credentials = guard.Credentials.parse(credentials) if credentials else None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.url = ""

    def start(self) -> str:
        """Serve; return the URL once calls are answered. Raises `UserError` as `serve` does."""
        started = threading.Event()
        with _listening(self._host, self._port, self._credentials) as listener:
            self.url = _url(listener)
            self._server = _Server(listener.dup(), self._service, self._credentials, started.set)
        self._thread = threading.Thread(target=self._run, args=(self._server, started), name="flowdsl-server", daemon=True)
        self._thread.start()
        started.wait()
        if self._error is not None:
            raise self._error
        return self.url

    def stop(self) -> None:
        """End in order (rule 2), close the service and wait for that."""
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join()
            self._server = self._thread = None
        if self._error is not None:
            raise self._error

    def _run(self, server: _Server, started: threading.Event) -> None:
        try:
            asyncio.run(server.serve_until_stopped())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that starts or stops us
            self._error = error
        finally:
            started.set()

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """uvicorn's server with our beginning, our end, and no signal handling of its own (it would raise the signal again at the end)."""

    def __init__(
        self, listener: socket.socket, service: Service, credentials: guard.Credentials | None, started: Callable[[], None]
    ) -> None:
        self._listener = listener
        self._bridge = Bridge(service)
        self._on_start = started
        loopback = ipaddress.ip_address(listener.getsockname()[0]).is_loopback
        super().__init__(
            uvicorn.Config(
                application(self._bridge, credentials=credentials, loopback=loopback),
                http=BoundedProtocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=room() + 1,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=GRACE,
            )
        )

    async def serve_until_stopped(self) -> None:
        """Serve until `stop`, then end in order."""
        try:
            await self.serve(sockets=[self._listener])
        finally:
            await self._bridge.close()

    def stop(self) -> None:
        """End soon. Safe from any thread and from a signal handler; a second call does not wait for begun calls."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._bridge.end_polls()
        await super().shutdown(sockets)

    def capture_signals(self) -> Any:
        """Signals are `serve`'s business."""
        return nullcontext()


@contextmanager
def _listening(host: str, port: int, credentials: guard.Credentials | None) -> Iterator[socket.socket]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"cannot listen on {host}: {error}") from None
    if credentials is None and not ipaddress.ip_address(address[0]).is_loopback:
        raise UserError(
            f"{host} can be reached from other machines: give --credentials FILE (one line, access_key:secret; mode 0600) or set "
            f"{guard.CREDENTIALS_VARIABLE}=access_key:secret, and only calls that are signed with these keys will be served"
        )
    with socket.socket(family, kind, protocol) as listener:
        if os.name == "posix":  # elsewhere the option would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(2048)
        except OSError as error:
            raise UserError(f"cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)}. Choose another with --port") from None
        yield listener


@contextmanager
def _until_signalled(stop: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _allow_many_files() -> None:
    """Each waiting poll is an open socket, and the usual soft limit is 1,024."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MAX_CONNECTIONS + OTHER_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_CONNECTIONS + OTHER_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room() -> int:
    """How many connections this process may have at once."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource  # noqa: PLC0415 - not on Windows

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, soft - OTHER_FILES))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(url: str, credentials: guard.Credentials | None, out: TextIO) -> None:
    """The two lines that point any AWS client at this server; the secret is not printed, where it stands is."""
    access, secret = "flowdsl", "flowdsl"
    if credentials is not None and credentials.file is not None:
        file = shlex.quote(os.path.realpath(credentials.file))
        access, secret = f'"$(cut -d: -f1 {file})"', f'"$(cut -d: -f2- {file})"'
    elif credentials is not None:
        variable = guard.CREDENTIALS_VARIABLE
        access, secret = f'"${{{variable}%%:*}}"', f'"${{{variable}#*:}}"'
    out.write(f"export AWS_ENDPOINT_URL_SWF={url}\n")
    out.write(f"export AWS_ACCESS_KEY_ID={access} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION=us-east-1\n")
    out.flush()
