"""Workers that come and go under load lose no task, and none waits for its timeout. The long form is benchmarks/drain.py."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from front_kit import kinds

from flowdsl import Embedded, Worker, activity, workflow
from flowdsl.connection import connect, disconnect
from flowdsl.running import start_unserved

if TYPE_CHECKING:
    from flowdsl.service.observed import Observed

PATIENCE = 120
EXECUTIONS, ACTIVITIES, TASKS_BETWEEN = 20, 10, 12


@activity
def double(number: int) -> int:
    return 2 * number


@workflow
def chain(number: int) -> int:
    return sum(double(number) for _ in range(ACTIVITIES))


def test_workers_that_are_restarted_all_the_time_lose_nothing() -> None:
    backend = Embedded(":memory:")
    connection = connect(backend)
    try:
        begun = [start_unserved(chain, [number], {}, connection) for number in range(EXECUTIONS)]
        closed, restarts = Counter[str](), 0
        while closed["WorkflowsCompleted"] < EXECUTIONS:
            enough, answered = threading.Event(), Counter[str]()

            def note(what: Observed, answered: Counter[str] = answered, enough: threading.Event = enough) -> None:
                closed[what.metric] += 1
                answered["tasks"] += 1
                if answered["tasks"] >= TASKS_BETWEEN or closed["WorkflowsCompleted"] == EXECUTIONS:
                    enough.set()

            worker = Worker(double, chain, backend=backend, observers=[note]).start()
            assert enough.wait(PATIENCE)
            worker.stop(None)
            restarts += 1
        assert restarts > 10
        assert [one.result(0) for one in begun] == [2 * number * ACTIVITIES for number in range(EXECUTIONS)]
        events = sum((kinds(one.history()) for one in begun), Counter[str]())
        assert not [kind for kind in events if kind.endswith("TimedOut")]
        assert events["ActivityTaskStarted"] == events["ActivityTaskCompleted"] == EXECUTIONS * ACTIVITIES
    finally:
        disconnect(backend)
