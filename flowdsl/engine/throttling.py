"""The service's rates: a token bucket per API, per decision, per execution and per task list.

Rule 1: an engine throttles only when it is told to; embedded use has no reason to wait. The open counts of `quotas.py` always hold.
Rule 2: a bucket begins full, loses a token per call and gains its rate per second, up to its size; time is the caller's. Buckets live in
        memory: an engine that is opened again begins with full ones.
Rule 3: a call without a token is refused with ThrottlingException "Rate exceeded"; a decision without one is no error of its call, it
        fails with a cause that ends in RATE_EXCEEDED (developer guide).
Rule 4: a valid request costs its token whatever becomes of it, an invalid one none; a poll that waits is counted once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowdsl import limits
from flowdsl.engine.faults import throttled

if TYPE_CHECKING:
    from collections.abc import Hashable

    from flowdsl.engine.tokens import Tokens

#: (size of the bucket, tokens per second)
Rate = tuple[float, float]

#: decision → the cause of its failure
CAUSES: Mapping[str, str] = {
    "ScheduleActivityTask": "ACTIVITY_CREATION_RATE_EXCEEDED",
    "StartTimer": "TIMER_CREATION_RATE_EXCEEDED",
    "StartChildWorkflowExecution": "CHILD_CREATION_RATE_EXCEEDED",
    "SignalExternalWorkflowExecution": "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_RATE_EXCEEDED",
    "RequestCancelExternalWorkflowExecution": "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_RATE_EXCEEDED",
    "ScheduleLambdaFunction": "LAMBDA_FUNCTION_CREATION_RATE_EXCEEDED",
    "ContinueAsNewWorkflowExecution": "CONTINUE_AS_NEW_WORKFLOW_EXECUTION_RATE_EXCEEDED",
}

#: buckets that are full again say nothing: they are swept when there are so many, and then when there are twice as many as were left
_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Throttles:
    """The rates that an engine keeps: by operation, by decision, by operation for one execution, and of activities for one task list.

    What has no entry has no limit. The causes for continue-as-new and lambda tasks exist (model), their rates are not documented.
    """

    calls: Mapping[str, Rate] = field(default_factory=lambda: limits.RATES)
    decisions: Mapping[str, Rate] = field(default_factory=lambda: limits.DECISION_RATES)
    executions: Mapping[str, Rate] = field(default_factory=lambda: limits.EXECUTION_RATES)
    task_list: Rate = limits.TASK_LIST_RATE

    def scaled(self, factor: float) -> Throttles:
        """The same with buckets and rates `factor` times as large; a bucket holds at least one token."""

        def scale(table: Mapping[str, Rate]) -> dict[str, Rate]:
            return {name: (max(1.0, size * factor), per_second * factor) for name, (size, per_second) in table.items()}

        task_list = scale({"": self.task_list})[""]
        return Throttles(scale(self.calls), scale(self.decisions), scale(self.executions), task_list)


class Buckets:
    """The buckets of one engine; without `throttles` none is ever empty."""

    __slots__ = ("_left", "_room", "_throttles", "_tokens")

    def __init__(self, throttles: Throttles | None, tokens: Tokens) -> None:
        self._throttles = throttles
        self._tokens = tokens
        #: bucket → (rate, tokens, when they were counted)
        self._left: dict[Hashable, tuple[Rate, float, int]] = {}
        self._room = _KEPT

    def check_call(self, now: int, operation: str, params: Mapping[str, Any]) -> None:
        """Raises `Fault` ThrottlingException if the operation, or the execution that it names, has used up its tokens.

        Raises `Fault` "Invalid token" for a heartbeat with a token that names none.
        """
        throttles = self._throttles
        if throttles is None:
            return
        rate = throttles.calls.get(operation)
        if rate is not None and not self._take(now, rate, operation):
            raise throttled()
        rate = throttles.executions.get(operation)
        if rate is not None and not self._take(now, rate, (operation, *self._execution_of(params))):
            raise throttled()

    def refuse_decision(self, now: int, decision_type: str, domain: str, task_list: str | None = None) -> str | None:
        """The cause for which a decision fails, or None; `task_list` is where an activity would be scheduled."""
        throttles = self._throttles
        if throttles is None:
            return None
        rate = throttles.decisions.get(decision_type)
        if rate is not None and not self._take(now, rate, ("decision", decision_type)):
            return CAUSES[decision_type]
        if task_list is not None and not self._take(now, throttles.task_list, ("list", domain, task_list)):
            return CAUSES[decision_type]
        return None

    def _take(self, now: int, rate: Rate, name: Hashable) -> bool:
        size, per_second = rate
        _, left, since = self._left.get(name, (rate, size, now))
        left = min(size, left + max(0, now - since) * per_second / 1000)
        taken = left >= 1
        self._left[name] = rate, left - taken, max(now, since)
        if len(self._left) > self._room:
            self._sweep(now)
        return taken

    def _sweep(self, now: int) -> None:
        for name, ((size, per_second), left, since) in list(self._left.items()):
            if left + max(0, now - since) * per_second / 1000 >= size:
                del self._left[name]
        self._room = max(_KEPT, 2 * len(self._left))

    def _execution_of(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        if "taskToken" in params:
            return (self._tokens.read_task("A", params["taskToken"])[0],)
        named = params.get("execution") or params
        return params["domain"], named["workflowId"]
