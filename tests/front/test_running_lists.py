"""Who serves an own execution where the service is shared: a list of its own, lent from one execution to the next; and who says that
nobody does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from front_kit import Watched, kinds, served

from flowdsl import Swf, WorkflowTerminated, activity, attach, client, run, signal, start, workflow
from flowdsl.connection import connect, disconnect
from flowdsl.engine import ManualClock
from flowdsl.leases import MOST_LISTS


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def service_and_backend(clock: ManualClock) -> Iterator[tuple[Watched, Swf]]:
    """A server whose time stands still: what a test sees happen does not happen because a poll ended."""
    with served(clock) as (url, service):
        backend = Swf(endpoint_url=url)
        yield service, backend
        disconnect(backend)


@pytest.fixture
def service(service_and_backend: tuple[Watched, Swf]) -> Watched:
    return service_and_backend[0]


@pytest.fixture
def backend(service_and_backend: tuple[Watched, Swf]) -> Swf:
    return service_and_backend[1]


@signal
def go(text: str) -> str:
    return text


@activity
def double(number: int) -> int:
    return number * 2


@activity(task_list="nowhere")
def elsewhere() -> None: ...


@workflow
def flow(number: int) -> int:
    return double(number)


@workflow
def waiting() -> str:
    return go.wait()


@workflow
def stuck() -> None:
    elsewhere()


def pollers() -> list[threading.Thread]:
    """Threads that poll, or have just worked and may poll next."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(("flowdsl-decider", "flowdsl-activity"))]


def task_list_of(execution: Any) -> str:
    name: str = execution.describe()["executionConfiguration"]["taskList"]["name"]
    return name


def test_run_does_not_wait_for_open_polls_and_its_pollers_serve_the_next_run(backend: Swf, service: Watched) -> None:
    before = threading.active_count()
    assert [run(flow, number, backend=backend) for number in range(50)] == [2 * number for number in range(50)]
    assert len(pollers()) <= 1 + 8  # of one list: its decider, and at most as many activity threads as it has slots
    assert threading.active_count() <= before + 1 + 8 + 5  # and the heart of the worker, and the server's own
    assert len(set(lists_of_all(backend))) == 1
    assert service.made["StartWorkflowExecution"] == 50


def lists_of_all(backend: Swf) -> list[str]:
    swf = connect(backend).swf
    closed = [info["execution"] for info in swf.list_closed()]
    return [swf.describe(one["workflowId"], one["runId"])["executionConfiguration"]["taskList"]["name"] for one in closed]


def test_open_executions_have_a_list_each_and_leave_it_to_later_ones(backend: Swf) -> None:
    first = [start(waiting.options(id=f"w-{number}"), backend=backend) for number in range(3)]
    lists = {task_list_of(one) for one in first}
    assert len(lists) == 3
    for one in first:
        one.signal(go, "on")
        assert one.result() == "on"
    assert {task_list_of(start(waiting.options(id=f"v-{number}"), backend=backend)) for number in range(3)} == lists
    for number in range(3):
        attach(f"v-{number}", backend=backend).terminate()


def test_an_activity_is_run_once_however_often_its_id_was_used(backend: Swf) -> None:
    for number in range(5):
        execution = start(flow.options(id="again"), number, backend=backend)
        assert execution.result() == 2 * number
        assert kinds(execution.history())["ActivityTaskScheduled"] == 1


def test_an_execution_that_nobody_waits_for_gives_its_list_back_by_itself(backend: Swf, service: Watched) -> None:
    lists = set()
    for number in range(4):
        execution = start(flow.options(id=f"f-{number}"), number, backend=backend)
        lists.add(task_list_of(execution))
        closed = threading.Event()
        service.when_closed("flowdsl", execution.id, execution.run_id, closed.set)
        assert closed.wait(60)
        service.wait_for("DescribeWorkflowExecution", 2 * (number + 1))  # ours, and the one of whoever gives the list back
        while connect(backend)._leases._free() is None:  # type: ignore[attr-defined]  # its answer is on its way
            threading.Event().wait(0.001)
    assert len(lists) == 1


def test_lists_that_nobody_needs_are_polled_until_the_poll_ends_and_no_longer(backend: Swf, service: Watched, clock: ManualClock) -> None:
    ended = start(waiting, backend=backend)
    goes_on = start(waiting, backend=backend)
    service.wait_for("PollForActivityTask", 2)
    service.wait_for("RespondDecisionTaskCompleted", 2)
    service.wait_for("PollForDecisionTask", 4)
    ended.terminate()
    threads = pollers()
    ended_threads = []
    while len(ended_threads) < 2:  # those of the ended execution; a thread that goes on polls again
        clock.advance(61)  # again and again: a poll may begin after the clock was moved
        for thread in threads:
            thread.join(0.01)
        ended_threads = [thread for thread in threads if not thread.is_alive()]
    service.wait_for("PollForDecisionTask", 5)
    goes_on.signal(go, "still served")
    assert goes_on.result() == "still served"


def test_a_named_list_is_served_once_for_all_executions_on_it(backend: Swf, service: Watched) -> None:
    named = waiting.options(task_list="ours")
    first = [start(named, backend=backend) for _ in range(4)]
    service.wait_for("RespondDecisionTaskCompleted", 4)
    assert len(pollers()) == 2  # one that decides, one that runs activities
    for one in first:
        one.signal(go, "on")
    assert [one.result() for one in first] == ["on"] * 4


def test_many_executions_at_once_share_a_bounded_number_of_lists(backend: Swf) -> None:
    for _ in range(2):
        executions = [start(flow, number, backend=backend) for number in range(40)]
        assert [one.result() for one in executions] == [2 * number for number in range(40)]
    assert len(set(lists_of_all(backend))) <= MOST_LISTS


class Terminating(logging.Handler):
    """Ends the execution as soon as something is said about it."""

    def __init__(self, execution: Any) -> None:
        super().__init__(logging.WARNING)
        self.execution = execution
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        self.execution.terminate("it was said")


@pytest.mark.parametrize(
    ("workflow_", "serve", "words"),
    [(flow, False, ["a decision task", "'flowdsl'"]), (stuck, True, ["the activity", "elsewhere'", "'nowhere'", "--task-list nowhere"])],
    ids=["decision", "activity"],
)
def test_it_is_said_that_no_worker_polls(
    backend: Swf, monkeypatch: pytest.MonkeyPatch, workflow_: Any, serve: bool, words: list[str]
) -> None:
    monkeypatch.setattr(client, "NO_WORKER_AFTER", 0.0)
    own = backend if serve else Swf(endpoint_url=backend.endpoint_url, serve=False)
    execution = start(workflow_, *([1] if workflow_ is flow else []), backend=own)
    handler = Terminating(execution)
    logging.getLogger("flowdsl").addHandler(handler)
    try:
        with pytest.raises(WorkflowTerminated):
            execution.result()
    finally:
        logging.getLogger("flowdsl").removeHandler(handler)
        if not serve:
            disconnect(own)
    (message,) = handler.said
    assert all(word in message for word in [execution.id, "Start a worker that has the code", *words]), message


def test_nothing_is_said_of_an_execution_that_waits_for_a_signal_or_works(backend: Swf, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = start(waiting, backend=backend)
    monkeypatch.setattr(client, "NO_WORKER_AFTER", 0.0)
    said: list[bool] = []
    look = execution._warn_if_nobody_polls

    def looked() -> bool:
        said.append(look())
        if len(said) == 3:
            execution.signal(go, "on")
        return said[-1]

    monkeypatch.setattr(execution, "_warn_if_nobody_polls", looked)
    while not any(event["eventType"] == "DecisionTaskCompleted" for event in execution.history()):
        threading.Event().wait(0.001)
    assert execution.result() == "on"
    assert said[:3] == [False] * 3


def test_nothing_is_said_while_somebody_has_the_decision_task(backend: Swf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "NO_WORKER_AFTER", 0.0)
    own = Swf(endpoint_url=backend.endpoint_url, serve=False, task_list="by hand")
    execution = start(waiting, backend=own)
    try:
        assert execution._warn_if_nobody_polls()
        connect(own).transport.call("PollForDecisionTask", {"domain": own.domain, "taskList": {"name": "by hand"}})
        execution.signal(go, "a second task waits for the end of the first one, not for a poll")
        assert not execution._warn_if_nobody_polls()
    finally:
        execution.terminate()
        disconnect(own)
