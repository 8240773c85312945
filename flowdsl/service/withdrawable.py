"""Polls that can be taken back, where the transport can do that without swallowing a task.

Rule 1: the embedded engine can: a poll whose ticket was cancelled never receives a task. A stop is immediate there.
Rule 2: Amazon SWF cannot: a poll whose connection is closed may still be given a task, which then waits for its timeout. There an open
        poll is waited for, and its task is done.
Rule 3: after `withdraw` no poll begins any more: it comes back empty at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from flowdsl.service.transport import Transport, begins_poll


class Ticket(Protocol):
    """A call that was submitted."""

    def cancel(self) -> bool:
        """Withdraw a waiting poll. True: it gets no task, and `done` is never called. False: it is answered already."""


@runtime_checkable
class Submits(Protocol):
    """A transport that can begin a call without waiting for its answer: the embedded engine's service."""

    def submit(self, operation: str, params: Mapping[str, Any], done: Callable[[Any], None], /) -> Ticket:
        """Begin a call; `done` gets its answer or its exception exactly once, on any thread, perhaps at once."""


class Withdrawable:
    """A transport whose polls end when `withdraw` is called."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._submit = transport.submit if isinstance(transport, Submits) else None
        self._lock = threading.Lock()
        self._open: set[_Poll] = set()
        self._withdrawn = False

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Perform the operation; a poll that is withdrawn meanwhile is answered without a task. Raises `Fault`."""
        if not begins_poll(operation, params):
            return self._transport.call(operation, params)
        if self._withdrawn:
            return {"startedEventId": 0}
        return self._transport.call(operation, params) if self._submit is None else self._poll(self._submit, operation, params)

    def withdraw(self) -> None:
        """End the open polls that can be ended, and let no poll begin any more."""
        with self._lock:
            self._withdrawn = True
            polls = list(self._open)
        for poll in polls:
            poll.withdraw()

    def _poll(self, submit: Callable[..., Ticket], operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        poll = _Poll()
        with self._lock:
            if self._withdrawn:
                return {"startedEventId": 0}
            self._open.add(poll)
        try:
            poll.ticket = submit(operation, params, poll.answered)
            self._withdraw_late(poll)
            return poll.wait()
        except BaseException:  # Ctrl-C while waiting: a task must not go to a caller who is gone
            poll.withdraw()
            raise
        finally:
            with self._lock:
                self._open.discard(poll)

    def _withdraw_late(self, poll: _Poll) -> None:
        """Do what `withdraw` could not do to a poll that had no ticket yet."""
        if self._withdrawn:
            poll.withdraw()


class _Poll:
    """One poll and its answer."""

    __slots__ = ("_answer", "_ready", "ticket")

    def __init__(self) -> None:
        self.ticket: Ticket | None = None
        self._ready = threading.Event()
        self._answer: Any = None

    def answered(self, answer: Any) -> None:
        self._answer = answer
        self._ready.set()

    def withdraw(self) -> None:
        """Cancel it, if it was given a ticket; an answer that is there already, or on its way, stays."""
        if self.ticket is not None and self.ticket.cancel():
            self.answered({"startedEventId": 0})

    def wait(self) -> dict[str, Any]:
        self._ready.wait()
        if isinstance(self._answer, BaseException):
            raise self._answer
        answer: dict[str, Any] = self._answer
        return answer
