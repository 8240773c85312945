"""Changing code while executions are open: `patched`, and versions side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from replay_deploys import define, deployed
from replay_world import World, attributes

from flowdsl import DefinitionError, activity, gather, patched, signal, sleep, spawn


@activity(name="changes.old")
def old(n: int) -> str:
    return f"old {n}"


@activity(name="changes.new")
def new(n: int) -> str:
    return f"new {n}"


@signal(name="changes.news")
def news(text: str) -> str:
    return text


def loop_before() -> list[str]:
    return [old(n) for n in range(6)]


def loop_after() -> list[str]:
    return [new(n) if patched("better") else old(n) for n in range(6)]


def loop_by_pass() -> list[str]:
    return [new(n) if patched(f"better {n}") else old(n) for n in range(6)]


def loop_done() -> list[str]:
    return [new(n) for n in range(6)]


def deploy(world: World, code: Callable[[], Any]) -> None:
    """From now on deciders run this code; they have nothing in memory."""
    world.code = deployed(define(code, world.workflow.name))
    world.kept.clear()


def begun(code: Callable[[], Any], activities: int) -> World:
    world = World()
    world.start(define(code, "changes.loop"))
    for _ in range(activities):
        assert world.decide()
        assert world.work()
    return world


def markers(world: World) -> list[str]:
    return [attributes(e)["markerName"] for e in world.history() if e["eventType"] == "MarkerRecorded"]


def test_12_a_loop_that_began_before_the_deploy_goes_on_as_it_began():
    world = begun(loop_before, 3)
    deploy(world, loop_after)
    assert world.run_to_end() == [f"old {n}" for n in range(6)]
    assert markers(world) == []


def test_12_a_loop_that_asks_by_pass_runs_its_new_passes_the_new_way():
    world = begun(loop_before, 3)
    deploy(world, loop_by_pass)
    assert world.run_to_end() == ["old 0", "old 1", "old 2", "new 3", "new 4", "new 5"]
    assert markers(world) == [f"flowdsl:patched:better {n}" for n in (3, 4, 5)]


@pytest.mark.parametrize("keeps", [False, True])
def test_an_execution_that_begins_after_the_deploy_runs_the_new_code_with_one_marker(keeps):
    world = World(keeps=keeps)
    world.start(define(loop_after, "changes.loop"))
    assert world.run_to_end() == [f"new {n}" for n in range(6)]
    assert markers(world) == ["flowdsl:patched:better"]


def test_the_question_may_be_dropped_once_no_execution_of_the_old_code_is_open():
    world = begun(loop_after, 3)
    deploy(world, loop_done)
    assert world.run_to_end() == [f"new {n}" for n in range(6)]


def test_two_branches_get_one_answer():
    def asks(n: int) -> bool:
        sleep(n)
        return patched("both")

    world = World()
    world.start(define(lambda: gather(*[spawn(asks, n) for n in (2, 1, 1)]), "changes.branches"))
    assert world.run_to_end() == [True, True, True]
    assert markers(world) == ["flowdsl:patched:both"]


def test_an_answer_that_did_not_arrive_is_given_again():
    world = World()
    world.start(define(loop_after, "changes.loop"))
    assert world.take_decision()  # the decider dies
    world.pass_time(61)
    assert world.run_to_end() == [f"new {n}" for n in range(6)]


@pytest.mark.parametrize("change", ["", "x" * 101, None, 7])
def test_a_change_needs_a_name(change):
    with pytest.raises(DefinitionError, match="name of 1 to 100 characters"):
        patched(change)


def test_outside_a_workflow_the_new_code_runs():
    assert patched("anything")
