"""What one connection may do: uvicorn's HTTP protocol, bounded in time and size.

Rule 1: a request's head must be complete within `HEAD_SECONDS` and `MAX_HEAD` bytes; silence or endless headers close the connection.
        (The body's time and size are the application's to bound; see `app`.)
Rule 2: a client that goes away is noticed at once, also while requests that it pipelined behind its poll wait: a poll that nobody
        hears must not take a task. uvicorn stops reading, and tells only the last request of the line; this class reads on (up to
        `MAX_PIPELINE` requests) and tells the one that runs.
Rule 3: there are never more connections than the process has room for (`run.room`): who comes later is refused at once, in a way that
        AWS's clients try again after.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HEAD_SECONDS: Final = 20.0
MAX_HEAD: Final = 65_536
MAX_PIPELINE: Final = 16

_NO_ROOM: Final = b'{"__type":"com.amazon.coral.service#ServiceUnavailable","message":"The server has no room for another connection."}'
FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_NO_ROOM),
    _NO_ROOM,
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. uvicorn calls it; nobody else does."""

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _running: RequestResponseCycle | None = None

    # --- rules 1 and 3

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it in the same way
        """The time for the first head begins, if there is room for one more connection."""
        super().connection_made(transport)
        self._await_head()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            transport.write(FULL)
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an unfinished head; a chunk in which a head ends is not counted (its rest is body)."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves out that there is none at first
        if self._deadline is None and (cycle is None or not cycle.more_body):
            self._await_head()
        super().data_received(data)
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response("The request's headers are too long.")

    def on_headers_complete(self) -> None:
        """The head came in time; keep reading behind a request that waits (rule 2)."""
        self._head_done()
        super().on_headers_complete()
        if len(self.pipeline) <= MAX_PIPELINE:
            self.flow.resume_reading()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_done(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # --- rule 2

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that runs, and forget those that wait behind it (rule 2)."""
        self._head_done()
        running: Any = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)
