"""What one thread does for a local run and all its children: go on with those that can, else wait for a timer or a message.

Rule 1: one agenda per thread that runs; children share their parent's. Everything on it is done by that thread, one run at a time.
Rule 2: a message is an action. Anyone may post one, from any thread; actions are done in the order in which they came.
Rule 3: whoever makes something happen to a run puts it on the agenda (`look_at`).
"""

from __future__ import annotations

import heapq
import itertools
import queue
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowdsl.errors import Cancelled
from flowdsl.lang.promises import Promise

if TYPE_CHECKING:
    from flowdsl.local.run import LocalRun


class Agenda:
    """The runs, the timers and the messages of one thread."""

    def __init__(self) -> None:
        self._open: dict[LocalRun, None] = {}
        self._stirred: dict[LocalRun, None] = {}
        self._timers: list[tuple[float, int, Promise[Any], LocalRun]] = []
        self._numbers = itertools.count()
        self._inbox: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def post(self, action: Callable[[], object]) -> None:
        """Let the thread do something when it comes to it; from any thread."""
        self._inbox.put(action)

    def add(self, run: LocalRun) -> None:
        """A run that begins."""
        self._open[run] = None
        self.look_at(run)

    def remove(self, run: LocalRun) -> None:
        """A run that has ended, or that was taken back."""
        self._open.pop(run, None)
        self._stirred.pop(run, None)
        self.forget_timers(run)

    def look_at(self, run: LocalRun) -> None:
        """Something has happened to this run."""
        if run in self._open:
            self._stirred[run] = None

    def turn(self) -> None:
        """Go on with one run; if none can, wait until something happens."""
        if self._stirred:
            run = next(iter(self._stirred))
            del self._stirred[run]
            run.advance()
        else:
            self._wait()

    def abandon(self) -> None:
        """Tear down whatever is open; nobody waits for it any more."""
        for run in list(self._open):
            run.tear_down()

    def timer(self, run: LocalRun, name: str, delay: float) -> Promise[Any]:
        """A promise that is settled `delay` seconds from now; never before every run that can go on has had its turn."""
        promise: Promise[Any] = Promise(run, name) if delay <= 0 else _Timer(self, run, name)
        promise.on_cancel = lambda: promise.fail(Cancelled(f"{name} was cancelled"))
        if delay <= 0:
            self.post(lambda: self._fire(promise, run))
        else:
            heapq.heappush(self._timers, (time.monotonic() + delay, next(self._numbers), promise, run))
        return promise

    def _fire(self, promise: Promise[Any], run: LocalRun) -> bool:
        if Promise.is_ready(promise):  # cancelled; and not the timers' own, which looks here
            return False
        promise.settle(None)
        self.look_at(run)
        return True

    def forget_timers(self, run: LocalRun) -> None:
        """Drop the timers of a run that has ended or begins anew."""
        self._timers = [entry for entry in self._timers if entry[3] is not run]
        heapq.heapify(self._timers)

    def settle_due(self) -> float | None:
        """Settle what is due; return seconds until the next timer, 0 if something was settled, None if there is none."""
        now = time.monotonic()
        settled = False
        while self._timers and (Promise.is_ready(self._timers[0][2]) or self._timers[0][0] <= now):
            _, _, promise, run = heapq.heappop(self._timers)
            settled |= self._fire(promise, run)
        if settled:
            return 0.0
        return self._timers[0][0] - now if self._timers else None

    def catch_up(self) -> None:
        """Do what was posted so far."""
        while not self._inbox.empty():
            self._inbox.get()()

    def _wait(self) -> None:
        """Sleep until a timer is due or something is posted, whichever is first, and do it."""
        limit = self.settle_due()
        if limit is not None and limit <= 0:
            return
        try:
            action = self._inbox.get(timeout=limit)
        except queue.Empty:
            self.settle_due()
        else:
            action()


class _Timer(Promise[Any]):
    """A promise that looks at the clock when it is asked."""

    __slots__ = ("_agenda",)

    def __init__(self, agenda: Agenda, run: LocalRun, name: str) -> None:
        super().__init__(run, name)
        self._agenda = agenda

    def is_ready(self) -> bool:
        if not super().is_ready():
            self._agenda.settle_due()
        return super().is_ready()
