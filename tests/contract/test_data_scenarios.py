"""The list of situations that values and failures must survive: each test is named after its line (27, 40 to 45)."""

from __future__ import annotations

import math
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from contract_stage import DURABLE, causes, events, new_id, wait_for

import flowdsl
import flowdsl.testing
from flowdsl import LimitExceeded, PayloadLost, StoreUnavailable, UntrustedPayload, activity, cached, continue_as_new, signal, workflow
from flowdsl.data import Aes, FileStore, KeyRing, MemoryStore, Zlib
from flowdsl.data.keys import VARIABLE, format_keys
from flowdsl.limits import DATA, HEARTBEAT_DETAILS, REASON

np = pytest.importorskip("numpy", reason="pip install 'flowdsl[test]'")


@activity
def echo(x: Any) -> Any:
    return x


@cached
def recorded(x: Any) -> Any:
    return x


@signal
def brought(x: Any) -> Any:
    return x


@activity
def raises(x: Any) -> None:
    raise LookupError(x)


def caught(x: Any) -> Any:
    try:
        raises(x)
    except LookupError as error:
        return error.args[0]


@workflow
def goes_everywhere(x: Any, again: bool = True) -> list[Any]:
    if again:
        continue_as_new(x, again=False)
    return [x, echo(x), recorded(x), caught(x), brought.wait()]


def text_of(size: int) -> str:
    return Random(size).randbytes(size // 2).hex()


def frame() -> Any:
    pd = pytest.importorskip("pandas", reason="pip install 'flowdsl[test]'")
    pytest.importorskip("pyarrow", reason="pip install 'flowdsl[frames]'")
    return pd.DataFrame({"a": range(5_000), "b": np.linspace(0, 1, 5_000)})


LINE_40 = {
    "0, '', [], None, False": lambda: [0, "", [], None, False],
    "NaN and −0.0": lambda: [math.nan, -0.0],
    "2**200": lambda: 2**200,
    "a lone surrogate and NUL": lambda: "\ud800\0",
    "20 MB of text": lambda: text_of(20_000_000),
    "nested 500 deep": lambda: __import__("functools").reduce(lambda inner, _: [inner], range(500), 1),
    "keys that are ints or tuples": lambda: {1: "a", (2, 3): "b"},
    "a numpy array": lambda: np.arange(60_000.0).reshape(200, 300),
    "a frame": frame,
}


@contextmanager
def played(name: str, **options: Any):
    """A durable backend of its own."""
    with (flowdsl.testing.server if name == "server" else flowdsl.testing.embedded)(**options) as backend:
        yield backend


@pytest.mark.stages("embedded", "server")
@pytest.mark.parametrize("kind", LINE_40)
def test_40_awkward_values_in_arguments_results_signals_records_exceptions_and_continue_as_new(stage, kind):
    value = LINE_40[kind]()
    with played(stage.name, store=MemoryStore()) as backend:
        execution = flowdsl.start(goes_everywhere, value, backend=backend)
        wait_for(lambda: execution.describe()["executionInfo"]["executionStatus"] == "OPEN" or len(execution.history()) > 3)
        wait_for(lambda: signalled(execution, value))
        for copy in execution.result():
            assert type(copy) is type(value)
            if kind in ("a numpy array", "a frame"):
                assert (copy == value).to_numpy().all() if kind == "a frame" else (copy == value).all()
            else:
                assert repr(copy) == repr(value)


def signalled(execution: Any, value: Any) -> bool:
    """Signal the run that is open; the one that continues as new would take it along, and the one that is not there yet refuses."""
    try:
        execution.signal(brought, value)
    except flowdsl.Fault:
        return False
    return True


@workflow
def fits(text: str) -> int:
    return len(text)


def dense(size: int) -> str:
    """Text that no compression makes shorter."""
    return "".join(Random(1).choices([chr(n) for n in range(35, 127) if n != 92], k=size))


@activity
def beats(size: int) -> str:
    flowdsl.heartbeat(dense(size))
    return "it fits"


@workflow
def beating(size: int) -> str:
    return beats(size)


@pytest.mark.stages("server")
def test_41_one_character_under_and_over_every_limit(stage):
    envelope = len('{"args":[""]}')
    text = dense(DATA)
    assert stage.run(fits, text[: DATA - envelope]) == DATA - envelope
    with pytest.raises(LimitExceeded, match=r"'.*fits'.* 32,769 characters long"):
        stage.run(fits, text[: DATA - envelope + 1])
    assert stage.run(beating, HEARTBEAT_DETAILS - 2) == "it fits"
    with pytest.raises(LimitExceeded, match=r"beats' is 2,049 characters long; Amazon SWF holds 2,048"):
        stage.run(beating, HEARTBEAT_DETAILS - 1)


@workflow
def fails_with(message: str) -> None:
    raise ValueError(message)


@pytest.mark.stages("server")
@pytest.mark.parametrize("size", [REASON - len("ValueError: "), REASON, 1_000_000])
def test_41_a_reason_is_cut_and_the_message_is_not(stage, size):
    execution = stage.start(fails_with, "x" * size)
    with pytest.raises(ValueError) as caught:
        execution.result()
    assert len(caught.value.args[0]) == size
    (failed,) = events(execution, "WorkflowExecutionFailed")
    assert len(failed["reason"]) == min(REASON, size + len("ValueError: "))


class Away(MemoryStore):
    """A store that is away for so many requests."""

    def __init__(self, requests: int) -> None:
        super().__init__()
        self.left = requests

    def put(self, key: str, data: bytes) -> str:
        if self.left:
            self.left -= 1
            raise ConnectionError("no route to the store")
        return super().put(key, data)


@activity
def large(size: int) -> str:
    return text_of(size)


@workflow
def asks_for_large_and_small(size: int) -> list[str]:
    try:
        came = str(len(large(size)))
    except StoreUnavailable as error:
        came = str(error)
    return [came, echo("small")]


@pytest.mark.stages("embedded", "server")
@pytest.mark.parametrize("requests", [2, 1_000])
def test_42_a_store_that_is_away_is_tried_again_then_fails_by_name_and_nothing_else_does(stage, requests):
    with played(stage.name, store=Away(requests)) as backend:
        came, small = flowdsl.run(asks_for_large_and_small, 100_000, backend=backend)
    assert small == "small"
    assert came == "100000" if requests == 2 else ("large" in came and "no route to the store" in came)


@workflow
def reads_both() -> list[str]:
    pending = [large.start(100_000), large.start(90_000)]
    brought.wait()
    found = []
    for promise in pending:
        try:
            found.append(str(len(promise.result())))
        except PayloadLost as error:
            found.append(str(error))
    return found


@pytest.mark.stages("embedded", "replayed")
@pytest.mark.parametrize("harm", ["truncated", "altered", "missing", "swapped"])
def test_43_a_stored_object_that_is_harmed_fails_its_reader_by_name(stage, tmp_path, harm):
    with played("embedded", store=FileStore(tmp_path)) as backend:
        execution = flowdsl.start(reads_both, backend=backend)
        wait_for(lambda: len(events(execution, "ActivityTaskCompleted")) == 2)
        files = {path.stat().st_size: path for path in Path(tmp_path).glob("sha256/*/*/*")}
        one, other = files[max(files)], files[min(files)]
        if harm == "truncated":
            one.write_bytes(one.read_bytes()[:-1])
        elif harm == "altered":
            one.write_bytes(one.read_bytes()[:-2] + b"??")
        elif harm == "missing":
            one.unlink()
        else:
            one.write_bytes(other.read_bytes())
        execution.signal(brought, None)
        first, second = execution.result()
    assert "large" in first
    assert one.name in first
    assert second == "90000"


def keys_in_use(patch: pytest.MonkeyPatch, *names: str) -> None:
    patch.setenv(VARIABLE, format_keys({name: name.encode() * 16 for name in names}).replace("\n", ","))


@workflow
def takes_a_function(f: Any) -> Any:
    return f()


@pytest.mark.stages("embedded")
def test_44_a_pickle_unsigned_or_of_another_key_or_moved_to_another_call_is_refused(stage, monkeypatch):
    keys_in_use(monkeypatch, "theirs")
    with played("embedded") as theirs:
        execution = flowdsl.start(takes_a_function, lambda: 7, backend=theirs)
        assert execution.result() == 7
        text = execution.history()[0]["workflowExecutionStartedEventAttributes"]["input"]
    keys_in_use(monkeypatch, "ours")
    with played("embedded") as ours:
        swf = flowdsl.connection.connect(ours)
        swf.register(takes_a_function, identity_of_functions)
        own = swf.values.encode_call(takes_a_function, (lambda: 7,), {})
        unsigned = text.replace(".theirs.", "..", 1)
        for kind, forged in ((takes_a_function, text), (takes_a_function, unsigned), (identity_of_functions, own)):
            lease = swf.lease()
            run_id = swf.swf.start_workflow_execution(
                workflow_id=new_id(), name=kind.name, version=kind.version, task_list=lease.task_list, input=forged,
                execution_start_to_close=3600, task_start_to_close=60, child_policy="TERMINATE",
            )  # fmt: skip
            (listed,) = (info for info in swf.swf.list_open() if info["execution"]["runId"] == run_id)
            with pytest.raises(UntrustedPayload, match="it was not loaded"):
                flowdsl.attach(listed["execution"]["workflowId"], backend=ours).result()


@workflow
def identity_of_functions(f: Any) -> Any:
    return f


@workflow
def waits_with_a_function(f: Any) -> list[Any]:
    before = echo(f)
    brought.wait()
    return [f(), before(), echo(f)()]


@pytest.mark.stages("embedded")
def test_45_keys_are_rotated_while_executions_run(stage, monkeypatch, tmp_path):
    aes = {name: name.encode() * 16 for name in ("old", "new")}
    keys_in_use(monkeypatch, "old")
    file = tmp_path / "flow.db"
    clock = flowdsl.testing.SkippingClock()
    codecs = (Zlib(), Aes(KeyRing({"old": aes["old"]})))
    with flowdsl.testing.embedded(file, clock=clock, codecs=codecs) as backend:
        execution = flowdsl.start(waits_with_a_function.options(id="rotating"), lambda: 7, backend=backend)
        wait_for(lambda: events(execution, "ActivityTaskCompleted"))
    keys_in_use(monkeypatch, "new", "old")
    codecs = (Zlib(), Aes(KeyRing({"new": aes["new"], "old": aes["old"]})))
    with flowdsl.testing.embedded(file, clock=clock, codecs=codecs) as backend:
        execution = flowdsl.attach("rotating", backend=backend)
        execution.signal(brought, None)
        assert execution.result() == [7, 7, 7]


class Ungainly(Exception):
    """Its constructor takes other arguments than its `args`."""

    __slots__ = ("code",)

    def __init__(self, code: int, *, text: str) -> None:
        super().__init__(text)
        self.code = code


@activity
def raises_in_every_way(kind: str) -> None:
    if kind == "ungainly":
        raise Ungainly(7, text="no luck")
    if kind == "notes and a cause":
        error = ValueError("above")
        error.add_note("a note")
        raise error from KeyError("below")
    if kind == "a group":
        raise ExceptionGroup("several", [Ungainly(1, text="a"), ExceptionGroup("inner", [OSError(2, "gone", "f")])])
    if kind == "a megabyte":
        raise ValueError("m" * 1_000_000)
    raise ValueError("\udcff not UTF-8 \0")


@workflow
def raising(kind: str) -> None:
    raises_in_every_way(kind)


@pytest.mark.stages("local", *DURABLE)
def test_27_awkward_exceptions_arrive_whole(stage):
    with pytest.raises(Ungainly, match="no luck") as caught:
        stage.run(raising, "ungainly")
    assert (caught.value.code, caught.value.args) == (7, ("no luck",))
    with pytest.raises(ValueError, match="above") as caught:
        stage.run(raising, "notes and a cause")
    assert caught.value.__notes__ == ["a note"]
    assert any(isinstance(cause, KeyError) for cause in causes(caught.value))
    with pytest.raises(ExceptionGroup) as caught:
        stage.run(raising, "a group")
    first, inner = caught.value.exceptions
    assert (type(first), first.code, inner.exceptions[0].filename) == (Ungainly, 1, "f")
    with pytest.raises(ValueError) as caught:
        stage.run(raising, "a megabyte")
    assert len(caught.value.args[0]) == 1_000_000
    with pytest.raises(ValueError) as caught:
        stage.run(raising, "no text")
    assert caught.value.args == ("\udcff not UTF-8 \0",)
