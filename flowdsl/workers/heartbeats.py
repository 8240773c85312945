"""The heart of a worker: one thread that says, for every running activity, that it is still worked on.

Rule 1: a beat is due a third of the heartbeat timeout after the last one, so that two may be lost. The timeout known here is the
        definition's; a call may have been scheduled with another one, so a beat is never later than `longest` seconds after the last.
Rule 2: details that the function reports are kept and travel with every beat. The first ones go out at once; how soon the next do is the
        worker's `gap`, because a function may report thousands of times a second and the service limits the rate.
Rule 3: a beat that fails is no failure of the activity: the next one comes sooner. Only the answer that the task is unknown means that it
        is over; then its function is told to stop, and nothing is answered.
Rule 4: beats go on until the outcome is answered: a response may have to be repeated for a while, too.
        One more beat is due right after the definition's start-to-close timeout: it hears that the task is over, and a process is killed.
Rule 5: a function with a watchdog has to report by itself as often as that says. One that does not is stuck: nothing beats for it any more,
        so that its timeout gives it out again, and what can be interrupted is.
Rule 6: an attempt has one time at which its next beat is due (`attempt.due`). What stands in the heap for another time is stale.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from flowdsl.errors import Fault
from flowdsl.service.faults import UNKNOWN_RESOURCE

if TYPE_CHECKING:
    from flowdsl.service.swf import Swf
    from flowdsl.workers.attempts import Attempt

log = logging.getLogger("flowdsl.worker")

LONGEST: Final = 20.0
"""Seconds between two beats, at most."""

GAP: Final = 1.0
"""Seconds between two beats that new details cause, at least."""

_AFTER_THE_END = 0.1  # seconds: the service counts from a little earlier than we do, and whole seconds


class Heart:
    """Beats for the attempts that were added until they are removed. `gap` and `longest` are seconds."""

    def __init__(self, swf: Swf, *, gap: float = GAP, longest: float = LONGEST, clock: Callable[[], float] = time.monotonic) -> None:
        self._swf = swf
        self._gap = gap
        self._longest = longest
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Attempt]] = []
        self._numbers = itertools.count()
        self._attempts: set[Attempt] = set()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._runs_thread = True

    def without_thread(self) -> Heart:
        """Let nobody beat but who calls `beat`."""
        self._runs_thread = False
        return self

    def add(self, attempt: Attempt) -> None:
        """Beat for this attempt from now on, if its definition has a heartbeat timeout, and when it has news."""
        timeout = attempt.heartbeat_timeout
        attempt.interval = None if timeout is None else min(self._longest, timeout / 3)
        attempt.reported_at = self._clock()
        with self._changed:
            self._attempts.add(attempt)
            limit = attempt.definition.settings.timeout
            attempt.ends_at = None if limit is None else attempt.reported_at + math.ceil(limit) + _AFTER_THE_END
            self._schedule_next(attempt, attempt.interval)
            if self._thread is None and self._runs_thread:
                self._thread = threading.Thread(target=self._run, name="flowdsl-heart", daemon=True)
                self._thread.start()

    def remove(self, attempt: Attempt) -> None:
        """The attempt is answered."""
        with self._changed:
            self._attempts.discard(attempt)
            attempt.due = None
            if self._stopping:
                self._changed.notify_all()

    def stop(self) -> None:
        """End the thread as soon as no attempt is left."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def news(self, attempt: Attempt) -> None:
        """The function has reported: say so now, or as soon as the gap is over. In an event loop the heart's thread does it."""
        with self._changed:
            if attempt not in self._attempts:
                return
            now = attempt.reported_at = self._clock()
            when = now if attempt.beat_at is None else max(now, attempt.beat_at + self._gap)
            if when > now or attempt.in_loop:
                self._schedule(attempt, when)
                return
        self._beat(attempt)

    def beat(self) -> float | None:
        """Send every beat that is due; return the seconds until the next one, None if there is none."""
        while True:
            with self._changed:
                left = self._seconds_left()
                if left is None or left > 0:
                    return left
                attempt = heapq.heappop(self._heap)[2]
                attempt.due = None
            if self._is_stuck(attempt):
                self._give_up(attempt)
            else:
                self._beat(attempt)

    def _is_stuck(self, attempt: Attempt) -> bool:
        limit = attempt.definition.settings.watchdog
        return limit is not None and attempt.reported_at is not None and self._clock() - attempt.reported_at > limit

    def _give_up(self, attempt: Attempt) -> None:
        log.warning("%s has not reported for longer than its watchdog allows; it is taken for stuck and will time out", attempt)
        self.remove(attempt)
        if attempt.in_loop or attempt.definition.settings.executor == "process":
            attempt.cancel("gone")

    def _seconds_left(self) -> float | None:
        """Until the next beat; None if there is none. What is stale at the heap's top is thrown away."""
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] - self._clock() if self._heap else None

    def _run(self) -> None:
        while True:
            self.beat()
            with self._changed:
                if self._stopping and not self._attempts:
                    self._thread = None
                    return
                left = self._seconds_left()
                if left is None or left > 0:
                    self._changed.wait(left)

    def _schedule_next(self, attempt: Attempt, gap: float | None) -> None:
        """The next beat that nobody asked for: after `gap` seconds, or right after the end if that is sooner."""
        now, end = self._clock(), attempt.ends_at
        times = [now + gap] if gap is not None else []
        if end is not None and now < end:
            times.append(end)
        if times:
            self._schedule(attempt, min(times))

    def _schedule(self, attempt: Attempt, when: float) -> None:
        if attempt in self._attempts and (attempt.due is None or when < attempt.due):
            attempt.due = when
            entry = (when, next(self._numbers), attempt)
            heapq.heappush(self._heap, entry)
            if self._heap[0] is entry:  # only an earlier beat wakes the thread: most attempts end before their first one
                self._changed.notify_all()

    def _beat(self, attempt: Attempt) -> None:
        attempt.beat_at = self._clock()
        worked = self._send(attempt)
        with self._changed:
            attempt.due = None
            self._schedule_next(attempt, attempt.interval if worked or attempt.interval is None else attempt.interval / 3)

    def _send(self, attempt: Attempt) -> bool:
        try:
            cancel_requested = self._swf.heartbeat(task_token=attempt.token, details=attempt.details)
        except Fault as fault:
            if fault.code == UNKNOWN_RESOURCE:
                self.remove(attempt)
                attempt.cancel("gone")
                return True
            log.info("a heartbeat of %s failed: %s", attempt, fault)
            return False
        except Exception:
            log.exception("a heartbeat of %s failed", attempt)
            return False
        if cancel_requested:
            attempt.cancel("requested")
        return True
