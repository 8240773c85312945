"""The signals of a local run: first in, first out, each once, to the wait that began first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowdsl.errors import Cancelled
from flowdsl.model.carried import split_id

if TYPE_CHECKING:
    from flowdsl.lang.context import Call
    from flowdsl.lang.promises import Promise


class Mailbox:
    """What arrived and was not read, and who waits. `read(call, text)` makes the receiver's value."""

    def __init__(self, read: Callable[[Call, str | None], Any]) -> None:
        self._read = read
        self._seen: set[tuple[str, str]] = set()
        self._unread: dict[str, deque[str | None]] = {}
        self._listeners: dict[str, deque[tuple[Call, Promise[Any]]]] = {}

    def listen(self, call: Call, promise: Promise[Any]) -> None:
        """Settle `promise` with the next signal of the call's name."""
        name = call.target.name
        if self._unread.get(name):
            text = self._unread[name].popleft()
            promise.settle_lazily(lambda: self._read(call, text))
            return
        listeners = self._listeners.setdefault(name, deque())
        listeners.append((call, promise))

        def stop() -> None:
            listeners.remove(next(entry for entry in listeners if entry[1] is promise))
            promise.fail(Cancelled("nobody waits for the signal any more"))

        promise.on_cancel = stop

    def deliver(self, name: str, text: str | None) -> None:
        """A signal arrived."""
        text, signal_id = split_id(text)
        if signal_id is not None:
            if (name, signal_id) in self._seen:
                return
            self._seen.add((name, signal_id))
        listeners = self._listeners.get(name)
        if listeners:
            call, promise = listeners.popleft()
            promise.settle_lazily(lambda: self._read(call, text))
        else:
            self._unread.setdefault(name, deque()).append(text)

    def begin_anew(self) -> None:
        """The next run begins: what is unread stays, who waited is gone."""
        self._listeners.clear()
