"""S3 as a store. Credentials, region and endpoint are botocore's own.

Rule 1: an object is written on the condition that it is not there yet, so that a value sent a thousand times is uploaded once.
Rule 2: one that was there for long is written again: then it is young, and nobody clears it away under who has just stored it.
Rule 3: large objects go up and come down in parts, several at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from urllib.parse import quote, unquote

from flowdsl.data.stores.base import KEY, Buffer, Stored, key_in
from flowdsl.errors import DefinitionError

#: Bytes of one part, and how many are on their way at a time.
PART = 16 << 20
_AT_ONCE = 4
#: Objects that are older than these seconds are written again when they are stored again (rule 2).
_OLD = 6 * 3600.0

_IS_THERE = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
_IS_NOT_THERE = ("NoSuchKey", "NoSuchBucket", "404")


class S3Store:
    """Objects in an S3 bucket, beneath a prefix."""

    takes_views = True

    def __init__(
        self, bucket: str, prefix: str = "", *, client: Any = None, options: Mapping[str, Any] | None = None, part: int = PART
    ) -> None:
        """`client` is a boto3 S3 client, by default one of the default session; `options` are added to every `PutObject`
        (`ServerSideEncryption`, `SSEKMSKeyId`, `StorageClass`, …); `part` is the bytes of one part of a large object, 5 MiB at least.
        """
        if not bucket:
            raise DefinitionError("an S3 store needs a bucket: s3://bucket/prefix")
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.options = dict(options or {})
        self._part = part
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
            elif callable(self._client):
                self._client = self._client()
            return self._client

    def put(self, key: str, data: Buffer) -> str:
        """Keep the bytes. Raises botocore's errors."""
        name = self._name(key)
        write = self._write if len(data) <= self._part else self._write_parts
        if not write(name, data, IfNoneMatch="*") and self._is_old(name):
            write(name, data)
        return f"s3://{self.bucket}/{quote(name)}"

    def get(self, uri: str) -> Buffer:
        """The bytes. Raises `LookupError` or botocore's errors."""
        name = self._name(key_in(unquote(uri)))
        try:
            answer = self._read(name, 0)
            total = int(answer["ContentRange"].rpartition("/")[2]) if "ContentRange" in answer else answer["ContentLength"]
            first: bytes = answer["Body"].read()
            return first if len(first) == total else self._read_rest(name, first, total)
        except Exception as error:
            if _code(error) in _IS_NOT_THERE:
                raise LookupError(f"there is no object s3://{self.bucket}/{name}") from error
            if _code(error) in ("InvalidRange", "416"):  # the object is empty, and no range lies in it
                return b""
            raise

    def stored(self) -> Iterator[Stored]:
        """The objects beneath the prefix that have a content key."""
        now = datetime.now(UTC)
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._name("sha256/"))
        for page in pages:
            for one in page.get("Contents", ()):
                found = KEY.search(one["Key"])
                if found is not None and one["Key"] == self._name(found.group()):
                    yield Stored(found.group(), one["Size"], (now - one["LastModified"]).total_seconds())

    def delete(self, key: str) -> None:
        """Delete the object."""
        self.client.delete_object(Bucket=self.bucket, Key=self._name(key_in(key)))

    def _name(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _is_old(self, name: str) -> bool:
        try:
            written = self.client.head_object(Bucket=self.bucket, Key=name)["LastModified"]
        except Exception as error:
            if _code(error) in _IS_NOT_THERE:  # somebody else is writing it right now, or has just deleted it
                return True
            raise
        return bool((datetime.now(UTC) - written).total_seconds() > _OLD)

    def _write(self, name: str, data: Buffer, **condition: str) -> bool:
        """Write in one request; False if the object is there already."""
        body = data if isinstance(data, bytes) else bytes(data)  # botocore takes no views
        return self._unless_there(lambda: self.client.put_object(Bucket=self.bucket, Key=name, Body=body, **self.options, **condition))

    def _write_parts(self, name: str, data: Buffer, **condition: str) -> bool:
        where = {"Bucket": self.bucket, "Key": name}
        if condition and self._has(name, len(data)):  # the condition is only looked at after everything was sent
            return False
        where["UploadId"] = self.client.create_multipart_upload(Bucket=self.bucket, Key=name, **self.options)["UploadId"]
        try:
            parts = self._send(data, where)
            done = self._unless_there(lambda: self.client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, **condition))
        except BaseException:
            self.client.abort_multipart_upload(**where)
            raise
        if not done:
            self.client.abort_multipart_upload(**where)
        return done

    def _send(self, data: Buffer, where: Mapping[str, str]) -> list[dict[str, Any]]:
        view = memoryview(data)

        def send(number: int) -> dict[str, Any]:
            body = bytes(view[(number - 1) * self._part : number * self._part])
            return {"PartNumber": number, "ETag": self.client.upload_part(**where, PartNumber=number, Body=body)["ETag"]}

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(send, range(1, -(-len(view) // self._part) + 1)))

    def _has(self, name: str, size: int) -> bool:
        try:
            return bool(self.client.head_object(Bucket=self.bucket, Key=name)["ContentLength"] == size)
        except Exception as error:
            if _code(error) in _IS_NOT_THERE:
                return False
            raise

    @staticmethod
    def _unless_there(write: Any) -> bool:
        try:
            write()
        except Exception as error:
            if _code(error) not in _IS_THERE:
                raise
            return False
        return True

    def _read(self, name: str, start: int) -> Any:
        return self.client.get_object(Bucket=self.bucket, Key=name, Range=f"bytes={start}-{start + self._part - 1}")

    def _read_rest(self, name: str, first: bytes, total: int) -> Buffer:
        whole = bytearray(total)
        whole[: len(first)] = first

        def read(start: int) -> None:
            part = self._read(name, start)["Body"].read()
            whole[start : start + len(part)] = part

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(read, range(len(first), total, self._part)))
        return memoryview(whole).toreadonly()


def _code(error: Exception) -> str:
    """The service's code of a botocore error, without importing botocore."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
