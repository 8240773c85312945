"""Where a scenario of the contract suite is played: the same words for plain calls, local runs, the embedded engine and the server."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from dataclasses import dataclass, field
from typing import Any

import flowdsl
from flowdsl.testing import SkippingClock

_numbers = itertools.count(1)


@dataclass
class Stage:
    """One backend. `backend` is None for plain calls; `clock` is the engine's, None where real time passes."""

    name: str
    backend: Any = None
    clock: SkippingClock | None = None
    opened: list[Any] = field(default_factory=list)

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


def new_id(prefix: str = "contract") -> str:
    """A workflow id that no other test has."""
    return f"{prefix}-{next(_numbers)}"


def events(execution: Any, *types: str) -> list[dict[str, Any]]:
    """The attributes of an execution's events of these types, in order."""
    found = (event for event in execution.history() if event["eventType"] in types)
    return [event[event["eventType"][0].lower() + event["eventType"][1:] + "EventAttributes"] for event in found]
