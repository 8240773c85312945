"""What users write: exceptions of every kind, generators and lambdas and partials, nothing at all, far too much, and sets."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from replay_world import LIST, World, attributes, kinds, live

from flowdsl import activity, cached, gather, signal, sleep, spawn, wait_until, workflow
from flowdsl.errors import ActivityFailed, DefinitionError, NotSerializable


@activity
def echo(x: Any) -> Any:
    return x


@signal
def news(text: str) -> str:
    return text


class OutOfStock(Exception):
    def __init__(self, item: str, left: int) -> None:
        super().__init__(f"{left} of {item}")
        self.item, self.left = item, left


# --- exceptions of the workflow


@workflow
def raises(what: str) -> Any:
    if what == "own":
        raise OutOfStock("book", 0)
    if what == "exit":
        sys.exit(3)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "recursion":
        return raises_deep(0)
    if what == "unstorable":
        return (n for n in ())
    if what == "generator exit":
        raise GeneratorExit
    raise StopIteration("stop")


def raises_deep(n: int) -> int:
    return raises_deep(n + 1) + 1


FAILURES: dict[str, tuple[type[BaseException], str]] = {
    "own": (OutOfStock, "0 of book"),
    "exit": (BaseException, "3"),
    "interrupt": (BaseException, ""),
    "recursion": (RecursionError, "maximum recursion depth"),
    "unstorable": (NotSerializable, "cannot be stored"),
    "generator exit": (BaseException, ""),
    "stop": (BaseException, ""),  # in a coroutine Python itself makes a RuntimeError of it
}


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_whatever_a_workflow_raises_fails_it_and_only_it(what: str, kind: str) -> None:
    @workflow(name="user code.raises in async")
    async def raises_in_async(what: str) -> Any:
        return raises.__wrapped__(what)

    world = World()
    world.start(raises if kind == "def" else raises_in_async, what)
    expected, text = FAILURES[what]
    with pytest.raises(expected) as caught:
        world.run_to_end()
    assert text in str(caught.value)
    assert kinds(world.history())[-1] == "WorkflowExecutionFailed"
    if what == "own":
        assert (caught.value.item, caught.value.left) == ("book", 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["exit", "interrupt", "own"])
def test_what_a_branch_raises_is_its_outcome_and_stops_nobody_else(what: str) -> None:
    @workflow(name="user code.branches")
    def branches(what: str) -> list[str]:
        bad = spawn(raises.__wrapped__, what)
        value = echo("fine")
        return [value, type(bad.exception()).__name__]

    assert live(branches, what)[1] == ["fine", {"exit": "SystemExit", "interrupt": "KeyboardInterrupt", "own": "OutOfStock"}[what]]


def test_a_recorded_function_whose_value_cannot_be_stored_runs_once_and_says_so() -> None:
    runs: list[int] = []

    @cached(name="user code.opens")
    def opens() -> Any:
        runs.append(1)
        return (n for n in ())

    @workflow(name="user code.catches")
    def catches() -> list[str]:
        seen = []
        try:
            opens()
        except NotSerializable as error:
            seen.append(str(error))
        echo(1)
        return seen

    _, [message] = live(catches)
    assert "cannot be stored" in message
    assert runs == [1]


def test_an_argument_that_cannot_be_stored_is_refused_at_the_line_of_the_call() -> None:
    @workflow(name="user code.argument")
    def argument() -> str:
        try:
            echo(n for n in ())
        except NotSerializable as error:
            return str(error)
        return ""

    _, message = live(argument)
    assert "argument 'x'" in message
    assert "echo" in message


def test_exceptions_of_activities_and_recorded_functions_arrive_as_themselves_with_their_cause() -> None:
    @activity(name="user code.sells")
    def sells() -> None:
        raise OutOfStock("pen", 2)

    @cached(name="user code.counts")
    def counts() -> None:
        raise OutOfStock("ink", 1)

    @workflow(name="user code.sees")
    def sees() -> list[Any]:
        seen = []
        for call in (sells, counts):
            try:
                call()
            except OutOfStock as error:
                cause = error.__cause__
                assert isinstance(cause, ActivityFailed)
                seen.append([error.item, error.left, cause.call_id])
        return seen

    assert live(sees)[1] == [["pen", 2, "sells-1"], ["ink", 1, "counts-1"]]


# --- definitions of every kind


def test_a_lambda_a_closure_a_partial_and_a_recursive_function_are_workflows() -> None:
    factor = 3
    closure = workflow(name="user code.closure")(lambda x: echo(x) * factor)
    partial = workflow(name="user code.partial")(functools.partial(lambda a, b: echo(a) + b, 5))

    @workflow(name="user code.recursive", task_list=LIST)
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert live(closure, 4)[1] == 12
    assert live(partial, 2)[1] == 7
    assert live(factorial, 5)[1] == 120


def test_a_generator_as_a_workflow_says_what_is_wrong() -> None:
    with pytest.raises((DefinitionError, NotSerializable)) as caught:

        @workflow(name="user code.generator")
        def generates() -> Any:
            yield echo(1)

        live(generates)
    assert "generator" in str(caught.value)


def test_lambdas_and_partials_can_be_branches() -> None:
    @workflow(name="user code.lambdas")
    def lambdas() -> list[int]:
        return gather(spawn(lambda: echo(1)), spawn(functools.partial(echo, 2)), spawn(echo, 3), spawn(lambda: echo(4)))

    world, outcome = live(lambdas)
    assert outcome == [1, 2, 3, 4]
    ids = [attributes(e)["activityId"] for e in world.history() if e["eventType"] == "ActivityTaskScheduled"]
    assert len(set(ids)) == 4


def test_generators_inside_a_workflow_may_wait() -> None:
    @workflow(name="user code.inner generator")
    def uses() -> list[int]:
        def values() -> Any:
            for n in range(3):
                yield echo(n)
                sleep(1)

        return [value * 2 for value in values()]

    assert live(uses)[1] == [0, 2, 4]


# --- nothing and too much


def test_a_workflow_that_does_nothing_closes_with_its_first_decision() -> None:
    @workflow(name="user code.nothing")
    def nothing() -> None:
        pass

    world, outcome = live(nothing)
    assert outcome is None
    assert kinds(world.history()) == [
        "WorkflowExecutionStarted", "DecisionTaskScheduled", "DecisionTaskStarted", "DecisionTaskCompleted", "WorkflowExecutionCompleted",
    ]  # fmt: skip


@pytest.mark.parametrize("wait", [news.wait, lambda: wait_until(lambda: False)], ids=["for a signal", "for nothing"])
def test_a_workflow_that_only_waits_waits_and_costs_nothing(wait: Any) -> None:
    @workflow(name="user code.waits")
    def waits() -> Any:
        return wait()

    world = World()
    world.start(waits)
    assert world.decide()
    for _ in range(100):
        world.pass_time(1000)
        assert not world.decide()
    assert len(world.history()) == 4
    assert world.is_open


def test_five_thousand_branches() -> None:
    @workflow(name="user code.branches 5000")
    def many() -> int:
        def line(n: int) -> int:
            sleep(1)
            return n

        return sum(gather(*[spawn(line, n) for n in range(5_000)]))

    world = World(keeps=True)
    world.start(many)
    assert world.run_to_end(1500) == sum(range(5_000))
    assert kinds(world.history(), "StartTimerFailed") == []


def test_three_hundred_calls_deep() -> None:
    @workflow(name="user code.deep")
    def deep(n: int) -> int:
        def down(n: int) -> int:
            return echo(0) if n == 0 else down(n - 1) + 1

        return down(n)

    assert live(deep, 300)[1] == 300


def test_branches_within_branches_sixty_deep_have_ids_that_fit() -> None:
    @workflow(name="user code.nested branches")
    def nested(n: int) -> int:
        def an_inner_line_with_a_long_name(n: int) -> int:
            return echo(0) if n == 0 else spawn(an_inner_line_with_a_long_name, n - 1).result() + 1

        return an_inner_line_with_a_long_name(n)

    world, outcome = live(nested, 60)
    assert outcome == 60
    [scheduled] = [attributes(e)["activityId"] for e in world.history() if e["eventType"] == "ActivityTaskScheduled"]
    assert len(scheduled) <= 256


def test_names_of_any_length_make_ids_that_the_service_takes() -> None:
    def function(x: int) -> int:
        from flowdsl import info

        if info().attempt < 2:
            raise ValueError("again")
        return x

    function.__name__ = function.__qualname__ = "very_" * 60 + "long"
    long_activity = activity(name="user code.long", retry=2)(function)

    def recorded(x: int) -> int:
        return x

    recorded.__name__ = recorded.__qualname__ = "also_" * 60 + "long"
    long_cached = cached(name="user code.long record")(recorded)

    @workflow(name="user code.long names")
    def uses() -> list[int]:
        return [long_activity(1), long_cached(2), long_activity(3), long_cached(4)]

    assert live(uses)[1] == [1, 2, 3, 4]


# --- order


HASHES = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from replay_world import World
from flowdsl import activity, cached, gather, spawn, workflow

@activity(name="hashes.echo")
def echo(x: str) -> str:
    return x

@cached(name="hashes.stamp")
def stamp(x: str) -> str:
    return x

@workflow(name="hashes.sets")
def sets() -> list[str]:
    words = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}
    lookup = {word: len(word) for word in sorted(words)}
    started = {word: spawn(lambda word=word: echo(stamp(word))) for word in sorted(words)}
    for word in lookup.keys() & words:
        started[word].is_ready()
    return sorted(gather(*started.values()))

world = World()
world.start(sets)
if sys.argv[2] == "live":
    world.run_to_end()
    print(json.dumps(world.history()))
else:
    events = json.loads(sys.stdin.read())
    replayer = world.replayer(lambda *_: 1 / 0, run=("w", "r"))
    replayer.run_id = "r"
    replayer.feed(events)
    replayer.close()
    assert not replayer.outbox
    print(replayer.main.promise.result())
"""


def _python(seed: int, mode: str, text: str = "") -> str:
    import json

    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "kit")]
    done = subprocess.run(
        [sys.executable, "-c", HASHES, json.dumps(paths), mode],
        input=text, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONHASHSEED": str(seed)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_processes_with_other_hash_seeds_replay_each_others_histories() -> None:
    history = _python(1, "live")
    outcomes = {_python(seed, "replay", history) for seed in (2, 3)}
    assert len(outcomes) == 1
    assert "alpha" in outcomes.pop()
