"""Runs plain functions on behalf of a run: here and now, in this process, under a scope that makes inner calls plain again."""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from flowdsl.lang.context import current

if TYPE_CHECKING:
    from flowdsl.lang.scope import ActivityScope


class OutOfTime(Exception):
    """The limit of `call_within` was over."""


def call_plainly(definition: Any, args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any, scope: ActivityScope) -> Any:
    """Run a definition's plain function (a coroutine to its end) with `scope` as the current runtime."""
    token = current.set(scope)
    try:
        value = definition.invoke(args, kwargs, instance)
        return run_coroutine(value) if inspect.iscoroutine(value) else value
    finally:
        current.reset(token)


def call_within(seconds: float | None, function: Callable[[], Any]) -> Any:
    """Run `function`; with a limit, in a thread of its own that is left behind when the time is over. Raises `OutOfTime` then."""
    if seconds is None:
        return function()
    outcome: list[tuple[Any, BaseException | None]] = []

    def body() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            outcome.append((None, error))

    thread = threading.Thread(target=copy_context().run, args=(body,), daemon=True, name="flowdsl-activity")
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise OutOfTime
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a real event loop, in a thread of its own if this thread has a running one (a notebook, an async workflow)."""
    import asyncio  # noqa: PLC0415 - only `async def` functions pay for it

    if asyncio._get_running_loop() is None:  # noqa: SLF001 - public `get_running_loop` raises; this is its documented low-level twin
        return asyncio.run(coroutine)
    return call_within(float(threading.TIMEOUT_MAX), lambda: asyncio.run(coroutine))


@contextlib.contextmanager
def outside_event_loops() -> Iterator[None]:
    """Hide the thread's running event loop (a notebook's, an async caller's) from workflow code, which brings its own if it needs one."""
    asyncio = sys.modules.get("asyncio")
    outer = asyncio._get_running_loop() if asyncio is not None else None
    if asyncio is None or outer is None:
        yield
        return
    swap = getattr(asyncio.tasks, "_swap_current_task", None)  # 3.12 and later; before, tasks of two loops do not disturb each other
    task = swap(outer, None) if swap is not None else None
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)
        if swap is not None:
            swap(outer, task)
