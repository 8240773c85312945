"""The real engine in memory on a clock that stands still, and deciders and workers that do one step when they are told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flowdsl import Retry, activity, cached, gather, mark, publish, signal, sleep, spawn, workflow
from flowdsl.data.converter import Converter
from flowdsl.data.keys import KeyRing
from flowdsl.data.values import Values
from flowdsl.engine import Engine, ManualClock, Service
from flowdsl.lang.registry import Registry, default_registry
from flowdsl.service.swf import Swf
from flowdsl.workers.activities import ActivityWorker
from flowdsl.workers.decider import Decider

if TYPE_CHECKING:
    from flowdsl.workers.cache import Cache

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

    def close(self) -> None:
        self.worker.stop()
        self.service.close()

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


def run_to_the_end(stand: Stand, decider: Decider, cache: Cache) -> None:
    while decider.run_once(cache) or stand.work():
        pass
