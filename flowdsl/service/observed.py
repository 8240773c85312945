"""A transport that tells what became of every task: the material of metrics and traces.

Rule 1: it looks at calls and changes none. What an observer raises is logged and never passed on.
Rule 2: a task begins when its poll comes back and ends with its response; names are those of SWF's own CloudWatch metrics
        (`ActivityTasksCompleted`, `DecisionTasksCompleted`, `WorkflowsCompleted`, `ThrottledEvents`, …), so that a dashboard that has one
        has the other. Source: the developer guide's list of Amazon SWF metrics.
Rule 3: a task whose answer is never seen (it timed out elsewhere) is forgotten when too many are remembered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flowdsl.errors import Fault
from flowdsl.service.faults import THROTTLED
from flowdsl.service.transport import POLLS, Transport
from flowdsl.service.withdrawable import Submits, Ticket

log = logging.getLogger("flowdsl.service")

_REMEMBERED: Final = 100_000

TASKS: Final[Mapping[str, str]] = {
    "RespondActivityTaskCompleted": "ActivityTasksCompleted",
    "RespondActivityTaskFailed": "ActivityTasksFailed",
    "RespondActivityTaskCanceled": "ActivityTasksCanceled",
    "RespondDecisionTaskCompleted": "DecisionTasksCompleted",
}
CLOSES: Final[Mapping[str, str]] = {
    "CompleteWorkflowExecution": "WorkflowsCompleted",
    "FailWorkflowExecution": "WorkflowsFailed",
    "CancelWorkflowExecution": "WorkflowsCanceled",
    "ContinueAsNewWorkflowExecution": "WorkflowsContinuedAsNew",
}


@dataclass(frozen=True, slots=True)
class Observed:
    """Something that happened: `metric` is SWF's name for it, `type` the activity's or workflow's name.

    `began` is epoch seconds and `seconds` how long the task took, None where there is no task (`ThrottledEvents`).
    """

    metric: str
    type: str = ""
    version: str = ""
    workflow_id: str = ""
    run_id: str = ""
    began: float | None = None
    seconds: float | None = None


Observer = Callable[[Observed], object]


def observe(transport: Transport, observers: Sequence[Observer]) -> Transport:
    """`transport`, watched by `observers`; it can do what it could before. Without observers it is `transport` itself."""
    if not observers:
        return transport
    return _WatchedInProcess(transport, observers) if isinstance(transport, Submits) else _Watched(transport, observers)


class _Watched:
    def __init__(self, transport: Any, observers: Sequence[Observer]) -> None:
        self._transport = transport
        self._observers = observers
        self._lock = threading.Lock()
        self._tasks: OrderedDict[str, tuple[Mapping[str, Any], float]] = OrderedDict()

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Perform the operation and tell the observers. Raises `Fault`."""
        try:
            answer: dict[str, Any] = self._transport.call(operation, params)
        except Fault as fault:
            self._refused(fault)
            raise
        self._answered(operation, params, answer)
        return answer

    def _refused(self, fault: Fault) -> None:
        if fault.code in THROTTLED:
            self._tell(Observed("ThrottledEvents"))

    def _answered(self, operation: str, params: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        if operation in POLLS and answer.get("taskToken") and "nextPageToken" not in params:
            with self._lock:
                self._tasks[answer["taskToken"]] = answer, time.time()
                if len(self._tasks) > _REMEMBERED:
                    self._tasks.popitem(last=False)
        elif operation in TASKS:
            self._responded(TASKS[operation], params)

    def _responded(self, metric: str, params: Mapping[str, Any]) -> None:
        with self._lock:
            task, began = self._tasks.pop(params["taskToken"], (None, 0.0))
        if task is None:
            return
        kind = task.get("activityType") or task["workflowType"]
        execution = task["workflowExecution"]
        names = (kind["name"], kind["version"], execution["workflowId"], execution["runId"])
        self._tell(Observed(metric, *names, began, time.time() - began))
        for decision in params.get("decisions") or ():
            if decision["decisionType"] in CLOSES:
                self._tell(Observed(CLOSES[decision["decisionType"]], *names))

    def _tell(self, what: Observed) -> None:
        for observer in self._observers:
            try:
                observer(what)
            except Exception:
                log.exception("an observer failed")


class _WatchedInProcess(_Watched):
    def submit(self, operation: str, params: Mapping[str, Any], done: Callable[[Any], None]) -> Ticket:
        """Begin a call, as the transport does, and tell the observers when it is answered."""

        def answered(answer: Any) -> None:
            if isinstance(answer, Fault):
                self._refused(answer)
            elif isinstance(answer, dict):
                self._answered(operation, params, answer)
            done(answer)

        ticket: Ticket = self._transport.submit(operation, params, answered)
        return ticket
