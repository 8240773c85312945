"""The same calls, run now: this process, serial, nothing stored.

Rule 1: branches, scopes, waiting and asyncio are the replayer's own (`replay.branches`); what differs is that activities run at once,
        in the call, and that time is the machine's.
Rule 2: values pass through the same text as on every other backend, so what a function returns here is what it returns there.
Rule 3: the loop sleeps only when no branch can run: until the next timer, or until somebody outside signals or cancels.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from flowdsl import ambient, desk
from flowdsl.data.failures import reason_of
from flowdsl.errors import (
    ActivityTimedOut,
    AlreadyRunning,
    Cancelled,
    CancelRequested,
    ChildFailed,
    ContinueAsNew,
    SignalFailed,
    WorkflowTerminated,
)
from flowdsl.lang import outside
from flowdsl.lang.context import Call, Info, inside, outside_workflow
from flowdsl.lang.promises import Promise
from flowdsl.lang.scope import ActivityScope
from flowdsl.limits import clean_id, seconds
from flowdsl.mailbox import Mailbox
from flowdsl.plain import OutOfTime, call_plainly, call_within, outside_event_loops
from flowdsl.replay.branches import Branch, Hub, Scope, scope
from flowdsl.replay.operations import activity_failed, with_own_id
from flowdsl.replay.retry import next_delay

if TYPE_CHECKING:
    from random import Random

    from flowdsl.replay.ports import Values

_running: dict[str, LocalRun] = {}
_running_lock = threading.Lock()


class LocalRun:
    """One execution of a workflow in this process; the runtime of its code."""

    transparent = False

    def __init__(self, call: Call, values: Values, workflow_id: str | None = None, parent: LocalRun | None = None) -> None:
        ambient.install()
        self.call = call
        self.values = values
        own = call.options.id if call.options is not None else None
        self.workflow_id = workflow_id or own or clean_id(f"{call.name}-{uuid.uuid4().hex[:12]}")
        self.run_id = uuid.uuid4().hex
        self.published: Any = None
        self.marks: list[tuple[str, Any]] = []
        self.status = "OPEN"
        self._parent = parent
        self._started = datetime.now(UTC)
        self._spawned: dict[Promise[Any], None] = {}
        self._timers: list[tuple[float, int, Promise[Any]]] = []
        self._numbers = itertools.count()
        self._inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._mailbox = Mailbox(self._read_signal)
        self.handle: Any = None  # the LocalExecution
        self._cancel_requested = False
        self._starters: dict[str, Callable[[Call], Promise[Any]]] = {
            "activity": self._activity,
            "cached": self._cached,
            "timer": self._timer,
            "sleep": lambda call: self._timer_promise(call, call.args[0]),
            "workflow": self._child,
            "signal": self._signal,
            "send": self._send,
            "marker": self._mark,
            "publish": self._publish,
            "patched": lambda _: Promise.of(lambda: True),
        }

    # --- running

    def run(self) -> Any:
        """Run to the end; return the workflow's value or raise what it raised."""
        with _running_lock:
            if self.workflow_id in _running:
                raise AlreadyRunning(
                    f"the workflow id {self.workflow_id!r} belongs to a local workflow that is running in this process. "
                    "Wait for it with the handle that start() gave, or choose another id"
                )
            _running[self.workflow_id] = self
        try:
            while True:
                try:
                    with outside_event_loops():
                        return self._run_once()
                except ContinueAsNew as request:
                    self._begin_anew(request)
        finally:
            with _running_lock:
                del _running[self.workflow_id]

    def _run_once(self) -> Any:
        target, values = self.call.target, self.values
        self._hub = Hub(self)  # here, because its greenlets belong to the thread that runs
        self._main = Branch("", Promise(self, "the workflow"))
        args, kwargs = values.decode_call(target, values.encode_call(target, self.call.args, self.call.kwargs))
        self._hub.begin(self._main, Scope(), target.invoke, (args, kwargs, self.call.instance), {})
        main = self._main.promise
        try:
            while True:
                self._hub.run()
                if main.is_ready() and (main.failed or not self._spawned):
                    break
                self._sleep_until_something_happens()
        finally:
            self._hub.close()
        try:
            value = main.result()
        except CancelRequested:
            self.status = "CANCELED"
            raise Cancelled(f"the workflow {self.workflow_id} was cancelled") from None
        except ContinueAsNew:
            raise
        except BaseException:
            self.status = "TERMINATED" if self.status == "TERMINATED" else "FAILED"
            raise
        self.status = "COMPLETED"
        return values.decode_result(target, values.encode_result(target, value))

    def _begin_anew(self, request: ContinueAsNew) -> None:
        call = self.call
        self.call = Call(call.kind, call.name, request.call_args, request.call_kwargs, call.target, call.options, call.instance)
        self.run_id = uuid.uuid4().hex
        self._timers.clear()
        self._mailbox.begin_anew()

    def _sleep_until_something_happens(self) -> None:
        """Wait for the next timer, or for a message from outside, whichever is first."""
        limit = self._settle_due_timers()
        if limit is not None and limit <= 0:
            return
        try:
            kind, message = self._inbox.get(timeout=limit)
        except queue.Empty:
            self._settle_due_timers()
            return
        if kind == "signal":
            self._mailbox.deliver(*message)
        elif kind == "call":
            message()
        elif kind == "cancel":
            self._cancel_requested = True
            self._hub.interrupt(self._main, CancelRequested())
        else:
            self.status = "TERMINATED"
            error = WorkflowTerminated(message or "it was terminated", workflow_id=self.workflow_id, run_id=self.run_id, reason=message)
            self._hub.interrupt(self._main, error)

    def _settle_due_timers(self) -> float | None:
        """Settle what is due; return seconds until the next timer, 0 if something was settled, None if there is none."""
        now = time.monotonic()
        settled = False
        is_settled = Promise.is_ready  # not the timers' own, which looks here
        while self._timers and (is_settled(self._timers[0][2]) or self._timers[0][0] <= now):
            promise = heapq.heappop(self._timers)[2]
            if not is_settled(promise):
                promise.settle(None)
                settled = True
        if settled:
            return 0.0
        return self._timers[0][0] - now if self._timers else None

    # --- from outside, any thread

    def signal(self, name: str, text: str | None) -> None:
        """Hand a signal in."""
        self._inbox.put(("signal", (name, text)))

    def cancel(self) -> None:
        """Ask the workflow to end."""
        self._inbox.put(("cancel", None))

    def terminate(self, reason: str) -> None:
        """End the workflow at its next wait."""
        self._inbox.put(("terminate", reason))

    # --- the four verbs

    def start(self, call: Call) -> Promise[Any]:
        """Run the call now; a timer's promise is settled when its time has come."""
        self._hub.refuse_if_closing()
        self._hub.here()
        with outside_workflow():
            return self._starters[call.kind](call)

    def wait(self, ready: Callable[[], bool], promises: Sequence[Promise[Any]], timeout: float | None) -> bool:
        """Suspend the running branch."""
        if timeout is None:
            self._hub.wait(ready, promises)
            return True
        self._hub.refuse_if_closing()
        self._hub.here()
        if ready() or timeout == 0:
            return ready()
        timer = self._timer_promise(Call("sleep", "timeout"), seconds(timeout, "timeout") or 0.0)
        self._hub.wait(lambda: timer.is_ready() or ready(), (*promises, timer) if promises else ())
        if not ready():
            return False
        timer.cancel()
        return True

    def spawn(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Promise[Any]:
        """Run ordinary workflow code as a concurrent branch."""
        self._hub.here()
        inner = scope.get().child(clean_id(getattr(fn, "__name__", type(fn).__name__)))
        promise: Promise[Any] = Promise(self, inner.path.rstrip("."))
        branch = Branch(promise.call_id, promise)
        promise.on_cancel = lambda: self._hub.interrupt(branch, Cancelled(f"the branch {branch.name} was cancelled"))
        self._spawned[promise] = None
        promise.subscribe(lambda done: self._spawned.pop(done, None))
        self._hub.begin(branch, inner, fn, args, kwargs)
        return promise

    def chance(self) -> Random:
        """The random numbers of the running branch."""
        return scope.get().chance(self.run_id)

    def info(self) -> Info:
        """What the running code may know of itself."""
        target = self.call.target
        parent = (self._parent.workflow_id, self._parent.run_id) if self._parent is not None else None
        return Info(
            kind="workflow", name=target.name, version=target.version, workflow_id=self.workflow_id, run_id=self.run_id,
            now=datetime.now(UTC), started=self._started, backend="local", tags=target.settings.tags, parent=parent,
        )  # fmt: skip

    # --- calls

    def _activity(self, call: Call) -> Promise[Any]:
        call_id = scope.get().next_id(call.name)
        text = self.values.encode_call(call.target, call.args, call.kwargs)
        if call.options is not None and call.options.manual:
            return self._manual(call, call_id, text)
        return Promise.of(lambda: self._attempts(call, call_id, text))

    def _manual(self, call: Call, call_id: str, text: str) -> Promise[Any]:
        """Run the function; what it returns is nothing, somebody ends the promise by its token. No second attempt is made here."""
        promise: Promise[Any] = Promise(self, call_id)
        promise.on_cancel = lambda: promise.fail(Cancelled(f"{call.name} was cancelled"))
        token = desk.wait_for(promise, uuid.uuid4().hex, lambda do: self._inbox.put(("call", do)), partial(self._final, call, call_id, 1))
        try:
            self._attempt(call, text, self._about(call, call_id, task_token=token), [None])
        except Exception as error:  # noqa: BLE001 - what the function raises is the activity's end, as everywhere
            promise.fail(self._final(call, call_id, 1, error))
        if call.options is not None and call.options.timeout is not None and not promise.is_ready():
            late = self._timer_promise(Call("sleep", call.name), call.options.timeout)
            late.subscribe(lambda _: None if promise.is_ready() else promise.fail(self._late(call, call_id, 1)))
        return promise

    def _attempts(self, call: Call, call_id: str, text: str) -> Any:
        """Run attempts under the call's policy until one gives a value."""
        beats: list[Any] = [None]  # the details of the last heartbeat
        began = time.monotonic()
        for attempt in itertools.count(1):
            error: Exception
            try:
                return self._attempt(call, text, self._about(call, call_id, attempt=attempt, heartbeat_details=beats[0]), beats)
            except OutOfTime:
                state, error = "timed_out", self._late(call, call_id, attempt)
            except Exception as raised:
                state, error = "failed", raised
            if not self._try_again(call, call_id, state, error, attempt, began):
                raise self._final(call, call_id, attempt, error)
        raise AssertionError

    def _try_again(self, call: Call, call_id: str, state: str, error: BaseException, attempt: int, began: float) -> bool:
        """Ask the call's policy; wait for the next attempt if there is one."""
        policy = call.options.retry if call.options is not None else None
        seed, elapsed = f"{self.run_id}/{call_id}", time.monotonic() - began
        delay = next_delay(policy, state=state, error=error, attempt=attempt, elapsed=elapsed, seed=seed)
        if delay:
            self._timer_promise(Call("sleep", call.name), delay).result()
        return delay is not None

    def _attempt(self, call: Call, text: str, about: Info, beats: list[Any]) -> Any:
        target, values = call.target, self.values
        args, kwargs = values.decode_call(target, text)

        def beat(details: Any) -> None:
            beats[0] = details

        limit = call.options.timeout if call.options is not None else None
        value = call_within(limit, lambda: call_plainly(target, args, kwargs, call.instance, ActivityScope(about, beat)))
        return values.decode_result(target, values.encode_result(target, value))

    def _about(self, call: Call, call_id: str, **more: Any) -> Info:
        """What an activity or a recorded function may know of itself."""
        target = call.target
        key = f"{self.workflow_id}.{self.run_id}.{call_id}"
        return Info(
            kind=call.kind, name=target.name, version=target.version, workflow_id=self.workflow_id, run_id=self.run_id, call_id=call_id,
            idempotency_key=key, backend="local", **more,
        )  # fmt: skip

    @staticmethod
    def _late(call: Call, call_id: str, attempt: int) -> ActivityTimedOut:
        kind, name = "START_TO_CLOSE", call.target.name
        text = f"activity {name} ({call_id}, attempt {attempt}) timed out: it ran longer than its timeout ({kind})"
        return ActivityTimedOut(text, kind=kind, name=name, call_id=call_id, attempt=attempt)

    def _final(self, call: Call, call_id: str, attempt: int, error: BaseException) -> BaseException:
        if isinstance(error, ActivityTimedOut):
            return error
        reason = reason_of(error)
        return self.values.attach_cause(error, activity_failed(call.target.name, call_id, attempt, reason))

    def _cached(self, call: Call) -> Promise[Any]:
        call_id = scope.get().next_id(call.name)

        def body() -> Any:
            try:
                value = call_plainly(call.target, call.args, call.kwargs, call.instance, ActivityScope(self._about(call, call_id)))
            except Exception as error:
                raise self._final(call, call_id, 1, error) from error.__cause__
            return self.values.decode_outcome(call.target, self.values.encode_outcome(call.target, value, None))[0]

        return Promise.of(body)

    def _timer(self, call: Call) -> Promise[Any]:
        call_id = scope.get().next_id(call.name)
        try:
            value = call_plainly(call.target, call.args, call.kwargs, call.instance, ActivityScope(self._about(call, call_id)))
            delay = outside.delay_from_now(value, f"the timer {call.target.name}()")
        except Exception as error:  # noqa: BLE001 - as on the other backends, the promise fails
            promise: Promise[Any] = Promise(self, call_id)
            promise.fail(self._final(call, call_id, 1, error))
            return promise
        return self._timer_promise(call, delay)

    def _timer_promise(self, call: Call, delay: float) -> Promise[Any]:
        promise: Promise[Any] = _LocalTimer(self, call.name)
        promise.on_cancel = lambda: promise.fail(Cancelled(f"{call.name} was cancelled"))
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._numbers), promise))
        return promise

    def _child(self, call: Call) -> Promise[Any]:
        call_id = scope.get().next_id(call.name)

        def body() -> Any:
            own = call.options.id if call.options is not None else None
            began = time.monotonic()
            for attempt in itertools.count(1):
                child = LocalRun(call, self.values, clean_id(own or f"{self.workflow_id}.{call_id}.{self.run_id[:8]}"), self)
                try:
                    return self._run_child(child)
                except Exception as error:
                    if not self._try_again(call, call_id, "failed", error, attempt, began):
                        reason = reason_of(error)
                        text = f"child workflow {call.target.name} ({call_id}) ended FAILED: {reason}"
                        failure = ChildFailed(text, name=call.target.name, call_id=call_id, attempt=attempt, reason=reason)
                        raise self.values.attach_cause(error, failure) from error.__cause__
            raise AssertionError

        return Promise.of(body)

    def _run_child(self, child: LocalRun) -> Any:
        """Run a child to its end inside the branch that calls it; the branch's event loop is not the child's."""
        loop = self._hub.here().loop
        if loop is None:
            return child.run()
        loop.leave()
        try:
            return child.run()
        finally:
            loop.enter()

    def _send(self, call: Call) -> Promise[Any]:
        workflow_id, *args = call.args
        text = self.values.encode_call(call.target, tuple(args), call.kwargs)
        return Promise.of(lambda: self._send_until_it_arrives(call, workflow_id, with_own_id(call.target, text)))

    def _send_until_it_arrives(self, call: Call, workflow_id: str, text: str) -> None:
        began = time.monotonic()
        for attempt in itertools.count(1):
            try:
                return send_locally(workflow_id, call.target.name, text)
            except SignalFailed as error:
                if not self._try_again(call, f"{call.name}-{workflow_id}", "failed", error, attempt, began):
                    raise
        return None

    def _mark(self, call: Call) -> Promise[Any]:
        self.marks.append((call.name, call.args[0]))
        return Promise.of(lambda: None)

    def _publish(self, call: Call) -> Promise[Any]:
        name = self.call.target.name
        self.published = self.values.decode_plain(name, "published", self.values.encode_plain(name, "published", call.args[0]))
        return Promise.of(lambda: None)

    # --- signals

    def _signal(self, call: Call) -> Promise[Any]:
        promise: Promise[Any] = Promise(self, f"signal {call.name}")
        while not self._inbox.empty():
            self._sleep_until_something_happens()
        self._mailbox.listen(call, promise)
        return promise

    def _read_signal(self, call: Call, text: str | None) -> Any:
        args, kwargs = self.values.decode_call(call.target, text)
        with inside(self):
            return call.target.invoke(args, kwargs, call.instance)


class _LocalTimer(Promise[Any]):
    """A promise that looks at the clock when it is asked."""

    __slots__ = ()

    def is_ready(self) -> bool:
        if not super().is_ready() and isinstance(self._runtime, LocalRun):
            self._runtime._settle_due_timers()  # noqa: SLF001 - the timer is a part of its run
        return super().is_ready()


def send_locally(workflow_id: str, name: str, text: str | None) -> None:
    """Signal a local execution of this process. Raises `SignalFailed` if none is running under the id."""
    with _running_lock:
        run = _running.get(workflow_id)
    if run is None:
        raise SignalFailed(f"no local workflow with the id {workflow_id!r} is running in this process", workflow_id=workflow_id)
    run.signal(name, text)


def find(workflow_id: str) -> LocalRun | None:
    """The running local execution with this id."""
    with _running_lock:
        return _running.get(workflow_id)
