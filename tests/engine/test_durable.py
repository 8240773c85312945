"""Whatever happens to the process or to its disk: nothing acknowledged is lost, nothing refused is there, nothing is doubled."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from engine_kit import Swf, check_history, complete

from flowdsl.engine import Engine, Service, schema
from flowdsl.engine.clocks import ManualClock
from flowdsl.errors import Fault, NotAnEngineFile

#: rounds of `crash_rounds.py`; thousands by hand
ROUNDS = int(os.environ.get("FLOWDSL_CRASHES", "30"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked")
def test_a_killed_process_and_a_failing_disk_lose_and_double_nothing(tmp_path):
    script = Path(__file__).with_name("crash_rounds.py")
    command = [sys.executable, str(script), str(tmp_path / "e.db"), str(ROUNDS), "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5_000:]
    seen = json.loads(done.stdout)
    print(seen)  # noqa: T201 - the long form's report
    assert seen["kill"] + seen["full"] + seen["error"] == ROUNDS
    assert seen["done"] > ROUNDS
    assert seen["refused"]


# --- what is committed together, and fails


@pytest.fixture
def service(tmp_path):
    swf = Swf(tmp_path / "e.db")
    swf.prepare()
    swf.start()
    with_clock = Service(swf.engine, ManualClock(swf.now / 1000))
    yield with_clock
    with_clock.close()


class Commits:
    """Fails the commits that are named, by number; lets everything else through."""

    def __init__(self, store, failing):
        self.store, self.failing, self.made, self.write = store, failing, 0, store._write
        store._write = self

    def __call__(self, sql, values=()):
        if sql == "COMMIT":
            self.made += 1
            if self.made in self.failing:
                raise sqlite3.OperationalError("disk I/O error")
        return self.write(sql, values)


def together(service, calls):
    """Let these calls arrive while the lock is held, so that they are one group; their answers or faults."""
    answers = [None] * len(calls)

    def one(index, operation, params):
        try:
            answers[index] = service.call(operation, params)
        except Exception as error:
            answers[index] = error

    threads = []
    with service._lock:
        for index, (operation, params) in enumerate(calls):
            threads.append(threading.Thread(target=one, args=(index, operation, params)))
            threads[-1].start()
            while len(service._arrived) <= index:
                pass
    for thread in threads:
        thread.join()
    return answers


def signals(*texts, to="w"):
    return [("SignalWorkflowExecution", {"domain": "dom", "workflowId": to, "signalName": "s", "input": text}) for text in texts]


def recorded(service):
    run = service.call("ListOpenWorkflowExecutions", {"domain": "dom", "startTimeFilter": {"oldestDate": 0}})["executionInfos"][0]
    events = service.call("GetWorkflowExecutionHistory", {"domain": "dom", "execution": run["execution"]})["events"]
    check_history(events)
    return [e["workflowExecutionSignaledEventAttributes"]["input"] for e in events if e["eventType"] == "WorkflowExecutionSignaled"]


def test_what_arrives_together_is_committed_once(service):
    commits = Commits(service._engine._store, ())
    assert together(service, signals("a", "b", "c", "d")) == [{}] * 4
    assert commits.made == 1
    assert recorded(service) == ["a", "b", "c", "d"]


def test_a_lost_group_is_done_again_one_by_one(service):
    commits = Commits(service._engine._store, {1})
    assert together(service, signals("a", "b", "c")) == [{}] * 3
    assert commits.made == 4
    assert recorded(service) == ["a", "b", "c"]


def test_when_the_disk_fails_again_only_its_own_call_is_refused(service):
    Commits(service._engine._store, {1, 3})
    first, second, third = together(service, signals("a", "b", "c"))
    assert (first, third) == ({}, {})
    assert (second.code, second.retryable) == ("InternalFailure", True)
    assert recorded(service) == ["a", "c"]


def test_a_refusal_in_a_group_is_nobody_else_s(service):
    calls = [*signals("a"), *signals("x", to="nobody"), *signals("b")]
    first, second, third = together(service, calls)
    assert (first, third) == ({}, {})
    assert isinstance(second, Fault)
    assert second.code == "UnknownResourceFault"
    assert recorded(service) == ["a", "b"]


def test_a_waiting_poll_gets_its_task_although_the_group_that_gave_it_was_lost(service):
    got = []
    here = {"domain": "dom", "taskList": {"name": "deciders"}}
    task = service.call("PollForDecisionTask", here)
    service.submit("PollForDecisionTask", here, got.append)
    service.call("RespondDecisionTaskCompleted", {"taskToken": task["taskToken"]})
    assert got == []
    Commits(service._engine._store, {1})
    together(service, signals("a"))
    (given,) = got
    assert given["events"][-1]["eventType"] == "DecisionTaskStarted"
    service.call("RespondDecisionTaskCompleted", {"taskToken": given["taskToken"], "decisions": [complete()]})


def test_who_waits_for_the_end_of_a_run_hears_it_although_a_later_write_failed(service):
    info = service.call("ListOpenWorkflowExecutions", {"domain": "dom", "startTimeFilter": {"oldestDate": 0}})["executionInfos"][0]
    ended = threading.Event()
    service.when_closed("dom", "w", info["execution"]["runId"], ended.set)
    Commits(service._engine._store, {1, 3})
    end = ("TerminateWorkflowExecution", {"domain": "dom", "workflowId": "w"})
    other = {"domain": "dom", "workflowId": "o", "workflowType": {"name": "flow", "version": "1"}}
    first, second = together(service, [end, ("StartWorkflowExecution", other)])
    assert first == {}
    assert second.code == "InternalFailure"
    assert ended.is_set()


# --- versions of the file


def test_a_file_of_every_earlier_version_is_brought_forward(tmp_path):
    for version in range(1, schema.VERSION + 1):
        path = tmp_path / f"{version}.db"
        swf = Swf(path)
        swf.prepare()
        run = swf.start()
        swf.engine.close()
        if version < schema.VERSION:
            pytest.fail("write here how a file of this version is made; the migrations say what has changed since")
        swf = Swf(path)
        assert swf.types(run) == ["WorkflowExecutionStarted", "DecisionTaskScheduled"]
        swf.engine.close()


@pytest.fixture
def next_version(monkeypatch):
    """A flowdsl whose file has one more column: today's files are its older ones."""
    more = (*schema.MIGRATIONS, ("ALTER TABLE executions ADD COLUMN note TEXT", "UPDATE executions SET note = 'old'"))
    for module in ("flowdsl.engine.schema", "flowdsl.engine.store"):
        monkeypatch.setattr(f"{module}.MIGRATIONS", more)
        monkeypatch.setattr(f"{module}.VERSION", len(more))
    return len(more)


def test_an_older_file_is_migrated_with_all_that_is_in_it_and_then_refused_by_the_older_flowdsl(tmp_path, request):
    swf = Swf(tmp_path / "e.db")
    swf.prepare()
    run = swf.start()
    task = swf.poll_decision()
    swf.engine.close()
    version = request.getfixturevalue("next_version")
    swf.engine = Engine(swf.path)
    assert swf.engine._store.one("PRAGMA user_version")[0] == version
    assert swf.engine._store.all("SELECT note FROM executions") == [("old",)]
    swf.respond(task, complete())
    assert swf.types(run)[-1] == "WorkflowExecutionCompleted"
    swf.engine.close()
    request.getfixturevalue("monkeypatch").undo()
    with pytest.raises(NotAnEngineFile, match=rf"newer flowdsl \(file version {version}, this one knows {version - 1}\)"):
        Engine(swf.path)


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    Engine(tmp_path / "e.db").close()
    broken = (*schema.MIGRATIONS, ("ALTER TABLE executions ADD COLUMN note TEXT", "UPDATE missing SET x = 1"))
    monkeypatch.setattr("flowdsl.engine.store.MIGRATIONS", broken)
    monkeypatch.setattr("flowdsl.engine.store.VERSION", len(broken))
    before = (tmp_path / "e.db").read_bytes()
    with pytest.raises(NotAnEngineFile):
        Engine(tmp_path / "e.db")
    monkeypatch.undo()
    assert (tmp_path / "e.db").read_bytes() == before
    Engine(tmp_path / "e.db").close()
