"""A store that holds on: tries again, reads ahead, and remembers what it has read.

Rule 1: what may pass (a connection, a timeout, a busy service) is tried again, a few times, after a jittered pause. What will not pass
        (there is no such object, no permission) is raised at once.
Rule 2: reading ahead begins with a reader: the first value of a history that is needed makes the next ones come too, side by side. A
        value that nobody reads, in a history of which nobody reads any, is never fetched.
Rule 3: what was read is remembered up to so many bytes, the least recently used goes first. Content never changes under its key, so there
        is nothing to go stale.
Rule 4: a forked child has neither the threads nor what they had in hand.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from threading import Lock
from typing import Any

from flowdsl.data.stores.base import KEY, Buffer

ATTEMPTS = 4
_FIRST, _CAP = 0.05, 2.0
#: Bytes that are remembered of one store.
CACHE = 64 << 20
#: How many objects are read ahead, and at a time.
AHEAD = 8
_MOST_EXPECTED = 20_000

_PASSING_CLASSES = frozenset(
    {
        "ConnectionError", "TimeoutError", "BusyLoadingError", "TryAgainError",  # builtins, redis
        "HTTPClientError", "ConnectionClosedError", "EndpointConnectionError",  # botocore
        "OperationalError", "InterfaceError",  # databases
    }
)  # fmt: skip
_PASSING_CODES = frozenset({429, 500, 502, 503, 504})


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later; known by the classes' names, for their packages may not be here."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _PASSING_CODES
    return not isinstance(error, LookupError) and any(cls.__name__ in _PASSING_CLASSES for cls in type(error).__mro__)


class Steady:
    """Stands before any store, and is one."""

    def __init__(
        self,
        store: Any,
        *,
        attempts: int = ATTEMPTS,
        cache: int = CACHE,
        sleep: Callable[[float], object] = time.sleep,
        chance: Random | None = None,
    ) -> None:
        """`attempts` counts the first one; `cache` is bytes; `sleep` waits for seconds, and `chance` spreads the pauses."""
        self.store = store
        self._attempts = attempts
        self._most = cache
        self._sleep = sleep
        self._chance = chance or Random()
        self._lock = Lock()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._known: OrderedDict[str, Buffer] = OrderedDict()
        self._bytes = 0
        self._coming: dict[str, Future[Buffer]] = {}
        self._next: OrderedDict[str, tuple[Sequence[str], int]] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None

    def __repr__(self) -> str:
        return repr(self.store)

    def put(self, key: str, data: Buffer) -> str:
        """Keep the bytes. Raises what the store raises, after the last attempt."""
        whole = data if isinstance(data, bytes) or getattr(self.store, "takes_views", False) else bytes(data)
        uri: str = self._persist(lambda: self.store.put(key, whole))
        return uri

    def get(self, uri: str) -> Buffer:
        """The bytes, remembered or fetched. Raises what the store raises, after the last attempt."""
        key = _key(uri)
        with self._lock:
            self._check_process()
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
            self._read_ahead(key)
            coming = self._coming.pop(key, None)
        if coming is not None:
            return coming.result()
        data: Buffer = self._persist(lambda: self.store.get(uri))
        self._remember(key, data)
        return data

    def forget(self, uri: str) -> None:
        """What was remembered under the URI is of no use."""
        with self._lock:
            self._forget(_key(uri))

    def expect(self, uris: Sequence[str]) -> None:
        """These will probably be read, in this order: when the first of them is, the others come side by side (rule 2)."""
        if len(uris) < 2:
            return
        row = tuple(dict.fromkeys(uris))
        with self._lock:
            self._check_process()
            for index, uri in enumerate(row):
                self._next[_key(uri)] = row, index + 1
            while len(self._next) > _MOST_EXPECTED:
                self._next.popitem(last=False)

    # --- inside

    def _check_process(self) -> None:
        if self._process != os.getpid():
            self._begin()

    def _read_ahead(self, key: str) -> None:
        """Ask for what stands after this one; the caller holds the lock."""
        row, start = self._next.pop(key, ((), 0))
        for uri in row[start : start + AHEAD]:
            key = _key(uri)
            if key not in self._known and key not in self._coming and len(self._coming) < AHEAD:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="flowdsl-values")
                self._coming[key] = self._pool.submit(self._fetch, key, uri)

    def _fetch(self, key: str, uri: str) -> Buffer:
        """Fetch in a thread of the pool; nobody waits for it unless somebody comes to read it."""
        try:
            data: Buffer = self._persist(lambda: self.store.get(uri))
            self._remember(key, data)
            return data
        finally:
            with self._lock:
                self._coming.pop(key, None)

    def _remember(self, key: str, data: Buffer) -> None:
        with self._lock:
            if len(data) > self._most // 2:
                return
            self._forget(key)
            self._known[key] = data
            self._bytes += len(data)
            while self._bytes > self._most:
                self._forget(next(iter(self._known)))

    def _forget(self, key: str) -> None:
        data = self._known.pop(key, None)
        if data is not None:
            self._bytes -= len(data)

    def _persist(self, ask: Callable[[], Any]) -> Any:
        for attempt in range(1, self._attempts):
            try:
                return ask()
            except Exception as error:
                if not is_passing(error):
                    raise
                pause = min(_CAP, _FIRST * 2 ** (attempt - 1))
                self._sleep(pause * (0.5 + 0.5 * self._chance.random()))
        return ask()


def _key(uri: str) -> str:
    found = KEY.search(uri)
    return found.group() if found else uri
