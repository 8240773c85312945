"""Handles: started here, attached to from anywhere, listed, asked, signalled, ended; on an embedded file and over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from front_kit import Program, kinds, served

from flowdsl import (
    AlreadyRunning,
    Cancelled,
    DefinitionError,
    Embedded,
    Fault,
    SignalFailed,
    Swf,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
    activity,
    attach,
    continue_as_new,
    executions,
    publish,
    run,
    signal,
    start,
    workflow,
)
from flowdsl.connection import disconnect


@pytest.fixture(params=["embedded", "swf"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "embedded":
        yield (one := Embedded(tmp_path / "flows.db"))
        disconnect(one)
    else:
        with served() as (url, _):
            yield (one := Swf(endpoint_url=url))
            disconnect(one)


@signal
def answer(text: str, loud: bool = False) -> str:
    return text.upper() if loud else text


@activity
def once(number: int) -> int:
    return number


@workflow(tags=["asks"])
def asking(question: str) -> str:
    publish({"question": question})
    return answer.wait()


@workflow
def counting(left: int, so_far: int = 0) -> int:
    publish(so_far)
    if left:
        continue_as_new(left - 1, once(so_far + left))
    return so_far


@workflow
def failing() -> None:
    raise LookupError("nothing there")


def test_a_handle_says_what_its_execution_is_and_can_be_signalled(backend: Any) -> None:
    execution = start(asking.options(id="a-1"), "why?", backend=backend)
    assert execution.describe()["executionInfo"]["executionStatus"] == "OPEN"
    assert execution.history()[0]["eventType"] == "WorkflowExecutionStarted"
    with pytest.raises(TimeoutError, match="'a-1' is still open"):
        execution.result(timeout=0)
    execution.signal(answer, "because", loud=True)
    assert execution.result(timeout=60) == "BECAUSE"
    assert execution.published() == {"question": "why?"}
    assert kinds(execution.history())["WorkflowExecutionSignaled"] == 1
    assert repr(execution) == f"<execution a-1 ({backend.name}, run {execution.run_id[:8]}…)>"
    with pytest.raises(Fault) as closed:
        execution.signal(answer, "too late")
    assert closed.value.code == "UnknownResourceFault"


def test_a_signal_may_be_sent_by_its_name_or_by_the_definition_alone(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = start(asking, "why?", backend=backend)
    execution.signal(answer.name, "by name")
    assert execution.result() == "by name"
    with pytest.raises(DefinitionError, match="give a @signal function or a signal's name"):
        execution.signal(once, 1)
    other = start(asking, "why?", backend=Embedded(":memory:"))
    monkeypatch.setenv("FLOWDSL_BACKEND", "embedded")
    monkeypatch.chdir(Path("/"))  # nothing must be opened there
    other.signal(answer, "by handle")
    assert other.result() == "by handle"
    disconnect(Embedded(":memory:"))


def test_cancel_asks_and_terminate_ends(backend: Any) -> None:
    cancelled, terminated = start(asking, "1", backend=backend), start(asking, "2", backend=backend)
    cancelled.cancel()
    with pytest.raises(Cancelled, match="was cancelled"):
        cancelled.result()
    terminated.terminate("enough")
    with pytest.raises(WorkflowTerminated, match=r"asking \(workflow id .*\) was terminated: enough") as end:
        terminated.result()
    assert (end.value.workflow_id, end.value.run_id) == (terminated.id, terminated.run_id)


def test_a_failure_is_raised_as_itself_with_the_execution_as_its_cause(backend: Any) -> None:
    with pytest.raises(LookupError, match="nothing there") as raised:
        start(failing.options(id="f-1"), backend=backend).result()
    assert isinstance(raised.value.__cause__, WorkflowFailed)
    assert raised.value.__cause__.workflow_id == "f-1"


def test_an_execution_that_takes_longer_than_its_timeout_says_so(backend: Any) -> None:
    with pytest.raises(WorkflowTimedOut, match="ran longer than its timeout"):
        run(asking.options(timeout=1), "why?", backend=backend)


def test_a_handle_follows_continue_as_new(backend: Any) -> None:
    execution = start(counting.options(id="c-1"), 5, backend=backend)
    first_run = execution.run_id
    again = attach("c-1", first_run, backend=backend)
    assert execution.result() == 15
    assert execution.run_id != first_run
    assert again.result() == 15
    assert attach("c-1", backend=backend).published() == 15
    closed = executions(backend, status="closed", id="c-1")
    assert len(closed) == 6
    assert closed[0].run_id == execution.run_id


def test_an_id_that_is_running_is_attached_to_if_the_work_is_the_same_and_refused_otherwise(backend: Any) -> None:
    execution = start(asking.options(id="one"), "why?", backend=backend)
    same = start(asking.options(id="one"), "why?", backend=backend)
    assert same.run_id == execution.run_id
    with pytest.raises(AlreadyRunning, match=r"'one' belongs to an open execution of .*asking with other input\. Wait for it with attach"):
        run(asking.options(id="one"), "how?", backend=backend)
    with pytest.raises(AlreadyRunning, match="with other code"):
        run(counting.options(id="one"), 1, backend=backend)
    execution.signal(answer, "done")
    assert same.result() == execution.result() == "done"
    assert start(asking.options(id="one"), "how?", backend=backend).run_id != execution.run_id


def test_executions_are_listed_newest_first_and_can_be_narrowed(backend: Any) -> None:
    assert executions(backend) == []
    open_ones = [start(asking.options(id=f"a-{number}"), "?", backend=backend) for number in range(3)]
    assert run(counting.options(id="c-1"), 0, backend=backend) == 0
    assert {one.id for one in executions(backend)} == {"a-0", "a-1", "a-2"}
    assert [one.id for one in executions(backend, id="a-1")] == ["a-1"]
    assert {one.id for one in executions(backend, tag="asks")} == {"a-0", "a-1", "a-2"}
    assert executions(backend, workflow=counting) == []
    assert [one.id for one in executions(backend, status="closed", workflow=counting.name)] == ["c-1"]
    assert executions(backend, status="closed")[0].result() == 0
    for one in open_ones:
        one.terminate()
    assert executions(backend) == []
    with pytest.raises(DefinitionError, match="give 'open' or 'closed'"):
        executions(backend, status="opn")


def test_attaching_to_what_is_not_there_says_so(backend: Any) -> None:
    with pytest.raises(Fault, match="Unknown execution, workflowId = nobody"):
        attach("nobody", backend=backend)
    with pytest.raises(DefinitionError, match="keep the handle that start"):
        attach("nobody", backend="local")


FLEET = """
import sys

from flowdsl import Swf, Worker, activity, signal, workflow

BACKEND = Swf(endpoint_url=sys.argv[1], serve=False)


@signal
def answer(text: str) -> str:
    return text


@activity
def shout(text: str) -> str:
    print("shouted by the worker")
    return text.upper()


@workflow
def asking(question: str) -> str:
    return f"{question} {shout(answer.wait())}"
"""


def test_one_process_starts_another_one_works_and_a_third_one_attaches(tmp_path: Path) -> None:
    (tmp_path / "fleet.py").write_text(FLEET)
    with served() as (url, service):
        with Program(
            tmp_path, "-c", "from fleet import *; import flowdsl;print(flowdsl.start(asking.options(id='q'), 'why?', backend=BACKEND))", url
        ) as starter:
            assert starter.rest()[0].startswith("<execution q (swf, run ")
        assert service.made["PollForDecisionTask"] == 0
        with Program(tmp_path, "-c", "from fleet import *; Worker(asking, shout, backend=BACKEND).run()", url) as worker:
            with Program(
                tmp_path,
                "-c",
                "import sys; from flowdsl import *;"  # this one has none of the code
                "there = attach('q', backend=Swf(endpoint_url=sys.argv[1]));"
                "there.signal('fleet.answer', 'because'); print(there.result(60))",
                url,
            ) as third:
                assert third.rest() == ["why? BECAUSE"]
            assert worker.line() == "shouted by the worker"
        assert {identity.partition("@")[0] for identity in identities(service)} == {str(worker.process.pid)}


def identities(service: Any) -> set[str]:
    """Who took the tasks of the execution `q`."""
    found = service.call(
        "ListClosedWorkflowExecutions", {"domain": "flowdsl", "startTimeFilter": {"oldestDate": 0}, "executionFilter": {"workflowId": "q"}}
    )
    named = {"domain": "flowdsl", "execution": found["executionInfos"][0]["execution"]}
    events = service.call("GetWorkflowExecutionHistory", named)["events"]
    return {value["identity"] for event in events for value in event.values() if isinstance(value, dict) and "identity" in value}


def test_attach_serves_only_what_this_process_has_the_code_of() -> None:
    with served() as (url, service):
        fleet, own = Swf(endpoint_url=url, serve=False), Swf(endpoint_url=url)
        known = start(asking.options(id="known"), "?", backend=fleet)
        stranger = connect_stranger(fleet)
        attach("stranger", backend=own).cancel()
        assert service.made["PollForDecisionTask"] == 0
        attach("known", backend=own).signal(answer, "served")
        assert known.result() == "served"
        stranger.terminate()
        disconnect(own)
        disconnect(fleet)


def connect_stranger(backend: Swf) -> Any:
    """Start an execution of a type that nobody here has decorated."""
    from flowdsl.connection import connect

    swf = connect(backend).swf
    swf.register_workflow_type(name="strange", version="1")
    swf.start_workflow_execution(
        workflow_id="stranger", name="strange", version="1", task_list="flowdsl", execution_start_to_close=60, task_start_to_close=None
    )
    return attach("stranger", backend=backend)


def test_a_signal_sent_by_id_finds_the_backend_that_this_process_uses(backend: Any) -> None:
    execution = start(asking.options(id="by id"), "?", backend=backend)
    answer.send("by id", text="yes", loud=True)
    assert execution.result() == "YES"
    with pytest.raises(SignalFailed, match=r"no open execution has the workflow id 'by id'.*Looked in this process.*attach"):
        answer.send("by id", text="too late")
