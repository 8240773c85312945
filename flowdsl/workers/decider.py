"""The decider: poll for a decision task, replay the history, respond with what the code asks for.

Rule 1: one thread handles one task from poll to response; the greenlets of a body never leave it.
Rule 2: a response is all or nothing. Whatever goes wrong before it leaves the task open: it times out and is handed out again.
Rule 3: a misfit writes nothing but the fact: the execution stays open, its context says that it is blocked, a reserved timer asks again
        after a while, longer each time, until fitting code is deployed (replay rule 9).
        So is an execution whose decision task kills or fails its decider again and again: it is parked, not tried for ever.
Rule 4: a recorded function runs inside the decision task; it is timed, and the user is warned at half of the task's time.
Rule 5: open executions are kept between their tasks (`cache`). What is kept saves time and decides nothing.
Rule 6: stopping withdraws the open poll where the transport can do that; else it is waited for, and its task is done.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from flowdsl import ambient
from flowdsl.errors import Fault, InternalError, NonDeterminism
from flowdsl.lang.context import Info
from flowdsl.lang.scope import ActivityScope
from flowdsl.model import decisions
from flowdsl.plain import call_plainly
from flowdsl.replay.replayer import REPLAY_VERSION, Replayer
from flowdsl.service.faults import UNKNOWN_RESOURCE
from flowdsl.service.swf import Swf
from flowdsl.service.withdrawable import Submits, Withdrawable
from flowdsl.workers.cache import KEPT, Cache, unseen
from flowdsl.workers.hooks import Hooks
from flowdsl.workers.identity import default_identity
from flowdsl.workers.instances import find_instance
from flowdsl.workers.polling import PollLoop

if TYPE_CHECKING:
    from flowdsl.lang.registry import Registry
    from flowdsl.replay.ports import Values

log = logging.getLogger("flowdsl.decider")

BLOCKED_PREFIX = decisions.RESERVED_TIMER_PREFIX + "blocked-"
_LONGEST_BLOCK = 600.0
_LOST_AT_MOST, _LOST_AGAIN = 3, 1  # decision tasks in a row that may be lost before the execution is parked; when it was parked before

Batch = list[dict[str, Any]]


class Decider:
    """Decides for all workflows of a registry on one task list.

    `threads` poll and decide side by side, and each keeps up to `kept` open executions between their tasks; `instances` are what bound
    workflows run on; `on_response(execution, decisions)` is called after every response that the service has taken.
    """

    def __init__(
        self,
        swf: Swf,
        task_list: str,
        registry: Registry,
        values: Values,
        *,
        threads: int = 1,
        kept: int = KEPT,
        instances: Sequence[Any] = (),
        identity: str | None = None,
        hooks: Hooks | None = None,
        backend: str = "",
        on_response: Callable[[Mapping[str, str], Batch], None] | None = None,
    ) -> None:
        ambient.install()
        self._polls = Withdrawable(swf.transport)
        self._in_process = isinstance(swf.transport, Submits)
        self._swf = Swf(self._polls, swf.domain)
        self._task_list = task_list
        self._registry = registry
        self._values = values
        self._instances = instances
        self._identity = identity or default_identity()
        self._hooks = hooks or Hooks()
        self._backend = backend
        self._on_response = on_response
        self._unknown: set[tuple[str, str]] = set()
        self._in_hand = 0
        self._answered = threading.Condition()
        self._loops = [self._loop(f"flowdsl-decider-{n + 1}", Cache(kept)) for n in range(threads)]

    def _loop(self, name: str, cache: Cache) -> PollLoop:
        return PollLoop(lambda: self.run_once(cache), self._hooks, name, on_end=cache.close)

    def start(self) -> None:
        """Begin to poll, in background threads."""
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Poll no more; the decision in hand is finished (and the open poll, where it cannot be withdrawn). Does not wait: see `join`."""
        for loop in self._loops:
            loop.stop()
        self._polls.withdraw()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every thread has ended; False if some has not after `timeout` seconds."""
        return all([loop.join(timeout) for loop in self._loops])  # noqa: C419 - all of them are waited for

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until no decision is in hand; open polls are not waited for. False if one still is after `timeout` seconds."""
        with self._answered:
            return self._answered.wait_for(lambda: not self._in_hand, timeout)

    @contextmanager
    def _holding(self) -> Iterator[None]:
        with self._answered:
            self._in_hand += 1
        try:
            yield
        finally:
            with self._answered:
                self._in_hand -= 1
                self._answered.notify_all()

    def run_once(self, cache: Cache | None = None) -> bool:
        """One poll and, if it brought a task, one decision, in the calling thread. Return whether there was a task.

        `cache` must be this thread's own; without one nothing is kept.
        """
        cache = Cache(0) if cache is None else cache
        # In this process a history that is missing costs next to nothing, so only what is new is asked for.
        since_previous = self._in_process and cache.keeps
        task = self._swf.poll_for_decision_task(task_list=self._task_list, identity=self._identity, since_previous=since_previous)
        if task is None:
            return False
        with self._holding():
            further = self._swf.further_events(task, task_list=self._task_list, identity=self._identity, since_previous=since_previous)
            task["events"] += further
            self.decide(task, cache)
        return True

    def decide(self, task: Mapping[str, Any], cache: Cache) -> None:
        """Handle one decision task: `task` is the poll's answer with all its pages' events."""
        kind = task["workflowType"]
        definition = self._registry.find("workflow", kind["name"], kind["version"])
        if definition is None:
            self._leave_alone(kind)
            return
        replayer, answer = self._gone_on(task, cache.take(task, definition)), None
        if replayer is None:
            replayer, answer = self._from_the_beginning(task, definition)
        done = False
        try:
            batch, context = answer or (replayer.decisions(), replayer.context())
            done = self._respond(task, replayer, batch, context)
        finally:
            if done and answer is None and not replayer.finished:
                cache.keep(replayer)
            else:
                replayer.close()

    # --- the replayer: a kept one that goes on, or a new one with the whole history

    def _gone_on(self, task: Mapping[str, Any], replayer: Replayer | None) -> Replayer | None:
        """Feed a kept replayer what is new; None if it does not fit, and is closed."""
        if replayer is None:
            return None
        new = unseen(task["events"], replayer, task)
        if new is None:
            replayer.close()
            return None
        return replayer if self._feed(replayer, new) is None else None

    def _from_the_beginning(self, task: Mapping[str, Any], definition: Any) -> tuple[Replayer, tuple[Batch, str] | None]:
        """Replay the whole history; the second value is the answer to a misfit, or to a task that is parked."""
        events = self._whole_history(task)
        self._values.expect(_texts(events))
        replayer = self._replayer(task, definition, events)
        lost, parked = lost_in_a_row(events)
        error: Exception | None
        if lost >= (_LOST_AGAIN if parked else _LOST_AT_MOST):
            error = _poisonous(task, lost)  # whoever tries it may die of it
        else:
            try:
                error = self._feed(replayer, events)
            except Exception as failure:
                if lost < _LOST_AT_MOST - 1 and not parked:
                    raise  # it may be for once: the task times out and is given out again
                error = failure
        if error is None:
            return replayer, None
        log.error("%s is blocked: %s", task["workflowExecution"]["workflowId"], error, exc_info=error)
        self._hooks.report(error, task["workflowExecution"])
        return replayer, blocked(error, events)

    def _feed(self, replayer: Replayer, events: Sequence[Mapping[str, Any]]) -> NonDeterminism | None:
        """Feed; return the misfit, if there is one. After any other error the replayer is closed."""
        try:
            replayer.feed(events)
        except NonDeterminism as misfit:
            replayer.close()
            return misfit
        except BaseException:
            replayer.close()
            raise
        return None

    def _whole_history(self, task: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All events up to the task's own start; the answer may begin later."""
        events: list[dict[str, Any]] = task["events"]
        if events and events[0]["eventId"] == 1:
            return events
        execution = task["workflowExecution"]
        whole = self._swf.history(execution["workflowId"], execution["runId"])
        return list(takewhile(lambda event: event["eventId"] <= task["startedEventId"], whole))

    def _replayer(self, task: Mapping[str, Any], definition: Any, events: Sequence[Mapping[str, Any]]) -> Replayer:
        execution = task["workflowExecution"]
        return Replayer(
            definition,
            workflow_id=execution["workflowId"],
            run_id=execution["runId"],
            values=self._values,
            record=Recorder(execution, events),
            instance=find_instance(definition, self._instances),
            backend=self._backend,
        )

    # --- the response

    def _respond(self, task: Mapping[str, Any], replayer: Replayer, batch: Batch, context: str) -> bool:
        """Send the decisions; return whether the service has taken them."""
        execution = task["workflowExecution"]
        self._register(replayer)
        try:
            self._swf.respond_decision_task_completed(task_token=task["taskToken"], decisions=batch, execution_context=context)
        except Fault as fault:
            if fault.code != UNKNOWN_RESOURCE:
                raise
            log.info("a decision for %s came too late; the task was given out again or the execution is closed", execution["workflowId"])
            return False
        if self._on_response is not None:
            self._on_response(execution, batch)
        return True

    def _register(self, replayer: Replayer) -> None:
        """Tell the service the types it said it does not know."""
        for operation in replayer.types_to_register():
            target = operation.call.target
            if target.kind == "workflow":
                self._swf.register_workflow_type(name=target.name, version=target.version)
            else:
                self._swf.register_activity_type(name=target.name, version=target.version)

    def _leave_alone(self, kind: Mapping[str, str]) -> None:
        """A type that this process does not have: the task times out and goes to whoever has it."""
        name, version = kind["name"], kind["version"]
        if (name, version) not in self._unknown:
            self._unknown.add((name, version))
            known = ", ".join(sorted(d.name for d in self._registry if d.kind == "workflow")) or "none"
            log.warning("no workflow %s (version %s) is known here; its decision task is left to others. Known: %s", name, version, known)


def _texts(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The texts of values that a replay may read, in the order of the history."""
    for event in events:
        kind = event["eventType"]
        name = _READ.get(kind)
        text = event[kind[0].lower() + kind[1:] + "EventAttributes"].get(name) if name else None
        if text:
            yield text


_READ = {
    "WorkflowExecutionStarted": "input",
    "WorkflowExecutionSignaled": "input",
    "ActivityTaskCompleted": "result",
    "ActivityTaskFailed": "details",
    "ChildWorkflowExecutionCompleted": "result",
    "ChildWorkflowExecutionFailed": "details",
    "MarkerRecorded": "details",
}


def lost_in_a_row(events: Sequence[Mapping[str, Any]]) -> tuple[int, bool]:
    """How many decision tasks in a row, up to now, nobody answered; and whether the last one that was answered parked the execution."""
    lost = 0
    for event in reversed(events):
        kind = event["eventType"]
        if kind == "DecisionTaskTimedOut" and event["decisionTaskTimedOutEventAttributes"].get("startedEventId"):
            lost += 1
        elif kind == "DecisionTaskCompleted":
            context = read_context(event["decisionTaskCompletedEventAttributes"].get("executionContext"))
            return lost, "blocked" in context
    return lost, False


def _poisonous(task: Mapping[str, Any], lost: int) -> InternalError:
    execution = task["workflowExecution"]
    return InternalError(
        f"{lost} deciders in a row took the decision task of {task['workflowType']['name']!r} (workflow id {execution['workflowId']}, run "
        f"{execution['runId']}) and never answered: its code ends the process, or takes longer than its task_timeout. The execution is "
        "left open and unharmed; it is tried again after a while, longer each time, and goes on when the code does"
    )


def blocked(error: Exception, events: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The response to a task that cannot be decided now: nothing but the fact, and a timer that asks again later."""
    before = sum(
        1 for e in events if e["eventType"] == "TimerStarted" and e["timerStartedEventAttributes"]["timerId"].startswith(BLOCKED_PREFIX)
    )
    delay = min(_LONGEST_BLOCK, 2.0 * 2 ** min(before, 20))
    timer = decisions.start_timer(timer_id=f"{BLOCKED_PREFIX}{events[-1]['eventId']}", start_to_fire=delay)
    context: dict[str, Any] = {
        "flowdsl": REPLAY_VERSION,
        "blocked": (getattr(error, "message", "") or f"{type(error).__name__}: {error}")[:4000],
    }
    for event in reversed(events):
        if event["eventType"] == "DecisionTaskCompleted":
            earlier = read_context(event["decisionTaskCompletedEventAttributes"].get("executionContext"))
            if "published" in earlier:
                context["published"] = earlier["published"]
                break
    return [timer], json.dumps(context, ensure_ascii=False)


def read_context(text: str | None) -> dict[str, Any]:
    """What a decision task's context says: `flowdsl` (the replay version), `published`, `blocked`; empty if it is not ours."""
    try:
        context = json.loads(text or "{}")
    except ValueError:
        return {}
    return context if isinstance(context, dict) and "flowdsl" in context else {}


class Recorder:
    """Runs a recorded function for the first time, as plain code, and warns when it takes much of the decision task's time."""

    def __init__(self, execution: Mapping[str, str], events: Sequence[Mapping[str, Any]]) -> None:
        self._execution = execution
        limit = events[0]["workflowExecutionStartedEventAttributes"].get("taskStartToCloseTimeout", "NONE") if events else "NONE"
        self._limit = None if limit == "NONE" else float(limit)

    def __call__(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any) -> Any:
        """Run the function and return what it returns; raises what it raises."""
        about = Info(
            kind=target.kind,
            name=target.name,
            version=target.version,
            workflow_id=self._execution["workflowId"],
            run_id=self._execution["runId"],
        )
        began = time.monotonic()
        try:
            return call_plainly(target, args, kwargs, instance, ActivityScope(about))
        finally:
            took = time.monotonic() - began
            if self._limit is not None and took > self._limit / 2:
                log.warning(
                    "the recorded function %s took %.1f s of a decision task's %g s; make it an @activity, or raise "
                    "@workflow(task_timeout=…)",
                    target.name, took, self._limit,
                )  # fmt: skip
