"""Generated workflows: a program is data, `play` is the workflow that plays it. What it sees is what it returns.

Each statement makes an observation (a value, an exception's name, whether something was ready, the time). Two replays that see the same
observations took the same path.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from flowdsl import (
    Cancelled,
    Promise,
    Retry,
    activity,
    cached,
    gather,
    info,
    mark,
    now,
    publish,
    scope,
    shield,
    signal,
    sleep,
    spawn,
    timeout,
    timer,
    workflow,
)


@activity(name="programs.echo")
def echo(x: Any) -> Any:
    return x


@activity(name="programs.refuse")
def refuse(x: Any) -> Any:
    raise ValueError(f"refused {x}")


@activity(name="programs.flaky", retry=Retry(3, first=2))
def flaky(x: int) -> int:
    if info().attempt <= x:
        raise RuntimeError(f"attempt {info().attempt}")
    return info().attempt


@cached(name="programs.record")
def record(x: int) -> Any:
    if x == 3:
        raise LookupError("recorded too")
    return [0, None, "", x][x % 4]


@timer(name="programs.pause")
def pause(x: int) -> int:
    return x


@signal(name="programs.news")
def news(text: str) -> str:
    return text


@workflow(name="programs.child", task_list="list")
def child(x: int) -> Any:
    if x == 2:
        raise KeyError("child")
    return echo(x)


CALLS = {"echo": echo, "refuse": refuse, "flaky": flaky, "record": record, "pause": pause, "child": child}


@workflow(name="programs.play")
def play(program: list[Any]) -> list[Any]:
    return _play(program, {})


def _play(program: list[Any], started: dict[str, Promise[Any]]) -> list[Any]:
    seen: list[Any] = []
    for statement in program:
        try:
            seen.append(_step(statement, started))
        except (ValueError, RuntimeError, LookupError, TimeoutError, Cancelled) as error:
            seen.append([type(error).__name__, type(error.__cause__).__name__])
    return seen


BLOCKS = {"scope": lambda seconds: scope(), "timeout": timeout, "shield": lambda seconds: shield()}


def _in_a_block(verb: str, seconds: int, inner: list[Any], fails: bool, started: dict[str, Promise[Any]]) -> Any:
    own = dict(started)
    with BLOCKS[verb](seconds):
        if fails:
            spawn(refuse, seconds)
        seen = _play(inner, own)
    return [seen, [promise.is_ready() for name, promise in own.items() if started.get(name) is not promise]]


def _step(statement: list[Any], started: dict[str, Promise[Any]]) -> Any:
    verb, *rest = statement
    if verb == "call":
        return CALLS[rest[0]](rest[1])
    if verb == "start":
        started[rest[0]] = CALLS[rest[1]].start(rest[2])
        return started[rest[0]].is_ready()
    if verb == "spawn":
        started[rest[0]] = spawn(_play, rest[1], dict(started))  # a branch that waits for itself would wait for ever
        return None
    if verb in ("get", "ready", "cancel"):
        promise = started.get(rest[0])
        return None if promise is None else {"get": promise.result, "ready": promise.is_ready, "cancel": promise.cancel}[verb]()
    if verb == "gather":
        return gather(*[started[name] for name in rest[0] if name in started], return_exceptions=False)
    if verb == "map":
        return echo.map(rest[0], concurrency=rest[1])
    if verb == "sleep":
        return sleep(rest[0])
    if verb == "signal":
        return news.wait(timeout=rest[0])
    if verb in BLOCKS:
        return _in_a_block(verb, *rest, started)
    if verb == "mark":
        return mark("note", rest[0])
    if verb == "publish":
        return publish(rest[0])
    return now().timestamp()


names = st.sampled_from("abc")
small = st.integers(0, 3)
calls = st.sampled_from(sorted(CALLS))
simple = st.one_of(
    st.tuples(st.just("call"), calls, small),
    st.tuples(st.just("start"), names, calls, small),
    st.tuples(st.just("get"), names),
    st.tuples(st.just("ready"), names),
    st.tuples(st.just("cancel"), names),
    st.tuples(st.just("gather"), st.lists(names, max_size=3)),
    st.tuples(st.just("map"), st.lists(small, max_size=4), st.sampled_from([None, 1, 2])),
    st.tuples(st.just("sleep"), small),
    st.tuples(st.just("signal"), st.integers(0, 5)),
    st.tuples(st.just("mark"), small),
    st.tuples(st.just("publish"), small),
    st.tuples(st.just("now")),
).map(list)
spawned = st.tuples(st.just("spawn"), names, st.lists(simple, max_size=3)).map(list)
cancelled = st.tuples(names, calls, small, simple).map(lambda c: [["start", c[0], c[1], c[2]], c[3], ["sleep", 1], ["cancel", c[0]]])
blocks = st.tuples(st.sampled_from(sorted(BLOCKS)), small, st.lists(st.one_of(simple, spawned), max_size=3), st.booleans()).map(list)
statements = st.one_of(*[simple.map(lambda s: [s])] * 4, spawned.map(lambda s: [s]), blocks.map(lambda s: [s]), cancelled)
programs = st.lists(statements, min_size=3, max_size=8).map(lambda parts: [statement for part in parts for statement in part])

# what the world does, one number a step; see `drive`
schedules = st.lists(st.integers(0, 9), min_size=10, max_size=40)


def drive(world: Any, schedule: list[int]) -> None:
    """Let the world do what the schedule says, then run to the end."""
    acts = {
        0: world.decide,
        1: world.take_activity,
        2: lambda: world.finish_activity(0),
        3: lambda: world.finish_activity(1),
        4: lambda: world.pass_time(1),
        5: lambda: world.is_open and world.signal(news, f"at {world.now}"),
        6: lambda: world.decide(between=lambda: world.finish_activity(0)),
        7: lambda: world.decide(between=lambda: (world.pass_time(2), world.signal(news, "between"))),
        8: lambda: world.take_decision() and world.pass_time(61),  # a decider that dies: its task times out
        9: lambda: world.pass_time(65),  # long enough to lose a worker
    }
    for step in schedule:
        if not world.is_open:
            break
        acts[step]()
