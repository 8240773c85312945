"""The ASGI application: HTTP requests become calls of the engine's `Service`, and its answers responses.

Rule 1: what may be asked is `guard`'s to say, what bytes mean is `wire`'s, how the engine is reached is `bridge`'s; here they are joined.
Rule 2: every response carries `x-amzn-RequestId`. A bug of ours is a 500 without message; its traceback is in the log under that id.
Rule 3: a body has a time in which it must come and a size beyond which nobody listens.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from starlette.applications import Starlette
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from flowdsl.errors import Fault
from flowdsl.server import backup, guard, wire

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from flowdsl.server.bridge import Bridge

logger = logging.getLogger("flowdsl.server")

BODY_SECONDS: Final = 30.0
"""Seconds in which a request's body must have come whole."""

DRAIN_BYTES: Final = 16 * wire.MAX_BODY
"""A body that is too large is read (and thrown away) up to here, so that its sender hears the answer; beyond, the connection is closed."""

ABOUT: Final = """flowdsl server

This is the embedded engine of flowdsl behind the HTTP protocol of Amazon SWF (Simple Workflow Service).
Unmodified AWS clients work with it: boto3, the AWS CLI, the SDKs. Point them at this address:

    export AWS_ENDPOINT_URL_SWF={url}
    aws swf list-domains --registration-status REGISTERED

Calls are POSTs to /. GET /health answers "ok" while the engine is served.
"""


class Calls:
    """`POST /`: one call of the SWF protocol (an ASGI application, because it must hear of clients that go away)."""

    def __init__(self, bridge: Bridge, credentials: guard.Credentials | None) -> None:
        self._bridge = bridge
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (the ASGI interface)."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body, more = await _body(receive)
        except (ConnectionError, TimeoutError):
            return await _hang_up(scope, receive, send)
        if body is not None and _headers(scope).get("x-amz-target") == backup.TARGET:
            return await self._backup(scope, receive, send, body)
        reply = wire.refusal(wire.too_large()) if body is None else await self._reply(scope, receive, body)
        if reply is not None:
            closing = (("connection", "close"),) if more else ()
            await _response(reply, closing)(scope, receive, send)
        return None

    async def _reply(self, scope: Scope, receive: Receive, body: bytes) -> wire.Reply | None:
        headers = _headers(scope)
        try:
            guard.authorize(headers, body, self._credentials, time.time())
            operation, params = wire.read(headers, body)
            result = await self._bridge.call(operation, params, lambda: _gone(receive))
            return None if result is None else wire.answer(operation, result)
        except Fault as fault:
            return wire.refusal(fault)
        except Exception:
            logger.exception("request %s failed", scope["state"]["request_id"])
            return wire.internal_failure()

    async def _backup(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="flowdsl-backup-") as folder:
            path = f"{folder}/copy.db"
            response: Response
            try:
                guard.authorize(_headers(scope), body, self._credentials, time.time())
                file = await self._bridge.backup(path)
                response = FileResponse(path, 200, {backup.FILE_HEADER: file}, media_type="application/vnd.sqlite3")
            except Fault as fault:
                response = _response(wire.refusal(fault))
            except Exception:
                logger.exception("request %s failed", scope["state"]["request_id"])
                response = _response(wire.internal_failure())
            await response(scope, receive, send)


async def _body(receive: Receive) -> tuple[bytes | None, bool]:
    """The body, and whether more of it is still coming; None in its place when it is too large. Raises `ConnectionError`."""
    chunks: list[bytes] = []
    size = 0
    more = True
    while more and size <= DRAIN_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= wire.MAX_BODY:
            chunks.append(chunk)
        more = message.get("more_body", False)
    return (b"".join(chunks) if size <= wire.MAX_BODY else None), more


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hang_up(scope: Scope, receive: Receive, send: Send) -> None:
    """Half a request and silence: nobody listens for the answer, but it ends the connection."""
    await PlainTextResponse("the request's body did not come\n", 408, {"connection": "close"})(scope, receive, send)


def _headers(scope: Scope) -> dict[str, str]:
    """By lower-case name; a header that came twice is joined by commas, as HTTP has it."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _response(reply: wire.Reply, extra: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers + extra))


class Gate:
    """Around everything: the request id of rule 2, and `guard`'s rule 2."""

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it (the ASGI interface)."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-amzn-requestid", request_id.encode("ascii"))]
            await send(message)

        reason = guard.trespass(_headers(scope), loopback=self._loopback)
        app = self._app if reason is None else PlainTextResponse(f"{reason}\n", 403, {"connection": "close"})
        return await app(scope, receive, send_with_id)


def application(bridge: Bridge, *, credentials: guard.Credentials | None = None, loopback: bool = True) -> ASGIApp:
    """The whole application.

    Args:
        bridge: the way to the engine; whoever made it closes it.
        credentials: whose signatures are verified; None accepts any or none.
        loopback: whether the server is bound to loopback only: then only loopback names are answered for.
    """

    async def about(request: Request) -> Response:
        return PlainTextResponse(ABOUT.format(url=str(request.base_url).rstrip("/")))

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    routes = [
        Route("/", about, methods=["GET"]),
        Route("/", Calls(bridge, credentials), methods=["POST"]),
        Route("/health", health, methods=["GET"]),
    ]
    return Gate(Starlette(routes=routes), loopback=loopback)
