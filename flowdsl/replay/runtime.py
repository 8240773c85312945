"""The four verbs inside a replayed workflow: what a call becomes.

Rule 1: a call gets its id from the scope of its branch, goes into the outbox, and its promise is returned; whether history already
        answers it is none of this file's business. The exceptions are what must be known before its event's place: recorded values and
        timers' delays.
Rule 2: a value is made into text at the call's own line, so that a value that cannot be stored is refused there, by name.
Rule 3: a recorded function runs here, inside the decision, once; what the code gets is what a replay would get: the decoded record.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from flowdsl.errors import Cancelled, DefinitionError, InternalError
from flowdsl.lang import outside
from flowdsl.lang.blocks import note
from flowdsl.lang.context import Call, Info, inside, outside_workflow
from flowdsl.lang.promises import Promise
from flowdsl.limits import DATA, clean_id, digest, seconds
from flowdsl.model.attempts import attempt_id
from flowdsl.model.carried import split_id
from flowdsl.model.decisions import json_string
from flowdsl.model.payload import is_comparable
from flowdsl.replay.branches import Branch, BranchLine, scope
from flowdsl.replay.operations import (
    OPEN,
    STARTED,
    Operation,
    activity_failed,
    caller_place,
    child_workflow_id,
    with_own_id,
)  # fmt: skip
from flowdsl.replay.records import PATCHED, arguments_digest, record_name

if TYPE_CHECKING:
    from random import Random

    from flowdsl.replay.journal import Key
    from flowdsl.replay.replayer import Replayer


_MOST_PUBLISHED = DATA - 4_768
"""Characters that a published value may take of the context, as a JSON string."""


class WorkflowRuntime:
    """Where the calls of one execution's code go."""

    transparent = False

    def __init__(self, replayer: Replayer) -> None:
        self._replayer = replayer
        self.cancel_requested = False
        self._starters: dict[str, Callable[[Call], Promise[Any]]] = {
            "activity": self._activity,
            "cached": self._cached,
            "timer": self._timer,
            "sleep": self._sleep,
            "workflow": self._child,
            "signal": self._signal,
            "send": self._send,
            "marker": self._mark,
            "publish": self._publish,
            "patched": self._patched,
        }

    # --- the verbs

    def start(self, call: Call) -> Promise[Any]:
        """Begin a call; nothing waits."""
        hub = self._replayer.hub
        hub.refuse_if_closing()
        hub.here()
        with outside_workflow():
            promise = self._starters[call.kind](call)
        note(call.kind, promise)
        return promise

    def wait(self, ready: Callable[[], bool], promises: Sequence[Promise[Any]], timeout: float | None) -> bool:
        """Suspend the running branch; with a timeout, a durable timer limits the wait."""
        hub = self._replayer.hub
        if timeout is None:
            hub.wait(ready, promises)
            return True
        hub.refuse_if_closing()
        hub.here()
        if ready():
            return True
        limit = seconds(timeout, "timeout") or 0.0
        if limit == 0:
            return False
        timer = self._sleep(Call("sleep", "timeout", (limit,)))
        try:
            hub.wait(lambda: timer.is_ready() or ready(), (*promises, timer) if promises else ())
            return ready()
        finally:
            timer.cancel()

    def spawn(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Promise[Any]:
        """Run ordinary workflow code as a concurrent branch."""
        hub = self._replayer.hub
        hub.refuse_if_closing()
        hub.here()
        inner = scope.get().child(clean_id(getattr(fn, "__name__", type(fn).__name__)))
        promise: Promise[Any] = Promise(self, inner.path.rstrip("."))
        branch = Branch(promise.call_id, promise)
        promise.on_cancel = partial(self._cancel_branch, branch)
        self._replayer.spawned[promise] = None
        promise.subscribe(lambda done: self._replayer.spawned.pop(done, None))
        hub.begin(branch, inner, fn, args, kwargs)
        note("branch", promise)
        return promise

    def here(self) -> BranchLine:
        """The branch, or the asyncio task, that is running."""
        self._replayer.hub.refuse_if_closing()
        return self._replayer.hub.line()

    def _cancel_branch(self, branch: Branch) -> None:
        self._replayer.hub.interrupt(branch, Cancelled(f"the branch {branch.name} was cancelled"))

    def chance(self) -> Random:
        """The random numbers of the running branch."""
        return scope.get().chance(self._replayer.run_id)

    def info(self) -> Info:
        """What the running code may know of itself."""
        replayer = self._replayer
        started = replayer.started
        parent = started.get("parentWorkflowExecution")
        return Info(
            kind="workflow",
            name=replayer.definition.name,
            version=replayer.definition.version,
            workflow_id=replayer.workflow_id,
            run_id=replayer.run_id,
            now=replayer.moment,
            started=datetime.fromtimestamp(replayer.started_at, UTC),
            history_length=replayer.turn,
            replaying=replayer.replaying,
            task_list=replayer.task_list,
            backend=replayer.backend,
            tags=tuple(started.get("tagList", ())),
            parent=(parent["workflowId"], parent["runId"]) if parent else None,
        )

    # --- the body

    def main(self) -> Any:
        """The workflow's own branch: arguments, the body, what it left running, the result as text."""
        replayer = self._replayer
        definition = replayer.definition
        with outside_workflow():
            args, kwargs = replayer.values.decode_call(definition, replayer.input)
        value = definition.invoke(args, kwargs, replayer.instance)
        if inspect.iscoroutine(value):
            from flowdsl.replay.loop import drive  # noqa: PLC0415 - asyncio is loaded for `async def` workflows only

            value = drive(replayer.hub, replayer.hub.here(), value)
        with outside_workflow():
            text = replayer.values.encode_result(definition, value)
        self._settle_down()
        return text

    def _settle_down(self) -> None:
        """What was started and not waited for still happens, as it would have in plain Python; timers that nobody waits for do not.

        A child that may outlive its parent (the parent's own child policy is `abandon`: that is the one the service goes by), or that was
        cancelled, is only waited for until it has started: before that nobody can ask it to stop.
        """
        replayer = self._replayer
        leaves = replayer.started.get("childPolicy") == "ABANDON"
        while True:
            pending = [op.promise for op in replayer.unsettled if not (leaves and op.verb == "workflow")]
            pending += replayer.spawned
            left = [op for op in replayer.unsettled if leaves and op.verb == "workflow" and op.state < STARTED]
            left += [op for op in replayer.operations.values() if op.verb == "workflow" and op.cancelled and op.state < STARTED]
            if not pending and not left:
                return
            if left:
                replayer.hub.wait(lambda ops=left: all(op.state >= STARTED for op in ops), ())  # type: ignore[misc]  # bound at once
            else:
                replayer.hub.wait(lambda ps=pending: all(p.is_ready() for p in ps), pending)  # type: ignore[misc]  # bound at once

    # --- calls

    def _operation(self, verb: str, call: Call, call_id: str) -> Operation:
        promise: Promise[Any] = Promise(self, call_id)
        operation = Operation(verb, call_id, call, promise)
        operation.asked_at = self._replayer.now
        return operation

    def _ask(self, operation: Operation) -> None:
        key: Key = (operation.verb, operation.id)
        if self._replayer.hub.running is not None:  # else the replayer asks by itself, for a retry
            operation.place = caller_place()
        self._replayer.ask(key, operation)

    def _encode(self, operation: Operation) -> None:
        """Make the arguments text; unless the record could not be compared with them anyway: then its text is taken when it comes."""
        replayer, call = self._replayer, operation.call
        if replayer.was_sent((operation.verb, operation.id)):
            accepted = replayer.journal.accepted(operation.verb, operation.id) or {}
            if not is_comparable(accepted.get("input") or ""):
                return
        operation.input = replayer.values.encode_call(call.target, call.args, call.kwargs)

    def _activity(self, call: Call) -> Promise[Any]:
        replayer = self._replayer
        operation = self._operation("activity", call, scope.get().next_id(call.name))
        self._encode(operation)
        operation.promise.on_cancel = partial(self._cancel, operation)
        self._ask(operation)
        replayer.unsettled[operation] = None
        operation.promise.subscribe(lambda _: replayer.unsettled.pop(operation, None))
        return operation.promise

    def _child(self, call: Call) -> Promise[Any]:
        replayer = self._replayer
        operation = self._operation("workflow", call, scope.get().next_id(call.name))
        operation.id = child_workflow_id(operation, replayer.workflow_id, replayer.run_id)
        self._encode(operation)
        operation.promise.on_cancel = partial(self._cancel, operation)
        if ("workflow", operation.id) in replayer.outbox:
            raise DefinitionError(f"two open children have the same id {operation.id!r}; give each its own with .options(id=…)")
        self._ask(operation)
        replayer.unsettled[operation] = None
        operation.promise.subscribe(lambda _: replayer.unsettled.pop(operation, None))
        return operation.promise

    def _cached(self, call: Call) -> Promise[Any]:
        call_id = scope.get().next_id(call.name)
        return self._recorded(call, call_id, lambda: self._replayer.record(call.target, call.args, call.kwargs, call.instance))

    def _recorded(self, call: Call, call_id: str, function: Callable[[], Any]) -> Promise[Any]:
        """Run `function` unless the history has its outcome; either way the promise reads the record."""
        self._wait_for_room()
        return self._record(call, call_id, function)

    def _record(self, call: Call, call_id: str, function: Callable[[], Any]) -> Promise[Any]:
        replayer = self._replayer
        operation = self._operation("marker", call, call_id)
        operation.input = arguments_digest(call.args, call.kwargs)
        recorded = replayer.journal.record_of(call_id)
        if recorded is None:
            operation.id, text = record_name(call_id, operation.input), self._record_of(call, function)
        else:
            operation.id, text = recorded["markerName"], recorded.get("details", "")
        operation.details = text
        self._ask(operation)
        operation.promise.settle_lazily(lambda: self._read_record(call, call_id, text))
        return operation.promise

    def _wait_for_room(self) -> None:
        """Records that do not fit into this turn's response would be lost with it and their functions run again: let it go out first.

        What waits is decided by what was asked and what was acknowledged, so a replay waits at the same calls.
        """
        replayer = self._replayer
        if replayer.has_room_to_record():
            return
        replayer.waiting_to_record += 1
        try:
            replayer.hub.wait(replayer.has_room_to_record, ())
        finally:
            replayer.waiting_to_record -= 1

    def _record_of(self, call: Call, function: Callable[[], Any]) -> str:
        """Run the function and make its outcome text. An exception is an outcome like a value; that a value can't be stored is one too."""
        values = self._replayer.values
        try:
            return values.encode_outcome(call.target, function(), None)
        except Exception as raised:  # noqa: BLE001 - see above
            return values.encode_outcome(call.target, None, raised)

    def _read_record(self, call: Call, call_id: str, text: str) -> Any:
        value, error = self._replayer.values.decode_outcome(call.target, text)
        if error is not None:
            raise self._replayer.values.attach_cause(error, activity_failed(call.target.name, call_id, 1, type(error).__name__))
        return value

    def _timer(self, call: Call) -> Promise[Any]:
        """The function is asked once: its answer stands in the timer's own event, or in a record if there is no such event.

        There is none when the function raised, and when the timer was taken back before it was sent.
        """
        replayer = self._replayer
        call_id = scope.get().next_id(call.name)
        recorded = replayer.journal.accepted("timer", call_id)
        if recorded is not None:
            return self._start_timer(call, call_id, float(recorded["startToFireTimeout"]))
        record = replayer.journal.record_of(call_id)
        if record is not None:
            delay, error = replayer.values.decode_outcome(call.target, record.get("details", ""))
            return self._start_timer(call, call_id, delay) if error is None else self._recorded(call, call_id, _unused)
        try:
            delay = self._delay(call, replayer.record(call.target, call.args, call.kwargs, call.instance))
        except Exception as refusal:  # noqa: BLE001 - the function's exception is recorded, so that a replay raises it too
            return self._recorded(call, call_id, partial(_raise, refusal))
        return self._start_timer(call, call_id, delay)

    def _delay(self, call: Call, value: Any) -> float:
        return outside.delay(value, self._replayer.moment, f"the timer {call.target.name}()")

    def record_withdrawn(self, operation: Operation) -> None:
        """A timer was taken back before it was sent. What its function said is recorded, or a replay would have to ask it again."""
        if operation.call.kind == "timer":
            self._record(operation.call, operation.call_id, lambda: operation.delay)

    def _sleep(self, call: Call) -> Promise[Any]:
        return self._start_timer(call, scope.get().next_id(call.name), call.args[0])

    def _start_timer(self, call: Call, call_id: str, delay: float) -> Promise[Any]:
        operation = self._operation("timer", call, call_id)
        operation.delay = delay
        operation.promise.on_cancel = partial(self._cancel, operation)
        self._ask(operation)
        return operation.promise

    def retry_timer(self, operation: Operation, delay: float) -> Promise[Any]:
        """The pause before an operation's next attempt: a timer with the attempt's own id."""
        return self._start_timer(Call("sleep", operation.call.name, (delay,)), attempt_id(operation.call_id, operation.attempt), delay)

    def next_attempt(self, operation: Operation) -> None:
        """Begin another attempt of an activity or a child workflow, under an id of its own."""
        operation.next_attempt()
        if operation.verb == "workflow":
            operation.id = child_workflow_id(operation, self._replayer.workflow_id, self._replayer.run_id)

    def _send(self, call: Call) -> Promise[Any]:
        replayer = self._replayer
        operation = self._operation("send", call, scope.get().next_id(call.name))
        operation.input = with_own_id(call.target, replayer.values.encode_call(call.target, call.args[1:], call.kwargs))
        operation.promise.on_cancel = partial(self._cancel, operation)
        self._ask(operation)
        replayer.unsettled[operation] = None
        operation.promise.subscribe(lambda _: replayer.unsettled.pop(operation, None))
        return operation.promise

    def _mark(self, call: Call) -> Promise[Any]:
        replayer = self._replayer
        replayer.marks[call.name] += 1
        operation = self._operation("mark", call, f"{call.name}#{replayer.marks[call.name]}")
        operation.details = replayer.values.encode_plain(call.name, "marker", call.args[0])
        self._ask(operation)
        operation.promise.settle(None)
        return operation.promise

    def _publish(self, call: Call) -> Promise[Any]:
        replayer = self._replayer
        name, value = replayer.definition.name, call.args[0]
        text = replayer.values.encode_plain(name, "published", value)
        if len(json_string(text)) > _MOST_PUBLISHED:  # quotes inside quotes take two characters
            text = replayer.values.encode_plain(name, "published", value, limit=_MOST_PUBLISHED // 2)
        replayer.published = text
        return Promise.of(lambda: None)

    def _patched(self, call: Call) -> Promise[Any]:
        """One answer for the whole run; from the turn that recorded it, or by whether this place was passed before anybody asked."""
        replayer, marker = self._replayer, PATCHED + call.name
        if call.name not in replayer.patches and not replayer.acknowledged[("marker", marker)]:
            self._wait_for_room()
        since = replayer.journal.patched_since(marker)
        answer = since <= replayer.turn if since is not None else replayer.patches.setdefault(call.name, not replayer.replaying)
        if answer and ("marker", marker) not in replayer.outbox and not replayer.acknowledged[("marker", marker)]:
            operation = self._operation("marker", call, marker)
            operation.id = marker
            self._ask(operation)
            operation.promise.settle(True)
        return Promise.of(lambda: answer)

    # --- signals

    def _signal(self, call: Call) -> Promise[Any]:
        replayer = self._replayer
        name = call.target.name
        promise: Promise[Any] = Promise(self, f"signal {call.name}")
        unread = replayer.signals.get(name)
        if unread:
            promise.settle_lazily(partial(self._read_signal, call, unread.popleft()))
            return promise
        listeners = replayer.listeners.setdefault(name, deque())
        listeners.append((call, promise))
        promise.on_cancel = partial(self._stop_listening, listeners, promise)
        return promise

    def deliver_signal(self, name: str, text: str | None) -> None:
        """A signal arrived: the longest waiting listener gets it, or it is kept until somebody listens."""
        text, signal_id = split_id(text)
        if signal_id is not None:
            key = digest(f"{name} {signal_id}")[:16]
            if key in self._replayer.seen:
                return
            self._replayer.seen[key] = None
        listeners = self._replayer.listeners.get(name)
        if listeners:
            call, promise = listeners.popleft()
            promise.settle_lazily(partial(self._read_signal, call, text))
        else:
            self._replayer.signals.setdefault(name, deque()).append(text)

    def _read_signal(self, call: Call, text: str | None) -> Any:
        args, kwargs = self._replayer.values.decode_call(call.target, text)
        with inside(self):
            return call.target.invoke(args, kwargs, call.instance)

    @staticmethod
    def _stop_listening(listeners: deque[tuple[Call, Promise[Any]]], promise: Promise[Any]) -> None:
        listeners.remove(next(entry for entry in listeners if entry[1] is promise))
        promise.fail(Cancelled("nobody waits for the signal any more"))

    # --- cancelling one call

    def _cancel(self, operation: Operation) -> None:
        """Withdraw what was never sent; ask the service to cancel what was. The promise is settled at once (mode `try`)."""
        replayer = self._replayer
        replayer.hub.refuse_if_closing()
        if operation.cancelled:
            raise InternalError(f"{operation.id} was cancelled twice")
        operation.cancelled = True
        if operation.retry_timer is not None and not operation.retry_timer.is_ready():
            operation.retry_timer.cancel()
        elif operation.verb != "send":
            if replayer.withdraw((operation.verb, operation.id)):
                self.record_withdrawn(operation)
            else:
                self.ask_to_cancel(operation)
        operation.promise.fail(Cancelled(f"{operation.call.name} ({operation.call_id}) was cancelled"))

    def ask_to_cancel(self, operation: Operation) -> None:
        """The decision that cancels what is open; what is not open yet is cancelled when it is."""
        if operation.state == STARTED or (operation.state == OPEN and operation.verb != "workflow"):
            self._replayer.ask((f"cancel {operation.verb}", operation.id), operation)


def _raise(error: Exception) -> Any:
    raise error


def _unused() -> Any:
    raise InternalError("a function that is recorded was asked again")
