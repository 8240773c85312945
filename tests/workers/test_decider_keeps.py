"""What a decider keeps of open executions between their tasks: it saves time and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from decider_stand import (
    DOMAIN,
    LIST,
    Impatient,
    Only,
    Stand,
    everything,
    in_turn,
    news,
    run_to_the_end,
    torn_down,
    with_finally,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from flowdsl import workflow
from flowdsl.errors import Fault
from flowdsl.lang.registry import Registry, default_registry
from flowdsl.replay.replayer import Replayer
from flowdsl.service.swf import Swf
from flowdsl.workers import decider as decider_module
from flowdsl.workers.cache import Cache


@pytest.fixture
def stand() -> Iterator[Stand]:
    one = Stand()
    yield one
    one.close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Replayer]:
    """Every replayer that a decider makes."""
    replayers: list[Replayer] = []

    class Noted(Replayer):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            replayers.append(self)

    monkeypatch.setattr(decider_module, "Replayer", Noted)
    return replayers


@pytest.mark.parametrize(
    "transport", [lambda service: service, Only, lambda service: Only(service, 7)], ids=["in process", "wire", "pages"]
)
def test_an_open_execution_is_replayed_once_and_then_only_goes_on(
    stand: Stand, made: list[Replayer], transport: Callable[[Impatient], Any]
) -> None:
    run_id = stand.start(in_turn, 20)
    run_to_the_end(stand, stand.decider(transport(stand.impatient)), cache := Cache())
    assert stand.result(in_turn, run_id) == 380
    assert len(made) == 1
    assert len(cache) == 0  # closed executions are not kept


def test_without_a_cache_every_task_is_replayed_from_the_first_event(stand: Stand, made: list[Replayer]) -> None:
    run_id = stand.start(in_turn, 5)
    run_to_the_end(stand, stand.decider(), Cache(0))
    assert stand.result(in_turn, run_id) == 20
    assert len(made) == 6


def decisions_of_a_fresh_replay(stand: Stand, run_id: str, workflow_id: str, definition: Any, upto: int) -> list[dict[str, Any]]:
    replayer = Replayer(
        definition,
        workflow_id=workflow_id,
        run_id=run_id,
        values=stand.values,
        record=lambda target, args, kwargs, instance: target.invoke(args, kwargs),
    )
    try:
        replayer.feed([event for event in stand.events(run_id, workflow_id) if event["eventId"] <= upto])
        return replayer.decisions()
    finally:
        replayer.close()


STEPS = st.lists(
    st.sampled_from(
        ["decide", "decide", "decide", "work", "work", "signal", "second", "minute", "other decider", "lost task", "lost response"]
    ),
    max_size=60,
)


class Checking:
    """Compares every response with that of a decider that keeps nothing; and loses some."""

    def __init__(self, stand: Stand, *, in_process: bool) -> None:
        self.stand = stand
        self.lose = False
        self.checked = 0
        self.tasks: dict[str, dict[str, Any]] = {}
        if in_process:
            self.submit = self._submit

    def _submit(self, operation: str, params: Mapping[str, Any], done: Callable[[Any], None]) -> Any:
        return self.stand.impatient.submit(operation, params, lambda answer: done(self._note(answer)))

    def _note(self, answer: Any) -> Any:
        if isinstance(answer, dict) and "taskToken" in answer:
            self.tasks[answer["taskToken"]] = answer
        return answer

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "RespondDecisionTaskCompleted":
            task = self.tasks[params["taskToken"]]
            execution, kind = task["workflowExecution"], task["workflowType"]
            definition = default_registry.find("workflow", kind["name"], kind["version"])
            fresh = decisions_of_a_fresh_replay(self.stand, execution["runId"], execution["workflowId"], definition, task["startedEventId"])
            assert params["decisions"] == fresh
            self.checked += 1
            if self.lose:
                self.lose = False
                self.stand.impatient.call(operation, params)
                raise Fault("UnknownResourceFault", "it was taken, but its answer was lost, and the repetition finds nothing")
        return self._note(self.stand.impatient.call(operation, params))  # type: ignore[no-any-return]  # it is the service's answer


@settings(max_examples=60)
@given(steps=STEPS, branches=st.integers(0, 3), in_process=st.booleans(), size=st.sampled_from([1, 2, 200]))
def test_a_decider_that_keeps_decides_as_one_that_does_not(steps: list[str], branches: int, in_process: bool, size: int) -> None:
    stand = Stand()
    checking = Checking(stand, in_process=in_process)
    cache, other = Cache(size), Cache(size)
    decider = stand.decider(checking)
    run_id = stand.start(everything, branches)

    def step(name: str) -> None:
        if name == "decide":
            decider.run_once(cache)
        elif name == "other decider":
            decider.run_once(other)
        elif name == "work":
            stand.work()
        elif name == "signal":
            with suppress(Fault):  # it may be closed
                stand.signal(f"news {checking.checked}")
        elif name == "second":
            stand.clock.advance(1)
        elif name == "minute":
            stand.clock.advance(61)
        elif name == "lost task":
            Swf(stand.impatient, DOMAIN).poll_for_decision_task(task_list=LIST)
        elif name == "lost response":
            checking.lose = True

    try:
        for name in steps:
            step(name)
        for _ in range(200):
            for name in ("decide", "work", "second", "other decider"):
                step(name)
        assert stand.result(everything, run_id)[0] == 101
        assert checking.checked
    finally:
        cache.close()
        other.close()
        stand.close()


def test_a_task_that_somebody_else_has_answered_in_between_is_replayed_anew(stand: Stand, made: list[Replayer]) -> None:
    run_id = stand.start(in_turn, 2)
    one, two = Cache(), Cache()
    decider = stand.decider()
    for cache, count in ((one, 1), (two, 2), (one, 3)):
        assert decider.run_once(cache)
        assert len(made) == count
        stand.work()
    assert stand.result(in_turn, run_id) == 2
    assert len(one) == 0
    two.close()


def test_a_response_that_was_not_taken_leaves_nothing_behind_and_is_no_error(stand: Stand, made: list[Replayer]) -> None:
    class Late(Only):
        def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
            if operation == "RespondDecisionTaskCompleted" and not late:
                late.append(operation)
                stand.clock.advance(61)
            return super().call(operation, params)

    late: list[str] = []
    run_id = stand.start(in_turn, 1)
    decider, cache = stand.decider(Late(stand.impatient)), Cache()
    assert decider.run_once(cache)
    assert len(cache) == 0
    run_to_the_end(stand, decider, cache)
    assert stand.result(in_turn, run_id) == 0
    assert len(made) == 2


def test_a_response_that_failed_is_raised_and_leaves_nothing_behind(stand: Stand) -> None:
    class Broken(Only):
        def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
            if operation == "RespondDecisionTaskCompleted":
                raise Fault("InternalFailure", "broken")
            return super().call(operation, params)

    stand.start(with_finally, "broken")
    torn_down.clear()
    cache = Cache()
    with pytest.raises(Fault, match="broken"):
        stand.decider(Broken(stand.impatient)).run_once(cache)
    assert len(cache) == 0
    assert [name for name, _ in torn_down] == ["broken"]


def test_new_code_takes_the_place_of_kept_old_code(stand: Stand) -> None:
    def define(text: str) -> Registry:
        registry = Registry()

        def body() -> str:
            return text + news.wait()

        registry.add(workflow(name="changing")(body))
        return registry

    registry = define("old: ")
    stand.swf.register_workflow_type(name="changing", version="1")
    (old,) = registry
    run_id = stand.start(old)
    decider, cache = stand.decider(registry=registry), Cache()
    assert decider.run_once(cache)
    (new,) = define("new: ")
    registry._held[("workflow", "changing", "1")] = new
    stand.signal("it is")
    assert decider.run_once(cache)
    assert stand.result(new, run_id) == "new: it is"


def test_what_was_not_used_for_longest_is_closed_first(stand: Stand, made: list[Replayer]) -> None:
    torn_down.clear()
    decider, cache = stand.decider(), Cache(2)
    runs = {}
    for name in ("a", "b", "c"):
        runs[name] = stand.start(with_finally, name, workflow_id=name)
        assert decider.run_once(cache)
        if name == "b":
            stand.signal("1", "a")
            assert decider.run_once(cache)  # a is used again
    assert [name for name, _ in torn_down] == ["b"]
    for name in ("a", "b", "c"):
        for _ in range(2):
            if name != "a" or _:
                stand.signal("2", name)
                assert decider.run_once(cache)
        assert stand.result(with_finally, runs[name], name) in ("12", "22")
    assert len(made) == 4
    assert [name for name, _ in torn_down] == ["b", "a", "b", "c"]
    cache.close()


def test_a_thread_that_ends_closes_what_it_keeps_by_itself(stand: Stand) -> None:
    torn_down.clear()
    decided = threading.Event()
    decider = stand.decider(stand.service, on_response=lambda execution, batch: decided.set())
    stand.start(with_finally, "kept")
    decider.start()
    assert decided.wait(60)
    decider.stop()  # in process the open poll is withdrawn: no clock has to move
    assert decider.join(60)
    ((name, thread),) = torn_down
    assert name == "kept"
    assert thread != threading.get_ident()
