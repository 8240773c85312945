"""The table against judges outside this project: botocore's model of the service, and what was found out about each event."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import botocore.loaders
import pytest

from flowdsl.model.lifecycle import (
    ABSENT,
    BEGINS,
    BY_EVENT,
    BY_ID,
    DECISIONS,
    EVENTS,
    EXECUTION,
    KINDS,
    NONE,
    NOT_REQUESTED,
    OPEN_STATES,
    REQUESTED,
    SOLE,
    attributes,
    attributes_key,
)

SHAPES: dict[str, Any] = botocore.loaders.create_loader().load_service_model("swf", "service-2")["shapes"]


def members(structure: str, key: str) -> dict[str, Any]:
    found: dict[str, Any] = SHAPES[SHAPES[structure]["members"][key]["shape"]]["members"]
    return found


# --- names ---


def test_the_table_has_all_54_events_and_all_13_decisions_and_no_other():
    assert set(EVENTS) == set(SHAPES["EventType"]["enum"])
    assert set(DECISIONS) == set(SHAPES["DecisionType"]["enum"])
    assert (len(EVENTS), len(DECISIONS)) == (54, 13)


@pytest.mark.parametrize("row", EVENTS.values(), ids=EVENTS)
def test_every_attribute_that_a_row_names_is_one_of_the_events(row):
    known = members("HistoryEvent", row.key)
    assert attributes_key(row.type) == row.key
    assert {row.named or next(iter(known)), *row.outcome, *row.refers} <= set(known)
    assert ("cause" in known) or not row.causes


@pytest.mark.parametrize("row", EVENTS.values(), ids=EVENTS)
def test_every_reference_that_an_event_makes_to_its_own_life_is_checked(row):
    known = set(members("HistoryEvent", row.key))
    assert known & {"startedEventId", "latestCancelRequestedEventId"} == set(row.refers)
    if row.by == BY_EVENT:
        assert row.named in {"scheduledEventId", "initiatedEventId"} & known
    if row.acknowledges or row.refuses:
        assert "decisionTaskCompletedEventId" in known
    # Only a lambda task's failure to start belongs to no decision although it says why: the service found out later.
    assert ("cause" in row.outcome) == bool(row.refuses) or row.type in {
        "StartLambdaFunctionFailed",
        "WorkflowExecutionCancelRequested",
        "WorkflowExecutionTerminated",
    }


@pytest.mark.parametrize("row", EVENTS.values(), ids=EVENTS)
def test_every_cause_that_a_row_names_is_one_of_the_events(row):
    if row.causes:
        shape = members("HistoryEvent", row.key)["cause"]["shape"]
        assert set(row.causes) <= set(SHAPES[shape]["enum"])
        assert set(row.causes.values()) <= {"OPEN", ABSENT}


@pytest.mark.parametrize("row", DECISIONS.values(), ids=DECISIONS)
def test_every_decision_is_known_by_an_attribute_that_it_must_have(row):
    shape = SHAPES[SHAPES["Decision"]["members"][row.key]["shape"]]
    assert set(shape.get("required", [])) >= ({row.id} if row.id else set())
    assert row.key_optional == (not shape.get("required"))


def test_attributes_are_found_and_may_be_missing():
    assert attributes({"eventType": "TimerFired", "timerFiredEventAttributes": {"timerId": "t"}}) == {"timerId": "t"}
    assert attributes({"eventType": "TimerFired"}) == {}
    assert attributes_key("NewEventOfTomorrow") == "newEventOfTomorrowEventAttributes"


# --- events and decisions fit together ---


@pytest.mark.parametrize("row", DECISIONS.values(), ids=DECISIONS)
def test_a_decision_and_its_two_events_name_each_other(row):
    assert EVENTS[row.ok].acknowledges == row.type
    assert EVENTS[row.failed].refuses == row.type
    assert bool(EVENTS[row.ok].closes) == row.closes
    assert EVENTS[row.failed].schedules
    if not row.closes:
        assert row.id == EVENTS[row.ok].named
        assert row.id in members("HistoryEvent", EVENTS[row.failed].key)


def test_no_event_answers_a_decision_that_does_not_name_it():
    assert {row.type for row in EVENTS.values() if row.acknowledges} == {row.ok for row in DECISIONS.values()}
    assert {row.type for row in EVENTS.values() if row.refuses} == {row.failed for row in DECISIONS.values()}


# --- the shape of the lives ---


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_leaves_an_end_and_every_open_state_can_be_left(kind):
    rows = [row for row in EVENTS.values() if row.life == kind and not row.cancellation]
    before = {state for row in rows for state in row.moves}
    after = {state for row in rows for state in row.moves.values()}
    assert before <= OPEN_STATES | {ABSENT}
    assert after & OPEN_STATES == before - {ABSENT}
    assert after - OPEN_STATES, "it never ends"


@pytest.mark.parametrize("kind", KINDS)
def test_a_life_begins_in_one_way(kind):
    rows = [row for row in EVENTS.values() if row.life == kind]
    beginning = [row for row in rows if ABSENT in row.moves]
    assert len(beginning) == 1
    assert beginning[0].by == (SOLE if kind == EXECUTION else BEGINS)
    assert beginning[0].moves.keys() == {ABSENT}


def test_cancellation_is_a_small_life_of_its_own():
    rows = [row for row in EVENTS.values() if row.cancellation]
    assert {row.life for row in rows} == {"execution", "activity"}
    for row in rows:
        assert row.moves == {NOT_REQUESTED: REQUESTED, REQUESTED: REQUESTED}
    states = {state for row in EVENTS.values() if not row.cancellation for move in row.moves.items() for state in move}
    assert not states & {NOT_REQUESTED, REQUESTED}


def test_a_row_moves_a_life_exactly_if_it_can_name_one():
    for row in EVENTS.values():
        assert bool(row.moves) == (row.by != NONE)
        assert (row.by in {BY_EVENT, BY_ID, NONE}) <= bool(row.named)


# --- what was found out about each event ---


@pytest.mark.parametrize("event_type", EVENTS)
def test_what_schedules_and_what_closes_is_what_was_seen_on_the_service(event_type, reference):
    seen = reference["events"][event_type]
    assert EVENTS[event_type].schedules == seen["schedulesDecisionTask"]
    assert EVENTS[event_type].closes == seen.get("closesExecutionAs", "")


@pytest.mark.parametrize("decision_type", DECISIONS)
def test_what_a_decision_brings_is_what_was_seen_on_the_service(decision_type, reference):
    row, seen = DECISIONS[decision_type], reference["decisions"][decision_type]
    assert [row.ok] == seen["successEvents"]
    assert row.failed == seen["failureEvent"]
    assert row.closes == seen["closesExecution"]
    assert row.key_optional == seen["attributesMemberMayBeOmitted"]
    assert row.beside_close == bool(seen["allowedInSameBatchAsCloseDecision"])


# --- the manual's page ---


def test_the_manuals_page_is_what_the_table_says():
    script = Path(__file__).parents[2] / "docs" / "print_lifecycle.py"
    names = runpy.run_path(str(script))
    assert names["main"](["--check"]) == 0, "run:  python docs/print_lifecycle.py"
    text = names["page"]()
    assert all(f" {name} " in text for name in [*EVENTS, *DECISIONS])
    arrows = sum(len(row.moves) for row in EVENTS.values())
    ends = {
        (row.life, state) for row in EVENTS.values() if not row.cancellation for state in row.moves.values() if state not in OPEN_STATES
    }
    assert text.count(" --> ") == arrows + len(ends)
