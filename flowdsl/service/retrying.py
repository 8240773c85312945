"""Repeats calls that may be repeated, with jittered backoff.

Rule 1: long polls are never repeated here: a poll that got no answer may have been given a task, and a second poll hides that. The poll
        loops wait and ask again. Heartbeats are not repeated either: the next one says the same.
Rule 2: signals and cancellation requests are not idempotent: they are repeated only if the first call certainly had no effect.
Rule 3: responses carry the result of work, so they are repeated longest, and after every fault but those that no repetition mends; after a
        lost answer the service may say that the task is unknown, which then means that it is done.
Rule 4: everything else is repeated after faults that are marked as retryable. A start is protected by its workflow id: a repeated one says
        at worst that the execution is running, which the caller has to handle anyway.
"""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from flowdsl.errors import Fault
from flowdsl.service.faults import HOPELESS, happened_for_sure_not
from flowdsl.service.transport import Transport, begins_poll

RESPONSES: Final = frozenset(
    {"RespondActivityTaskCanceled", "RespondActivityTaskCompleted", "RespondActivityTaskFailed", "RespondDecisionTaskCompleted"}
)
NOT_IDEMPOTENT: Final = frozenset({"RequestCancelWorkflowExecution", "SignalWorkflowExecution"})

_PATIENCE = 2
"""A response gets this many times the attempts of other calls."""


def may_repeat(operation: str, params: Mapping[str, Any], fault: Fault) -> bool:
    """Whether the call that ended with this fault may be made again as it is."""
    if begins_poll(operation, params) or operation == "RecordActivityTaskHeartbeat":
        return False
    if operation in NOT_IDEMPOTENT:
        return happened_for_sure_not(fault)
    if operation in RESPONSES:
        return fault.code not in HOPELESS
    return fault.retryable


class Retrying:
    """A transport that repeats: at most `attempts` calls, waiting between them a random part of `min(cap, first * 2 ** n)` seconds."""

    def __init__(
        self,
        transport: Transport,
        *,
        attempts: int = 8,
        first: float = 0.1,
        cap: float = 20.0,
        sleep: Callable[[float], object] = time.sleep,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._transport = transport
        self._attempts = attempts
        self._first = first
        self._cap = cap
        self._sleep = sleep
        self._random = random

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Perform the operation, again if need be. Raises the last `Fault`."""
        attempts = self._attempts * (_PATIENCE if operation in RESPONSES else 1)
        for attempt in range(attempts):
            try:
                return self._transport.call(operation, params)
            except Fault as fault:
                if attempt + 1 == attempts or not may_repeat(operation, params, fault):
                    raise
            self._sleep(self._random() * min(self._cap, self._first * 2.0 ** min(attempt, 30)))
        raise AssertionError("attempts is 1 or more")
