"""Which local executions run in this process, by their workflow id."""

from __future__ import annotations

import threading
from typing import Protocol

from flowdsl.errors import AlreadyRunning, SignalFailed


class Run(Protocol):
    """What is known here of a local run."""

    workflow_id: str

    def signal(self, name: str, text: str | None) -> None:
        """Hand a signal in."""


_running: dict[str, Run] = {}
_lock = threading.Lock()


def enlist(run: Run) -> None:
    """Have the run found by its id until it is delisted. Raises `AlreadyRunning` if another one has the id."""
    with _lock:
        if run.workflow_id in _running:
            raise AlreadyRunning(
                f"the workflow id {run.workflow_id!r} belongs to a local workflow that is running in this process. "
                "Wait for it with the handle that start() gave, or choose another id"
            )
        _running[run.workflow_id] = run


def delist(run: Run) -> None:
    """The run has ended."""
    with _lock:
        if _running.get(run.workflow_id) is run:
            del _running[run.workflow_id]


def find(workflow_id: str) -> Run | None:
    """The running local execution with this id."""
    with _lock:
        return _running.get(workflow_id)


def send_locally(workflow_id: str, name: str, text: str | None) -> None:
    """Signal a local execution of this process. Raises `SignalFailed` if none is running under the id."""
    run = find(workflow_id)
    if run is None:
        raise SignalFailed(f"no local workflow with the id {workflow_id!r} is running in this process", workflow_id=workflow_id)
    run.signal(name, text)
