"""What `flowdsl server --lambda` calls: Python functions as Lambda handlers, and URLs as the runtime interface emulator is called."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flowdsl.engine import Failed, Invocation, Quotas, Returned, Throttles
from flowdsl.errors import UserError
from flowdsl.limits import DATA
from flowdsl.server import choices
from flowdsl.server.functions import Functions


def call(function: Any, payload: str = "{}", name: str = "f") -> Any:
    return Functions({"f": function})(Invocation((1, 5), name, payload, 30))


def error_of(outcome: Any) -> dict[str, Any]:
    assert isinstance(outcome, Failed)
    shown: dict[str, Any] = json.loads(outcome.details)
    return shown


def test_a_handler_gets_its_input_and_a_context_and_its_result_is_json() -> None:
    def handler(event: Any, context: Any) -> Any:
        assert 0 < context.get_remaining_time_in_millis() <= 30_000
        assert context.invoked_function_arn.endswith(":function:f")
        return [event["n"] + 1, context.function_name, "ü"]

    assert call(handler, '{"n": 1}') == Returned('[2, "f", "ü"]')


def test_a_function_of_one_argument_gets_the_input_alone() -> None:
    assert call(lambda event: event * 2, "21") == Returned("42")


def test_nothing_returned_is_null() -> None:
    assert call(lambda event, context: None) == Returned("null")


def test_what_a_handler_raises_is_the_failure_with_its_own_lines() -> None:
    def handler(event: Any, context: Any) -> Any:
        raise ValueError("no such order")

    outcome = call(handler)
    assert outcome.reason == "Unhandled"
    shown = error_of(outcome)
    assert (shown["errorType"], shown["errorMessage"]) == ("ValueError", "no such order")
    assert len(shown["stackTrace"]) == 1
    assert "no such order" in shown["stackTrace"][0]


def test_a_failure_fits_into_a_history_however_long_it_is() -> None:
    def deep(n: int) -> Any:
        if n:
            return deep(n - 1)
        raise ValueError("\N{GRINNING FACE}" * DATA)

    outcome = call(lambda event, context: deep(300))
    assert isinstance(outcome, Failed)
    assert len(outcome.details.encode("utf-16-le")) // 2 <= DATA
    assert error_of(outcome)["errorMessage"].startswith("\N{GRINNING FACE}" * 100)


def test_a_failure_may_hold_what_is_no_text() -> None:
    def handler(event: Any, context: Any) -> Any:
        raise ValueError("half \ud800 a pair")

    assert error_of(call(handler))["errorMessage"] == "half ? a pair"


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, "\ud800"])
def test_a_result_that_is_no_json_is_a_failure(value: Any) -> None:
    assert error_of(call(lambda event, context: value))["errorType"] == "Runtime.MarshalError"


def test_an_input_that_is_no_json_never_reaches_the_function() -> None:
    outcome = call(lambda event, context: 1, "not json")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "InvalidRequestContentException"


@pytest.mark.parametrize(
    "name", ["f", "arn:aws:lambda:eu-west-1:123456789012:function:f", "arn:aws:lambda:eu-west-1:123456789012:function:f:7"]
)
def test_a_function_is_found_by_its_name_or_arn(name: str) -> None:
    assert call(lambda event: 1, name=name) == Returned("1")


def test_an_unknown_function_fails_as_on_aws() -> None:
    outcome = call(lambda event: 1, name="g")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "ResourceNotFoundException"


# --- URLs -------------------------------------------------------------------------------------------------------------


class Emulator(BaseHTTPRequestHandler):
    """Answers as the Invoke API does: doubles a number; fails on request."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        error = isinstance(body, dict)
        answer = json.dumps({"errorMessage": "no number", "errorType": "TypeError"} if error else body * 2).encode()
        self.send_response(502 if body == {"status": 502} else 200)
        if body == {}:
            self.send_header("X-Amz-Function-Error", "Unhandled")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def emulator() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Emulator)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/2015-03-31/functions/function/invocations"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_posted_the_input_and_answers_with_the_result(emulator: str) -> None:
    assert call(emulator, "21") == Returned("42")


@pytest.mark.parametrize(("payload", "reason"), [("{}", "Unhandled"), ('{"status": 502}', "HTTP 502")])
def test_a_url_that_says_so_failed(emulator: str, payload: str, reason: str) -> None:
    outcome = call(emulator, payload)
    assert outcome == Failed(reason, '{"errorMessage": "no number", "errorType": "TypeError"}')


def test_a_url_where_nobody_listens_failed() -> None:
    outcome = call("http://127.0.0.1:1/")
    assert "could not be called" in error_of(outcome)["errorMessage"]


# --- what the command line says ---------------------------------------------------------------------------------------


def test_functions_are_named_by_module_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "handlers_of_this_test.py").write_text("def hello(event, context):\n    return f'hello {event}'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    functions = choices.functions(["greet=handlers_of_this_test:hello"])
    assert functions is not None
    assert functions(Invocation((1, 5), "greet", '"you"', 30)) == Returned('"hello you"')
    assert choices.functions([]) is None


@pytest.mark.parametrize("text", ["f", "f=", "=json:dumps", "f=json", "f=no_such_module_at_all:f", "f=json:no_such", "f=json:__name__"])
def test_a_wrong_function_is_refused_before_anything_is_served(text: str) -> None:
    with pytest.raises(UserError):
        choices.functions([text])


def test_quotas_are_scaled_and_set_one_by_one() -> None:
    kept = choices.quotas(["open-timers=3", "history_events=50"], 0.01)
    assert (kept.open_timers, kept.history_events, kept.open_activities) == (3, 50, 10)
    assert choices.quotas([], 1) == Quotas()


@pytest.mark.parametrize(
    "text", ["open_timers", "open_timers=", "open_timers=0", "open_timers=-1", "open_timers=x", "timers=3", "open_timers=²"]
)
def test_a_wrong_quota_names_the_right_ones(text: str) -> None:
    with pytest.raises(UserError, match="the names are domains, types, open_executions"):
        choices.quotas([text], 1)


def test_rates_are_kept_only_if_they_are_wanted() -> None:
    assert choices.throttles(1, wanted=False) is None
    assert choices.throttles(1, wanted=True) == Throttles().scaled(1)
