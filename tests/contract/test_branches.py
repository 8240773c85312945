"""Branches: concurrent lines of one workflow, and several workflows, inside one decider."""

from __future__ import annotations

import pytest
from contract_stage import DURABLE, HANDLES, events, new_id, wait_for

from flowdsl import Cancelled, activity, gather, info, publish, signal, sleep, spawn, wait_until, workflow


@activity
def step(name: str, n: int) -> str:
    return f"{name}{n}"


@activity
def broken() -> None:
    raise ValueError("broken")


@signal
def released(by: str = "") -> str:
    return by


@workflow
def two_lines(long: float) -> list[str]:
    seen: list[str] = []

    def waits() -> None:
        sleep(long)
        seen.append("waited")

    def works() -> None:
        n = 0
        while n < 4:
            seen.append(step("b", n))
            n += 1

    gather(spawn(waits), spawn(works))
    return seen


def test_a_branch_that_waits_holds_no_other_one(stage):
    assert stage.run(two_lines, stage.seconds(60)) == ["b0", "b1", "b2", "b3", "waited"]


@workflow
def lines_of_steps(lines: int, steps: int) -> list[list[str]]:
    def line(name: str) -> list[str]:
        return [step(name, n) for n in range(steps)]

    return gather(*[spawn(line, f"l{number}-") for number in range(lines)])


def test_each_branch_gets_its_own_results(stage):
    expected = [[f"l{line}-{n}" for n in range(3)] for line in range(5)]
    assert stage.run(lines_of_steps, 5, 3) == expected


@pytest.mark.stages(*DURABLE)
def test_all_branches_advance_in_the_same_decision(stage):
    execution = stage.start(lines_of_steps, 5, 1)
    execution.result()
    scheduled = events(execution, "ActivityTaskScheduled")
    assert len({event["decisionTaskCompletedEventId"] for event in scheduled}) == 1
    assert [event["activityId"] for event in scheduled] == [f"line-{n}.step-1" for n in range(1, 6)]


@workflow
def failing_branch() -> list[object]:
    def fails() -> None:
        broken()

    def works() -> str:
        return step("w", 1)

    outcomes = gather(spawn(fails), spawn(works), return_exceptions=True)
    return [repr(outcome) for outcome in outcomes]


def test_a_branch_that_fails_fails_its_promise_only(stage):
    assert stage.run(failing_branch) == ["ValueError('broken')", "'w1'"]


@workflow
def uncaught_branch() -> str:
    def fails() -> None:
        broken()

    return str(spawn(fails).result())


def test_what_a_branch_raised_is_raised_where_it_is_asked_for(stage):
    with pytest.raises(ValueError, match=r"^broken$"):
        stage.run(uncaught_branch)


@workflow
def nested() -> list[str]:
    def inner(name: str) -> str:
        return step(name, 1)

    def outer(name: str) -> list[str]:
        return gather(spawn(inner, f"{name}x"), spawn(inner, f"{name}y"))

    return [*spawn(outer, "a").result(), *spawn(outer, "b").result()]


def test_branches_have_branches(stage):
    assert stage.run(nested) == ["ax1", "ay1", "bx1", "by1"]


@workflow
def cancels_a_branch(long: float) -> list[str]:
    seen: list[str] = []

    def waits() -> None:
        try:
            sleep(long)
        finally:
            seen.append("cleaned up")

    branch = spawn(waits)
    sleep(0.01)
    branch.cancel()
    try:
        branch.result()
    except Cancelled:
        seen.append("cancelled")
    return seen


@pytest.mark.stages(*HANDLES)
def test_a_cancelled_branch_cleans_up(stage):
    assert stage.run(cancels_a_branch, 3600) == ["cleaned up", "cancelled"]


@workflow
def until() -> list[object]:
    state = {"n": 0}

    def counts() -> None:
        for _ in range(3):
            step("n", state["n"])
            state["n"] += 1

    spawn(counts)
    return [wait_until(lambda: state["n"] >= 3), state["n"], wait_until(lambda: False, timeout=0.02)]


def test_wait_until_asks_again_after_every_event(stage):
    assert stage.run(until) == [True, 3, False]


@workflow
def left_running() -> str:
    def works() -> None:
        step("left", 1)
        step("left", 2)

    spawn(works)
    return "returned"


@pytest.mark.stages(*DURABLE)
def test_a_branch_that_nobody_waits_for_runs_to_its_end(stage):
    execution = stage.start(left_running)
    assert execution.result() == "returned"
    assert [event["result"] for event in events(execution, "ActivityTaskCompleted")] == ['"left1"', '"left2"']


@workflow
def waits(name: str) -> list[str]:
    publish(name)
    by = released.wait()
    return [name, by, info().workflow_id]


@pytest.mark.stages(*HANDLES)
def test_two_executions_run_side_by_side_in_one_decider(stage):
    ids = [new_id("side"), new_id("side")]
    one, two = (stage.start(waits.options(id=own), own) for own in ids)
    wait_for(lambda: one.published() and two.published())
    assert stage.run(lines_of_steps, 1, 2) == [["l0-0", "l0-1"]]
    two.signal(released, "second")
    assert two.result() == [ids[1], "second", ids[1]]
    one.signal(released, "first")
    assert one.result() == [ids[0], "first", ids[0]]


@workflow
def deep(n: int) -> int:
    def down(level: int) -> int:
        return level if level == n else down(level + 1)

    return down(0) + len(step("x", 1))


def test_a_workflow_may_be_deep_in_calls(stage):
    assert stage.run(deep, 300) == 302
