"""What stands before every store: it tries again, reads ahead, remembers, and never remembers too much."""

from __future__ import annotations

import threading
from random import Random

import pytest

from flowdsl import PayloadLost
from flowdsl.data import Converter, MemoryStore
from flowdsl.data.stores.base import content_key
from flowdsl.data.stores.steady import AHEAD, Steady
from flowdsl.errors import StoreUnavailable
from flowdsl.model.payload import Slot, content_digest

SLOT = Slot("orders", "score", "result")


def values(count, size=40_000):
    return [Random(n).randbytes(size) for n in range(count)]


class Counting(MemoryStore):
    """Remembers who was asked for, and fails as often as it is told to."""

    def __init__(self, fails=(), error=ConnectionError("no route to host")):
        super().__init__()
        self.asked, self.fails, self.error = [], iter(fails), error
        self.lock = threading.Lock()

    def _ask(self, key):
        with self.lock:
            self.asked.append(key)
            if next(self.fails, False):
                raise self.error

    def put(self, key, data):
        self._ask(key)
        return super().put(key, data)

    def get(self, uri):
        self._ask(uri)
        return super().get(uri)


def test_what_may_pass_is_tried_again_after_jittered_pauses():
    pauses = []
    steady = Steady(Counting([True, True, True]), sleep=pauses.append, chance=Random(1))
    converter = Converter(store=steady)
    assert converter.decode(converter.encode(values(1)[0], SLOT), SLOT) == values(1)[0]
    assert len(pauses) == 3
    assert all(low / 2 <= pause <= low for pause, low in zip(pauses, (0.05, 0.1, 0.2), strict=True))


def test_what_does_not_pass_in_time_fails_by_name_and_nothing_else_does():
    store = Counting([True] * 4)
    converter = Converter(store=Steady(store, sleep=lambda _: None))
    with pytest.raises(StoreUnavailable, match=r"argument 'rows' of 'score'.*no route to host"):
        converter.encode(values(1)[0], SLOT, argument="rows")
    assert len(store.asked) == 4
    assert converter.decode(converter.encode(values(1)[0], SLOT), SLOT) == values(1)[0]


@pytest.mark.parametrize("error", [PermissionError("no"), LookupError("gone"), ValueError("what?")])
def test_what_will_not_pass_is_not_tried_again(error):
    store = Counting([True], error)
    with pytest.raises(StoreUnavailable):
        Converter(store=Steady(store, sleep=pytest.fail)).encode(values(1)[0], SLOT)
    assert len(store.asked) == 1


def test_the_services_own_codes_say_whether_it_may_pass():
    class ClientError(Exception):
        def __init__(self, status):
            self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}

    for status, attempts in ((503, 4), (403, 1)):
        store = Counting([True] * 4, ClientError(status))
        with pytest.raises(StoreUnavailable):
            Converter(store=Steady(store, sleep=lambda _: None)).encode(values(1)[0], SLOT)
        assert len(store.asked) == attempts


def history(count):
    store = Counting()
    writer = Converter(store=store)
    texts = [writer.encode(value, SLOT) for value in values(count)]
    store.asked.clear()
    return store, texts


def test_nothing_is_read_ahead_before_the_first_value_is_read():
    store, texts = history(5)
    Converter(store=store).expect(texts)
    assert store.asked == []


def test_the_first_value_that_is_read_brings_the_next_ones_side_by_side():
    store, texts = history(AHEAD + 1)
    together = threading.Barrier(AHEAD + 1)
    ask = store.get
    store.get = lambda uri: (together.wait(30), ask(uri))[1]  # nobody gets anything before all of them are asked for
    converter = Converter(store=store)
    converter.expect(texts)
    assert converter.decode(texts[0], SLOT) == values(1)[0]
    del store.get
    assert [converter.decode(text, SLOT) for text in texts] == values(AHEAD + 1)
    assert sorted(store.asked) == sorted({*store.asked}), "nothing was asked for twice"


def test_a_value_that_is_lost_fails_its_own_reader_and_no_other_one():
    store, texts = history(4)
    lost = sorted(store.objects)[0]
    del store.objects[lost]
    converter = Converter(store=store)
    converter.expect(texts)
    outcomes = []
    for text in texts:
        try:
            outcomes.append(converter.decode(text, SLOT))
        except PayloadLost as error:
            outcomes.append(lost in str(error))
    assert outcomes.count(True) == 1
    assert [outcome for outcome in outcomes if outcome is not True] == [v for v in values(4) if v in outcomes]


def test_what_was_read_is_remembered_up_to_so_many_bytes():
    store, texts = history(6)
    steady = Steady(store, cache=100_000)
    converter = Converter(store=steady)
    for text in texts:
        converter.decode(text, SLOT)
        converter.decode(text, SLOT)
    assert len(store.asked) == 6
    converter.decode(texts[0], SLOT)
    assert len(store.asked) == 7


def test_what_was_harmed_on_its_way_is_fetched_again():
    store, texts = history(1)
    harmed = iter([b"harmed"])
    ask = store.get
    store.get = lambda uri: next(harmed, None) or ask(uri)
    assert Converter(store=store).decode(texts[0], SLOT) == values(1)[0]


def test_the_key_in_a_uri_is_all_that_is_remembered_it_by():
    steady = Steady(MemoryStore())
    data = b"x" * 10
    uri = steady.put(content_key(content_digest(data)), data)
    assert steady.get(uri) is steady.get(f"elsewhere/{uri}")
