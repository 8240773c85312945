"""`@cached`: runs once; what it gave or raised is recorded, and that is what every replay sees."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest
from contract_stage import DURABLE, causes, events, new_id, wait_for

import flowdsl.testing
from flowdsl import ActivityFailed, activity, cached, nondeterministic, signal, sleep, workflow

calls: Counter[str] = Counter()


class Unlucky(Exception):
    pass


@cached
def draw(key: str) -> float:
    calls[key] += 1
    return random.random()


@activity
def same(x: float) -> float:
    return x


@workflow
def draws(key: str, pause: float) -> list[float]:
    one = draw(key)
    sleep(pause)
    return [one, same(one), draw(key)]


def test_a_recorded_function_runs_once_for_each_call(stage):
    key = new_id()
    one, through_an_activity, two = stage.run(draws, key, stage.seconds(1))
    assert one == through_an_activity
    assert one != two
    assert calls[key] == 2


@pytest.mark.stages(*DURABLE)
def test_the_record_is_in_the_history(stage):
    execution = stage.start(draws, new_id(), 1)
    one, _, two = execution.result()
    recorded = events(execution, "MarkerRecorded")
    assert [event["markerName"].partition(" ")[0] for event in recorded] == ["flowdsl:cached:draw-1", "flowdsl:cached:draw-2"]
    assert [event["details"] for event in recorded] == [repr(one), repr(two)]


FALSY = {"zero": 0, "empty": "", "list": [], "dict": {}, "none": None, "false": False, "float": 0.0}


@nondeterministic
def gives(kind: str, key: str) -> object:
    calls[key] += 1
    return FALSY[kind]


@workflow
def gets(kind: str, key: str, pause: float) -> list[object]:
    one = gives(kind, key)
    sleep(pause)
    return [one, one]


@pytest.mark.parametrize("kind", FALSY)
def test_falsy_values_are_recorded_like_others(stage, kind):
    key = new_id()
    values = stage.run(gets, kind, key, stage.seconds(1))
    assert values == [FALSY[kind]] * 2
    assert type(values[0]) is type(FALSY[kind])
    assert calls[key] == 1


@cached
def fails(key: str) -> None:
    calls[key] += 1
    raise Unlucky(key, calls[key])


@workflow
def survives(key: str, pause: float) -> list[object]:
    try:
        fails(key)
    except Unlucky as error:
        caught = [*error.args, *[type(cause).__name__ for cause in causes(error)]]
    sleep(pause)
    return caught


def test_an_exception_is_recorded_and_raised_as_itself(stage):
    key = new_id()
    assert stage.run(survives, key, stage.seconds(1)) == [key, 1, "ActivityFailed"]
    assert calls[key] == 1


@workflow
def does_not_survive(key: str) -> None:
    fails(key)


def test_a_recorded_exception_that_nobody_catches_fails_the_workflow_as_itself(stage):
    key = new_id()
    with pytest.raises(Unlucky) as caught:
        stage.run(does_not_survive, key)
    assert caught.value.args == (key, 1)
    assert any(isinstance(cause, ActivityFailed) and cause.name.endswith("fails") for cause in causes(caught.value))


@workflow
def many_records(key: str, n: int) -> int:
    return len({draw(key) for _ in range(n)})


def test_more_records_than_one_response_can_carry_run_once_each(stage):
    key = new_id()
    assert stage.run(many_records, key, 230) == 230
    assert calls[key] == 230


@workflow
def started(key: str) -> list[float]:
    promises = [draw.start(key), draw.start(key)]
    return [promise.result() for promise in promises] + draw.map([key, key])


def test_recorded_functions_are_started_and_mapped(stage):
    key = new_id()
    assert len(set(stage.run(started, key))) == 4
    assert calls[key] == 4


@cached
def inside() -> list[object]:
    return [same(1.5), draw("inside")]


@workflow
def calls_inside() -> int:
    return len(inside())


def test_calls_inside_a_recorded_function_are_plain_calls(stage):
    assert stage.run(calls_inside) == 2


# --- once, whatever happens ------------------------------------------------------------------------------------------


@signal
def go_on() -> None:
    pass


@workflow
def draws_and_waits(key: str) -> list[float]:
    one = draw(key)
    go_on.wait()
    return [one, draw(key)]


@pytest.mark.stages("embedded", "replayed")
def test_it_is_not_run_again_after_a_restart(stage, tmp_path):
    key, path = new_id(), str(tmp_path / "flows.db")
    flow = draws_and_waits.options(id=new_id())
    with flowdsl.testing.embedded(path) as backend:
        execution = flowdsl.start(flow, key, backend=backend)
        wait_for(lambda: events(execution, "MarkerRecorded"))
        first = float(events(execution, "MarkerRecorded")[0]["details"])
    assert calls[key] == 1
    with flowdsl.testing.embedded(path) as backend:
        execution = flowdsl.start(flow, key, backend=backend)
        execution.signal(go_on)
        assert execution.result()[0] == first
    assert calls[key] == 2


@pytest.mark.stages(*DURABLE)
def test_it_is_not_run_again_by_another_worker(stage):
    key = new_id()
    with stage.fleet() as fleet:
        execution = flowdsl.start(draws_and_waits, key, backend=fleet.backend)
        fleet.work()
        first = float(wait_for(lambda: events(execution, "MarkerRecorded"))[0]["details"])
        fleet.stop()
        execution.signal(go_on)
        fleet.work()
        assert execution.result()[0] == first
    assert calls[key] == 2


hold: dict[str, threading.Event] = {}


@cached
def slow_at_first(key: str) -> int:
    calls[key] += 1
    if calls[key] == 1:
        hold[key].wait(60)
    return calls[key]


@workflow
def records_slowly(key: str) -> int:
    return slow_at_first(key)


@pytest.mark.stages(*DURABLE)
def test_a_decision_task_that_times_out_meanwhile_leaves_one_record(stage):
    key = new_id()
    hold[key] = threading.Event()
    execution = stage.start(records_slowly, key)
    wait_for(lambda: calls[key] == 1)
    stage.clock.advance(61)
    hold[key].set()
    assert execution.result() == 2
    assert len(events(execution, "MarkerRecorded")) == 1
    assert len(events(execution, "DecisionTaskTimedOut")) == 1
