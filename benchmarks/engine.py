"""The embedded engine against the least that could be done instead: SQLite's own commits, a server that answers a constant, an empty file.

    python benchmarks/engine.py                         # the loaded file has 10,000 executions and 500,000 events
    python benchmarks/engine.py --executions 100000     # … 100,000 and 5,000,000: some minutes, and 1.5 GB in the temporary folder
    python benchmarks/engine.py --only polls            # one part: commits, http, loaded, polls

What is compared is measured in turns, a round of this and a round of that; the ratios are those of the medians.
"""

from __future__ import annotations

import argparse
import http.client
import json
import select
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowdsl.engine import Engine, Service
from flowdsl.server import ThreadedServer

HERE = {"domain": "bench"}
FLOW, ACT = {"name": "flow", "version": "1"}, {"name": "act", "version": "1"}
NEVER = dict.fromkeys(("scheduleToCloseTimeout", "scheduleToStartTimeout", "startToCloseTimeout", "heartbeatTimeout"), "NONE")
TEXT = "x" * 100
EVENTS_EACH = 50

Call = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def prepare(call: Call) -> None:
    """One domain, one type of each kind."""
    call("RegisterDomain", {"name": "bench", "workflowExecutionRetentionPeriodInDays": "90"})
    times = {"defaultTaskStartToCloseTimeout": "600", "defaultExecutionStartToCloseTimeout": "31536000", "defaultChildPolicy": "ABANDON"}
    call("RegisterWorkflowType", {**HERE, **FLOW, **times})
    call("RegisterActivityType", {**HERE, **ACT})


def start(call: Call, workflow_id: str, task_list: str = "list") -> str:
    """The run id of a new execution."""
    return str(
        call("StartWorkflowExecution", {**HERE, "workflowId": workflow_id, "workflowType": FLOW, "taskList": {"name": task_list}})["runId"]
    )


def step(call: Call, number: int, task_list: str = "list", *, last: bool = False) -> None:
    """One sequential activity: four operations, six events."""
    lists = {**HERE, "taskList": {"name": task_list}}
    task = call("PollForDecisionTask", {**lists, "startAtPreviousStartedEvent": True})
    scheduled = {"activityId": str(number), "activityType": ACT, "taskList": {"name": task_list}, "input": TEXT, **NEVER}
    decision = {"decisionType": "ScheduleActivityTask", "scheduleActivityTaskDecisionAttributes": scheduled}
    if last:
        decision = {"decisionType": "CompleteWorkflowExecution"}
    call("RespondDecisionTaskCompleted", {"taskToken": task["taskToken"], "decisions": [decision]})
    if not last:
        held = call("PollForActivityTask", lists)
        call("RespondActivityTaskCompleted", {"taskToken": held["taskToken"], "result": TEXT})


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turns(rounds: int, **works: Callable[[], object]) -> dict[str, float]:
    """The median of each, in seconds."""
    measured: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            measured[name].append(seconds(work))
    return {name: statistics.median(times) for name, times in measured.items()}


def line(what: str, *columns: str) -> None:
    """One row of the table."""
    print(f"{what:<58}", *(f"{column:>14}" for column in columns))


# --- operations per second, against SQLite's own commits


class Floor:
    """A bare insert per commit, on a file that is opened as the engine opens its own."""

    def __init__(self, path: str, durability: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        synchronous = {"process": "NORMAL", "full": "FULL"}[durability]
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", f"synchronous={synchronous}", "wal_autocheckpoint=4000"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.execute("CREATE TABLE events (execution, id, at, type, attributes, PRIMARY KEY (execution, id)) WITHOUT ROWID")
        self.connection.execute(
            "CREATE TABLE agenda (execution, event, kind, list, started, due, PRIMARY KEY (execution, event)) WITHOUT ROWID"
        )
        self.made = 0

    def commits(self, count: int) -> None:
        """So many of them."""
        for _ in range(count):
            self.made += 1
            self.connection.execute("INSERT INTO events VALUES (1, ?, 0, 'WorkflowExecutionSignaled', ?)", (self.made, TEXT))

    def steps(self, count: int) -> None:
        """The statements of so many sequential activities: four commits each, six events, four changes of the index of open work."""
        run = self.connection.execute
        event, put = (
            "INSERT INTO events VALUES (2, ?, 0, 'ActivityTaskScheduled', ?)",
            "INSERT OR REPLACE INTO agenda VALUES (2, ?, 'A', 'list', ?, 0)",
        )
        for _ in range(count):
            for events, index in ((1, put), (2, put), (1, put), (2, "DELETE FROM agenda WHERE execution = 2 AND event = ? AND ?")):
                run("BEGIN IMMEDIATE")
                self.connection.executemany(event, [(self.made + number, TEXT) for number in range(1, events + 1)])
                self.made += events
                run(index, (self.made % 7, 1))
                run("COMMIT")


def bench_commits(folder: str, _: argparse.Namespace) -> None:
    line("operations per second in process", "this", "bare commits", "ratio")
    for durability, operations, rounds in (("process", 800, 9), ("full", 80, 7)):
        floor = Floor(f"{folder}/floor-{durability}.db", durability)
        engine = Engine(f"{folder}/apply-{durability}.db", durability=durability)
        service = Service(Engine(f"{folder}/service-{durability}.db", durability=durability))

        def apply(operation: str, params: Mapping[str, Any], engine: Engine = engine) -> dict[str, Any]:
            return engine.apply(time.time_ns() // 1_000_000, operation, params)

        for call in (apply, service.call):
            prepare(call)
            start(call, "w")
        numbers = iter(range(10**9))

        def steps(call: Call, operations: int = operations, numbers: Any = numbers) -> None:
            for _ in range(operations // 4):
                step(call, next(numbers))

        def together(service: Service = service, operations: int = operations) -> None:
            signal = {**HERE, "workflowId": "w", "signalName": "s", "input": TEXT}

            def some() -> None:
                for _ in range(operations // 16):
                    service.call("SignalWorkflowExecution", signal)

            threads = [threading.Thread(target=some) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        took = in_turns(
            rounds,
            floor=lambda floor=floor, operations=operations: floor.commits(operations),
            shaped=lambda floor=floor, operations=operations: floor.steps(operations // 4),
            apply=lambda steps=steps, apply=apply: steps(apply),
            service=lambda steps=steps, service=service: steps(service.call),
            together=together,
        )
        names = {
            "shaped": "SQLite alone, the engine's statements",
            "apply": "engine, one caller",
            "service": "service, one caller",
            "together": "service, 16 callers at once",
        }
        for name, shown in names.items():
            this, base = operations / took[name], operations / took["floor"]
            line(f"  {shown}, durability={durability}", f"{this:,.0f}/s", f"{base:,.0f}/s", f"{this / base:.2f}")
        service.close()
        engine.close()


# --- over HTTP, against a constant


class Constant:
    """A service that does nothing."""

    def submit_all(self, calls: Sequence[tuple[str, Mapping[str, Any], Callable[[Any], None]]]) -> Any:
        """Answer at once."""
        for _, _, done in calls:
            done({})
        return [None] * len(calls)

    def backup(self, path: str) -> str:
        """There is nothing to copy."""
        raise NotImplementedError

    def close(self) -> None:
        """There is nothing to close."""


class Http:
    """One connection to a server, as small as it can be."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"))

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One call, and its answer."""
        headers = {"X-Amz-Target": f"SimpleWorkflowService.{operation}", "Content-Type": "application/x-amz-json-1.0"}
        self.connection.request("POST", "/", json.dumps(params), headers)
        answer = self.connection.getresponse()
        body = answer.read()
        assert answer.status == http.HTTPStatus.OK, body
        return dict(json.loads(body)) if body else {}


def bench_http(folder: str, _: argparse.Namespace) -> None:
    service = Service(Engine(f"{folder}/http.db"))
    prepare(service.call)
    start(service.call, "w")
    signal = {**HERE, "workflowId": "w", "signalName": "s", "input": TEXT}
    with ThreadedServer(service) as url, ThreadedServer(Constant()) as constant_url:
        real, constant = Http(url), Http(constant_url)

        def calls(client: Http) -> None:
            for _ in range(200):
                client.call("SignalWorkflowExecution", signal)

        took = in_turns(9, real=lambda: calls(real), constant=lambda: calls(constant))
    this, base = 200 / took["real"], 200 / took["constant"]
    line("operations per second over HTTP, one connection", "this", "a constant", "ratio")
    line("  SignalWorkflowExecution", f"{this:,.0f}/s", f"{base:,.0f}/s", f"{this / base:.2f}")


# --- a file with much in it


def load(path: str, executions: int) -> int:
    """Fill a file with copies of one closed execution of `EVENTS_EACH` events, and a thousandth of open ones; the number of events."""
    service = Service(Engine(path))
    prepare(service.call)
    start(service.call, "pattern")
    for number in range(EVENTS_EACH // 6):
        step(service.call, number)
    step(service.call, 0, last=True)
    for number in range(executions // 1000):
        start(service.call, f"open-{number}", "nobody")
    service.close()
    connection = sqlite3.connect(path)
    last = connection.execute("SELECT max(id) FROM executions").fetchone()[0]
    numbers = f"WITH RECURSIVE n(i) AS (SELECT {last + 1} UNION ALL SELECT i + 1 FROM n WHERE i < {last + executions})"
    columns = "type_name, type_version, tags, parent, started, closed, status, expires, cancel_requested, ending"
    connection.execute(
        f"INSERT INTO executions (id, domain, workflow_id, run_id, {columns}) {numbers} "
        f"SELECT i, domain, 'copy-' || i, 'run-' || i, {columns} FROM n, executions WHERE workflow_id = 'pattern'"
    )
    connection.execute(
        f"INSERT INTO events {numbers} SELECT i, e.id, e.at, e.type, e.attributes FROM n, events e "
        "WHERE e.execution = (SELECT id FROM executions WHERE workflow_id = 'pattern') ORDER BY i, e.id"
    )
    connection.commit()
    events: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    connection.close()
    return events


def bench_loaded(folder: str, options: argparse.Namespace) -> None:
    took = seconds(lambda: load(f"{folder}/loaded.db", options.executions))
    begun = time.perf_counter()
    loaded = Service(Engine(f"{folder}/loaded.db"))
    opened = time.perf_counter() - begun
    events = loaded._engine._store.one("SELECT count(*) FROM events")[0]
    empty = Service(Engine(f"{folder}/empty.db"))
    prepare(empty.call)
    numbers = iter(range(10**9))
    for call in (loaded.call, empty.call):
        start(call, "w")

    def steps(call: Call) -> None:
        for _ in range(100):
            step(call, next(numbers))

    cost = in_turns(15, loaded=lambda: steps(loaded.call), empty=lambda: steps(empty.call))
    line("a sequential activity (four operations)", "loaded", "empty", "ratio")
    what = f"  {options.executions:,} executions, {events:,} events (made in {took:.0f} s, opened in {opened * 1000:.0f} ms)"
    line(what, f"{cost['loaded'] * 1e4:,.0f} µs", f"{cost['empty'] * 1e4:,.0f} µs", f"{cost['loaded'] / cost['empty']:.2f}")
    loaded.close()
    empty.close()


# --- held polls


def request(operation: str, params: Mapping[str, Any]) -> bytes:
    """The bytes of a call."""
    body = json.dumps(params).encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: x.{operation}\r\n"
        f"Content-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def receive(connection: socket.socket) -> dict[str, Any]:
    """The whole answer of a call that succeeded."""
    data = b""
    while True:
        data += connection.recv(1 << 20)
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) == int(head.partition(b"content-length: ")[2].split()[0]):
            assert head.startswith(b"HTTP/1.1 200"), data
            return dict(json.loads(body))


def memory(process: int) -> float:
    """Resident megabytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def bench_polls(folder: str, options: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "flowdsl", "server", "--port", "0", "--path", f"{folder}/polls.db"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip().rpartition("=")[2]
    host, _, port = url.removeprefix("http://").partition(":")
    client = Http(url)
    prepare(client.call)
    before = memory(process.pid)
    poll = request("PollForDecisionTask", {**HERE, "taskList": {"name": "list"}})
    poller = select.epoll()
    sockets: dict[int, socket.socket] = {}
    for _ in range(options.polls):
        connection = socket.create_connection((host, int(port)))
        sockets[connection.fileno()] = connection
        poller.register(connection, select.EPOLLIN)
        connection.sendall(poll)
    start(client.call, "first", "another")  # an answer: all that was sent before it has been read
    time.sleep(1)
    held = memory(process.pid)
    waking: list[float] = []
    starter = socket.create_connection((host, int(port)))
    for number in range(500):
        about = {**HERE, "workflowId": f"w{number}", "workflowType": FLOW, "taskList": {"name": "list"}}
        begun = time.perf_counter()
        starter.sendall(request("StartWorkflowExecution", about))
        ((ready, _),) = poller.poll(60, 1)
        waking.append(time.perf_counter() - begun)
        assert "taskToken" in receive(sockets[ready])
        assert "runId" in receive(starter)
        sockets[ready].sendall(poll)
        time.sleep(0.005)
    waking.sort()
    middle, slow = statistics.median(waking) * 1000, waking[int(len(waking) * 0.99)] * 1000
    line(f"{options.polls} held polls: from a start to its decision task", "p50", "p99", "memory each")
    line("  over HTTP", f"{middle:.2f} ms", f"{slow:.2f} ms", f"{(held - before) * 1024 / options.polls:.0f} kB")
    process.terminate()
    process.wait()


PARTS = {"commits": bench_commits, "http": bench_http, "loaded": bench_loaded, "polls": bench_polls}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--polls", type=int, default=500)
    parser.add_argument("--only", choices=sorted(PARTS))
    options = parser.parse_args()
    for name, part in PARTS.items():
        if options.only in {None, name} and (name != "polls" or Path("/proc/self").is_dir()):
            with tempfile.TemporaryDirectory() as folder:
                part(folder, options)


if __name__ == "__main__":
    main()
