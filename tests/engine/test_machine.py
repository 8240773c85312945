"""Random sequences of operations in virtual time: every history keeps the rules, and memory always agrees with the file."""

from __future__ import annotations

import shutil
import tempfile

import hypothesis.strategies as st
from engine_kit import Swf, activity, check_history, child, complete, decision, timer
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from flowdsl.engine.quotas import Quotas
from flowdsl.engine.world import World
from flowdsl.errors import Fault

IDS = st.sampled_from(["a", "b", "c"])
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
        st.sampled_from(["TERMINATE", "REQUEST_CANCEL", "ABANDON"]),
    ),
    st.builds(lambda i: decision("SignalExternalWorkflowExecution", workflowId=i, signalName="s"), WORKFLOWS),
    st.builds(lambda i: decision("RequestCancelExternalWorkflowExecution", workflowId=i), WORKFLOWS),
    st.just(decision("ScheduleLambdaFunction", id="l", name="f")),
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
        self.swf = Swf(f"{self.folder}/machine.db", quotas=Quotas(open_activities=2, open_timers=2, open_children=2, history_events=80))
        self.swf.prepare()
        self.seen = {}

    def teardown(self):
        self.swf.engine.close()
        shutil.rmtree(self.folder)

    def attempt(self, operation, **params):
        """An operation that may be refused, but then only as the service refuses."""
        try:
            return self.swf.call(operation, **params)
        except Fault as fault:
            if fault.code not in {"UnknownResourceFault", "WorkflowExecutionAlreadyStartedFault"}:
                raise
            return None

    def on(self, operation, workflow_id, **params):
        return self.attempt(operation, domain=self.swf.domain, workflowId=workflow_id, **params)

    @rule(
        workflow_id=WORKFLOWS, policy=st.sampled_from(["TERMINATE", "REQUEST_CANCEL", "ABANDON"]), seconds=st.sampled_from(["30", "3600"])
    )
    def start(self, workflow_id, policy, seconds):
        named = {"workflowType": {"name": "flow", "version": "1"}, "childPolicy": policy, "executionStartToCloseTimeout": seconds}
        self.on("StartWorkflowExecution", workflow_id, **named, taskStartToCloseTimeout="7")

    @rule(target=tasks, previous=st.booleans())
    def poll_decision(self, previous):
        task = self.swf.poll_decision(startAtPreviousStartedEvent=previous)
        if "taskToken" in task:
            assert task["events"][-1]["eventId"] == task["startedEventId"]
        return task.get("taskToken")

    @rule(task=tasks, batch=st.lists(decisions, max_size=4), sticky=st.booleans())
    def respond(self, task, batch, sticky):
        more = {"taskList": {"name": "deciders"}, "taskListScheduleToStartTimeout": "3"} if sticky else {}
        if task:
            self.attempt("RespondDecisionTaskCompleted", taskToken=task, decisions=batch, **more)

    @rule(task=tasks, close=closes, before=st.lists(decisions, max_size=2))
    def close(self, task, close, before):
        fitting = [one for one in before if one["decisionType"] not in {"ScheduleActivityTask", "StartTimer"}]
        if task:
            self.attempt("RespondDecisionTaskCompleted", taskToken=task, decisions=[*fitting, close])

    @rule(target=work)
    def poll_activity(self):
        return self.swf.poll_activity().get("taskToken")

    @rule(task=work, how=st.sampled_from(["Completed", "Failed", "Canceled"]))
    def answer(self, task, how):
        if task:
            self.attempt(f"RespondActivityTask{how}", taskToken=task)

    @rule(task=work, details=st.none() | st.text(max_size=3))
    def heartbeat(self, task, details):
        if task:
            more = {} if details is None else {"details": details}
            self.attempt("RecordActivityTaskHeartbeat", taskToken=task, **more)

    @rule(workflow_id=WORKFLOWS)
    def signal(self, workflow_id):
        self.on("SignalWorkflowExecution", workflow_id, signalName="s", input="x")

    @rule(workflow_id=WORKFLOWS)
    def cancel(self, workflow_id):
        self.on("RequestCancelWorkflowExecution", workflow_id)

    @rule(workflow_id=WORKFLOWS)
    def terminate(self, workflow_id):
        self.on("TerminateWorkflowExecution", workflow_id)

    @rule(seconds=st.sampled_from([0, 0.5, 1, 4, 10, 40]))
    def advance(self, seconds):
        self.swf.advance(seconds)

    @rule()
    def tick(self):
        self.swf.tick()

    @rule(recover=st.booleans())
    def reopen(self, recover):
        self.swf.reopen(recover=recover)

    @invariant()
    def histories_keep_the_rules_and_only_grow(self):
        for workflow_id, run_id in self.swf.all_runs():
            events = self.swf.history(run_id, workflow_id)
            before = self.seen.get(run_id, [])
            assert events[: len(before)] == before
            if len(events) > len(before):
                check_history(events)
                self.seen[run_id] = events

    @invariant()
    def memory_agrees_with_the_file(self):
        world = self.swf.engine._world
        again = World(world.store, world.quotas, None, world.place, world.entropy)
        assert indexes(again) == indexes(world)
        for key in list(world.runs._cache):
            live, rebuilt = world.runs.get(key), again.runs.get(key)
            for name in FOLDED:
                assert getattr(live, name) == getattr(rebuilt, name), name


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
TestMachine = Machine.TestCase
