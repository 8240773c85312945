"""Where an activity's function runs: in the slot's own thread, on the worker's event loop, or in a process of its own.

Rule 1: an executor returns what the function returned or raises what it raised, whatever that is: `SystemExit` in user code is an outcome
        like any other and ends neither the thread nor the loop.
Rule 2: each function runs in a context of its own, a copy of the one in which the worker was made, with the attempt's scope as the
        current runtime: decorated calls inside it are plain calls.
Rule 3: what can be interrupted says so to the attempt: a coroutine is cancelled, a process is killed with its children. A thread cannot
        be; it hears of its cancellation from `heartbeat()`.
"""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any

from flowdsl.lang.context import current
from flowdsl.plain import call_plainly
from flowdsl.workers.loops import LoopThread
from flowdsl.workers.processes import run_in_process

if TYPE_CHECKING:
    from flowdsl.workers.attempts import Attempt


class Executors:
    """All three of one worker. `context` is what the functions' contexts are copied from."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop = LoopThread()

    def run(self, attempt: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any) -> Any:
        """Run the attempt's function to its end; return its value or raise what it raised."""
        definition = attempt.definition
        if definition.settings.executor == "process":
            return run_in_process(attempt, args, kwargs, instance)
        context = self._context.copy()
        if not definition.is_async:
            return context.run(call_plainly, definition, args, kwargs, instance, attempt.scope)
        context.run(current.set, attempt.scope)
        return self._loop.run(attempt, context, lambda: definition.invoke(args, kwargs, instance))

    def stop(self) -> None:
        """End the event loop; what runs on it is cancelled."""
        self._loop.stop()
