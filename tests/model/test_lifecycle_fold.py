"""Folding events into lives: every legal move is made, every other one is refused, and a refused event changes nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from flowdsl.model.lifecycle import (
    ABSENT,
    ACTIVITY,
    BY_EVENT,
    BY_ID,
    CHILD,
    DECISION_TASK,
    EVENTS,
    EXECUTION,
    KINDS,
    LAMBDA,
    NONE,
    SOLE,
    TIMER,
    EventRow,
    Lives,
    Refused,
)


def fold(events: list[dict[str, Any]]) -> Lives:
    lives = Lives()
    for event in events:
        lives.apply(event)
    return lives


def state_of(lives: Lives) -> Any:
    """All that a caller can see."""
    seen = [lives.execution, *(lives._by_event.values())]
    return (
        [copy.copy({name: getattr(life, name) for name in life.__slots__}) for life in seen],
        [lives.count(kind) for kind in KINDS],
        sorted(lives._by_id),
    )


# --- every cell of the table ---


def beginning_of(kind: str) -> EventRow:
    return next(row for row in EVENTS.values() if row.life == kind and ABSENT in row.moves)


def way_to(kind: str, state: str) -> list[EventRow]:
    """The shortest way from nothing to a state, as rows."""
    ways: dict[str, list[EventRow]] = {ABSENT: []}
    rows = [row for row in EVENTS.values() if row.life == kind and not row.cancellation]
    while state not in ways:
        for row, (before, after) in ((row, move) for row in rows for move in row.moves.items()):
            if before in ways:
                ways.setdefault(after, [*ways[before], row])
    return ways[state]


def event_of(row: EventRow, event_id: int, began: int, started: int) -> dict[str, Any]:
    given: dict[str, Any] = {name: {"started": started, "cancel_requested": 0}[slot] for name, slot in row.refers.items()}
    if row.named:
        given[row.named] = began if row.by == BY_EVENT else "x"
    return {"eventId": event_id, "eventType": row.type, row.key: given}


def states(kind: str) -> list[str]:
    rows = [row for row in EVENTS.values() if row.life == kind and not row.cancellation]
    return sorted({state for row in rows for move in row.moves.items() for state in move})


CELLS = [(row, state) for row in EVENTS.values() if row.by in {BY_EVENT, BY_ID, SOLE} for state in states(row.life)]


@pytest.mark.parametrize(("row", "state"), CELLS, ids=[f"{row.type} in {state}" for row, state in CELLS])
def test_an_event_moves_a_life_from_the_states_of_its_row_and_from_no_other(row, state):
    lives, started = Lives(), 0
    for event_id, step in enumerate(way_to(row.life, state), 1):
        life = lives.apply(event_of(step, event_id, 1, started))
        started = life.started if life else 0
    life = lives.at(1) if lives.at(1) is not None else lives.execution
    event = event_of(row, 9, 1, started)
    legal = life.is_open if row.cancellation else state in row.moves
    before = state_of(lives)
    if not legal:
        with pytest.raises(Refused):
            lives.apply(event)
        assert state_of(lives) == before
        return
    assert lives.apply(event) is life
    if row.cancellation:
        assert (life.state, life.cancellation, life.cancel_requested) == (state, "REQUESTED", 9)
    else:
        assert life.state == row.moves[state]
        assert lives.count(row.life) == life.is_open
        assert (life.ended == 9) == (not life.is_open)


def test_a_way_exists_to_every_state_of_every_life():
    for kind in KINDS:
        for state in states(kind):
            assert [*way_to(kind, state), None][0] is (None if state == ABSENT else beginning_of(kind))


# --- what a life knows ---


def test_an_activity_from_its_schedule_to_its_result(story):
    lives = fold(
        story("WorkflowExecutionStarted", "ActivityTaskScheduled activityId=charge-1 input=3", "ActivityTaskStarted scheduledEventId=2")
    )
    life = lives.find(ACTIVITY, "charge-1")
    assert life is lives.at(2)
    assert (life.kind, life.id, life.state, life.began, life.started, life.ended) == (ACTIVITY, "charge-1", "STARTED", 2, 3, 0)
    assert life.attributes["input"] == 3
    assert list(lives.open(ACTIVITY)) == [life]
    assert repr(life) == "<activity 'charge-1' of event 2: STARTED>"
    lives.apply(*story("ActivityTaskCompleted scheduledEventId=2 startedEventId=3 result=ok", first=4))
    assert (life.state, life.ended, life.is_open) == ("COMPLETED", 4, False)
    assert lives.count(ACTIVITY) == 0
    assert lives.find(ACTIVITY, "charge-1") is life


def test_a_request_to_cancel_changes_nothing_but_the_request(story):
    lives = fold(
        story(
            "WorkflowExecutionStarted",
            "ActivityTaskScheduled activityId=a",
            "ActivityTaskCancelRequested activityId=a",
            "WorkflowExecutionCancelRequested",
            "ActivityTaskStarted scheduledEventId=2",
            "ActivityTaskCancelRequested activityId=a",
        )
    )
    life = lives.find(ACTIVITY, "a")
    assert (life.state, life.cancellation, life.cancel_requested) == ("STARTED", "REQUESTED", 6)
    assert repr(life).endswith("STARTED, cancel requested>")
    assert (lives.execution.state, lives.execution.cancel_requested) == ("OPEN", 4)
    with pytest.raises(Refused, match=r"latestCancelRequestedEventId is 3, but that of .* is 6"):
        lives.apply(*story("ActivityTaskCanceled scheduledEventId=2 startedEventId=5 latestCancelRequestedEventId=3", first=7))
    lives.apply(*story("ActivityTaskCompleted scheduledEventId=2 startedEventId=5", first=7))
    assert life.state == "COMPLETED"


def test_a_reference_to_another_start_is_refused_and_a_missing_one_is_not(story):
    lives = fold(story("WorkflowExecutionStarted", "ActivityTaskScheduled activityId=a", "ActivityTaskScheduled activityId=b"))
    lives.apply(*story("ActivityTaskStarted scheduledEventId=2", first=4))
    lives.apply(*story("ActivityTaskStarted scheduledEventId=3", first=5))
    with pytest.raises(Refused, match=r"startedEventId is 5, but that of <activity 'a' of event 2: STARTED> is 4"):
        lives.apply(*story("ActivityTaskCompleted scheduledEventId=2 startedEventId=5", first=6))
    lives.apply(*story("ActivityTaskCompleted scheduledEventId=2", first=6))


def test_an_id_may_be_used_again_when_its_life_has_ended(story):
    lives = fold(story("TimerStarted timerId=t", "TimerFired timerId=t startedEventId=1"))
    lives.apply(*story("TimerStarted timerId=t", first=3))
    assert lives.find(TIMER, "t") is lives.at(3)
    assert lives.at(1).state == "FIRED"


@pytest.mark.parametrize(
    ("kind", "line"),
    [(ACTIVITY, "ActivityTaskScheduled activityId=x"), (TIMER, "TimerStarted timerId=x"), (LAMBDA, "LambdaFunctionScheduled id=x")],
)
def test_an_id_is_taken_as_long_as_its_life_is_open(story, kind, line):
    lives = fold(story(line))
    with pytest.raises(Refused, match=rf"<{kind} 'x' of event 1: \w+> is open and has the same id"):
        lives.apply(*story(line, first=2))
    assert lives.count(kind) == 1


def test_two_children_may_be_initiated_with_one_id_because_the_service_says_later_that_it_is_taken(story):
    lives = fold(story("StartChildWorkflowExecutionInitiated workflowId=c", "StartChildWorkflowExecutionInitiated workflowId=c"))
    assert lives.find(CHILD, "c") is lives.at(1)
    lives.apply(*story("ChildWorkflowExecutionStarted initiatedEventId=1", first=3))
    lives.apply(*story("StartChildWorkflowExecutionFailed workflowId=c initiatedEventId=2 cause=WORKFLOW_ALREADY_RUNNING", first=4))
    assert (lives.at(1).state, lives.at(2).state, lives.count(CHILD)) == ("STARTED", "START_FAILED", 1)
    assert lives.find(CHILD, "c") is lives.at(1)


def test_the_open_one_of_two_lives_with_one_id_is_found(story):
    lives = fold(story("StartChildWorkflowExecutionInitiated workflowId=c", "StartChildWorkflowExecutionInitiated workflowId=c"))
    lives.apply(*story("StartChildWorkflowExecutionFailed workflowId=c initiatedEventId=1", first=3))
    assert lives.find(CHILD, "c") is lives.at(2)
    lives.apply(*story("StartChildWorkflowExecutionFailed workflowId=c initiatedEventId=2", first=4))
    assert not lives.find(CHILD, "c").is_open


@pytest.mark.parametrize(
    ("begin", "refused"),
    [
        ("TimerStarted timerId=x", "CancelTimerFailed timerId=x cause=TIMER_ID_UNKNOWN"),
        ("ActivityTaskScheduled activityId=x", "RequestCancelActivityTaskFailed activityId=x cause=ACTIVITY_ID_UNKNOWN"),
        ("MarkerRecorded markerName=x", "StartTimerFailed timerId=x cause=TIMER_ID_ALREADY_IN_USE"),
        ("MarkerRecorded markerName=x", "ScheduleActivityTaskFailed activityId=x cause=ACTIVITY_ID_ALREADY_IN_USE"),
        ("MarkerRecorded markerName=x", "ScheduleLambdaFunctionFailed id=x cause=ID_ALREADY_IN_USE"),
    ],
)
def test_a_cause_that_is_not_so_is_refused(story, begin, refused):
    with pytest.raises(Refused, match="its cause is"):
        fold(story(begin, refused))
    other = refused.replace("=x", "=y") if "UNKNOWN" in refused else refused.rpartition("cause=")[0] + "cause=OPERATION_NOT_PERMITTED"
    fold(story(begin, other))


def test_a_decision_that_was_refused_at_once_has_no_life(story):
    for zero in (" initiatedEventId=0", ""):
        lives = fold(
            story("WorkflowExecutionStarted", f"StartChildWorkflowExecutionFailed workflowId=c{zero} cause=WORKFLOW_TYPE_DOES_NOT_EXIST")
        )
        assert lives.count(CHILD) == 0
        assert lives.find(CHILD, "c") is None


def test_waiting_and_handled_decision_tasks_are_told_apart(story):
    lives = fold(
        story("WorkflowExecutionStarted", "DecisionTaskScheduled", "DecisionTaskStarted scheduledEventId=2", "DecisionTaskScheduled")
    )
    assert (lives.handling.began, lives.waiting.began, lives.count(DECISION_TASK)) == (2, 4, 2)
    lives.apply(*story("DecisionTaskCompleted scheduledEventId=2 startedEventId=3", first=5))
    assert (lives.handling, lives.waiting.began) == (None, 4)


def test_counts_stay_as_they_were_when_the_execution_closes(story):
    lives = fold(story("WorkflowExecutionStarted", "TimerStarted timerId=t", "WorkflowExecutionTerminated"))
    assert (lives.execution.state, lives.execution.ended, lives.count(EXECUTION), lives.count(TIMER)) == ("TERMINATED", 3, 0, 1)


# --- refusals ---


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["ActivityTaskStarted scheduledEventId=7"], "no activity began with event 7 (scheduledEventId)"),
        (["TimerStarted timerId=t", "ActivityTaskStarted scheduledEventId=1"], "no activity began with event 1 (scheduledEventId)"),
        (["TimerFired timerId=t"], "no timer has the id 't'"),
        (["ActivityTaskStarted"], "it has no scheduledEventId"),
        (["TimerStarted timerId=t", "TimerFired timerId=t", "TimerFired timerId=t"], "<timer 't' of event 1: FIRED> is not in STARTED"),
        (["WorkflowExecutionSignaled"], "<execution '' of event 0: ABSENT> is not in OPEN"),
        (["WorkflowExecutionStarted", "WorkflowExecutionTerminated", "WorkflowExecutionCancelRequested"], "TERMINATED> is not open"),
        (["StartActivityTaskFailed"], "Amazon SWF has no such event"),  # named in its manual, but it does not exist
    ],
)
def test_a_refusal_says_which_event_and_what_stands_against_it(story, lines, says):
    with pytest.raises(Refused) as caught:
        fold(story(*lines))
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{lines[-1].split()[0]} (event {len(lines)}): ")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.event_type, again.event_id, again.why) == (
        str(caught.value), caught.value.event_type, caught.value.event_id, caught.value.why,
    )  # fmt: skip


def test_two_lives_cannot_begin_with_one_event(story):
    lives = fold(story("TimerStarted timerId=t"))
    with pytest.raises(Refused, match="has begun with this event id already"):
        lives.apply(*story("TimerStarted timerId=u"))


# --- real histories ---


def test_every_recorded_history_folds(recorded):
    fold(recorded)


def test_every_recorded_history_folds_with_only_the_attributes_that_rows_name(recorded):
    """An engine may fold events before they are complete."""
    lives = Lives()
    for event in recorded:
        row = EVENTS[event["eventType"]]
        given = event.get(row.key, {})
        lives.apply(
            {"eventId": event["eventId"], "eventType": row.type, row.key: {row.named: given[row.named]} if row.named in given else {}}
        )
    assert state_of(lives)[1:] == state_of(fold(recorded))[1:]


def test_all_moves_but_eleven_are_made_by_the_real_service_in_some_recorded_history(all_recorded):
    """The eleven are known from the documentation only. (That every cell does what it says is shown above.)"""
    taken = set()
    for events in all_recorded:
        lives = Lives()
        for event in events:
            row = EVENTS[event["eventType"]]
            before = {life.began: (life.state, life.cancellation) for kind in KINDS for life in lives.open(kind)}
            life = lives.apply(event)
            if life is not None:
                state, cancellation = before.get(life.began, (ABSENT, "NOT_REQUESTED"))
                taken.add((row.type, cancellation if row.cancellation else state))
            elif row.by == NONE:
                taken.add((row.type, ""))
    moves = {(row.type, state) for row in EVENTS.values() for state in row.moves or [""]}
    assert taken <= moves
    assert moves - taken == {
        ("ActivityTaskCancelRequested", "REQUESTED"),
        ("ActivityTaskCanceled", "SCHEDULED"),
        ("ActivityTaskTimedOut", "STARTED"),
        ("CancelWorkflowExecutionFailed", "OPEN"),
        ("DecisionTaskTimedOut", "SCHEDULED"),
        ("FailWorkflowExecutionFailed", "OPEN"),
        ("RecordMarkerFailed", ""),
        ("ScheduleLambdaFunctionFailed", ""),
        ("StartChildWorkflowExecutionFailed", "INITIATED"),
        ("StartTimerFailed", ""),
        ("WorkflowExecutionCancelRequested", "REQUESTED"),
    }
