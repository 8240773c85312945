"""boto3 as a transport: the client, its settings, and the way from its answers to plain dicts.

Rule 1: two clients per transport, made at the first call, shared by all threads. One is for long polls, which last 60 s (the API
        reference asks for a socket timeout of 70 s or more); the other for everything else.
Rule 2: botocore repeats nothing. A repeated poll abandons the task that the first one was given, a repeated signal is a second signal; the
        wrapper `Retrying` knows which calls may be repeated.
Rule 3: botocore's own response parser takes most of a big page's time. Its event `before-parse` lets us read the JSON ourselves; where
        that event does not come, the plain way gives the same.
Rule 4: a poll's answer without `startedEventId` is no answer of SWF's, and never taken for an empty poll.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from flowdsl.errors import Fault
from flowdsl.limits import POLL_READ_TIMEOUT
from flowdsl.service.faults import translated
from flowdsl.service.transport import POLLS

_ANSWER: Final = "flowdsl.answer"

CONNECT_TIMEOUT: Final = 5
"""Seconds to wait for a connection."""

POLL_TIMEOUT: Final = POLL_READ_TIMEOUT + 5
"""Seconds to wait for a poll's answer."""

CALL_TIMEOUT: Final = 30
"""Seconds to wait for any other answer."""

CONNECTIONS: Final = 64
"""Connections that each client keeps open: as many calls (polls, responses, heartbeats) can wait side by side without making new ones."""


class BotoTransport:
    """Amazon SWF, or anything else that speaks its protocol, through boto3.

    `session` is a boto3 session (default: one of botocore's own settings), `endpoint_url` another address (default: `AWS_ENDPOINT_URL_SWF`
    and the other settings of botocore), `region` another region. Repeats nothing: wrap it in `Retrying`.
    """

    def __init__(self, session: Any = None, endpoint_url: str | None = None, region: str | None = None, *, quick: bool = True) -> None:
        self._session = session
        self._endpoint_url = endpoint_url
        self._region = region
        self._quick = quick
        self._lock = threading.Lock()
        self._clients: dict[bool, Any] = {}
        self._methods: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<BotoTransport {self._endpoint_url or self._region or 'as AWS is set up'}>"

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Perform one operation, once. Raises `Fault`."""
        with translated():
            method = self._methods.get(operation) or self._method(operation)
            answer = method(**params)
        result = _plain_answer(answer)
        if operation in POLLS and "startedEventId" not in result:
            text = f"the answer to {operation} has no startedEventId: something on the way is not Amazon SWF"
            raise Fault("InternalFailure", text, retryable=True)
        return result

    def close(self) -> None:
        """Let go of the connections; a later call makes new ones."""
        with self._lock:
            clients = list(self._clients.values())
            self._clients, self._methods = {}, {}
        for client in clients:
            client.close()

    def _method(self, operation: str) -> Any:
        with self._lock:  # sessions are not safe to use from several threads; clients are
            client = self._client(poll=operation in POLLS)
        for name, api_name in client.meta.method_to_api_mapping.items():
            if api_name == operation:
                self._methods[operation] = getattr(client, name)
                return self._methods[operation]
        raise Fault("UnknownOperationException", f"this boto3 knows no operation {operation!r} of SWF; update boto3")

    def _client(self, *, poll: bool) -> Any:
        if poll not in self._clients:
            import boto3  # noqa: PLC0415 - takes 0.4 s, which nobody pays who does not use it
            from botocore.config import Config  # noqa: PLC0415 - as above

            if self._session is None:
                self._session = boto3.session.Session()
            config = Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=POLL_TIMEOUT if poll else CALL_TIMEOUT,
                tcp_keepalive=True,
                max_pool_connections=CONNECTIONS,
                retries={"mode": "standard", "total_max_attempts": 1},
                user_agent_extra=f"flowdsl/{_version()}",
            )
            client = self._session.client("swf", endpoint_url=self._endpoint_url, region_name=self._region, config=config)
            if self._quick:
                client.meta.events.register("before-parse.swf", _read_json)
            self._clients[poll] = client
        return self._clients[poll]


def _read_json(*, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """The hook of botocore: read the body here and leave its parser an empty one. Refusals are left to botocore.

    Raises `Fault` for a body that is no JSON object; botocore would take a proxy's page for an answer without members.
    """
    if response_dict["status_code"] != 200:
        return
    try:
        answer = _decode(response_dict["body"] or b"{}")
    except ValueError as error:
        raise Fault(
            "InternalFailure", f"the answer is no JSON: something on the way is not Amazon SWF ({error})", retryable=True
        ) from error
    customized_response_dict[_ANSWER] = answer
    response_dict["body"] = b"{}"


def _decode(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        answer = json.loads(body)  # slower, and takes what others write: half surrogate pairs, for one
    if not isinstance(answer, dict):
        raise ValueError(f"a {type(answer).__name__} instead of an object")  # noqa: TRY004 - the text is wrong, not its type
    return answer


def _plain_answer(answer: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] | None = answer.get(_ANSWER)
    if read is None:
        answer.pop("ResponseMetadata", None)
        read = _with_floats(answer)
    return read


def _with_floats(value: Any) -> Any:
    """The same tree, with epoch seconds for datetimes; SWF's clock counts milliseconds."""
    if isinstance(value, dict):
        return {name: _with_floats(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    return round(value.timestamp(), 3) if isinstance(value, datetime) else value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - asked once, by those who reach AWS

    try:
        return version("flowdsl")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "unknown"
