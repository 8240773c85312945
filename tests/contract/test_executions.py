"""Handles and ids: start, attach, resume, list, end; what running code may know of itself."""

from __future__ import annotations

from datetime import UTC

import pytest
from contract_stage import DURABLE, HANDLES, events, new_id, wait_for

import flowdsl
from flowdsl import (
    AlreadyRunning,
    Cancelled,
    CancelRequested,
    Fault,
    WorkflowTerminated,
    WorkflowTimedOut,
    activity,
    continue_as_new,
    executions,
    info,
    signal,
    sleep,
    workflow,
)


@signal
def go_on(value: int = 0) -> int:
    return value


@activity
def double(x: int) -> int:
    return x * 2


@workflow
def waits(x: int) -> int:
    return double(x) + go_on.wait()


@pytest.mark.stages(*HANDLES)
def test_a_started_workflow_goes_on_by_itself_and_its_handle_gives_the_result(stage):
    execution = stage.start(waits.options(id=new_id("own")), 4)
    assert execution.id.startswith("own")
    assert execution.run_id
    with pytest.raises(TimeoutError):
        execution.result(timeout=0.02)
    assert execution.describe()["executionInfo"]["executionStatus"] == "OPEN"
    execution.signal(go_on, 1)
    assert execution.result(timeout=30) == 9
    assert execution.result() == 9
    assert execution.describe()["executionInfo"]["closeStatus"] == "COMPLETED"


@pytest.mark.stages(*DURABLE)
def test_an_execution_is_attached_to_by_its_id(stage):
    first = stage.start(waits.options(id=new_id()), 4)
    again = stage.attach(first.id)
    assert (again.id, again.run_id) == (first.id, first.run_id)
    again.signal(go_on, 2)
    assert again.result() == first.result() == 10
    assert stage.attach(first.id).result() == 10


@pytest.mark.stages(*DURABLE)
def test_attaching_to_nothing_says_so(stage):
    with pytest.raises(Fault, match="nobody-has-this-id"):
        stage.attach("nobody-has-this-id")


@pytest.mark.stages(*DURABLE)
def test_running_the_same_id_again_resumes_the_open_execution(stage):
    flow = waits.options(id=new_id())
    first = stage.start(flow, 5)
    second = stage.start(flow, 5)
    assert second.run_id == first.run_id
    second.signal(go_on, 1)
    assert second.result() == 11
    third = stage.start(flow, 5)
    assert third.run_id != first.run_id
    third.signal(go_on, 2)
    assert third.result() == 12


@pytest.mark.stages(*DURABLE)
def test_the_same_id_with_other_input_or_other_code_is_refused(stage):
    own = new_id()
    first = stage.start(waits.options(id=own), 5)
    with pytest.raises(AlreadyRunning, match=f"{own}.*other input"):
        stage.run(waits.options(id=own), 6)
    with pytest.raises(AlreadyRunning, match=f"{own}.*other code"):
        stage.run(counts_down.options(id=own), 6)
    first.signal(go_on)
    assert first.result() == 10


@pytest.mark.stages("local")
def test_a_local_id_that_is_running_is_refused(stage):
    own = new_id()
    first = stage.start(waits.options(id=own), 5)
    wait_for(lambda: flowdsl.local.running.find(own))
    with pytest.raises(AlreadyRunning, match=own):
        stage.run(waits.options(id=own), 5)
    first.signal(go_on)
    assert first.result() == 10


@pytest.mark.stages(*DURABLE)
def test_executions_are_listed_open_and_closed(stage):
    own = new_id("listed")
    flow = waits.options(id=own, tags=["red", own])
    execution = stage.start(flow, 1)
    backend = stage.backend
    assert [one.id for one in executions(backend, id=own)] == [own]
    assert [one.id for one in executions(backend, tag=own)] == [own]
    assert own in [one.id for one in executions(backend, workflow=waits)]
    assert executions(backend, status="closed", id=own) == []
    execution.signal(go_on)
    execution.result()
    assert executions(backend, id=own) == []
    assert [one.run_id for one in executions(backend, status="closed", id=own)] == [execution.run_id]


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.stages(*HANDLES)
def test_a_terminated_execution_ends_at_once(stage):
    execution = stage.start(waits.options(id=new_id()), 1)
    execution.terminate("no longer wanted")
    with pytest.raises(WorkflowTerminated, match="no longer wanted") as caught:
        execution.result()
    assert caught.value.workflow_id == execution.id
    assert execution.describe()["executionInfo"]["closeStatus"] == "TERMINATED"


@workflow
def tidies_up(x: int) -> str:
    try:
        go_on.wait()
    except CancelRequested:
        double(x)
        raise
    return "not cancelled"


@workflow
def ignores_it() -> str:
    try:
        go_on.wait()
    except CancelRequested:
        return f"finished all the same {double(1)}"
    return "not cancelled"


@pytest.mark.stages(*HANDLES)
def test_a_cancelled_execution_may_tidy_up_and_is_cancelled(stage):
    execution = stage.start(tidies_up, 2)
    execution.cancel()
    with pytest.raises(Cancelled):
        execution.result()
    assert execution.describe()["executionInfo"]["closeStatus"] == "CANCELED"
    if stage.durable:
        assert [event["result"] for event in events(execution, "ActivityTaskCompleted")] in ([], ["4"])


@pytest.mark.stages(*HANDLES)
def test_a_workflow_may_end_its_own_way_when_it_is_asked_to_end(stage):
    execution = stage.start(ignores_it)
    if stage.durable:
        wait_for(lambda: events(execution, "DecisionTaskCompleted"))
    execution.cancel()
    assert execution.result() == "finished all the same 2"


@workflow
def too_long() -> None:
    sleep(3600)


def test_a_workflow_that_takes_longer_than_its_timeout_is_timed_out(stage):
    with pytest.raises(WorkflowTimedOut) as caught:
        stage.run(too_long.options(timeout=stage.seconds(60) / 30))
    assert isinstance(caught.value, TimeoutError)


@workflow
def counts_down(n: int, seen: tuple[int, ...] = ()) -> list[int]:
    if n == 0:
        return list(seen)
    double(n)
    continue_as_new(n - 1, seen=(*seen, n))
    raise AssertionError


def test_a_workflow_continues_as_new(stage):
    assert stage.run(counts_down, 3) == [3, 2, 1]


@pytest.mark.stages(*DURABLE)
def test_a_handle_follows_to_the_last_run(stage):
    execution = stage.start(counts_down.options(id=new_id()), 2)
    first = execution.run_id
    assert execution.result() == [2, 1]
    assert execution.run_id != first
    assert stage.attach(execution.id).result() == [2, 1]
    assert stage.attach(execution.id).run_id == execution.run_id


# --- what it may know ------------------------------------------------------------------------------------------------


@activity
def about_an_activity() -> dict[str, object]:
    about = info()
    return {
        "kind": about.kind,
        "name": about.name.rpartition(".")[2],
        "version": about.version,
        "workflow_id": about.workflow_id,
        "run_id": about.run_id,
        "call_id": about.call_id,
        "attempt": about.attempt,
        "key": about.idempotency_key,
        "backend": about.backend,
    }


@workflow
def about_itself() -> list[dict[str, object]]:
    about = info()
    mine = {
        "kind": about.kind,
        "name": about.name.rpartition(".")[2],
        "workflow_id": about.workflow_id,
        "run_id": about.run_id,
        "tags": about.tags,
        "aware": about.now.tzinfo is UTC and about.started.tzinfo is UTC,
        "parent": about.parent,
        "backend": about.backend,
    }
    return [mine, about_an_activity()]


def test_running_code_knows_itself(stage):
    own = new_id("known")
    mine, activitys = stage.run(about_itself.options(id=own, tags=["blue"]))
    run_id, backend = mine["run_id"], {"plain": "local", "replayed": "embedded", "server": "swf"}.get(stage.name, stage.name)
    assert mine == {
        "kind": "workflow", "name": "about_itself", "workflow_id": own, "run_id": run_id, "tags": ("blue",), "aware": True,
        "parent": None, "backend": backend,
    }  # fmt: skip
    assert activitys == {
        "kind": "activity", "name": "about_an_activity", "version": "1", "workflow_id": own, "run_id": run_id,
        "call_id": "about_an_activity-1", "attempt": 1, "key": f"{own}.{run_id}.about_an_activity-1", "backend": backend,
    }  # fmt: skip
