"""Workers that are stopped and started all the time, under load, over HTTP: no task is lost and none waits for its timeout.

As in a rolling deploy, the next worker begins before the last one stops, so that open polls (which cannot be taken back) end with a task.
`python benchmarks/drain.py [RESTARTS] [sticky]`: the long form of tests/front/test_draining.py. It prints what the histories show.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from flowdsl import Swf, Worker, activity, workflow
from flowdsl.connection import connect, disconnect
from flowdsl.engine import Engine, Service
from flowdsl.running import start_unserved
from flowdsl.server import ThreadedServer

if TYPE_CHECKING:
    from flowdsl.client import Execution
    from flowdsl.service.observed import Observed

RESTARTS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
STICKY = "sticky" in sys.argv
OPEN, ACTIVITIES = 30, 8
os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}  # the server here takes all


@activity(name="step")
def step(number: int) -> int:
    time.sleep(0.002)
    return number


@workflow(name="chain")
def chain(number: int) -> int:
    return sum(step(number) for _ in range(ACTIVITIES))


class Load:
    """Keeps `OPEN` executions open until it is told to end."""

    def __init__(self, backend: Swf) -> None:
        self._backend = backend
        self.begun: list[Execution] = []
        self.closed = 0
        self.ending = False
        self._changed = threading.Condition()

    def begin(self, count: int) -> None:
        """Start so many more."""
        for _ in range(count):
            self.begun.append(start_unserved(chain, [len(self.begun)], {}, connect(self._backend)))

    def noted(self, what: Observed) -> None:
        """An observer: a closed execution makes room for the next."""
        if what.metric == "WorkflowsCompleted":
            with self._changed:
                self.closed += 1
                self._changed.notify_all()
            if not self.ending:
                self.begin(1)

    def drained(self, timeout: float) -> bool:
        """Wait until everything that was begun is closed."""
        with self._changed:
            return self._changed.wait_for(lambda: self.closed >= len(self.begun), timeout)


def main() -> None:
    chance = random.Random(7)
    with ThreadedServer(Service(Engine(":memory:"))) as url:
        backend = Swf(endpoint_url=url, region="us-east-1", serve=False)
        load = Load(backend)
        load.begin(OPEN)
        began, stops = time.perf_counter(), []
        worker = Worker(step, chain, backend=backend, sticky=STICKY or None, observers=[load.noted]).start()
        for _ in range(RESTARTS):
            time.sleep(chance.uniform(0.05, 0.3))
            following = Worker(step, chain, backend=backend, sticky=STICKY or None, observers=[load.noted]).start()
            stopping = time.perf_counter()
            worker.stop(None)
            stops.append(time.perf_counter() - stopping)
            worker = following
        load.ending = True
        done = load.drained(120)
        seconds, count = time.perf_counter() - began, len(load.begun)
        events = Counter(event["eventType"] for one in load.begun for event in one.history())
        print(f"{RESTARTS} restarts in {seconds:.0f} s, {count} executions, all closed: {done}; slowest stop {max(stops):.1f} s")
        for kind in ("ActivityTaskScheduled", "ActivityTaskStarted", "ActivityTaskCompleted", "ActivityTaskFailed"):
            print(f"{kind:<24} {events[kind]:>7}")
        for kind in sorted(kind for kind in events if kind.endswith("TimedOut")):
            print(f"{kind:<24} {events[kind]:>7}")
        if not any(kind.endswith("TimedOut") for kind in events):
            print(f"{'timed out':<24} {0:>7}", flush=True)
    worker.stop()  # the server is gone: no poll waits for its minute
    disconnect(backend)


if __name__ == "__main__":
    main()
