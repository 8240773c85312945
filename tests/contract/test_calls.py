"""Calls: one after the other, started and gathered, in windows; arguments of every kind."""

from __future__ import annotations

import pytest
from contract_stage import DURABLE, events, new_id

from flowdsl import activity, as_completed, first, gather, sleep, spawn, workflow


@activity
def add(a: int, b: int) -> int:
    return a + b


@activity
def double(x: int) -> int:
    return x * 2


@activity
def broken(text: str) -> str:
    raise ValueError(text)


@workflow
def in_sequence(n: int) -> list[int]:
    one = add(n, 1)
    two = add(one, 10)
    return [one, two, add(a=two, b=100)]


def test_activities_run_one_after_the_other(stage):
    assert stage.run(in_sequence, 1) == [2, 12, 112]


@workflow
def started(xs: list[int]) -> list[int]:
    promises = [double.start(x) for x in xs]
    return gather(*promises)


def test_started_calls_are_gathered_in_the_order_of_the_arguments(stage):
    assert stage.run(started, [3, 1, 2]) == [6, 2, 4]


@workflow
def gathered_errors() -> list[str]:
    outcomes = gather(double.start(1), broken.start("no"), double.start(2), return_exceptions=True)
    return [repr(outcome) for outcome in outcomes]


def test_gather_returns_exceptions_in_their_places(stage):
    assert stage.run(gathered_errors) == ["2", "ValueError('no')", "4"]


@workflow
def gathers_a_failure() -> None:
    gather(double.start(1), broken.start("first"), broken.start("second"))


def test_gather_raises_what_an_activity_raised(stage):
    with pytest.raises(ValueError, match=r"^(first|second)$"):
        stage.run(gathers_a_failure)


@workflow
def empty_gather() -> list[int]:
    return gather()


def test_gathering_nothing_gives_an_empty_list(stage):
    assert stage.run(empty_gather) == []


@workflow
def fastest(long: float, short: float) -> str:
    def wait(name: str, duration: float) -> str:
        sleep(duration)
        return name

    return first(spawn(wait, "slow", long), spawn(wait, "quick", short))


def test_first_gives_the_one_that_settled_first(stage):
    assert stage.run(fastest, stage.seconds(30), stage.seconds(2)) == "quick"


@workflow
def in_order_of_completion(durations: list[float]) -> list[int]:
    def wait(number: int, duration: float) -> int:
        sleep(duration)
        return number

    promises = [spawn(wait, number, duration) for number, duration in enumerate(durations)]
    return [promise.result() for promise in as_completed(promises)]


def test_as_completed_gives_the_promises_as_they_settle(stage):
    durations = [stage.seconds(n) for n in (9, 3, 6)]
    assert stage.run(in_order_of_completion, durations) == [1, 2, 0]


@workflow
def mapped(xs: list[int], width: int | None) -> list[int]:
    return double.map(xs, concurrency=width)


@pytest.mark.parametrize("width", [1, 2, 7, None])
def test_map_keeps_the_order_whatever_its_width(stage, width):
    assert stage.run(mapped, list(range(7)), width) == [0, 2, 4, 6, 8, 10, 12]


@pytest.mark.stages(*DURABLE)
def test_map_never_has_more_calls_open_than_it_was_told(stage):
    execution = stage.start(mapped, list(range(9)), 3)
    execution.result()
    open_now = most = 0
    for event in execution.history():
        open_now += {"ActivityTaskScheduled": 1, "ActivityTaskCompleted": -1}.get(event["eventType"], 0)
        most = max(most, open_now)
    assert most == 3
    assert len(events(execution, "ActivityTaskScheduled")) == 9


@workflow
def mapped_failure() -> list[str]:
    try:
        broken.map(["a", "b"], concurrency=1)
    except ValueError as error:
        return [str(error)]
    return []


def test_map_stops_at_the_first_failure(stage):
    assert stage.run(mapped_failure) == ["a"]


@workflow
def with_options() -> list[int]:
    other = double.options(timeout=30, priority=5)
    return [other(1), other.start(2).result(), *other.map([3, 4])]


def test_options_change_how_a_call_is_made_and_not_what_it_gives(stage):
    assert stage.run(with_options) == [2, 4, 6, 8]


@pytest.mark.stages(*DURABLE)
def test_options_reach_the_service(stage):
    execution = stage.start(with_options)
    execution.result()
    scheduled = events(execution, "ActivityTaskScheduled")
    assert {(one["startToCloseTimeout"], one["taskPriority"]) for one in scheduled} == {("30", "5")}


@activity
def all_kinds(a: int, /, b: int = 2, *args: int, c: int = 3, **kwargs: int) -> list[object]:
    return [a, b, list(args), c, dict(sorted(kwargs.items()))]


@workflow
def calls_all_kinds(a: int, /, b: int = 2, *args: int, c: int = 3, **kwargs: int) -> list[object]:
    return all_kinds(a, b, *args, c=c, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((1,), {}, [1, 2, [], 3, {}]),
        ((1,), {"b": 5}, [1, 5, [], 3, {}]),
        ((1, 4, 7, 8), {"c": 9, "z": 1, "y": 0}, [1, 4, [7, 8], 9, {"y": 0, "z": 1}]),
        ((1,), {"a": 6}, [1, 2, [], 3, {"a": 6}]),
    ],
)
def test_arguments_arrive_as_python_binds_them(stage, args, kwargs, expected):
    assert stage.run(calls_all_kinds, *args, **kwargs) == expected


def test_arguments_that_do_not_fit_are_a_type_error_at_the_call(stage):
    with pytest.raises(TypeError, match="missing"):
        stage.run(in_sequence)


@workflow
def nothing() -> None:
    pass


def test_a_workflow_that_does_nothing_gives_none(stage):
    assert stage.run(nothing) is None


@workflow
def many(n: int) -> int:
    return sum(gather(*[double.start(x) for x in range(n)]))


def test_more_calls_than_fit_into_one_response_are_all_made(stage):
    assert stage.run(many, 250) == 249 * 250


@workflow
def unawaited(n: int) -> str:
    double.start(n)
    return "done"


@pytest.mark.stages(*DURABLE)
def test_what_was_started_and_not_waited_for_still_happens(stage):
    execution = stage.start(unawaited, 4)
    assert execution.result() == "done"
    assert [event["result"] for event in events(execution, "ActivityTaskCompleted")] == ["8"]


@workflow
def recursive(n: int) -> int:
    return 1 if n == 0 else n * recursive(n - 1)


def test_a_recursive_workflow_calls_itself_as_a_child(stage):
    assert stage.run(recursive.options(id=new_id()), 4) == 24
