"""Rule 9: code that was changed while an execution is open goes on unharmed, or is a misfit that shows both lines. Never another
call's value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_deploys import define
from replay_world import LIST, World, fed

from flowdsl import activity, cached, gather, signal, sleep, spawn, timer, workflow
from flowdsl.errors import NonDeterminism

Code = Callable[[], Any]


@activity
def charge(amount: int) -> str:
    return f"charged {amount}"


@activity
def ship(what: str) -> str:
    return f"shipped {what}"


@activity
def check(what: str) -> str:
    return f"checked {what}"


@cached
def rate(currency: str) -> str:
    return f"rate of {currency}"


@cached
def limit(currency: str) -> str:
    return f"limit of {currency}"


@timer
def cool(seconds: int) -> int:
    return seconds


@workflow(task_list=LIST)
def kid(x: int) -> str:
    return f"kid {x}"


@signal
def news(text: str) -> str:
    return text


def open_world(code: Code, steps: int) -> World:
    """A world in which the code ran for some steps, and is open still or is closed."""
    world = World()
    world.start(define(code, "misfits.shop"))
    for _ in range(steps):
        if not (world.decide() or world.work()):
            world.pass_time(5)
    return world


def deploy(world: World, code: Code) -> list[dict[str, Any]]:
    """A decision under other code: what it would decide, or the misfit. The execution goes on as if nothing had happened."""
    task = None
    if world.is_open:
        world.signal(news, "deployed")
        task = world.take_decision()
    replayer = world.replayer(workflow=define(code, "misfits.shop"))
    try:
        replayer.feed(world.history() if task is None else task["events"])
        return replayer.decisions()
    finally:
        replayer.close()
        if task is not None:
            world.call("RespondDecisionTaskCompleted", taskToken=task["taskToken"], decisions=[])
            world.signal(news, "again")


def go_on(world: World, code: Code) -> Any:
    world.workflow = define(code, "misfits.shop")
    return world.run_to_end()


def line_of(code: Code, text: str) -> str:
    """`file:line` of the line of the code that holds the text."""
    lines, first = inspect.getsourcelines(code)
    number = next(n for n, line in enumerate(lines) if text in line)
    return f"{inspect.getsourcefile(code)}:{first + number}"


def old() -> list[str]:
    a = charge(10)
    b = ship("book")
    sleep(1)
    return [a, b]


def same_elsewhere() -> list[str]:
    # other lines, other names, the same calls
    values = []
    for function, argument in ((charge, 10), (ship, "book")):
        values.append(function(argument))
    sleep(1)
    return values


def inserted_before() -> list[str]:
    c = check("first")
    return [c, charge(10), ship("book")]


def inserted_between() -> list[str]:
    a = charge(10)
    c = check("between")
    return [a, c, ship("book")]


def inserted_after() -> list[str]:
    a = charge(10)
    b = ship("book")
    sleep(1)
    return [a, b, check("last")]


def inserted_before_but_not_waited_for() -> list[str]:
    c = check.start("first")
    a = charge(10)
    b = ship("book")
    sleep(1)
    return [a, b, c.result()]


def renamed() -> list[str]:
    a = charge.options(name="misfits.renamed")(10)
    return [a, ship("book")]


def other_arguments() -> list[str]:
    a = charge(11)
    return [a, ship("book")]


def swapped() -> list[str]:
    b = ship("book")
    return [charge(10), b]


def removed() -> list[str]:
    b = ship("book")
    sleep(1)
    return [b]


def all_removed() -> list[str]:
    return []


def last_removed() -> list[str]:
    a = charge(10)
    sleep(1)
    return [a]


def the_same_inserted_earlier() -> list[str]:
    z = charge(5)
    a = charge(10)
    return [z, a, ship("book")]


def another_kind() -> list[str]:
    a = kid(10)
    return [a, ship("book")]


MISFITS: dict[Code, tuple[str, str]] = {  # the code: what the history has, what the line of the code says
    inserted_before: ("charge-1", 'check("first")'),
    inserted_between: ("ship-1", 'check("between")'),
    renamed: ("charge", "options(name="),
    other_arguments: ("charge-1", "charge(11)"),
    swapped: ("charge-1", 'ship("book")'),
    removed: ("charge-1", 'ship("book")'),
    all_removed: ("charge-1", ""),
    last_removed: ("ship-1", "sleep(1)"),
    the_same_inserted_earlier: ("charge-1", "charge(5)"),
    another_kind: ("charge-1", "kid(10)"),
}


@pytest.mark.parametrize("new", MISFITS, ids=lambda code: code.__name__)
def test_a_misfit_shows_the_line_of_the_recorded_call_and_the_line_of_the_code(new: Code) -> None:
    world = open_world(old, 5)
    recorded, text = MISFITS[new]
    with pytest.raises(NonDeterminism) as caught:
        deploy(world, new)
    misfit = caught.value
    assert recorded in misfit.recorded
    assert line_of(old, f"{recorded.partition('-')[0]}(") in misfit.recorded
    assert (line_of(new, text) if text else "the workflow's end") in misfit.now
    for part in (misfit.recorded, misfit.now, "misfits.shop", "left open and unharmed"):
        assert part in str(misfit)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (same_elsewhere, ["charged 10", "shipped book"]),
        (inserted_after, ["charged 10", "shipped book", "checked last"]),
        (inserted_before_but_not_waited_for, ["charged 10", "shipped book", "checked first"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_harmless_change_goes_on_with_the_values_that_belong_to_each_call(new: Code, expected: list[str]) -> None:
    world = open_world(old, 5)
    assert world.is_open
    assert go_on(world, new) == expected


@pytest.mark.parametrize("steps", range(9))
def test_no_change_at_any_moment_returns_another_calls_value(steps: int) -> None:
    goes_on = []
    for new in [*MISFITS, same_elsewhere, inserted_after, inserted_before_but_not_waited_for]:
        world = open_world(old, steps)
        if not world.is_open:
            continue
        try:
            deploy(world, new)
            values = go_on(world, new)
        except NonDeterminism:
            continue
        goes_on.append(new.__name__)
        assert values == open_and_run(new), f"{new.__name__} goes on after {steps} steps, and sees what it would have seen from its start"
    assert set(goes_on) >= {"same_elsewhere", "inserted_after", "inserted_before_but_not_waited_for"} or not open_world(old, steps).is_open


def open_and_run(code: Code) -> list[str]:
    world = World()
    world.start(define(code, "misfits.fresh"))
    values: list[str] = world.run_to_end()
    return values


def pair(first: Callable[[], Any], second: Callable[[], Any]) -> Code:
    def code() -> list[Any]:
        values = [first(), second()]
        sleep(100)
        return values

    return code


SWAPS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "two activities of one name": (lambda: charge(1), lambda: charge(2)),
    "two activities": (lambda: charge(1), lambda: ship("1")),
    "two recorded calls of one name": (lambda: rate("EUR"), lambda: rate("USD")),
    "two recorded functions": (lambda: rate("EUR"), lambda: limit("EUR")),
    "two children": (lambda: kid(1), lambda: kid(2)),
    "an activity and a child": (lambda: charge(1), lambda: kid(1)),
    "an activity and a recorded call": (lambda: charge(1), lambda: rate("EUR")),
}
HARMLESS = {"two recorded functions", "an activity and a recorded call"}  # each finds its own, by its id


@pytest.mark.parametrize("what", SWAPS)
def test_two_calls_that_were_swapped_never_get_each_others_values(what: str) -> None:
    first, second = SWAPS[what]
    world = open_world(pair(first, second), 0)
    while world.decide() or world.work():
        pass
    assert world.is_open
    values = open_and_run(pair(first, second))
    if what in HARMLESS:
        deploy(world, pair(second, first))
        assert go_on(world, pair(second, first)) == values[::-1]
    else:
        with pytest.raises(NonDeterminism):
            deploy(world, pair(second, first))
        assert go_on(world, pair(first, second)) == values


def test_swapped_sleeps_are_a_misfit_of_nothing_and_a_changed_delay_is_the_recorded_one() -> None:
    def slow() -> str:
        sleep(100)
        return "slow"

    def fast() -> str:
        sleep(1)
        return "fast"

    world = open_world(slow, 1)
    world.workflow = define(fast, "misfits.shop")
    world.signal(news, "now")
    world.decide()
    assert world.is_open, "the timer that was started runs on"
    world.pass_time(100)
    assert world.run_to_end() == "fast"


def test_a_branch_that_was_added_before_others_is_harmless_when_its_function_is_another() -> None:
    def line(what: str) -> str:
        return ship(what)

    def other(what: str) -> str:
        return check(what)

    def one() -> list[str]:
        values = [spawn(line, "a"), spawn(line, "b")]
        sleep(1)
        return gather(*values)

    def more() -> list[str]:
        values = [spawn(other, "z"), spawn(line, "a"), spawn(line, "b")]
        sleep(1)
        return gather(*values)

    world = open_world(one, 3)
    assert go_on(world, more) == ["checked z", "shipped a", "shipped b"]


def test_code_that_ends_earlier_than_its_history_is_a_misfit() -> None:
    def early() -> str:
        return charge(10)

    with pytest.raises(NonDeterminism, match="the workflow's end"):
        deploy(open_world(old, 5), early)


def test_code_that_goes_on_where_its_history_was_closed_is_a_misfit() -> None:
    def longer() -> list[str]:
        return [*old(), check("more")]

    world = open_world(old, 20)
    assert not world.is_open
    with pytest.raises(NonDeterminism, match="WorkflowExecutionCompleted"):
        deploy(world, longer)


def test_code_that_depends_on_what_is_not_recorded_is_found_out() -> None:
    calls: list[int] = []

    def unstable() -> str:
        calls.append(1)
        return charge(len(calls))

    world = open_world(unstable, 1)
    with pytest.raises(NonDeterminism) as caught:
        deploy(world, unstable)
    assert "something that is not recorded" in str(caught.value)


programs = st.lists(st.tuples(st.sampled_from(["charge", "ship", "rate", "kid"]), st.integers(0, 2), st.booleans()), min_size=1, max_size=5)


def playing(program: list[tuple[str, int, bool]], seen: list[Any]) -> Code:
    def code() -> list[Any]:
        calls = {"charge": charge, "ship": ship, "rate": rate, "kid": kid}
        started: list[Any] = []
        for name, argument, wait in program:
            promise = calls[name].start(argument if name in ("charge", "kid") else str(argument))
            started.append((name, argument, promise))
            if wait:
                seen.append((name, argument, promise.result()))
        for name, argument, promise in started:
            seen.append((name, argument, promise.result()))
        return []

    return code


@settings(max_examples=300, deadline=None)
@given(programs, programs, st.integers(0, 12))
def test_whatever_was_changed_no_call_ever_sees_the_value_of_another(before: Any, after: Any, steps: int) -> None:
    says = {"charge": "charged {}", "ship": "shipped {}", "rate": "rate of {}", "kid": "kid {}"}
    seen: list[Any] = []
    world = open_world(playing(before, []), steps)
    code = playing(after, seen)
    try:
        deploy(world, code)
        if world.is_open:
            go_on(world, code)
    except NonDeterminism:
        return
    for name, argument, value in seen:
        assert value == says[name].format(argument)


def test_a_replay_that_fits_is_no_misfit_at_any_length() -> None:
    for steps in range(12):
        world = open_world(old, steps)
        fed(world.replayer(), [world.history()])
