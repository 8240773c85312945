"""`Service`: the engine with a clock, a lock and the long poll. It is a transport: `call(operation, params)`.

Rule 1: one lock. The engine is touched by whoever holds it; answers and callbacks are delivered after it is free. Whoever gets the lock
        does all that has arrived, with what follows from it, and commits once (`_serve`): the more there is to do, the less it costs.
        If that commit fails, nothing of it happened, and each call is done again in a transaction of its own.
Rule 2: a poll without a task waits in its list's queue. A task that appears is handed to the first poll in that queue, and its answer
        goes to that caller alone: nobody asks twice, nobody is woken for nothing, and a cancelled poll never gets a task.
Rule 3: a poll waits 60 seconds by the clock, then it gets the empty answer. `close` gives it at once.
Rule 4: functions of lambda tasks are called in threads of their own (`callers.py`), never under the lock; who cannot be called fails as a
        function that does not exist.
Rule 5: after every operation what is due is done (`_settle`), so that effects follow at once. On a real clock one thread sleeps until the
        next deadline; a virtual clock calls `settle` itself.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowdsl import limits
from flowdsl.engine.callers import Callers, Functions
from flowdsl.engine.clocks import Clock, SystemClock
from flowdsl.engine.engine import GroupLost
from flowdsl.engine.faults import engine_closed, limit_exceeded
from flowdsl.engine.lambdas import Invocation, Outcome, unknown_function
from flowdsl.errors import Fault

if TYPE_CHECKING:
    import os

    from flowdsl.engine.engine import Engine
    from flowdsl.engine.tasks import ListName

_log = logging.getLogger("flowdsl.engine")

Done = Callable[[Any], None]

#: the polls: operation -> (kind of task list, what an empty answer holds)
_POLLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "PollForDecisionTask": ("D", {"previousStartedEventId": 0, "startedEventId": 0}),
    "PollForActivityTask": ("A", {"startedEventId": 0}),
}

#: how long a poll waits (milliseconds)
_POLL = limits.LONG_POLL * 1000
#: the timer thread looks at the wall clock at least this often (seconds), in case somebody sets it
_LONGEST_SLEEP = 60.0
#: after the file could not be written, deadlines are tried again this much later (milliseconds)
_RETRY = 1_000
#: between two steps of a backup the others have so long (seconds)
_PAUSE = 0.001


class Ticket:
    """One submitted operation. `done(answer or exception)` is called exactly once, unless `cancel` comes first."""

    __slots__ = ("_service", "done", "operation", "params", "queue", "taken")

    def __init__(self, service: Service, operation: str, params: Mapping[str, Any], done: Done) -> None:
        self._service = service
        self.operation = operation
        self.params = params
        self.done = done
        #: whether somebody who held the lock has seen to it
        self.taken = False
        #: the list it waits on, None when it does not wait
        self.queue: ListName | None = None

    def cancel(self) -> bool:
        """Withdraw a waiting poll. True: it gets no task and `done` is never called. False: it is answered already."""
        return self._service._cancel(self)


class Service:
    """An `Engine` that anybody may call from any thread. It owns the engine and closes it."""

    def __init__(self, engine: Engine, clock: Clock | None = None, *, functions: Functions | None = None) -> None:
        """`functions` calls the functions of lambda tasks: an `Invocation` in, a `Returned` or `Failed` out; None knows no function."""
        self._engine = engine
        self._callers = Callers(functions, self._finish_lambda)
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._arrived: deque[Ticket] = deque()
        self._queues: dict[ListName, dict[Ticket, None]] = {}
        #: every list that somebody ever polled: its worker is there, and busy if it does not poll now
        self._polled: set[ListName] = set()
        #: every waiting poll with the time of its end; all wait equally long, so the first one ends first
        self._waiting: dict[Ticket, int] = {}
        self._watchers: dict[tuple[str, str, str], list[Callable[[], None]]] = {}
        #: who gets which answer as soon as it is in the file
        self._answers: list[tuple[Ticket, Any]] = []
        self._endings: list[Callable[[], None]] = []
        #: functions to call as soon as it is in the file that they are called
        self._to_call: list[Invocation] = []
        self._closed = False
        self._retry_at: int | None = None
        self._sleeping_until: float | None = None
        self._timer: threading.Thread | None = None
        self._clock.attach(self)
        if self._clock.real:
            self._timer = threading.Thread(target=self._run_timer, name="flowdsl-engine-timer", daemon=True)
            self._timer.start()

    # --- the transport

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Do one operation of Amazon SWF's API; a poll waits for its task. Raises `Fault`."""
        arrived = threading.Event()
        outcome: list[Any] = []

        def done(result: Any) -> None:
            outcome.append(result)
            arrived.set()

        ticket = self.submit(operation, params, done)
        try:
            arrived.wait()
        except BaseException:  # Ctrl-C while waiting: a task must not go to a caller who is gone
            ticket.cancel()
            raise
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        answer: dict[str, Any] = outcome[0]
        return answer

    def submit(self, operation: str, params: Mapping[str, Any], done: Done) -> Ticket:
        """Do one operation without waiting: `done` gets the answer or the exception, exactly once, maybe at once and in this thread."""
        return self.submit_all([(operation, params, done)])[0]

    def submit_all(self, calls: Sequence[tuple[str, Mapping[str, Any], Done]]) -> list[Ticket]:
        """Submit several at once, in this order, for one commit; at least one."""
        tickets = [Ticket(self, *call) for call in calls]
        self._arrived.extend(tickets)
        try:
            self._work(tickets[-1])
        except BaseException:  # Ctrl-C: nobody will hear the answers
            for ticket in tickets:
                ticket.cancel()
            raise
        return tickets

    def when_closed(self, domain: str, workflow_id: str, run_id: str, callback: Callable[[], None]) -> None:
        """Call `callback()` once when that run is closed; at once if it is. Raises `Fault` for an unknown run."""
        named = {"domain": domain, "execution": {"workflowId": workflow_id, "runId": run_id}}
        with self._lock:
            answer = self._engine.apply(self._clock.now_ms(), "DescribeWorkflowExecution", named, again=True)
            is_open = answer["executionInfo"]["executionStatus"] == "OPEN"
            if is_open:
                self._watchers.setdefault((domain, workflow_id, run_id), []).append(callback)
        if not is_open:
            callback()

    def backup(self, path: str | os.PathLike[str]) -> str:
        """Copy the engine's file to the new file `path` while others go on working; return what names the engine's file.

        Raises `UserError` if `path` exists or cannot be written.
        """

        def pause() -> None:
            self._wake.wait(_PAUSE)  # which lets go of the lock
            if self._closed:
                raise engine_closed()

        with self._lock:
            self._engine.backup(path, pause)
            return self._engine.file_id

    def close(self) -> None:
        """End the waiting polls with empty answers, stop the timer and close the engine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._callers.close()
            for ticket in list(self._waiting):
                self._answer(ticket, dict(_POLLS[ticket.operation][1]))
            outbox = self._take_outbox()
            self._engine.close()
            self._wake.notify_all()
        self._clock.detach(self)
        self._deliver(*outbox)
        if self._timer is not None and self._timer is not threading.current_thread():
            self._timer.join()

    # --- for the clock

    def next_due(self) -> int | None:
        """When something is due next, in milliseconds: the engine's deadlines and the ends of waiting polls."""
        with self._lock:
            return self._next_due()

    def settle(self) -> None:
        """Do what is due now."""
        self._work(None)

    # --- all that has arrived, and what follows from it

    def _work(self, ticket: Ticket | None) -> None:
        """Take the lock and serve, unless somebody has served `ticket` meanwhile; then give the answers out."""
        answers: list[tuple[Ticket, Any]] = []
        news: list[Callable[[], None]] = []
        try:
            with self._lock:
                try:
                    if ticket is None or not ticket.taken:
                        self._serve()
                finally:
                    answers, news = self._take_outbox()
        finally:
            self._deliver(answers, news)

    def _serve(self) -> None:
        tickets = self._take_arrived()
        try:
            with self._engine.group():
                if self._due_now(self._clock.now_ms()):  # what was due before comes before
                    self._settle()
                for ticket in tickets:
                    self._begin(ticket)
                self._settle()
        except GroupLost:
            self._serve_singly(tickets)
        except BaseException:  # Ctrl-C in one caller's thread is no other caller's affair
            self._serve_singly(tickets)
            raise
        finally:
            self._begin_calls()
            self._tell_closed()
            if self._timer is not None and not self._closed:
                self._wake_timer()

    def _serve_singly(self, tickets: list[Ticket]) -> None:
        """Nothing of the group happened: do each part in a transaction of its own, so that nobody pays for another's failure."""
        known = set(tickets)
        again = [ticket for ticket in tickets if ticket.queue is None]
        again += [ticket for ticket, _ in self._answers if ticket not in known]
        self._answers, self._to_call = [], []  # the engine names the functions again
        for ticket in again:
            self._begin(ticket)
        self._settle()

    def _take_arrived(self) -> list[Ticket]:
        tickets = []
        while self._arrived:
            ticket = self._arrived.popleft()
            ticket.taken = True
            tickets.append(ticket)
        return tickets

    # --- under the lock: one operation

    def _begin(self, ticket: Ticket) -> None:
        poll = _POLLS.get(ticket.operation)
        try:
            answer = self._engine.apply(self._clock.now_ms(), ticket.operation, ticket.params)
            if poll is not None:
                name = poll[0], ticket.params["domain"], ticket.params["taskList"]["name"]
                self._polled.add(name)
                if "taskToken" not in answer:
                    self._enqueue(ticket, name)
                    return
        except GroupLost:
            raise
        except Exception as error:  # a refusal, or a bug that its caller has to see
            self._answer(ticket, error)
            return
        self._answer(ticket, answer)

    def _enqueue(self, ticket: Ticket, name: ListName) -> None:
        queue = self._queues.setdefault(name, {})
        if len(queue) >= self._engine.quotas.pollers:
            raise limit_exceeded("Too many pollers on this task list")
        ticket.queue = name
        queue[ticket] = None
        self._waiting[ticket] = self._clock.now_ms() + _POLL

    def _leave(self, ticket: Ticket) -> None:
        name = ticket.queue
        if name is None:
            return
        ticket.queue = None
        del self._waiting[ticket]
        queue = self._queues[name]
        del queue[ticket]
        if not queue:
            del self._queues[name]

    def _answer(self, ticket: Ticket, result: Any) -> None:
        self._leave(ticket)
        self._answers.append((ticket, result))

    def _cancel(self, ticket: Ticket) -> bool:
        with self._lock:
            if not ticket.taken:
                self._arrived.remove(ticket)
                ticket.taken = True
                return True
            waiting = ticket.queue is not None
            self._leave(ticket)
            return waiting

    # --- lambda tasks

    def _finish_lambda(self, call: Invocation, outcome: Outcome) -> None:
        with self._lock:
            if self._closed:
                return
            self._end_call(call, outcome)
            self._serve()
            outbox = self._take_outbox()
        self._deliver(*outbox)

    def _end_call(self, call: Invocation, outcome: Outcome) -> None:
        try:
            self._engine.finish_lambda(self._clock.now_ms(), call.ref, outcome)
        except Fault:
            _log.exception("the outcome of the lambda function %r could not be written; its task times out", call.name)

    def _take_calls(self) -> bool:
        """Note which functions have to be called. Whether something was written: where nobody can call them, they fail at once."""
        calls = self._engine.take_invocations()
        if self._callers.exist:
            self._to_call += calls
            return False
        for call in calls:
            self._end_call(call, unknown_function(call.name))
        return bool(calls)

    def _begin_calls(self) -> None:
        calls, self._to_call = self._to_call, []
        for call in calls:
            self._callers.begin(call)

    # --- under the lock: what is due

    def _settle(self) -> None:
        while not self._closed:
            now = self._clock.now_ms()
            self._tick(now)
            if self._take_calls():
                continue
            self._hand_over(now)
            self._end_polls(now)
            if self._due_now(now):
                continue
            if self._waiting and (target := self._engine.idle_until(self._polled)) is not None and self._clock.skip(target):
                continue
            break

    def _due_now(self, now: int) -> bool:
        due = self._next_due()
        return due is not None and due <= now

    def _tick(self, now: int) -> None:
        if self._retry_at is not None and now < self._retry_at:
            return
        self._retry_at = None
        try:
            due = self._engine.next_due
            if due is not None and due <= now:
                self._engine.tick(now)
        except Fault:
            _log.exception("what was due could not be written; it is tried again")
            self._retry_at = now + _RETRY

    def _hand_over(self, now: int) -> None:
        for name in dict.fromkeys(self._engine.take_fresh_lists()):
            while (queue := self._queues.get(name)) is not None:
                ticket = next(iter(queue))
                try:
                    answer = self._engine.apply(now, ticket.operation, ticket.params, again=True)
                except GroupLost:
                    raise
                except Exception as error:  # its caller has to see it, like any other refusal
                    self._answer(ticket, error)
                    continue
                if "taskToken" not in answer:
                    break
                self._answer(ticket, answer)

    def _end_polls(self, now: int) -> None:
        while self._waiting:
            ticket, end = next(iter(self._waiting.items()))
            if now < end <= now + _POLL:  # an end further away means that the clock was set back
                return
            self._answer(ticket, dict(_POLLS[ticket.operation][1]))

    def _tell_closed(self) -> None:
        for run in self._engine.take_closed():
            self._endings.extend(self._watchers.pop(run, ()))

    def _next_due(self) -> int | None:
        if self._closed:
            return None
        due = self._engine.next_due
        if due is not None and self._retry_at is not None:
            due = max(due, self._retry_at)
        end = next(iter(self._waiting.values()), None)
        return end if due is None or (end is not None and end < due) else due

    def _take_outbox(self) -> tuple[list[tuple[Ticket, Any]], list[Callable[[], None]]]:
        outbox = self._answers, self._endings
        self._answers, self._endings = [], []
        return outbox

    def _deliver(self, answers: list[tuple[Ticket, Any]], news: list[Callable[[], None]]) -> None:
        for ticket, answer in answers:
            _call(ticket.done, answer)
        for callback in news:
            _call(callback)

    # --- the timer thread, on a real clock

    def _wake_timer(self) -> None:
        due = self._next_due()
        if due is not None and self._sleeping_until is not None and due < self._sleeping_until:
            self._wake.notify_all()

    def _run_timer(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                self._serve()  # at once at the beginning: functions may have to be called that a dead process was calling
                outbox = self._take_outbox()
            self._deliver(*outbox)
            with self._lock:
                self._sleep()

    def _sleep(self) -> None:
        now, due = self._clock.now_ms(), self._next_due()
        if self._closed or (due is not None and due <= now):
            return
        self._sleeping_until = float("inf") if due is None else due
        self._wake.wait(None if due is None else min((due - now) / 1000, _LONGEST_SLEEP))
        self._sleeping_until = None


def _call(callback: Callable[..., None], *values: Any) -> None:
    try:
        callback(*values)
    except Exception:  # a callback's own fault must not cost others their answers
        _log.exception("a callback of the embedded engine's service failed")
