"""One call of a child workflow: its attempts, each a run beside its parent's on the same thread.

Rule 1: the child's outcome settles the call's promise as it would on a service: a failure as the exception itself, because of
        `ChildFailed`; a timeout or a termination as `ChildFailed`.
Rule 2: cancelling the call settles its promise at once; a child that has begun is asked to end, and its parent waits for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowdsl.data.failures import reason_of
from flowdsl.errors import AlreadyRunning, Cancelled, ChildFailed

if TYPE_CHECKING:
    from flowdsl.lang.context import Call
    from flowdsl.lang.promises import Promise
    from flowdsl.local.run import LocalRun


class ChildCall:
    """`make()` gives the run of one attempt; `promise` is the caller's."""

    def __init__(self, parent: LocalRun, call: Call, promise: Promise[Any], make: Callable[[], LocalRun]) -> None:
        self._parent = parent
        self._call = call
        self._promise = promise
        self._make = make
        self._attempt = 0
        self._began = time.monotonic()
        self._waits: Promise[Any] | None = None  # for its next attempt
        self.run: LocalRun | None = None
        promise.on_cancel = self._cancel

    def begin(self) -> None:
        """Begin the next attempt."""
        self._attempt += 1
        self._waits = None
        self.run = self._make()
        try:
            self.run.begin()
        except AlreadyRunning:
            failure = self._failure("NOT_STARTED", "WORKFLOW_ALREADY_RUNNING")
            self._failed("failed_to_schedule", failure, failure)
        else:
            self.run.outcome.subscribe(self._ended)

    def request_cancel(self) -> None:
        """Ask the child that runs to end, once."""
        if self.run is not None:
            self.run.request_cancel()

    def _cancel(self) -> None:
        self._promise.fail(Cancelled(f"{self._call.name} ({self._promise.call_id}) was cancelled"))
        if self._waits is not None:
            self._waits.cancel()
            self._over()
        elif self.run is not None and not self.run.withdraw():
            self.run.request_cancel()

    def _ended(self, outcome: Promise[Any]) -> None:
        run = self.run
        if run is None or self._promise.is_ready():
            self._over()
        elif not outcome.failed:
            self._over()
            self._promise.settle(outcome.result())
        elif run.status == "CANCELED":
            self._over()
            self._promise.fail(Cancelled(f"child workflow {self._call.target.name} ({self._promise.call_id}) was cancelled"))
        else:
            error = outcome.exception()
            assert error is not None
            reason = run.ended_because or reason_of(error)
            failure = self._failure(run.status, reason)
            final = failure if run.ended_because else self._parent.values.attach_cause(error, failure)
            self._failed("timed_out" if run.status == "TIMED_OUT" else "failed", error, final)

    def _failed(self, state: str, error: BaseException, final: BaseException) -> None:
        call_id = self._promise.call_id
        delay = self._parent.next_delay(self._call, call_id, state, error, self._attempt, self._began)
        if delay is None:
            self._over()
            self._promise.fail(final)
            return
        self._waits = self._parent.pause(self._call.name, delay)
        self._waits.subscribe(lambda timer: None if timer.failed else self.begin())

    def _over(self) -> None:
        self._parent.child_is_over(self)

    def _failure(self, status: str, reason: str) -> ChildFailed:
        name, call_id = self._call.target.name, self._promise.call_id
        text = f"child workflow {name} ({call_id}) ended {status}: {reason}"
        return ChildFailed(text, name=name, call_id=call_id, attempt=self._attempt, status=status, reason=reason)
