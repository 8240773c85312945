"""From a value's bytes to the text that fits, and back: sign, compress, store, refer.

Rule 1: what is short stays as it is. What is longer than `INLINE` characters is compressed, if that makes it short; else it goes to the
        store and a reference stands for it: URI, size and digest.
Rule 2: without a store the limit of the field decides, and the error names the function, the argument, the size and the setting.
Rule 3: a stored object is content-addressed. It is verified when it is read: size and digest, whatever the store says.
Rule 4: a pickle's signature covers the text as it stands: body or reference. It is verified first, before anything is fetched or expanded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from flowdsl.data import pickled, stores
from flowdsl.data.codecs import Chain
from flowdsl.errors import LimitExceeded, NotSerializable, PayloadLost, StoreUnavailable, UntrustedPayload
from flowdsl.limits import length
from flowdsl.model.payload import (
    DILL,
    REFERENCE,
    TYPED,
    Envelope,
    MalformedEnvelope,
    Slot,
    armour,
    content_digest,
    parse,
    unarmour,
)

if TYPE_CHECKING:
    from flowdsl.data.keys import KeyRing

#: A value that is longer than this many characters goes out of band, if there is a store: three quarters of SWF's limit for a field, so
#: that what stands beside it in the same field has room.
INLINE = 24_000

#: Compressing what goes to a store must save at least a tenth: else reading is faster without.
_WORTHWHILE = 0.9


@dataclass(frozen=True, slots=True)
class Content:
    """A value's bytes and what they are. `binary` bytes stand armoured in a text, others as they are."""

    codec: str
    data: bytes
    meta: str = ""
    binary: bool = False


class _Reference(msgspec.Struct):
    """The body of a reference."""

    uri: str
    size: int
    sha256: str


class Packer:
    """Makes texts that fit, and opens them."""

    def __init__(self, store: stores.Store | None, keys: KeyRing | None, chain: Chain | None = None) -> None:
        self.store = store
        self.keys = keys
        self.chain = chain or Chain()

    def pack(self, content: Content, slot: Slot, *, limit: int, what: str) -> str:
        """The text of some content, at most `limit` characters long. `what` is what an error calls it.

        Raises `LimitExceeded`, `NotSerializable` when there is no key to sign with, `StoreUnavailable` when the store cannot be written.
        """
        inline = min(limit, INLINE)
        text = self._text(content, "", slot)
        if length(text) <= inline:
            return text
        packed, flags = self.chain.encode(content.data)
        compressed = self._text(replace(content, data=packed, binary=True), flags, slot) if len(packed) < limit else text
        if length(compressed) <= inline:
            return compressed
        if self.store is not None:
            if len(packed) < _WORTHWHILE * len(content.data):
                content = replace(content, data=packed)
            else:
                flags = ""
            reference = self._refer(content, flags, slot, what)
            if length(reference) <= limit:
                return reference
        text = min(text, compressed, key=length)
        if length(text) <= limit:
            return text
        raise _too_long(what, length(text), limit, stored=self.store is not None)

    def open(self, text: str, slot: Slot) -> Content | None:
        """The content of a text, or None when it is a bare value.

        Raises `UntrustedPayload`, `PythonMismatch` and `PayloadLost`.
        """
        try:
            envelope = parse(text)
            return None if envelope is None else self._open(envelope, slot)
        except MalformedEnvelope as error:
            raise PayloadLost(f"{slot} is damaged: {error}") from error

    def _open(self, envelope: Envelope, slot: Slot) -> Content:
        if envelope.key_id or envelope.codec == DILL:
            if self.keys is None:
                raise UntrustedPayload(f"{slot} is signed or a pickle, and this process has no keys to verify it; it was not loaded")
            envelope = self.keys.verify(envelope, slot)
        if envelope.codec == DILL:
            pickled.check_writer(envelope.meta, slot)
        flags, binary = envelope.flags, is_binary(envelope)
        if envelope.is_reference:
            flags = flags.replace(REFERENCE, "")
            data = self._fetch(envelope, slot)
        elif flags or binary:
            data = unarmour(envelope.body)
        else:
            data = envelope.body.encode("utf-8", "surrogatepass")
        try:
            return Content(envelope.codec, self.chain.decode(data, flags), envelope.meta, binary)
        except ValueError as error:
            raise PayloadLost(f"{slot} is damaged: {error}") from error

    def _text(self, content: Content, flags: str, slot: Slot) -> str:
        if content.codec == TYPED and not flags:
            return content.data.decode()
        body = armour(content.data) if content.binary else content.data.decode()
        return self._sealed(Envelope(content.codec, body, flags, "", content.meta), slot)

    def _sealed(self, envelope: Envelope, slot: Slot) -> str:
        if envelope.codec != DILL:
            return envelope.format()
        if self.keys is None:
            raise NotSerializable(f"{slot} needs to be pickled, and there are no keys to sign it with")
        return self.keys.sign(envelope, slot).format()

    def _refer(self, content: Content, flags: str, slot: Slot, what: str) -> str:
        digest = content_digest(content.data)
        try:
            assert self.store is not None  # the caller asked
            uri = self.store.put(stores.content_key(digest), content.data)
        except Exception as error:
            raise StoreUnavailable(f"{what} ({len(content.data):,} bytes) could not be written to {self.store!r}: {error}") from error
        body = msgspec.json.encode(_Reference(uri, len(content.data), digest)).decode()
        return self._sealed(Envelope(content.codec, body, flags + REFERENCE, "", content.meta), slot)

    def _fetch(self, envelope: Envelope, slot: Slot) -> bytes:
        try:
            reference = msgspec.json.decode(envelope.body, type=_Reference)
        except msgspec.MsgspecError as error:
            raise MalformedEnvelope(f"the reference cannot be read: {error}") from error
        if self.store is None:
            raise PayloadLost(f"{slot} is at {reference.uri}, and this process has no store to read it from. Set {stores.VARIABLE}")
        try:
            data = self.store.get(reference.uri)
        except Exception as error:
            raise PayloadLost(f"{slot} is at {reference.uri}, which cannot be read through {self.store!r}: {error}") from error
        if len(data) != reference.size or content_digest(data) != reference.sha256:
            change = f"{len(data):,} bytes instead of {reference.size:,}" if len(data) != reference.size else "its digest is another one"
            raise PayloadLost(f"{slot} is at {reference.uri}, which was altered or cut off: {change}")
        return data


def is_binary(envelope: Envelope) -> bool:
    """Whether the bytes of an envelope stand armoured in its body even without any codec applied."""
    return envelope.codec == DILL or envelope.meta.startswith("bytes-")


def _too_long(what: str, size: int, limit: int, *, stored: bool) -> LimitExceeded:
    if stored:
        return LimitExceeded(f"{what} is {size:,} characters long; the field holds {limit:,}, not even a reference to the store")
    return LimitExceeded(
        f"{what} is {size:,} characters long; Amazon SWF holds {limit:,} there. "
        f"Set {stores.VARIABLE} to a place for large values (file:///folder or s3://bucket/prefix), or pass less"
    )
