"""Single values: which of the three ways each takes, what the text looks like, what is refused and in which words."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import sqlite3
import subprocess
import sys
import textwrap
import typing
from collections import Counter, OrderedDict, deque
from datetime import UTC, date, datetime
from pathlib import Path

import attrs
import msgspec
import pydantic
import pytest

from flowdsl.data import Converter, KeyRing, MemoryStore
from flowdsl.errors import DefinitionError, LimitExceeded, NotSerializable, UntrustedPayload
from flowdsl.model.payload import Slot

SLOT = Slot("orders", "score", "result")
KEYS = KeyRing({"k1": b"k" * 32})


@pytest.fixture
def converter():
    return Converter(keys=KEYS, store=MemoryStore())


def back(converter, value, annotation=typing.Any):
    return converter.decode(converter.encode(value, SLOT, annotation), SLOT, annotation)


@dataclasses.dataclass
class Item:
    name: str
    price: float = 0.0
    seen: list[str] = dataclasses.field(default_factory=list)
    made: int = dataclasses.field(default=0, init=False)


class Model(pydantic.BaseModel):
    id: int
    when: datetime | None = None
    tags: set[str] = set()
    _secret: int = pydantic.PrivateAttr(default=1)


@attrs.define
class Part:
    number: int
    sub: list[int] = attrs.field(factory=list)


class Record(msgspec.Struct):
    a: int
    b: str | None = None


class Node(msgspec.Struct):
    value: int
    next: Node | None = None


# --- readable where it can be


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        ("", '""'),
        ([], "[]"),
        (None, "null"),
        (False, "false"),
        (-0.0, "-0.0"),
        (2**200, str(2**200)),
        ("a\0b", '"a\\u0000b"'),
        ({"a": [1, 2.5, {"b": None}]}, '{"a":[1,2.5,{"b":null}]}'),
        ("fd1.dill...:abc", '"fd1.dill...:abc"'),
        ({"$": 1}, '{"$":1}'),
    ],
)
def test_a_value_of_json_types_is_bare_json_and_comes_back(converter, value, text):
    assert converter.encode(value, SLOT) == text
    got = converter.decode(text, SLOT)
    assert got == value
    assert type(got) is type(value)
    assert math.copysign(1, got) == math.copysign(1, value) if isinstance(value, float) else True


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (Item, Item("pen", 1.5), '{"name":"pen","price":1.5,"seen":[]}'),
        (list[Item], [Item("pen", 1.5)], '[{"name":"pen","price":1.5,"seen":[]}]'),
        (datetime, datetime(2026, 1, 2, 3, 4, tzinfo=UTC), '"2026-01-02T03:04:00Z"'),
        (tuple[int, str], (1, "a"), '[1,"a"]'),
        (set[str], {"b", "a", "c"}, '["a","b","c"]'),
        (Model, Model(id=3, when=datetime(2026, 1, 2)), '{"id":3,"when":"2026-01-02T00:00:00"}'),
        (Part, Part(3, [1]), '{"number":3,"sub":[1]}'),
        (Record, Record(3), '{"a":3,"b":null}'),
        (Path, Path("/tmp/a b"), '"/tmp/a b"'),
        (float, 3, "3"),
    ],
)
def test_under_a_fitting_annotation_the_text_is_bare_json(converter, annotation, value, text):
    assert converter.encode(value, SLOT, annotation) == text
    got = converter.decode(text, SLOT, annotation)
    assert got == value
    assert type(got) is type(value)


def test_what_the_annotation_would_change_is_written_so_that_it_does_not(converter):
    for value, annotation in [
        (Item("pen", 2), Item),
        ({"name": "pen"}, Item),
        ([1, 2], tuple[int, int]),
        ("2026-01-02", date),
        (1, bool),
        (True, Item),
    ]:
        text = converter.encode(value, SLOT, annotation)
        got = converter.decode(text, SLOT, annotation)
        assert repr(got) == repr(value)
        assert text.startswith("fd1.json") or annotation is bool


@pytest.mark.parametrize(
    "value",
    [
        (1, (2, [3])),
        {1: "a", (1, 2): "b", None: 0},
        {"$": 1, "v": (1,)},
        "\ud800 half a pair",
        {"\udfff": 1},
        math.inf,
        [math.nan],
        2**40_000,
        b"\x00\xff",
        bytearray(b"x"),
        deque([1, (2,)], maxlen=5),
        OrderedDict(b=1, a=2),
        Counter("hello"),
        range(1, 10, 3),
        ...,
        Item("pen", 2),
        Model(id=3, tags={"x"}),
        Model(id=3),
        Part(1, [2]),
        Record(1, "b"),
        Node(1, Node(2)),
        frozenset({frozenset({1}), frozenset()}),
        1 + 2j,
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, int) else "big",
)
def test_without_an_annotation_it_travels_by_a_tag_and_not_by_a_pickle(converter, value):
    text = converter.encode(value, SLOT)
    assert text.startswith("fd1.json.")
    got = converter.decode(text, SLOT)
    assert type(got) is type(value)
    assert got == value or got[0] != got[0]


def test_a_models_set_fields_and_private_attributes_come_back(converter):
    model = Model(id=3)
    model._secret = 5
    for annotation in (typing.Any, Model):
        got = back(converter, model, annotation)
        assert got.model_fields_set == {"id"}
        assert got._secret == 5


def test_what_was_set_after_init_comes_back(converter):
    item = Item("pen")
    item.made = 7
    assert back(converter, item).made == 7
    assert back(converter, item, Item).made == 7


def test_a_dataclass_that_holds_more_than_its_fields_is_pickled_whole(converter):
    item = Item("pen")
    item.extra = 5  # type: ignore[attr-defined]
    assert back(converter, item).extra == 5


def test_sets_are_written_in_the_same_order_under_every_hash_seed():
    code = textwrap.dedent(
        """
        from flowdsl.data import Converter
        from flowdsl.model.payload import Slot
        c, s = Converter(), Slot("d", "n", "result")
        print(c.encode({"b", "a", "c", ("x", 1)}, s), c.encode({"b", "a", "c"}, s, set[str]))
        print(c.encode({"z": {"c"}, "y": {"b", "a"}}, s, dict[str, set[str]]))
        import pydantic
        class Model(pydantic.BaseModel):
            inner: list[set[str]]
        text = c.encode(Model(inner=[{"b", "a", "c"}]), s, Model)
        assert not text.startswith("fd1."), text
        print(text)
        """
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."}, capture_output=True, text=True, check=True
        ).stdout
        for seed in "1234"
    }
    assert len(texts) == 1


def test_the_order_of_a_dict_is_kept_beside_a_set(converter):
    value = {"z": {"b", "a"}, "a": {"y"}}
    assert list(back(converter, value, dict[str, set[str]])) == ["z", "a"]


def test_deep_nesting_works_or_is_refused_clearly(converter):
    def nested(make, depth):
        value = 1
        for _ in range(depth):
            value = make(value)
        return value

    assert back(converter, nested(lambda v: [v], 500)) == nested(lambda v: [v], 500)
    assert back(converter, nested(lambda v: {"a": v}, 300)) == nested(lambda v: {"a": v}, 300)
    for make in (lambda v: [v], lambda v: (v,)):
        with pytest.raises(NotSerializable, match=r"deep|recursion"):
            converter.encode(nested(make, 20_000), SLOT)


# --- pickles


def test_a_function_travels_with_the_globals_it_uses(converter):
    offset = 10
    assert back(converter, lambda x: x + offset)(1) == 11
    assert back(converter, functools.partial(max, 3))(1) == 3


def test_a_class_without_a_name_is_the_very_class_again_in_its_own_process(converter):
    class Local:
        def __init__(self):
            self.inner = [self]

    got = back(converter, [Local(), Local])
    assert type(got[0]) is Local
    assert got[1] is Local
    assert got[0].inner[0] is got[0]


def test_a_local_dataclass_is_pickled_although_msgspec_has_looked_at_it(converter):
    @dataclasses.dataclass
    class Local:
        x: int

    assert back(converter, Local(1), Local) == Local(1)
    assert back(converter, {"a": (Local(1),)}) == {"a": (Local(1),)}


def test_a_class_of_main_is_one_class_for_all_payloads_of_another_process(converter, tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text(
        textwrap.dedent(
            """
            import dataclasses
            from flowdsl.data import Converter, KeyRing
            from flowdsl.model.payload import Slot
            @dataclasses.dataclass
            class Thing:
                x: int
                def twin(self): return Thing(self.x)
            c = Converter(keys=KeyRing({"k1": b"k" * 32}))
            print(c.encode([Thing(1)], Slot("orders", "score", "result")))
            print(c.encode(Thing(2), Slot("orders", "score", "result")))
            """
        )
    )
    run = subprocess.run([sys.executable, str(script)], env={"PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True, check=True)
    one, two = [converter.decode(line, SLOT) for line in run.stdout.splitlines()]
    assert type(one[0]) is type(two)
    assert one[0].twin().x == 1


def test_pickles_can_be_forbidden_and_demanded(converter):
    plain = converter.replaced(serializer="json")
    assert back(plain, (1, 2)) == (1, 2)
    with pytest.raises(NotSerializable, match=r"result of 'score' → function cannot be stored"):
        plain.encode(lambda: 1, SLOT)
    always = converter.replaced(serializer="dill")
    assert always.encode(1, SLOT).startswith("fd1.dill.")
    assert back(always, 1) == 1


def test_without_keys_nothing_is_pickled():
    converter = Converter()
    with pytest.raises(NotSerializable, match="no keys"):
        converter.encode(lambda: 1, SLOT)
    with pytest.raises(UntrustedPayload):
        converter.decode("fd1.dill...:abc", SLOT)


# --- a user's own serializer


class Upper:
    def dumps(self, value):
        return str(value).upper()

    def loads(self, data):
        return data.lower()


def test_an_object_with_dumps_and_loads_is_a_serializer(converter):
    import pickle

    own = converter.replaced(serializer=Upper())
    assert own.encode("abc", SLOT).endswith(":ABC")
    assert back(own, "abc") == "abc"
    assert back(own, "y" * 50_000) == "y" * 50_000
    assert back(converter.replaced(serializer=pickle), {1, 2}) == {1, 2}
    with pytest.raises(DefinitionError, match="Upper"):
        converter.decode(own.encode("abc", SLOT), SLOT)
    with pytest.raises(NotSerializable, match="refused by its serializer"):
        converter.replaced(serializer=json).encode({1}, SLOT)
    with pytest.raises(DefinitionError, match="dumps"):
        Converter(serializer="yaml")


# --- arguments


def example(a: int, b: Item, /, c: tuple[int, ...] = (), *rest: Item, d: date | None = None, **more: datetime): ...


SIGNATURE = inspect.signature(example, eval_str=True)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, Item("pen", 1.5)), {}),
        ((1, Item("pen", 1), (1, 2), Item("x", 2.5), Item("y", 2.5)), {"d": date(2026, 1, 2), "until": datetime(2026, 1, 2)}),
        ((1, lambda: 1), {}),
        ((1, {"fd1": "1"}), {"c": [1], "d": {"fd1": "fd1.dill...:"}}),
        (("\ud800",), {"ключ": 1}),
    ],
)
def test_arguments_come_back_under_their_own_annotations(converter, args, kwargs):
    text = converter.encode_arguments(args, kwargs, SIGNATURE, SLOT)
    got_args, got_kwargs = converter.decode_arguments(text, SIGNATURE, SLOT)
    assert len(got_args) == len(args)
    assert all(callable(one) or repr(one) == repr(other) for one, other in zip(got_args, args, strict=True))
    assert got_kwargs == kwargs


def test_arguments_are_readable_json_without_defaults(converter):
    assert converter.encode_arguments((), {}, SIGNATURE, SLOT) == "{}"
    assert converter.encode_arguments((1,), {"d": date(2026, 1, 2)}, SIGNATURE, SLOT) == '{"args":[1],"kwargs":{"d":"2026-01-02"}}'
    assert converter.decode_arguments('{"kwargs": {"c": [1, 2]}}', SIGNATURE, SLOT) == ((), {"c": (1, 2)})


def test_one_unreadable_argument_leaves_the_others_readable(converter):
    text = converter.encode_arguments((1, Item("pen", 1.5), lambda: 1), {}, SIGNATURE, SLOT)
    assert text.startswith('fd1.args...:{"args":[1,{"name":"pen","price":1.5,"seen":[]},{"fd1":"fd1.dill.')


def test_a_large_argument_is_stored_once_for_many_calls():
    store = MemoryStore()
    converter = Converter(store=store)
    table = [{"n": n, "square": n * n} for n in range(20_000)]
    texts = [converter.encode_arguments((n, table), {}, inspect.signature(lambda n, table: 0), SLOT) for n in range(5)]
    assert len(store.objects) == 1
    assert all(len(text) < 1_000 for text in texts)
    assert converter.decode_arguments(texts[3], inspect.signature(lambda n, table: 0), SLOT) == ((3, table), {})


def test_many_small_arguments_go_out_together():
    converter = Converter(store=MemoryStore())
    args = tuple(f"{n:010}" * 30 for n in range(500))
    text = converter.encode_arguments(args, {}, inspect.signature(lambda *a: 0), SLOT)
    assert len(text) < 24_000
    assert converter.decode_arguments(text, inspect.signature(lambda *a: 0), SLOT) == (args, {})


def test_text_that_holds_no_arguments_is_refused_with_the_right_form(converter):
    for text in ("[1]", '{"order": 1}', "hello"):
        with pytest.raises(DefinitionError, match=r'Right: \{"args"'):
            converter.decode_arguments(text, SIGNATURE, SLOT)
    with pytest.raises(DefinitionError, match="does not fit its annotation"):
        converter.decode_arguments('{"args": [1, {"nam": "pen"}]}', SIGNATURE, SLOT)


def test_what_others_wrote_is_read_as_it_stands(converter):
    assert converter.decode("plain words", SLOT) == "plain words"
    assert converter.decode(' {"a" : 1}', SLOT) == {"a": 1}
    assert converter.decode(None, SLOT) is None


# --- what cannot be stored


class Pool:
    def __init__(self):
        self.connections = [1, 2, sqlite3.connect(":memory:")]


def test_the_error_names_function_argument_and_culprit(converter):
    pool = Pool()
    try:
        with pytest.raises(NotSerializable) as refused:
            converter.encode_arguments((1,), {"c": pool}, SIGNATURE, SLOT)
        assert refused.value.message.startswith(
            "argument 'c' of 'score' → .connections → [2] → sqlite3.Connection cannot be stored; open it inside the activity"
        )
        with pytest.raises(NotSerializable, match=r"result of 'score' → \['a'\] → \.connections → \[2\] → sqlite3.Connection"):
            converter.encode({"b": 1, "a": pool}, SLOT)
        with pytest.raises(NotSerializable, match=r"variable 'pool' → \.connections"):
            converter.encode(lambda: pool, SLOT)
    finally:
        pool.connections[2].close()
    with pytest.raises(NotSerializable, match="generator cannot be stored"):
        converter.encode((n for n in [1]), SLOT)


# --- sizes


@pytest.mark.parametrize("limit", [2_048, 32_768])
def test_one_character_over_the_limit_is_one_too_many(limit):
    import random

    noise = random.Random(1)
    fits = "".join(chr(noise.randrange(0x20, 0x7E)) for _ in range(limit * 2)).replace("\\", "").replace('"', "")[: limit - 2]
    converter = Converter()
    assert converter.decode(converter.encode(fits, SLOT, limit=limit), SLOT) == fits
    with pytest.raises(LimitExceeded, match=rf"argument 'rows' of 'score' is {limit + 1:,} characters long.*FLOWDSL_STORE"):
        converter.encode(fits + "x", SLOT, limit=limit, argument="rows")


def test_lengths_are_counted_in_utf16_units():
    converter = Converter()
    import random

    noise = random.Random(1)
    text = "".join(chr(noise.randrange(0x10000, 0x20000)) for _ in range(16_383))
    assert len(converter.encode(text, SLOT).encode("utf-16-le")) == 2 * 32_768
    with pytest.raises(LimitExceeded):
        converter.encode(text + "x", SLOT)


def test_what_compresses_well_needs_no_store():
    converter = Converter()
    text = converter.encode(["the same"] * 20_000, SLOT)
    assert text.startswith("fd1.typed.z..:")
    assert len(text) < 24_000
    assert converter.decode(text, SLOT) == ["the same"] * 20_000


def test_large_values_of_every_kind_go_to_the_store_by_themselves():
    import random

    noise = random.Random(2).randbytes(300_000)
    converter = Converter(keys=KEYS, store=MemoryStore())
    for value, annotation in [(noise, typing.Any), (noise, bytes), (noise.hex(), str), ((noise,), typing.Any), (lambda: noise, typing.Any)]:
        text = converter.encode(value, SLOT, annotation)
        assert "r" in text.split(".")[2]
        assert len(text) < 500
        got = converter.decode(text, SLOT, annotation)
        assert (got() if callable(got) else got) == (value() if callable(value) else value)


# --- same


def test_same_tells_equal_from_different_and_admits_what_it_cannot_tell(converter):
    def args(*args, **kwargs):
        return converter.encode_arguments(args, kwargs, inspect.signature(lambda *a, **k: 0), SLOT)

    assert converter.same(args(a=1, b=2), args(b=2, a=1)) is True
    assert converter.same(args(1), args(2)) is False
    assert converter.same(args(1), args(1.0)) is False
    assert converter.same(args(1), args(True)) is False
    assert converter.same(args(1, (2,)), args(1, (2,))) is True
    assert converter.same(args(1, (2,)), args(2, (2,))) is False
    assert converter.same(args(1, lambda: 1), args(1, lambda: 2)) is None
    assert converter.same(args(1, lambda: 1), args(2, lambda: 2)) is False
    assert converter.same(args(1), args(1, 2)) is False
    assert converter.same(args((1,)), args([1])) is not True
    assert converter.same("words", "other words") is False
    assert converter.same('{"args": [1]}', '{"args":[1]}') is True
    big = "x" * 100_000
    assert converter.same(args(big), args(big)) is True
    assert converter.same(args(big), args(big + "y")) is False
    assert converter.same(None, args(1)) is False
