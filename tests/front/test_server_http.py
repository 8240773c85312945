"""The server over real sockets, with a stand-in for the engine whose polls the test answers by hand."""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import pytest

from flowdsl.errors import Fault, UserError
from flowdsl.server import ThreadedServer, protocol, wire


class Ticket:
    def __init__(self, cancelled: Callable[[Ticket], None], done: Callable[[Any], None]) -> None:
        self.done = done
        self.cancelled = threading.Event()
        self._tell = cancelled

    def cancel(self) -> bool:
        self.cancelled.set()
        self._tell(self)
        return True


class Hand:
    """A service that a test holds in its hand: polls wait until `answer`; other calls echo their parameters."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self.polls: list[Ticket] = []
        self.changed = threading.Condition()
        self.closed = False
        #: for each cancelled poll, how many calls had been made until then
        self.cancelled_before: list[int] = []

    def submit_all(self, calls: Sequence[tuple[str, Mapping[str, Any], Callable[[Any], None]]]) -> list[Ticket]:
        return [self.submit(*call) for call in calls]

    def submit(self, operation: str, params: Mapping[str, Any], done: Callable[[Any], None]) -> Ticket:
        ticket = Ticket(self._drop, done)
        with self.changed:
            self.calls.append(operation)
            self.threads.add(threading.current_thread().name)
            if operation.startswith("PollFor"):
                self.polls.append(ticket)
            elif operation == "DescribeDomain":
                done(Fault("UnknownResourceFault", f"Unknown domain: {params['name']}"))
            elif operation == "ListDomains":
                raise ZeroDivisionError("a bug")
            else:
                done(dict(params))
            self.changed.notify_all()
        return ticket

    def _drop(self, ticket: Ticket) -> None:
        with self.changed:
            if ticket in self.polls:
                self.polls.remove(ticket)
            self.cancelled_before.append(len(self.calls))
            self.changed.notify_all()

    def wait(self, ready: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(ready, 20)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def address(hand: Hand) -> Iterator[tuple[str, int]]:
    with ThreadedServer(hand) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)
    assert hand.closed


class Client:
    """One connection, byte by byte."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, 20)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, action: str, body: bytes = b"{}", **headers: str) -> None:
        self.socket.sendall(request(action, body, **headers))

    def receive(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self.stream.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self.stream.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self.stream.read(int(headers["content-length"]))

    def call(self, action: str, body: bytes = b"{}", **headers: str) -> tuple[int, dict[str, str], bytes]:
        self.send(action, body, **headers)
        return self.receive()


def request(action: str, body: bytes = b"{}", **headers: str) -> bytes:
    lines = {
        "Host": "localhost",
        "X-Amz-Target": f"SimpleWorkflowService.{action}",
        "Content-Type": "application/x-amz-json-1.0",
        "Content-Length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"POST / HTTP/1.1\r\n{head}\r\n".encode() + body


def get(address: tuple[str, int], path: str, host: str = "localhost") -> tuple[int, dict[str, str], bytes]:
    with Client(address) as client:
        client.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return client.receive()


def kind(body: bytes) -> str:
    return str(json.loads(body)["__type"]).partition("#")[2]


def test_every_response_has_a_request_id_of_its_own(address: tuple[str, int]) -> None:
    uuid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    with Client(address) as client:
        replies = [client.call("StartWorkflowExecution"), client.call("DescribeDomain", b'{"name":"d"}'), client.call("Nonsense")]
    replies += [get(address, "/"), get(address, "/nowhere"), get(address, "/", host="evil.example")]
    assert [status for status, _, _ in replies] == [200, 400, 400, 200, 404, 403]
    ids = {headers["x-amzn-requestid"] for _, headers, _ in replies}
    assert len(ids) == len(replies)
    assert all(uuid.fullmatch(one) for one in ids)


def test_a_connection_serves_many_calls_and_stays_open(address: tuple[str, int]) -> None:
    with Client(address) as client:
        for number in range(50):
            body = json.dumps({"runId": str(number)}).encode()
            status, headers, answer = client.call("StartWorkflowExecution", body)
            assert (status, answer) == (200, body.replace(b" ", b""))
            assert headers.get("connection") != "close"


def test_an_operation_without_output_has_an_empty_body(address: tuple[str, int]) -> None:
    with Client(address) as client:
        status, headers, body = client.call("RegisterDomain", b'{"name":"d"}')
    assert (status, headers["content-length"], body) == (200, "0", b"")


def test_pipelined_calls_are_answered_in_their_order(address: tuple[str, int], hand: Hand) -> None:
    with Client(address) as client:
        client.socket.sendall(b"".join(request("StartWorkflowExecution", f'{{"runId":"{n}"}}'.encode()) for n in range(10)))
        assert [json.loads(client.receive()[2])["runId"] for _ in range(10)] == [str(n) for n in range(10)]
    assert hand.calls == ["StartWorkflowExecution"] * 10


def test_a_request_may_come_byte_by_byte(address: tuple[str, int]) -> None:
    with Client(address) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request("StartWorkflowExecution", b'{"runId":"slow"}'):
            client.socket.sendall(bytes([byte]))
        assert client.receive()[2] == b'{"runId":"slow"}'


def test_a_chunked_body_is_read(address: tuple[str, int]) -> None:
    with Client(address) as client:
        head = request("StartWorkflowExecution", b"", Content_Length="", Transfer_Encoding="chunked")
        client.socket.sendall(head + b'8\r\n{"runId"\r\n' + b'5\r\n:"x"}\r\n0\r\n\r\n')
        assert client.receive()[2] == b'{"runId":"x"}'


def test_a_gzip_body_is_read(address: tuple[str, int]) -> None:
    with Client(address) as client:
        assert client.call("StartWorkflowExecution", gzip.compress(b'{"runId":"z"}'), Content_Encoding="gzip")[2] == b'{"runId":"z"}'


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b'{"a":1,"a":2}'])
def test_a_body_that_cannot_be_read_is_a_400_and_the_connection_goes_on(address: tuple[str, int], body: bytes) -> None:
    with Client(address) as client:
        status, _, answer = client.call("StartWorkflowExecution", body)
        assert (status, kind(answer)) == (400, "SerializationException")
        assert client.call("StartWorkflowExecution")[0] == 200


def test_a_body_over_one_megabyte_is_answered_413_after_it_was_swallowed(address: tuple[str, int], hand: Hand) -> None:
    with Client(address) as client:
        status, _, answer = client.call("StartWorkflowExecution", b" " * (wire.MAX_BODY + 1))
        assert (status, kind(answer)) == (413, "RequestEntityTooLargeException")
        assert client.call("StartWorkflowExecution")[0] == 200
    assert hand.calls == ["StartWorkflowExecution"]


def test_a_body_without_end_is_cut_off(address: tuple[str, int]) -> None:
    with Client(address) as client:
        client.socket.sendall(request("StartWorkflowExecution", b"", Content_Length=str(10**12)))
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 10**9:
                sent += client.socket.send(b" " * 65_536)
        assert sent < 200_000_000


def test_a_fault_of_the_engine_reaches_the_client(address: tuple[str, int]) -> None:
    with Client(address) as client:
        status, headers, body = client.call("DescribeDomain", b'{"name":"nowhere"}')
    assert (status, headers["content-type"]) == (400, "application/json")
    assert json.loads(body) == {"__type": "com.amazonaws.swf.base.model#UnknownResourceFault", "message": "Unknown domain: nowhere"}


def test_a_bug_is_a_500_without_message_and_is_logged_under_its_request_id(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    with Client(address) as client:
        status, headers, body = client.call("ListDomains")
        assert client.call("StartWorkflowExecution")[0] == 200
    assert (status, json.loads(body)) == (500, {"__type": "com.amazon.coral.service#InternalFailure"})
    assert headers["x-amzn-requestid"] in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text


def test_all_engine_work_is_done_by_one_thread(address: tuple[str, int], hand: Hand) -> None:
    clients = [Client(address) for _ in range(8)]
    for client in clients:
        client.send("StartWorkflowExecution")
    for client in clients:
        assert client.receive()[0] == 200
        client.__exit__()
    assert len(hand.threads) == 1


# --- long polls ------------------------------------------------------------------------------------------------------


def test_a_waiting_poll_does_not_hold_up_other_calls(address: tuple[str, int], hand: Hand) -> None:
    with Client(address) as poller, Client(address) as other:
        poller.send("PollForActivityTask")
        hand.wait(lambda: len(hand.polls) == 1)
        assert other.call("StartWorkflowExecution")[0] == 200
        hand.polls[0].done({"taskToken": "t", "startedEventId": 6})
        assert json.loads(poller.receive()[2]) == {"startedEventId": 6, "taskToken": "t"}


def test_hundreds_of_polls_wait_in_a_handful_of_threads(address: tuple[str, int], hand: Hand) -> None:
    before = threading.active_count()
    clients = [Client(address) for _ in range(300)]
    for client in clients:
        client.send("PollForActivityTask")
    hand.wait(lambda: len(hand.polls) == len(clients))
    assert threading.active_count() <= before + 1
    for number, poll in enumerate(hand.polls):
        poll.done({"startedEventId": number})
    assert {json.loads(client.receive()[2])["startedEventId"] for client in clients} == set(range(300))
    for client in clients:
        client.__exit__()


def test_a_client_that_vanishes_during_its_poll_has_it_cancelled(address: tuple[str, int], hand: Hand) -> None:
    with Client(address) as client:
        client.send("PollForDecisionTask")
        hand.wait(lambda: len(hand.polls) == 1)
        ticket = hand.polls[0]
    assert ticket.cancelled.wait(20)


@pytest.mark.parametrize("end", ["orderly", "reset"])
def test_a_client_that_vanished_first_hears_of_no_call_that_came_later(address: tuple[str, int], hand: Hand, end: str) -> None:
    with Client(address) as other:
        for turn in range(1, 31):
            with Client(address) as poller:
                poller.send("PollForDecisionTask")
                hand.wait(lambda: len(hand.polls) == 1)
                if end == "reset":
                    poller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            other.call("StartWorkflowExecution")
            assert hand.cancelled_before == [2 * n - 1 for n in range(1, turn + 1)]


def test_a_client_that_vanishes_with_calls_behind_its_poll_has_it_cancelled(address: tuple[str, int], hand: Hand) -> None:
    with Client(address) as client:
        client.send("PollForDecisionTask")
        client.send("StartWorkflowExecution")
        client.send("StartWorkflowExecution")
        hand.wait(lambda: len(hand.polls) == 1)
        ticket = hand.polls[0]
    assert ticket.cancelled.wait(20)
    assert hand.calls == ["PollForDecisionTask"]


def test_a_poll_is_only_cancelled_when_its_client_is_gone(address: tuple[str, int], hand: Hand) -> None:
    with Client(address) as client:
        client.send("PollForDecisionTask")
        hand.wait(lambda: len(hand.polls) == 1)
        client.send("StartWorkflowExecution")  # reading goes on behind a waiting poll
        ticket = hand.polls[0]
        ticket.done({"startedEventId": 3})
        assert client.receive()[0] == 200
        assert client.receive()[0] == 200
    assert not ticket.cancelled.is_set()


@pytest.mark.parametrize("operation", ["PollForActivityTask", "PollForDecisionTask"])
def test_the_end_of_the_server_answers_waiting_polls_empty(operation: str) -> None:
    hand = Hand()
    server = ThreadedServer(hand)
    host, _, port = server.start().removeprefix("http://").partition(":")
    with Client((host, int(port))) as client:
        client.send(operation)
        hand.wait(lambda: len(hand.polls) == 1)
        server.stop()
        status, headers, body = client.receive()
        assert (status, headers["connection"]) == (200, "close")
        assert json.loads(body) == dict(wire.EMPTY_POLLS[operation])
    assert hand.closed
    assert not hand.polls


# --- who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Host": "10.0.0.1:4010"}]
)
def test_browsers_of_other_origins_and_other_hosts_are_refused(address: tuple[str, int], hand: Hand, headers: dict[str, str]) -> None:
    with Client(address) as client:
        assert client.call("StartWorkflowExecution", **headers)[0] == 403
    assert hand.calls == []


def test_a_preflight_is_refused(address: tuple[str, int]) -> None:
    with Client(address) as client:
        client.socket.sendall(b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n")
        status, headers, _ = client.receive()
    assert status == 403
    assert "access-control-allow-origin" not in headers


def test_with_credentials_an_unsigned_call_is_refused(hand: Hand) -> None:
    with ThreadedServer(hand, credentials="ann:a long secret") as url:
        host, _, port = url.removeprefix("http://").partition(":")
        with Client((host, int(port))) as client:
            status, _, body = client.call("StartWorkflowExecution")
    assert (status, kind(body)) == (400, "MissingAuthenticationTokenException")
    assert hand.calls == []


def test_an_open_address_without_credentials_is_refused(hand: Hand) -> None:
    with pytest.raises(UserError, match=r"0\.0\.0\.0 can be reached from other machines: give --credentials FILE"):
        ThreadedServer(hand, host="0.0.0.0").start()


def test_a_port_in_use_is_a_clear_error(address: tuple[str, int], hand: Hand) -> None:
    with pytest.raises(UserError, match=rf"port {address[1]}: Address already in use"):
        ThreadedServer(hand, port=address[1]).start()


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_half_a_request_and_silence_ends_the_connection(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    with ThreadedServer(hand) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        for beginning in (b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-"):
            with Client((host, int(port))) as client:
                client.socket.sendall(beginning)
                assert client.stream.read() == b""


def test_a_body_that_does_not_come_ends_the_connection(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowdsl.server.app.BODY_SECONDS", 0.05)
    with ThreadedServer(hand) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        with Client((host, int(port))) as client:
            client.socket.sendall(request("StartWorkflowExecution", b"", Content_Length="10"))
            status, headers, _ = client.receive()
            assert (status, headers["connection"]) == (408, "close")
            assert client.stream.read() == b""


def test_headers_without_end_are_refused(address: tuple[str, int], hand: Hand) -> None:
    with Client(address) as client, pytest.raises(ConnectionError):
        client.socket.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            client.socket.sendall(b"X-Filler: " + b"x" * 10_000 + b"\r\n")
    assert hand.calls == []


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_http_is_a_400(address: tuple[str, int], rubbish: bytes) -> None:
    with Client(address) as client:
        client.socket.sendall(rubbish)
        assert client.receive()[0] == 400
    assert get(address, "/health")[2] == b"ok\n"


def test_the_page_says_what_this_is_and_how_to_reach_it(address: tuple[str, int]) -> None:
    status, headers, body = get(address, "/", host=f"127.0.0.1:{address[1]}")
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert f"export AWS_ENDPOINT_URL_SWF=http://127.0.0.1:{address[1]}\n" in body.decode()


def test_the_page_of_the_server_is_only_read(address: tuple[str, int]) -> None:
    with Client(address) as client:
        client.socket.sendall(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert client.receive()[0] == 405
