"""What a history says before it is replayed: which calls were acknowledged, what was recorded, which turn saw which event.

Rule 1: the journal only grows; it is extended by all events that were handed in, before the first of them is applied (replay rule 3).
Rule 2: the facts are the model's (`model.history`); here they are asked for in the replayer's words, by verb and call id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowdsl.model.history import NO_TURN, Acknowledged, Turn, Turns
from flowdsl.model.lifecycle import EVENTS
from flowdsl.replay.records import PATCHED, split_record

Key = tuple[str, str]

DECISION_OF: Mapping[str, str] = {
    "activity": "ScheduleActivityTask",
    "timer": "StartTimer",
    "workflow": "StartChildWorkflowExecution",
    "marker": "RecordMarker",
    "cancel activity": "RequestCancelActivityTask",
    "cancel timer": "CancelTimer",
    "cancel workflow": "RequestCancelExternalWorkflowExecution",
}

_CLOSES = frozenset(row.type for row in EVENTS.values() if row.closes)


class Journal:
    """The index of one execution's history."""

    __slots__ = ("_acknowledged", "_patches", "_records", "_turns", "last_id", "last_started", "shows_close")

    def __init__(self) -> None:
        self._acknowledged = Acknowledged()
        self._turns = Turns()
        self._records: dict[str, Mapping[str, Any]] = {}
        self._patches: dict[str, int] = {}
        self.last_id = 0
        self.last_started = 0
        self.shows_close = False

    def extend(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add events, in order."""
        for event in events:
            self._acknowledged.append(event)
            self._turns.append(event)
            self.last_id = event["eventId"]
            kind = event["eventType"]
            if kind == "DecisionTaskStarted":
                self.last_started = self.last_id
            elif kind == "MarkerRecorded":
                attributes = event["markerRecordedEventAttributes"]
                if attributes["markerName"].startswith(PATCHED):
                    self._patches.setdefault(attributes["markerName"], self.last_id)
                record = split_record(attributes["markerName"])
                if record is not None:
                    self._records[record[0]] = attributes
            elif kind in _CLOSES:
                self.shows_close = True

    def acknowledgements(self, key: Key) -> int:
        """How often the service took or refused what was asked for under `key`; 0 for what it never got, and for what has no id of ours."""
        decision = DECISION_OF.get(key[0])
        return 0 if decision is None else len(self._acknowledged.events(decision, key[1]))

    def accepted(self, verb: str, call_id: str) -> Mapping[str, Any] | None:
        """The attributes of the event by which the service took a call; None if it did not."""
        return self._acknowledged.accepted(DECISION_OF[verb], call_id)

    def record_of(self, call_id: str) -> Mapping[str, Any] | None:
        """The attributes of the marker that holds the outcome of a recorded function's call; None if there is none."""
        return self._records.get(call_id)

    def patched_since(self, marker: str) -> int | None:
        """The turn (the id of its DecisionTaskStarted) that recorded a change of the code; None if none has."""
        event_id = self._patches.get(marker)
        if event_id is None:
            return None
        # the marker stands behind the DecisionTaskCompleted of the turn that asked for it: the last one that was completed before
        return self._turns.recorded_by(event_id)

    def turn_of(self, event_id: int) -> Turn | None:
        """The turn in which an event was handled or is being handled; None if no decider has seen it."""
        turn = self._turns.turn_of(event_id)
        return None if turn is NO_TURN else turn

    def is_past(self, turn: Turn) -> bool:
        """Whether a turn's decision task was completed."""
        return self._turns.is_past(turn)
