"""Local runs: children beside their parent on one thread, policies, and the timeout of a whole run."""

from __future__ import annotations

import threading

import pytest

from flowdsl import (
    Cancelled,
    ChildFailed,
    Retry,
    WorkflowTerminated,
    WorkflowTimedOut,
    activity,
    continue_as_new,
    info,
    run,
    signal,
    sleep,
    start,
    workflow,
)

seen: list[str] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@signal
def go(text: str = "") -> str:
    return text


@activity
def note(text: str) -> str:
    seen.append(text)
    return text


@workflow
def depth(n: int) -> int:
    return 0 if n == 0 else 1 + depth(n - 1)


def test_children_three_hundred_deep() -> None:
    assert run(depth, 300) == 300


@workflow
def many_children(n: int) -> list[str]:
    waiting = [waits.options(id=f"one of many {i}").start() for i in range(n)]
    sleep(0)
    for i in reversed(range(n)):
        go.send(f"one of many {i}", str(i))
    return [promise.result() for promise in waiting]


@workflow
def waits() -> str:
    return note(go.wait())


def test_many_children_wait_at_once_and_go_on_in_the_order_of_their_signals() -> None:
    assert run(many_children, 50) == [str(i) for i in range(50)]
    assert seen == [str(i) for i in reversed(range(50))]


@workflow(timeout=0.05)
def busy() -> None:
    while True:
        note("again")


def test_the_timeout_also_ends_a_workflow_that_never_waits() -> None:
    execution = start(busy)
    with pytest.raises(WorkflowTimedOut, match="busy"):
        execution.result()
    assert execution.describe()["executionInfo"]["closeStatus"] == "TIMED_OUT"


@workflow(timeout=30)
def cleans_up() -> None:
    try:
        go.wait()
    finally:
        note("must not happen")


def test_a_run_that_is_ended_from_outside_does_not_hear_of_it() -> None:
    execution = start(cleans_up)
    execution.signal("nobody listens")
    execution.terminate("enough")
    with pytest.raises(WorkflowTerminated, match="enough"):
        execution.result()
    assert seen == []


@workflow
def late_at_first() -> int:
    if info().attempt == 1 and not seen:
        note("first")
        sleep(30)
    return 7


@workflow
def tries_a_late_child_again() -> int:
    return late_at_first.options(timeout=0.02, retry=Retry(2, on=("timed_out",), first=0))()


def test_a_child_that_was_late_is_tried_again_where_its_policy_says_so() -> None:
    assert run(tries_a_late_child_again) == 7


@workflow
def leaves_by_an_error(policy_of_the_child: str) -> None:
    heeds.start(policy_of_the_child)
    sleep(0)
    raise ValueError("gone")


@workflow
def heeds(name: str) -> None:
    try:
        sleep(0.02)
    except BaseException as error:
        seen.append(f"{name} heard {type(error).__name__}")
        raise
    note(f"{name} went on")


@pytest.mark.parametrize(
    ("policy", "what"),
    [("terminate", ["x heard Evicted"]), ("request_cancel", ["x heard CancelRequested"]), ("abandon", ["x went on"])],
)
def test_what_becomes_of_children_when_their_parent_fails(policy: str, what: list[str]) -> None:
    with pytest.raises(ValueError, match="gone"):
        run(leaves_by_an_error.options(child_policy=policy), "x")
    assert seen == what


@workflow
def takes_children_back() -> list[str]:
    answers = []
    for pause in (None, 0.001):
        promise = heeds.start(f"after {pause}")
        if pause is not None:
            sleep(pause)
        promise.cancel()
        try:
            promise.result()
        except Cancelled as error:
            answers.append(str(error).partition(" [")[0])
    return answers


def test_a_child_is_cancelled_before_it_began_and_after() -> None:
    assert run(takes_children_back) == ["heeds (heeds-1) was cancelled", "heeds (heeds-2) was cancelled"]
    assert seen == ["after 0.001 heard CancelRequested"]


@workflow
def cancelled_child_of_cancelled_parent() -> None:
    heeds("inner")


@workflow(timeout=0.5)
def several_runs(left: int) -> int:
    sleep(0.01)
    if left:
        continue_as_new(left - 1)
    return left


def test_the_timeout_is_each_runs_own() -> None:
    assert run(several_runs, 3) == 0


@workflow
def same_id_twice() -> list[str]:
    first = waits.options(id="the same").start()
    sleep(0)
    try:
        waits.options(id="the same")()
    except ChildFailed as error:
        return [error.status, error.reason or "", go.send("the same", "one") or first.result()]
    return []


def test_a_child_with_the_id_of_a_running_one_is_not_started() -> None:
    assert run(same_id_twice) == ["NOT_STARTED", "WORKFLOW_ALREADY_RUNNING", "one"]


def test_runs_of_several_threads_do_not_disturb_each_other() -> None:
    values: list[object] = []
    threads = [threading.Thread(target=lambda: values.append(run(depth, 20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [20] * 4
