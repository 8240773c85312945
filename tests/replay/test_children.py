"""Child workflows: every way in which one can end, ids that are taken, policies, cancellation."""

from __future__ import annotations

from typing import Any

import pytest
from replay_world import DOMAIN, LIST, World, attributes, kinds, live

from flowdsl import activity, gather, signal, sleep, workflow
from flowdsl.errors import Cancelled, ChildFailed, SignalFailed


class Sour(Exception):
    pass


@activity
def echo(x: Any) -> Any:
    return x


@signal
def told(text: str) -> str:
    return text


@workflow(task_list=LIST)
def kid(what: str) -> str:
    if what == "fails":
        raise Sour("kid")
    if what == "waits":
        return told.wait()
    return f"kid {what}"


@workflow(task_list=LIST, timeout=30)
def slow_kid() -> None:
    sleep(1000)


def child_ids(world: World) -> list[str]:
    return [attributes(e)["workflowId"] for e in world.history() if e["eventType"] == "StartChildWorkflowExecutionInitiated"]


def caught(call: Any, *args: Any) -> list[Any]:
    """What a parent learns of a child: the exception, its cause, status and reason."""
    try:
        return ["value", call(*args)]
    except (ChildFailed, Sour, Cancelled) as error:
        failure = error if isinstance(error, ChildFailed) else error.__cause__
        if isinstance(failure, ChildFailed):
            return [type(error).__name__, failure.status, failure.call_id]
        return [type(error).__name__]


@workflow
def parent(what: str) -> list[Any]:
    return caught(kid, what)


@workflow
def parent_of_slow() -> list[Any]:
    return caught(slow_kid)


def test_a_child_that_completes_gives_its_value() -> None:
    assert live(parent, "good")[1] == ["value", "kid good"]


def test_a_child_that_fails_raises_its_own_exception_with_the_failure_as_its_cause() -> None:
    assert live(parent, "fails")[1] == ["Sour", "FAILED", "kid-1"]


def test_a_child_that_is_out_of_time_says_so() -> None:
    world = World()
    world.start(parent_of_slow)
    world.decide()
    world.decide()
    world.pass_time(31)
    assert world.run_to_end() == ["ChildFailed", "TIMED_OUT", "slow_kid-1"]


def test_a_child_that_is_terminated_from_outside_says_so() -> None:
    world = World()
    world.start(parent, "waits")
    world.decide()
    world.call("TerminateWorkflowExecution", domain=DOMAIN, workflowId=child_ids(world)[0])
    assert world.run_to_end() == ["ChildFailed", "TERMINATED", "kid-1"]


def test_a_child_that_is_cancelled_from_outside_is_cancelled_for_its_parent() -> None:
    world = World()
    world.start(parent, "waits")
    world.decide()
    world.decide()
    world.call("RequestCancelWorkflowExecution", domain=DOMAIN, workflowId=child_ids(world)[0])
    assert world.run_to_end() == ["Cancelled"]


def test_a_child_with_the_id_of_an_open_execution_cannot_start() -> None:
    @workflow(name="children.taken")
    def taken() -> list[Any]:
        return caught(kid.options(id="taken"), "good")

    world = World()
    world.start(kid, "waits", workflow_id="taken")
    world.start(taken)
    world.decide()
    assert world.run_to_end() == ["ChildFailed", "NOT_STARTED", "kid-1"]
    assert kinds(world.history(), "StartChildWorkflowExecutionFailed") == ["StartChildWorkflowExecutionFailed"]


def test_a_child_that_could_not_start_may_be_tried_again() -> None:
    @workflow(name="children.tried again")
    def tries() -> list[Any]:
        return caught(kid.options(id="taken twice", retry=3), "good")

    world = World()
    world.start(kid, "waits", workflow_id="taken twice")
    world.start(tries)
    assert world.run_to_end() == ["value", "kid good"]
    assert child_ids(world)[-1] == "taken twice~2"


def test_two_open_children_of_one_parent_never_share_an_id_by_accident() -> None:
    @workflow(name="children.many")
    def many() -> list[str]:
        return gather(*[kid.start(str(n)) for n in range(5)], kid.start("5"))

    world, outcome = live(many)
    assert outcome == [f"kid {n}" for n in range(6)]
    ids = child_ids(world)
    assert len(set(ids)) == 6
    again = World(seed=1)
    again.start(many)
    again.run_to_end()
    assert set(child_ids(again)).isdisjoint(ids), "another run has other children"
    assert [i.rpartition(".")[0] for i in child_ids(again)] == [i.rpartition(".")[0] for i in ids], "that stand at the same places"


def test_an_id_can_be_used_again_once_its_child_is_closed() -> None:
    @workflow(name="children.reused")
    def reused() -> list[str]:
        one = kid.options(id="my child")
        return [one("first"), one("second")]

    world, outcome = live(reused)
    assert outcome == ["kid first", "kid second"]
    assert child_ids(world) == ["my child", "my child"]


@pytest.mark.parametrize("policy", ["terminate", "request_cancel", "abandon"])
def test_the_child_policy_is_said_when_the_child_is_started(policy: Any) -> None:
    @workflow(name="children.policy", task_list=LIST)
    def grandparent() -> None:
        kid.options(child_policy=policy).start("waits")
        sleep(100)

    world = World()
    world.start(grandparent)
    world.decide()
    [initiated] = [attributes(e) for e in world.history() if e["eventType"] == "StartChildWorkflowExecutionInitiated"]
    assert initiated["childPolicy"] == policy.upper()


def test_an_abandoned_child_outlives_its_parent_and_any_other_is_waited_for() -> None:
    """The service goes by the parent's own policy."""

    @workflow(name="children.left")
    def leaves(policy: str) -> str:
        kid.options(id=f"left {policy}").start("waits")
        return "gone"

    for policy in ("abandon", "terminate"):
        world = World()
        world.start(leaves.options(child_policy=policy), policy, workflow_id="p")
        for _ in range(5):
            world.decide()
        assert world.is_open is (policy == "terminate")
        assert kinds(world.history(), "ChildWorkflowExecutionStarted") == ["ChildWorkflowExecutionStarted"]
        if policy == "terminate":
            world.call(
                "SignalWorkflowExecution", domain=DOMAIN, workflowId="left terminate", signalName=told.name, input='{"args":["end"]}'
            )
            assert world.run_to_end() == "gone"


@pytest.mark.parametrize("moment", ["at once", "before it started", "after it started"])
def test_cancelling_a_child_reaches_it_at_every_moment(moment: str) -> None:
    @workflow(name="children.cancelled", child_policy="abandon")
    def cancels(moment: str) -> str:
        promise = kid.options(id="to cancel").start("waits")
        if moment == "before it started":
            told.wait()
        elif moment == "after it started":
            sleep(1)
        promise.cancel()
        return type(promise.exception()).__name__

    world = World()
    world.start(cancels, moment)
    if moment == "before it started":
        world.decide(between=lambda: world.signal(told, "now"))
    assert world.run_to_end() == "Cancelled"
    for _ in range(5):
        world.decide()
    events = kinds(world.history())
    if moment == "at once":
        assert "StartChildWorkflowExecutionInitiated" not in events
        return
    child = next(attributes(e)["workflowExecution"] for e in world.history() if e["eventType"] == "ChildWorkflowExecutionStarted")
    described = world.call("DescribeWorkflowExecution", domain=DOMAIN, execution=child)["executionInfo"]
    assert described["executionStatus"] == "CLOSED", "it was asked to stop, though its parent was about to end"
    assert described["closeStatus"] == "CANCELED"


def test_a_child_that_is_retried_gets_a_new_id_for_each_attempt() -> None:
    @workflow(name="children.retried")
    def retries() -> list[Any]:
        return caught(kid.options(retry=3), "fails")

    world, outcome = live(retries)
    assert outcome == ["Sour", "FAILED", "kid-1"]
    ids = child_ids(world)
    assert len(set(ids)) == 3
    assert [("~2" in i, "~3" in i) for i in ids] == [(False, False), (True, False), (False, True)]


def test_a_signal_from_one_workflow_to_another_arrives_and_one_to_nobody_says_so() -> None:
    @workflow(name="children.signals")
    def signals() -> list[str]:
        promise = kid.options(id="listener").start("waits")
        sleep(1)
        told.send("listener", "hello")
        try:
            told.send("nobody", "hello")
        except SignalFailed as error:
            return [promise.result(), error.workflow_id]
        return []

    assert live(signals)[1] == ["hello", "nobody"]


def test_a_child_is_asked_for_once_when_the_decision_task_is_lost() -> None:
    world = World()
    world.start(parent, "good")
    world.take_decision()
    world.pass_time(61)
    world.decide()
    world.take_decision()
    world.pass_time(61)
    assert world.run_to_end() == ["value", "kid good"]
    assert len(child_ids(world)) == 1


def test_no_counter_is_shared_between_executions() -> None:
    """pyswf counted globally: two workflows in one process changed each other's ids."""

    @workflow(name="children.alone")
    def alone() -> list[Any]:
        return [echo(1), kid("x"), echo(2)]

    first, second = World(), World()
    first.start(alone)
    second.start(alone)
    for _ in range(60):
        for world in (first, second):
            if world.is_open and not (world.decide() or world.work()):
                world.pass_time(1)
    for world in (first, second):
        assert world.outcome() == [1, "kid x", 2]
        assert [attributes(e)["activityId"] for e in world.history() if e["eventType"] == "ActivityTaskScheduled"] == ["echo-1", "echo-2"]
