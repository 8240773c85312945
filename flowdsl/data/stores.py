"""Stores: where values live that are too large for a history.

Rule 1: a store is anything with `put(key, data) -> uri` and `get(uri) -> data`. `get` raises `LookupError` for what is not there.
Rule 2: keys are digests of the content (`sha256/ab/cd/abcd…`). Storing the same bytes again changes nothing, and nothing is ever
        overwritten with something else; two processes never disturb each other.
Rule 3: a store reads beneath its own root only. A URI in a payload may have been written by anybody, so only its digest is used.
Rule 4: what is read is verified by the reader (size and digest), never trusted because the store said so.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from tempfile import mkstemp
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable
from urllib.parse import quote, unquote, urlsplit

from flowdsl.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The setting that names the store of a process.
VARIABLE = "FLOWDSL_STORE"

_KEY = re.compile(r"sha256/([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})$")


@runtime_checkable
class Store(Protocol):
    """Keeps bytes under a key. Any class with these two methods is one."""

    def put(self, key: str, data: bytes) -> str:
        """Keep the bytes; return the URI to get them back by. The same key always comes with the same bytes."""

    def get(self, uri: str) -> bytes:
        """The bytes. Raises `LookupError` when there are none."""


def content_key(digest: str) -> str:
    """The key of the bytes that have this digest (rule 2)."""
    return f"sha256/{digest[:2]}/{digest[2:4]}/{digest}"


def _key_in(uri: str) -> str:
    """The key at the end of a URI. Raises `LookupError`."""
    found = _KEY.search(uri)
    if found is None:
        raise LookupError(f"{uri!r} does not name a stored object")
    return found.group()


class MemoryStore:
    """Objects in this process's memory: for tests and for the local backend."""

    _shared: ClassVar[dict[str, MemoryStore]] = {}

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.objects: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"MemoryStore({self.name!r})"

    @classmethod
    def shared(cls, name: str) -> MemoryStore:
        """The one store of that name in this process."""
        return cls._shared.setdefault(name, cls(name))

    def put(self, key: str, data: bytes) -> str:
        """Keep the bytes."""
        self.objects[key] = data
        return f"memory:{self.name}/{key}"

    def get(self, uri: str) -> bytes:
        """The bytes. Raises `LookupError`."""
        return self.objects[_key_in(uri)]


class FileStore:
    """Objects as files beneath a folder, which is made when it is first needed.

    An object appears whole or not at all: it is written beside its place, forced to the disk and renamed.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser().absolute()

    def __repr__(self) -> str:
        return f"FileStore({str(self.root)!r})"

    def put(self, key: str, data: bytes) -> str:
        """Keep the bytes. Raises `OSError`."""
        path = self.root / key
        if not self._has(path, len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, data)
        return f"file://{quote(path.as_posix())}"

    def get(self, uri: str) -> bytes:
        """The bytes. Raises `LookupError` or `OSError`."""
        path = self.root / _key_in(unquote(uri))
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise LookupError(f"there is no file {path}") from None

    @staticmethod
    def _has(path: Path, size: int) -> bool:
        """Whether the object is there already; one of another size is damaged and written again."""
        try:
            return path.stat().st_size == size
        except OSError:
            return False

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
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


class S3Store:
    """Objects in an S3 bucket, beneath a prefix. Credentials, region and endpoint are botocore's own.

    An object is written on the condition that it is not there yet, so that a value sent a thousand times is uploaded once.
    """

    def __init__(self, bucket: str, prefix: str = "", *, client: Any = None, options: Mapping[str, Any] | None = None) -> None:
        """`client` is a boto3 S3 client, by default one of the default session; `options` are added to every `PutObject`."""
        if not bucket:
            raise DefinitionError("an S3 store needs a bucket: s3://bucket/prefix")
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.options = dict(options or {})
        self._client = client
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"S3Store({self.bucket!r}, {self.prefix!r})"

    @property
    def client(self) -> Any:
        """The boto3 client, made when it is first needed."""
        with self._lock:
            if self._client is None:
                import boto3  # noqa: PLC0415 - `import flowdsl` must not load boto3

                self._client = boto3.client("s3")
            return self._client

    def put(self, key: str, data: bytes) -> str:
        """Keep the bytes. Raises botocore's errors."""
        name = self._name(key)
        try:
            self.client.put_object(Bucket=self.bucket, Key=name, Body=data, IfNoneMatch="*", **self.options)
        except Exception as error:
            if _code(error) not in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409"):
                raise  # the two others say: it is there, or somebody is writing the same bytes right now
        return f"s3://{self.bucket}/{quote(name)}"

    def get(self, uri: str) -> bytes:
        """The bytes. Raises `LookupError` or botocore's errors."""
        name = self._name(_key_in(unquote(uri)))
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=name)
            data: bytes = answer["Body"].read()
        except Exception as error:
            if _code(error) in ("NoSuchKey", "NoSuchBucket", "404"):
                raise LookupError(f"there is no object s3://{self.bucket}/{name}") from error
            raise
        return data

    def _name(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key


def _code(error: Exception) -> str:
    """The service's code of a botocore error, without importing botocore."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def store_from(where: Any) -> Store | None:
    """The store that a setting means: `file:///folder`, a path, `s3://bucket/prefix`, `memory:`, an object with put and get, or None.

    Raises `DefinitionError` for anything else.
    """
    if where is None or where == "":
        return None
    if isinstance(where, os.PathLike):
        return FileStore(where)
    if not isinstance(where, str):
        if isinstance(where, type) or not isinstance(where, Store):
            raise DefinitionError(f"{where!r} is no store: a store is a URI or an object with put(key, data) and get(uri)")
        return where
    scheme, colon, rest = where.partition(":")
    if not colon or len(scheme) == 1:  # a path; on Windows `C:\…` has a colon too
        return FileStore(where)
    if scheme == "memory":
        return MemoryStore.shared(rest.strip("/"))
    parts = urlsplit(where)
    if scheme == "file" and parts.netloc in ("", "localhost"):
        return FileStore(unquote(parts.path))
    if scheme == "s3":
        return S3Store(parts.netloc, unquote(parts.path))
    raise DefinitionError(f"{where!r} is no store that flowdsl knows: use file:///folder, a path, s3://bucket/prefix or memory:")
