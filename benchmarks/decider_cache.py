"""A whole execution over HTTP with and without the decider's cache: events fetched, and the decider's CPU time, as the history grows.

The engine is served by another process, so that this one's CPU time is the decider's and the activity worker's alone.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flowdsl import activity, workflow
from flowdsl.data.converter import Converter
from flowdsl.data.values import Values
from flowdsl.lang.registry import default_registry
from flowdsl.service.boto import BotoTransport
from flowdsl.service.swf import Swf
from flowdsl.workers.activities import ActivityWorker
from flowdsl.workers.cache import Cache
from flowdsl.workers.decider import Decider

SIZES = tuple(int(size) for size in sys.argv[1:]) or (50, 200, 400)
DOMAIN, LIST = "bench", "bench"


@activity(name="step")
def step(number: int) -> int:
    return number


@workflow(name="chain")
def chain(count: int) -> int:
    return sum(step(number) for number in range(count))


class Counting:
    """A transport that counts the events of its answers."""

    def __init__(self, transport: BotoTransport) -> None:
        self.transport = transport
        self.events = 0

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Perform it and count."""
        answer = self.transport.call(operation, params)
        self.events += len(answer.get("events", ()))
        return answer


@contextmanager
def served() -> Iterator[None]:
    """A development server of its own process, and the environment that names it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "flowdsl", "server", "--port", "0", "--path", f"{folder}/bench.db"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            for _ in range(2):
                line = server.stdout.readline().removeprefix("export ")
                os.environ |= dict(part.split("=", 1) for part in shlex.split(line))
            yield
            server.terminate()


def run(count: int, kept: int) -> tuple[int, int, float]:
    """Events of the history, events that the decider fetched, and its CPU seconds."""
    counting, values = Counting(BotoTransport()), Values(Converter(), DOMAIN)
    swf = Swf(counting.transport, DOMAIN)
    swf.register_domain(retention_days=1)
    swf.register_workflow_type(name="chain", version="1")
    swf.register_activity_type(name="step", version="1")
    name = f"chain-{count}-{kept}"
    run_id = swf.start_workflow_execution(
        workflow_id=name, name="chain", version="1", task_list=name, execution_start_to_close=86_400, task_start_to_close=60,
        input=values.encode_call(chain, (count,), {}),
    )  # fmt: skip
    decider = Decider(Swf(counting, DOMAIN), name, default_registry, values)
    worker = ActivityWorker(counting.transport, DOMAIN, name, default_registry, values, slots=1)
    cache, cpu = Cache(kept), 0.0
    for turn in range(count + 1):
        began = time.thread_time()
        decider.run_once(cache)
        cpu += time.thread_time() - began
        if turn < count:
            worker.run_once(name)
    worker.stop()
    return len(list(swf.history(name, run_id))), counting.events, cpu


def main() -> None:
    print(f"{'activities':>10} {'history':>8}  {'kept':>5} {'fetched':>9} {'of history':>10} {'CPU ms':>8} {'CPU ms/activity':>15}")
    with served():
        run(5, 1)
        for count in SIZES:
            for kept in (1, 0):
                events, fetched, cpu = run(count, kept)
                what = "yes" if kept else "no"
                print(
                    f"{count:>10} {events:>8}  {what:>5} {fetched:>9} {fetched / events:>10.2f} {cpu * 1000:>8.0f} "
                    f"{cpu * 1000 / count:>15.2f}"
                )


if __name__ == "__main__":
    main()
