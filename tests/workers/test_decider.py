"""The decider: one poll, one replay, one response; many executions, misfits, unknown code, slow recorded functions."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from decider_stand import (
    Stand,
    double,
    drawn,
    in_turn,
    run_to_the_end,
    with_finally,
)

from flowdsl import cached, publish, workflow
from flowdsl.lang.registry import Registry
from flowdsl.workers import recorder
from flowdsl.workers.cache import Cache
from flowdsl.workers.hooks import Hooks
from flowdsl.workers.parking import read_context


@pytest.fixture
def stand() -> Iterator[Stand]:
    one = Stand()
    yield one
    one.close()


def test_many_executions_go_on_side_by_side_in_one_decider(stand: Stand) -> None:
    decider, cache = stand.decider(), Cache()
    waiting = stand.start(with_finally, "waits", workflow_id="waits")
    runs = {number: stand.start(in_turn, number, workflow_id=f"w-{number}") for number in range(10)}
    run_to_the_end(stand, decider, cache)
    for number, run_id in runs.items():
        assert stand.result(in_turn, run_id, f"w-{number}") == number * (number - 1)
    assert stand.events(waiting, "waits")[-1]["eventType"] == "DecisionTaskCompleted"
    cache.close()


def test_code_that_does_not_fit_writes_nothing_and_goes_on_when_it_fits_again(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    def define(*names: str) -> Registry:
        registry = Registry()

        def body() -> list[int]:
            publish("begun")
            return [double.options(name=double.name)(number) for number, name in enumerate(names) if name == "double"] or [drawn(1)]

        registry.add(workflow(name="moving")(body))
        return registry

    fitting, other = define("double"), define("drawn")
    stand.swf.register_workflow_type(name="moving", version="1")
    (definition,) = fitting
    run_id = stand.start(definition)
    cache = Cache()
    heard: list[BaseException] = []
    assert stand.decider(registry=fitting).run_once(cache)
    stand.work()
    blocked = stand.decider(registry=other, hooks=Hooks(on_error=lambda error, about: heard.append(error)))
    with caplog.at_level(logging.ERROR, "flowdsl.decider"):
        assert blocked.run_once(cache)
    (misfit,) = heard
    assert type(misfit).__name__ == "NonDeterminism"
    assert "took another path than its history" in caplog.text
    about = stand.swf.describe("w", run_id)
    context = read_context(about["latestExecutionContext"])
    assert json.loads(context["published"]) == "begun"
    assert "took another path" in context["blocked"]
    assert [event["eventType"] for event in stand.events(run_id)][-2:] == ["DecisionTaskCompleted", "TimerStarted"]
    stand.clock.advance(3)
    assert stand.decider(registry=fitting).run_once(cache)
    assert stand.result(definition, run_id) == [0]
    assert len(cache) == 0


def test_a_workflow_that_is_not_known_is_left_alone_and_said_once(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    decider = stand.decider(registry=Registry())
    runs = [stand.start(in_turn, 1, workflow_id=f"w-{number}") for number in range(2)]
    with caplog.at_level(logging.WARNING, "flowdsl.decider"):
        assert decider.run_once(Cache())
        assert decider.run_once(Cache())
    assert [record.getMessage() for record in caplog.records] == [
        f"no workflow {in_turn.name} (version 1) is known here; its decision task is left to others. Known: none"
    ]
    stand.clock.advance(61)
    run_to_the_end(stand, stand.decider(), Cache())
    assert [stand.result(in_turn, run_id, f"w-{number}") for number, run_id in enumerate(runs)] == [0, 0]


def test_a_recorded_function_that_takes_half_of_the_tasks_time_is_warned_of(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter([0.0, 31.0])
    monkeypatch.setattr(recorder, "time", SimpleNamespace(monotonic=lambda: next(times)))

    @workflow
    def looking_up() -> int:
        return drawn(1)

    stand.swf.register_workflow_type(name=looking_up.name, version="1")
    run_id = stand.start(looking_up)
    with caplog.at_level(logging.WARNING, "flowdsl.decider"):
        assert stand.decider().run_once(Cache())
    assert "drawn took 31.0 s of a decision task's 60 s; make it an @activity" in caplog.text
    assert stand.result(looking_up, run_id) == 101


def test_settle_waits_for_the_decision_in_hand_and_not_for_the_poll(stand: Stand) -> None:
    reached, go_on = threading.Event(), threading.Event()

    @cached
    def held() -> int:
        reached.set()
        go_on.wait()
        return 1

    @workflow
    def holding() -> int:
        return held()

    stand.swf.register_workflow_type(name=holding.name, version="1")
    run_id = stand.start(holding)
    decider = stand.decider(stand.service)
    decider.start()
    assert reached.wait(60)
    assert not decider.settle(0)
    go_on.set()
    assert decider.settle(60)
    assert stand.result(holding, run_id) == 1
    decider.stop()
    assert decider.join(60)
