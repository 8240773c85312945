"""Random sequences of operations in virtual time, held against a model in plain Python (`swf_model.py`).

After every step: each operation ended as the model says; open counts, statuses and the number of events are the model's; every history
keeps the rules and only grows, that of a closed run not even that; the next deadline is the model's; memory agrees with the file.

`FLOWDSL_MACHINE=5000` runs so many sequences, with new chance each time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile

import hypothesis.strategies as st
from engine_kit import Swf, activity, check_history, child, complete, decision, timer
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from swf_model import ACTIVITIES, CHILDREN, EVENTS, TIMERS, Model

from flowdsl.engine.quotas import Quotas
from flowdsl.engine.world import World
from flowdsl.errors import Fault

IDS = st.sampled_from(["a", "b", "c"])
POLICIES = st.sampled_from(["TERMINATE", "REQUEST_CANCEL", "ABANDON"])
WORKFLOWS = st.sampled_from(["w1", "w2", "c1", "c2"])

decisions = st.one_of(
    st.builds(
        lambda i, h, s: activity(i, heartbeatTimeout=h, startToCloseTimeout=s),
        IDS,
        st.sampled_from(["NONE", "5"]),
        st.sampled_from(["NONE", "9"]),
    ),
    st.builds(timer, IDS, st.integers(0, 20)),
    st.builds(lambda i: decision("CancelTimer", timerId=i), IDS),
    st.builds(lambda i: decision("RequestCancelActivityTask", activityId=i), IDS),
    st.builds(lambda i: decision("RecordMarker", markerName=i), IDS),
    st.builds(
        lambda i, p: child(i, taskList={"name": "deciders"}, childPolicy=p),
        WORKFLOWS,
        POLICIES,
    ),
    st.builds(lambda i: decision("SignalExternalWorkflowExecution", workflowId=i, signalName="s"), WORKFLOWS),
    st.builds(lambda i: decision("RequestCancelExternalWorkflowExecution", workflowId=i), WORKFLOWS),
)
closes = st.sampled_from(
    [complete(), decision("FailWorkflowExecution"), decision("CancelWorkflowExecution"), decision("ContinueAsNewWorkflowExecution")]
)


FOLDED = (
    "activities", "activity_ids", "timers", "timer_ids", "children", "lambdas", "waiting", "started", "previous_started", "list",
    "override_wait", "cancel_requested", "context", "latest_activity", "last_id", "last_at", "config",
)  # fmt: skip


def indexes(world: World):
    """What an engine keeps in memory beside the executions."""
    lists, deadlines = world.lists, world.deadlines
    return {
        "places": dict(lists._place),
        "sizes": dict(lists.sizes),
        "in hand": set(lists.in_hand),
        "deadlines": {ref: due for ref, (due, _) in deadlines._due.items()},
        "only executions": deadlines.only_executions,
        "effects": list(world.effects._queue),
        "open": {domain: count for domain, count in world.runs.open_count.items() if count},
        "next expiry": world.runs.next_expiry,
    }


class Machine(RuleBasedStateMachine):
    tasks = Bundle("tasks")
    work = Bundle("work")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        quotas = Quotas(open_activities=ACTIVITIES, open_timers=TIMERS, open_children=CHILDREN, history_events=EVENTS)
        self.swf = Swf(f"{self.folder}/machine.db", quotas=quotas, entropy=Bytes())
        self.swf.prepare()
        self.model = Model()
        self.handed_out = set()
        #: run id -> its history when it was last looked at
        self.seen = {}

    def teardown(self):
        for workflow_id, run_id in self.swf.all_runs():
            assert self.swf.history(run_id, workflow_id) == self.seen[run_id]
        self.swf.engine.close()
        shutil.rmtree(self.folder)

    # --- both at once

    def pass_a_moment(self):
        """Each operation has a millisecond of its own; what is due by then has been done, effects may still be on their way."""
        self.swf.now += 1
        if (due := self.model.next_due) is not None and due <= self.swf.now:
            self.tick_both()
        return self.swf.now

    def tick_both(self):
        self.swf.tick()
        self.model.tick(self.swf.now)

    def call(self, operation, **params):
        """An operation; None and the code if it is refused."""
        try:
            return self.swf.call(operation, **params), None
        except Fault as fault:
            return None, fault.code

    def on(self, operation, workflow_id, **params):
        return self.call(operation, domain=self.swf.domain, workflowId=workflow_id, **params)

    def hand_out(self, run, event):
        assert (run.number, event) not in self.handed_out, "no task is handed out twice"
        self.handed_out.add((run.number, event))

    # --- operations

    @initialize(target=work, policy=POLICIES)
    def begin_with_an_activity_in_hand(self, policy):
        self.start("w1", policy, 3600)
        self.respond(self.poll_decision(False), [activity("a", heartbeatTimeout="5", startToCloseTimeout="NONE")], None, False)
        return self.poll_activity()

    @rule(workflow_id=WORKFLOWS, policy=POLICIES, seconds=st.sampled_from([30, 3600]))
    def start(self, workflow_id, policy, seconds):
        now = self.pass_a_moment()
        named = {"workflowType": {"name": "flow", "version": "1"}, "childPolicy": policy, "executionStartToCloseTimeout": str(seconds)}
        answer, refusal = self.on("StartWorkflowExecution", workflow_id, **named, taskStartToCloseTimeout="7")
        run = self.model.start(now, workflow_id, policy=policy, home="deciders", turn=7_000, seconds=seconds)
        assert refusal == (None if run is not None else "WorkflowExecutionAlreadyStartedFault")
        assert (answer is None) == (run is None)

    @rule(target=tasks, previous=st.booleans())
    def poll_decision(self, previous):
        now = self.pass_a_moment()
        answer = self.swf.poll_decision(startAtPreviousStartedEvent=previous)
        run = self.model.poll_decision(now)
        if run is None:
            assert answer == {"previousStartedEventId": 0, "startedEventId": 0}
            return multiple()
        self.hand_out(run, run.started.event)
        assert answer["workflowExecution"]["workflowId"] == run.workflow_id
        assert answer["startedEventId"] == run.events == answer["events"][-1]["eventId"]
        return answer["taskToken"], run, run.started

    @rule(task=tasks, batch=st.lists(decisions, max_size=4), close=st.none() | closes, sticky=st.booleans())
    def respond(self, task, batch, close, sticky):
        token, run, held = task
        now = self.pass_a_moment()
        if close is not None:
            batch = [*(one for one in batch if one["decisionType"] not in {"ScheduleActivityTask", "StartTimer"}), close]
        more = {"taskList": {"name": "deciders"}, "taskListScheduleToStartTimeout": "3"} if sticky else {}
        _, refusal = self.call("RespondDecisionTaskCompleted", taskToken=token, decisions=batch, **more)
        good = run.is_open and run.started is held
        assert refusal == (None if good else "UnknownResourceFault")
        if good:
            self.model.respond(now, run, batch, 3_000 if sticky else None)

    @rule(target=work)
    def poll_activity(self):
        now = self.pass_a_moment()
        answer = self.swf.poll_activity()
        found = self.model.poll_activity(now)
        if found is None:
            assert answer == {"startedEventId": 0}
            return multiple()
        run, task = found
        self.hand_out(run, task.event)
        assert (answer["workflowExecution"]["workflowId"], answer["activityId"]) == (run.workflow_id, task.id)
        assert answer["startedEventId"] == run.events or not run.is_open
        return answer["taskToken"], run, task

    @rule(task=work, how=st.sampled_from(["Completed", "Failed", "Canceled"]))
    def answer(self, task, how):
        token, run, held = task
        now = self.pass_a_moment()
        _, refusal = self.call(f"RespondActivityTask{how}", taskToken=token)
        good = self.model.holds(run, held)
        assert refusal == (None if good else "UnknownResourceFault")
        if good:
            self.model.answer(now, run, held)

    @rule(task=work, details=st.none() | st.text(max_size=3))
    def heartbeat(self, task, details):
        token, run, held = task
        now = self.pass_a_moment()
        _, refusal = self.call("RecordActivityTaskHeartbeat", taskToken=token, **({} if details is None else {"details": details}))
        good = self.model.holds(run, held)
        assert refusal == (None if good else "UnknownResourceFault")
        if good:
            self.model.heartbeat(now, run, held)

    @rule(workflow_id=WORKFLOWS, what=st.sampled_from(["signal", "signal", "cancel", "terminate"]))
    def from_outside(self, workflow_id, what):
        now = self.pass_a_moment()
        operation = {"signal": "Signal", "cancel": "RequestCancel", "terminate": "Terminate"}[what] + "WorkflowExecution"
        _, refusal = self.on(operation, workflow_id, **({"signalName": "s", "input": "x"} if what == "signal" else {}))
        assert refusal == (None if self.model.outside(now, workflow_id, what) else "UnknownResourceFault")

    @rule(seconds=st.sampled_from([0, 1, 4, 10, 40]))
    def advance(self, seconds):
        target = self.swf.now + seconds * 1000
        while True:
            self.tick_both()
            due = self.model.next_due
            if due is None or due > target:
                break
            self.swf.now = due
        self.swf.now = target

    @rule(recover=st.booleans())
    def reopen(self, recover):
        self.pass_a_moment()
        self.swf.reopen(recover=recover)
        if recover:
            self.model.recover(self.swf.now)
            self.tick_both()

    # --- after every step

    @invariant()
    def every_run_is_as_the_model_says(self):
        rows = self.swf.engine._store.all("SELECT workflow_id, run_id FROM executions ORDER BY id")
        assert [row[0] for row in rows] == [run.workflow_id for run in self.model.runs]
        for run, (workflow_id, run_id) in zip(self.model.runs, rows, strict=True):
            told = self.swf.describe(workflow_id, run_id)
            info = told["executionInfo"]
            assert told["openCounts"] == run.counts()
            assert info.get("closeStatus", info["executionStatus"]) == run.status
            before = self.seen.get(run_id, [])
            if run.events != len(before):
                events = self.swf.history(run_id, workflow_id)
                assert len(events) == run.events
                assert events[: len(before)] == before
                check_history(events)
                self.seen[run_id] = events

    @invariant()
    def no_event_was_added_or_lost_unseen(self):
        rows = self.swf.engine._store.all("SELECT count(*), max(id) FROM events GROUP BY execution ORDER BY execution")
        assert rows == [(run.events, run.events) for run in self.model.runs]

    @invariant()
    def the_next_deadline_is_the_model_s(self):
        first = self.swf.engine._world.deadlines.first()
        assert (None if first is None else first[0]) == self.model.next_due

    @invariant()
    def memory_agrees_with_the_file(self):
        world = self.swf.engine._world
        again = World(world.store, world.quotas, None, world.place, world.entropy)
        assert indexes(again) == indexes(world)
        for key in list(world.runs._cache):
            live, rebuilt = world.runs.get(key), again.runs.get(key)
            for name in FOLDED:
                assert getattr(live, name) == getattr(rebuilt, name), name


class Bytes:
    """Run ids that are the same in every run of a sequence."""

    def __init__(self):
        self.made = 0

    def __call__(self, size):
        self.made += 1
        return hashlib.shake_128(str(self.made).encode()).digest(size)


_LONG = int(os.environ.get("FLOWDSL_MACHINE", "0"))
Machine.TestCase.settings = settings(
    max_examples=_LONG or 60,
    stateful_step_count=50,
    deadline=None,
    derandomize=not _LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestMachine = Machine.TestCase
