"""A runtime for the tests of the language: the four verbs, a list of what was started, and a script of what settles when."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

import pytest

from flowdsl.errors import Cancelled
from flowdsl.lang.context import current
from flowdsl.lang.promises import Promise


class ScriptedRuntime:
    """Every call stays open until somebody waits; then open calls settle one by one, the oldest first (or the newest, `order=-1`)."""

    transparent = False

    def __init__(self, order=0):
        self.calls = []
        self.open = []
        self.most_open = 0
        self.order = order
        self.settled = 0
        self.signals = deque()
        self.listening = deque()
        self.waits = []

    # the four verbs

    def start(self, call):
        self.calls.append(call)
        promise = Promise(self, f"{call.name}-{len(self.calls)}")
        if call.kind == "signal":
            self._listen(call, promise)
            return promise
        self.open.append((call, promise))
        self.most_open = max(self.most_open, len(self.open))
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_soon(self.settle_next)
        return promise

    def wait(self, ready, promises, timeout):
        self.waits.append(timeout)
        while not ready():
            if not self.open:
                assert timeout is not None, "the workflow waits for ever"
                return False
            self.settle_next()
        return True

    def spawn(self, fn, args, kwargs):
        return Promise.of(lambda: fn(*args, **kwargs))

    def info(self):
        raise AssertionError("not asked for here")

    # the script

    def settle_next(self):
        call, promise = self.open.pop(self.order)
        self._finish(promise, lambda: None if call.kind in ("timer", "send") else self._outside(call))

    def deliver(self, *args, **kwargs):
        if self.listening:
            call, promise = self.listening.popleft()
            self._finish(promise, lambda: call.target.invoke(args, kwargs))
        else:
            self.signals.append((args, kwargs))

    def _listen(self, call, promise):
        if self.signals:
            args, kwargs = self.signals.popleft()
            promise.settle_lazily(lambda: call.target.invoke(args, kwargs))
            return
        entry = (call, promise)
        self.listening.append(entry)

        def withdraw():
            self.listening.remove(entry)
            promise.fail(Cancelled("nobody waits any more"))

        promise.on_cancel = withdraw

    def _finish(self, promise, function):
        self.settled += 1
        promise.settled_at = self.settled
        try:
            promise.settle(function())
        except Exception as error:
            promise.fail(error)

    def _outside(self, call):
        token = current.set(Transparent())
        try:
            value = call.target.invoke(call.args, call.kwargs, call.instance)
            return _finish_coroutine(value) if asyncio.iscoroutine(value) else value
        finally:
            current.reset(token)


def _finish_coroutine(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the tests' async functions await nothing")


class Transparent:
    """As much of an activity's scope as a decorated call asks for."""

    transparent = True


@pytest.fixture
def inside():
    """`with inside() as runtime:` is the inside of a workflow; `inside(order=-1)` settles the newest call first."""

    @contextlib.contextmanager
    def enter(**how):
        runtime = ScriptedRuntime(**how)
        token = current.set(runtime)
        try:
            yield runtime
        finally:
            current.reset(token)

    return enter


@pytest.fixture
def in_activity():
    """The inside of an activity."""
    token = current.set(Transparent())
    yield
    current.reset(token)


@pytest.fixture
def direct(monkeypatch):
    """A local runtime that keeps the calls it ran."""
    from flowdsl.lang import context

    calls = []

    def run(call):
        calls.append(call)
        value = call.target.invoke(call.args, call.kwargs, call.instance)
        return _finish_coroutine(value) if asyncio.iscoroutine(value) else value

    monkeypatch.setattr(context, "_direct", run)
    return calls
