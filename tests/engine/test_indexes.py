"""The engine's memory: deadlines, task lists, and executions that are dropped and folded again."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from engine_kit import Swf, activity, timer
from hypothesis import given
from test_restart import histories, scenario
from test_service import DECISION, serve, start

from flowdsl.engine import Engine
from flowdsl.engine.deadlines import Deadlines
from flowdsl.engine.tasks import TaskLists
from flowdsl.errors import Fault

REFS = st.tuples(st.integers(1, 3), st.integers(0, 3))


@given(st.lists(st.tuples(REFS, st.none() | st.integers(0, 9))))
def test_the_first_deadline_is_the_earliest_and_among_equals_the_one_that_was_set_first(steps):
    deadlines, model = Deadlines(), {}
    for ref, due in steps:
        if due is None:
            deadlines.discard(ref)
            model.pop(ref, None)
        else:
            deadlines.put(ref, due)
            if model.get(ref) != due:
                model.pop(ref, None)
                model[ref] = due
        expected = min(model.items(), key=lambda item: item[1], default=None)
        first = deadlines.first()
        assert first == (None if expected is None else (expected[1], expected[0]))
        assert len(deadlines) == len(model)
        assert deadlines.only_executions == all(event == 0 for _, event in model)


def test_void_deadlines_do_not_pile_up():
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.put((1, 1), number)
        deadlines.put((2, number), number)
        deadlines.discard((2, number))
    assert len(deadlines) == 1
    assert len(deadlines._heap) < 3_000
    assert deadlines.first() == (9_999, (1, 1))


@given(st.lists(st.tuples(st.sampled_from(["put", "hand_out", "discard"]), st.integers(0, 5), st.integers(0, 2), st.integers(-2, 2))))
def test_the_first_task_is_the_one_of_highest_priority_and_then_the_oldest(steps):
    lists, waiting, used = TaskLists(), {}, set()
    for verb, task, name, priority in steps:
        ref, on = (1, task), ("A", "d", f"l{name}")
        if verb == "put":
            if ref in used:
                continue  # a task is put on a list once in its life
            used.add(ref)
            lists.put(on, priority, 0, ref)
            waiting[ref] = on, priority
        else:
            getattr(lists, verb)(ref)
            waiting.pop(ref, None)
        for number in range(3):
            name_of = "A", "d", f"l{number}"
            there = [(-rank, ref) for ref, (place, rank) in waiting.items() if place == name_of]
            assert lists.first(name_of) == (min(there)[1] if there else None)
            assert lists.sizes.get(name_of, 0) == len(there)


@pytest.mark.parametrize("cached", [1, 2, 3])
def test_executions_dropped_from_memory_are_folded_again(tmp_path, monkeypatch, cached):
    steady = Swf(tmp_path / "a.db")
    scenario(steady)
    monkeypatch.setattr("flowdsl.engine.runs._CACHED", cached)
    forgetful = Swf(tmp_path / "b.db")
    scenario(forgetful)
    assert len(forgetful.engine._world.runs._cache) <= cached
    assert histories(forgetful) == histories(steady)
    steady.engine.close()
    forgetful.engine.close()


def test_many_executions_at_once_with_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("flowdsl.engine.runs._CACHED", 5)
    swf = Swf(tmp_path / "e.db")
    swf.prepare()
    for number in range(40):
        swf.start(f"w{number}")
    for _ in range(40):
        swf.decide(activity("a"), timer("t", 5))
    for _ in range(40):
        swf.work()
    swf.advance(5)
    assert swf.here("CountPendingDecisionTasks", taskList={"name": "deciders"})["count"] == 40
    swf.check_all()
    swf.engine.close()


def test_a_hand_over_that_fails_is_told_to_the_one_who_waits(monkeypatch):
    service, apply, answers = serve(), Engine.apply, []
    service.submit("PollForDecisionTask", DECISION, answers.append)

    def failing(self, now, operation, params, **more):
        if operation == "PollForDecisionTask":
            raise Fault("InternalFailure", "disk full", retryable=True)
        return apply(self, now, operation, params, **more)

    monkeypatch.setattr(Engine, "apply", failing)
    start(service)
    monkeypatch.undo()
    assert answers[0].retryable
    assert service.call("PollForDecisionTask", DECISION)["startedEventId"] == 3
    service.close()
