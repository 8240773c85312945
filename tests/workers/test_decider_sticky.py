"""Executions come back to the thread that keeps them, builds keep theirs, and what is kept agrees with the whole history."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import pytest
from decider_stand import DOMAIN, LIST, Stand, everything, in_turn, news, with_finally

from flowdsl import workflow
from flowdsl.errors import InternalError
from flowdsl.lang.registry import Registry
from flowdsl.model.carried import UPGRADE_SIGNAL
from flowdsl.service.swf import Swf
from flowdsl.workers import shadow
from flowdsl.workers.builds import LOOK, Build, list_of, newest
from flowdsl.workers.cache import Cache
from flowdsl.workers.decider import STICKY, Decider
from flowdsl.workers.desk import Desk
from flowdsl.workers.hooks import Hooks

PATIENCE = 60


@pytest.fixture
def stand() -> Iterator[Stand]:
    one = Stand()
    yield one
    one.close()


def lists_of(stand: Stand, run_id: str) -> list[str]:
    """Where the decision tasks of an execution were put."""
    return [
        event["decisionTaskScheduledEventAttributes"]["taskList"]["name"]
        for event in stand.events(run_id)
        if event["eventType"] == "DecisionTaskScheduled"
    ]


class Counting:
    """The service, and how many events its answers had. It can be told of every answer."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.events = 0
        self.operations: Counter[str] = Counter()
        self.submit = self._submit

    def _submit(self, operation: str, params: Mapping[str, Any], done: Callable[[Any], None]) -> Any:
        def answered(answer: Any) -> None:
            self._count(operation, answer)
            done(answer)

        return self.service.submit(operation, params, answered)

    def call(self, operation: str, params: Mapping[str, Any]) -> Any:
        answer = self.service.call(operation, params)
        self._count(operation, answer)
        return answer

    def _count(self, operation: str, answer: Any) -> None:
        self.operations[operation] += 1
        if isinstance(answer, dict):
            self.events += len(answer.get("events", ()))


class Serving:
    """A decider in threads, whose every response can be waited for."""

    def __init__(self, stand: Stand, transport: Any = None, **options: Any) -> None:
        self._responses = threading.Semaphore(0)
        self.decider = stand.decider(transport or stand.service, on_response=lambda execution, batch: self._responses.release(), **options)

    def __enter__(self) -> Self:
        self.decider.start()
        return self

    def responded(self) -> None:
        assert self._responses.acquire(timeout=PATIENCE)

    def __exit__(self, *_: object) -> None:
        self.decider.stop()
        self.decider._end()  # as if the time for handing back were over
        assert self.decider.join(PATIENCE)


def test_with_several_threads_an_execution_comes_back_to_the_one_that_keeps_it_and_only_new_events_are_fetched(stand: Stand) -> None:
    count, counting = 30, Counting(stand.service)
    with Serving(stand, counting, threads=3, sticky=True) as serving:
        run_id = stand.start(in_turn, count)
        for _ in range(count):
            serving.responded()
            assert stand.work()
        serving.responded()
    assert stand.result(in_turn, run_id) == count * (count - 1)
    shared, *own = lists_of(stand, run_id)
    assert shared == LIST
    assert len(set(own)) == 1
    assert own[0] != LIST
    assert counting.operations["GetWorkflowExecutionHistory"] == 0
    assert counting.events <= len(stand.events(run_id)) + count  # every poll shows the previous start once more


def test_a_task_whose_keeper_is_gone_goes_to_everybody_after_a_while(stand: Stand) -> None:
    run_id = stand.start(in_turn, 1)
    with Serving(stand, threads=2, sticky=True) as serving:
        serving.responded()
    stand.work()
    decider = stand.decider()
    assert not decider.run_once()  # it waits for the keeper
    stand.clock.advance(STICKY + 1)
    assert decider.run_once()
    assert stand.result(in_turn, run_id) == 0


def test_what_is_answered_while_stopping_is_handed_back(stand: Stand) -> None:
    run_id = stand.start(in_turn, 2)
    decider = stand.decider(threads=2, sticky=True)
    cache = Cache()
    decider._caches.append(cache)
    decider._bring(LIST, cache, "keeper", lambda work: work())
    stand.work()
    decider.stop()
    assert decider._bring("keeper", cache, "keeper", lambda work: work())
    stand.work()
    assert stand.decider().run_once()
    assert stand.result(in_turn, run_id) == 2
    assert lists_of(stand, run_id) == [LIST, "keeper", LIST]
    cache.close()


def test_a_stop_waits_a_little_for_the_tasks_of_what_it_keeps_and_hands_them_back(stand: Stand) -> None:
    with Serving(stand, threads=2, sticky=True) as serving:
        run_id = stand.start(in_turn, 2)
        serving.responded()
        serving.decider.stop()
        stand.work()
        serving.responded()
        assert serving.decider.join(PATIENCE)  # nothing is kept any more
    stand.work()
    assert stand.decider().run_once()
    assert stand.result(in_turn, run_id) == 2
    assert lists_of(stand, run_id)[-1] == LIST


def test_a_desk_raises_at_whoever_brought_the_task_and_ends_on_its_own_thread() -> None:
    ended: list[int] = []
    desk = Desk("desk", lambda: ended.append(threading.get_ident()))
    desk.start()
    threads: list[int] = []
    desk.do(lambda: threads.append(threading.get_ident()))
    with pytest.raises(ZeroDivisionError):
        desk.do(lambda: 1 / 0)
    desk.stop()
    assert desk.join(PATIENCE)
    assert ended == threads != [threading.get_ident()]


# --- memory -----------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_bounded_by_its_weight_and_eviction_runs_no_user_code_as_if_it_were_real(stand: Stand) -> None:
    decider, cache = stand.decider(), Cache(memory=50_000)
    for name in ("a", "b", "c", "d"):
        stand.start(with_finally, name, workflow_id=name)
        assert decider.run_once(cache)
    assert len(cache) == 2
    assert 0 < cache.weight <= 50_000
    cache.close()
    assert cache.weight == 0


def test_an_execution_that_is_heavier_than_the_bound_is_not_kept(stand: Stand) -> None:
    decider, cache = stand.decider(), Cache(memory=100)
    run_id = stand.start(in_turn, 3)
    while decider.run_once(cache) or stand.work():
        assert len(cache) == 0
    assert stand.result(in_turn, run_id) == 6


# --- shadows ----------------------------------------------------------------------------------------------------------


def test_every_so_often_a_kept_execution_is_compared_with_its_whole_history(stand: Stand) -> None:
    agreed = shadow.COUNTS.agreed
    decider, cache = stand.decider(shadow_every=1), Cache()
    run_id = stand.start(everything, 3)
    for _ in range(200):
        if not (decider.run_once(cache) or stand.work()):
            stand.clock.advance(1)
    assert stand.result(everything, run_id)[0] == 101
    assert shadow.COUNTS.agreed > agreed + 2
    cache.close()


def test_where_a_kept_execution_differs_from_its_history_the_history_wins_and_it_is_said(
    stand: Stand, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[BaseException] = []
    monkeypatch.setattr(shadow.COUNTS, "note", lambda *, agreed: None)  # this one is meant to differ
    outside = ["kept"]
    registry = Registry()

    def body() -> str:
        first = outside[0]
        return first + news.wait()

    registry.add(workflow(name="looks_outside")(body))
    stand.swf.register_workflow_type(name="looks_outside", version="1")
    (definition,) = registry
    run_id = stand.start(definition)
    hooks = Hooks(on_error=lambda error, about: told.append(error))
    decider, cache = stand.decider(registry=registry, shadow_every=1, hooks=hooks), Cache()
    assert decider.run_once(cache)
    outside[0] = "fresh"
    stand.signal("!")
    assert decider.run_once(cache)
    assert stand.result(definition, run_id) == "fresh!"
    ((error),) = told
    assert isinstance(error, InternalError)
    assert "decided differently" in caplog.text


# --- builds -----------------------------------------------------------------------------------------------------------


def build_of(stand: Stand, name: str) -> Build:
    build = Build(Swf(stand.service, DOMAIN), LIST, name, clock=lambda: stand.clock.now_ms() / 1000)
    build.register()
    return build


def deciding(stand: Stand, build: Build, text: str) -> Decider:
    registry = Registry()

    def body() -> str:
        return text + news.wait()

    registry.add(workflow(name="built")(body))
    stand.swf.register_workflow_type(name="built", version="1")
    return stand.decider(registry=registry, build=build)


def run_on(decider: Decider, task_list: str) -> bool:
    return decider._bring(task_list, Cache(0), None, lambda work: work())


def test_an_execution_stays_with_its_build_and_new_starts_go_to_the_newest(stand: Stand) -> None:
    one = build_of(stand, "one")
    old = deciding(stand, one, "one ")
    (definition,) = old._registry
    run_id = stand.start(definition)
    assert run_on(old, LIST)
    stand.clock.advance(LOOK)
    two = build_of(stand, "two")
    new = deciding(stand, two, "two ")
    assert (one.is_newest(), two.is_newest()) == (False, True)
    stand.signal("hears")
    assert not run_on(new, LIST)
    assert run_on(old, list_of(LIST, "one"))
    assert stand.result(definition, run_id) == "one hears"
    assert newest(stand.swf, LIST) == "two"


def test_an_upgrade_moves_an_execution_and_its_code_does_not_hear_of_it(stand: Stand) -> None:
    one, two = build_of(stand, "one"), build_of(stand, "two")
    old, new = deciding(stand, one, "one "), deciding(stand, two, "two ")
    (definition,) = old._registry
    run_id = stand.start(definition)
    assert run_on(old, LIST)
    stand.swf.signal("w", UPGRADE_SIGNAL, input="two")
    assert run_on(old, list_of(LIST, "one"))
    stand.signal("hears")
    assert not run_on(old, list_of(LIST, "one"))
    assert run_on(new, list_of(LIST, "two"))
    assert stand.result(definition, run_id) == "two hears"
