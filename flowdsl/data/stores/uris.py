"""What a setting means: from a URI with options to a store.

Rule 1: a URI says everything, options stand behind the `?`. An option that a store does not have is refused with those that it has.
Rule 2: what is given as an object is used as it is: anything with `put` and `get`.
Rule 3: a store of an extra says which command installs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from flowdsl.data.stores.base import FileStore, MemoryStore, Store
from flowdsl.data.stores.files import FsspecStore
from flowdsl.data.stores.redis import RedisStore
from flowdsl.data.stores.s3 import S3Store
from flowdsl.data.stores.sql import SqlStore
from flowdsl.errors import DefinitionError

_FORMS = (
    "file:///folder, a path, s3://bucket/prefix, redis://host/0, postgresql+psycopg://host/database, sqlite:///file, fsspec+gcs://bucket"
)
_S3_PUT = {"sse": "ServerSideEncryption", "kms_key": "SSEKMSKeyId", "storage_class": "StorageClass", "acl": "ACL"}
_S3_CLIENT = {"region": "region_name", "endpoint_url": "endpoint_url"}
_DATABASES = ("postgresql", "sqlite", "mysql", "mariadb", "oracle", "mssql", "cockroachdb")


def store_from(where: Any) -> Store | None:
    """The store that a setting means: a URI, a path, an object with put and get, or None.

    Raises `DefinitionError` for anything else, `NotInstalled` for a store whose extra is missing.
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
    make = _MAKERS.get(scheme) or _MAKERS.get(scheme.partition("+")[0])
    if make is None:
        raise DefinitionError(f"{where!r} is no store that flowdsl knows: use {_FORMS} or memory:")
    return make(where)


def _file(uri: str) -> Store:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise DefinitionError(f"{uri!r} names another machine's folder: use file:///folder")
    return FileStore(unquote(parts.path))


def _s3(uri: str) -> Store:
    plain, own = _own_options(uri, *_S3_PUT, *_S3_CLIENT, "profile", strict=True)
    parts = urlsplit(plain)
    put = {_S3_PUT[name]: value for name, value in own.items() if name in _S3_PUT}
    if "SSEKMSKeyId" in put:
        put.setdefault("ServerSideEncryption", "aws:kms")
    about = {_S3_CLIENT[name]: value for name, value in own.items() if name in _S3_CLIENT}
    client = partial(_s3_client, own.get("profile"), about) if about or "profile" in own else None
    return S3Store(parts.netloc, unquote(parts.path), client=client, options=put)


def _s3_client(profile: str | None, about: dict[str, str]) -> Any:
    import boto3  # noqa: PLC0415 - made when it is first needed

    return boto3.Session(profile_name=profile).client("s3", **about)


def _redis(uri: str) -> Store:
    plain, own = _own_options(uri, "prefix", "ttl")
    ttl = own.get("ttl")
    if ttl is not None and not ttl.isdecimal():
        raise DefinitionError(f"{uri!r}: ttl={ttl!r} is no number of seconds")
    return RedisStore(plain, prefix=own.get("prefix", "flowdsl"), ttl=None if ttl is None else int(ttl))


def _sql(uri: str) -> Store:
    plain, own = _own_options(uri, "table")
    return SqlStore(plain, table=own.get("table", "flowdsl_values"))


def _fsspec(uri: str) -> Store:
    parts = urlsplit(uri.removeprefix("fsspec+"))
    return FsspecStore(parts._replace(query="").geturl(), **dict(parse_qsl(parts.query)))


def _own_options(uri: str, *names: str, strict: bool = False) -> tuple[str, dict[str, str]]:
    """The URI without our own options, and these. The others belong to the library that reads the rest, unless `strict`."""
    plain, mark, query = uri.partition("?")
    if not mark:
        return uri, {}
    options = parse_qsl(query, keep_blank_values=True)
    others = [(name, value) for name, value in options if name not in names]
    if strict and others:
        raise DefinitionError(f"{uri!r}: the option {others[0][0]!r} is none of {', '.join(names)}")
    return (f"{plain}?{urlencode(others)}" if others else plain), {name: value for name, value in options if name in names}


_MAKERS: dict[str, Callable[[str], Store]] = {
    "file": _file,
    "s3": _s3,
    "redis": _redis,
    "rediss": _redis,
    "fsspec": _fsspec,
    **dict.fromkeys(_DATABASES, _sql),
}
