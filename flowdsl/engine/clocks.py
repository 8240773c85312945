"""Where a service gets its time from.

Rule 1: a clock says what time it is, in whole milliseconds; nobody else in this folder does. The engine itself has none.
Rule 2: a virtual clock moves only when it is told to (`ManualClock`) or when there is nothing left to do but wait (`SkippingClock`), and it
        never steps over a deadline: it stops at each one, so what is due happens at its own time and in its own order.
Rule 3: whether to skip is decided under the service's lock, from the engine's state alone (`Engine.idle_until`); no thread's speed has a
        say in it.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Driven(Protocol):
    """A service as its virtual clock sees it."""

    def next_due(self) -> int | None:
        """When something is due next, in milliseconds."""

    def settle(self) -> None:
        """Do what is due now."""


class Clock(Protocol):
    """The time, in milliseconds since the epoch."""

    #: whether time passes by itself, so that a thread has to wait for deadlines
    real: bool

    def now_ms(self) -> int:
        """The time now."""

    def attach(self, service: Driven) -> None:
        """The service whose deadlines the clock has to stop at."""

    def detach(self, service: Driven) -> None:
        """The service is closed."""

    def skip(self, target: int) -> bool:
        """Nothing is left to do before `target`: go there, or return False to let time pass by itself."""


class SystemClock:
    """The machine's wall clock. If it is set back, time stands still within each execution until it has caught up."""

    real = True

    def now_ms(self) -> int:
        """The time now."""
        return time.time_ns() // 1_000_000

    def attach(self, service: Driven) -> None:
        """Nothing to do: the service has a thread for it."""

    def detach(self, service: Driven) -> None:
        """Nothing to do."""

    def skip(self, target: int) -> bool:
        """Real time cannot be skipped."""
        return False


class ManualClock:
    """Time that passes when `advance` is called; `now` is where it begins, in seconds since the epoch."""

    real = False

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = round(now * 1000)
        self._services: list[Driven] = []
        self._moving = threading.RLock()

    def now_ms(self) -> int:
        """The time now."""
        return self._now

    def attach(self, service: Driven) -> None:
        """Stop at this service's deadlines."""
        self._services.append(service)

    def detach(self, service: Driven) -> None:
        """The service is closed."""
        if service in self._services:
            self._services.remove(service)

    def skip(self, target: int) -> bool:
        """Only `advance` moves this clock."""
        return False

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, stopping at every deadline on the way."""
        with self._moving:
            target = self._now + round(seconds * 1000)
            while True:
                due = min((when for service in self._services if (when := service.next_due()) is not None), default=None)
                stop = target if due is None else min(due, target)
                self._now = max(self._now, stop)
                for service in list(self._services):
                    service.settle()
                if due is None or due > target:
                    return


class SkippingClock(ManualClock):
    """Virtual time that jumps to the next deadline as soon as nothing is left to do before it.

    It jumps when at least one poll waits, no effect is due, no decision task can be handed out or is in hand, no activity is in hand,
    and none can be handed out on a list that was ever polled (its worker is between two polls). A jump goes to the next deadline,
    whatever it is; but if only the time-outs of whole executions are left it stays: those wait for somebody outside, who has all
    the time. A decider or worker that dies with a task in hand therefore stops time; `advance` still moves it.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        super().__init__(now)
        self._held = 0

    def skip(self, target: int) -> bool:
        """Go to `target`, unless time is held."""
        if self._held:
            return False
        self._now = max(self._now, target)
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Time stands while the block runs: to start or signal several executions at one moment."""
        with self._moving:
            self._held += 1
        try:
            yield
        finally:
            with self._moving:
                self._held -= 1
            for service in list(self._services):
                service.settle()
