"""Bad weather on purpose: calls that are lost before or after their effect, doubled, throttled, or answered with 500.

Rule 1: what happens to the n-th call of an operation depends on the seed, the operation and n only, not on what other threads do.
Rule 2: every fate is one that the network or the service can deal to a real client; whatever the caller makes of it is what it would
        make of the real one.
Rule 3: a poll is never doubled: its second half would wait for a task of its own.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping
from random import Random
from typing import Any

from flowdsl.errors import DefinitionError, Fault
from flowdsl.service.transport import ANSWER_LOST, NOT_SENT, Transport, begins_poll

FATES = ("drop_before", "drop_after", "double", "throttle", "fail_before", "fail_after")


class Chaos:
    """A transport that lets calls go wrong.

    Each keyword is the probability (0 to 1) of one fate: `drop_before` and `drop_after` lose the request or the answer, `double` sends the
    request twice, `throttle` refuses it, `fail_before` and `fail_after` answer 500 without and with the effect. `operations` limits it to
    some operations. `dealt` lists what was done, in order. Raises `DefinitionError` if the probabilities are none.
    """

    def __init__(
        self,
        transport: Transport,
        seed: int = 0,
        *,
        drop_before: float = 0.0,
        drop_after: float = 0.0,
        double: float = 0.0,
        throttle: float = 0.0,
        fail_before: float = 0.0,
        fail_after: float = 0.0,
        operations: Collection[str] | None = None,
    ) -> None:
        self._transport = transport
        self._seed = seed
        self._odds = dict(zip(FATES, (drop_before, drop_after, double, throttle, fail_before, fail_after), strict=True))
        if any(odds < 0 for odds in self._odds.values()) or sum(self._odds.values()) > 1:
            raise DefinitionError(f"Chaos({self._odds}): probabilities are 0 or more, and at most 1 together")
        self._operations = None if operations is None else frozenset(operations)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.dealt: list[tuple[str, str]] = []

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Perform the operation, or do to it what the dice say. Raises `Fault`."""
        fate = self._fate(operation)
        if fate == "double" and begins_poll(operation, params):
            fate = ""
        if fate:
            with self._lock:
                self.dealt.append((operation, fate))
        if fate == "drop_before":
            raise Fault(NOT_SENT, "chaos: the request was lost", retryable=True)
        if fate == "throttle":
            raise Fault("ThrottlingException", "Rate exceeded", retryable=True)
        if fate == "fail_before":
            raise Fault("InternalFailure", "", retryable=True)
        answer = self._transport.call(operation, params)
        if fate == "drop_after":
            raise Fault(ANSWER_LOST, "chaos: the answer was lost", retryable=True)
        if fate == "fail_after":
            raise Fault("InternalFailure", "", retryable=True)
        if fate == "double":
            self._again(operation, params)
        return answer

    def _again(self, operation: str, params: Mapping[str, Any]) -> None:
        try:
            self._transport.call(operation, params)
        except Fault:
            return  # nobody waits for the answer to a copy

    def _fate(self, operation: str) -> str:
        if self._operations is not None and operation not in self._operations:
            return ""
        with self._lock:
            self._counts[operation] += 1
            number = self._counts[operation]
        dice = Random(f"{self._seed}/{operation}/{number}").random()
        for fate, odds in self._odds.items():
            if dice < odds:
                return fate
            dice -= odds
        return ""
