"""The engine is closed and opened again, or killed, between any two steps."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from engine_kit import NEVER, Swf, activity, check_history, child, complete, decision, timer

from flowdsl.errors import Fault


def scenario(swf):
    """A bit of everything; the runs that came out."""
    swf.prepare()
    run = swf.start(childPolicy="REQUEST_CANCEL", taskStartToCloseTimeout="30")
    swf.start("other", taskList={"name": "others"})
    swf.decide(activity("a", heartbeatTimeout="5"), activity("b", scheduleToStartTimeout="3"), timer("t", 2), child(), executionContext="c")
    swf.tick()
    first = swf.poll_activity()
    swf.call("RecordActivityTaskHeartbeat", taskToken=first["taskToken"], details="half")
    swf.advance(3)
    swf.signal(input="s")
    task = swf.poll_decision()
    swf.signal(input="during")
    swf.respond(task, decision("RecordMarker", markerName="m"))
    swf.advance(5)
    swf.decide(
        decision("SignalExternalWorkflowExecution", workflowId="other", signalName="hello"),
        decision("RequestCancelExternalWorkflowExecution", workflowId="nobody"),
        decision("RequestCancelActivityTask", activityId="unknown"),
        timer("t", 1),
        taskList={"name": "sticky"},
        taskListScheduleToStartTimeout="4",
    )
    swf.tick()
    swf.advance(10)
    swf.decide(complete("kid"), task_list="children")
    swf.tick()
    swf.poll_decision()
    swf.advance(31)
    swf.decide(activity("c", **NEVER), child("second"))
    swf.tick()
    worker = swf.poll_activity()
    swf.call("RespondActivityTaskFailed", taskToken=worker["taskToken"], reason="r", details="d")
    swf.decide(decision("ContinueAsNewWorkflowExecution", input="again"))
    swf.tick()
    swf.decide(complete("end"))
    swf.tick()
    return run


def histories(swf):
    """All histories, without the run ids that the engine makes up."""
    known, found = {}, {}
    for workflow_id, run_id in sorted(swf.all_runs()):
        events = swf.history(run_id, workflow_id)
        check_history(events)
        found[workflow_id, events[0]["eventTimestamp"]] = events

    def clean(value):
        if isinstance(value, dict):
            return {
                name: known.setdefault(item, "a run") if name.lower().endswith("runid") else clean(item) for name, item in value.items()
            }
        return value

    return {key: [clean(event) for event in events] for key, events in found.items()}


def test_reopening_after_every_single_step_changes_nothing(tmp_path):
    steady, restarted = Swf(tmp_path / "a.db"), Swf(tmp_path / "b.db", restart=True)
    scenario(steady)
    scenario(restarted)
    assert histories(restarted) == histories(steady)
    assert len(histories(steady)) == 5
    steady.engine.close()
    restarted.engine.close()


def test_tokens_and_pages_are_good_over_restarts(swf):
    swf.start()
    swf.decide(activity("a"))
    swf.signal()
    task, worker = swf.poll_decision(maximumPageSize=2), swf.poll_activity()
    swf.reopen()
    page = swf.poll_decision(nextPageToken=task["nextPageToken"], maximumPageSize=100)
    assert page["taskToken"] == task["taskToken"]
    swf.call("RespondActivityTaskCompleted", taskToken=worker["taskToken"])
    swf.respond(task)


def test_the_order_of_tasks_is_the_same_after_a_restart(swf):
    swf.start()
    swf.decide(*[activity(f"a{number}", taskPriority=str(number % 3)) for number in range(9)])
    order = []
    for _ in range(9):
        swf.reopen()
        order.append(swf.work()["activityId"])
    assert order == ["a2", "a5", "a8", "a1", "a4", "a7", "a0", "a3", "a6"]


# --- recovery of what a dead process had in hand


def test_recovery_gives_out_again_at_once_what_was_in_hand(swf):
    run = swf.start()
    swf.decide(activity("beats", heartbeatTimeout="600"), activity("waits", heartbeatTimeout="600"), activity("silent", **NEVER))
    beats = swf.poll_activity()
    swf.call("RecordActivityTaskHeartbeat", taskToken=beats["taskToken"], details="so far")
    swf.poll_activity()
    silent = swf.poll_activity()
    assert silent["activityId"] == "silent"
    swf.signal()
    decider = swf.poll_decision()
    swf.reopen(recover=True)
    swf.tick()
    types = swf.types(run)
    assert types[-4:] == ["ActivityTaskTimedOut", "DecisionTaskScheduled", "ActivityTaskTimedOut", "DecisionTaskTimedOut"]
    given = [e["activityTaskTimedOutEventAttributes"] for e in swf.history(run) if e["eventType"] == "ActivityTaskTimedOut"]
    assert given[0] == {"timeoutType": "HEARTBEAT", "scheduledEventId": 5, "startedEventId": 8, "details": "so far"}
    assert swf.last(run, "DecisionTaskTimedOut")["timeoutType"] == "START_TO_CLOSE"
    with pytest.raises(Fault, match="Unknown decision task"):
        swf.respond(decider)
    swf.call("RespondActivityTaskCompleted", taskToken=silent["taskToken"])
    assert swf.poll_decision()["startedEventId"]


def test_recovery_happens_before_the_first_operation_and_only_once(swf):
    run = swf.start()
    swf.poll_decision()
    swf.reopen(recover=True)
    task = swf.poll_decision()
    assert swf.types(run, last=3) == ["DecisionTaskTimedOut", "DecisionTaskScheduled", "DecisionTaskStarted"]
    swf.tick()
    swf.respond(task, complete())


def test_without_recovery_what_is_in_hand_stays_in_hand(swf):
    run = swf.start()
    task = swf.poll_decision()
    swf.reopen()
    swf.tick()
    swf.respond(task, complete())
    assert swf.types(run)[-1] == "WorkflowExecutionCompleted"


# --- SIGKILL

_LOAD = """
import os, sys
sys.path.insert(0, sys.argv[2])
from engine_kit import Swf, activity, timer, child, complete, decision
swf = Swf(sys.argv[1])
out = os.fdopen(int(sys.argv[3]), "w", buffering=1)
try:
    swf.prepare()
except Exception:
    pass  # a second life on the same file
number = len(swf.all_runs())

def say(what, task):
    execution = task["workflowExecution"]
    out.write(f"{what} {execution['workflowId']} {execution['runId']}\\n")

while True:
    number += 1
    run = swf.start(f"w{number}")
    say("start", {"workflowExecution": {"workflowId": f"w{number}", "runId": run}})
    say("decided", swf.decide(activity(f"a{number}"), timer(f"t{number}", 0), child(f"c{number}")))
    swf.tick()
    while "taskToken" in (task := swf.poll_activity()):
        swf.call("RespondActivityTaskCompleted", taskToken=task["taskToken"], result=str(number))
        say("worked", task)
    swf.signal(f"w{number}")
    say("signaled", {"workflowExecution": {"workflowId": f"w{number}", "runId": run}})
    while "taskToken" in (task := swf.poll_decision()):
        swf.respond(task, complete(str(number)))
        say("closed", task)
    swf.tick()
    while "taskToken" in (task := swf.poll_decision("children")):
        swf.respond(task, complete())
        say("closed", task)
"""

_PROOF = {
    "start": "WorkflowExecutionStarted",
    "decided": "ActivityTaskScheduled",
    "worked": "ActivityTaskCompleted",
    "signaled": "WorkflowExecutionSignaled",
    "closed": "WorkflowExecutionCompleted",
}


def test_a_process_killed_at_any_moment_loses_nothing_that_it_acknowledged(tmp_path):
    path = tmp_path / "killed.db"
    chance = random.Random(7)
    acknowledged = []
    for _ in range(24):
        reader, writer = os.pipe()
        process = subprocess.Popen([sys.executable, "-c", _LOAD, str(path), str(Path(__file__).parent), str(writer)], pass_fds=(writer,))
        os.close(writer)
        with os.fdopen(reader) as acknowledgements:
            wanted = chance.randrange(1, 60)
            lines = [line for line, _ in zip(acknowledgements, range(wanted), strict=False)]
            process.send_signal(signal.SIGKILL)
            lines += list(acknowledgements)  # what it managed to say before it died
        process.wait(timeout=60)
        assert lines, "it never came to work"
        acknowledged += [line.split() for line in lines if line.endswith("\n")]
    swf = Swf(path)
    for what, workflow_id, run in acknowledged:
        assert _PROOF[what] in swf.types(run, workflow_id)
    swf.check_all()
    swf.advance(10_000)  # everything that was under way goes on: timers, effects, timeouts
    swf.check_all()
    assert swf.engine._store.all("SELECT * FROM effects") == []
    assert swf.here("CountOpenWorkflowExecutions", startTimeFilter={"oldestDate": 0})["count"] == 0
    swf.engine.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM agenda").fetchone() == (0,)
    connection.close()
    assert len({run for _, _, run in acknowledged}) > 24
