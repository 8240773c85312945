"""The same calls, run now: this process, serial, nothing stored.

Rule 1: branches, scopes, waiting and asyncio are the replayer's own (`replay.branches`); what differs is that activities run at once,
        in the call, and that time is the machine's.
Rule 2: values pass through the same text as on every other backend, so what a function returns here is what it returns there.
Rule 3: the loop sleeps only when no branch can run: until the next timer, or until somebody outside signals or cancels (`agenda`).
Rule 4: a child is a run of its own on its parent's agenda, so a parent and its children go on while one of them waits.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from flowdsl import ambient
from flowdsl.data.failures import reason_of
from flowdsl.errors import (
    Cancelled,
    CancelRequested,
    ContinueAsNew,
    SignalFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from flowdsl.lang import outside
from flowdsl.lang.blocks import note
from flowdsl.lang.context import Call, Info, inside, outside_workflow
from flowdsl.lang.promises import Promise
from flowdsl.lang.scope import ActivityScope
from flowdsl.limits import clean_id, seconds
from flowdsl.local.activities import run_activity, run_manual
from flowdsl.local.agenda import Agenda
from flowdsl.local.children import ChildCall
from flowdsl.local.mailbox import Mailbox
from flowdsl.local.running import delist, enlist, send_locally
from flowdsl.plain import call_plainly, outside_event_loops
from flowdsl.replay.branches import Branch, BranchLine, Hub, Scope, scope
from flowdsl.replay.operations import activity_failed, with_own_id
from flowdsl.replay.retry import next_delay

if TYPE_CHECKING:
    from random import Random

    from flowdsl.replay.ports import Values


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
        self._agenda: Agenda = Agenda() if parent is None else parent._agenda
        self._input = values.encode_call(call.target, call.args, call.kwargs)
        self._hub: Hub | None = None  # made by the thread that runs: its greenlets belong to it
        self._main: Branch | None = None
        self._children: dict[ChildCall, None] = {}
        self.outcome: Promise[Any] = Promise(None, self.workflow_id)
        self._deadline = float("inf")
        self._ended_by: Exception | None = None  # what ends it without asking its code
        self.status_of_end = self.ended_because = ""
        self._mailbox = Mailbox(self._read_signal)
        self.handle: Any = None  # the LocalExecution, if there is one
        self._cancel_requested = False
        self._starters: dict[str, Callable[[Call], Promise[Any]]] = {
            "activity": self._activity,
            "cached": self._cached,
            "timer": self._timer,
            "sleep": lambda call: self.pause(call.name, call.args[0]),
            "workflow": self._child,
            "signal": self._signal,
            "send": self._send,
            "marker": self._mark,
            "publish": self._publish,
            "patched": lambda _: Promise.of(lambda: True),
        }

    # --- its life; all of it on the thread that runs

    def run(self) -> Any:
        """Run to the end, with all its children; return the workflow's value or raise what it raised."""
        with outside_event_loops():
            try:
                self.begin()
                while self.status == "OPEN":
                    self._agenda.turn()
            finally:
                self._agenda.abandon()
        return self.outcome.result()

    def begin(self) -> None:
        """Put the run on its agenda. Raises `AlreadyRunning` if its id is taken."""
        enlist(self)
        self._agenda.add(self)

    def withdraw(self) -> bool:
        """Take back a run whose code has not begun; False if it has."""
        if self._hub is not None:
            return False
        self._close("CANCELED", Cancelled(f"the workflow {self.workflow_id} was cancelled"))
        return True

    def advance(self) -> None:
        """Run every branch that can run, and end if nothing is left to do."""
        try:
            self._living().run()
        except Exception as error:  # noqa: BLE001 - arguments that cannot be read are the run's failure
            self._close("FAILED", error)
            return
        if self._is_over():
            self._finish()

    def _living(self) -> Hub:
        if self._hub is None:
            target = self.call.target
            args, kwargs = self.values.decode_call(target, self._input)
            self._hub = Hub(self)
            self._main = Branch("", Promise(self, "the workflow"))
            self._hub.begin(self._main, Scope(), target.invoke, (args, kwargs, self.call.instance), {})
            limit = self.call.options.timeout if self.call.options is not None else None
            self._deadline = float("inf") if limit is None else time.monotonic() + limit
            if limit is not None:
                self._agenda.timer(self, "timeout", limit)
        return self._hub

    def _is_over(self) -> bool:
        """Whether nothing is left to do: the body has ended, and so has what it leaves behind."""
        self._end_if_late()
        if self._ended_by is not None:
            return True
        assert self._main is not None
        main = self._main.promise
        if not main.is_ready():
            return False
        if not main.failed:
            return not self._spawned and not self._children
        return not self._children or isinstance(main.exception(), ContinueAsNew) or self._lets_children_go()

    def _lets_children_go(self) -> bool:
        """What the child policy says when the body has failed: False as long as children go on without it."""
        policy = self.call.options.child_policy if self.call.options is not None else "terminate"
        if policy == "request_cancel":
            for child in self._children:
                child.request_cancel()
        return policy == "terminate"

    def _finish(self) -> None:
        if self._ended_by is not None:
            self._close(self.status_of_end, self._ended_by)
            return
        assert self._main is not None
        target, values, main = self.call.target, self.values, self._main.promise
        try:
            value = main.result()
            self._close("COMPLETED", None, values.decode_result(target, values.encode_result(target, value)))
        except ContinueAsNew as request:
            self._begin_anew(request)
        except CancelRequested:
            self._close("CANCELED", Cancelled(f"the workflow {self.workflow_id} was cancelled"))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the result is asked for
            self._close("FAILED", error)

    def _close(self, status: str, error: BaseException | None, value: Any = None) -> None:
        self.status = status
        self.tear_down()
        for child in list(self._children):
            if child.run is not None and child.run.status == "OPEN":
                child.run.end_with_parent()
        if error is None:
            self.outcome.settle(value)
        else:
            self.outcome.fail(error)

    def tear_down(self) -> None:
        """Let go of the body, wherever it stands; it hears `Evicted`, and what it asks for then does not happen."""
        if self._hub is not None:
            self._hub.close()
        self._agenda.remove(self)
        delist(self)

    def _begin_anew(self, request: ContinueAsNew) -> None:
        call = self.call
        self.call = Call(call.kind, call.name, request.call_args, request.call_kwargs, call.target, call.options, call.instance)
        try:
            text = self.values.encode_call(self.call.target, self.call.args, self.call.kwargs)
        except Exception as refused:  # noqa: BLE001 - arguments that cannot be stored fail the workflow with that error
            self._close("FAILED", refused)
            return
        assert self._hub is not None
        self._hub.close()
        self._hub, self._input, self.run_id = None, text, uuid.uuid4().hex
        self._mailbox.begin_anew()
        self._spawned.clear()
        self._children.clear()  # they go on, and nobody waits for them
        self._agenda.forget_timers(self)
        self._stir()

    def _stir(self) -> None:
        self._agenda.look_at(self)

    def _end(self, status: str, error: Exception, reason: str) -> None:
        """End without asking the code."""
        if self._ended_by is None:
            self.status_of_end, self._ended_by, self.ended_because = status, error, reason
        self._stir()

    def _end_if_late(self) -> None:
        if time.monotonic() >= self._deadline and self._ended_by is None:
            reason = "it ran longer than its timeout"
            text = f"workflow {self.call.target.name} (workflow id {self.workflow_id}) ran longer than its timeout"
            error = WorkflowTimedOut(text, workflow_id=self.workflow_id, run_id=self.run_id, reason="START_TO_CLOSE")
            self._end("TIMED_OUT", error, reason)

    def end_with_parent(self) -> None:
        """The parent is closed, and its policy is to terminate."""
        self._close("TERMINATED", WorkflowTerminated("its parent ended", workflow_id=self.workflow_id, run_id=self.run_id))

    # --- from outside, any thread

    def signal(self, name: str, text: str | None) -> None:
        """Hand a signal in."""
        self._agenda.post(partial(self._deliver, name, text))

    def cancel(self) -> None:
        """Ask the workflow to end."""
        self._agenda.post(self.request_cancel)

    def terminate(self, reason: str) -> None:
        """End the workflow at its next wait; its code does not hear of it."""
        error = WorkflowTerminated(reason or "it was terminated", workflow_id=self.workflow_id, run_id=self.run_id, reason=reason)
        self._agenda.post(partial(self._end, "TERMINATED", error, reason or "it was terminated"))

    def request_cancel(self) -> None:
        """Deliver a request to end, once; on the thread that runs."""
        if self._cancel_requested or self.status != "OPEN":
            return
        self._cancel_requested = True
        hub = self._living()
        assert self._main is not None
        hub.interrupt(self._main, CancelRequested())
        self._stir()

    # --- the four verbs

    def start(self, call: Call) -> Promise[Any]:
        """Run the call now; a timer's promise is settled when its time has come."""
        hub = self._living()
        hub.refuse_if_closing()
        branch = hub.here()
        self._end_if_late()
        if self._ended_by is not None:
            hub.suspend(branch)  # and never comes back
        with outside_workflow():
            promise = self._starters[call.kind](call)
        note(call.kind, promise)
        return promise

    def wait(self, ready: Callable[[], bool], promises: Sequence[Promise[Any]], timeout: float | None) -> bool:
        """Suspend the running branch."""
        hub = self._living()
        if timeout is None:
            hub.wait(ready, promises)
            return True
        hub.refuse_if_closing()
        hub.here()
        if ready() or timeout == 0:
            return ready()
        timer = self.pause("timeout", seconds(timeout, "timeout") or 0.0)
        hub.wait(lambda: timer.is_ready() or ready(), (*promises, timer) if promises else ())
        if not ready():
            return False
        timer.cancel()
        return True

    def spawn(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Promise[Any]:
        """Run ordinary workflow code as a concurrent branch."""
        hub = self._living()
        hub.here()
        inner = scope.get().child(clean_id(getattr(fn, "__name__", type(fn).__name__)))
        promise: Promise[Any] = Promise(self, inner.path.rstrip("."))
        branch = Branch(promise.call_id, promise)
        promise.on_cancel = lambda: hub.interrupt(branch, Cancelled(f"the branch {branch.name} was cancelled"))
        self._spawned[promise] = None
        promise.subscribe(lambda done: self._spawned.pop(done, None))
        hub.begin(branch, inner, fn, args, kwargs)
        note("branch", promise)
        return promise

    def here(self) -> BranchLine:
        """The branch, or the asyncio task, that is running."""
        return self._living().line()

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
            return run_manual(self, call, call_id, text)
        return Promise.of(lambda: run_activity(self, call, call_id, text))

    def do_soon(self, action: Callable[[], None]) -> None:
        """Have it done on the thread that runs; from any thread."""

        def act() -> None:
            action()
            self._stir()

        self._agenda.post(act)

    def next_delay(self, call: Call, call_id: str, state: str, error: BaseException, attempt: int, began: float) -> float | None:
        """Seconds until the next attempt, by the call's policy; None if there is none."""
        policy = call.options.retry if call.options is not None else None
        seed, elapsed = f"{self.run_id}/{call_id}", time.monotonic() - began
        return next_delay(policy, state=state, error=error, attempt=attempt, elapsed=elapsed, seed=seed)

    def about(self, call: Call, call_id: str, **more: Any) -> Info:
        """What an activity or a recorded function may know of itself."""
        target = call.target
        key = f"{self.workflow_id}.{self.run_id}.{call_id}"
        return Info(
            kind=call.kind, name=target.name, version=target.version, workflow_id=self.workflow_id, run_id=self.run_id, call_id=call_id,
            idempotency_key=key, backend="local", **more,
        )  # fmt: skip

    def final(self, call: Call, call_id: str, attempt: int, error: BaseException) -> BaseException:
        """What the code sees when a call has failed for good."""
        reason = reason_of(error)
        return self.values.attach_cause(error, activity_failed(call.target.name, call_id, attempt, reason))

    def _cached(self, call: Call) -> Promise[Any]:
        call_id = scope.get().next_id(call.name)

        def body() -> Any:
            try:
                value = call_plainly(call.target, call.args, call.kwargs, call.instance, ActivityScope(self.about(call, call_id)))
            except Exception as error:
                raise self.final(call, call_id, 1, error) from error.__cause__
            return self.values.decode_outcome(call.target, self.values.encode_outcome(call.target, value, None))[0]

        return Promise.of(body)

    def _timer(self, call: Call) -> Promise[Any]:
        call_id = scope.get().next_id(call.name)
        try:
            value = call_plainly(call.target, call.args, call.kwargs, call.instance, ActivityScope(self.about(call, call_id)))
            delay = outside.delay_from_now(value, f"the timer {call.target.name}()")
        except Exception as error:  # noqa: BLE001 - as on the other backends, the promise fails
            promise: Promise[Any] = Promise(self, call_id)
            promise.fail(self.final(call, call_id, 1, error))
            return promise
        return self.pause(call.name, delay)

    def pause(self, name: str, delay: float) -> Promise[Any]:
        """A promise that is settled `delay` seconds from now."""
        return self._agenda.timer(self, name, delay)

    def _child(self, call: Call) -> Promise[Any]:
        call_id = scope.get().next_id(call.name)
        promise: Promise[Any] = Promise(self, call_id)
        own = call.options.id if call.options is not None else None
        workflow_id = own or clean_id(f"{self.workflow_id}.{call_id}.{self.run_id[:8]}")
        child = ChildCall(self, call, promise, lambda: LocalRun(call, self.values, workflow_id, self))
        self._children[child] = None
        child.begin()
        return promise

    def child_is_over(self, child: ChildCall) -> None:
        """The call's last attempt has ended."""
        self._children.pop(child, None)
        self._stir()

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
                delay = self.next_delay(call, f"{call.name}-{workflow_id}", "failed", error, attempt, began)
                if delay is None:
                    raise
                self.pause(call.name, delay).result()
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
        self._agenda.catch_up()
        self._mailbox.listen(call, promise)
        return promise

    def _deliver(self, name: str, text: str | None) -> None:
        self._mailbox.deliver(name, text)
        self._stir()

    def _read_signal(self, call: Call, text: str | None) -> Any:
        args, kwargs = self.values.decode_call(call.target, text)
        with inside(self):
            return call.target.invoke(args, kwargs, call.instance)
