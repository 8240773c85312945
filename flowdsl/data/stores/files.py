"""Any file system that fsspec knows as a store (extra `fsspec`): Google's and Azure's object stores, SFTP, HDFS and others.

What is half written, because a process died in the middle, is noticed by its size when the same bytes are stored again, and by size and
digest when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flowdsl.data.stores.base import KEY, Buffer, Stored, key_in
from flowdsl.errors import DefinitionError, NotInstalled


class FsspecStore:
    """Objects as files of a file system of fsspec, beneath a folder."""

    def __init__(self, url: str, **options: Any) -> None:
        """`url` is fsspec's own (`gcs://bucket/folder`), `options` are the file system's. Raises `NotInstalled`, `DefinitionError`."""
        try:
            import fsspec  # noqa: PLC0415 - an extra
        except ImportError:
            raise NotInstalled("a store of fsspec", "fsspec") from None
        try:
            self._files, root = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:
            raise DefinitionError(f"{url}: fsspec needs another package for it: {error}") from error
        except (ValueError, TypeError) as error:
            raise DefinitionError(f"{url}: {error}") from error
        self._root = root.rstrip("/")
        self._url = self._files.unstrip_protocol(self._root)

    def __repr__(self) -> str:
        return f"FsspecStore({self._url!r})"

    def put(self, key: str, data: Buffer) -> str:
        """Keep the bytes. Raises the file system's errors."""
        path = self._path(key)
        if not self._has(path, len(data)):
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, bytes(data))
        return f"{self._url}/{key}"

    def get(self, uri: str) -> Buffer:
        """The bytes. Raises `LookupError` or the file system's errors."""
        path = self._path(key_in(uri))
        try:
            data: bytes = self._files.cat_file(path)
        except FileNotFoundError:
            raise LookupError(f"there is no file {self._files.unstrip_protocol(path)}") from None
        return data

    def stored(self) -> Iterator[Stored]:
        """The files that have a content key. One whose age is not known is as good as new."""
        now = datetime.now(UTC)
        for path, about in self._files.find(f"{self._root}/sha256", detail=True, refresh=True).items():
            found = KEY.search(path)
            if found is not None:
                since = next(
                    (about[name] for name in ("mtime", "LastModified", "last_modified", "updated", "created") if name in about), now
                )
                yield Stored(found.group(), about["size"], _seconds(since, now))

    def delete(self, key: str) -> None:
        """Delete the file."""
        path = self._path(key_in(key))
        if self._files.exists(path):
            self._files.rm_file(path)

    def _has(self, path: str, size: int) -> bool:
        try:
            return bool(self._files.info(path, refresh=True)["size"] == size)
        except FileNotFoundError:
            return False

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


def _seconds(since: Any, now: datetime) -> float:
    if isinstance(since, str):
        since = datetime.fromisoformat(since)
    moment = datetime.fromtimestamp(since, UTC) if isinstance(since, int | float) else since
    return float((now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))).total_seconds())
