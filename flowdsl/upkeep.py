"""Looking after keys and stores: what `flowdsl key` and `flowdsl gc` do.

Rule 1: an object is needed as long as a history that the service still keeps refers to it, whether the execution is open or closed.
Rule 2: references are found in the text of whole events, wherever they stand; arguments that are compressed or stored themselves are
        opened, because references stand inside them. Nothing else is opened, nothing is unpickled, and no key is needed.
Rule 3: what is young is never cleared away: who stores a value writes the reference into a history a moment later.
Rule 4: a store may serve several domains; the histories of all of them have to be given, else what only they need looks needless.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from flowdsl.connection import connect
from flowdsl.data import encryption, keys
from flowdsl.data.setup import default_chain
from flowdsl.data.stores.base import KEY, Clearable
from flowdsl.data.stores.uris import store_from
from flowdsl.errors import DefinitionError, PayloadLost
from flowdsl.model.payload import PREFIX, unarmour

#: Seconds for which an object is never cleared away (rule 3).
YOUNG = 24 * 3600.0

_COMPRESSED_ARGUMENTS = re.compile(rf"{re.escape(PREFIX)}args\.([A-Za-z]*)\.[^.:\"]*\.[^:\"]*:([^\"\\]+)")
_STORED_ARGUMENTS = re.compile(rf"{re.escape(PREFIX)}args\.([A-Za-z]*)r\.[^.:\"]*\.[^:\"]*:[^}}]*?uri\\*\":\\*\"([^\"\\]+)")


@dataclass
class Census:
    """What a store holds, and what of it is needed: numbers of objects and bytes."""

    kept: int = 0
    kept_bytes: int = 0
    young: int = 0
    needless: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @property
    def needless_bytes(self) -> int:
        """The bytes that deleting would free."""
        return sum(self.needless.values())


def take_census(store: Any, histories: Iterable[Iterable[Mapping[str, Any]]], *, young: float = YOUNG) -> Census:
    """Look through a store with the histories of all executions that are kept. Nothing is changed.

    Raises `DefinitionError` for a store that cannot say what it holds, `PayloadLost` when stored arguments cannot be opened: what they
    refer to would not be known.
    """
    if not isinstance(store, Clearable):
        raise DefinitionError(f"{store!r} cannot be looked through: it has no stored() and delete(key)")
    needed: set[str] = set()
    for events in histories:
        for event in events:
            needed |= keys_in(json.dumps(event, default=str, ensure_ascii=False), store)
    census, found = Census(), set()
    for one in store.stored():
        found.add(one.key)
        if one.key in needed:
            census.kept += 1
            census.kept_bytes += one.size
        elif one.age < young:
            census.young += 1
        else:
            census.needless[one.key] = one.size
    census.lost = sorted(needed - found)
    return census


def clear(store: Any, census: Census) -> int:
    """Delete what the census found needless; return the bytes."""
    for key in census.needless:
        store.delete(key)
    return census.needless_bytes


def keys_in(text: str, store: Any) -> set[str]:
    """The keys of all objects that a text refers to, directly or through arguments (rule 2)."""
    found: set[str] = set()
    waiting = [text]
    while waiting:
        text = waiting.pop()
        found |= {match.group() for match in KEY.finditer(text)}
        waiting += _opened(text, store)
    return found


def _opened(text: str, store: Any) -> Iterator[str]:
    codecs = default_chain({})
    for flags, body in _COMPRESSED_ARGUMENTS.findall(text):
        if flags and not flags.endswith("r"):
            try:
                yield bytes(codecs.decode(unarmour(body), flags, b"")).decode("utf-8", "replace")
            except ValueError as error:
                raise PayloadLost(f"arguments in a history cannot be opened, so what they refer to is not known: {error}") from error
    for flags, uri in _STORED_ARGUMENTS.findall(text):
        try:
            yield bytes(codecs.decode(store.get(uri), flags, b"")).decode("utf-8", "replace")
        except (LookupError, ValueError) as error:
            raise PayloadLost(f"the arguments at {uri} cannot be opened, so what they refer to is not known: {error}") from error


def histories_of(connection: Any) -> Iterator[Iterable[Mapping[str, Any]]]:
    """The events of every execution that the connection's domain keeps."""
    connection.register()
    for info in (*connection.swf.list_open(), *connection.swf.list_closed()):
        yield connection.swf.history(info["execution"]["workflowId"], info["execution"]["runId"])


def clear_away(backend: Any, where: str | None, others: Iterable[str], *, seconds: float, delete: bool) -> Iterator[str]:
    """What `flowdsl gc` does and says. Raises what `take_census` raises, and `DefinitionError` without a store."""
    connections = [connect(replace(backend, domain=domain)) for domain in (backend.domain, *others)]
    store: Any = store_from(where) if where else connections[0].converter.store
    if store is None:
        raise DefinitionError("there is no store to look through: give --store or set FLOWDSL_STORE")
    census = take_census(store, chain.from_iterable(map(histories_of, connections)), young=seconds)
    yield f"{store!r}: {census.kept} needed ({census.kept_bytes:,} bytes), {census.young} too young to tell"
    for key in census.lost:
        yield f"lost: {key}"
    for key, size in census.needless.items():
        yield f"{'deleted' if delete else 'needless'}: {key} ({size:,} bytes)"
    freed = clear(store, census) if delete else census.needless_bytes
    yield f"{len(census.needless)} needless, {freed:,} bytes{' freed' if delete else '; --delete deletes them'}"


# --- keys ------------------------------------------------------------------------------------------------------------


def new_key_line(*, write: bool, kms: str | None) -> str:
    """What `flowdsl key new` prints. Raises `DefinitionError`."""
    if write and kms:
        raise DefinitionError("--write keeps a key in this user's file, --kms has AWS keep it: give one of them")
    if kms:
        return keys.new_wrapped_key(kms)
    key_id, key = keys.new_key()
    if not write:
        return keys.format_keys({key_id: key}).strip()
    path = keys.default_path()
    keys.add_to_file(path, key_id, key)
    return f"{key_id} signs from now on; it is in {path}"


def key_lines() -> Iterator[str]:
    """What `flowdsl key list` prints: ids and where they are from, never a secret. Raises `DefinitionError`."""
    source = keys.VARIABLE if os.environ.get(keys.VARIABLE) else str(keys.default_path())
    if os.environ.get(keys.VARIABLE) or keys.default_path().exists():
        yield from _ids(keys.KeyRing.default(), "signs", "verifies", source)
    else:
        yield f"no signing key yet; the first pickled value makes one in {source}"
    if os.environ.get(encryption.VARIABLE):
        yield from _ids(keys.KeyRing.of_variable(encryption.VARIABLE), "encrypts", "decrypts", encryption.VARIABLE)


def _ids(ring: keys.KeyRing, first: str, rest: str, source: str) -> Iterator[str]:
    for index, key_id in enumerate(ring.key_ids):
        yield f"{key_id}  {rest if index else first}  ({source})"
