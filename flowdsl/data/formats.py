"""Arrays, frames and messages of other libraries, in the formats that these libraries have for them; never a pickle.

Rule 1: the library is never imported to find out: a value of its type shows that it is there.
Rule 2: what its format cannot carry exactly is not carried by it: an array of objects, a frame with columns of objects. It goes on to the
        next way (dill).
Rule 3: a frame is not copied more than once: its bytes are written into one buffer of the right size.
Rule 4: nothing that is read here can run code: npy is read without pickles, Arrow and protobuf know none. A class is named, not imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any

from flowdsl.data.classes import ClassMissing
from flowdsl.data.packing import Content
from flowdsl.errors import NotInstalled
from flowdsl.model.payload import ARROW, NPY, PROTOBUF


def write(value: Any) -> Content | None:
    """The content of an array, a frame or a message; None for anything else, and for what the format does not carry exactly."""
    kind: Any = type(value)
    writer = _writer_of(kind)
    return None if writer is None else writer(value)


def read(content: Content) -> Any:
    """The value of what `write` returned. Raises `ClassMissing`, `NotInstalled`, and `ValueError` for other bytes."""
    return _READERS[content.codec](content)


@lru_cache(maxsize=4096)
def _writer_of(cls: Any) -> Callable[[Any], Content | None] | None:
    top = cls.__module__.partition(".")[0]
    if top == "numpy" and cls.__name__ == "ndarray":
        return _write_array
    if top == "pandas" and cls.__name__ == "DataFrame":
        return _write_pandas
    if top == "polars" and cls.__name__ == "DataFrame":
        return _write_polars
    message = sys.modules.get("google.protobuf.message")
    if message is not None and issubclass(cls, message.Message):
        return lambda value: Content(PROTOBUF, value.SerializeToString(deterministic=True), value.DESCRIPTOR.full_name, binary=True)
    return None


# --- numpy -----------------------------------------------------------------------------------------------------------


def _write_array(array: Any) -> Content | None:
    import numpy as np  # noqa: PLC0415 - it is there: the value is of it

    if array.dtype.hasobject or array.dtype.metadata:
        return None
    head = BytesIO()
    try:
        np.lib.format.write_array_header_2_0(head, np.lib.format.header_data_from_array_1_0(array))
    except ValueError:
        return None
    order: Any = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    data = bytearray(head.tell() + array.nbytes)
    data[: head.tell()] = head.getbuffer()
    np.ndarray(array.shape, array.dtype, data, head.tell(), order=order)[...] = array
    return Content(NPY, memoryview(data).toreadonly(), binary=True)


def _read_array(content: Content) -> Any:
    np = _needed("numpy", "a numpy array", "numpy")
    return np.lib.format.read_array(BytesIO(content.data), allow_pickle=False)


# --- frames ----------------------------------------------------------------------------------------------------------


def _write_pandas(frame: Any) -> Content | None:
    arrow = _needed("pyarrow", "storing a pandas frame", "frames")
    if frame.attrs or any(getattr(kind, "hasobject", False) for kind in frame.dtypes) or frame.columns.inferred_type.startswith("mixed"):
        return None
    try:
        table = arrow.Table.from_pandas(frame)
        head = _pandas_of(arrow.Table.from_pandas(frame.iloc[:2]))
    except (arrow.ArrowException, TypeError, ValueError):
        return None
    return Content(ARROW, _arrow_bytes(arrow, table), "pandas", binary=True) if _same_form(frame.iloc[:2], head) else None


def _same_form(one: Any, other: Any) -> bool:
    """Whether a frame came back as it was: labels, types, index and its kind."""
    return bool(
        type(one) is type(other)
        and list(one.dtypes) == list(other.dtypes)
        and type(one.columns) is type(other.columns)
        and one.columns.identical(other.columns)
        and type(one.index) is type(other.index)
        and one.index.identical(other.index)
        and one.equals(other)
    )


def _arrow_bytes(arrow: Any, table: Any) -> memoryview:
    """The table as an Arrow stream, in one buffer of the right size (rule 3)."""
    size = arrow.MockOutputStream()
    with arrow.ipc.new_stream(size, table.schema) as stream:
        stream.write_table(table)
    buffer = arrow.allocate_buffer(size.size())
    with arrow.ipc.new_stream(arrow.FixedSizeBufferWriter(buffer), table.schema) as stream:
        stream.write_table(table)
    return memoryview(buffer).cast("B").toreadonly()


def _pandas_of(table: Any) -> Any:
    """A frame of its own memory, that can be written to: numpy's blocks are new, extension arrays may be views of Arrow's buffers."""
    frame = table.to_pandas(split_blocks=False)
    for position, kind in enumerate(frame.dtypes):
        if not hasattr(kind, "hasobject"):  # no dtype of numpy's
            frame.isetitem(position, frame.iloc[:, position].copy())
    return frame


def _write_polars(frame: Any) -> Content | None:
    if any(str(kind) == "Object" for kind in frame.dtypes):
        return None
    file = BytesIO()
    frame.write_ipc_stream(file)
    return Content(ARROW, file.getbuffer(), "polars", binary=True)


def _read_frame(content: Content) -> Any:
    if content.meta == "polars":
        return _needed("polars", "a polars frame", "frames").read_ipc_stream(BytesIO(content.data))
    arrow = _needed("pyarrow", "a pandas frame", "frames")
    _needed("pandas", "a pandas frame", "frames")
    return _pandas_of(arrow.ipc.open_stream(arrow.py_buffer(content.data)).read_all())


# --- protobuf --------------------------------------------------------------------------------------------------------


def _read_message(content: Content) -> Any:
    _needed("google.protobuf", "a protobuf message", "protobuf")
    from google.protobuf import descriptor_pool, message_factory  # noqa: PLC0415 - an extra
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - the same

    try:
        found = descriptor_pool.Default().FindMessageTypeByName(content.meta)
    except KeyError:
        raise ClassMissing(f"no module that this process has imported defines the message {content.meta}; import it first") from None
    try:
        return message_factory.GetMessageClass(found).FromString(bytes(content.data))
    except DecodeError as error:
        raise ValueError(str(error)) from error


def _needed(module: str, what: str, extra: str) -> Any:
    """The module, which a value that is read here needs."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise NotInstalled(what, extra) from None


_READERS: dict[str, Callable[[Content], Any]] = {NPY: _read_array, ARROW: _read_frame, PROTOBUF: _read_message}
