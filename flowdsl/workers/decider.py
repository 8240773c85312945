"""The decider: poll for a decision task, replay the history, respond with what the code asks for.

Rule 1: one thread handles one task from poll to response; the greenlets of a body never leave it.
Rule 2: a response is all or nothing. Whatever goes wrong before it leaves the task open: it times out and is handed out again.
Rule 3: a misfit writes nothing but the fact: the execution stays open, its context says that it is blocked, a reserved timer asks again
        after a while, longer each time, until fitting code is deployed (replay rule 9).
        So is an execution whose decision task kills or fails its decider again and again: it is parked, not tried for ever.
Rule 4: a recorded function runs inside the decision task; it is timed, and the user is warned at half of the task's time.
Rule 5: open executions are kept between their tasks (`cache`). What is kept saves time and decides nothing.
Rule 6: stopping withdraws the open poll where the transport can do that; else it is waited for, and its task is done.
Rule 7: where several decide (`sticky`), each thread has a task list of its own, and names it in its responses: the execution's next tasks
        come back to where it is kept, if they are taken there within `STICKY` seconds, else to everybody. What is answered while stopping
        hands the execution back to everybody's list; so a stop goes on for as long, or until nothing is kept any more.
Rule 8: with a `build`, what is begun here stays with code of that build: the first response names the build's own list, for good; a signal
        of `flowdsl upgrade` makes the next response name another build's (`builds`).
Rule 9: now and then a kept execution is compared with its whole history (`shadow`).
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from flowdsl import ambient
from flowdsl.errors import Fault, NonDeterminism
from flowdsl.replay.replayer import Replayer
from flowdsl.service.faults import UNKNOWN_RESOURCE
from flowdsl.service.swf import Swf
from flowdsl.service.withdrawable import Withdrawable
from flowdsl.workers.builds import Build, moved_to
from flowdsl.workers.cache import KEPT, Cache, unseen, weight
from flowdsl.workers.desk import Desk
from flowdsl.workers.hooks import Hooks
from flowdsl.workers.identity import default_identity
from flowdsl.workers.instances import find_instance
from flowdsl.workers.parking import LOST_AGAIN, LOST_AT_MOST, blocked, lost_in_a_row, poisonous
from flowdsl.workers.polling import PollLoop
from flowdsl.workers.recorder import Recorder
from flowdsl.workers.shadow import COUNTS, SHADOW_EVERY, Turnstile, difference, refuse_to_record

if TYPE_CHECKING:
    from flowdsl.lang.registry import Registry
    from flowdsl.replay.ports import Values

log = logging.getLogger("flowdsl.decider")

STICKY = 5.0
"""Seconds that a task waits for the one who keeps its execution. Whoever is gone delays it by so much, once."""

Batch = list[dict[str, Any]]
NextList = tuple[str | None, float | None]


class Decider:
    """Decides for all workflows of a registry on one task list.

    `threads` poll and decide side by side, and each keeps up to `kept` open executions between their tasks; `instances` are what bound
    workflows run on; `on_response(execution, decisions)` is called after every response that the service has taken. `sticky` is rule 7,
    `build` rule 8 (they exclude each other), `shadow_every` rule 9.
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
        sticky: bool = False,
        build: Build | None = None,
        shadow_every: int = SHADOW_EVERY,
    ) -> None:
        ambient.install()
        self._polls = Withdrawable(swf.transport)
        self._swf = Swf(self._polls, swf.domain)
        self._own_polls = Withdrawable(swf.transport)
        self._own_swf = Swf(self._own_polls, swf.domain)
        self._task_list = task_list
        self._registry = registry
        self._values = values
        self._instances = instances
        self._identity = identity or default_identity()
        self._hooks = hooks or Hooks()
        self._backend = backend
        self._on_response = on_response
        self._build = build
        self._turnstile = Turnstile(shadow_every)
        self._unknown: set[tuple[str, str]] = set()
        self._in_hand = 0
        self._answered = threading.Condition()
        self._stopping = False
        self._desks: list[Desk] = []
        self._caches: list[Cache] = []
        self._own_loops: list[PollLoop] = []
        self._handing_back: threading.Timer | None = None
        self._loops = [loop for n in range(threads) for loop in self._thread(f"flowdsl-decider-{n + 1}", Cache(kept), sticky=sticky)]

    def _thread(self, name: str, cache: Cache, *, sticky: bool) -> list[PollLoop]:
        """What one thread that decides is made of: a loop that polls and decides, or a desk and the loops that bring it tasks."""
        build = self._build
        if build is None and not sticky:
            return [PollLoop(lambda: self.run_once(cache), self._hooks, name, on_end=cache.close)]
        desk = Desk(name, cache.close)
        self._desks.append(desk)
        self._caches.append(cache)
        own = f"{self._task_list[:200]}.{uuid.uuid4().hex}" if build is None else build.task_list
        polling = [self._task_list, own]

        def bring(task_list: str) -> Callable[[], bool]:
            def step() -> bool:
                if build is not None and task_list != own and not build.is_newest():
                    build.wait()
                    return True
                sticks = own if build is None else None
                return self._bring(task_list, cache, sticks, desk.do)

            return step

        def ended() -> None:
            with self._answered:
                polling.pop()
                last = not polling
            if last:
                desk.stop()

        shared, mine = (PollLoop(bring(task_list), self._hooks, f"{name}-poll", on_end=ended) for task_list in (self._task_list, own))
        self._own_loops.append(mine)
        return [shared, mine]

    def start(self) -> None:
        """Begin to poll, in background threads."""
        for desk in self._desks:
            desk.start()
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Poll no more; the decision in hand is finished (and the open poll, where it cannot be withdrawn). Does not wait: see `join`."""
        self._stopping = True
        if self._build is not None:
            self._build.stop()
        for loop in self._loops:
            if loop not in self._own_loops:
                loop.stop()
        self._polls.withdraw()
        self._handing_back = threading.Timer(STICKY, self._end)
        self._handing_back.daemon = True
        self._handing_back.start()
        self._end_if_nothing_is_left()

    def _end_if_nothing_is_left(self) -> None:
        """While stopping: once nothing is in hand or kept, nobody's task can come to a list of our own any more."""
        if self._stopping and (self._build is not None or not (self._in_hand or any(self._caches))):
            self._end()

    def _end(self) -> None:
        """Nothing is handed back any more: end the polls of our own lists too."""
        for loop in self._own_loops:
            loop.stop()
        self._own_polls.withdraw()
        if self._handing_back is not None:
            self._handing_back.cancel()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every thread has ended; False if some has not after `timeout` seconds."""
        ends = [loop.join for loop in self._loops] + [desk.join for desk in self._desks]
        return all([join(timeout) for join in ends])  # noqa: C419 - all of them are waited for

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
            self._end_if_nothing_is_left()

    def run_once(self, cache: Cache | None = None) -> bool:
        """One poll and, if it brought a task, one decision, in the calling thread. Return whether there was a task.

        `cache` must be this thread's own; without one nothing is kept.
        """
        return self._bring(self._task_list, Cache(0) if cache is None else cache, None, lambda work: work())

    def _bring(self, task_list: str, cache: Cache, sticks: str | None, do: Callable[[Callable[[], object]], object]) -> bool:
        """Poll once and have the task, if there is one, decided by `do`; return whether there was one."""
        # Only what is new is asked for. A history that turns out to be missing is fetched: that costs one call more, once.
        since_previous = cache.keeps
        swf = self._swf if task_list == self._task_list else self._own_swf
        task = swf.poll_for_decision_task(task_list=task_list, identity=self._identity, since_previous=since_previous)
        if task is None:
            return False
        with self._holding():
            further = swf.further_events(task, task_list=task_list, identity=self._identity, since_previous=since_previous)
            task["events"] += further
            do(lambda: self.decide(task, cache, sticks))
        return True

    def decide(self, task: Mapping[str, Any], cache: Cache, sticks: str | None = None) -> None:
        """Handle one decision task: `task` is the poll's answer with all its pages' events.

        `sticks` is the list of the thread whose cache this is, None if it has none.
        """
        kind = task["workflowType"]
        definition = self._registry.find("workflow", kind["name"], kind["version"])
        if definition is None:
            self._leave_alone(kind)
            return
        hands_back = sticks is not None and self._stopping  # asked once: where the next tasks go and what is kept must agree
        kept = cache.take(task, definition)
        replayer, weighs = kept or (None, 0)
        replayer, answer = self._gone_on(task, replayer), None
        if replayer is not None:
            replayer = self._compared(task, replayer)
        if replayer is None:
            weighs = 0
            replayer, answer = self._from_the_beginning(task, definition)
        weighs += weight(task["events"])
        done = False
        try:
            batch, context = answer or (replayer.decisions(), replayer.context())
            keeps = answer is None and not replayer.finished
            done = self._respond(task, replayer, batch, context, self._next_list(task, sticks if keeps else None, hands_back=hands_back))
        finally:
            if done and answer is None and not replayer.finished and not hands_back:
                cache.keep(replayer, weighs)
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
        _recorder(replayer).begin()
        return replayer if self._feed(replayer, new) is None else None

    def _compared(self, task: Mapping[str, Any], replayer: Replayer) -> Replayer | None:
        """The replayer, or None (and it is closed) if a replay of the whole history, when one is due, decides differently."""
        if not self._turnstile.compares(recorded=_recorder(replayer).ran):
            return replayer
        events = self._whole_history(task)
        fresh = self._replayer(task, replayer.definition, events, shadow=True)
        kept = replayer.decisions(), replayer.context()
        try:
            misfit = self._feed(fresh, events)
            agreed = misfit is None and (fresh.decisions(), fresh.context()) == kept
            COUNTS.note(agreed=agreed)
            if agreed:
                return replayer
            error = difference(replayer, kept, ([], "") if misfit is not None else (fresh.decisions(), fresh.context()))
        finally:
            fresh.close()
        log.error("%s", error)
        self._hooks.report(error, task["workflowExecution"])
        replayer.close()
        return None

    def _from_the_beginning(self, task: Mapping[str, Any], definition: Any) -> tuple[Replayer, tuple[Batch, str] | None]:
        """Replay the whole history; the second value is the answer to a misfit, or to a task that is parked."""
        events = self._whole_history(task)
        self._values.expect(_texts(events))
        replayer = self._replayer(task, definition, events)
        lost, parked = lost_in_a_row(events)
        error: Exception | None
        if lost >= (LOST_AGAIN if parked else LOST_AT_MOST):
            error = poisonous(task, lost)  # whoever tries it may die of it
        else:
            try:
                error = self._feed(replayer, events)
            except Exception as failure:
                if lost < LOST_AT_MOST - 1 and not parked:
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

    def _replayer(self, task: Mapping[str, Any], definition: Any, events: Sequence[Mapping[str, Any]], *, shadow: bool = False) -> Replayer:
        execution = task["workflowExecution"]
        return Replayer(
            definition,
            workflow_id=execution["workflowId"],
            run_id=execution["runId"],
            values=self._values,
            record=refuse_to_record if shadow else Recorder(execution, events),
            instance=find_instance(definition, self._instances),
            backend=self._backend,
            silent=shadow,
        )

    # --- the response

    def _respond(self, task: Mapping[str, Any], replayer: Replayer, batch: Batch, context: str, goes_to: NextList) -> bool:
        """Send the decisions; return whether the service has taken them."""
        execution = task["workflowExecution"]
        self._register(replayer)
        task_list, within = goes_to
        try:
            self._swf.respond_decision_task_completed(
                task_token=task["taskToken"], decisions=batch, execution_context=context,
                task_list=task_list, task_list_schedule_to_start=within,
            )  # fmt: skip
        except Fault as fault:
            if fault.code != UNKNOWN_RESOURCE:
                raise
            log.info("a decision for %s came too late; the task was given out again or the execution is closed", execution["workflowId"])
            return False
        if self._on_response is not None:
            self._on_response(execution, batch)
        return True

    def _next_list(self, task: Mapping[str, Any], sticks: str | None, *, hands_back: bool) -> NextList:
        """Where the execution's next tasks shall go, and how long they may wait there; None leaves them where they go now."""
        if self._build is not None:
            build = moved_to(task["events"])
            return (self._build.task_list if build is None else self._build.list_of(build)), None
        if sticks is None:
            return None, None
        return (self._task_list, None) if hands_back else (sticks, STICKY)

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


def _recorder(replayer: Replayer) -> Recorder:
    assert isinstance(replayer.record, Recorder)  # only shadows have another one, and they are not kept
    return replayer.record


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
