"""Recorded functions are run inside the decision task, once: who runs them, and watches how long it takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flowdsl.lang.context import Info
from flowdsl.lang.scope import ActivityScope
from flowdsl.plain import call_plainly

log = logging.getLogger("flowdsl.decider")


class Recorder:
    """Runs a recorded function for the first time, as plain code, and warns when it takes much of the decision task's time."""

    def __init__(self, execution: Mapping[str, str], events: Sequence[Mapping[str, Any]]) -> None:
        self._execution = execution
        limit = events[0]["workflowExecutionStartedEventAttributes"].get("taskStartToCloseTimeout", "NONE") if events else "NONE"
        self._limit = None if limit == "NONE" else float(limit)
        self.ran = False

    def begin(self) -> None:
        """A new turn: nothing has run in it."""
        self.ran = False

    def __call__(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any) -> Any:
        """Run the function and return what it returns; raises what it raises."""
        about = Info(
            kind=target.kind,
            name=target.name,
            version=target.version,
            workflow_id=self._execution["workflowId"],
            run_id=self._execution["runId"],
        )
        self.ran = True
        began = time.monotonic()
        try:
            return call_plainly(target, args, kwargs, instance, ActivityScope(about))
        finally:
            took = time.monotonic() - began
            if self._limit is not None and took > self._limit / 2:
                log.warning(
                    "the recorded function %s took %.1f s of a decision task's %g s; make it an @activity, or raise "
                    "@workflow(task_timeout=…)",
                    target.name, took, self._limit,
                )  # fmt: skip
