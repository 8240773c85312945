"""The decider: one poll, one replay, one response; what it keeps in between saves time and changes nothing."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowdsl import Retry, activity, cached, gather, mark, publish, signal, sleep, spawn, workflow
from flowdsl.data.converter import Converter
from flowdsl.data.keys import KeyRing
from flowdsl.data.values import Values
from flowdsl.engine import Engine, ManualClock, Service
from flowdsl.errors import Fault
from flowdsl.lang.registry import Registry, default_registry
from flowdsl.replay.replayer import Replayer
from flowdsl.service.swf import Swf
from flowdsl.workers import decider as decider_module
from flowdsl.workers.activities import ActivityWorker
from flowdsl.workers.cache import Cache
from flowdsl.workers.decider import Decider, read_context
from flowdsl.workers.hooks import Hooks

DOMAIN, LIST = "bench", "list"


@signal
def news(text: str) -> str:
    return text


@activity(retry=Retry(attempts=3, jitter=False))
def double(number: int) -> int:
    return number * 2


@cached
def drawn(number: int) -> int:
    return number + 100


@workflow
def child(number: int) -> int:
    sleep(1)
    return double(number)


def heard(limit: float) -> str:
    try:
        return news.wait(timeout=limit)
    except TimeoutError:
        return "nothing"


@workflow
def everything(number: int) -> list[Any]:
    """One of each; what it waits for comes in whatever order the test chooses."""

    def branch(of: int) -> int:
        sleep(of)
        return double(of) + drawn(of)

    branches = [spawn(branch, of) for of in range(1, number + 1)]
    first = double.start(50)
    kept = drawn(1)
    publish(kept)
    text = heard(30)
    mark("seen", text)
    below = child(3)
    return [kept, text, below, first.result(), *gather(*branches), heard(5)]


@workflow
def in_turn(count: int) -> int:
    return sum(double(number) for number in range(count))


torn_down: list[tuple[str, int]] = []


@workflow
def with_finally(name: str) -> str:
    try:
        return news.wait() + news.wait()
    finally:
        torn_down.append((name, threading.get_ident()))


class Impatient:
    """The service, but its polls do not wait."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def submit(self, operation: str, params: Mapping[str, Any], done: Callable[[Any], None]) -> Any:
        answers: list[Any] = []
        ticket = self.service.submit(operation, params, answers.append)
        if not answers:
            assert ticket.cancel()
            answers.append({"startedEventId": 0})
        done(answers[0])
        return ticket

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        answers: list[Any] = []
        self.submit(operation, params, answers.append)
        if isinstance(answers[0], BaseException):
            raise answers[0]
        return answers[0]  # type: ignore[no-any-return]  # it is the service's answer


class Only:
    """A transport that can do nothing but call, as those over a wire; `page` events come at a time."""

    def __init__(self, service: Impatient, page: int = 1000) -> None:
        self.service, self.page = service, page

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "PollForDecisionTask":
            params = {**params, "maximumPageSize": self.page}
        return self.service.call(operation, params)


class Stand:
    """The real engine on a clock that stands still. Deciders and workers do one step when they are told to."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_700_000_000)
        self.service = Service(Engine(":memory:"), self.clock)
        self.impatient = Impatient(self.service)
        self.swf = Swf(self.service, DOMAIN)
        self.values = Values(Converter(keys=KeyRing({"test": b"0123456789abcdef"})), DOMAIN)
        self.swf.register_domain(retention_days=1)
        self.registry = default_registry
        for definition in self.registry:
            if definition.kind == "workflow":
                self.swf.register_workflow_type(name=definition.name, version=definition.version)
            elif definition.kind == "activity":
                self.swf.register_activity_type(name=definition.name, version=definition.version)
        self.worker = ActivityWorker(self.impatient, DOMAIN, LIST, self.registry, self.values, slots=1)

    def decider(self, transport: Any = None, registry: Registry | None = None, **options: Any) -> Decider:
        return Decider(
            Swf(transport or self.impatient, DOMAIN), LIST, self.registry if registry is None else registry, self.values, **options
        )

    def start(self, definition: Any, *args: Any, workflow_id: str = "w") -> str:
        return self.swf.start_workflow_execution(
            workflow_id=workflow_id, name=definition.name, version=definition.version, task_list=LIST, execution_start_to_close=86_400,
            task_start_to_close=60, input=self.values.encode_call(definition, args, {}),
        )  # fmt: skip

    def work(self) -> bool:
        return self.worker.run_once()

    def signal(self, text: str, workflow_id: str = "w") -> None:
        self.swf.signal(workflow_id, news.name, input=self.values.encode_call(news, (text,), {}))

    def events(self, run_id: str, workflow_id: str = "w") -> list[dict[str, Any]]:
        return list(self.swf.history(workflow_id, run_id))

    def result(self, definition: Any, run_id: str, workflow_id: str = "w") -> Any:
        last = self.events(run_id, workflow_id)[-1]
        assert last["eventType"] == "WorkflowExecutionCompleted", last
        return self.values.decode_result(definition, last["workflowExecutionCompletedEventAttributes"]["result"])


@pytest.fixture
def stand() -> Iterator[Stand]:
    one = Stand()
    yield one
    one.service.close()


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


def run_to_the_end(stand: Stand, decider: Decider, cache: Cache) -> None:
    while decider.run_once(cache) or stand.work():
        pass


# --- what is kept


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
        stand.service.close()


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


# --- the rest of a decider's life


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
    monkeypatch.setattr(decider_module, "time", SimpleNamespace(monotonic=lambda: next(times)))

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
