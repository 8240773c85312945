"""What single rows cannot say: the rules that several events of one history keep together, and which turn an event was seen in.

Rule 1: event ids are 1 … n without a gap, and timestamps (where there are any) never decrease.
Rule 2: the first event is the start, and nothing follows the close.
Rule 3: at most one decision task waits and at most one is handled; both may be at once.
Rule 4: an event that schedules a decision task is followed by DecisionTaskScheduled at once, unless one is waiting. Inside the batch of
        a completed decision task that stands at the end of the batch, if the batch has not closed the execution. Nothing else
        schedules one. (A history that has reached the limit of its length ends without it.)
Rule 5: a DecisionTaskCompleted and the events that acknowledge or refuse its decisions are one unbroken batch, and each of them carries
        its id as `decisionTaskCompletedEventId`. What a decision set going and failed later carries the id that its initiation carried.
Rule 6: a closing decision is refused as UNHANDLED_DECISION if and only if another decision task was waiting.
Rule 7: a turn is a decision task that was completed, or the one being handled now. One that was out of time was no turn: what it was
        shown is shown again.

All of it is incremental: feed what is new. The rules were found in recorded histories of the service, and every one of those keeps them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from flowdsl.model.lifecycle import BY_EVENT, DECISIONS, EVENTS, Lives, Refused, attributes

Event = Mapping[str, Any]

_BATCH = "decisionTaskCompletedEventId"


class Turn(NamedTuple):
    """A DecisionTaskStarted: its event id, and its time in epoch seconds."""

    event_id: int
    timestamp: float


#: The turn of what nobody has handled yet.
NO_TURN = Turn(0, 0.0)


class Turns:
    """In which turn each event was seen (rule 7)."""

    __slots__ = ("_completed", "_ids", "current")

    def __init__(self) -> None:
        self.current = NO_TURN  # the turn that is being handled now, if there is one
        self._completed: list[Turn] = []
        self._ids: list[int] = []  # of _completed, ascending: decision tasks are handled one at a time

    def append(self, event: Event) -> None:
        """Take note of one more event."""
        change = _TURNS.get(event["eventType"])
        if change is not None:
            change(self, event)

    def turn_of(self, event_id: int) -> Turn:
        """The turn in which an event was handled, or is being handled now; `NO_TURN` if no decider has seen it."""
        place = bisect_left(self._ids, event_id)
        if place < len(self._ids):
            return self._completed[place]
        return self.current if event_id <= self.current.event_id else NO_TURN

    def recorded_by(self, event_id: int) -> int:
        """The turn (its DecisionTaskStarted's id) whose decisions' batch an event stands in; 0 if there is none."""
        place = bisect_left(self._ids, event_id)
        return self._completed[place - 1].event_id if place else 0

    def is_past(self, turn: Turn) -> bool:
        """Whether a turn's decision task was completed: its decisions are in the history."""
        return bool(self._ids) and 0 < turn.event_id <= self._ids[-1]

    def _started(self, event: Event) -> None:
        self.current = Turn(event["eventId"], float(event.get("eventTimestamp", 0.0)))

    def _done(self, event: Event) -> None:
        started = attributes(event).get("startedEventId", 0)
        turn = self.current if self.current.event_id == started else Turn(started, 0.0)
        self._completed.append(turn)
        self._ids.append(turn.event_id)
        self.current = NO_TURN

    def _out_of_time(self, event: Event) -> None:
        # 0, or absent: it was a waiting task that was out of time, and another one may be in hand.
        if attributes(event).get("startedEventId", 0) == self.current.event_id:
            self.current = NO_TURN


_TURNS = {"DecisionTaskStarted": Turns._started, "DecisionTaskCompleted": Turns._done, "DecisionTaskTimedOut": Turns._out_of_time}


class Acknowledged:
    """Which decisions have arrived, by decision type and the id in it; the four that close have the id `""`.

    A refused decision has arrived too. That something failed later, after its initiation, is an outcome and acknowledges nothing.
    """

    __slots__ = ("_accepted", "_events")

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], list[int]] = {}
        self._accepted: dict[tuple[str, str], Mapping[str, Any]] = {}

    def append(self, event: Event) -> None:
        """Take note of one more event."""
        row = EVENTS[event["eventType"]]
        decision = row.acknowledges or row.refuses
        if not decision:
            return
        given = attributes(event)
        if _came_later(event):
            return
        key = decision, given.get(DECISIONS[decision].id, "")
        self._events.setdefault(key, []).append(event["eventId"])
        if row.acknowledges:
            self._accepted[key] = given

    def events(self, decision_type: str, id_: str = "") -> tuple[int, ...]:
        """The ids of the events that acknowledge or refuse such decisions, in their order."""
        return tuple(self._events.get((decision_type, id_), ()))

    def accepted(self, decision_type: str, id_: str = "") -> Mapping[str, Any] | None:
        """The attributes of the latest event by which the service took such a decision; None if it never did."""
        return self._accepted.get((decision_type, id_))


def _came_later(event: Event) -> bool:
    """Whether this is the failure of something that was initiated before, not the refusal of a decision."""
    row = EVENTS[event["eventType"]]
    return bool(row.refuses) and row.by == BY_EVENT and bool(attributes(event).get(row.named))


class History:
    """One execution's events, checked as they come. `lives`, `turns` and `acknowledged` say what is known from them."""

    __slots__ = ("_batch", "_owed", "_timestamp", "acknowledged", "last_id", "lives", "turns")

    def __init__(self) -> None:
        self.lives = Lives()
        self.turns = Turns()
        self.acknowledged = Acknowledged()
        self.last_id = 0
        self._timestamp = float("-inf")
        self._batch = 0  # the DecisionTaskCompleted whose batch the latest event belongs to
        self._owed = 0  # the event that schedules a decision task which is not written yet

    @classmethod
    def check(cls, events: Iterable[Event]) -> Self:
        """A whole history, from its first event to the end of a transaction. Raises `Refused` at the first event that breaks a rule."""
        history = cls()
        history.extend(events)
        if history._owed:
            raise Refused("DecisionTaskScheduled", history.last_id + 1, f"it is missing: event {history._owed} schedules a decision task")
        return history

    def extend(self, events: Iterable[Event]) -> None:
        """Feed more events. Raises `Refused`; the events before the refused one have been taken."""
        for event in events:
            self.append(event)

    def append(self, event: Event) -> None:
        """Feed the next event. Raises `Refused`, and has changed nothing then."""
        row = EVENTS.get(event["eventType"])
        if row is None:
            raise _refused(event, "Amazon SWF has no such event")
        self._check_place(event)
        self._check_batch(event)
        self._check_decision_task(event)
        self.lives.apply(event)
        self.turns.append(event)
        self.acknowledged.append(event)
        self.last_id = event["eventId"]
        self._timestamp = event.get("eventTimestamp", self._timestamp)
        if row.type == "DecisionTaskCompleted":
            self._batch = self.last_id
        elif not self._in_batch(event):
            self._batch = 0
        if row.type == "DecisionTaskScheduled" or row.closes:
            self._owed = 0
        elif row.schedules and not self._owed and self.lives.waiting is None:
            self._owed = self.last_id

    # --- rules 1 and 2

    def _check_place(self, event: Event) -> None:
        event_id = event["eventId"]
        if event_id != self.last_id + 1:
            raise _refused(event, f"event {self.last_id + 1} must come next")
        if (event_id == 1) != (event["eventType"] == "WorkflowExecutionStarted"):
            raise _refused(event, "a history begins with WorkflowExecutionStarted, once")
        closed = self.lives.execution.ended
        if closed:
            raise _refused(event, f"the execution was closed by event {closed}")
        timestamp = event.get("eventTimestamp", self._timestamp)
        if timestamp < self._timestamp:
            raise _refused(event, f"its timestamp {timestamp} is before that of event {self.last_id}, {self._timestamp}")

    # --- rules 5 and 6

    def _in_batch(self, event: Event) -> bool:
        """Whether an event belongs to the batch of the decision task that was completed last, if nothing came in between."""
        row = EVENTS[event["eventType"]]
        if row.acknowledges or row.refuses:
            return not _came_later(event)
        # A task that was never started is cancelled with the decision that asks for it.
        return row.type == "ActivityTaskCanceled" and not attributes(event).get("startedEventId")

    def _check_batch(self, event: Event) -> None:
        row = EVENTS[event["eventType"]]
        if not (row.acknowledges or row.refuses):
            return
        given = attributes(event)
        expected = self._batch
        if _came_later(event):
            life = self.lives.at(given[row.named])
            expected = life.attributes.get(_BATCH, 0) if life is not None else 0
        if given.get(_BATCH) != expected or not expected:
            raise _refused(event, f"its {_BATCH} is {given.get(_BATCH)}, not {expected or 'that of the batch it stands in'}")
        decision = DECISIONS[row.acknowledges or row.refuses]
        if decision.closes:
            self._check_close(event, given.get("cause"))

    def _check_close(self, event: Event, cause: str | None) -> None:
        waiting = self.lives.waiting
        if cause == "UNHANDLED_DECISION" and waiting is None:
            raise _refused(event, "no decision task was waiting: nothing was unhandled")
        if cause is None and waiting is not None:
            raise _refused(event, f"the decision task of event {waiting.began} was waiting: the close is UNHANDLED_DECISION")

    # --- rules 3 and 4

    def _check_decision_task(self, event: Event) -> None:
        event_type = event["eventType"]
        if event_type == "DecisionTaskScheduled":
            waiting = self.lives.waiting
            if waiting is not None:
                raise _refused(event, f"the decision task of event {waiting.began} is waiting")
            if not self._owed:
                raise _refused(event, "nothing has scheduled a decision task")
            return
        if event_type == "DecisionTaskStarted" and self.lives.handling is not None:
            raise _refused(event, f"the decision task of event {self.lives.handling.began} is being handled")
        if self._owed and not (self._batch and self._in_batch(event)) and attributes(event).get("cause") != "EVENT_LIMIT_EXCEEDED":
            raise _refused(event, f"event {self._owed} schedules a decision task: DecisionTaskScheduled must come next")


def _refused(event: Event, why: str) -> Refused:
    return Refused(event["eventType"], event["eventId"], why)
