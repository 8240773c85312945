"""The functions that lambda tasks of a served engine call: Python functions of this process, or URLs.

Rule 1: a Python function is a Lambda handler: it is called with the input, read from JSON, and a context; a function that takes one
        argument gets the input alone. What it returns is written as JSON; what it raises is the failure, in AWS Lambda's form.
Rule 2: a URL is posted the input and answers with the result, as the Invoke API and AWS's runtime interface emulator do: an
        `X-Amz-Function-Error` header or a status of 400 and more is the failure.
Rule 3: a function is found by the name or ARN in the decision, or else by the function's name within the ARN. One that is not known fails
        as one that does not exist does on AWS.
Rule 4: a wrong `--lambda` is refused before anything is served.
"""

from __future__ import annotations

import inspect
import json
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any, Final
from uuid import uuid4

from flowdsl.engine.lambdas import Failed, Invocation, Outcome, Returned, failure, unknown_function
from flowdsl.errors import UserError
from flowdsl.targets import resolve

UNHANDLED: Final = "Unhandled"
"""The reason of a function that raised (observed; in 2017 it was `UnhandledError`)."""

_LARGEST_ANSWER: Final = 1 << 20


class Context:
    """What a Lambda handler is given beside its input."""

    function_version = "$LATEST"
    memory_limit_in_mb = "128"
    identity = client_context = None

    def __init__(self, name: str, seconds: float) -> None:
        self.function_name = name
        self.invoked_function_arn = name if name.startswith("arn:") else f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
        self.aws_request_id = str(uuid4())
        self.log_group_name = f"/aws/lambda/{name}"
        self.log_stream_name = self.aws_request_id
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """How much of the task's time is left."""
        return max(0, round((self._end - time.monotonic()) * 1000))


Caller = Callable[[Invocation], Outcome]


class Functions:
    """Functions by name. Each is a Python function or a text: a URL, or what `flowdsl.targets.resolve` takes, such as `module:function`.

    Raises `UserError` (or its `DefinitionError`) for what cannot be found or called.
    """

    def __init__(self, functions: Mapping[str, Callable[..., Any] | str]) -> None:
        self._callers = {name: _caller(name, function) for name, function in functions.items()}

    def __call__(self, call: Invocation) -> Outcome:
        """Call the function (see the rules)."""
        caller = self._callers.get(call.name) or self._callers.get(_name_in_arn(call.name))
        return unknown_function(call.name) if caller is None else caller(call)


def _name_in_arn(name: str) -> str:
    """`arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]` → NAME."""
    parts = name.split(":")
    return parts[6] if len(parts) > 6 and parts[0] == "arn" and parts[5] == "function" else name


def _caller(name: str, function: Callable[..., Any] | str) -> Caller:
    if not isinstance(function, str):
        return _python(function)
    if function.startswith(("http://", "https://")):
        return lambda call: _post(function, call)
    handler = resolve(function)
    if not callable(handler):
        raise UserError(f"--lambda {name}={function}: that is no function")
    return _python(handler)


def _python(function: Callable[..., Any]) -> Caller:
    with_context = _takes_two(function)

    def call_it(call: Invocation) -> Outcome:
        try:
            event = json.loads(call.payload)
        except ValueError as error:
            return failure("InvalidRequestContentException", f"Could not parse request body into json: {error}")
        try:
            value = function(event, Context(call.name, call.seconds)) if with_context else function(event)
        except Exception as error:
            trace = traceback.format_exception(error)[2:-1]
            return failure(UNHANDLED, str(error), type(error).__name__, trace)
        try:
            result = json.dumps(value, ensure_ascii=False, allow_nan=False)
            result.encode()  # half a surrogate pair is no text
            return Returned(result)
        except (TypeError, ValueError) as error:
            return failure(UNHANDLED, f"Unable to marshal response: {error}", "Runtime.MarshalError")

    return call_it


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def _post(url: str, call: Invocation) -> Outcome:
    request = urllib.request.Request(url, call.payload.encode(), {"Content-Type": "application/json"})  # noqa: S310 - http(s), checked
    try:
        with urllib.request.urlopen(request, timeout=call.seconds) as response:  # noqa: S310 - the same
            text, wrong = _text(response.read(_LARGEST_ANSWER)), response.headers.get("X-Amz-Function-Error")
    except urllib.error.HTTPError as error:
        with error:
            text, wrong = _text(error.read(_LARGEST_ANSWER)), f"HTTP {error.code}"
    except (OSError, HTTPException) as error:
        return failure(UNHANDLED, f"{url} could not be called: {error}", type(error).__name__)
    if not wrong:
        return Returned(text)
    return Failed(wrong[:256], text) if len(text) <= _SHOWN else failure(wrong, text)


_SHOWN: Final = 16_384  # characters of an error that are passed on as they came: never too long, in whatever unit


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")
