"""Clocks: how virtual time moves, and when it skips."""

from __future__ import annotations

import threading

import pytest
from engine_kit import NEVER, activity, complete, timer
from test_service import ACTIVITY, DECISION, history, respond, serve, start

from flowdsl.engine import ManualClock, SkippingClock, SystemClock

DAY = 86_400


def test_the_system_clock_counts_milliseconds_of_this_century():
    assert 1_700_000_000_000 < SystemClock().now_ms() < 4_000_000_000_000


def test_a_manual_clock_stops_at_every_deadline_on_its_way():
    clock = ManualClock(1000.0)
    service = serve(clock=clock)
    run = start(service)
    respond(service, service.call("PollForDecisionTask", DECISION), timer("a", 10), timer("b", 20), timer("c", 30))
    clock.advance(25)
    times = [event["eventTimestamp"] for event in history(service, run) if event["eventType"] == "TimerFired"]
    assert times == [1010.0, 1020.0]
    assert clock.now_ms() == 1_025_000
    service.close()


def test_a_clock_may_drive_several_services():
    clock = ManualClock()
    services = [serve(clock=clock) for _ in range(2)]
    runs = []
    for service in services:
        runs.append(start(service))
        respond(service, service.call("PollForDecisionTask", DECISION), timer("t", 5))
    clock.advance(5)
    for service, run in zip(services, runs, strict=True):
        assert "TimerFired" in [event["eventType"] for event in history(service, run)]
    services[0].close()
    clock.advance(100)
    services[1].close()


@pytest.fixture
def clock():
    return SkippingClock(0.0)


@pytest.fixture
def service(clock):
    service = serve(clock=clock)
    yield service
    service.close()


def test_a_waiting_decider_skips_to_the_next_timer(service, clock):
    start(service, executionStartToCloseTimeout="31536000")
    respond(service, service.call("PollForDecisionTask", DECISION), timer("t", 30 * DAY))
    assert clock.now_ms() == 0, "nobody polls yet"
    task = service.call("PollForDecisionTask", DECISION)
    assert clock.now_ms() == 30 * DAY * 1000
    assert task["events"][-3]["eventType"] == "TimerFired"


def test_a_task_in_somebody_s_hand_stops_time(service, clock):
    start(service)
    respond(service, service.call("PollForDecisionTask", DECISION), timer("t", 100), activity("a", **NEVER))
    worker = service.call("PollForActivityTask", ACTIVITY)
    answers = []
    service.submit("PollForDecisionTask", DECISION, answers.append)
    assert clock.now_ms() == 0
    service.call("RespondActivityTaskCompleted", {"taskToken": worker["taskToken"]})
    assert clock.now_ms() == 0
    respond(service, answers[0])
    service.submit("PollForDecisionTask", DECISION, answers.append)
    assert clock.now_ms() == 100_000


@pytest.mark.parametrize("waited", [True, False])
def test_an_activity_whose_worker_is_between_two_polls_stops_time(service, clock, waited):
    start(service)
    if waited:
        service.submit("PollForActivityTask", ACTIVITY, lambda _: None).cancel()
    respond(service, service.call("PollForDecisionTask", DECISION), timer("t", 100), activity("a"), activity("b"))
    if not waited:
        worker = service.call("PollForActivityTask", ACTIVITY)
        service.call("RespondActivityTaskCompleted", {"taskToken": worker["taskToken"]})
        respond(service, service.call("PollForDecisionTask", DECISION))
    service.submit("PollForDecisionTask", DECISION, lambda _: None)
    assert clock.now_ms() == 0


def test_an_activity_that_nobody_ever_polls_for_waits_for_nobody(service, clock):
    start(service)
    respond(service, service.call("PollForDecisionTask", DECISION), activity("a", scheduleToStartTimeout="50"))
    task = service.call("PollForDecisionTask", DECISION)
    assert clock.now_ms() == 50_000
    assert task["events"][-3]["activityTaskTimedOutEventAttributes"]["timeoutType"] == "SCHEDULE_TO_START"


def test_a_decision_task_that_nobody_took_stops_time(service, clock):
    start(service)
    respond(service, service.call("PollForDecisionTask", DECISION), timer("t", 100))
    start(service, "other", taskList={"name": "elsewhere"})
    service.submit("PollForDecisionTask", DECISION, lambda _: None)
    assert clock.now_ms() == 0


def test_the_timeout_of_an_execution_alone_is_nothing_to_skip_to(service, clock):
    run = start(service)
    respond(service, service.call("PollForDecisionTask", DECISION))
    answers = []
    service.submit("PollForDecisionTask", DECISION, answers.append)
    assert clock.now_ms() == 0, "it waits for a signal from outside"
    service.call("SignalWorkflowExecution", {"domain": "dom", "workflowId": "w", "signalName": "s"})
    respond(service, answers[0], timer("t", 2 * 3600))
    service.submit("PollForDecisionTask", DECISION, answers.append)
    assert clock.now_ms() == 3600_000, "but on the way to a later timer it is passed"
    assert history(service, run)[-1]["eventType"] == "WorkflowExecutionTimedOut"


def test_time_can_be_held(service, clock):
    respond_all = []
    with clock.held():
        for name in ("a", "b"):
            start(service, name)
            respond(service, service.call("PollForDecisionTask", DECISION), timer("t", 100))
        service.submit("PollForDecisionTask", DECISION, respond_all.append)
        assert clock.now_ms() == 0
    assert clock.now_ms() == 100_000
    assert respond_all


def test_a_skipping_clock_can_still_be_moved_by_hand(service, clock):
    run = start(service)
    clock.advance(3600)
    assert history(service, run)[-1]["eventType"] == "WorkflowExecutionTimedOut"


def _run_threads():
    """Three workflows, a decider and two workers in threads, on skipped time: the histories, without their ids."""
    clock = SkippingClock(0.0)
    service = serve(clock=clock)

    def decider():
        while "taskToken" in (task := service.call("PollForDecisionTask", DECISION)) or not over.is_set():
            if "taskToken" not in task:
                continue
            types = [event["eventType"] for event in task["events"]]
            rounds = types.count("TimerFired")
            if rounds == 5:
                respond(service, task, complete())
            elif types.count("ActivityTaskScheduled") == rounds:
                respond(service, task, activity(f"a{rounds}", **NEVER))
            elif types.count("TimerStarted") == rounds and types.count("ActivityTaskCompleted") == rounds + 1:
                respond(service, task, timer(f"t{rounds}", 600))
            else:
                respond(service, task)

    def worker():
        while "taskToken" in (task := service.call("PollForActivityTask", ACTIVITY)) or not over.is_set():
            if "taskToken" in task:
                service.call("RespondActivityTaskCompleted", {"taskToken": task["taskToken"]})

    over, closed = threading.Event(), threading.Semaphore(0)
    with clock.held():
        runs = [start(service, f"w{number}", executionStartToCloseTimeout="90000") for number in range(3)]
        for number, run in enumerate(runs):
            service.when_closed("dom", f"w{number}", run, closed.release)
        threads = [threading.Thread(target=target) for target in (decider, worker, worker)]
        for thread in threads:
            thread.start()
    for _ in runs:
        assert closed.acquire(timeout=60)
    times = [
        [(event["eventType"], event["eventTimestamp"]) for event in history(service, run, f"w{number}") if "Timer" in event["eventType"]]
        for number, run in enumerate(runs)
    ]
    over.set()
    while any(thread.is_alive() for thread in threads):
        clock.advance(60)  # their last polls end
    service.close()
    return times


def test_skipped_time_does_not_depend_on_the_speed_of_threads():
    expected = [[(kind, 600.0 * (number + (kind == "TimerFired"))) for number in range(5) for kind in ("TimerStarted", "TimerFired")]] * 3
    for _ in range(5):
        assert _run_threads() == expected
