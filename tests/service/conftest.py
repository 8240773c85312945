"""The engine behind a transport, an HTTP server of a few lines in front of it, and a transport that answers by script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest

from flowdsl.engine import Engine, ManualClock, Service
from flowdsl.errors import Fault
from flowdsl.service.boto import BotoTransport
from flowdsl.service.swf import Swf

LOADERS: dict[str, Any] = {}


class Script:
    """A transport that answers with `answers`, one after the other (exceptions are raised), and takes its calls down."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, dict(params)))
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, BaseException):
            raise answer
        result: dict[str, Any] = answer
        return result


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service(Engine(":memory:"), ManualClock(1_700_000_000))
    yield one
    one.close()


@pytest.fixture
def swf(service: Service) -> Swf:
    """The domain `d` with the workflow type `flow` and the activity type `act`."""
    one = Swf(service, "d")
    one.register_domain(retention_days=1)
    one.register_workflow_type(name="flow", version="1")
    one.register_activity_type(name="act", version="1")
    return one


class HttpServer:
    """SWF's protocol over HTTP. `answer(operation, params)` returns a dict, raises a `Fault`, or returns (status, headers, raw body)."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Any]) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(dict(self.headers))
                status, headers, content = outer._answered(self.headers["X-Amz-Target"].rpartition(".")[2], json.loads(body))
                if status == 0:  # the connection breaks instead of an answer
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self.answer = answer
        self.requests: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def _answered(self, operation: str, params: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        try:
            result = self.answer(operation, params)
        except Fault as fault:
            fault_type = f"com.amazonaws.swf.base.model#{fault.code}"
            return 500 if fault.retryable else 400, {}, json.dumps({"__type": fault_type, "message": fault.message}).encode()
        return result if isinstance(result, tuple) else (200, {}, json.dumps(result).encode() if result else b"")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def http() -> Iterator[Callable[..., HttpServer]]:
    servers: list[HttpServer] = []

    def make(answer: Callable[[str, dict[str, Any]], Any]) -> HttpServer:
        servers.append(HttpServer(answer))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials and a region, as any local server takes them; nothing of the developer's."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SWF", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


@pytest.fixture
def boto(keys: None) -> Iterator[Callable[..., BotoTransport]]:
    made: list[BotoTransport] = []

    def make(**options: Any) -> BotoTransport:
        session = boto3.session.Session()
        loader = LOADERS.setdefault("loader", session._session.get_component("data_loader"))
        session._session.register_component("data_loader", loader)  # reading the service's description takes most of a client's start
        made.append(BotoTransport(session, **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()
