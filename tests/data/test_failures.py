"""Exceptions arrive as themselves: class, arguments, attributes, chain, notes, groups and the remote traceback."""

from __future__ import annotations

import io
import json
import linecache
import pdb  # noqa: T100 - what post_mortem shows is under test
import pickle
import random
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.data import Converter, KeyRing, MemoryStore, attach_cause
from flowdsl.errors import (
    ActivityFailed,
    ActivityTimedOut,
    ChildFailed,
    Fault,
    LimitExceeded,
    NonDeterminism,
    NonRetryable,
    RemoteError,
    RetryAfter,
)
from flowdsl.limits import length
from flowdsl.model.payload import Slot

SLOT = Slot("orders", "charge", "failure")
KEYS = KeyRing({"k1": b"k" * 32})


@pytest.fixture
def converter():
    return Converter(keys=KEYS)


class Declined(Exception):
    def __init__(self, card, *, code):
        super().__init__(f"card {card} was declined")
        self.card = card
        self.code = code


class Slotted(Exception):
    __slots__ = ("limit",)

    def __init__(self, limit):
        super().__init__()
        self.limit = limit


class Stubborn(ValueError):
    """Everything it can refuse, it refuses."""

    def __new__(cls, one, two, three):
        return super().__new__(cls, one)

    def __init__(self, one, two, three):
        super().__init__(one)

    def __setattr__(self, name, value):
        raise AttributeError(name)

    def __reduce__(self):
        raise TypeError("no")


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Both(KeyError, AttributeError):
    pass


def travelled(converter, error):
    return converter.decode_failure(*converter.encode_failure(error, SLOT), SLOT)


def caught(function, *args):
    try:
        function(*args)
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError


def members(error):
    names = {
        name for cls in type(error).__mro__[:-1] for name in vars(cls) if not name.startswith("_") and name not in ("obj", "exceptions")
    }
    return {name: getattr(error, name, None) for name in names if not callable(getattr(error, name, None))}


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        ValueError(),
        KeyError("k"),
        KeyError(("a", 1)),
        Declined("4711", code=3),
        Slotted(5),
        Stubborn(1, 2, 3),
        Both("k"),
        FileNotFoundError(2, "No such file", "/tmp/a"),
        OSError(5, "both", "a", None, "b"),
        OSError("only text"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        caught(compile, "a b", "file.py", "exec"),
        StopIteration(5),
        SystemExit(3),
        KeyboardInterrupt(),
        ImportError("no", name="m", path="p"),
        NameError("n", name="n"),
        json.JSONDecodeError("msg", "doc", 2),
        subprocess.CalledProcessError(1, ["cmd"], b"out"),
        NonRetryable("stop"),
        RetryAfter(30),
        Fault("ThrottlingException", "slow", True),
        ActivityTimedOut("late", kind="HEARTBEAT", name="a", call_id="a-1", details={"x": (1,)}),
        NonDeterminism("misfit", recorded="a", now="b"),
        RemoteError("gone", type_name="a.B", traceback="T"),
        ValueError(b"\xff", (1, {2}), {"a": 1.5}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_arrives_as_itself(converter, error):
    got = travelled(converter, error)
    assert type(got) is type(error)
    assert repr(got.args) == repr(error.args)
    assert got.__dict__ == error.__dict__
    assert members(got) == members(error)
    assert str(got) == str(error)


def test_the_class_is_the_one_that_except_clauses_name(converter):
    with pytest.raises(Declined) as caught_here:
        raise travelled(converter, Declined("4711", code=3))
    error = caught_here.value
    assert (error.card, error.code, str(error)) == ("4711", 3, "card 4711 was declined")


def test_a_class_of_a_function_is_the_very_class_in_its_own_process(converter):
    class Local(Exception):
        pass

    assert type(travelled(converter, Local("x"))) is Local


def raise_chain():
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise Declined("4711", code=3) from first
    except Declined:
        raise ValueError("last")


def test_cause_context_and_suppression_arrive(converter):
    got = travelled(converter, caught(raise_chain))
    assert type(got) is ValueError
    assert got.__cause__ is None
    assert not got.__suppress_context__
    assert type(got.__context__) is Declined
    assert type(got.__context__.__cause__) is KeyError
    assert got.__context__.__cause__ is got.__context__.__context__

    def hidden():
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("last") from None

    assert travelled(converter, caught(hidden)).__suppress_context__


def test_a_chain_that_bites_its_tail_ends(converter):
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    got = travelled(converter, one)
    assert got.__context__.__context__ is got


def test_a_very_long_chain_is_cut(converter):
    error = ValueError(0)
    for n in range(1, 500):
        outer = ValueError(n)
        outer.__cause__ = error
        error = outer
    got = travelled(converter, error)
    assert got.args == (499,)
    assert got.__cause__.args == (498,)


def test_notes_arrive(converter):
    error = ValueError("x")
    error.add_note("order 7")
    assert travelled(converter, error).__notes__ == ["order 7"]


def test_groups_arrive_with_their_members(converter):
    shared = Declined("4711", code=3)
    error = BaseExceptionGroup("many", [shared, ExceptionGroup("inner", [OSError(2, "x")]), KeyboardInterrupt()])
    error.add_note("two failed")
    error.__cause__ = shared
    got = travelled(converter, error)
    assert type(got) is BaseExceptionGroup
    assert got.message == "many"
    assert [type(one) for one in got.exceptions] == [Declined, ExceptionGroup, KeyboardInterrupt]
    assert type(got.exceptions[1].exceptions[0]) is FileNotFoundError
    assert got.__cause__ is got.exceptions[0]
    assert got.__notes__ == ["two failed"]


def test_exceptions_inside_an_exception_arrive(converter):
    inner = Declined("4711", code=3)
    outer = ValueError("x", inner)
    outer.first = inner  # type: ignore[attr-defined]
    got = travelled(converter, outer)
    assert type(got.args[1]) is Declined
    assert got.first is got.args[1]


def test_what_cannot_travel_inside_an_exception_arrives_as_its_repr(converter):
    error = ValueError("x", (n for n in ()))
    error.rows = map(str, (n for n in ()))  # type: ignore[attr-defined]
    got = travelled(converter, error)
    assert got.args[0] == "x"
    assert got.args[1].startswith("<generator object")
    assert got.rows.startswith("<map object")


def test_an_exception_that_refuses_everything_still_arrives(converter):
    assert type(travelled(converter, Unprintable("x"))) is Unprintable

    class Hostile(Exception):
        __dict__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

        def __getattribute__(self, name):
            raise RuntimeError(name)

    reason, details = converter.encode_failure(Hostile("x"), SLOT)
    assert "Hostile" in reason
    assert isinstance(converter.decode_failure(reason, details, SLOT), BaseException)


# --- elsewhere


def fails_elsewhere(tmp_path, body, keys="k" * 32):
    script = tmp_path / "shop_script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            from flowdsl.data import Converter, KeyRing
            from flowdsl.model.payload import Slot
            class Odd(Exception):
                def __init__(self, a, *, b):
                    super().__init__(a); self.b = b
                def twice(self): return self.b * 2
            def charge(order):
                {body}
            c = Converter(keys=KeyRing({{"k1": b"{keys}"}}))
            try:
                charge(7)
            except Exception as error:
                print(*c.encode_failure(error, Slot("orders", "charge", "failure")), sep="\\n")
            """
        )
    )
    run = subprocess.run([sys.executable, str(script)], env={"PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True, check=True)
    reason, details = run.stdout.splitlines()
    return script, reason, details


def test_a_class_of_another_processs_main_arrives_by_value_if_it_is_signed(converter, tmp_path):
    _, reason, details = fails_elsewhere(tmp_path, 'raise Odd("x", b=21)')
    got = converter.decode_failure(reason, details, SLOT)
    assert (type(got).__name__, got.args, got.twice()) == ("Odd", ("x",), 42)
    assert type(converter.decode_failure(reason, details, SLOT)) is type(got)


def test_a_class_of_another_processs_main_is_the_imported_module_here(converter, tmp_path, monkeypatch):
    _, reason, details = fails_elsewhere(tmp_path, 'raise Odd("x", b=21)')
    monkeypatch.syspath_prepend(tmp_path)
    import shop_script

    try:
        assert type(converter.decode_failure(reason, details, SLOT)) is shop_script.Odd
    finally:
        del sys.modules["shop_script"]


def test_a_class_nobody_vouches_for_becomes_a_remote_error_with_the_whole_text(converter, tmp_path):
    script, reason, details = fails_elsewhere(tmp_path, 'raise Odd("x", b=21) from KeyError("k")', keys="other key, other key, other key!")
    got = converter.decode_failure(reason, details, SLOT)
    assert type(got) is RemoteError
    assert got.type_name == "__main__.Odd"
    assert got.message == "x"
    assert f'File "{script}"' in got.traceback
    assert "KeyError: 'k'" in got.traceback
    assert type(got.__cause__) is KeyError
    assert "in charge" in "".join(traceback.format_exception(got))


def test_nothing_is_imported_to_rebuild_an_exception(converter, tmp_path):
    (tmp_path / "never_imported.py").write_text("raise SystemError('imported')")
    sys.path.insert(0, str(tmp_path))
    try:
        details = 'fd1.failure...:{"version":1,"errors":[{"type":"never_imported:X","message":"m"}],"text":"T"}'
        got = converter.decode_failure("never_imported.X: m", details, SLOT)
    finally:
        sys.path.remove(str(tmp_path))
    assert type(got) is RemoteError
    assert got.type_name == "never_imported.X"
    assert "never_imported" not in sys.modules


@pytest.mark.parametrize("path", ["os:system", "builtins:eval", "builtins:int", "flowdsl.data.keys:KeyRing", "subprocess:Popen", ":", ""])
def test_a_failure_cannot_name_anything_but_an_exception(converter, path):
    details = 'fd1.failure...:{"version":1,"errors":[{"type":"' + path + '","message":"m","args":["echo"]}]}'
    assert type(converter.decode_failure("r", details, SLOT)) is RemoteError


@given(st.text(), st.text())
def test_reading_never_fails(reason, details):
    converter = Converter()
    for candidate in (details, "fd1." + details, "fd1.failure...:" + details, 'fd1.failure...:{"version":1,"errors":[' + details + "]}"):
        assert isinstance(converter.decode_failure(reason, candidate, SLOT), BaseException)


def test_what_others_wrote_is_a_remote_error(converter):
    got = converter.decode_failure("Disk full", "no space left on /dev/sda1", SLOT)
    assert type(got) is RemoteError
    assert got.message == "no space left on /dev/sda1"
    assert got.type_name == "Disk full"
    assert converter.decode_failure("Disk full", None, SLOT).message == "Disk full"
    assert type(converter.decode_failure(None, None, SLOT)) is RemoteError


# --- the remote traceback


def printed(error):
    def local_caller():
        raise error

    return "".join(traceback.format_exception(caught(local_caller)))


def test_the_remote_frames_stand_beneath_the_local_ones(converter, tmp_path):
    script, reason, details = fails_elsewhere(tmp_path, "return {}[order]")
    text = printed(converter.decode_failure(reason, details, SLOT))
    assert text.index("in local_caller") < text.index(f'File "{script}"') < text.index("in charge")
    assert "    return {}[order]\n" in text
    assert "~~^^^^^^^" in text
    assert text.endswith("KeyError: 7\n")


def test_source_lines_are_shown_where_the_file_is_not(converter, tmp_path):
    script, reason, details = fails_elsewhere(tmp_path, "return {}[order]")
    script.unlink()
    linecache.clearcache()
    error = converter.decode_failure(reason, details, SLOT)
    linecache.checkcache()
    text = printed(error)
    assert "return {}[order]" in text
    assert "charge(7)" in text


def test_post_mortem_shows_the_remote_lines(converter, tmp_path):
    script, reason, details = fails_elsewhere(tmp_path, "return {}[order]")
    script.unlink()
    linecache.clearcache()
    error = converter.decode_failure(reason, details, SLOT)
    output = io.StringIO()
    debugger = pdb.Pdb(stdin=io.StringIO("where\nlist\nquit\n"), stdout=output, nosigint=True, readrc=False)
    debugger.use_rawinput = False
    debugger.reset()
    debugger.interaction(None, error.__traceback__)
    shown = output.getvalue()
    assert "shop_script.py" in shown
    assert "charge" in shown
    assert "->" in shown
    assert "return {}[order]" in shown


def test_a_failure_that_travels_twice_keeps_all_its_frames(converter):
    once = travelled(converter, caught(raise_chain))

    def second_worker():
        raise once

    got = travelled(converter, caught(second_worker))
    names = [frame.name for frame in traceback.extract_tb(got.__traceback__)]
    assert names[-1] == "raise_chain"
    assert "second_worker" in names


def test_deep_recursion_is_cut_in_the_middle(converter):
    def down(n):
        return down(n + 1)

    error = caught(down, 0)
    got = travelled(converter, error)
    assert type(got) is RecursionError
    frames = traceback.extract_tb(got.__traceback__)
    assert frames[0].name == "caught"
    assert len(frames) <= 100


# --- reason and size


def test_the_reason_is_class_and_message_in_256_characters(converter):
    assert converter.encode_failure(ValueError("x"), SLOT)[0] == "ValueError: x"
    assert converter.encode_failure(Declined("4711", code=3), SLOT)[0] == f"{__name__}.Declined: card 4711 was declined"
    assert converter.encode_failure(KeyboardInterrupt(), SLOT)[0] == "KeyboardInterrupt"
    for message in ("x" * 1_000, "😀" * 1_000, "\ud800" * 1_000):
        reason = converter.encode_failure(ValueError(message), SLOT)[0]
        assert length(reason) <= 256
        reason.encode()


@pytest.mark.parametrize("store", [None, "memory", "away"])
def test_a_message_of_a_megabyte_never_stops_the_report(store):
    class Away:
        def put(self, key, data):
            raise ConnectionError

        def get(self, uri):
            raise ConnectionError

    noise = random.Random(1).randbytes(500_000).hex()
    converter = Converter(keys=KEYS, store={None: None, "memory": MemoryStore(), "away": Away()}[store])
    error = Declined(noise, code=3)
    error.more = [noise] * 3  # type: ignore[attr-defined]
    reason, details = converter.encode_failure(error, SLOT)
    assert length(details) <= 32_768
    got = converter.decode_failure(reason, details, SLOT)
    assert type(got) is Declined
    assert got.code == 3
    assert got.args == error.args if store == "memory" else got.args[0].startswith("card ")


def test_details_that_are_lost_leave_the_reason():
    store = MemoryStore()
    converter = Converter(store=store)
    reason, details = converter.encode_failure(ValueError(random.Random(1).randbytes(500_000).hex()), SLOT)
    store.objects.clear()
    got = converter.decode_failure(reason, details, SLOT)
    assert type(got) is RemoteError
    assert got.message == reason
    assert got.type_name == "ValueError"


# --- causes and outcomes


def test_the_local_failure_stands_between_an_exception_and_its_own_cause(converter):
    error = travelled(converter, caught(raise_chain)).__context__
    remote_cause = error.__cause__
    failure = ActivityFailed("activity 'charge' failed", name="charge")
    assert attach_cause(error, failure) is error
    assert error.__cause__ is failure
    assert failure.__cause__ is remote_cause
    attach_cause(error, failure)
    assert failure.__cause__ is remote_cause
    outer = attach_cause(travelled(converter, error), ChildFailed("child failed"))
    assert [type(e) for e in (outer.__cause__, outer.__cause__.__cause__, outer.__cause__.__cause__.__cause__)] == [
        ChildFailed,
        ActivityFailed,
        KeyError,
    ]


def test_an_outcome_is_a_value_or_an_exception(converter):
    slot = Slot("orders", "rate", "marker")
    for value in (0, "", None, False, ValueError("returned, not raised")):
        got, error = converter.decode_outcome(converter.encode_outcome(slot, value=value), slot)
        assert repr(got) == repr(value)
        assert error is None
    got, error = converter.decode_outcome(converter.encode_outcome(slot, error=Declined("1", code=2)), slot)
    assert got is None
    assert type(error) is Declined
    with pytest.raises(LimitExceeded):
        converter.encode_outcome(slot, value=random.Random(1).randbytes(100_000))


def test_exceptions_are_values_too(converter):
    error = caught(raise_chain)
    error.extra = {1: (2,)}
    text = converter.encode([error, 3], SLOT)
    assert text.startswith("fd1.json.")
    got = converter.decode(text, SLOT)[0]
    assert type(got) is ValueError
    assert got.extra == {1: (2,)}
    assert type(got.__context__) is Declined
    assert [frame.name for frame in traceback.extract_tb(got.__traceback__)][-1] == "raise_chain"


def test_an_exception_with_a_pickled_attribute_keeps_it_when_keys_are_there(converter):
    error = ValueError("x")
    error.undo = lambda: "undone"  # type: ignore[attr-defined]
    assert travelled(converter, error).undo() == "undone"
    assert "function" in travelled(Converter(), error).undo


def test_arrived_errors_can_be_pickled(converter):
    got = travelled(converter, Declined("4711", code=3))
    assert pickle.loads(pickle.dumps(travelled(converter, NonRetryable("x")))).args == ("x",)
    assert got.__reduce_ex__(4)[2] == {"card": "4711", "code": 3}
