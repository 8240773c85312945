"""The event loop of a worker: one thread, all its `async def` activities.

Rule 1: the thread is made when the first coroutine comes, and ends by `stop`, which cancels what still runs.
Rule 2: whatever a coroutine raises, `SystemExit` too, is its outcome and does not reach the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

from flowdsl.errors import Cancelled

if TYPE_CHECKING:
    from flowdsl.workers.attempts import Attempt


class LoopThread:
    """Runs coroutines for other threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: _Live | None = None

    def run(self, attempt: Attempt, context: Context, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run the coroutine that `begin` returns, in `context`; wait for it.

        A cancellation of the attempt cancels it, and is then raised as `Cancelled`.
        """
        with self._lock:
            if self._live is None:
                self._live = _Live()
            live = self._live
        value, error = live.run(attempt, context, begin)
        if isinstance(error, asyncio.CancelledError) and attempt.reason is not None:
            raise Cancelled(f"{attempt.about.name} was asked to stop") from error
        if error is not None:
            raise error
        return value

    def stop(self) -> None:
        """End the loop, if there is one. Does not wait."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.end()


class _Live:
    """A running loop and its thread."""

    def __init__(self) -> None:
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(ready)), name="flowdsl-activity-loop", daemon=True).start()
        ready.wait()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        ready.set()
        await self._ending.wait()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)

    def run(self, attempt: Attempt, context: Context, begin: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, BaseException | None]:
        loop = self._loop
        ended = threading.Event()
        tasks: list[asyncio.Task[tuple[Any, BaseException | None]]] = []

        async def body() -> tuple[Any, BaseException | None]:
            try:
                return await begin(), None
            except BaseException as error:
                return None, error

        def start() -> None:
            task = loop.create_task(body(), context=context)
            tasks.append(task)
            task.add_done_callback(lambda _: ended.set())
            attempt.interruptible(lambda: loop.call_soon_threadsafe(task.cancel))

        loop.call_soon_threadsafe(start)
        ended.wait()
        return (None, asyncio.CancelledError()) if tasks[0].cancelled() else tasks[0].result()
