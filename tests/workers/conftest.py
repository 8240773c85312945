"""A bench for workers: the real engine in memory, on a clock that stands still, and a hand that makes the decider's decisions."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from flowdsl.data.converter import Converter
from flowdsl.data.keys import KeyRing
from flowdsl.data.values import Values
from flowdsl.engine import Engine, ManualClock, Service
from flowdsl.lang.registry import Registry, default_registry
from flowdsl.service.swf import Swf
from flowdsl.workers.activities import ActivityWorker

if TYPE_CHECKING:
    from collections.abc import Iterator

DOMAIN = "bench"
OUTCOMES = {
    "ActivityTaskCompleted": "completed",
    "ActivityTaskFailed": "failed",
    "ActivityTaskCanceled": "canceled",
    "ActivityTaskTimedOut": "timed out",
}


def attributes(event: dict[str, Any]) -> dict[str, Any]:
    kind = event["eventType"]
    found: dict[str, Any] = event[f"{kind[0].lower()}{kind[1:]}EventAttributes"]
    return found


@dataclass
class Bench:
    """One open execution, whose decisions the test makes."""

    service: Service
    clock: Any
    swf: Swf
    values: Values
    run_id: str
    registry: Registry = field(default_factory=Registry)

    def worker(self, *definitions: Any, task_lists: Any = "work", transport: Any = None, **options: Any) -> ActivityWorker:
        for definition in definitions:
            self.registry.add(definition)
        return ActivityWorker(transport or self.service, DOMAIN, task_lists, self.registry, self.values, **options)

    def decide(self, *decisions: dict[str, Any]) -> None:
        """Answer a decision task with these; a signal asks for one."""
        self.swf.signal("wf", "again")
        task = self.swf.poll_for_decision_task(task_list="decide")
        assert task is not None
        self.swf.respond_decision_task_completed(task_token=task["taskToken"], decisions=decisions)

    def schedule(
        self,
        definition: Any,
        *args: Any,
        call_id: str = "call-1",
        text: str | None = None,
        task_list: str = "work",
        heartbeat: str = "60",
        **kwargs: Any,
    ) -> None:
        """Schedule an activity; `text` is its input, if it is not to be that of the arguments."""
        self.swf.register_activity_type(name=definition.name, version=definition.version)
        self.decide(
            {
                "decisionType": "ScheduleActivityTask",
                "scheduleActivityTaskDecisionAttributes": {
                    "activityId": call_id,
                    "activityType": {"name": definition.name, "version": definition.version},
                    "input": self.values.encode_call(definition, args, kwargs) if text is None else text,
                    "taskList": {"name": task_list},
                    "scheduleToCloseTimeout": "NONE",
                    "scheduleToStartTimeout": "NONE",
                    "startToCloseTimeout": "NONE",
                    "heartbeatTimeout": heartbeat,
                },
            }
        )

    def cancel(self, call_id: str = "call-1") -> None:
        """Ask for the activity's cancellation, as a decider does."""
        self.decide(
            {"decisionType": "RequestCancelActivityTask", "requestCancelActivityTaskDecisionAttributes": {"activityId": call_id}},
        )

    def events(self) -> list[dict[str, Any]]:
        return list(self.swf.history("wf", self.run_id))

    def outcomes(self) -> list[tuple[str, dict[str, Any]]]:
        """How the activities ended, in the history's order."""
        return [(OUTCOMES[event["eventType"]], attributes(event)) for event in self.events() if event["eventType"] in OUTCOMES]

    def outcome(self) -> tuple[str, dict[str, Any]]:
        """How the one activity ended."""
        (one,) = self.outcomes()
        return one

    def result(self, definition: Any) -> Any:
        """The value of the one activity, which completed."""
        kind, about = self.outcome()
        assert kind == "completed", about
        return self.values.decode_result(definition, about.get("result"))

    def failure(self, definition: Any) -> BaseException:
        """The exception of the one activity, which failed."""
        kind, about = self.outcome()
        assert kind == "failed", (kind, about)
        return self.values.decode_failure(definition, about.get("reason"), about.get("details"))

    def run(self, definition: Any, *args: Any, **kwargs: Any) -> Any:
        """Schedule an activity, let a worker run it, and return its value."""
        self.schedule(definition, *args, **kwargs)
        assert self.worker(definition).run_once()
        return self.result(definition)


@contextmanager
def _bench() -> Iterator[Bench]:
    clock = ManualClock(1_700_000_000)
    service = Service(Engine(":memory:"), clock)
    swf = Swf(service, DOMAIN)
    swf.register_domain(retention_days=1)
    swf.register_workflow_type(name="flow", version="1")
    run_id = swf.start_workflow_execution(
        workflow_id="wf", name="flow", version="1", task_list="decide", execution_start_to_close=86_400, task_start_to_close=None
    )
    values = Values(Converter(keys=KeyRing({"test": b"0123456789abcdef"})), DOMAIN)
    yield Bench(service, clock, swf, values, run_id)
    service.close()


@pytest.fixture(autouse=True)
def definitions_of_one_test() -> Iterator[None]:
    """What a test decorates is forgotten after it: tests may use a name twice."""
    held = dict(default_registry._held)
    yield
    default_registry._held.clear()
    default_registry._held.update(held)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with _bench() as one:
        yield one
