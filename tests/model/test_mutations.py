"""Histories that were doubled, cut or shuffled: how much of it the rows and the joint rules see.

Each event of each recorded history is doubled, dropped, or swapped with the next one. As it stands, the gap in the ids gives all of it
away but the loss of the last event. To see more than that, the ids are then made to fit again, and every reference with them: what is
still accepted are other histories that the service could well have written, and the tests say which.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from flowdsl.model.history import History
from flowdsl.model.lifecycle import Lives, Refused, attributes

Event = dict[str, Any]
Mutant = tuple[str, list[Event]]

#: References into another execution's history; they mean nothing in this one.
ELSEWHERE = {"externalInitiatedEventId", "parentInitiatedEventId"}


def renumber(events: list[Event], new_id: Callable[[int], int]) -> list[Event]:
    """The same events under other ids, with every reference in them."""
    events = copy.deepcopy(events)
    for event in events:
        event["eventId"] = new_id(event["eventId"])
        given = attributes(event)
        for name, value in given.items():
            if name.endswith("EventId") and name not in ELSEWHERE and value:
                given[name] = new_id(value)
    return events


def doubled(events: list[Event]) -> Iterator[Mutant]:
    for at, event in enumerate(events):
        shifted = renumber(events, lambda n, at=at: n if n <= at + 1 else n + 1)
        again = copy.deepcopy(shifted[at])
        again["eventId"] += 1
        yield event["eventType"], [*shifted[: at + 1], again, *shifted[at + 1 :]]


def dropped(events: list[Event]) -> Iterator[Mutant]:
    for at, event in enumerate(events[:-1]):
        lost = at + 1
        shifted = renumber(events, lambda n, lost=lost: n if n <= lost else n - 1)
        yield event["eventType"], shifted[:at] + shifted[at + 1 :]


def swapped(events: list[Event]) -> Iterator[Mutant]:
    for at, (one, other) in enumerate(pairwise(events)):
        exchanged = renumber(events, lambda n, at=at: {at + 1: at + 2, at + 2: at + 1}.get(n, n))
        exchanged[at], exchanged[at + 1] = exchanged[at + 1], exchanged[at]
        yield f"{one['eventType']} × {other['eventType']}", exchanged


def is_refused(fold: Callable[[list[Event]], object], events: list[Event]) -> bool:
    try:
        fold(events)
    except Refused:
        return True
    return False


def by_rows_alone(events: list[Event]) -> None:
    lives = Lives()
    for event in events:
        lives.apply(event)


# --- as they stand ---


def test_every_doubled_event_is_refused(recorded):
    for at in range(len(recorded)):
        assert is_refused(History.check, [*recorded[: at + 1], *recorded[at:]])


def test_every_dropped_event_but_the_last_is_refused(recorded):
    for at in range(len(recorded) - 1):
        assert is_refused(History.check, recorded[:at] + recorded[at + 1 :])


def test_every_swap_of_neighbours_is_refused(recorded):
    for at in range(len(recorded) - 1):
        assert is_refused(History.check, [*recorded[:at], recorded[at + 1], recorded[at], *recorded[at + 2 :]])


# --- with ids that fit again ---

# What may be there once more: nothing in a history says how many times it was decided, signalled or sent.
MAY_BE_TWICE = {
    "ActivityTaskCancelRequested",
    "CancelTimerFailed",
    "CompleteWorkflowExecutionFailed",
    "ContinueAsNewWorkflowExecutionFailed",
    "MarkerRecorded",
    "RequestCancelActivityTaskFailed",
    "RequestCancelExternalWorkflowExecutionInitiated",
    "ScheduleActivityTaskFailed",
    "SignalExternalWorkflowExecutionInitiated",
    "StartChildWorkflowExecutionFailed",
    "StartChildWorkflowExecutionInitiated",
    "WorkflowExecutionSignaled",
}
# What may be gone: nothing refers to it, and no decision task was scheduled because of it.
MAY_BE_GONE = {
    "an end that was absorbed by a waiting decision task": {
        "ActivityTaskCompleted", "ChildWorkflowExecutionCanceled", "ChildWorkflowExecutionCompleted", "ChildWorkflowExecutionFailed",
        "ChildWorkflowExecutionTimedOut", "ExternalWorkflowExecutionSignaled", "LambdaFunctionCompleted", "WorkflowExecutionSignaled",
        "ChildWorkflowExecutionStarted",
    },
    "something decided that went no further": {
        "ActivityTaskCancelRequested", "ActivityTaskScheduled", "CompleteWorkflowExecutionFailed", "LambdaFunctionScheduled",
        "MarkerRecorded", "RequestCancelExternalWorkflowExecutionInitiated", "SignalExternalWorkflowExecutionInitiated",
        "StartChildWorkflowExecutionInitiated", "TimerCanceled", "TimerStarted",
    },
    "a start before an end that needs none, or before the close": {"ActivityTaskStarted", "DecisionTaskStarted"},
    "a completed decision task that decided nothing": {"DecisionTaskCompleted"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("mutate", "total", "by_rows", "by_all"),
    [
        pytest.param(doubled, 1740, 1294, 1655, id="1740 doubled: rows refuse 1294, all rules 1655"),
        pytest.param(dropped, 1581, 1036, 1494, id="1581 dropped: rows refuse 1036, all rules 1494"),
        pytest.param(swapped, 1581, 746, 1530, id="1581 swapped: rows refuse 746, all rules 1530"),
    ],
)
def test_most_mutants_are_refused_even_when_their_ids_fit(all_recorded, mutate, total, by_rows, by_all):
    mutants = [mutant for events in all_recorded for _, mutant in mutate(events)]
    refused_by_rows = sum(is_refused(by_rows_alone, mutant) for mutant in mutants)
    refused = sum(is_refused(History.check, mutant) for mutant in mutants)
    assert len(mutants) >= total
    assert refused_by_rows / len(mutants) >= by_rows / total
    assert refused / len(mutants) >= by_all / total


@pytest.mark.parametrize(
    ("mutate", "possible"), [(doubled, MAY_BE_TWICE), (dropped, set().union(*MAY_BE_GONE.values()))], ids=["doubled", "dropped"]
)
def test_what_is_still_accepted_could_have_happened(all_recorded, mutate, possible):
    accepted = Counter(what for events in all_recorded for what, mutant in mutate(events) if not is_refused(History.check, mutant))
    assert set(accepted) <= possible, accepted


def test_only_what_is_independent_may_change_places(all_recorded):
    """Decisions of one batch, and things of different lives that happened between two turns."""
    accepted = {what for events in all_recorded for what, mutant in swapped(events) if not is_refused(History.check, mutant)}
    batch = {"ActivityTaskScheduled", "MarkerRecorded", "TimerStarted", "TimerCanceled", "LambdaFunctionScheduled"}
    batch |= {"StartChildWorkflowExecutionInitiated", "SignalExternalWorkflowExecutionInitiated"}
    between = {"DecisionTaskCompleted × ActivityTaskStarted"}
    between |= {f"ChildWorkflowExecution{one} × ChildWorkflowExecutionCompleted" for one in ("Started", "Completed")}
    for what in accepted - between:
        assert set(what.split(" × ")) <= batch, what
