"""Options reach the history: priorities, tags, child policies, task lists, versions."""

from __future__ import annotations

from typing import Any

import pytest
from contract_stage import DURABLE, events, new_id, wait_for

import flowdsl
from flowdsl import activity, run, signal, workflow


@activity(priority=7)
def urgent(x: int) -> int:
    return x


@signal
def go() -> None: ...


@workflow(tags=["kid"], child_policy="abandon", priority=-2)
def kid(x: int) -> int:
    return urgent.options(priority=9)(x)


@workflow(tags=["nightly", "eu"], priority=3, child_policy="request_cancel")
def parent(x: int) -> int:
    return kid(urgent(x))


@pytest.mark.stages(*DURABLE)
def test_priorities_tags_child_policies_and_task_lists_stand_in_the_history(stage):
    execution = stage.start(parent, 4)
    assert execution.result() == 4
    [started] = events(execution, "WorkflowExecutionStarted")
    assert (started["tagList"], started["taskPriority"], started["childPolicy"]) == (["nightly", "eu"], "3", "REQUEST_CANCEL")
    [scheduled] = events(execution, "ActivityTaskScheduled")
    assert scheduled["taskPriority"] == "7"
    [initiated] = events(execution, "StartChildWorkflowExecutionInitiated")
    assert (initiated["tagList"], initiated["taskPriority"], initiated["childPolicy"]) == (["kid"], "-2", "ABANDON")


@activity
def whose() -> str:
    return flowdsl.info().task_list or ""


@workflow
def routed(host: str) -> str:
    return whose.options(task_list=host)()


@pytest.mark.stages(*DURABLE)
def test_an_activity_is_routed_to_the_task_list_of_one_host(stage):
    host = new_id("host")
    with stage.fleet() as fleet:
        fleet.work()
        execution = flowdsl.start(routed, host, backend=fleet.backend)
        wait_for(lambda: events(execution, "ActivityTaskScheduled"))
        fleet.work(task_list=host, deciders=0)
        assert execution.result() == host
    assert events(execution, "ActivityTaskScheduled")[0]["taskList"]["name"] == host


@workflow(name="options.billing", version="1")
def billing_1(x: int) -> str:
    go.wait()
    return f"one {x}"


@workflow(name="options.billing", version="2")
def billing_2(x: int) -> str:
    return f"two {x}"


@pytest.mark.stages(*DURABLE)
def test_versions_run_side_by_side_and_an_open_execution_stays_with_its_own(stage):
    old = stage.start(billing_1, 1)
    assert run(billing_2, 2, backend=stage.backend) == "two 2"
    old.signal(go)
    assert old.result() == "one 1"
    kinds: list[Any] = [events(one, "WorkflowExecutionStarted")[0]["workflowType"] for one in (old,)]
    assert kinds == [{"name": "options.billing", "version": "1"}]
