"""Arrays, frames and messages travel in their own formats, exactly, and never as pickles."""

from __future__ import annotations

import re

import pytest

from flowdsl.data import Converter, KeyRing, MemoryStore
from flowdsl.errors import NotSerializable, PayloadLost
from flowdsl.model.payload import Slot, parse

SLOT = Slot("orders", "score", "result")
np = pytest.importorskip("numpy", reason="pip install 'flowdsl[test]'")


@pytest.fixture
def converter():
    return Converter(keys=KeyRing({"k": b"k" * 32}), store=MemoryStore())


ARRAYS = {
    "floats": np.linspace(0, 1, 5),
    "matrix": np.arange(12, dtype="int16").reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "transposed slice": np.arange(24).reshape(2, 3, 4)[:, ::2].T,
    "no dimension": np.array(7.5),
    "empty": np.zeros((0, 3)),
    "booleans": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "times": np.array(["2026-01-02", "NaT"], dtype="datetime64[us]"),
    "text": np.array(["a", "äöü"]),
    "records": np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", "<f8")]),
    "big endian": np.array([1, 2], dtype=">i4"),
    "not a number": np.array([np.nan, np.inf, -0.0]),
    "large": np.arange(100_000.0),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_exactly(converter, name):
    array = ARRAYS[name]
    text = converter.encode(array, SLOT, np.ndarray)
    copy = converter.decode(text, SLOT, np.ndarray)
    assert parse(text).codec == "npy"
    assert (copy.dtype, copy.shape) == (array.dtype, array.shape)
    assert copy.tobytes() == array.tobytes()
    assert copy.flags.writeable
    assert copy.flags.f_contiguous == array.flags.f_contiguous or not array.flags.c_contiguous


def test_an_array_of_objects_is_signed_dill(converter):
    array = np.array([{"a": 1}, None], dtype=object)
    text = converter.encode(array, SLOT)
    assert parse(text).codec == "dill"
    assert list(converter.decode(text, SLOT)) == list(array)


def test_an_npy_with_a_pickle_in_it_is_refused(converter, tmp_path):
    import io
    import os

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    from flowdsl.model.payload import Envelope, armour

    file = io.BytesIO()
    np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(NotSerializable):
        converter.decode(Envelope("npy", armour(file.getvalue())).format(), SLOT)
    assert not (tmp_path / "sprung").exists()


# --- frames ----------------------------------------------------------------------------------------------------------


def frames():
    pd = pytest.importorskip("pandas", reason="pip install 'flowdsl[test]'")
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"])
    return {
        "numbers": pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}),
        "text": pd.DataFrame({"a": ["x", ""], "b": ["", "ü"]}, dtype="str" if pd.__version__ >= "3" else "string"),
        "strings": pd.DataFrame({"a": pd.array(["x", pd.NA], dtype="string")}),
        "times": pd.DataFrame({"t": pd.to_datetime(["2026-01-02", None]), "z": pd.date_range("2026", periods=2, tz="Europe/Berlin")}),
        "categories": pd.DataFrame({"c": pd.Categorical(["b", "a"], categories=["b", "a"], ordered=True)}),
        "nullable": pd.DataFrame({"n": pd.array([1, None], dtype="Int8")}),
        "labels that are numbers": pd.DataFrame([[1, 2]], columns=[10, 20], index=[5]),
        "two levels": pd.DataFrame({"v": [1.0, 2.0]}, index=index),
        "a step": pd.DataFrame({"v": [1, 2, 3]}, index=pd.RangeIndex(0, 6, 2, name="n")),
        "empty": pd.DataFrame({"v": pd.Series([], dtype="float32")}),
        "large": pd.DataFrame(np.random.default_rng(1).random((3_000, 4)), columns=list("abcd")),
    }


FRAMES = [
    "numbers",
    "text",
    "strings",
    "times",
    "categories",
    "nullable",
    "labels that are numbers",
    "two levels",
    "a step",
    "empty",
    "large",
]


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back_exactly(converter, name):
    pd = pytest.importorskip("pandas", reason="pip install 'flowdsl[test]'")
    pytest.importorskip("pyarrow", reason="pip install 'flowdsl[frames]'")
    frame = frames()[name]
    text = converter.encode(frame, SLOT, pd.DataFrame)
    assert parse(text).codec == "arrow"
    copy = converter.decode(text, SLOT, pd.DataFrame)
    pd.testing.assert_frame_equal(copy, frame, check_exact=True, check_freq=False, check_column_type="exact", check_index_type="exact")
    copy["new"] = 1
    for column in range(copy.shape[1] if len(copy) else 0):
        copy.iloc[0, column] = copy.iloc[-1, column]


def test_a_frame_that_arrow_would_change_is_signed_dill(converter):
    pd = pytest.importorskip("pandas", reason="pip install 'flowdsl[test]'")
    pytest.importorskip("pyarrow", reason="pip install 'flowdsl[frames]'")
    for frame in (
        pd.DataFrame({"a": [(1, 2), {3}]}),
        pd.DataFrame({"a": ["x", np.nan]}, dtype=object),
        pd.DataFrame([[1, 2]], columns=[("a", 1), "b"]),
    ):
        text = converter.encode(frame, SLOT)
        assert parse(text).codec == "dill"
        pd.testing.assert_frame_equal(converter.decode(text, SLOT), frame)


def test_a_polars_frame_comes_back_exactly(converter):
    pl = pytest.importorskip("polars", reason="pip install polars")
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "ü"], "l": [[1], []]}, schema_overrides={"a": pl.Int16})
    text = converter.encode(frame, SLOT)
    copy = converter.decode(text, SLOT)
    assert parse(text).codec == "arrow"
    assert copy.equals(frame)
    assert copy.schema == frame.schema


def test_bytes_that_are_no_frame_are_refused_by_name(converter):
    pytest.importorskip("pyarrow", reason="pip install 'flowdsl[frames]'")
    pytest.importorskip("pandas", reason="pip install 'flowdsl[test]'")
    for text in ("fd1.arrow...pandas:" + "0" * 40, "fd1.npy...:" + "0" * 40, "fd1.proto...no.Such:" + "0" * 5):
        with pytest.raises((NotSerializable, PayloadLost), match="result of 'score'"):
            converter.decode(text, SLOT)


# --- protobuf --------------------------------------------------------------------------------------------------------


def test_a_message_comes_back_as_its_class(converter):
    pytest.importorskip("google.protobuf", reason="pip install 'flowdsl[protobuf]'")
    from google.protobuf.struct_pb2 import Struct
    from google.protobuf.timestamp_pb2 import Timestamp

    struct = Struct()
    struct.update({"b": [1, None, "ü"], "a": {"x": True}})
    for message in (Timestamp(seconds=5), Timestamp(), struct):
        text = converter.encode(message, SLOT, type(message))
        copy = converter.decode(text, SLOT, type(message))
        assert parse(text).codec == "proto"
        assert type(copy) is type(message)
        assert copy == message
        assert converter.same(text, converter.encode(copy, SLOT)) is True


def test_a_message_that_nobody_here_defines_says_what_to_import(converter):
    pytest.importorskip("google.protobuf", reason="pip install 'flowdsl[protobuf]'")
    with pytest.raises(NotSerializable, match=r"shop\.Order; import it first"):
        converter.decode("fd1.proto...shop.Order:", SLOT)


def test_an_extra_that_is_missing_is_named_with_its_command(converter, monkeypatch):
    from flowdsl import NotInstalled
    from flowdsl.data import formats

    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    for text, extra in (("fd1.npy...:00000", "numpy"), ("fd1.arrow...polars:00000", "frames"), ("fd1.proto...a.B:", "protobuf")):
        with pytest.raises(NotInstalled, match=re.escape(f"pip install 'flowdsl[{extra}]'")):
            converter.decode(text, SLOT)
    assert formats.write({"a": 1}) is None
