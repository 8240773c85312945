"""What happens to deciders: they die, answer twice, are too slow, and the world goes on while they think."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_world import DOMAIN, LIST, World, attributes, fed, kinds

from flowdsl import activity, cached, gather, now, signal, sleep, workflow
from flowdsl.errors import Fault

ran: list[str] = []


@activity
def charge(amount: int) -> str:
    ran.append(f"charge {amount}")
    return f"charged {amount}"


@cached
def stamp() -> int:
    ran.append("stamp")
    return len(ran)


@signal
def note(text: str) -> str:
    return text


@workflow
def order() -> list[Any]:
    number = stamp()
    first, second = charge.start(1), charge.start(2)
    sleep(5)
    return [number, first.result(), second.result()]


@workflow
def collects(count: int) -> list[str]:
    return [note.wait() for _ in range(count)]


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def decide_only(world: World) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A decision task and what a decider computes for it, and does not say."""
    task = world.take_decision()
    assert task is not None
    replayer = world.replayer()
    try:
        replayer.feed(task["events"])
        return task, replayer.decisions()
    finally:
        replayer.close()


def respond(world: World, task: dict[str, Any], decisions: list[dict[str, Any]]) -> None:
    world.call("RespondDecisionTaskCompleted", taskToken=task["taskToken"], decisions=decisions)


def test_a_decider_that_dies_before_it_responds_is_followed_by_one_that_decides_the_same() -> None:
    world = World()
    world.start(order)
    world.decide()
    world.work()
    task, computed = decide_only(world)
    world.pass_time(61)
    assert kinds(world.history(), "DecisionTaskTimedOut") == ["DecisionTaskTimedOut"]
    again, recomputed = decide_only(world)
    assert recomputed == computed
    with pytest.raises(Fault, match="UnknownResourceFault"):
        respond(world, task, computed)
    respond(world, again, recomputed)
    assert world.run_to_end() == [1, "charged 1", "charged 2"]
    assert sorted(ran) == ["charge 1", "charge 2", "stamp"]


def test_a_decider_that_dies_after_the_service_took_its_answer_leaves_nothing_to_repeat() -> None:
    world = World()
    world.start(order)
    task, computed = decide_only(world)
    respond(world, task, computed)  # and never hears that it arrived
    assert world.take_decision() is None
    with pytest.raises(Fault, match="UnknownResourceFault"):
        respond(world, task, computed)
    assert world.run_to_end() == [1, "charged 1", "charged 2"]
    assert sorted(ran) == ["charge 1", "charge 2", "stamp"]


def test_of_two_deciders_that_were_handed_one_task_the_second_to_answer_is_refused() -> None:
    world = World()
    world.start(order)
    slow, slow_decisions = decide_only(world)
    world.pass_time(61)
    fast, fast_decisions = decide_only(world)
    respond(world, fast, fast_decisions)
    before = world.history()
    with pytest.raises(Fault, match="UnknownResourceFault"):
        respond(world, slow, slow_decisions)
    assert world.history() == before
    assert list(world.run_to_end()[1:]) == ["charged 1", "charged 2"]


def test_a_recorded_function_that_ran_in_a_task_that_timed_out_may_run_again_and_only_its_record_is_ever_seen() -> None:
    world = World()
    world.start(order)
    decide_only(world)
    world.pass_time(61)
    assert ran == ["stamp"]
    outcome = world.run_to_end()
    assert ran.count("stamp") == 2
    assert outcome[0] == 2, "the value of the run that was recorded"
    again = fed(world.replayer(record=None), [world.history()])
    assert world.values.decode_result(order, again.main.promise.result())[0] == 2  # type: ignore[union-attr]
    assert ran.count("stamp") == 2


def test_an_event_during_the_last_decision_only_delays_the_close() -> None:
    world = World()
    world.start(order)
    while not any(e["eventType"] == "TimerFired" for e in world.history()):
        world.work() or world.decide() or world.pass_time(1)
    assert world.decide(between=lambda: world.signal(note, "late"))
    assert world.is_open
    assert kinds(world.history(), "CompleteWorkflowExecutionFailed")
    assert world.run_to_end() == [1, "charged 1", "charged 2"]


def test_ten_signals_during_one_decision_all_arrive_once_and_in_order() -> None:
    world = World()
    world.start(collects, 10)
    world.decide(between=lambda: [world.signal(note, f"signal {n}") for n in range(10)])
    assert world.run_to_end() == [f"signal {n}" for n in range(10)]


def test_a_signal_between_the_functions_return_and_the_close_is_in_the_history_and_harms_nothing() -> None:
    world = World()
    world.start(collects, 1)
    world.decide()
    world.signal(note, "first")
    world.decide(between=lambda: world.signal(note, "second"))
    assert world.run_to_end() == ["first"]
    assert len(kinds(world.history(), "WorkflowExecutionSignaled")) == 2


@pytest.mark.parametrize("page_size", [1, 3, 10])
def test_a_history_in_many_pages_is_the_same_history(page_size: int) -> None:
    world = World()
    world.start(collects, 20)
    for n in range(20):
        world.signal(note, str(n))
        if n < 10:
            world.decide()
    whole = world.history()
    task = world.take_decision(page_size)
    assert task is not None
    assert task["events"][:-1] == whole
    replayer = fed(world.replayer(), [task["events"]])
    respond(world, task, replayer.decisions())
    assert world.run_to_end() == [str(n) for n in range(20)]


def test_a_page_token_that_is_no_good_loses_nothing() -> None:
    world = World()
    world.start(collects, 1)
    world.signal(note, "x")
    task = world.call("PollForDecisionTask", domain=DOMAIN, taskList={"name": LIST}, maximumPageSize=2)
    with pytest.raises(Fault):
        world.call("PollForDecisionTask", domain=DOMAIN, taskList={"name": LIST}, maximumPageSize=2, nextPageToken="nonsense")
    assert task["nextPageToken"]
    world.pass_time(61)
    assert world.run_to_end() == ["x"]


def test_the_history_of_a_closed_execution_replays_to_the_same_result() -> None:
    world = World()
    world.start(order)
    outcome = world.run_to_end()
    for slices in ([world.history()], [[e] for e in world.history()]):
        replayer = fed(world.replayer(foresee=world.history()), slices)
        assert replayer.closed
        assert not replayer.outbox
        assert world.values.decode_result(order, replayer.main.promise.result()) == outcome  # type: ignore[union-attr]


@pytest.mark.parametrize("end", ["terminate", "time out"])
def test_an_execution_that_was_ended_from_outside_replays_to_where_it_stood(end: str) -> None:
    world = World()
    world.start(order)
    world.decide()
    if end == "terminate":
        world.call("TerminateWorkflowExecution", domain=DOMAIN, workflowId="w")
    else:
        world.pass_time(1_000_001)
    assert not world.is_open
    replayer = fed(world.replayer(), [world.history()])
    assert replayer.closed
    assert not replayer.main.promise.is_ready()  # type: ignore[union-attr]


@pytest.mark.parametrize("together", [True, False], ids=["in one decision task", "in two decision tasks"])
def test_two_activities_that_complete_in_the_opposite_order_keep_their_own_results(together: bool) -> None:
    @workflow(name="deciding.two")
    def two() -> list[Any]:
        order: list[str] = []
        first, second = charge.start(1), charge.start(2)
        first.subscribe(lambda _: order.append("first"))
        second.subscribe(lambda _: order.append("second"))
        return [*gather(first, second), *order]

    world = World()
    world.start(two)
    world.decide()
    world.take_activity()
    world.take_activity()
    world.finish_activity(1)
    if not together:
        world.decide()
    world.finish_activity(0)
    assert world.run_to_end() == ["charged 1", "charged 2", "second", "first"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3600, 3600), min_size=1, max_size=8))
def test_a_wall_clock_that_jumps_back_and_forth_changes_no_decision(jumps: list[int]) -> None:
    """The replayer has no clock: `now()` is the history's, whatever a process that decides believes."""

    @workflow(name="deciding.times")
    def times(count: int) -> list[float]:
        seen = []
        for n in range(count):
            charge(n)
            seen.append(now().timestamp())
        return seen

    import time

    world = World()
    world.start(times, len(jumps))
    real = time.time
    try:
        for jump in jumps:
            time.time = lambda jump=jump: real() + jump  # type: ignore[misc]  # a decider's clock
            world.decide()
            world.work()
            world.pass_time(1)
    finally:
        time.time = real
    seen = world.run_to_end()
    assert seen == sorted(seen)
    turns = {e["eventTimestamp"] for e in world.history() if e["eventType"] == "DecisionTaskStarted"}
    assert set(seen) <= turns


def test_a_decision_task_that_is_lost_after_every_step_changes_nothing() -> None:
    steady, shaky = World(), World()
    steady.start(order)
    expected = steady.run_to_end()
    shaky.start(order)
    for _ in range(100):
        if not shaky.is_open:
            break
        if shaky.take_decision() is not None:
            shaky.pass_time(61)
        shaky.decide() or shaky.work() or shaky.pass_time(1)
    assert shaky.outcome()[1:] == expected[1:]
    scheduled = [attributes(e)["activityId"] for e in shaky.history() if e["eventType"] == "ActivityTaskScheduled"]
    assert scheduled == ["charge-1", "charge-2"]
