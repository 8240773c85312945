"""What Python gives to any code by itself (the clock, chance, the world outside), made fit for workflow code.

Rule 1: nothing here acts unless workflow code is running on this very branch (`workflow_runtime()`). Other threads, activities, recorded
        functions and libraries get what they always got, for the price of one look at a context variable.
Rule 2: it is installed once, when the first workflow runs in this process, never by an import.
Rule 3: the clock is history's and chance comes from the run's id and the branch's path, so both are the same in every replay
        (`replaced`). What cannot be had from a history is refused by name, at its line (`guard`).
"""

from __future__ import annotations

import threading

_lock = threading.Lock()
_installed = False


def install() -> None:
    """From now on workflow code has a clock and chance that can be replayed, and no world outside. Idempotent."""
    global _installed  # noqa: PLW0603 - one switch per process
    if _installed:
        return
    with _lock:
        if not _installed:
            from flowdsl.ambient import guard, replaced  # noqa: PLC0415 - they load random, uuid and the like: only who runs workflows pays

            replaced.install()
            guard.install()
            _installed = True
