"""Hostile input over real sockets: no bytes and no JSON make a 500 or a hang; connections are bounded; secrets are told to nobody."""

from __future__ import annotations

import json
import logging
import socket
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl.engine import Engine, Quotas, Service
from flowdsl.engine.clocks import ManualClock
from flowdsl.engine.shapes import INPUTS, SHAPES
from flowdsl.server import ThreadedServer, app, protocol, run

Address = tuple[str, int]

QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)


def address_of(url: str) -> Address:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    """A real engine, in which no poll may wait: a poll is a call like any other then."""
    patch = pytest.MonkeyPatch()
    patch.setattr(protocol, "HEAD_SECONDS", 0.1)  # what stays half is given up soon
    patch.setattr(app, "BODY_SECONDS", 0.1)
    service = Service(Engine(":memory:", quotas=Quotas(pollers=0, history_events=500)), ManualClock())
    for operation, params in (
        ("RegisterDomain", {"name": "d", "workflowExecutionRetentionPeriodInDays": "1"}),
        ("RegisterWorkflowType", {"domain": "d", "name": "d", "version": "1", "defaultTaskList": {"name": "d"}}),
        ("RegisterActivityType", {"domain": "d", "name": "d", "version": "1", "defaultTaskList": {"name": "d"}}),
    ):
        service.call(operation, params)
    with ThreadedServer(service) as url:
        yield address_of(url)
    patch.undo()


def exchange(address: Address, data: bytes) -> bytes:
    """Everything that the server says to `data` until it closes the connection, which it must."""
    with socket.create_connection(address, 60) as connection:
        try:
            connection.sendall(data)
            answer = b""
            while chunk := connection.recv(65_536):
                answer += chunk
        except ConnectionError:  # refused in the middle of it
            return b""
    return answer


def head(action: str, length: object, **more: str) -> bytes:
    lines = {
        "Host": "localhost",
        "X-Amz-Target": f"x.{action}",
        "Content-Type": "application/x-amz-json-1.0",
        "Content-Length": str(length),
    }
    text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in (lines | more).items())
    return f"POST / HTTP/1.1\r\n{text}\r\n".encode("latin-1")


def call(address: Address, action: str, body: bytes) -> tuple[int, bytes]:
    answer = exchange(address, head(action, len(body), Connection="close") + body)
    first, _, _ = answer.partition(b"\r\n")
    return int(first.split()[1]), answer.partition(b"\r\n\r\n")[2]


# --- bytes

VALID = head("ListDomains", 35) + b'{"registrationStatus":"REGISTERED"}'
LAST = head("ListDomains", 35, Connection="close") + b'{"registrationStatus":"REGISTERED"}'
PIECES = st.sampled_from(
    [
        b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n", b"GET /health HTTP/1.0\r\n", b"Host: localhost\r\n",
        b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"fffffffffffffffff\r\n", b"Expect: 100-continue\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"X-Amz-Target: a.ListDomains\r\n", b"X-Amz-Target: flowdsl.Backup\r\n",
        b"Content-Encoding: gzip\r\n", b"Authorization: AWS4-HMAC-SHA256 x\r\n", b"\r\n", b"{}", b"\x00", b"\xff" * 20,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x1f\x8b\x08", VALID,
    ]
)  # fmt: skip
bytes_of_any_kind = st.lists(PIECES | st.binary(max_size=40), max_size=8).map(b"".join)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A good request of which some bytes are others, or gone."""
    data = bytearray(VALID)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@QUICK
@given(data=bytes_of_any_kind | broken())
def test_no_bytes_whatever_make_a_500_or_a_hang(address: Address, data: bytes) -> None:
    answer = exchange(address, data + LAST)
    assert b"HTTP/1.1 5" not in answer
    assert b"Traceback" not in answer


# --- JSON

HARMLESS = st.sampled_from(
    ["d", "1", "NONE", "0", "5", "REGISTERED", "COMPLETED", "ABANDON", "x" * 300, "", "a:b", "d' OR 1=1 --", "../../d"]
)
texts = HARMLESS | st.text(max_size=12) | st.text(string.digits, min_size=1, max_size=9)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def value_of(shape: str) -> st.SearchStrategy[Any]:
    """Mostly what the shape is, sometimes anything."""
    kind, *rest = SHAPES[shape]
    if kind == "string":
        exact: st.SearchStrategy[Any] = texts if rest[2] is None else st.sampled_from(rest[2])
    elif kind == "list":
        exact = st.lists(st.deferred(lambda: value_of(rest[0])), max_size=3)
    elif kind == "structure":
        required = {name: value_of(of) for name, (of, needed) in rest[0].items() if needed}
        optional = {name: value_of(of) for name, (of, needed) in rest[0].items() if not needed}
        exact = st.fixed_dictionaries(required, optional=optional)
    else:
        exact = st.booleans() if kind == "boolean" else st.integers(-1, 10**10)
    return st.integers(0, 30).flatmap(lambda roll: anything if roll == 30 else exact)  # noqa: PLR2004 - one in thirty


calls = st.sampled_from(sorted(INPUTS)).flatmap(lambda action: st.tuples(st.just(action), value_of(INPUTS[action])))


@QUICK
@given(request=calls)
def test_no_json_whatever_makes_a_500(address: Address, request: tuple[str, Any]) -> None:
    action, body = request
    status, answer = call(address, action, json.dumps(body).encode())
    assert status in {200, 400, 413}, answer
    if status != 200:
        assert set(json.loads(answer)) <= {"__type", "message"}


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE events; --", "%s%n{0}\N{RIGHT-TO-LEFT OVERRIDE}", "..\\..\\x", "$(reboot)", "\N{PILE OF POO}"]
)
def test_names_are_data(address: Address, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        status, _ = call(address, "RegisterDomain", json.dumps({"name": name, "workflowExecutionRetentionPeriodInDays": "1"}).encode())
        assert status == 200
        status, answer = call(address, "DescribeDomain", json.dumps({"name": name}).encode())
    assert (status, json.loads(answer)["domainInfo"]["name"]) == (200, name)


# --- connections


def test_there_are_no_more_connections_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MAX_CONNECTIONS", 20)
    with ThreadedServer(Service(Engine(":memory:"))) as url:
        address = address_of(url)
        idle = [socket.create_connection(address, 60) for _ in range(20)]
        late = [socket.create_connection(address, 60) for _ in range(30)]
        for connection in late:
            answer = connection.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"#ServiceUnavailable" in answer
            connection.close()
        idle[0].sendall(VALID)
        assert idle[0].recv(65_536).startswith(b"HTTP/1.1 200 ")
        for connection in idle:
            connection.close()
        while not exchange(address, LAST).startswith(b"HTTP/1.1 200 "):  # until the server has heard that they are gone
            pass


# --- secrets


def test_a_secret_is_in_no_answer_no_log_and_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = "correct-horse-battery"
    with (
        caplog.at_level(logging.DEBUG),
        ThreadedServer(Service(Engine(tmp_path / "e.db", durability="full")), credentials=f"ann:{secret}") as url,
    ):
        told = ("AWS4-HMAC-SHA256 x", f"Bearer {secret}", f"AWS4-HMAC-SHA256 Credential=ann/{secret}")
        requests = [LAST, *(head("ListDomains", 2, Authorization=one, Connection="close") + b"{}" for one in told)]
        answers = [exchange(address_of(url), request) for request in requests]
    assert all(answer.startswith(b"HTTP/1.1 400 ") for answer in answers)
    assert secret.encode() not in b"".join(answers)
    assert secret not in caplog.text
    assert not [path for path in tmp_path.iterdir() if secret.encode() in path.read_bytes()]
