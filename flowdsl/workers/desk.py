"""A decider's thread to which pollers bring tasks, where executions come back to the one who keeps them.

Rule 1: what is kept is made, fed and closed on the desk's own thread: branches are greenlets and never leave their thread.
Rule 2: a poller that has brought a task waits until it is handled. So a desk never has more tasks than it has pollers: one of the shared
        list and one of its own.
Rule 3: what the work raises is raised at the poller, who knows how to be patient.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Desk:
    """One daemon thread that does what it is handed, one thing after the other. `on_end` is called on it before it ends."""

    def __init__(self, name: str, on_end: Callable[[], object]) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._on_end = on_end
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def do(self, work: Callable[[], object]) -> None:
        """Do `work` on the desk's thread and wait for it; raises what it raises. Must not be called after `stop`."""
        done = threading.Event()
        raised: list[BaseException] = []

        def outcome() -> None:
            try:
                work()
            except BaseException as error:
                raised.append(error)
            finally:
                done.set()

        self._work.put(outcome)
        done.wait()
        if raised:
            raise raised[0]

    def stop(self) -> None:
        """End after what was handed over before. Does not wait: see `join`."""
        self._work.put(None)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended; False if it has not after `timeout` seconds. A desk that never started has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
        finally:
            self._on_end()
