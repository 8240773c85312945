"""The wire: AWS JSON 1.0 as Amazon SWF speaks it. Bytes in, operation and parameters out; result or error in, bytes out.

Rule 1: this file is pure. No socket, no engine, no clock; what it does not understand it refuses with the service's own fault.
Rule 2: the operation is what follows the last dot of `X-Amz-Target`, whatever stands before it: boto 2 sends
        `com.amazonaws.swf.service.model.SimpleWorkflowService.<Action>`, everybody else `SimpleWorkflowService.<Action>`.
Rule 3: `Content-Encoding: amz-1.0` is the legacy clients' name for "JSON protocol 1.0" and no coding; `gzip` is a real one and is
        decoded, never beyond the size that a request may have.
Rule 4: a response's members come in alphabetical order, a timestamp is a number with exactly three decimals, an operation without
        output answers with no body at all (not `{}`): so the recorded answers of the service look.
Rule 5: text that cannot be data (invalid UTF-8, lone surrogates, doubled keys, NaN) never reaches the engine.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from flowdsl.errors import Fault

MAX_BODY: Final = 1_048_576
"""Bytes of a request's body, before and after decoding ("maximum request size: 1 MB", Amazon SWF quotas)."""

CONTENT_TYPE: Final = "application/json"
_REQUEST_TYPES: Final = frozenset({"application/x-amz-json-1.0", "application/json"})

_WITHOUT_OUTPUT: Final = """
    DeleteActivityType DeleteWorkflowType DeprecateActivityType DeprecateDomain DeprecateWorkflowType RegisterActivityType RegisterDomain
    RegisterWorkflowType RequestCancelWorkflowExecution RespondActivityTaskCanceled RespondActivityTaskCompleted RespondActivityTaskFailed
    RespondDecisionTaskCompleted SignalWorkflowExecution TagResource TerminateWorkflowExecution UndeprecateActivityType UndeprecateDomain
    UndeprecateWorkflowType UntagResource
"""
_WITH_OUTPUT: Final = """
    CountClosedWorkflowExecutions CountOpenWorkflowExecutions CountPendingActivityTasks CountPendingDecisionTasks DescribeActivityType
    DescribeDomain DescribeWorkflowExecution DescribeWorkflowType GetWorkflowExecutionHistory ListActivityTypes
    ListClosedWorkflowExecutions ListDomains ListOpenWorkflowExecutions ListTagsForResource ListWorkflowTypes PollForActivityTask
    PollForDecisionTask RecordActivityTaskHeartbeat StartWorkflowExecution
"""
OPERATIONS: Final[Mapping[str, bool]] = MappingProxyType(
    dict.fromkeys(_WITHOUT_OUTPUT.split(), False) | dict.fromkeys(_WITH_OUTPUT.split(), True)
)
"""Amazon SWF's 39 actions → whether the action has output (botocore's model `swf/2012-01-25`; a test compares)."""

EMPTY_POLLS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "PollForActivityTask": MappingProxyType({"startedEventId": 0}),
        "PollForDecisionTask": MappingProxyType({"previousStartedEventId": 0, "startedEventId": 0}),
    }
)
"""The two long polls → what they answer when there was no task: no `taskToken` member (seen on the real service after 60 s)."""

_STATUS: Final = {
    "InternalFailure": 500,
    "RequestEntityTooLargeException": 413,
    "ServiceUnavailable": 503,
}
_NAMESPACES: Final = {
    "SerializationException": "com.amazonaws.swf.base.model",
    "ThrottlingException": "com.amazon.coral.availability",
    "ValidationException": "com.amazon.coral.validate",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response without its connection: `status`, `headers` (lower-case names), `body`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def read(headers: Mapping[str, str], body: bytes) -> tuple[str, dict[str, Any]]:
    """The operation and its parameters.

    Args:
        headers: the request's headers by lower-case name.
        body: the request's body as it came, still encoded.

    Raises:
        Fault: `UnknownOperationException`, `SerializationException` or `RequestEntityTooLargeException`.
    """
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    if operation not in OPERATIONS:
        raise Fault("UnknownOperationException", f"unknown operation: {operation[:256]!r}" if operation else "no X-Amz-Target header")
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _REQUEST_TYPES:
        raise Fault("UnknownOperationException", f"content type {media_type[:256]!r} is none of {', '.join(sorted(_REQUEST_TYPES))}")
    return operation, _parameters(_decoded(headers.get("content-encoding", ""), body))


def too_large() -> Fault:
    """The fault for a body over `MAX_BODY`, encoded or decoded."""
    return Fault("RequestEntityTooLargeException", f"the request's body is larger than {MAX_BODY} bytes")


def answer(operation: str, result: Mapping[str, Any]) -> Reply:
    """The response to a call that succeeded.

    Args:
        operation: the action; it decides whether there is a body.
        result: the action's output in SWF's own members; timestamps are floats, seconds since the epoch.
    """
    body = encode(result) if OPERATIONS[operation] else b""
    return _reply(200, body)


def refusal(fault: Fault) -> Reply:
    """The response to a call that the service refused: `__type` as a coral service writes it, and the message."""
    kind = fault.code
    if kind == "InternalFailure":
        return internal_failure()
    namespace = _NAMESPACES.get(kind) or ("com.amazonaws.swf.base.model" if kind.endswith("Fault") else "com.amazon.coral.service")
    body = {"__type": f"{namespace}#{kind}", "message": fault.message}
    return _reply(_STATUS.get(kind, 400), json.dumps(body, separators=(",", ":")).encode("ascii"))


def internal_failure() -> Reply:
    """The response to a bug of ours: 500 and no message, as the service does; what happened belongs in the server's log."""
    return _reply(500, b'{"__type":"com.amazon.coral.service#InternalFailure"}')


def encode(result: Mapping[str, Any]) -> bytes:
    """`result` as JSON: members in alphabetical order, every float a timestamp in seconds with exactly three decimals.

    Raises:
        ValueError: a float is not finite.
    """
    text = json.dumps(result, sort_keys=True, separators=(",", ":"), allow_nan=False)
    # Floats are timestamps: SWF's model has no other number with a fraction, and none in a list. A quote that ends a member name is the
    # only one that a colon can follow (inside a string a quote has a backslash before it), so this never touches user data.
    # It is several times faster than writing the tree by hand, and a page of history has ten thousand nodes.
    return _FLOAT.sub(_with_milliseconds, text).encode("ascii")


_FLOAT: Final = re.compile(r'(?<!\\)":(-?\d+(?:\.\d+(?:e[+-]\d+)?|e[+-]\d+))(?=[,}])')


def _with_milliseconds(match: re.Match[str]) -> str:
    milliseconds = round(float(match[1]) * 1000)
    sign = "-" if milliseconds < 0 else ""
    return f'":{sign}{abs(milliseconds) // 1000}.{abs(milliseconds) % 1000:03d}'


def _reply(status: int, body: bytes) -> Reply:
    headers = (("content-type", CONTENT_TYPE), ("content-length", str(len(body))))
    return Reply(status, headers, body)


# --- reading --------------------------------------------------------------------------------------------------------


def _decoded(encodings: str, body: bytes) -> bytes:
    real = [name for name in (part.strip().lower() for part in encodings.split(",")) if name not in {"", "amz-1.0", "identity"}]
    if len(body) > MAX_BODY:
        raise too_large()
    if not real:
        return body
    if real != ["gzip"]:
        raise _unreadable(f"content encoding {', '.join(real)[:256]!r} is not supported; gzip is")
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise _unreadable(f"the body is no gzip data: {error}") from None
    if len(plain) > MAX_BODY:
        raise too_large()
    if not inflater.eof or inflater.unused_data:
        raise _unreadable("the gzip data is cut off, or more data follows it")
    return plain


def _parameters(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        text = body.decode("utf-8")
        params = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in text:
            _refuse_surrogates(params)
    except RecursionError:
        raise _unreadable("the JSON is nested too deeply") from None
    except ValueError as error:
        raise _unreadable(str(error)) from None
    if not isinstance(params, dict):
        raise _unreadable("the body is not a JSON object")
    return params


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # set.add gives None
        raise ValueError(f"the member {name[:256]!r} is given twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:32]} is out of range")
    return value


def _refuse_surrogates(params: Any) -> None:
    """Half of a UTF-16 pair can be written in JSON as an escape but is no text: neither UTF-8 nor SQLite can hold it."""
    for string in _strings(params):
        try:
            string.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("a string holds half of a surrogate pair") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _strings(item)


def _unreadable(message: str) -> Fault:
    return Fault("SerializationException", message)
