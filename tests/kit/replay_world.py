"""A world for the replayer: the real engine in virtual time, and hands that decide, work, signal and let time pass, one step at a time.

Nothing here waits or runs in a thread. A test (or hypothesis) chooses each step, so every order of events can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from flowdsl.data.converter import Converter
from flowdsl.data.keys import KeyRing
from flowdsl.data.values import Values
from flowdsl.engine import Engine
from flowdsl.errors import Fault
from flowdsl.lang.context import Info
from flowdsl.lang.registry import Registry, default_registry
from flowdsl.lang.scope import ActivityScope
from flowdsl.model.attempts import split_attempt, split_heartbeat
from flowdsl.plain import call_plainly
from flowdsl.replay.replayer import Replayer

if TYPE_CHECKING:
    from flowdsl.lang.definitions import Definition

DOMAIN, LIST = "world", "list"
KEYS = KeyRing({"test": b"k" * 32})


def make_values() -> Values:
    return Values(Converter(keys=KEYS, store="memory:"), DOMAIN)


def plain(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any, attempt: int = 1) -> Any:
    """Run a recorded function or one attempt of an activity as plain code."""
    return call_plainly(
        target, args, kwargs, instance, ActivityScope(Info(target.kind, target.name, target.version, "", "", attempt=attempt))
    )


worlds: list[World] = []
"""Every world of the test that is running."""


@pytest.fixture(autouse=True)
def closed_worlds() -> Iterator[None]:
    """The engines of a test's worlds are closed with it: SQLite warns of connections that are left open."""
    yield
    while worlds:
        worlds.pop().engine.close()


class World:
    """`definitions` are registered as types (default: every one, as soon as it is named); `code` is what its deciders run, and may be
    changed: that is a deploy.

    `keeps`: the decider keeps its replayers from task to task, as a real one may; else each task is replayed from the first event.
    """

    def __init__(
        self, *definitions: Definition[..., Any], quotas: Any = None, code: Registry = default_registry, keeps: bool = False, seed: int = 0
    ) -> None:
        self.code = code
        self.keeps = keeps
        self.kept: dict[str, Replayer] = {}
        self.engine = Engine(
            ":memory:", quotas=quotas, entropy=Random(seed).randbytes
        )  # the same steps make the same history: run ids seed jitter
        worlds.append(self)
        self.now = 1_000_000_000_000
        self.values = make_values()
        self.tasks: list[dict[str, Any]] = []
        self.recorded = 0
        self.decided: list[tuple[int, list[dict[str, Any]]]] = []
        self.call("RegisterDomain", name=DOMAIN, workflowExecutionRetentionPeriodInDays="1")
        self.registered: set[tuple[str, str, str]] = set()
        self.registers = not definitions
        for one in definitions:
            self.register(one)

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        if operation == "RespondDecisionTaskCompleted" and self.registers:
            self._register_what_is_named(params.get("decisions", ()))
        answer = self.engine.apply(self.now, operation, params)
        self.engine.tick(self.now)
        return answer

    def start(self, workflow: Any, *args: Any, workflow_id: str = "w", **kwargs: Any) -> None:
        self.workflow, self.workflow_id = workflow, workflow_id
        if self.registers or default_registry.find("workflow", workflow.name, workflow.version) is None:
            self.register(workflow)
        self.run_id = self.call(
            "StartWorkflowExecution", domain=DOMAIN, workflowId=workflow_id,
            workflowType={"name": workflow.name, "version": workflow.version},
            taskList={"name": LIST}, input=self.values.encode_call(workflow, args, kwargs), executionStartToCloseTimeout="1000000",
            taskStartToCloseTimeout="60", childPolicy=workflow.settings.child_policy.upper(),
        )["runId"]  # fmt: skip

    def register(self, definition: Any) -> None:
        key = definition.kind, definition.name, definition.version
        if key in self.registered or definition.kind not in ("workflow", "activity"):
            return
        self.registered.add(key)
        self.call(f"Register{definition.kind.capitalize()}Type", domain=DOMAIN, name=definition.name, version=definition.version)

    def _register_what_is_named(self, decisions: Iterable[Mapping[str, Any]]) -> None:
        for decision in decisions:
            for given in decision.values():
                for kind in ("activity", "workflow"):
                    named = given.get(f"{kind}Type") if isinstance(given, dict) else None
                    definition = named and default_registry.find(kind, named["name"], named["version"])
                    if definition:
                        self.register(definition)

    # --- hands

    def replayer(
        self,
        record: Callable[..., Any] | None = None,
        workflow: Any = None,
        run: tuple[str, str] | None = None,
        foresee: Iterable[Any] = (),
    ) -> Replayer:
        workflow_id, run_id = run or (self.workflow_id, self.run_id)
        replayer = Replayer(
            workflow or self.workflow, workflow_id=workflow_id, run_id=run_id, values=self.values, record=record or self._record
        )
        replayer.foresee(foresee)
        return replayer

    def _record(self, *call: Any) -> Any:
        self.recorded += 1
        return plain(*call)

    def take_decision(self, page_size: int = 1000) -> dict[str, Any] | None:
        """The next decision task with all its pages, or None."""
        asked = {"domain": DOMAIN, "taskList": {"name": LIST}, "maximumPageSize": page_size}
        task = page = self.call("PollForDecisionTask", **asked)
        if "taskToken" not in task:
            return None
        while "nextPageToken" in page:
            page = self.call("PollForDecisionTask", **asked, nextPageToken=page["nextPageToken"])
            task["events"] += page["events"]
        return task

    def decide(self, between: Callable[[], None] | None = None) -> bool:
        """One decision, by a fresh replayer (or a kept one); `between` happens after the decision was made and before it is sent."""
        task = self.take_decision()
        if task is None:
            return False
        run = task["workflowExecution"]
        definition = self.find("workflow", task["workflowType"])
        replayer = self.kept.pop(run["runId"], None) or self.replayer(workflow=definition, run=(run["workflowId"], run["runId"]))
        try:
            replayer.feed(task["events"][replayer.journal.last_id :])
            for operation in replayer.types_to_register():
                self.register(operation.call.target)
            decisions, context = replayer.decisions(), replayer.context()
        finally:
            if not self.keeps or replayer.finished:
                replayer.close()
            else:
                self.kept[run["runId"]] = replayer
        if between is not None:
            between()
        self.call("RespondDecisionTaskCompleted", taskToken=task["taskToken"], decisions=decisions, executionContext=context)
        if run["runId"] == self.run_id:
            self.decided.append((task["startedEventId"], decisions))
        return True

    def find(self, kind: str, named: dict[str, str]) -> Any:
        found = self.code.find(kind, named["name"], named["version"])
        return found or default_registry.find(kind, named["name"], named["version"]) or self.workflow

    def take_activity(self) -> bool:
        task = self.call("PollForActivityTask", domain=DOMAIN, taskList={"name": LIST})
        if "taskToken" not in task:
            return False
        self.tasks.append(task)
        return True

    def finish_activity(self, index: int = 0) -> bool:
        """Really run one of the taken activities and answer."""
        if not self.tasks:
            return False
        task = self.tasks.pop(index % len(self.tasks))
        target = self.find("activity", task["activityType"])
        args, kwargs = self.values.decode_call(target, split_heartbeat(task.get("input"))[0])
        try:
            value = plain(target, args, kwargs, None, split_attempt(task["activityId"])[1])
        except Exception as error:
            reason, details = self.values.encode_failure(target, error)
            self._answer("RespondActivityTaskFailed", taskToken=task["taskToken"], reason=reason, details=details)
        else:
            self._answer("RespondActivityTaskCompleted", taskToken=task["taskToken"], result=self.values.encode_result(target, value))
        return True

    def _answer(self, operation: str, **params: Any) -> None:
        try:
            self.call(operation, **params)
        except Fault as fault:
            if fault.code != "UnknownResourceFault":
                raise

    def signal(self, definition: Any, *args: Any) -> None:
        self.call(
            "SignalWorkflowExecution",
            domain=DOMAIN,
            workflowId=self.workflow_id,
            signalName=definition.name,
            input=self.values.encode_call(definition, args, {}),
        )

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        self.engine.tick(self.now)

    # --- looking

    @property
    def is_open(self) -> bool:
        return self.describe()["executionInfo"]["executionStatus"] == "OPEN"

    def describe(self) -> dict[str, Any]:
        return self.call("DescribeWorkflowExecution", domain=DOMAIN, execution={"workflowId": self.workflow_id, "runId": self.run_id})

    def history(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        page: dict[str, Any] = {}
        while True:
            more = {"nextPageToken": page["nextPageToken"]} if "nextPageToken" in page else {}
            page = self.call(
                "GetWorkflowExecutionHistory", domain=DOMAIN, execution={"workflowId": self.workflow_id, "runId": self.run_id}, **more
            )
            events += page["events"]
            if "nextPageToken" not in page:
                return events

    def work(self) -> bool:
        """One activity, from the task to its answer."""
        return (self.take_activity() and self.finish_activity()) or self.finish_activity()

    def run_to_end(self, steps: int = 400, *, in_bulk: bool = False) -> Any:
        """Decide and work until the execution is closed; time passes when nothing else can happen.

        `in_bulk`: all work there is, before the next decision; for executions with very much of it.
        """
        for _ in range(steps):
            if not self.is_open:
                return self.outcome()
            while in_bulk and self.work():
                pass
            if not (self.decide() or self.work()):
                self.pass_time(1)
        raise AssertionError(f"still open after {steps} steps: {[e['eventType'] for e in self.history()][-12:]}")

    def outcome(self) -> Any:
        close = self.history()[-1]
        attributes = next(v for k, v in close.items() if k.endswith("EventAttributes"))
        if close["eventType"] == "WorkflowExecutionCompleted":
            return self.values.decode_result(self.workflow, attributes.get("result"))
        if close["eventType"] == "WorkflowExecutionFailed":
            raise self.values.decode_failure(self.workflow, attributes.get("reason"), attributes.get("details"))
        raise AssertionError(close)


class Direct:
    """The world as a transport, for a real decider."""

    def __init__(self, world: World) -> None:
        self.world = world

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return self.world.call(operation, **params)


def live(workflow: Any, *args: Any, quotas: Any = None, steps: int = 400) -> tuple[World, Any]:
    """A world in which the workflow ran to its end, and what it returned."""
    world = World(quotas=quotas)
    world.start(workflow, *args)
    return world, world.run_to_end(steps)


def attributes(event: Mapping[str, Any]) -> dict[str, Any]:
    """What an event says beside its type, id and time."""
    found: dict[str, Any] = next(value for name, value in event.items() if name.endswith("EventAttributes"))
    return found


def kinds(events: Iterable[Mapping[str, Any]], *wanted: str) -> list[str]:
    """The events' types, in order; only the wanted ones if any are named."""
    return [e["eventType"] for e in events if not wanted or e["eventType"] in wanted]


def fed(replayer: Replayer, slices: Iterable[list[dict[str, Any]]]) -> Replayer:
    """A replayer that was fed slice by slice and then closed."""
    try:
        for part in slices:
            replayer.feed(part)
    finally:
        replayer.close()
    return replayer
