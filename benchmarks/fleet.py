"""One worker process with many open executions on `flowdsl server`: executions finished per second, and memory per kept execution."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from decider_cache import served

from flowdsl import Swf, Worker, activity, signal, workflow
from flowdsl.connection import connect
from flowdsl.running import start_unserved

if TYPE_CHECKING:
    from flowdsl.service.observed import Observed

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1000


@activity(name="fleet.step")
def step(number: int) -> int:
    return number


@signal(name="go")
def go() -> None: ...


@workflow(name="waits")
def waits(number: int) -> int:
    first = step(number)
    go.wait()
    return first + step(number)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Counts:
    """How many decision tasks were answered, and how many executions finished."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.decided = self.finished = 0

    def note(self, what: Observed) -> None:
        """An observer."""
        with self._changed:
            self.decided += what.metric == "DecisionTasksCompleted"
            self.finished += what.metric == "WorkflowsCompleted"
            self._changed.notify_all()

    def wait(self, *, decided: int = 0, finished: int = 0) -> None:
        """Until there are so many."""
        with self._changed:
            self._changed.wait_for(lambda: self.decided >= decided and self.finished >= finished)


def main() -> None:
    counts = Counts()
    with served():
        backend = Swf(serve=False)
        worker = Worker(step, waits, go, backend=backend, observers=[counts.note]).start()
        for number in range(20):
            start_unserved(waits, [number], {}, connect(backend))
        counts.wait(decided=40)
        before, began = resident(), time.perf_counter()
        begun = [start_unserved(waits, [number], {}, connect(backend)) for number in range(COUNT)]
        counts.wait(decided=2 * (COUNT + 20))
        taken, weight = time.perf_counter() - began, (resident() - before) / COUNT
        print(f"{COUNT} executions begun, one activity each, all open and kept: {COUNT / taken:.0f} per second")
        print(f"memory for each: {weight / 1000:.1f} kB")
        began = time.perf_counter()
        for one in begun:
            one.signal(go)
        counts.wait(finished=COUNT)
        print(f"finished after a signal and one more activity: {COUNT / (time.perf_counter() - began):.0f} per second", flush=True)
    worker.stop()  # the server is gone: no poll waits for its minute


if __name__ == "__main__":
    main()
