"""Child workflows: a workflow called inside a workflow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from contract_stage import DURABLE, HANDLES, causes, events, new_id, wait_for

import flowdsl.local.running
from flowdsl import ActivityFailed, ChildFailed, activity, gather, info, signal, sleep, workflow


class Declined(Exception):
    pass


@activity
def double(x: int) -> int:
    return x * 2


@activity
def decline(reason: str) -> None:
    raise Declined(reason)


@workflow
def child(x: int) -> int:
    sleep(0.01)
    return double(x)


@workflow
def parent(xs: list[int]) -> list[int]:
    return [child(xs[0]), *gather(*[child.start(x) for x in xs]), *child.map(xs, concurrency=2)]


def test_children_are_called_started_and_mapped(stage):
    assert stage.run(parent, [1, 2, 3]) == [2, 2, 4, 6, 2, 4, 6]


@workflow
def declining_child(reason: str, through_an_activity: bool) -> None:
    if through_an_activity:
        decline(reason)
    raise Declined(reason)


@workflow
def parent_of_declining(reason: str, through_an_activity: bool) -> None:
    declining_child(reason, through_an_activity)


@pytest.mark.parametrize("through_an_activity", [False, True])
def test_a_childs_exception_arrives_as_itself_because_of_child_failed(stage, through_an_activity):
    with pytest.raises(Declined, match=r"^no money$") as caught:
        stage.run(parent_of_declining, "no money", through_an_activity)
    below = causes(caught.value)
    (failure,) = [cause for cause in below if isinstance(cause, ChildFailed)]
    assert failure.name.endswith("declining_child")
    assert failure.call_id == "declining_child-1"
    assert failure.status == "FAILED"
    assert [type(cause) for cause in below].count(ActivityFailed) == through_an_activity


@workflow
def catching_parent() -> str:
    promise = declining_child.start("caught", False)
    try:
        return promise.result()
    except Declined as error:
        return f"{error} {type(error.__cause__).__name__} {double(2)}"


def test_a_parent_catches_and_goes_on(stage):
    assert stage.run(catching_parent) == "caught ChildFailed 4"


@workflow
def who_am_i() -> list[object]:
    about = info()
    return [about.kind, about.workflow_id, about.parent[0] if about.parent else None]


@workflow
def knows_its_child(own_id: str) -> list[object]:
    return [info().workflow_id, who_am_i.options(id=own_id)(), who_am_i()]


def test_a_child_has_its_own_id_and_knows_its_parent(stage):
    own = new_id("child")
    me, named, unnamed = stage.run(knows_its_child, own)
    assert named == ["workflow", own, me]
    assert unnamed[1].startswith(f"{me}.who_am_i-")
    assert unnamed[2] == me


@workflow
def generations(n: int) -> int:
    return 0 if n == 0 else 1 + generations(n - 1)


def test_children_have_children(stage):
    assert stage.run(generations, 5) == 5


@signal
def released() -> None:
    pass


@workflow
def waiting_child() -> str:
    released.wait()
    return "released"


@workflow
def parent_of_waiting(child_id: str) -> str:
    try:
        return waiting_child.options(id=child_id)()
    except ChildFailed as error:
        return f"{error.status}: {error.reason}"


def child_begins(stage, execution, child_id):
    if stage.durable:
        wait_for(lambda: events(execution, "ChildWorkflowExecutionStarted"))
    else:
        wait_for(lambda: flowdsl.local.running.find(child_id))


@pytest.mark.stages(*DURABLE)
def test_a_terminated_child_raises_child_failed(stage):
    child_id = new_id("child")
    execution = stage.start(parent_of_waiting, child_id)
    child_begins(stage, execution, child_id)
    stage.attach(child_id).terminate("enough")
    assert execution.result().startswith("TERMINATED")


@pytest.mark.stages(*HANDLES)
def test_a_child_is_signalled_by_its_id(stage):
    child_id = new_id("child")
    execution = stage.start(parent_of_waiting, child_id)
    child_begins(stage, execution, child_id)
    released.send(child_id)
    assert execution.result() == "released"


@workflow
def signals_its_child(child_id: str) -> list[object]:
    one = waiting_child.options(id=child_id).start()
    two = slow_child.start(0.01)
    before = double(2)
    gather(two)
    released.send(child_id)
    return [before, one.result(), two.result()]


def test_siblings_and_the_parent_go_on_while_a_child_waits(stage):
    assert stage.run(signals_its_child, new_id("child")) == [4, "released", None]


@workflow
def waits_in_turn(seconds: float) -> int:
    sleep(seconds)
    return int(seconds > 0)


@workflow
async def coroutine_of_children(seconds: list[float]) -> list[int]:
    return await asyncio.gather(*[_awaited(waits_in_turn.start(s)) for s in seconds])


async def _awaited(promise: Any) -> int:
    return await promise


def test_a_coroutine_awaits_several_children_at_once(stage):
    assert stage.run(coroutine_of_children, [0.02, 0.01, 0]) == [1, 1, 0]


@workflow
def slow_child(seconds: float = 3600) -> None:
    sleep(seconds)


@workflow
def impatient_parent(timeout: float) -> str:
    try:
        slow_child.options(timeout=timeout)()
    except ChildFailed as error:
        return error.status
    return "in time"


def test_a_child_that_takes_too_long_raises_child_failed(stage):
    assert stage.run(impatient_parent, stage.seconds(60) / 30) == "TIMED_OUT"


@workflow
def takes_an_id(own_id: str) -> str:
    try:
        waiting_child.options(id=own_id)()
    except ChildFailed as error:
        return f"{error.status}: {error.reason}"
    return ""


@pytest.mark.stages(*HANDLES)
def test_a_child_with_the_id_of_an_open_execution_is_not_started(stage):
    taken = new_id()
    other = stage.start(waiting_child.options(id=taken))
    wait_for(lambda: stage.durable or flowdsl.local.running.find(taken))
    assert stage.run(takes_an_id, taken) == "NOT_STARTED: WORKFLOW_ALREADY_RUNNING"
    other.signal(released)
    assert other.result() == "released"


@workflow
def leaves_it(child_id: str) -> str:
    waiting_child.options(id=child_id).start()
    return "gone"


@pytest.mark.stages(*DURABLE)
def test_an_abandoned_child_outlives_its_parent(stage):
    child_id = new_id("child")
    assert stage.run(leaves_it.options(child_policy="abandon"), child_id) == "gone"
    orphan = stage.attach(child_id)
    orphan.signal(released)
    assert orphan.result() == "released"


@pytest.mark.stages(*DURABLE)
def test_a_parent_that_is_terminated_takes_its_children_along(stage):
    child_id = new_id("child")
    execution = stage.start(leaves_it, child_id)
    wait_for(lambda: events(execution, "ChildWorkflowExecutionStarted"))
    execution.terminate("over")
    orphan = stage.attach(child_id)
    assert wait_for(lambda: orphan.describe()["executionInfo"].get("closeStatus")) == "TERMINATED"


@pytest.mark.stages(*DURABLE)
def test_a_parent_waits_for_the_children_that_it_may_not_leave(stage):
    child_id = new_id("child")
    execution = stage.start(leaves_it, child_id)
    wait_for(lambda: events(execution, "ChildWorkflowExecutionStarted"))
    stage.attach(child_id).signal(released)
    assert execution.result() == "gone"
    assert events(execution, "ChildWorkflowExecutionCompleted")[0]["result"] == '"released"'


@pytest.mark.stages(*HANDLES)
def test_a_workflow_that_was_started_gives_its_handle(stage):
    execution = stage.start(child.options(id=new_id("handle")), 4)
    assert execution.id.startswith("handle")
    assert execution.result() == 8
