"""flowdsl's part: `python flowdsl_bench.py WORK N` prints what it measured as JSON."""

from __future__ import annotations

import tempfile
import timeit
from pathlib import Path
from typing import Any

from measure import measured, reported

import flowdsl
from flowdsl.data.converter import Converter
from flowdsl.data.values import Values
from flowdsl.replay.replayer import Replayer


@flowdsl.activity(name="step")
def step(number: int) -> int:
    return number


@flowdsl.workflow(name="sequential")
def sequential(count: int) -> int:
    return sum(step(number) for number in range(count))


@flowdsl.workflow(name="parallel")
def parallel(count: int) -> int:
    return sum(flowdsl.gather(*[step.start(number) for number in range(count)]))


def run(workflow: Any, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        backend = flowdsl.Embedded(str(Path(folder) / "bench.db"))
        flowdsl.run(workflow, 10, backend=backend)
        with measured() as numbers:
            flowdsl.run(workflow, count, backend=backend)
        from flowdsl.connection import disconnect  # noqa: PLC0415 - part of this work only

        disconnect(backend)
    return numbers


def events_of(count: int) -> list[dict[str, Any]]:
    """The history of `sequential(count)`, before its close: six events an activity, as Amazon SWF writes them."""
    events: list[dict[str, Any]] = []

    def add(kind: str, **attributes: Any) -> int:
        key = f"{kind[0].lower()}{kind[1:]}EventAttributes"
        events.append({"eventId": len(events) + 1, "eventType": kind, "eventTimestamp": 1.7e9 + len(events), key: attributes})
        return len(events)

    tasks = {"name": "l"}
    add(
        "WorkflowExecutionStarted", childPolicy="TERMINATE", taskList=tasks, workflowType={"name": "sequential", "version": "1"},
        input=f'{{"args":[{count}]}}', taskStartToCloseTimeout="60", executionStartToCloseTimeout="86400",
    )  # fmt: skip
    scheduled = add("DecisionTaskScheduled", taskList=tasks)
    for number in range(count):
        started = add("DecisionTaskStarted", scheduledEventId=scheduled)
        completed = add("DecisionTaskCompleted", scheduledEventId=scheduled, startedEventId=started, executionContext='{"flowdsl": 1}')
        asked = add(
            "ActivityTaskScheduled", activityId=f"step-{number + 1}", activityType={"name": "step", "version": "1"}, taskList=tasks,
            decisionTaskCompletedEventId=completed, input=f'{{"args":[{number}]}}', heartbeatTimeout="60",
        )  # fmt: skip
        begun = add("ActivityTaskStarted", scheduledEventId=asked)
        add("ActivityTaskCompleted", scheduledEventId=asked, startedEventId=begun, result=str(number))
        scheduled = add("DecisionTaskScheduled", taskList=tasks)
    add("DecisionTaskStarted", scheduledEventId=scheduled)
    return events


def replay(count: int) -> dict[str, Any]:
    events = events_of(count)
    values = Values(Converter(), "d")
    replayer = Replayer(sequential, workflow_id="w", run_id="r", values=values, record=lambda *_: None)
    with measured() as numbers:
        replayer.feed(events)
        (close,) = replayer.decisions()
    assert close["decisionType"] == "CompleteWorkflowExecution"
    return numbers | {"events": len(events)}


def call(count: int) -> dict[str, Any]:
    def plain(number: int) -> int:
        return number

    base = timeit.timeit(lambda: plain(1), number=count)
    return {"seconds": timeit.timeit(lambda: step(1), number=count) - base, "calls": count}


if __name__ == "__main__":
    reported({"sequential": lambda n: run(sequential, n), "parallel": lambda n: run(parallel, n), "replay": replay, "call": call})
