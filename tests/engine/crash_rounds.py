"""Rounds of load that end badly: `python crash_rounds.py FILE ROUNDS SEED`. `test_durable.py` runs it; it prints what happened, as JSON.

Each round a child process works on the file with four threads, and says in a pipe what was acknowledged and what was refused. It is killed
with SIGKILL at a random moment; in two rounds of three its disk fails before: it is full (a limit on the size of files), or a random
statement or commit ends in an I/O error. After each round the file is opened again and everything that was said is held against it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import signal
import sqlite3
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from engine_kit import Swf, activity, check_history, complete, timer

from flowdsl.engine import Engine, Service
from flowdsl.engine.world import World
from flowdsl.errors import Fault

THREADS = 4
CAUSES = ("kill", "full", "error")


class Failing:
    """A connection whose disk fails at some of the statements that write."""

    def __init__(self, connection: sqlite3.Connection, chance: random.Random) -> None:
        self._connection = connection
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, values: Any = ()) -> Any:
        if not sql.startswith(("SELECT", "ROLLBACK", "PRAGMA")) and self._chance.random() < 0.02:
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(sql, values)

    def executemany(self, sql: str, rows: Any) -> Any:
        rows = list(rows)
        if self._chance.random() < 0.02:
            self._connection.executemany(sql, rows[: len(rows) // 2])
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.executemany(sql, rows)


def work(path: str, number: int, cause: str, chance: random.Random, out: int) -> None:
    """The child: it never returns."""
    if cause == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        largest = max(file.stat().st_size for file in Path(path).parent.glob(f"{Path(path).name}*"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + chance.randrange(200_000), resource.RLIM_INFINITY))
    logging.disable()
    threading.excepthook = lambda failure: os.write(out, f"broken {failure.exc_type.__name__}\n".encode())
    engine = Engine(path, recover=True)
    if cause == "error":
        store = engine._store
        store._connection = Failing(store._connection, chance)  # type: ignore[assignment]  # it does what a connection does, or fails
        store._write = store._connection.execute
    service = Service(engine)
    for thread in range(THREADS):
        threading.Thread(target=live, args=(service, f"{number}-{thread}", out), daemon=True).start()
    threading.Event().wait()


def live(service: Service, name: str, out: int) -> None:
    """One thread: whole executions, one after the other, on a task list of its own. Each call has a text that no other has."""
    here, turn = {"domain": "dom"}, 0

    def call(operation: str, text: str = "", **params: Any) -> dict[str, Any] | None:
        try:
            answer = service.call(operation, params)
        except Fault as fault:
            if text and fault.code == "InternalFailure":
                os.write(out, f"refused {text}\n".encode())
            return None
        if text:
            os.write(out, f"done {text}\n".encode())
        return answer

    while True:
        turn += 1
        flow, lists = f"{name}-{turn}", {"taskList": {"name": name}}
        kind = {"workflowType": {"name": "flow", "version": "1"}}
        if not call("StartWorkflowExecution", f"start-{flow}", **here, **lists, **kind, workflowId=flow, input=f"start-{flow}"):
            continue
        for number in range(3):
            text = f"signal-{flow}-{number}"
            call("SignalWorkflowExecution", text, **here, workflowId=flow, signalName="s", input=text)
        task = call("PollForDecisionTask", **here, **lists)
        if not task or "taskToken" not in task:
            continue
        text = f"decide-{flow}"
        decisions = [activity("a", input=text, **lists), timer("t", 0)]
        answer = call("RespondDecisionTaskCompleted", text, taskToken=task["taskToken"], decisions=decisions)
        if answer is None:
            continue
        held = call("PollForActivityTask", **here, **lists)
        if held and "taskToken" in held:
            text = f"result-{flow}"
            call("RespondActivityTaskCompleted", text, taskToken=held["taskToken"], result=text)
        task = call("PollForDecisionTask", **here, **lists)
        if task and "taskToken" in task:
            text = f"close-{flow}"
            call("RespondDecisionTaskCompleted", text, taskToken=task["taskToken"], decisions=[complete(text)])


def one_round(path: str, number: int, cause: str, chance: random.Random) -> list[str]:
    """What the child said before it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            work(path, number, cause, chance, writer)
        finally:
            os._exit(1)
    os.close(writer)
    lines = []
    with os.fdopen(reader, "rb") as said:
        wanted = chance.randrange(1, 120)
        for line in said:
            lines.append(line)
            if len(lines) == wanted:
                os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


def texts(path: str) -> Counter[str]:
    """How often each text stands in the file; what SQLite says of it is checked first."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found: Counter[str] = Counter()
    for (attributes,) in connection.execute("SELECT attributes FROM events WHERE attributes LIKE '%-%'"):
        given = json.loads(attributes)
        found.update(value for name in ("input", "result") if (value := given.get(name)))
    connection.close()
    return found


def main(path: str, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    seen: Counter[str] = Counter()
    base = path
    for number in range(rounds):
        if number % 40 == 0:
            path = f"{base}-{number}"
            swf = Swf(path)
            swf.prepare()
            swf.engine.close()
        cause = CAUSES[number % 3]
        said = one_round(path, number, cause, chance)
        engine = Engine(path)
        world = engine._world
        assert world is not None
        again = World(world.store, world.quotas, None, world.place, world.entropy)
        assert again.deadlines._due.keys() == world.deadlines._due.keys()
        engine.close()
        found = texts(path)
        assert all(times == 1 for times in found.values()), "something is doubled"
        for line in said:
            what, text = line.split()
            assert what in {"done", "refused"}, f"{cause}: {line}"
            seen[what] += 1
            assert found[text] == (what == "done"), f"{cause}: {line}, but it stands {found[text]} times in the file"
        seen[cause] += 1
        if number % 40 == 39 or number == rounds - 1:
            last = Swf(path)
            last.now = 2_000_000_000_000  # everything that was under way ends: timers, timeouts, effects
            last.tick()
            for workflow_id, run_id in last.engine._store.all("SELECT workflow_id, run_id FROM executions ORDER BY random() LIMIT 200"):
                check_history(last.history(run_id, workflow_id))
            assert last.engine._store.all("SELECT * FROM effects") == []
            last.engine.close()
            Path(path).unlink()
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
