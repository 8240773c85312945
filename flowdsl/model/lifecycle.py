"""The table: every event and every decision of Amazon SWF, whose life each one changes, and which moves are legal.

Rule 1: everything that is known about single events and decisions stands in this file. What only several events together can break
        (dense ids, nothing after the close, one decision task at a time) is in `history`.
Rule 2: this file does not know for whom it works. A decider folds the events it is shown; an engine folds the events it is about to
        write. Same rows, same refusals.
Rule 3: a life begins with one event and is known from then on by that event's id. An event moves one life at most. Its row says which
        attribute names that life, and which moves are legal, as {state before: state after}. **A missing key is the refusal.**
Rule 4: a life is open in SCHEDULED, INITIATED, STARTED and OPEN. Every other state is an end: no row leaves it.
Rule 5: cancellation is a small life of its own beside that of its activity or execution (NOT_REQUESTED → REQUESTED). A request changes
        nothing else: what was asked to stop may still complete, fail or be out of time.
Rule 6: where an event refers back to what started its life, or to the latest request to cancel it, that reference must be right
        (`refers`). A timer is started by the event that begins it. 0 means that it never was.
Rule 7: a refused decision has no life, it is known by the id that the decider chose. Some causes say something about that id
        (…_ALREADY_IN_USE: it is open; …_UNKNOWN: it is not), and are refused where that is not so.
Rule 8: members that no row names are never looked at, so an engine may fold what it has before it is complete. Members with the value
        0 may be absent: some recordings have lost them.

Theory of operation. `EVENTS[event_type]` is the row. `Lives.apply` finds the life that the row's attribute names, asks `moves` for the
next state, and either changes that one life or raises `Refused` and changes nothing. There is no code per event type; how a life is
found (`by`) is the only dispatch. The manual's state diagrams are printed from `EVENTS`.

What is outside the table, and known to be: that an id may not be longer than 256 characters (`limits`), how many lives may be open at
once (the replayer's windows, the engine's quotas), which causes a refusal may have, and when timeouts are due (the engine).

Sources: names and attributes are those of the service model that botocore ships, and a test compares them; moves, and which events
schedule a decision task, are those of histories recorded on the service and of the Amazon SWF developer guide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

# --- whose life -----------------------------------------------------------------------------------------------------

EXECUTION = "execution"
DECISION_TASK = "decision task"
ACTIVITY = "activity"
TIMER = "timer"
CHILD = "child"
SIGNAL = "external signal"  # one that this execution sends; one that it receives is an event of its own life
CANCEL = "external cancel"
LAMBDA = "lambda"
MARKER = "marker"  # has no life: it is recorded, and that is all

KINDS = (EXECUTION, DECISION_TASK, ACTIVITY, TIMER, CHILD, SIGNAL, CANCEL, LAMBDA)

# --- states ---------------------------------------------------------------------------------------------------------

ABSENT = "ABSENT"  # before the first event
SCHEDULED, INITIATED, STARTED, OPEN = "SCHEDULED", "INITIATED", "STARTED", "OPEN"
COMPLETED, FAILED, TIMED_OUT, CANCELED = "COMPLETED", "FAILED", "TIMED_OUT", "CANCELED"
TERMINATED, CONTINUED_AS_NEW = "TERMINATED", "CONTINUED_AS_NEW"
FIRED, DELIVERED, START_FAILED = "FIRED", "DELIVERED", "START_FAILED"
NOT_REQUESTED, REQUESTED = "NOT_REQUESTED", "REQUESTED"  # of the small life of rule 5

OPEN_STATES = frozenset({SCHEDULED, INITIATED, STARTED, OPEN})

# --- how an event names its life ------------------------------------------------------------------------------------

BEGINS = "begins"  # it begins a life; the attribute is the id that the decider chose
BY_EVENT = "by event"  # the attribute is the id of the event that began the life
BY_ID = "by id"  # the attribute is the id that the decider chose
SOLE = "sole"  # the execution: there is one
NONE = "none"  # no life: a marker, or a refused decision

Moves = Mapping[str, str]
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class EventRow(NamedTuple):
    """One event type. `type` and `key` are the wire's; `outcome` lists the attributes that say how the life ended (or what arrived)."""

    type: str
    key: str
    life: str
    by: str
    named: str
    moves: Moves
    outcome: tuple[str, ...] = ()
    schedules: bool = False  # a decision task, unless one is waiting or the execution is closed
    cancellation: bool = False  # the moves are those of the life's cancellation (rule 5)
    refers: Mapping[str, str] = _NOTHING  # attribute → which event of the life it must be (rule 6)
    acknowledges: str = ""  # the decision type that the service took
    refuses: str = ""  # the decision type that it did not take
    causes: Moves = _NOTHING  # what a cause says about the id of rule 7: OPEN or ABSENT

    @property
    def closes(self) -> str:
        """The execution's close status that this event brings, or an empty string."""
        status = self.moves.get(OPEN, OPEN)
        return "" if status == OPEN else status


class DecisionRow(NamedTuple):
    """One decision type. `id` is the attribute by which the decider knows it again, empty for the four that close."""

    type: str
    key: str
    id: str
    ok: str  # the event that acknowledges it
    failed: str  # the event that refuses it
    closes: bool = False
    beside_close: bool = True  # may stand in one response with a closing decision; else the service refuses the whole response
    key_optional: bool = False  # the attributes may be left out altogether


def attributes_key(event_type: str) -> str:
    """The member of an event that holds its attributes: `ActivityTaskStarted` → `activityTaskStartedEventAttributes`."""
    row = EVENTS.get(event_type)
    return row.key if row is not None else _key(event_type, "Event")


def attributes(event: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of an event; empty where it has none."""
    found: dict[str, Any] = event.get(attributes_key(event["eventType"])) or {}
    return found


def _key(name: str, what: str) -> str:
    return f"{name[0].lower()}{name[1:]}{what}Attributes"


def _event(type_: str, life: str, by: str, named: str, moves: Moves, **more: Any) -> tuple[str, EventRow]:
    return type_, EventRow(type_, _key(type_, "Event"), life, by, named, moves, **more)


def _decision(type_: str, id_: str, ok: str, failed: str, **more: Any) -> tuple[str, DecisionRow]:
    return type_, DecisionRow(type_, _key(type_, "Decision"), id_, ok, failed, **more)


def _refusal(type_: str, decision: str, life: str, named: str, **causes: str) -> tuple[str, EventRow]:
    by, moves = (SOLE, _STAYS) if life == EXECUTION else (NONE, _NOTHING)
    return _event(type_, life, by, named, moves, outcome=("cause",), schedules=True, refuses=decision, causes=causes)


# What several rows share.
_STAYS = {OPEN: OPEN}
_ENDING = {state: {STARTED: state} for state in (COMPLETED, FAILED, TIMED_OUT, CANCELED, TERMINATED)}
_BACK = {"startedEventId": "started"}
_ENDS: dict[str, Any] = {"schedules": True, "refers": _BACK}  # what ends a task, a timer or a child
_CLOSES: dict[str, Any] = {"closes": True, "beside_close": False, "key_optional": True}
_REQUEST = {NOT_REQUESTED: REQUESTED, REQUESTED: REQUESTED}

# --- the table ------------------------------------------------------------------------------------------------------

# fmt: off
EVENTS: Mapping[str, EventRow] = dict([
    # The execution. Its close is final for everything in it: what is open then is abandoned without an event of its own.
    _event("WorkflowExecutionStarted", EXECUTION, SOLE, "", {ABSENT: OPEN}, outcome=("input",), schedules=True),
    _event("WorkflowExecutionSignaled", EXECUTION, SOLE, "", _STAYS, outcome=("signalName", "input"), schedules=True),
    _event("WorkflowExecutionCancelRequested", EXECUTION, SOLE, "", _REQUEST, outcome=("cause",), schedules=True, cancellation=True),
    _event("WorkflowExecutionCompleted", EXECUTION, SOLE, "", {OPEN: COMPLETED}, outcome=("result",),
           acknowledges="CompleteWorkflowExecution"),
    _refusal("CompleteWorkflowExecutionFailed", "CompleteWorkflowExecution", EXECUTION, ""),
    _event("WorkflowExecutionFailed", EXECUTION, SOLE, "", {OPEN: FAILED}, outcome=("reason", "details"),
           acknowledges="FailWorkflowExecution"),
    _refusal("FailWorkflowExecutionFailed", "FailWorkflowExecution", EXECUTION, ""),
    _event("WorkflowExecutionCanceled", EXECUTION, SOLE, "", {OPEN: CANCELED}, outcome=("details",),
           acknowledges="CancelWorkflowExecution"),
    _refusal("CancelWorkflowExecutionFailed", "CancelWorkflowExecution", EXECUTION, ""),
    _event("WorkflowExecutionContinuedAsNew", EXECUTION, SOLE, "", {OPEN: CONTINUED_AS_NEW}, outcome=("newExecutionRunId", "input"),
           acknowledges="ContinueAsNewWorkflowExecution"),
    _refusal("ContinueAsNewWorkflowExecutionFailed", "ContinueAsNewWorkflowExecution", EXECUTION, ""),
    _event("WorkflowExecutionTimedOut", EXECUTION, SOLE, "", {OPEN: TIMED_OUT}, outcome=("timeoutType",)),
    _event("WorkflowExecutionTerminated", EXECUTION, SOLE, "", {OPEN: TERMINATED}, outcome=("reason", "details", "cause")),

    # Decision tasks: each is a life. One that was never started is out of time only on a temporary task list.
    _event("DecisionTaskScheduled", DECISION_TASK, BEGINS, "", {ABSENT: SCHEDULED}),
    _event("DecisionTaskStarted", DECISION_TASK, BY_EVENT, "scheduledEventId", {SCHEDULED: STARTED}),
    _event("DecisionTaskCompleted", DECISION_TASK, BY_EVENT, "scheduledEventId", {STARTED: COMPLETED},
           outcome=("executionContext",), refers=_BACK),
    _event("DecisionTaskTimedOut", DECISION_TASK, BY_EVENT, "scheduledEventId", {SCHEDULED: TIMED_OUT, STARTED: TIMED_OUT},
           outcome=("timeoutType",), **_ENDS),

    # Activities. One that was never started can be out of time, and is cancelled at once when that is asked for.
    _event("ActivityTaskScheduled", ACTIVITY, BEGINS, "activityId", {ABSENT: SCHEDULED}, acknowledges="ScheduleActivityTask"),
    _refusal("ScheduleActivityTaskFailed", "ScheduleActivityTask", ACTIVITY, "activityId", ACTIVITY_ID_ALREADY_IN_USE=OPEN),
    _event("ActivityTaskStarted", ACTIVITY, BY_EVENT, "scheduledEventId", {SCHEDULED: STARTED}),
    _event("ActivityTaskCompleted", ACTIVITY, BY_EVENT, "scheduledEventId", _ENDING[COMPLETED], outcome=("result",), **_ENDS),
    _event("ActivityTaskFailed", ACTIVITY, BY_EVENT, "scheduledEventId", _ENDING[FAILED], outcome=("reason", "details"), **_ENDS),
    _event("ActivityTaskTimedOut", ACTIVITY, BY_EVENT, "scheduledEventId", {SCHEDULED: TIMED_OUT, STARTED: TIMED_OUT},
           outcome=("timeoutType", "details"), **_ENDS),
    _event("ActivityTaskCanceled", ACTIVITY, BY_EVENT, "scheduledEventId", {SCHEDULED: CANCELED, STARTED: CANCELED},
           outcome=("details",), schedules=True, refers={**_BACK, "latestCancelRequestedEventId": "cancel_requested"}),
    _event("ActivityTaskCancelRequested", ACTIVITY, BY_ID, "activityId", _REQUEST, cancellation=True,
           acknowledges="RequestCancelActivityTask"),
    _refusal("RequestCancelActivityTaskFailed", "RequestCancelActivityTask", ACTIVITY, "activityId", ACTIVITY_ID_UNKNOWN=ABSENT),

    # Timers. To cancel one is a decision, and its event schedules nothing.
    _event("TimerStarted", TIMER, BEGINS, "timerId", {ABSENT: STARTED}, acknowledges="StartTimer"),
    _refusal("StartTimerFailed", "StartTimer", TIMER, "timerId", TIMER_ID_ALREADY_IN_USE=OPEN),
    _event("TimerFired", TIMER, BY_ID, "timerId", {STARTED: FIRED}, **_ENDS),
    _event("TimerCanceled", TIMER, BY_ID, "timerId", {STARTED: CANCELED}, refers=_BACK, acknowledges="CancelTimer"),
    _refusal("CancelTimerFailed", "CancelTimer", TIMER, "timerId", TIMER_ID_UNKNOWN=ABSENT),

    # Children. `initiatedEventId` 0 is a decision that was refused at once; WORKFLOW_ALREADY_RUNNING comes after the initiation.
    _event("StartChildWorkflowExecutionInitiated", CHILD, BEGINS, "workflowId", {ABSENT: INITIATED},
           acknowledges="StartChildWorkflowExecution"),
    _event("StartChildWorkflowExecutionFailed", CHILD, BY_EVENT, "initiatedEventId", {INITIATED: START_FAILED},
           outcome=("cause",), schedules=True, refuses="StartChildWorkflowExecution"),
    _event("ChildWorkflowExecutionStarted", CHILD, BY_EVENT, "initiatedEventId", {INITIATED: STARTED}, schedules=True),
    _event("ChildWorkflowExecutionCompleted", CHILD, BY_EVENT, "initiatedEventId", _ENDING[COMPLETED], outcome=("result",), **_ENDS),
    _event("ChildWorkflowExecutionFailed", CHILD, BY_EVENT, "initiatedEventId", _ENDING[FAILED], outcome=("reason", "details"), **_ENDS),
    _event("ChildWorkflowExecutionTimedOut", CHILD, BY_EVENT, "initiatedEventId", _ENDING[TIMED_OUT], outcome=("timeoutType",), **_ENDS),
    _event("ChildWorkflowExecutionCanceled", CHILD, BY_EVENT, "initiatedEventId", _ENDING[CANCELED], outcome=("details",), **_ENDS),
    _event("ChildWorkflowExecutionTerminated", CHILD, BY_EVENT, "initiatedEventId", _ENDING[TERMINATED], **_ENDS),

    # Signals and cancel requests to other executions: sent now, delivered (or not) later.
    _event("SignalExternalWorkflowExecutionInitiated", SIGNAL, BEGINS, "workflowId", {ABSENT: INITIATED},
           acknowledges="SignalExternalWorkflowExecution"),
    _event("SignalExternalWorkflowExecutionFailed", SIGNAL, BY_EVENT, "initiatedEventId", {INITIATED: FAILED},
           outcome=("cause",), schedules=True, refuses="SignalExternalWorkflowExecution"),
    _event("ExternalWorkflowExecutionSignaled", SIGNAL, BY_EVENT, "initiatedEventId", {INITIATED: DELIVERED},
           outcome=("workflowExecution",), schedules=True),
    _event("RequestCancelExternalWorkflowExecutionInitiated", CANCEL, BEGINS, "workflowId", {ABSENT: INITIATED},
           acknowledges="RequestCancelExternalWorkflowExecution"),
    _event("RequestCancelExternalWorkflowExecutionFailed", CANCEL, BY_EVENT, "initiatedEventId", {INITIATED: FAILED},
           outcome=("cause",), schedules=True, refuses="RequestCancelExternalWorkflowExecution"),
    _event("ExternalWorkflowExecutionCancelRequested", CANCEL, BY_EVENT, "initiatedEventId", {INITIATED: DELIVERED},
           outcome=("workflowExecution",), schedules=True),

    # Lambda tasks: like activities, but the service itself runs them, and they cannot be cancelled.
    _event("LambdaFunctionScheduled", LAMBDA, BEGINS, "id", {ABSENT: SCHEDULED}, acknowledges="ScheduleLambdaFunction"),
    _refusal("ScheduleLambdaFunctionFailed", "ScheduleLambdaFunction", LAMBDA, "id", ID_ALREADY_IN_USE=OPEN),
    _event("LambdaFunctionStarted", LAMBDA, BY_EVENT, "scheduledEventId", {SCHEDULED: STARTED}),
    _event("StartLambdaFunctionFailed", LAMBDA, BY_EVENT, "scheduledEventId", {SCHEDULED: START_FAILED},
           outcome=("cause", "message"), schedules=True),
    _event("LambdaFunctionCompleted", LAMBDA, BY_EVENT, "scheduledEventId", _ENDING[COMPLETED], outcome=("result",), **_ENDS),
    _event("LambdaFunctionFailed", LAMBDA, BY_EVENT, "scheduledEventId", _ENDING[FAILED], outcome=("reason", "details"), **_ENDS),
    _event("LambdaFunctionTimedOut", LAMBDA, BY_EVENT, "scheduledEventId", _ENDING[TIMED_OUT], outcome=("timeoutType",), **_ENDS),

    # Markers.
    _event("MarkerRecorded", MARKER, NONE, "markerName", {}, outcome=("details",), acknowledges="RecordMarker"),
    _refusal("RecordMarkerFailed", "RecordMarker", MARKER, "markerName"),
])

DECISIONS: Mapping[str, DecisionRow] = dict([
    _decision("ScheduleActivityTask", "activityId", "ActivityTaskScheduled", "ScheduleActivityTaskFailed", beside_close=False),
    _decision("RequestCancelActivityTask", "activityId", "ActivityTaskCancelRequested", "RequestCancelActivityTaskFailed"),
    _decision("StartTimer", "timerId", "TimerStarted", "StartTimerFailed", beside_close=False),
    _decision("CancelTimer", "timerId", "TimerCanceled", "CancelTimerFailed"),
    _decision("RecordMarker", "markerName", "MarkerRecorded", "RecordMarkerFailed"),
    _decision("StartChildWorkflowExecution", "workflowId", "StartChildWorkflowExecutionInitiated", "StartChildWorkflowExecutionFailed"),
    _decision("SignalExternalWorkflowExecution", "workflowId",
              "SignalExternalWorkflowExecutionInitiated", "SignalExternalWorkflowExecutionFailed"),
    _decision("RequestCancelExternalWorkflowExecution", "workflowId",
              "RequestCancelExternalWorkflowExecutionInitiated", "RequestCancelExternalWorkflowExecutionFailed"),
    _decision("ScheduleLambdaFunction", "id", "LambdaFunctionScheduled", "ScheduleLambdaFunctionFailed"),
    _decision("CompleteWorkflowExecution", "", "WorkflowExecutionCompleted", "CompleteWorkflowExecutionFailed", **_CLOSES),
    _decision("FailWorkflowExecution", "", "WorkflowExecutionFailed", "FailWorkflowExecutionFailed", **_CLOSES),
    _decision("CancelWorkflowExecution", "", "WorkflowExecutionCanceled", "CancelWorkflowExecutionFailed", **_CLOSES),
    _decision("ContinueAsNewWorkflowExecution", "", "WorkflowExecutionContinuedAsNew", "ContinueAsNewWorkflowExecutionFailed", **_CLOSES),
])
# fmt: on

#: Kinds whose ids are unique among their open lives. A child's is not: that it is taken is known only after its initiation.
UNIQUE = frozenset({ACTIVITY, TIMER, LAMBDA})


class Refused(Exception):
    """An event that no row allows here. `event_type` and `event_id` say which, `why` says what stands against it."""

    def __init__(self, event_type: str, event_id: int, why: str) -> None:
        super().__init__(event_type, event_id, why)
        self.event_type = event_type
        self.event_id = event_id
        self.why = why

    def __str__(self) -> str:
        return f"{self.event_type} (event {self.event_id}): {self.why}"


class Life:
    """One activity, timer, child …, from the event that began it.

    `began`, `started`, `ended` and `cancel_requested` are event ids, 0 for what has not happened; `id` is the id that the decider chose
    (empty for the execution and for decision tasks); `attributes` are those of the event that began it, as they were given.
    """

    __slots__ = ("attributes", "began", "cancel_requested", "cancellation", "ended", "id", "kind", "started", "state")

    def __init__(self, kind: str, id_: str = "") -> None:
        self.kind = kind
        self.id = id_
        self.state = ABSENT
        self.cancellation = NOT_REQUESTED
        self.began = self.started = self.ended = self.cancel_requested = 0
        self.attributes: Mapping[str, Any] = _NOTHING

    @property
    def is_open(self) -> bool:
        """Whether it has begun and not ended."""
        return self.state in OPEN_STATES

    def __repr__(self) -> str:
        asked = ", cancel requested" if self.cancel_requested else ""
        return f"<{self.kind} {self.id!r} of event {self.began}: {self.state}{asked}>"


class Lives:
    """All lives of one execution, as far as its events have been applied."""

    __slots__ = ("_by_event", "_by_id", "_open", "execution")

    def __init__(self) -> None:
        self.execution = Life(EXECUTION)
        self._by_event: dict[int, Life] = {}
        self._by_id: dict[tuple[str, str], Life] = {}
        self._open: dict[str, dict[int, Life]] = {kind: {} for kind in KINDS}

    def open(self, kind: str) -> Iterator[Life]:
        """The open lives of a kind, in the order in which they began."""
        return iter(list(self._open[kind].values()))

    def count(self, kind: str) -> int:
        """How many lives of a kind are open. After the close of the execution: how many were."""
        return len(self._open[kind])

    def at(self, event_id: int) -> Life | None:
        """The life, open or ended, that began with an event."""
        return self._by_event.get(event_id)

    def find(self, kind: str, id_: str) -> Life | None:
        """The life with an id that the decider chose: the open one if there is one, else the latest."""
        life = self._by_id.get((kind, id_))
        if life is not None and not life.is_open and kind not in UNIQUE:
            return next((other for other in self._open[kind].values() if other.id == id_), life)
        return life

    @property
    def waiting(self) -> Life | None:
        """The decision task that is scheduled and not started, if there is one."""
        return next((task for task in self._open[DECISION_TASK].values() if task.state == SCHEDULED), None)

    @property
    def handling(self) -> Life | None:
        """The decision task that is started and neither completed nor out of time, if there is one."""
        return next((task for task in self._open[DECISION_TASK].values() if task.state == STARTED), None)

    def apply(self, event: Mapping[str, Any]) -> Life | None:
        """Fold one event in; the life that it moved, or None if it moves none (a marker, a refused decision).

        Raises `Refused`, and has changed nothing then.
        """
        event_type = event["eventType"]
        row = EVENTS.get(event_type)
        if row is None:
            raise Refused(event_type, event.get("eventId", 0), "Amazon SWF has no such event")
        given: Mapping[str, Any] = event.get(row.key) or _NOTHING
        life = _FIND[row.by](self, row, event, given)
        if life is None:
            return None
        after = row.moves.get(life.cancellation if row.cancellation else life.state)
        if after is None or (row.cancellation and not life.is_open):
            wanted = "open" if row.cancellation else f"in {' or '.join(row.moves)}"
            raise _refused(event, f"{life!r} is not {wanted}")
        for attribute, slot in row.refers.items():
            claimed = given.get(attribute)
            if claimed is not None and claimed != getattr(life, slot):
                raise _refused(event, f"its {attribute} is {claimed}, but that of {life!r} is {getattr(life, slot)}")
        if row.cancellation:
            life.cancellation = after
            life.cancel_requested = event["eventId"]
        else:
            self._move(life, event["eventId"], after, given)
        return life

    def _move(self, life: Life, event_id: int, after: str, given: Mapping[str, Any]) -> None:
        if life.state == ABSENT:
            life.began = event_id
            life.attributes = given
            self._by_event[event_id] = self._open[life.kind][event_id] = life
            if life.id and not ((known := self._by_id.get((life.kind, life.id))) and known.is_open):
                self._by_id[life.kind, life.id] = life
        life.state = after
        if after == STARTED:
            life.started = event_id
        elif after not in OPEN_STATES:
            life.ended = event_id
            del self._open[life.kind][life.began]


# --- how a life is found (rule 3): the only dispatch -------------------------------------------------------------------


def _begin(lives: Lives, row: EventRow, event: Mapping[str, Any], given: Mapping[str, Any]) -> Life:
    if event["eventId"] in lives._by_event:
        raise _refused(event, f"{lives._by_event[event['eventId']]!r} has begun with this event id already")
    if not row.named:
        return Life(row.life)
    life = Life(row.life, _named(row, event, given))
    other = lives._by_id.get((row.life, life.id)) if row.life in UNIQUE else None
    if other is not None and other.is_open:
        raise _refused(event, f"{other!r} is open and has the same id")
    return life


def _by_event(lives: Lives, row: EventRow, event: Mapping[str, Any], given: Mapping[str, Any]) -> Life | None:
    if row.refuses and not given.get(row.named):
        return None  # the decision was refused at once: there is no life
    began = _named(row, event, given)
    life = lives._by_event.get(began)
    if life is None or life.kind != row.life:
        raise _refused(event, f"no {row.life} began with event {began} ({row.named})")
    return life


def _by_id(lives: Lives, row: EventRow, event: Mapping[str, Any], given: Mapping[str, Any]) -> Life:
    id_ = _named(row, event, given)
    life = lives._by_id.get((row.life, id_))
    if life is None:
        raise _refused(event, f"no {row.life} has the id {id_!r}")
    return life


def _no_life(lives: Lives, row: EventRow, event: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    wanted = row.causes.get(given.get("cause", ""))
    if wanted is None:
        return
    id_ = _named(row, event, given)
    life = lives._by_id.get((row.life, id_))
    if (life is not None and life.is_open) != (wanted == OPEN):
        there_is = repr(life) if life is not None else f"no {row.life} with the id {id_!r}"
        raise _refused(event, f"its cause is {given['cause']}, but there is {there_is}")


_FIND: Mapping[str, Callable[[Lives, EventRow, Mapping[str, Any], Mapping[str, Any]], Life | None]] = {
    BEGINS: _begin,
    BY_EVENT: _by_event,
    BY_ID: _by_id,
    SOLE: lambda lives, *_: lives.execution,
    NONE: _no_life,
}


def _named(row: EventRow, event: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    try:
        return given[row.named]
    except KeyError:
        raise _refused(event, f"it has no {row.named}") from None


def _refused(event: Mapping[str, Any], why: str) -> Refused:
    return Refused(event["eventType"], event.get("eventId", 0), why)
