"""What several events of one history keep together, which turn an event was seen in, and which decisions have arrived."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.model.history import NO_TURN, Acknowledged, History, Turn, Turns
from flowdsl.model.lifecycle import DECISIONS, EVENTS, Refused

BEGINNING = ("WorkflowExecutionStarted", "DecisionTaskScheduled", "DecisionTaskStarted scheduledEventId=2")
FIRST_TURN = (*BEGINNING, "DecisionTaskCompleted scheduledEventId=2 startedEventId=3")

# --- whole histories that no recording shows, as the documentation has them ---

DOCUMENTED = {
    "an activity that nobody started is cancelled in the batch that asks for it": [
        *FIRST_TURN,
        "ActivityTaskScheduled activityId=a decisionTaskCompletedEventId=4",
        "TimerStarted timerId=t decisionTaskCompletedEventId=4",
        "TimerFired timerId=t startedEventId=6",
        "DecisionTaskScheduled",
        "DecisionTaskStarted scheduledEventId=8",
        "DecisionTaskCompleted scheduledEventId=8 startedEventId=9",
        "ActivityTaskCancelRequested activityId=a decisionTaskCompletedEventId=10",
        "ActivityTaskCanceled scheduledEventId=5 startedEventId=0 latestCancelRequestedEventId=11",
        "DecisionTaskScheduled",
    ],
    "a task on a temporary task list is out of time before it is started": [
        *FIRST_TURN,
        "WorkflowExecutionSignaled signalName=s",
        "DecisionTaskScheduled",
        "DecisionTaskTimedOut scheduledEventId=6 startedEventId=0 timeoutType=SCHEDULE_TO_START",
        "DecisionTaskScheduled",
        "DecisionTaskStarted scheduledEventId=8",
    ],
    "a waiting task is out of time while another one is handled": [
        *BEGINNING,
        "WorkflowExecutionSignaled signalName=s",
        "DecisionTaskScheduled",
        "DecisionTaskTimedOut scheduledEventId=5 timeoutType=SCHEDULE_TO_START",
        "DecisionTaskScheduled",
        "DecisionTaskCompleted scheduledEventId=2 startedEventId=3",
        "DecisionTaskStarted scheduledEventId=7",
    ],
    "a decision is refused and the same batch closes": [
        *FIRST_TURN,
        "CancelTimerFailed timerId=t cause=TIMER_ID_UNKNOWN decisionTaskCompletedEventId=4",
        "WorkflowExecutionCompleted decisionTaskCompletedEventId=4",
    ],
    "a refused decision stands before others": [
        *FIRST_TURN,
        "StartTimerFailed timerId=t cause=TIMER_CREATION_RATE_EXCEEDED decisionTaskCompletedEventId=4",
        "StartChildWorkflowExecutionFailed workflowId=c cause=WORKFLOW_TYPE_DEPRECATED initiatedEventId=0 decisionTaskCompletedEventId=4",
        "MarkerRecorded markerName=m decisionTaskCompletedEventId=4",
        "DecisionTaskScheduled",
    ],
    "a child's id is taken, which is known after its initiation": [
        *FIRST_TURN,
        "StartChildWorkflowExecutionInitiated workflowId=c decisionTaskCompletedEventId=4",
        "StartChildWorkflowExecutionFailed workflowId=c cause=WORKFLOW_ALREADY_RUNNING initiatedEventId=5 decisionTaskCompletedEventId=4",
        "DecisionTaskScheduled",
    ],
    "the history has reached its limit": [
        *FIRST_TURN,
        "WorkflowExecutionSignaled signalName=s",
        "WorkflowExecutionTerminated cause=EVENT_LIMIT_EXCEEDED",
    ],
    "a close is refused because of a signal, and asked for again": [
        *BEGINNING,
        "WorkflowExecutionSignaled signalName=s",
        "DecisionTaskScheduled",
        "DecisionTaskCompleted scheduledEventId=2 startedEventId=3",
        "FailWorkflowExecutionFailed cause=UNHANDLED_DECISION decisionTaskCompletedEventId=6",
        "DecisionTaskStarted scheduledEventId=5",
        "DecisionTaskCompleted scheduledEventId=5 startedEventId=8",
        "WorkflowExecutionFailed decisionTaskCompletedEventId=9",
    ],
}


@pytest.mark.parametrize("lines", DOCUMENTED.values(), ids=DOCUMENTED)
def test_a_documented_history_keeps_the_rules(story, lines):
    History.check(story(*lines))


def test_every_recorded_history_keeps_the_rules(recorded):
    History.check(recorded)


# --- refusals ---

GAP = "nothing"
REFUSED = {
    "a gap in the ids": ([*BEGINNING[:2], GAP, BEGINNING[2]], "event 3 must come next"),
    "another beginning": (["DecisionTaskScheduled"], "a history begins with WorkflowExecutionStarted, once"),
    "two beginnings": ([*BEGINNING, "WorkflowExecutionStarted"], "a history begins with WorkflowExecutionStarted, once"),
    "an event after the close": (
        [*FIRST_TURN, "WorkflowExecutionCompleted decisionTaskCompletedEventId=4", "WorkflowExecutionSignaled"],
        "the execution was closed by event 5",
    ),
    "two waiting decision tasks": ([*BEGINNING[:2], "DecisionTaskScheduled"], "the decision task of event 2 is waiting"),
    "a decision task for no reason": ([*FIRST_TURN, "DecisionTaskScheduled"], "nothing has scheduled a decision task"),
    "two decision tasks in hand": (
        [*BEGINNING, "WorkflowExecutionSignaled", "DecisionTaskScheduled", "DecisionTaskStarted scheduledEventId=5"],
        "the decision task of event 2 is being handled",
    ),
    "a signal that schedules nothing": (
        [*FIRST_TURN, "WorkflowExecutionSignaled", "WorkflowExecutionSignaled"],
        "event 5 schedules a decision task: DecisionTaskScheduled must come next",
    ),
    "a signal at the very end that schedules nothing": (
        [*FIRST_TURN, "WorkflowExecutionSignaled"],
        r"DecisionTaskScheduled \(event 6\): it is missing: event 5 schedules a decision task",
    ),
    "a termination from outside in the middle of a transaction": (
        [*FIRST_TURN, "WorkflowExecutionSignaled", "WorkflowExecutionTerminated cause=OPERATOR_INITIATED"],
        "event 5 schedules a decision task",
    ),
    "an acknowledgement without a batch": ([*BEGINNING, "TimerStarted timerId=t decisionTaskCompletedEventId=3"], "not that of the batch"),
    "an acknowledgement of another batch": ([*FIRST_TURN, "TimerStarted timerId=t decisionTaskCompletedEventId=3"], "is 3, not 4"),
    "an acknowledgement of none": ([*FIRST_TURN, "TimerStarted timerId=t"], "is None, not 4"),
    "a broken batch": (
        [
            *FIRST_TURN,
            "ActivityTaskScheduled activityId=a decisionTaskCompletedEventId=4",
            "ActivityTaskStarted scheduledEventId=5",
            "TimerStarted timerId=t decisionTaskCompletedEventId=4",
        ],
        "its decisionTaskCompletedEventId is 4, not that of the batch it stands in",
    ),
    "a late failure of another batch's signal": (
        [
            *FIRST_TURN,
            "SignalExternalWorkflowExecutionInitiated workflowId=w decisionTaskCompletedEventId=4",
            "SignalExternalWorkflowExecutionFailed workflowId=w initiatedEventId=5 decisionTaskCompletedEventId=3",
        ],
        "is 3, not 4",
    ),
    "a late failure of nothing": (
        [*FIRST_TURN, "SignalExternalWorkflowExecutionFailed workflowId=w initiatedEventId=5 decisionTaskCompletedEventId=4"],
        "not that of the batch",
    ),
    "a close that overlooks a signal": (
        [
            *BEGINNING,
            "WorkflowExecutionSignaled",
            "DecisionTaskScheduled",
            "DecisionTaskCompleted scheduledEventId=2 startedEventId=3",
            "WorkflowExecutionCompleted decisionTaskCompletedEventId=6",
        ],
        "the decision task of event 5 was waiting: the close is UNHANDLED_DECISION",
    ),
    "a close that is refused for nothing": (
        [*FIRST_TURN, "CompleteWorkflowExecutionFailed cause=UNHANDLED_DECISION decisionTaskCompletedEventId=4"],
        "nothing was unhandled",
    ),
    "an event that does not exist": ([*BEGINNING, "DecisionTaskFailed"], "Amazon SWF has no such event"),
    "what a row refuses": ([*BEGINNING, "TimerFired timerId=t startedEventId=1"], "no timer has the id 't'"),
}


@pytest.mark.parametrize(("lines", "says"), REFUSED.values(), ids=REFUSED)
def test_a_history_that_breaks_a_rule_is_refused(story, lines, says):
    events = story(*(line if line != GAP else "MarkerRecorded" for line in lines))
    if GAP in lines:
        del events[lines.index(GAP)]
    with pytest.raises(Refused, match=says):
        History.check(events)


def test_time_never_runs_backwards_and_may_be_unknown(story):
    events = story(*FIRST_TURN, "WorkflowExecutionCompleted decisionTaskCompletedEventId=4")
    for event, timestamp in zip(events, [1.5, 1.5, None, 2.0, 1.75], strict=True):
        event.update({} if timestamp is None else {"eventTimestamp": timestamp})
    with pytest.raises(Refused, match=r"WorkflowExecutionCompleted \(event 5\): its timestamp 1.75 is before that of event 4, 2.0"):
        History.check(events)
    events[-1]["eventTimestamp"] = 2.0
    History.check(events)


def test_a_refused_event_changes_nothing_and_the_history_goes_on(story):
    history = History()
    history.extend(story(*FIRST_TURN))
    right = story(*FIRST_TURN, "TimerStarted timerId=t decisionTaskCompletedEventId=4")[4]
    wrong = [
        {**right, "eventId": 7},
        {**right, "timerStartedEventAttributes": {"timerId": "t", "decisionTaskCompletedEventId": 2}},
        {"eventId": 5, "eventType": "TimerFired", "timerFiredEventAttributes": {"timerId": "t"}},
    ]
    for event in wrong:
        with pytest.raises(Refused):
            history.append(event)
    history.append(right)
    assert history.last_id == 5
    assert history.lives.find("timer", "t").is_open


def test_a_history_may_be_fed_in_any_pieces(recorded):
    for cut in range(len(recorded)):
        history = History()
        history.extend(recorded[:cut])
        history.extend(recorded[cut:])
        assert history.last_id == len(recorded)


# --- turns ---


def turns_of(events) -> Turns:
    turns = Turns()
    for event in events:
        turns.append(event)
    return turns


def test_an_event_was_seen_in_the_first_completed_turn_after_it(story):
    events = story(
        *FIRST_TURN,  # 1 to 4
        "TimerStarted timerId=t decisionTaskCompletedEventId=4",
        "TimerFired timerId=t startedEventId=5",
        "DecisionTaskScheduled",
        "DecisionTaskStarted scheduledEventId=7",
        "WorkflowExecutionSignaled signalName=late",  # while turn 8 is being handled
        "DecisionTaskScheduled",
        "DecisionTaskCompleted scheduledEventId=7 startedEventId=8",
        "DecisionTaskStarted scheduledEventId=10",
    )
    for event in events:
        event["eventTimestamp"] = 100.0 + event["eventId"]
    turns = turns_of(History.check(events) and events)
    assert [turns.turn_of(event_id).event_id for event_id in range(1, 14)] == [3, 3, 3, 8, 8, 8, 8, 8, 12, 12, 12, 12, 0]
    assert turns.turn_of(5) == Turn(8, 108.0)
    assert turns.current == Turn(12, 112.0)
    assert [turns.is_past(turns.turn_of(event_id)) for event_id in (1, 5, 9, 13)] == [True, True, False, False]


def test_a_decision_task_that_was_out_of_time_is_no_turn(story):
    events = story(
        *BEGINNING,
        "DecisionTaskTimedOut scheduledEventId=2 startedEventId=3 timeoutType=START_TO_CLOSE",
        "DecisionTaskScheduled",
        "DecisionTaskStarted scheduledEventId=5",
    )
    assert turns_of(events[:3]).turn_of(1).event_id == 3
    assert turns_of(events[:5]).turn_of(1) == NO_TURN
    assert turns_of(events).turn_of(1).event_id == 6


def test_a_waiting_task_that_is_out_of_time_does_not_end_the_turn_in_hand(story):
    events = story(*DOCUMENTED["a waiting task is out of time while another one is handled"])
    assert turns_of(events[:7]).current.event_id == 3
    assert turns_of(events[:8]).turn_of(1).event_id == 3
    assert turns_of(events).turn_of(4).event_id == 9


def test_the_turns_of_the_past_never_change_with_what_comes_later(recorded):
    """Replay rule 4 needs it: the time at which something was seen must not depend on how much of the history is there."""
    turns, known = Turns(), {}
    for event in recorded:
        turns.append(event)
        for event_id in range(1, event["eventId"] + 1):
            turn = turns.turn_of(event_id)
            if turns.is_past(turn):
                assert known.setdefault(event_id, turn) == turn
            else:
                assert event_id not in known


def test_every_turn_is_a_started_task_that_was_not_out_of_time(recorded):
    lost = {e["decisionTaskTimedOutEventAttributes"].get("startedEventId") for e in recorded if e["eventType"] == "DecisionTaskTimedOut"}
    started = {e["eventId"]: e.get("eventTimestamp", 0.0) for e in recorded if e["eventType"] == "DecisionTaskStarted"}
    turns = turns_of(recorded)
    for event in recorded:
        turn = turns.turn_of(event["eventId"])
        if turn != NO_TURN:
            assert turn.event_id not in lost
            assert turn.event_id >= event["eventId"]
            assert started[turn.event_id] == turn.timestamp


# --- acknowledgements ---


def test_decisions_are_acknowledged_by_type_and_id(story):
    known = Acknowledged()
    for event in story(
        *FIRST_TURN,
        "TimerStarted timerId=t startToFireTimeout=9 decisionTaskCompletedEventId=4",
        "CancelTimerFailed timerId=u decisionTaskCompletedEventId=4",
        "StartChildWorkflowExecutionFailed workflowId=refused initiatedEventId=0",
        "StartChildWorkflowExecutionInitiated workflowId=taken",
        "StartChildWorkflowExecutionFailed workflowId=taken initiatedEventId=8",
        "CompleteWorkflowExecutionFailed cause=UNHANDLED_DECISION",
        "WorkflowExecutionCompleted",
    ):
        known.append(event)
    assert known.events("StartTimer", "t") == (5,)
    assert known.accepted("StartTimer", "t")["startToFireTimeout"] == 9
    assert known.events("CancelTimer", "u") == (6,)
    assert known.accepted("CancelTimer", "u") is None
    assert known.events("StartChildWorkflowExecution", "refused") == (7,)
    assert known.events("StartChildWorkflowExecution", "taken") == (8,)
    assert known.accepted("StartChildWorkflowExecution", "taken")["workflowId"] == "taken"
    assert known.events("CompleteWorkflowExecution") == (10, 11)
    assert known.events("StartTimer", "never") == ()


def test_every_event_of_a_batch_acknowledges_one_decision(recorded):
    history = History.check(recorded)
    index = history.acknowledged
    found = sorted(
        event_id
        for row in DECISIONS.values()
        for id_ in {e.get(EVENTS[e["eventType"]].key, {}).get(row.id, "") for e in recorded} | {""}
        for event_id in index.events(row.type, id_)
    )
    expected = [
        event["eventId"]
        for event in recorded
        if (given := event.get(EVENTS[event["eventType"]].key, {})).get("decisionTaskCompletedEventId")
        and not (event["eventType"].endswith("Failed") and given.get("initiatedEventId"))
    ]
    assert found == expected


# --- any cut gives the same ---


@given(st.data())
def test_feeding_in_pieces_gives_what_feeding_at_once_gives(story, data):
    events = story(*data.draw(st.sampled_from(list(DOCUMENTED.values()))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    history = History()
    for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        history.extend(copy.deepcopy(events[start:end]))
    whole = History.check(events)
    assert [history.turns.turn_of(n) for n in range(1, 20)] == [whole.turns.turn_of(n) for n in range(1, 20)]
    assert repr(history.lives.execution) == repr(whole.lives.execution)
