"""Lost workers: what had been taken is given out again after its heartbeat timeout, and told how far the lost attempt came."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from contract_stage import DURABLE, events, new_id, wait_for

import flowdsl
from flowdsl import ActivityTimedOut, Retry, activity, info, workflow
from flowdsl.connection import connect

pytestmark = pytest.mark.stages(*DURABLE)
calls: Counter[str] = Counter()


@activity
def work(key: str) -> list[object]:
    calls[key] += 1
    return [info().attempt, info().heartbeat_details, info().idempotency_key]


@workflow
def works(key: str) -> list[object]:
    return work(key)


@workflow
def works_once(key: str) -> list[object]:
    return work.options(retry=Retry(1))(key)


@workflow
def works_with_a_policy(key: str) -> list[object]:
    return work.options(retry=Retry(2, on="timed_out", first=0), heartbeat=10)(key)


def lose(fleet, execution, times, details=None):
    """Take the activity as a worker would, and die; as often as `times`."""
    swf = connect(fleet.backend).swf
    for lost in range(times):
        wait_for(lambda n=lost: len(events(execution, "ActivityTaskScheduled")) == n + 1)
        task = swf.poll_for_activity_task(task_list=fleet.backend.task_list, identity="the lost one")
        if details is not None:
            swf.transport.call("RecordActivityTaskHeartbeat", {"taskToken": task["taskToken"], "details": details})
        fleet.clock.advance(61)
    return [event["timeoutType"] for event in events(execution, "ActivityTaskTimedOut")]


@pytest.mark.parametrize("times", [1, 3])
def test_it_is_given_out_again_up_to_three_times(stage, times):
    with stage.fleet() as fleet:
        execution = flowdsl.start(works, new_id(), backend=fleet.backend)
        fleet.work(activities=0)
        assert lose(fleet, execution, times) == ["HEARTBEAT"] * times
        fleet.work(deciders=0)
        attempt, details, key = execution.result()
        assert (attempt, details) == (times + 1, None)
        assert key == f"{execution.id}.{execution.run_id}.work-1"


def test_the_fourth_loss_is_raised(stage):
    with stage.fleet() as fleet:
        execution = flowdsl.start(works, new_id(), backend=fleet.backend)
        fleet.work(activities=0)
        assert lose(fleet, execution, 4) == ["HEARTBEAT"] * 4
        with pytest.raises(ActivityTimedOut) as caught:
            execution.result()
        assert (caught.value.kind, caught.value.attempt) == ("HEARTBEAT", 4)


def test_one_attempt_means_at_most_once(stage):
    key = new_id()
    with stage.fleet() as fleet:
        execution = flowdsl.start(works_once, key, backend=fleet.backend)
        fleet.work(activities=0)
        lose(fleet, execution, 1)
        fleet.work(deciders=0)
        with pytest.raises(ActivityTimedOut) as caught:
            execution.result()
    assert (caught.value.kind, caught.value.attempt) == ("HEARTBEAT", 1)
    assert calls[key] == 0


def test_a_policy_counts_a_lost_worker_as_a_timeout(stage):
    with stage.fleet() as fleet:
        execution = flowdsl.start(works_with_a_policy, new_id(), backend=fleet.backend)
        fleet.work(activities=0)
        assert lose(fleet, execution, 2) == ["HEARTBEAT"] * 2
        with pytest.raises(ActivityTimedOut) as caught:
            execution.result()
        assert caught.value.attempt == 2


def test_the_details_of_the_last_heartbeat_reach_the_next_attempt(stage):
    with stage.fleet() as fleet:
        execution = flowdsl.start(works, new_id(), backend=fleet.backend)
        fleet.work(activities=0)
        lose(fleet, execution, 1, '{"done":17}')
        fleet.work(deciders=0)
        assert execution.result()[:2] == [2, {"done": 17}]


gates: dict[str, threading.Event] = {}


@activity
def ignores_its_end(key: str) -> str:
    calls[key] += 1
    if calls[key] == 1:
        gates[key].wait(60)
        return "late"
    return "in time"


@workflow
def calls_ignoring(key: str) -> str:
    return ignores_its_end.options(timeout=30, retry=Retry(2, first=0))(key)


def test_a_late_answer_is_dropped(stage):
    key = new_id()
    gates[key] = threading.Event()
    execution = stage.start(calls_ignoring, key)
    wait_for(lambda: calls[key] == 1)
    stage.clock.advance(31)
    wait_for(lambda: calls[key] == 2)
    gates[key].set()
    assert execution.result() == "in time"
    assert len(events(execution, "ActivityTaskCompleted")) == 1
