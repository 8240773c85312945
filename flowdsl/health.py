"""`--health [HOST:]PORT`: a worker's state over HTTP, for whoever restarts, drains and watches it.

Rule 1: `GET /health` answers 200 with a JSON report while the worker serves, and 503 while it drains or when a child is missing.
Rule 2: `GET /metrics` is what Prometheus scrapes; without the extra it is a 501 that says what to install.
Rule 3: without a host only this machine can ask: the report names task lists and types.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from flowdsl.errors import DefinitionError

Report = Callable[[], tuple[bool, dict[str, Any]]]


def address(text: str) -> tuple[str, int]:
    """`PORT` or `HOST:PORT`. Raises `DefinitionError` for anything else."""
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535 or (colon and not host):
        raise DefinitionError(f"--health {text!r}: give a port, or HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


class Health:
    """Serves `report()` (whether all is well, and what to say) and `metrics()` in a background thread. `port` 0 takes a free one."""

    def __init__(self, host: str, port: int, report: Report, metrics: Callable[[], bytes] | None = None) -> None:
        self._report = report
        self._metrics = metrics
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = health.answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Probes come every few seconds; nobody reads of them."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise DefinitionError(f"--health {host}:{port}: {error.strerror or error}") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="flowdsl-health", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if path in ("/", "/health"):
            well, report = self._report()
            return (200 if well else 503), "application/json", json.dumps(report).encode()
        if path == "/metrics":
            if self._metrics is None:
                return 501, "text/plain", b"metrics need pip install 'flowdsl[metrics]'\n"
            return 200, "text/plain; version=0.0.4; charset=utf-8", self._metrics()
        return 404, "text/plain", b"/health or /metrics\n"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
