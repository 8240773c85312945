"""The engine's file: what is refused, what is locked, what survives."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest
from engine_kit import Swf, activity, check_history, complete

from flowdsl.engine import Engine
from flowdsl.engine.schema import VERSION
from flowdsl.errors import DefinitionError, Fault, FileInUse, NotAnEngineFile, UserError


def test_an_engine_in_memory_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Engine(":memory:").close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["with space.db", "Ünïcödé-名前.db", "a'b;c.db", "file:x?mode=memory", "%41.db"])
def test_a_file_on_any_path(tmp_path, name):
    swf = Swf(tmp_path / name)
    swf.prepare()
    run = swf.start()
    swf.reopen()
    assert swf.types(run) == ["WorkflowExecutionStarted", "DecisionTaskScheduled"]
    swf.engine.close()
    assert [path.name for path in tmp_path.iterdir()] == [name], "no journal and no lock is left behind"


def test_a_second_engine_in_this_process_is_refused(tmp_path):
    first = Engine(tmp_path / "e.db")
    with pytest.raises(FileInUse, match="served by another engine"):
        Engine(tmp_path / "e.db")
    first.apply(0, "RegisterDomain", {"name": "d", "workflowExecutionRetentionPeriodInDays": "1"})
    first.close()
    Engine(tmp_path / "e.db").close()


_SECOND = """
import sys
from flowdsl.engine import Engine
from flowdsl.errors import FileInUse
try:
    Engine(sys.argv[1])
except FileInUse:
    sys.exit(7)
"""


def test_a_second_process_is_refused_and_one_after_it_is_not(tmp_path):
    path = tmp_path / "e.db"
    command = [sys.executable, "-c", _SECOND, os.fspath(path)]
    engine = Engine(path)
    assert subprocess.run(command, check=False, timeout=60).returncode == 7
    engine.close()
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_an_sqlite_file_of_another_program_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NotAnEngineFile, match="another program"):
        Engine(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 1000)
    with pytest.raises(NotAnEngineFile):
        Engine(path)
    assert path.read_text() == "dear diary, " * 1000


def test_an_empty_file_becomes_an_engine_file(tmp_path):
    path = tmp_path / "e.db"
    path.touch()
    Engine(path).close()
    assert path.stat().st_size > 0


def test_a_file_of_a_newer_flowdsl_is_refused(tmp_path):
    path = tmp_path / "e.db"
    Engine(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(NotAnEngineFile, match="newer flowdsl"):
        Engine(path)


@pytest.mark.parametrize("page", [1, 3, 8, 20])
def test_a_damaged_file_is_refused(tmp_path, page):
    path = tmp_path / "e.db"
    swf = Swf(path)
    swf.prepare()
    for number in range(30):
        swf.start(f"w{number}", input="x" * 3000)
    swf.engine.close()
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(NotAnEngineFile, match="damaged"):
        Engine(path)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("DELETE FROM events WHERE id = 1", "has gaps"),
        ("DELETE FROM events", "has gaps"),
        ("UPDATE events SET attributes = '{'", "does not fold"),
        ("UPDATE events SET type = 'TimerFired' WHERE id = 2", "does not fold"),
    ],
)
def test_a_history_that_does_not_fold_is_damage_too(tmp_path, harm, message):
    path = tmp_path / "e.db"
    swf = Swf(path)
    swf.prepare()
    swf.start()
    swf.engine.close()
    connection = sqlite3.connect(path)
    connection.execute(harm)
    connection.commit()
    connection.close()
    swf = Swf(path)
    with pytest.raises(NotAnEngineFile, match=message):
        swf.signal()
    swf.engine.close()


@pytest.mark.parametrize("path", ["no/such/folder/e.db", "."])
def test_a_path_that_cannot_be_opened(tmp_path, path):
    with pytest.raises(UserError, match="cannot be opened"):
        Engine(tmp_path / path)


def test_an_unknown_durability(tmp_path):
    with pytest.raises(DefinitionError, match="'process' or 'full'"):
        Engine(tmp_path / "e.db", durability="maybe")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("full", 2)])
def test_durability_is_sqlite_s_synchronous(tmp_path, durability, level):
    engine = Engine(tmp_path / "e.db", durability=durability)
    assert engine._store.one("PRAGMA synchronous")[0] == level
    assert engine._store.one("PRAGMA journal_mode")[0] == "wal"
    engine.close()


def test_a_closed_engine_says_so(tmp_path):
    engine = Engine(tmp_path / "e.db")
    engine.close()
    engine.close()
    with pytest.raises(Fault, match="closed") as caught:
        engine.apply(0, "ListDomains", {"registrationStatus": "REGISTERED"})
    assert caught.value.code == "ServiceUnavailable"


@pytest.mark.parametrize("operation", ["decide", "signal", "work", "start", "tick"])
def test_what_cannot_be_written_did_not_happen_and_can_be_tried_again(swf, operation):
    """The disk is full: SQLite's own limit of pages stands in for it."""
    run = swf.start()
    swf.decide(
        activity("a", input="x" * 30_000),
        {"decisionType": "StartTimer", "startTimerDecisionAttributes": {"timerId": "t", "startToFireTimeout": "0"}},
    )
    swf.signal()
    big = "x" * 32_000
    steps = {
        "decide": lambda: swf.respond(task, *[activity(f"a{n}", input=big) for n in range(20)]),
        "signal": lambda: [swf.signal(input=big) for _ in range(20)],
        "work": lambda: swf.call("RespondActivityTaskCompleted", taskToken=worker["taskToken"], result=big),
        "start": lambda: swf.start("other", input=big),
        "tick": swf.tick,
    }
    task, worker = swf.poll_decision(), swf.poll_activity()
    store = swf.engine._store
    pages = store.one("PRAGMA page_count")[0]
    before = swf.types(run)
    store.one(f"PRAGMA max_page_count = {pages}")
    if operation != "tick":
        with pytest.raises(Fault) as caught:
            steps[operation]()
        assert (caught.value.code, caught.value.retryable) == ("InternalFailure", True)
        assert len(swf.types(run)) < len(before) + 3
    store.one("PRAGMA max_page_count = 1000000")
    steps[operation]()
    check_history(swf.history(run))
    swf.tick()
    check_history(swf.history(run))


def test_a_bug_in_an_operation_leaves_memory_and_file_as_they_were(swf, monkeypatch):
    run = swf.start()
    task = swf.poll_decision()
    before = swf.history(run)

    def broken(turn, attributes):
        turn.write("MarkerRecorded", {"markerName": "half"})
        raise ZeroDivisionError

    monkeypatch.setitem(__import__("flowdsl.engine.decisions", fromlist=["_APPLY"])._APPLY, "RecordMarker", broken)
    with pytest.raises(ZeroDivisionError):
        swf.respond(task, {"decisionType": "RecordMarker", "recordMarkerDecisionAttributes": {"markerName": "m"}})
    assert swf.history(run) == before
    swf.respond(task, complete())
    assert swf.types(run)[-1] == "WorkflowExecutionCompleted"
