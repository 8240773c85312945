"""A worker that serves in the background: slots, polls, failures of polls, draining. Threads meet at events; nobody sleeps."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from typing import Any

import pytest

from flowdsl.errors import Cancelled, DefinitionError, Fault, RetryAfter
from flowdsl.lang.api import heartbeat, info
from flowdsl.lang.definitions import activity
from flowdsl.service.wrappers import Chaos, Retrying
from flowdsl.workers.crew import Slots
from flowdsl.workers.hooks import Hooks

PATIENCE = 20.0
"""Seconds after which a test that hangs is given up; nothing waits that long when it works."""


class Meeting:
    """`arrive` is called by functions under test: it says that they run, and holds them until `release`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._released = False
        self.here = 0
        self.most = 0

    def arrive(self) -> None:
        with self._changed:
            self.here += 1
            self.most = max(self.most, self.here)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._released, PATIENCE)
            self.here -= 1

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.here == count, PATIENCE), f"{self.here} are here, not {count}"

    def release(self) -> None:
        with self._changed:
            self._released = True
            self._changed.notify_all()


def wait_closed(bench: Any, count: int) -> None:
    """Until that many activities are over: each of them brings a decision task."""
    while len(bench.outcomes()) < count:
        task = bench.swf.poll_for_decision_task(task_list="decide")
        assert task is not None
        bench.swf.respond_decision_task_completed(task_token=task["taskToken"])


# --- slots


def test_as_many_activities_run_side_by_side_as_there_are_slots_and_no_more_are_taken(bench) -> None:
    meeting = Meeting()

    @activity(name="meets")
    def meets() -> None:
        meeting.arrive()

    for number in range(5):
        bench.schedule(meets, call_id=f"call-{number}")
    with bench.worker(meets, slots=3):
        meeting.wait_for(3)
        assert bench.swf.count_pending_activity_tasks("work") == 2
        meeting.release()
        wait_closed(bench, 5)
    assert meeting.most == 3
    assert [kind for kind, _ in bench.outcomes()] == ["completed"] * 5


def test_a_worker_without_slots_polls_nothing(bench) -> None:
    @activity(name="left.alone")
    def left_alone() -> None: ...

    bench.schedule(left_alone)
    with bench.worker(left_alone, slots=0) as worker:
        assert worker.join(PATIENCE)
    assert bench.swf.count_pending_activity_tasks("work") == 1


def test_a_busy_list_leaves_a_slot_to_the_other_one(bench) -> None:
    meeting, passed = Meeting(), threading.Event()

    @activity(name="busy")
    def busy() -> None:
        meeting.arrive()

    @activity(name="quick")
    def quick() -> None:
        passed.set()

    for number in range(3):
        bench.schedule(busy, call_id=f"busy-{number}", task_list="one")
    with bench.worker(busy, quick, task_lists=["one", "two"], slots=2):
        meeting.wait_for(1)
        bench.schedule(quick, call_id="quick", task_list="two")
        assert passed.wait(PATIENCE)
        assert meeting.here == 1
        meeting.release()
        wait_closed(bench, 4)


def test_every_list_always_has_a_slot_of_its_own() -> None:
    slots = Slots(3, ["a", "b"])
    assert slots.take("a") and slots.take("a")
    taken = threading.Event()
    third = threading.Thread(target=lambda: slots.take("a") and taken.set())
    third.start()
    assert slots.take("b")  # at once, although "a" asked before
    slots.give("a")
    assert taken.wait(PATIENCE)
    slots.close()
    assert not slots.take("b")
    third.join()


def test_fewer_slots_than_task_lists_are_refused(bench) -> None:
    with pytest.raises(DefinitionError, match="slots=1 cannot serve 2 task lists"):
        bench.worker(task_lists=["one", "two"], slots=1)


def test_one_poll_is_open_however_many_slots_are_free(bench) -> None:
    polls = CountingPolls(bench.service)
    with bench.worker(transport=polls, slots=8) as worker:
        assert polls.begun.wait(PATIENCE)
        assert polls.open == 1
        worker.stop()
        bench.service.close()  # ends the poll, which this transport cannot withdraw


class CountingPolls:
    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.open = 0
        self.begun = threading.Event()

    def call(self, operation: str, params: Any) -> dict[str, Any]:
        if operation != "PollForActivityTask":
            return self._transport.call(operation, params)
        self.open += 1
        self.begun.set()
        try:
            return self._transport.call(operation, params)
        finally:
            self.open -= 1


# --- polls that fail


class Weather:
    """A transport whose polls meet `faults`, one after the other, and then come back empty, until `done` were asked."""

    def __init__(self, *faults: Exception, polls: int) -> None:
        self._faults = list(faults)
        self._left = polls
        self.over = threading.Event()

    def call(self, operation: str, params: Any) -> dict[str, Any]:
        self._left -= 1
        if self._left <= 0:
            self.over.set()
        if self._faults:
            raise self._faults.pop(0)
        return {"startedEventId": 0}


def impatient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let nobody wait for real; return how long they would have waited."""
    waits: list[float] = []
    from flowdsl.workers import activities, polling

    class Impatient(polling.Patience):
        def __init__(self, hooks: Hooks, what: str) -> None:
            super().__init__(hooks, what, wait=waits.append, random=lambda: 1.0)

    monkeypatch.setattr(activities, "Patience", Impatient)
    return waits


def test_a_poll_that_fails_is_repeated_after_longer_and_longer_waits_and_said_once(bench, monkeypatch, caplog) -> None:
    waits = impatient(monkeypatch)
    caplog.set_level(logging.INFO, "flowdsl.worker")
    down = [Fault("ConnectionError", "nobody listens", retryable=True) for _ in range(4)]
    weather = Weather(*down, Fault("ThrottlingException", "Rate exceeded", retryable=True), polls=7)
    told: list[Any] = []
    with bench.worker(transport=weather, hooks=Hooks(on_error=lambda error, about: told.append((error.code, about["failures"])))):
        assert weather.over.wait(PATIENCE)
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert told == [
        ("ConnectionError", 1),
        ("ConnectionError", 2),
        ("ConnectionError", 3),
        ("ConnectionError", 4),
        ("ThrottlingException", 5),
    ]
    lines = [record.getMessage() for record in caplog.records]
    assert [("nobody listens" in line, "Rate exceeded" in line, "answered again" in line) for line in lines] == [
        (True, False, False), (False, True, False), (False, False, True),
    ]  # fmt: skip


def test_an_empty_poll_calls_on_idle_and_a_hook_that_fails_stops_nothing(bench, caplog) -> None:
    idle = itertools.count()

    def on_idle() -> None:
        if next(idle) == 0:
            raise ValueError("the hook's own fault")

    weather = Weather(polls=4)
    with bench.worker(transport=weather, hooks=Hooks(on_idle=on_idle)):
        assert weather.over.wait(PATIENCE)
    assert next(idle) >= 2
    assert "on_idle failed" in caplog.text


def test_lost_and_doubled_answers_of_the_network_lose_no_outcome(bench) -> None:
    @activity(name="survives")
    def survives(x: int) -> int:
        return x

    numbers = range(20)
    for number in numbers:
        bench.schedule(survives, number, call_id=f"call-{number}")
    respond = {"RespondActivityTaskCompleted"}
    chaos = Chaos(bench.service, 7, drop_before=0.2, drop_after=0.2, double=0.2, throttle=0.2, fail_after=0.1, operations=respond)
    worker = bench.worker(survives, transport=Retrying(chaos, sleep=lambda _: None))
    for _ in numbers:
        assert worker.run_once()
    values = [bench.values.decode_result(survives, about["result"]) for _, about in bench.outcomes()]
    assert sorted(values) == list(numbers)
    assert {fate for _, fate in chaos.dealt} == {"drop_before", "drop_after", "double", "throttle", "fail_after"}


def test_an_answer_that_is_refused_for_good_is_reported(bench) -> None:
    class Refuses:
        def call(self, operation: str, params: Any) -> dict[str, Any]:
            if operation.startswith("Respond"):
                raise Fault("OperationNotPermittedFault", "not you")
            return bench.service.call(operation, params)

    @activity(name="forbidden")
    def forbidden() -> None: ...

    told: list[Any] = []
    bench.schedule(forbidden)
    hooks = Hooks(on_error=lambda error, about: told.append((error.code, about["activity"], about["callId"])))
    bench.worker(forbidden, transport=Refuses(), hooks=hooks).run_once()
    assert told == [("OperationNotPermittedFault", "forbidden", "call-1")]


# --- draining


def test_a_stop_ends_the_open_poll_at_once_where_that_swallows_no_task(bench) -> None:
    @activity(name="later")
    def later() -> None: ...

    worker = bench.worker(later)
    worker.start()
    worker.stop()
    assert worker.join(PATIENCE)
    bench.schedule(later)
    assert bench.swf.count_pending_activity_tasks("work") == 1


def test_what_runs_when_the_worker_stops_is_finished_and_answered(bench) -> None:
    meeting = Meeting()

    @activity(name="finishes")
    def finishes() -> str:
        meeting.arrive()
        return "in peace"

    bench.schedule(finishes)
    worker = bench.worker(finishes)
    worker.start()
    meeting.wait_for(1)
    worker.stop()
    assert not worker.join(0)
    meeting.release()
    assert worker.join(PATIENCE)
    assert bench.result(finishes) == "in peace"


def test_a_task_that_an_open_poll_still_brings_is_run(bench) -> None:
    @activity(name="last.one")
    def last_one() -> str:
        return "ran"

    polls = CountingPolls(bench.service)
    worker = bench.worker(last_one, transport=polls)
    worker.start()
    assert polls.begun.wait(PATIENCE)
    worker.stop()
    bench.schedule(last_one)
    assert worker.join(PATIENCE)
    assert bench.result(last_one) == "ran"


def test_a_task_that_comes_after_the_grace_is_given_back_unrun(bench) -> None:
    ran: list[bool] = []

    @activity(name="too.late")
    def too_late() -> None:
        ran.append(True)

    polls = CountingPolls(bench.service)
    worker = bench.worker(too_late, transport=polls)
    worker.start()
    assert polls.begun.wait(PATIENCE)
    worker._give_up()
    worker.stop()
    bench.schedule(too_late)
    assert worker.join(PATIENCE)
    assert isinstance(bench.failure(too_late), RetryAfter)
    assert ran == []


def test_a_bug_of_ours_costs_one_task_and_not_the_thread(bench, monkeypatch, caplog) -> None:
    @activity(name="fine")
    def fine() -> None: ...

    for number in range(2):
        bench.schedule(fine, call_id=f"call-{number}")
    told: list[BaseException] = []
    hooks = Hooks(on_error=lambda error, about: told.append(error))
    worker = bench.worker(fine, hooks=hooks, slots=1)
    bugs = iter([ZeroDivisionError("ours")])
    original = worker._outcome

    def outcome(attempt: Any) -> Any:
        for bug in bugs:
            raise bug
        return original(attempt)

    monkeypatch.setattr(worker, "_outcome", outcome)
    with worker:
        wait_closed(bench, 1)
    assert [type(error) for error in told] == [ZeroDivisionError]
    assert "could not be run" in caplog.text


def test_what_listens_is_cancelled_when_the_grace_is_over_and_given_out_again(bench) -> None:
    meeting = Meeting()

    @activity(name="listens")
    def listens() -> None:
        meeting.arrive()
        scope_is_cancelled.wait(PATIENCE)
        heartbeat()

    scope_is_cancelled = threading.Event()
    bench.schedule(listens)
    worker = bench.worker(listens)
    worker.start()
    meeting.wait_for(1)
    worker.stop(0)
    assert worker.join(PATIENCE)
    meeting.release()
    scope_is_cancelled.set()
    error = bench.failure(listens)
    assert isinstance(error, RetryAfter) and error.seconds == 0
    assert "was stopped" in error.message


def test_a_coroutine_is_cancelled_when_the_grace_is_over(bench) -> None:
    started, cleaned = threading.Event(), []

    @activity(name="waits")
    async def waits() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    bench.schedule(waits)
    worker = bench.worker(waits)
    worker.start()
    assert started.wait(PATIENCE)
    worker.stop(0)
    assert worker.join(PATIENCE)
    assert isinstance(bench.failure(waits), RetryAfter)


def test_a_thread_that_does_not_listen_is_written_off(bench) -> None:
    meeting = Meeting()

    @activity(name="deaf")
    def deaf() -> str:
        meeting.arrive()
        return "nobody hears this"

    bench.schedule(deaf)
    worker = bench.worker(deaf)
    worker.start()
    meeting.wait_for(1)
    worker.stop(0)
    assert worker.join(PATIENCE)
    assert isinstance(bench.failure(deaf), RetryAfter)
    meeting.release()


def test_a_worker_stopped_twice_or_never_started_is_stopped(bench) -> None:
    worker = bench.worker()
    worker.stop()
    worker.stop(0)
    assert worker.join(PATIENCE)


# --- cancellation by the decider, of what runs in the background


def test_a_running_coroutine_is_cancelled_by_the_heart(bench) -> None:
    started = threading.Event()

    @activity(name="is.cancelled", heartbeat=0.01)
    async def is_cancelled() -> None:
        started.set()
        await asyncio.Event().wait()

    bench.schedule(is_cancelled)
    with bench.worker(is_cancelled):
        assert started.wait(PATIENCE)
        bench.cancel()
        wait_closed(bench, 1)
    assert bench.outcome()[0] == "canceled"


def test_a_coroutine_whose_task_is_over_is_cancelled_and_answers_nothing(bench) -> None:
    started, ended = threading.Event(), threading.Event()

    @activity(name="times.out", heartbeat=0.01)
    async def times_out() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    bench.schedule(times_out)
    with bench.worker(times_out):
        assert started.wait(PATIENCE)
        bench.swf.terminate("wf")
        assert ended.wait(PATIENCE)
    assert bench.outcomes() == []


def test_a_coroutine_hears_of_its_cancellation_as_cancelled_error_and_may_clean_up(bench) -> None:
    heard: list[str] = []

    @activity(name="cleans", heartbeat=0.01)
    async def cleans() -> str:
        try:
            bench.cancel()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append(info().call_id)
        return "cleaned"

    assert bench.run(cleans) == "cleaned"
    assert heard == ["call-1"]


def test_cancelled_is_what_a_thread_gets_at_its_next_heartbeat(bench) -> None:
    heard: list[BaseException] = []

    @activity(name="asks")
    def asks() -> None:
        bench.cancel()
        try:
            heartbeat()
        except Cancelled as error:
            heard.append(error)
            raise

    bench.schedule(asks)
    bench.worker(asks).run_once()
    assert bench.outcome()[0] == "canceled"
    assert "was asked to stop" in heard[0].message
