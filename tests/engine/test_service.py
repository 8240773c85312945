"""The service around the engine: long polls, hand-over, tickets, callbacks, the timer thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from engine_kit import Swf, activity, complete, decision, timer

from flowdsl.engine import Engine, ManualClock, Quotas, Service, SystemClock
from flowdsl.errors import Fault

DECISION = {"domain": "dom", "taskList": {"name": "deciders"}}
ACTIVITY = {"domain": "dom", "taskList": {"name": "workers"}}
FLOW = {"domain": "dom", "workflowType": {"name": "flow", "version": "1"}}


def serve(path=":memory:", clock=None, quotas=None):
    """A service with a domain and types, on a clock that stands unless it is moved."""
    swf = Swf(path, quotas=quotas)
    swf.prepare()
    return Service(swf.engine, clock or ManualClock())


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def service(clock):
    service = serve(clock=clock)
    yield service
    service.close()


def start(service, workflow_id="w", **more):
    return service.call("StartWorkflowExecution", FLOW | {"workflowId": workflow_id} | more)["runId"]


def respond(service, task, *decisions):
    service.call("RespondDecisionTaskCompleted", {"taskToken": task["taskToken"], "decisions": list(decisions)})


def history(service, run, workflow_id="w"):
    asked = {"domain": "dom", "execution": {"workflowId": workflow_id, "runId": run}}
    return service.call("GetWorkflowExecutionHistory", asked)["events"]


def test_a_poll_that_finds_a_task_answers_at_once(service):
    start(service)
    assert service.call("PollForDecisionTask", DECISION)["startedEventId"] == 3


def test_a_waiting_poll_gets_the_task_that_appears(service):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.call, "PollForDecisionTask", DECISION)
        run = start(service)
        assert waiting.result(60)["workflowExecution"]["runId"] == run


def test_a_poll_without_a_task_ends_after_sixty_seconds_of_the_clock(service, clock):
    answers = []
    service.submit("PollForDecisionTask", DECISION, answers.append)
    service.submit("PollForActivityTask", ACTIVITY, answers.append)
    clock.advance(59.999)
    assert answers == []
    clock.advance(0.001)
    assert answers == [{"previousStartedEventId": 0, "startedEventId": 0}, {"startedEventId": 0}]
    start(service)
    assert service.call("PollForDecisionTask", DECISION)["startedEventId"] == 3, "an ended poll takes no task"


def test_a_poll_does_not_wait_longer_when_the_clock_is_set_back(service, clock):
    answers = []
    service.submit("PollForActivityTask", ACTIVITY, answers.append)
    clock._now -= 3_600_000
    service.settle()
    assert answers == [{"startedEventId": 0}]


def test_five_hundred_polls_and_one_task_exactly_one_gets_it_and_it_is_the_first(service):
    answers = {}
    for number in range(500):
        service.submit("PollForDecisionTask", DECISION, lambda answer, number=number: answers.setdefault(number, []).append(answer))
    start(service)
    assert list(answers) == [0]
    start(service, "w2")
    start(service, "w3")
    assert list(answers) == [0, 1, 2]
    service.close()
    assert all(len(given) == 1 for given in answers.values())
    assert sum("taskToken" in given[0] for given in answers.values()) == 3
    assert len(answers) == 500


def test_a_batch_of_activities_is_handed_to_as_many_polls(service):
    answers = []
    for _ in range(5):
        service.submit("PollForActivityTask", ACTIVITY, answers.append)
    start(service)
    respond(service, service.call("PollForDecisionTask", DECISION), *[activity(f"a{number}") for number in range(3)])
    assert [answer["activityId"] for answer in answers] == ["a0", "a1", "a2"]


def test_a_cancelled_poll_never_gets_a_task_and_is_never_answered(service):
    answers = []
    first = service.submit("PollForDecisionTask", DECISION, answers.append)
    service.submit("PollForDecisionTask", DECISION, lambda answer: answers.append(("second", answer["startedEventId"])))
    assert first.cancel() is True
    assert first.cancel() is False
    start(service)
    assert answers == [("second", 3)]
    service.close()
    assert len(answers) == 1


def test_it_is_too_late_to_cancel_an_answered_ticket(service):
    answers = []
    ticket = service.submit("ListDomains", {"registrationStatus": "REGISTERED"}, answers.append)
    assert ticket.cancel() is False
    assert answers[0]["domainInfos"][0]["name"] == "dom"


def test_a_refusal_is_given_to_done_by_submit_and_raised_by_call(service):
    answers = []
    service.submit("PollForDecisionTask", {**DECISION, "domain": "nowhere"}, answers.append)
    assert isinstance(answers[0], Fault)
    with pytest.raises(Fault, match="Unknown domain"):
        service.call("PollForDecisionTask", {**DECISION, "domain": "nowhere"})


def test_pollers_of_one_list_are_limited():
    service = serve(quotas=Quotas(pollers=2))
    for _ in range(2):
        service.submit("PollForDecisionTask", DECISION, lambda _: None)
    with pytest.raises(Fault) as caught:
        service.call("PollForDecisionTask", DECISION)
    assert caught.value.code == "LimitExceededFault"
    service.submit("PollForActivityTask", ACTIVITY, lambda _: None).cancel()
    service.close()


def test_the_pages_of_a_poll_never_wait(service):
    start(service)
    first = service.call("PollForDecisionTask", DECISION | {"maximumPageSize": 1})
    second = service.call("PollForDecisionTask", DECISION | {"nextPageToken": first["nextPageToken"]})
    assert second["taskToken"] == first["taskToken"]


def test_effects_follow_at_once(service):
    run = start(service)
    task = service.call("PollForDecisionTask", DECISION)
    respond(service, task, decision("SignalExternalWorkflowExecution", workflowId="w", signalName="s"))
    assert [event["eventType"] for event in history(service, run)][-1] == "ExternalWorkflowExecutionSignaled"


def test_a_timer_wakes_the_waiting_decider_at_its_own_time(service, clock):
    run = start(service)
    respond(service, service.call("PollForDecisionTask", DECISION), timer("t", 7))
    answers = []
    service.submit("PollForDecisionTask", DECISION, answers.append)
    clock.advance(30)
    fired = answers[0]["events"][-3]
    assert fired["eventType"] == "TimerFired"
    assert fired["eventTimestamp"] == history(service, run)[0]["eventTimestamp"] + 7


def test_closing_ends_waiting_polls_and_refuses_what_comes_after():
    service = serve()
    answers = []
    service.submit("PollForActivityTask", ACTIVITY, answers.append)
    service.close()
    service.close()
    assert answers == [{"startedEventId": 0}]
    with pytest.raises(Fault, match="closed"):
        service.call("PollForActivityTask", ACTIVITY)


def test_closing_frees_a_thread_that_waits():
    service = serve()
    waiting = threading.Event()
    submit = service.submit

    def announce(*args):
        ticket = submit(*args)
        waiting.set()
        return ticket

    service.submit = announce
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.call, "PollForDecisionTask", DECISION)
        waiting.wait(60)
        service.close()
        assert answer.result(60) == {"previousStartedEventId": 0, "startedEventId": 0}


def test_a_callback_that_fails_is_logged_and_costs_nobody_else_his_answer(service, caplog):
    answers = []
    service.submit("PollForDecisionTask", DECISION, lambda _: 1 / 0)
    service.submit("PollForDecisionTask", DECISION, answers.append)
    start(service)
    start(service, "w2")
    assert len(answers) == 1
    assert "a callback of the embedded engine's service failed" in caplog.text


def test_a_callback_may_call_the_service(service):
    seen = []

    def again(task):
        respond(service, task, complete())
        seen.append(task["workflowExecution"]["workflowId"])
        if len(seen) < 3:
            service.submit("PollForDecisionTask", DECISION, again)
            start(service, f"w{len(seen)}")

    service.submit("PollForDecisionTask", DECISION, again)
    start(service, "w0")
    assert sorted(seen) == ["w0", "w1", "w2"]


def test_ctrl_c_in_a_waiting_call_withdraws_the_poll(service, monkeypatch):
    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    monkeypatch.setattr("flowdsl.engine.service.threading.Event", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        service.call("PollForDecisionTask", DECISION)
    monkeypatch.undo()
    start(service)
    assert service.call("PollForDecisionTask", DECISION)["startedEventId"] == 3


# --- when a run closes


def test_watchers_are_called_once_when_the_run_closes(service):
    run = start(service)
    calls = []
    service.when_closed("dom", "w", run, lambda: calls.append(1))
    service.when_closed("dom", "w", run, lambda: calls.append(2))
    service.call("SignalWorkflowExecution", {"domain": "dom", "workflowId": "w", "signalName": "s"})
    assert calls == []
    respond(service, service.call("PollForDecisionTask", DECISION), complete())
    assert calls == [1, 2]
    service.when_closed("dom", "w", run, lambda: calls.append(3))
    assert calls == [1, 2, 3], "at once if it is closed"
    start(service)
    service.call("TerminateWorkflowExecution", {"domain": "dom", "workflowId": "w"})
    assert calls == [1, 2, 3]


def test_a_continuation_closes_the_run(service):
    run = start(service)
    calls = []
    service.when_closed("dom", "w", run, lambda: calls.append(1))
    respond(service, service.call("PollForDecisionTask", DECISION), decision("ContinueAsNewWorkflowExecution"))
    assert calls == [1]


def test_a_timeout_closes_the_run(service, clock):
    run = start(service, executionStartToCloseTimeout="10")
    calls = []
    service.when_closed("dom", "w", run, lambda: calls.append(1))
    clock.advance(10)
    assert calls == [1]


def test_an_unknown_run_cannot_be_watched(service):
    with pytest.raises(Fault, match="Unknown execution"):
        service.when_closed("dom", "w", "no", lambda: None)


# --- real time and many threads


def test_on_the_system_clock_deadlines_come_by_themselves(tmp_path):
    service = serve(tmp_path / "e.db", SystemClock())
    run = start(service)
    respond(service, service.call("PollForDecisionTask", DECISION), timer("far", 3000), timer("near", 1), timer("now", 0))
    for expected in ("now", "near"):
        task = service.call("PollForDecisionTask", DECISION)
        fired = [e["timerFiredEventAttributes"]["timerId"] for e in task["events"] if e["eventType"] == "TimerFired"]
        assert fired[-1] == expected
        respond(service, task)
    times = {
        e["eventType"] + str(e.get("timerFiredEventAttributes", {}).get("timerId", "")): e["eventTimestamp"] for e in history(service, run)
    }
    assert times["TimerFirednear"] - times["TimerStarted"] >= 1
    service.close()


def test_every_task_is_done_exactly_once_by_many_workers(tmp_path):
    service = serve(tmp_path / "e.db", SystemClock())
    runs, done, lock, finished = 20, [], threading.Lock(), threading.Event()

    def poll(operation, params):
        try:
            return service.call(operation, params)
        except Fault as fault:
            if fault.code != "ServiceUnavailable":  # closed between two polls
                raise
            return {}

    def worker():
        while "taskToken" in (task := poll("PollForActivityTask", ACTIVITY)):
            with lock:
                done.append((task["workflowExecution"]["workflowId"], task["activityId"]))
            service.call("RespondActivityTaskCompleted", {"taskToken": task["taskToken"]})

    def decider():
        while "taskToken" in (task := poll("PollForDecisionTask", DECISION)):
            types = [event["eventType"] for event in task["events"]]
            if "ActivityTaskScheduled" not in types:
                respond(service, task, *[activity(f"a{number}") for number in range(5)])
            elif types.count("ActivityTaskCompleted") == 5:
                respond(service, task, complete())
            else:
                respond(service, task)

    left = set(range(runs))

    def closed(number):
        left.discard(number)
        if not left:
            finished.set()

    threads = [threading.Thread(target=target) for target in [worker] * 6 + [decider] * 3]
    for thread in threads:
        thread.start()
    for number in range(runs):
        run = start(service, f"w{number}")
        service.when_closed("dom", f"w{number}", run, lambda number=number: closed(number))
    assert finished.wait(60)
    service.close()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == sorted((f"w{w}", f"a{a}") for w in range(runs) for a in range(5))


def test_cancelling_polls_while_tasks_arrive_loses_no_task():
    service = serve(clock=SystemClock())
    total, got, lock = 200, [], threading.Lock()

    def poll_and_cancel():
        for _ in range(300):

            def done(answer):
                with lock:
                    got.append(answer)

            service.submit("PollForDecisionTask", DECISION, done).cancel()

    threads = [threading.Thread(target=poll_and_cancel) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(total):
        start(service, f"w{number}")
    for thread in threads:
        thread.join(60)
    rest = []
    while len([a for a in got if "taskToken" in a]) + len(rest) < total:
        rest.append(service.call("PollForDecisionTask", DECISION)["workflowExecution"]["workflowId"])
    names = [answer["workflowExecution"]["workflowId"] for answer in got if "taskToken" in answer] + rest
    assert sorted(names) == sorted(f"w{number}" for number in range(total))
    service.close()


def test_deadlines_that_cannot_be_written_are_tried_again(clock, caplog, monkeypatch):
    service = serve(clock=clock)
    run = start(service)
    respond(service, service.call("PollForDecisionTask", DECISION), timer("t", 5))
    tick, failures = Engine.tick, [1, 1]

    def failing(self, now):
        if failures:
            failures.pop()
            raise Fault("InternalFailure", "disk full", retryable=True)
        return tick(self, now)

    monkeypatch.setattr(Engine, "tick", failing)
    clock.advance(5)
    assert history(service, run)[-1]["eventType"] == "TimerStarted"
    clock.advance(10)
    assert "TimerFired" in [event["eventType"] for event in history(service, run)]
    assert "tried again" in caplog.text
    service.close()
