"""Between the event loop and the engine: calls go over to one thread, their answers come back.

Rule 1: the event loop never waits for the engine. Calls are submitted by one writer thread, in the order in which they came; answers come
        back by `call_soon_threadsafe`. What comes while the thread is busy is submitted together, for one commit.
Rule 2: a long poll is a future. Hundreds of them cost their sockets and no thread.
Rule 3: a poll whose client has gone is withdrawn, so that no task is handed to nobody. Any other call that was begun is finished: its
        client may have seen the connection break, and must find on asking again what really happened.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from flowdsl.server import wire


class Ticket(Protocol):
    """A call that was submitted."""

    def cancel(self) -> bool:
        """Withdraw a poll. True: it never gets a task, and `done` is not called. False: it is answered already."""


Done = Callable[[Any], None]

_TURNS: Final = 3


class Service(Protocol):
    """What the server needs of the engine's service: see `flowdsl.engine`."""

    def submit_all(self, calls: Sequence[tuple[str, Mapping[str, Any], Done]]) -> Sequence[Ticket]:
        """Begin calls in this order; each `done` gets its result or exception, once, on any thread, perhaps at once."""

    def backup(self, path: str) -> str:
        """Copy the file to `path` while calls go on; return what names the file on this machine."""

    def close(self) -> None:
        """Store everything and let go of the file."""


class Bridge:
    """Between the event loop and the engine: submits calls to the writer thread, awaits answers, withdraws polls that nobody awaits."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._writer = _Writer(service)
        self._polls: set[_Submitted] = set()
        self._closing = False
        self._copying = asyncio.Semaphore(1)

    async def backup(self, path: str) -> str:
        """Copy the engine's file to the new file `path`; return what names the engine's file. One at a time."""
        async with self._copying:
            return await asyncio.to_thread(self._service.backup, path)

    async def call(self, operation: str, params: Mapping[str, Any], gone: Callable[[], Awaitable[None]]) -> Mapping[str, Any] | None:
        """The operation's result; None for a poll whose client went away.

        `gone` awaits until the client has gone; it is asked for polls only. Raises `Fault`, or whatever the engine raised.
        """
        if operation in wire.EMPTY_POLLS:
            return await self._poll(operation, params, gone)
        # Clients whose end came in before this call have their polls withdrawn before it takes effect, so that what it schedules is not
        # handed to one of them. The loop needs so many turns from the end of a connection, read together with this call, to `withdraw`.
        for _ in range(_TURNS if self._polls else 0):
            await asyncio.sleep(0)
        result: Mapping[str, Any] = await _Submitted(self._writer, operation, params).answer
        return result

    async def _poll(self, operation: str, params: Mapping[str, Any], gone: Callable[[], Awaitable[None]]) -> Mapping[str, Any] | None:
        if self._closing:
            return dict(wire.EMPTY_POLLS[operation])
        poll = _Submitted(self._writer, operation, params)

        async def watch() -> None:
            await gone()
            poll.withdraw(None)

        watcher = asyncio.ensure_future(watch())
        self._polls.add(poll)
        try:
            result: Mapping[str, Any] | None = await poll.answer
            return result
        finally:
            self._polls.discard(poll)
            watcher.cancel()

    def end_polls(self) -> None:
        """Answer every waiting poll empty, and every later one at once."""
        self._closing = True
        for poll in self._polls:
            poll.withdraw(dict(wire.EMPTY_POLLS[poll.operation]))

    async def close(self) -> None:
        """Close the service once what was begun is done. The last call."""
        self.end_polls()
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer.thread, self._service.close)
        finally:
            self._writer.thread.shutdown()


class _Writer:
    """The one thread that touches the service: calls are put in on the loop, and submitted or withdrawn there in that order."""

    def __init__(self, service: Service) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="flowdsl-engine")
        self._service = service
        #: calls to submit, and (with what to answer instead) calls to withdraw
        self._jobs: deque[tuple[_Submitted, tuple[Any] | None]] = deque()

    def submit(self, call: _Submitted) -> None:
        """Submit a call."""
        self._jobs.append((call, None))
        self.thread.submit(self._work)

    def withdraw(self, call: _Submitted, instead: Any) -> None:
        """Take a call back, and answer `instead`; one that is not submitted yet never is."""
        self._jobs.append((call, (instead,)))
        self.thread.submit(self._work)

    def _work(self) -> None:
        calls: list[_Submitted] = []
        while self._jobs:
            call, instead = self._jobs.popleft()
            if instead is None:
                calls.append(call)
            else:  # what came before it is submitted before it, what came after it after it
                self._submit(calls)
                calls = []
                call.cancel(*instead)
        self._submit(calls)

    def _submit(self, calls: list[_Submitted]) -> None:
        calls = [call for call in calls if call.wanted]
        if not calls:
            return
        try:
            tickets = self._service.submit_all([(call.operation, call.params, call.done) for call in calls])
        except Exception as error:
            for call in calls:
                call.done(error)
            return
        for call, ticket in zip(calls, tickets, strict=True):
            call.ticket = ticket


class _Submitted:
    """One call on its way: made and withdrawn on the loop, submitted and cancelled on the writer thread, in that order.

    `answer` becomes the engine's answer or exception or, if the call was withdrawn in time, what `withdraw` was given instead.
    """

    def __init__(self, writer: _Writer, operation: str, params: Mapping[str, Any]) -> None:
        self.operation = operation
        self.params = params
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ticket: Ticket | None = None
        #: whether anybody waits for its answer
        self.wanted = True
        self._writer = writer
        writer.submit(self)

    def withdraw(self, instead: Any) -> None:
        """Let `answer` be `instead`, unless the engine's answer is there or on its way."""
        if self.wanted:
            self.wanted = False
            self._writer.withdraw(self, instead)

    def cancel(self, instead: Any) -> None:
        """On the writer thread, after it was submitted or passed over."""
        if self.ticket is None or self.ticket.cancel():
            self.done(instead)

    def done(self, outcome: Any) -> None:
        """The engine's answer or exception, on any thread."""
        self.answer.get_loop().call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Any) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
            self.answer.exception()  # it counts as seen: the task that awaited it may have been cancelled
        else:
            self.answer.set_result(outcome)
