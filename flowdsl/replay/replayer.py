"""The replayer: feed it events, ask it for decisions.

Rule 1: events are applied strictly in event-id order, and after each one every branch that can run runs until it waits (replay rule 1).
        Where the service cut the history into decision tasks is never looked at.
Rule 2: what the code asked for stands in the outbox, in the order in which it was asked, until the history acknowledges it.
        What is in the outbox when all events are applied is what this turn sends.
Rule 3: an acknowledgement of something that is not in the outbox is a misfit: code and history disagree, and nothing is written.
Rule 4: open activities, timers and children stay below the service's limits; what does not fit waits in the outbox, and user code never
        sees it. What recorded functions returned goes first and always fits: if it were not recorded in its turn, they would run again.
Rule 5: a change of the order in which things happen here is a new `REPLAY_VERSION`, recorded in every decision task's context.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flowdsl import limits
from flowdsl.errors import Cancelled, CancelRequested, ContinueAsNew, DefinitionError, InternalError, LimitExceeded, NonDeterminism
from flowdsl.lang.context import outside_workflow
from flowdsl.lang.promises import Promise
from flowdsl.model import decisions
from flowdsl.model.carried import referred, split_signals, with_reference, with_signals
from flowdsl.model.lifecycle import EVENTS
from flowdsl.replay.branches import Branch, Hub, Scope
from flowdsl.replay.journal import Journal, Key
from flowdsl.replay.operations import CLOSED, DECISIONS, ONE_YEAR, Operation
from flowdsl.replay.outcomes import HANDLERS
from flowdsl.replay.runtime import WorkflowRuntime

if TYPE_CHECKING:
    from flowdsl.lang.context import Call
    from flowdsl.replay.ports import Values

REPLAY_VERSION = 1

OPEN_LIMITS: Mapping[str, int] = {
    "activity": limits.OPEN_ACTIVITIES,
    "timer": limits.OPEN_TIMERS - 3,  # room for the replayer's own: more, pace, blocked
    "workflow": limits.OPEN_CHILDREN,
}
CLOSE: Key = ("close", "")
_REFUSED_BESIDE_CLOSE = ("activity", "timer")  # by the service: "Specified decision is incompatible with close decision"
_RECORDS = ("marker", "mark")  # what ran is recorded, also when the workflow fails right after it
_MOST_RECORDS = limits.DECISIONS - 2  # of recorded functions in one response: both wake-up timers have room beside them
_MOST_RECORD_BYTES = decisions.MAX_BYTES - 6 * limits.DATA - 1_024  # one more always fits; escaped, a character takes six bytes
_LONGEST_PAUSE = 60.0
_SEEN = "flowdsl:seen"  # what is carried to the next run under this name is no signal: the ids of those that arrived
_SEEN_KEPT = 1_000


class Replayer:
    """One execution, as far as its history has been fed.

    `definition` is the workflow, `instance` what a method is bound to; `values` encodes and decodes;
    `record` runs a recorded (`@cached` or timer) function for the first time. `silent`: the workflow's logger takes all of it for a replay.
    """

    def __init__(
        self,
        definition: Any,
        *,
        workflow_id: str,
        run_id: str,
        values: Values,
        record: Callable[[Any, tuple[Any, ...], dict[str, Any], Any], Any],
        instance: Any = None,
        backend: str = "",
        silent: bool = False,
    ) -> None:
        self.definition = definition
        self.instance = instance
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.values = values
        self.record = record
        self.backend = backend
        self.journal = Journal()
        self.outbox: dict[Key, Operation] = {}
        self.acknowledged: Counter[Key] = Counter()  # by the events applied so far
        self.operations: dict[int, Operation] = {}  # by the id of the event that opened them
        self.cancels: dict[int, Operation] = {}  # children that were asked to stop, by the id of the event that shows it
        self.unsettled: dict[Operation, None] = {}  # what a workflow that returns still waits for
        self.spawned: dict[Promise[Any], None] = {}
        self.open: Counter[str] = Counter()
        self.windows: dict[str, int] = dict(OPEN_LIMITS)
        self.widening: set[str] = set()  # kinds whose limit is not ours alone: each one that opens widens the window again
        self.paced: set[str] = set()  # kinds held back until the pace timer fires
        self.pace_timer_open = False
        self.pauses = 0  # pace timers since the service took something
        self.waiting_to_record = 0  # branches whose recorded function waits for the next turn
        self.signals: dict[str, deque[str | None]] = {}
        self.listeners: dict[str, deque[tuple[Call, Promise[Any]]]] = {}
        self.marks: Counter[str] = Counter()
        self.patches: dict[str, bool] = {}
        self.seen: dict[str, None] = {}  # ids of signals that arrived
        self.published: str | None = None
        self.started: Mapping[str, Any] = {}
        self.input: str | None = None
        self.started_at = 0.0
        self.task_list = ""
        self.now = 0.0
        self.silent = silent
        self.replaying = silent
        self.closed = False
        self.main: Branch | None = None
        self.runtime = WorkflowRuntime(self)
        self.hub = Hub(self.runtime)
        self.turn = 0
        self._records: dict[Key, int] = {}  # outcomes of recorded functions in the outbox: their bytes
        self._record_bytes = 0
        self._backlog: deque[Mapping[str, Any]] = deque()
        self._close_decision: dict[str, Any] | None = None
        self._ending = False

    # --- events in

    def feed(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Apply further events, in order. Raises `NonDeterminism` if the code does not fit them; the replayer is of no use then.

        Events after the last DecisionTaskStarted wait for the next one (until then nobody knows what time it is for them) or for the close.
        """
        batch = list(events)
        self.foresee(batch)
        self._backlog.extend(batch)
        backlog = self._backlog
        limit = self.journal.last_id if self.journal.shows_close else self.journal.last_started
        while backlog and backlog[0]["eventId"] <= limit:
            self._apply(backlog.popleft())

    def foresee(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Index events that will be fed later: the more of the history is known, the less has to be assumed of the latest turn.

        Without it the last DecisionTaskStarted is taken for a turn; if that decision task then times out it was none, and the replayer is
        stale.
        """
        known = self.journal.last_id
        self.journal.extend(event for event in events if event["eventId"] > known)

    def _apply(self, event: Mapping[str, Any]) -> None:
        kind = event["eventType"]
        handler = HANDLERS.get(kind)
        if handler is None:
            return
        event_id = event["eventId"]
        if event_id > self.turn:
            turn = self.journal.turn_of(event_id)
            if turn is not None:
                self.turn, self.now = turn
                self.replaying = self.silent or self.journal.is_past(turn)
        handler(self, event_id, event[EVENTS[kind].key])
        self.hub.run()
        if self._ending and not self.hub.closing:
            self.hub.close()

    def begin(self, attributes: Mapping[str, Any]) -> None:
        """The first event: the body starts."""
        self.started = attributes
        text = attributes.get("input")
        packed = referred(text)
        if packed is not None:
            text = self.values.decode_plain(self.definition.name, "carried", packed)
        self.input, unread = split_signals(text)
        for name, payload in unread:
            if name == _SEEN:
                self.seen.update(dict.fromkeys(json.loads(payload or "[]")))
            else:
                self.signals.setdefault(name, deque()).append(payload)
        self.started_at = self.now
        self.task_list = attributes["taskList"]["name"]
        promise: Promise[Any] = Promise(self.runtime, "the workflow")
        self.main = Branch("", promise)
        promise.subscribe(self._ended)
        self.hub.begin(self.main, Scope(), self.runtime.main, (), {})

    # --- the end

    def _ended(self, promise: Promise[Any]) -> None:
        """The body returned or raised: the execution closes with the next response."""
        error = promise.exception() if promise.failed else None
        with outside_workflow():
            self._close_decision = self._closing(promise, error)
        self._ending = True
        for key in list(self.outbox):
            if key[0] in _REFUSED_BESIDE_CLOSE or (error is not None and key[0] not in _RECORDS):
                operation = self.outbox[key]
                if self.withdraw(key) and error is None:
                    self.runtime.record_withdrawn(operation)
        self.ask(CLOSE, Operation("close", "", None, promise))  # type: ignore[arg-type]  # closing is no call of the user's

    def _closing(self, promise: Promise[Any], error: BaseException | None) -> dict[str, Any]:
        target = self.definition
        if isinstance(error, ContinueAsNew):
            try:
                return self._continuation(error)
            except Exception as refused:  # noqa: BLE001 - arguments that cannot be stored fail the workflow with that error
                error = refused
        if isinstance(error, CancelRequested | Cancelled) and self.runtime.cancel_requested:
            return decisions.cancel_workflow_execution(details=str(error))
        if error is None:
            return decisions.complete_workflow_execution(result=promise.result())
        reason, details = self.values.encode_failure(target, error)
        return decisions.fail_workflow_execution(reason=reason, details=details)

    def _continuation(self, request: ContinueAsNew) -> dict[str, Any]:
        options = self.definition.settings
        return decisions.continue_as_new_workflow_execution(
            input=self.values.encode_call(self.definition, request.call_args, request.call_kwargs),
            task_list=self.task_list,
            task_priority=options.priority,
            execution_start_to_close=ONE_YEAR if options.timeout is None else options.timeout,
            task_start_to_close=options.task_timeout,
            child_policy=options.child_policy,
            tag_list=tuple(self.started.get("tagList", ())),
            version=self.definition.version,
        )

    # --- the outbox

    def ask(self, key: Key, operation: Operation) -> None:
        """Put something into the outbox: it is sent with this turn, or the history shows that it was sent."""
        if key in self.outbox:
            raise InternalError(f"{key} was asked for twice")
        self.outbox[key] = operation
        if key[0] == "marker":
            size = self._records[key] = decisions.size(DECISIONS["marker"](operation, ""))
            self._record_bytes += size

    def was_sent(self, key: Key) -> bool:
        """Whether the history acknowledges, now or further on, what stands in the outbox under `key`."""
        return self.journal.acknowledgements(key) > self.acknowledged[key]

    def withdraw(self, key: Key) -> bool:
        """Take back what was never sent; False if it was (then only a decision can cancel it)."""
        if key not in self.outbox or self.was_sent(key):
            return False
        del self.outbox[key]
        return True

    def has_room_to_record(self) -> bool:
        """Whether one more outcome of a recorded function is sure to go out with this turn."""
        return len(self._records) < _MOST_RECORDS and self._record_bytes <= _MOST_RECORD_BYTES

    def acknowledge(self, key: Key, recorded: str | Callable[[], str]) -> Operation:
        """The history shows that the service took (or refused) `key`. `recorded` says its event, or is a function that does."""
        operation = self.outbox.pop(key, None)
        if operation is None:
            raise self.misfit(recorded if isinstance(recorded, str) else recorded())
        self.acknowledged[key] += 1
        if key[0] == "marker":
            self._record_bytes -= self._records.pop(key)
        return operation

    def misfit(self, recorded: str) -> NonDeterminism:
        """The error that shows the history's event beside what the code asks for."""
        asked = [op.describe() for key, op in self.outbox.items() if key != CLOSE]
        if CLOSE in self.outbox:
            asked.append("the workflow's end")
        doing = "\n            ".join(asked) or "nothing: every branch waits for something else"
        return NonDeterminism(
            f"replay of {self.definition.name!r} (workflow id {self.workflow_id}, run {self.run_id}) took another path than its history.\n"
            f"  history   {recorded}\n  now       {doing}\n"
            "  The code changed while this execution was open, or does something that is not recorded (clock, randomness, I/O).\n"
            "  The execution is left open and unharmed and goes on as soon as fitting code is deployed. Keep the old order of calls for\n"
            '  it, or register the new code beside the old:  @workflow(version="2")',
            recorded=recorded,
            now=doing,
        )

    # --- decisions out

    def decisions(self) -> list[dict[str, Any]]:
        """What this turn sends: a prefix of the outbox within the service's limits, and a wake-up timer if something is left for later."""
        held = any(verb in self.paced for verb, _ in self.outbox)
        batch, rest = decisions.pack(self._sendable(), max_count=limits.DECISIONS - held)  # room for the pace timer
        if rest or self.waiting_to_record:
            batch.append(self._wake_up("more", 0.0))
        elif held and not self.pace_timer_open:
            batch.append(self._wake_up("pace", min(_LONGEST_PAUSE, 2.0 ** min(self.pauses, 30))))
        return batch

    def _sendable(self) -> list[dict[str, Any]]:
        """Decisions for what may go out now: records first, the close last, and hardly more than one response can carry."""
        sending = [DECISIONS["marker"](self.outbox[key], self.task_list) for key in self._records]
        opening: Counter[str] = Counter()
        for (verb, _), operation in self.outbox.items():
            if verb in ("marker", "close") or verb in self.paced:
                continue
            if verb in self.windows:
                if self.open[verb] + opening[verb] >= self.windows[verb]:
                    continue
                opening[verb] += 1
            sending.append(DECISIONS[verb](operation, self.task_list))
            if len(sending) > limits.DECISIONS:
                return sending  # it will be cut anyway
        if CLOSE in self.outbox and "close" not in self.paced and self._close_decision is not None:
            sending.append(self._with_unread_signals(self._close_decision))
        return sending

    def _with_unread_signals(self, close: dict[str, Any]) -> dict[str, Any]:
        """A continuation takes along what nobody has read, also what came after it was asked for; other closes are as they are."""
        unread: list[tuple[str, str | None]] = [(name, text) for name, texts in self.signals.items() for text in texts]
        if self.seen:
            unread.append((_SEEN, json.dumps(list(self.seen)[-_SEEN_KEPT:])))
        if not unread or close["decisionType"] != "ContinueAsNewWorkflowExecution":
            return close
        key = "continueAsNewWorkflowExecutionDecisionAttributes"
        text = with_signals(close[key].get("input", "{}"), unread)
        if limits.length(text) <= limits.DATA:
            return {**close, key: {**close[key], "input": text}}
        many = (
            f"continue_as_new() of {self.definition.name!r}: {len(unread)} unread signals and the arguments take {len(text):,} characters"
        )
        try:
            packed = with_reference(self.values.encode_plain(self.definition.name, "carried", text))
            if limits.length(packed) <= limits.DATA:
                return {**close, key: {**close[key], "input": packed}}
        except LimitExceeded:
            pass  # there is no store
        error = LimitExceeded(f"{many}, more than the {limits.DATA:,} of an input. Configure a store, or read signals before continuing")
        reason, details = self.values.encode_failure(self.definition, error)
        return decisions.fail_workflow_execution(reason=reason, details=details)

    def _wake_up(self, why: str, delay: float) -> dict[str, Any]:
        timer_id = f"{decisions.RESERVED_TIMER_PREFIX}{why}-{self.journal.last_started}"
        return decisions.start_timer(timer_id=timer_id, start_to_fire=delay)

    def types_to_register(self) -> list[Operation]:
        """Calls whose type the service said it does not know; they are asked again once it is registered."""
        return [op for op in self.outbox.values() if op.register]

    def context(self) -> str:
        """The decision task's context: the replay version, and what the workflow published."""
        published = "" if self.published is None else f', "published": {decisions.json_string(self.published)}'
        return f'{{"flowdsl": {REPLAY_VERSION}{published}}}'

    # --- what is going on

    @property
    def moment(self) -> datetime:
        """Now, by the history."""
        return datetime.fromtimestamp(self.now, UTC)

    @property
    def finished(self) -> bool:
        """Whether the body has ended and the execution is closed or closes with this turn."""
        return self._ending

    def refuse_close(self, cause: str, event_id: int) -> None:
        """The service did not take the close. It is asked again: at once after events that came in between, later for other causes.

        A continuation that can't begin (its type is deprecated, say) would never be taken; the execution fails instead.
        """
        self.ask(CLOSE, self.acknowledge(CLOSE, f"the refused close (event {event_id}, {cause})"))
        if cause == "UNHANDLED_DECISION":
            return
        if self._close_decision is not None and self._close_decision["decisionType"] == "ContinueAsNewWorkflowExecution":
            error = DefinitionError(f"continue_as_new() of {self.definition.name!r} was refused by the service: {cause}")
            reason, details = self.values.encode_failure(self.definition, error)
            self._close_decision = decisions.fail_workflow_execution(reason=reason, details=details)
        else:
            self.paced.add("close")

    def end(self, kind: str, event_id: int) -> None:
        """The history shows the execution's close."""
        self.closed = True
        if kind not in ("WorkflowExecutionTimedOut", "WorkflowExecutionTerminated"):
            self.acknowledge(CLOSE, f"{kind} (event {event_id})").state = CLOSED

    def close(self) -> None:
        """Tear down the suspended body; must be called on the thread that fed the events."""
        if not self.hub.closing:
            self.hub.close()
