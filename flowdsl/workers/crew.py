"""The threads of one task list: some poll, the others run what was found.

Rule 1: whoever gets a task hands the polling on and runs the task itself: a task never changes threads between poll and response. One poll
        is open while nothing comes (idle polls cost, and the service limits them). Each poll that brings a task allows one more, up to
        `pollers`, so that a busy list is polled by as many as there are free slots; each that does not, and any failure, takes that back.
Rule 2: a poll begins only when there is a slot for the task it may bring.
Rule 3: slots are shared by the task lists of a worker, but each list always has one of its own: a list that is busy cannot starve
        another one, and an idle poll of a minute's length cannot either.
Rule 4: threads are made when they are needed, and are daemons: what ignores its cancellation cannot keep a process alive.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flowdsl.errors import DefinitionError

if TYPE_CHECKING:
    from flowdsl.workers.hooks import Hooks
    from flowdsl.workers.polling import Patience

log = logging.getLogger("flowdsl.worker")

Task = dict[str, Any]


class Slots:
    """`total` slots for the task lists `names`. Raises `DefinitionError` if there are fewer slots than lists."""

    def __init__(self, total: int, names: Sequence[str]) -> None:
        if total < len(names):
            raise DefinitionError(f"slots={total} cannot serve {len(names)} task lists: an open poll of each holds one slot")
        self._total = total
        self._held = dict.fromkeys(names, 0)
        self._changed = threading.Condition()
        self._closed = False

    def take(self, name: str) -> bool:
        """Wait for a slot for this list. False: `close` was called."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._may_take(name))
            if self._closed:
                return False
            self._held[name] += 1
            return True

    def give(self, name: str) -> None:
        """Give a slot back."""
        with self._changed:
            self._held[name] -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Give out no more slots."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _may_take(self, name: str) -> bool:
        reserved = sum(1 for other, held in self._held.items() if other != name and not held)
        return self._total - sum(self._held.values()) > reserved


class Crew:
    """The threads that serve one task list, `size` at most, of which `pollers` at most poll.

    `poll` returns a task or None and may raise; `run` runs one and returns whether its thread is still expected back: False means that
    somebody else has answered the task and written the thread off. `on_end` is called whenever the last thread has left.
    """

    def __init__(
        self,
        name: str,
        *,
        poll: Callable[[], Task | None],
        run: Callable[[Task], bool],
        slots: Slots,
        size: int,
        patience: Patience,
        hooks: Hooks,
        on_end: Callable[[], object],
        pollers: int = 1,
    ) -> None:
        self._name = name
        self._poll = poll
        self._run = run
        self._slots = slots
        self._size = size
        self._patience = patience
        self._hooks = hooks
        self._on_end = on_end
        self._pollers = pollers
        self._allowed = 1
        self._polling = 0
        self._changed = threading.Condition()
        self._waiting = 0
        self._living = 0
        self._made = 0

    @property
    def living(self) -> int:
        """How many threads there are, without those that were written off."""
        return self._living

    def start(self) -> None:
        """Begin to poll."""
        self._recruit()

    def stop(self) -> None:
        """Begin no further poll. Does not wait: see `join`."""
        self._patience.stop()
        with self._changed:
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no thread is left but those that were written off; False if there still is one after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._living, timeout)

    def write_off(self) -> None:
        """Wait no more for one of the threads: the task it runs was answered for it."""
        self._leave()

    def _leave(self) -> None:
        with self._changed:
            self._living -= 1
            last = not self._living
            self._changed.notify_all()
        if last:
            self._on_end()

    def _recruit(self) -> None:
        """See to it that as many poll, or wait for their turn to, as may."""
        numbers = []
        with self._changed:
            while self._waiting + self._polling < self._allowed and self._living < self._size and not self._patience.stopped:
                self._waiting += 1
                self._living += 1
                self._made += 1
                numbers.append(self._made)
        for number in numbers:
            threading.Thread(target=self._body, name=f"flowdsl-activity-{self._name}-{number}", daemon=True).start()

    def _body(self) -> None:
        expected = True
        while expected and not self._patience.stopped:
            task = self._lead()
            with self._changed:
                self._waiting += task is None
            if task is not None:
                self._recruit()
                expected = self._work(task)
                with self._changed:
                    self._waiting += expected
        if expected:
            with self._changed:
                self._waiting -= 1
            self._leave()

    def _work(self, task: Task) -> bool:
        try:
            return self._run(task)
        except Exception as error:  # a bug of ours: the task times out, the others go on
            log.exception("a task of %r could not be run", self._name)
            self._hooks.report(error, {"taskList": self._name})
            return True
        finally:
            self._slots.give(self._name)

    def _lead(self) -> Task | None:
        """Wait for a turn and poll once. Who calls was counted as waiting; afterwards nobody is."""
        with self._changed:
            self._changed.wait_for(lambda: self._polling < self._allowed or self._patience.stopped)
            self._waiting -= 1
            self._polling += 1
        task = None
        try:
            if not self._patience.stopped and self._slots.take(self._name):
                task = self._poll_once()
        finally:
            with self._changed:
                self._polling -= 1
                self._changed.notify_all()
        return task

    def _poll_once(self) -> Task | None:
        try:
            task = self._poll()
        except Exception as error:
            self._slots.give(self._name)
            with self._changed:
                self._allowed = 1
            self._patience.failed(error)  # still counted as polling: nobody takes this turn meanwhile
            return None
        self._patience.worked()
        with self._changed:
            self._allowed = max(1, self._allowed - 1) if task is None else min(self._pollers, self._allowed + 1)
        if task is None:
            self._slots.give(self._name)
            if not self._patience.stopped:
                self._hooks.idle()
        return task
