"""dill, for what JSON cannot carry: functions, classes of a notebook, objects of any library.

Rule 1: dill is imported when the first value needs it.
Rule 2: `recurse=True`: a function takes the globals it uses with it, and no others.
Rule 3: what wrote a pickle (Python's minor version, its bytecode magic, dill's version) stands in the envelope and is compared before
        loading: a function pickled by one minor version can kill the interpreter of another one.
Rule 4: a class without a name elsewhere (of `__main__`, of a function) travels by value, once per pickle. The process it comes from gets
        the very class back, and another process gets one class for one text: `isinstance` and `except` mean what they say.
Rule 5: pickling fails with `Unpicklable`, whatever a value's own code raises.
Rule 6: nothing here verifies a signature; the converter does, before it calls `loads`.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from functools import cache
from importlib.util import MAGIC_NUMBER
from io import BytesIO
from typing import TYPE_CHECKING, Any

from flowdsl.data.classes import at_home, home_tag, travels_by_name
from flowdsl.errors import PythonMismatch
from flowdsl.model.payload import content_digest

if TYPE_CHECKING:
    from flowdsl.model.payload import Slot


class Unpicklable(TypeError):
    """dill cannot carry the value."""


def writer() -> str:
    """What writes pickles here, as the envelope's meta says it: `cp311-a70d0d0a-dill0.4.1`."""
    import dill  # noqa: PLC0415 - rule 1

    return f"cp{sys.version_info[0]}{sys.version_info[1]}-{MAGIC_NUMBER.hex()}-dill{dill.__version__}"


def check_writer(meta: str, slot: Slot) -> None:
    """Raise `PythonMismatch` if a pickle of that writer must not be loaded here (rule 3)."""
    theirs, ours = meta.partition("-dill")[0], writer().partition("-dill")[0]
    if theirs != ours:
        raise PythonMismatch(
            f"{slot} was pickled by {_python(theirs)}; this process is {_python(ours)}. It was not loaded. "
            "Use the same Python minor version on all machines, or values that JSON can carry"
        )


def _python(writer_text: str) -> str:
    name, _, magic = writer_text.partition("-")
    version = f"{name[2:3]}.{name[3:]}" if name.startswith("cp") else name
    return f"Python {version} (bytecode {magic})"


def dumps(value: Any) -> bytes:
    """The pickle of a value. Raises `Unpicklable`."""
    try:
        return _dump(value, by_value=False)
    except Exception as error:
        raise Unpicklable(f"{type(error).__name__}: {error}") from error


def loads(data: bytes) -> Any:
    """The value of a pickle whose signature was verified."""
    import dill  # noqa: PLC0415 - rule 1

    return dill.loads(data)


def _dump(value: Any, *, by_value: bool) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dill warns of classes it pickles by value; here that is the purpose
        _pickler()(file, by_value=by_value).dump(value)
    return file.getvalue()


@cache
def _pickler() -> Any:
    """The pickler of dill with rule 4; made when dill is there."""
    import dill  # noqa: PLC0415 - rule 1

    class Pickler(dill.Pickler):  # type: ignore[misc]  # dill has no types
        def __init__(self, file: BytesIO, *, by_value: bool) -> None:
            super().__init__(file, recurse=True)
            self._by_value = by_value

        def save(self, obj: Any, save_persistent_id: bool = True) -> None:  # noqa: FBT002 - the signature is pickle's own
            if isinstance(obj, type) and id(obj) not in self.memo and _is_nameless(obj):
                with suppress(AttributeError, TypeError):
                    del obj.__msgspec_cache__  # type: ignore[attr-defined]  # msgspec's notes on the class, which nothing can pickle; it makes new ones
                if not self._by_value:
                    self.save_reduce(_class_of, (home_tag(obj), _dump(obj, by_value=True)), obj=obj)
                    return
            super().save(obj, save_persistent_id)

    return Pickler


def _is_nameless(cls: type) -> bool:
    return cls.__module__ != "builtins" and not travels_by_name(cls) and not _importable(cls)


def _importable(cls: type) -> bool:
    """Whether the class is what its module has under its name; dill then writes the name and imports the module."""
    found: Any = sys.modules.get(cls.__module__) if cls.__module__ != "__main__" else None
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


_known: dict[str, type] = {}


def _class_of(tag: str, data: bytes) -> type:
    """The class that a pickle carries by value (rule 4)."""
    mine = at_home(tag)
    if mine is not None:
        return mine
    digest = content_digest(data)
    if digest not in _known:
        _known[digest] = loads(data)
    return _known[digest]
