"""What a store is, and the two that need nothing: files, and this process's memory.

Rule 1: a store is anything with `put(key, data) -> uri` and `get(uri) -> data`. `get` raises `LookupError` for what is not there.
Rule 2: keys are digests of the content (`sha256/ab/cd/abcd…`). Storing the same bytes again changes nothing but their age, and nothing is
        ever overwritten with something else; two processes never disturb each other.
Rule 3: a store reads beneath its own root only. A URI in a payload may have been written by anybody, so only its digest is used.
Rule 4: what is read is verified by the reader (size and digest), never trusted because the store said so.
Rule 5: a store is given `bytes`; one of ours (`takes_views`) gets views of large values, so that they are not copied first.
Rule 6: one that also has `stored()` and `delete(key)` can be cleared of what nobody needs any more (`flowdsl gc`). `put` makes an
        object young again, so that who stores it anew is not robbed of it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import ClassVar, NamedTuple, Protocol, TypeAlias, runtime_checkable
from urllib.parse import quote, unquote

Buffer: TypeAlias = bytes | memoryview

#: The setting that names the store of a process.
VARIABLE = "FLOWDSL_STORE"

KEY = re.compile(r"sha256/([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")


@runtime_checkable
class Store(Protocol):
    """Keeps bytes under a key. Any class with these two methods is one."""

    def put(self, key: str, data: bytes) -> str:
        """Keep the bytes; return the URI to get them back by. The same key always comes with the same bytes."""

    def get(self, uri: str) -> Buffer:
        """The bytes. Raises `LookupError` when there are none."""


class Stored(NamedTuple):
    """One object of a store: its key, its bytes, and the seconds since it was stored last."""

    key: str
    size: int
    age: float


@runtime_checkable
class Clearable(Protocol):
    """A store that can say what it holds, and let go of it (rule 5)."""

    def stored(self) -> Iterator[Stored]:
        """Every object that has a content key."""

    def delete(self, key: str) -> None:
        """Let go of an object; one that is not there is no error."""


def content_key(digest: str) -> str:
    """The key of the bytes that have this digest (rule 2)."""
    return f"sha256/{digest[:2]}/{digest[2:4]}/{digest}"


def key_in(uri: str) -> str:
    """The key at the end of a URI. Raises `LookupError`."""
    found = KEY.search(uri)
    if found is None or found.end() != len(uri):
        raise LookupError(f"{uri!r} does not name a stored object")
    return found.group()


class MemoryStore:
    """Objects in this process's memory: for tests and for the local backend."""

    takes_views = True
    _shared: ClassVar[dict[str, MemoryStore]] = {}

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.objects: dict[str, bytes] = {}
        self._since: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"MemoryStore({self.name!r})"

    @classmethod
    def shared(cls, name: str) -> MemoryStore:
        """The one store of that name in this process."""
        return cls._shared.setdefault(name, cls(name))

    def put(self, key: str, data: Buffer) -> str:
        """Keep the bytes."""
        self.objects[key], self._since[key] = bytes(data), time.monotonic()
        return f"memory:{self.name}/{key}"

    def get(self, uri: str) -> Buffer:
        """The bytes. Raises `LookupError`."""
        return self.objects[key_in(uri)]

    def stored(self) -> Iterator[Stored]:
        """What is kept."""
        for key, data in list(self.objects.items()):
            yield Stored(key, len(data), time.monotonic() - self._since.get(key, 0.0))

    def delete(self, key: str) -> None:
        """Let go of it."""
        self.objects.pop(key, None)


class FileStore:
    """Objects as files beneath a folder, which is made when it is first needed.

    An object appears whole or not at all: it is written beside its place, forced to the disk and renamed.
    """

    takes_views = True

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser().absolute()

    def __repr__(self) -> str:
        return f"FileStore({str(self.root)!r})"

    def put(self, key: str, data: Buffer) -> str:
        """Keep the bytes. Raises `OSError`."""
        path = self.root / key
        if not self._has(path, len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, data)
        return f"file://{quote(path.as_posix())}"

    def get(self, uri: str) -> Buffer:
        """The bytes. Raises `LookupError` or `OSError`."""
        path = self.root / key_in(unquote(uri))
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise LookupError(f"there is no file {path}") from None

    def stored(self) -> Iterator[Stored]:
        """The files that have a content key."""
        for path in self.root.glob("sha256/*/*/*"):
            key = path.relative_to(self.root).as_posix()
            with suppress(FileNotFoundError):  # somebody else deletes too
                status = path.stat()
                if KEY.fullmatch(key):
                    yield Stored(key, status.st_size, time.time() - status.st_mtime)

    def delete(self, key: str) -> None:
        """Remove the file."""
        (self.root / key_in(key)).unlink(missing_ok=True)

    @staticmethod
    def _has(path: Path, size: int) -> bool:
        """Whether the object is there already, now young again; one of another size is damaged and written again."""
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)
        except OSError:
            return False
        return True

    @staticmethod
    def _write(path: Path, data: Buffer) -> None:
        handle, draft = mkstemp(prefix=".draft-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        if os.name == "posix":  # the name, too, must survive a power cut
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
