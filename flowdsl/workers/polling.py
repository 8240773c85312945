"""Polling for ever: what to do when a poll fails, and the thread that does it.

Rule 1: never a busy loop. After every failed poll the loop waits, longer each time, with jitter; a poll that worked resets that.
Rule 2: a failure that goes on is said once, and once more when it is over; hooks hear of every one.
Rule 3: a stop interrupts waiting at once. It does not interrupt a step: whatever was handed out is done.
"""

from __future__ import annotations

import logging
import random as _random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowdsl.errors import Fault

if TYPE_CHECKING:
    from flowdsl.workers.hooks import Hooks

log = logging.getLogger("flowdsl.worker")

FIRST, CAP = 0.2, 30.0
"""Seconds to wait after the first failure, and at most."""


class Patience:
    """How somebody who polls takes failures. `what` says who it is; a thread of its own may call `stop`."""

    def __init__(
        self,
        hooks: Hooks,
        what: str,
        *,
        random: Callable[[], float] = _random.random,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._hooks = hooks
        self._what = what
        self._random = random
        self._stopping = threading.Event()
        self._wait = wait if wait is not None else self._stopping.wait
        self._failures = 0
        self._said = ""

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Wait no more, now or later."""
        self._stopping.set()

    def worked(self) -> None:
        """The poll was answered."""
        if self._failures:
            log.info("%s: polls are answered again", self._what)
            self._failures, self._said = 0, ""

    def failed(self, error: Exception) -> None:
        """The poll failed: say so, and wait before the next one."""
        if self.stopped:
            return
        delay = min(CAP, FIRST * 2.0 ** min(self._failures, 30)) * (0.5 + 0.5 * self._random())
        self._failures += 1
        self._say(error)
        self._hooks.report(error, {"worker": self._what, "failures": self._failures})
        self._wait(delay)

    def _say(self, error: Exception) -> None:
        kind = error.code if isinstance(error, Fault) else type(error).__name__
        if kind == self._said:
            return
        self._said = kind
        if isinstance(error, Fault):
            log.warning("%s: %s; trying again until it works", self._what, error)
        else:
            log.error("%s: a step failed; trying again", self._what, exc_info=error)


class PollLoop:
    """A daemon thread that repeats `step` (poll, do, respond; it returns whether there was a task) until it is told to stop.

    `on_end` is called in that thread when it ends.
    """

    def __init__(
        self,
        step: Callable[[], bool],
        hooks: Hooks,
        name: str,
        patience: Patience | None = None,
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._step = step
        self._on_end = on_end
        self._hooks = hooks
        self._patience = patience or Patience(hooks, name)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def start(self) -> None:
        """Begin."""
        self._started = True
        self._thread.start()

    def stop(self) -> None:
        """Begin no further step. Does not wait: see `join`."""
        self._patience.stop()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended; False if it has not after `timeout` seconds. A loop that was never started has ended."""
        if self._started and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._repeat()
        finally:
            self._on_end()

    def _repeat(self) -> None:
        while not self._patience.stopped:
            try:
                had_task = self._step()
            except Exception as error:
                self._patience.failed(error)
                continue
            self._patience.worked()
            if not had_task and not self._patience.stopped:
                self._hooks.idle()
