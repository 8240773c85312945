"""Redis as a store (extra `redis`).

Rule 1: an object is one key beneath a prefix, written if it is not there. With a `ttl` it ends by itself that many seconds after it was
        stored or read last: choose more than the longest execution and its retention.
Rule 2: Redis forgets what it has no memory for, if it is configured so: use the policy `noeviction`, and persistence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowdsl.data.stores.base import KEY, Buffer, Stored, key_in
from flowdsl.errors import DefinitionError, NotInstalled


class RedisStore:
    """Objects in a Redis database. Nothing is connected before it is needed."""

    takes_views = True

    def __init__(
        self, url: str = "redis://localhost:6379/0", *, prefix: str = "flowdsl", ttl: int | None = None, client: Any = None
    ) -> None:
        """`url` is redis-py's own (`redis://`, `rediss://`, `unix://`), `client` a ready client instead of it. Raises `NotInstalled`."""
        if ttl is not None and ttl <= 0:
            raise DefinitionError(f"RedisStore(ttl={ttl!r}): give seconds, more than 0")
        self.prefix = prefix
        self.ttl = ttl
        if client is None:
            try:
                import redis  # noqa: PLC0415 - an extra
            except ImportError:
                raise NotInstalled("the Redis store", "redis") from None
            try:
                client = redis.Redis.from_url(url)
            except ValueError as error:
                raise DefinitionError(f"the Redis store's URL is none: {error}") from error
        self._client = client

    def __repr__(self) -> str:
        where = getattr(self._client, "connection_pool", None)
        options = getattr(where, "connection_kwargs", {})  # it has the password too, which is not shown
        place = options.get("path") or f"{options.get('host', '?')}:{options.get('port', '?')}/{options.get('db', 0)}"
        return f"RedisStore({place!r}, prefix={self.prefix!r})"

    def put(self, key: str, data: Buffer) -> str:
        """Keep the bytes. Raises redis-py's errors."""
        name = self._name(key)
        if not self._client.set(name, data, nx=True, ex=self.ttl):
            self._client.touch(name)
            self._live_on(name)
        return f"redis:{name}"

    def get(self, uri: str) -> Buffer:
        """The bytes. Raises `LookupError` or redis-py's errors."""
        name = self._name(key_in(uri))
        data: bytes | None = self._client.get(name)
        if data is None:
            raise LookupError(f"there is no key {name}")
        self._live_on(name)
        return data

    def stored(self) -> Iterator[Stored]:
        """The keys beneath the prefix; their age is the time since they were used last."""
        for name in self._client.scan_iter(match=f"{self.prefix}:sha256/*", count=1000):
            found = KEY.search(name.decode())
            age = self._client.object("IDLETIME", name)
            if found is not None and age is not None:
                yield Stored(found.group(), self._client.strlen(name), float(age))

    def delete(self, key: str) -> None:
        """Delete the key."""
        self._client.delete(self._name(key_in(key)))

    def close(self) -> None:
        """Let go of the connections; the next call opens new ones."""
        self._client.close()

    def _name(self, key: str) -> str:
        return f"{self.prefix}:{key}"

    def _live_on(self, name: str) -> None:
        if self.ttl is not None:
            self._client.expire(name, self.ttl)
