"""Threads that call the functions of lambda tasks, for a service.

Rule 1: at most `MOST` functions are called at the same time; the others wait their turn, in order. A thread lives while there is
        something to call.
Rule 2: threads are daemons: a function that never returns holds up neither the end of the service nor that of the process. Its task
        has timed out long before.
Rule 3: what a caller raises is a failure of the function, never of the service.
Rule 4: a task that is being called is not called a second time at once, also if the engine, after trouble with its file, asks again.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from flowdsl.engine.lambdas import Invocation, Outcome, failure
from flowdsl.errors import InternalError

if TYPE_CHECKING:
    from flowdsl.engine.deadlines import Ref

_log = logging.getLogger("flowdsl.engine")

Functions = Callable[[Invocation], Outcome]

MOST: Final = 32


class Callers:
    """`functions` called in threads; each outcome is given to `finish`, in the thread of its call."""

    def __init__(self, functions: Functions | None, finish: Callable[[Invocation, Outcome], None]) -> None:
        self._functions = functions
        self._finish = finish
        self._lock = threading.Lock()
        self._waiting: deque[Invocation] = deque()
        self._under_way: set[Ref] = set()
        self._threads = 0

    @property
    def exist(self) -> bool:
        """Whether there is somebody who can call."""
        return self._functions is not None

    def begin(self, call: Invocation) -> None:
        """Let a function be called."""
        if self._functions is None:
            raise InternalError("nobody can call functions here")
        with self._lock:
            if call.ref in self._under_way:
                return
            self._under_way.add(call.ref)
            self._waiting.append(call)
            if self._threads == MOST:
                return
            self._threads += 1
        threading.Thread(target=self._run, args=(self._functions,), name="flowdsl-lambda", daemon=True).start()

    def close(self) -> None:
        """Begin no more calls. Those that are under way are not waited for: what they give is dropped."""
        with self._lock:
            self._waiting.clear()

    def _run(self, functions: Functions) -> None:
        while (call := self._next()) is not None:
            try:
                outcome = functions(call)
            except BaseException as error:  # also SystemExit: it would end the thread in silence
                _log.exception("calling the lambda function %r failed", call.name)
                outcome = failure("Unhandled", str(error), type(error).__name__)
            try:
                self._finish(call, outcome)
            except Exception:
                _log.exception("the outcome of the lambda function %r is lost; its task times out", call.name)
            with self._lock:
                self._under_way.discard(call.ref)

    def _next(self) -> Invocation | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None
