"""Where a scenario of the contract suite is played: the same words for plain calls, local runs, the embedded engine and the server."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import flowdsl
from flowdsl import Embedded, Swf, Worker
from flowdsl.connection import connect, disconnect
from flowdsl.testing import ManualClock, SkippingClock

HANDLES = ("local", "embedded", "replayed", "server")
"""Where `start` gives a handle."""

DURABLE = ("embedded", "replayed", "server")
"""Where there is a history, and a clock that does not wait."""

_numbers = itertools.count(1)


@dataclass
class Stage:
    """One backend. `backend` is None for plain calls; `clock` is the engine's, None where real time passes."""

    name: str
    backend: Any = None
    clock: ManualClock | None = None

    @property
    def durable(self) -> bool:
        """Whether there is a history."""
        return self.clock is not None

    def seconds(self, duration: float) -> float:
        """A duration that costs nothing: whole where time is virtual, a hundredth of it where it passes."""
        return duration if self.durable else duration / 100

    def run(self, workflow: Any, *args: Any, **kwargs: Any) -> Any:
        """What the workflow returns or raises, however it is run here."""
        if self.backend is not None:
            return flowdsl.run(workflow, *args, backend=self.backend, **kwargs)
        value = workflow(*args, **kwargs)
        return asyncio.run(value) if inspect.iscoroutine(value) else value

    def start(self, workflow: Any, *args: Any, **kwargs: Any) -> Any:
        """The handle of a started workflow (not for plain calls, which have none)."""
        return flowdsl.start(workflow, *args, backend=self.backend, **kwargs)

    def attach(self, workflow_id: str) -> Any:
        """The handle of an execution that was started before."""
        return flowdsl.attach(workflow_id, backend=self.backend)

    @contextmanager
    def fleet(self) -> Iterator[Fleet]:
        """The same engine, served by workers that the test starts when it likes."""
        task_list = new_id("fleet")
        if isinstance(self.backend, Embedded):
            service = connect(self.backend).transport
            backend = Swf(domain=self.backend.domain, transport=service, serve=False, task_list=task_list)
        else:
            backend = replace(self.backend, serve=False, task_list=task_list)
        fleet = Fleet(backend, self.clock)
        try:
            yield fleet
        finally:
            fleet.stop()
            disconnect(backend)


@dataclass
class Fleet:
    """A task list and whoever serves it."""

    backend: Swf
    clock: Any
    workers: tuple[Worker, ...] = ()

    def work(self, **options: Any) -> Worker:
        """One more worker."""
        worker = Worker(backend=self.backend, **options).start()
        self.workers += (worker,)
        return worker

    def stop(self) -> None:
        """End the workers: an open poll cannot be taken back from a service, so its minute has to pass."""
        stopping = [threading.Thread(target=worker.stop, args=(0,)) for worker in self.workers]
        for thread in stopping:
            thread.start()
        wait_for(lambda: self._let_polls_end(stopping))
        self.workers = ()

    def _let_polls_end(self, stopping: list[threading.Thread]) -> bool:
        self.clock.advance(61)
        return not any(thread.is_alive() for thread in stopping)


def new_id(prefix: str = "contract") -> str:
    """A workflow id that no other test has."""
    return f"{prefix}-{next(_numbers)}"


def events(execution: Any, *types: str) -> list[dict[str, Any]]:
    """The attributes of an execution's events of these types, in order."""
    found = (event for event in execution.history() if event["eventType"] in types)
    return [event[event["eventType"][0].lower() + event["eventType"][1:] + "EventAttributes"] for event in found]


def wait_for(condition: Callable[[], Any], limit: float = 20.0) -> Any:
    """Wait until another thread has done something; its truth is returned."""
    deadline = time.monotonic() + limit
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, "what the test waits for has not happened"
        pause.wait(0.005)
    return found


def causes(error: BaseException) -> list[BaseException]:
    """The chain of `__cause__` below an exception."""
    chain = []
    cause = error.__cause__
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__
    return chain


__all__ = ["DURABLE", "HANDLES", "Fleet", "SkippingClock", "Stage", "causes", "events", "new_id", "wait_for"]
