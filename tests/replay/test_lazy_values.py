"""Rule 5: values inside, text outside. A result is decoded when somebody reads it, once, and never if nobody does."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from replay_world import DOMAIN, World, fed

from flowdsl import activity, cached, first, signal, workflow
from flowdsl.data.values import Values


class Counting(Values):
    """Values that count what is decoded, by the definition's name."""

    def __init__(self, converter: Any) -> None:
        super().__init__(converter, DOMAIN)
        self.decoded: Counter[str] = Counter()

    def decode_result(self, target: Any, text: str | None) -> Any:
        self.decoded[f"result of {target.short_name}"] += 1
        return super().decode_result(target, text)

    def decode_outcome(self, target: Any, text: str) -> Any:
        self.decoded[f"record of {target.short_name}"] += 1
        return super().decode_outcome(target, text)

    def decode_call(self, target: Any, text: str | None) -> Any:
        self.decoded[f"input of {target.short_name}"] += 1
        return super().decode_call(target, text)


def counting(world: World) -> Counter[str]:
    values = Counting(world.values._converter)
    world.values = values
    return values.decoded


@activity
def fetch(x: int) -> list[int]:
    return [x]


@cached
def stamp() -> int:
    return 7


@signal
def ping(x: int) -> int:
    return x


@settings(max_examples=40)
@given(st.integers(1, 6), st.data())
def test_a_result_is_decoded_once_if_somebody_reads_it_and_never_if_nobody_does(count: int, data: st.DataObject) -> None:
    read = data.draw(st.lists(st.integers(0, count - 1), max_size=8))

    @workflow(name="lazy.reads")
    def reads(count: int, read: list[int]) -> list[Any]:
        promises = [fetch.start(n) for n in range(count)]
        return [promises[n].result() for n in read]

    world = World()
    world.start(reads, count, read)
    assert world.run_to_end() == [[n] for n in read]
    decoded = counting(world)
    fed(world.replayer(), [world.history()])
    assert decoded["result of fetch"] == len(set(read))


def test_a_recorded_value_that_nobody_reads_is_never_decoded() -> None:
    @workflow(name="lazy.records")
    def records() -> int:
        stamp.start()
        return stamp()

    world = World()
    world.start(records)
    assert world.run_to_end() == 7
    decoded = counting(world)
    fed(world.replayer(), [world.history()])
    assert decoded["record of stamp"] == 1


def test_a_signal_that_nobody_takes_is_never_decoded() -> None:
    @workflow(name="lazy.signals")
    def listens() -> int:
        return ping.wait()

    world = World()
    world.start(listens)
    for number in (1, 2, 3):
        world.signal(ping, number)
    assert world.run_to_end() == 1
    decoded = counting(world)
    fed(world.replayer(), [world.history()])
    assert decoded["input of ping"] == 1


def test_a_result_that_cannot_be_decoded_fails_who_reads_it_and_nobody_else() -> None:
    @workflow(name="lazy.lost")
    def loses(read: bool) -> str:
        lost = fetch.start(1)
        kept = fetch(2)
        lost.exception() if read else None
        return f"kept {kept}, lost {type(lost.exception()).__name__}" if read else f"kept {kept}"

    for read in (False, True):
        world = World()
        world.start(loses, read)
        world.decide()
        world.take_activity()
        world.call("RespondActivityTaskCompleted", taskToken=world.tasks.pop()["taskToken"], result="fd1.dill.-.test.-:bm9uc2Vuc2U=")
        outcome = world.run_to_end()
        assert outcome.startswith("kept [2]")
        assert ("lost" in outcome) is read


def test_the_first_of_two_is_read_and_the_other_is_left_alone() -> None:
    @workflow(name="lazy.first")
    def races() -> list[int]:
        return first(fetch.start(1), fetch.start(2))

    world = World()
    world.start(races)
    outcome = world.run_to_end()
    assert outcome in ([1], [2])
    decoded = counting(world)
    fed(world.replayer(), [world.history()])
    assert decoded["result of fetch"] == 1
