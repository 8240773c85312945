"""From a value's bytes to the text that fits, and back: compress, encrypt, sign, store, refer.

Rule 1: what is short stays as it is. What is longer than `INLINE` characters is compressed, if that makes it short; else it goes to the
        store and a reference stands for it: URI, size and digest.
Rule 2: without a store the limit of the field decides, and the error names the function, the argument, the size and the setting.
Rule 3: a stored object is content-addressed. It is verified when it is read: size and digest, whatever the store says.
Rule 4: a pickle's signature covers the text as it stands: body or reference. It is verified first, before anything is fetched or expanded.
Rule 5: nothing is encrypted twice: `seal=False` is for what consists of encrypted parts (arguments), or will stand in an encrypted text.
Rule 6: large bytes are never copied: they go to the store as they are, and no text is made of what cannot fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from flowdsl.data import pickled
from flowdsl.data.codecs import Buffer, Chain, Refused
from flowdsl.data.stores.base import VARIABLE, content_key
from flowdsl.data.stores.steady import Steady
from flowdsl.errors import DefinitionError, LimitExceeded, NotSerializable, PayloadLost, StoreUnavailable, UntrustedPayload
from flowdsl.limits import length
from flowdsl.model.payload import (
    BINARY,
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
    from flowdsl.data.stores.base import Store

#: A value that is longer than this many characters goes out of band, if there is a store: three quarters of SWF's limit for a field, so
#: that what stands beside it in the same field has room.
INLINE = 24_000


_URI = re.compile(r'\\*"uri\\*":\\*"([^"\\]+)')  # inside arguments it stands in a JSON text of a JSON text


@dataclass(frozen=True, slots=True)
class Content:
    """A value's bytes and what they are. `binary` bytes stand armoured in a text, others as they are."""

    codec: str
    data: Buffer
    meta: str = ""
    binary: bool = False


class Reference(msgspec.Struct):
    """The body of a reference."""

    uri: str
    size: int
    sha256: str


class Packer:
    """Makes texts that fit, and opens them."""

    def __init__(self, store: Store | Steady | None, keys: KeyRing | None, chain: Chain | None = None) -> None:
        self.store = store if store is None or isinstance(store, Steady) else Steady(store)
        self.keys = keys
        self.chain = chain or Chain()

    # --- writing

    def pack(self, content: Content, slot: Slot, *, limit: int, what: str, seal: bool = True) -> str:
        """The text of some content, at most `limit` characters long. `what` is what an error calls it.

        Raises `LimitExceeded`, `NotSerializable` when there is no key to sign with, `StoreUnavailable` when the store cannot be written.
        """
        inline = min(limit, INLINE)
        sealed = self.chain.always and seal
        size, text = self._written(content, "", slot, limit, sealed=sealed)
        if size <= inline:
            return text
        compressed, flags = content, ""
        shrunk = self.chain.shrink(content.data, context_of(slot), short=None if self.store is None else inline)
        if shrunk is not None:
            compressed, flags = replace(content, data=shrunk[0], binary=True), shrunk[1]
            shorter, its_text = self._written(compressed, flags, slot, limit, sealed=sealed)
            if shorter <= inline:
                return its_text
            if shorter < size:
                size, text = shorter, its_text
        if self.store is not None:
            reference = self._refer(compressed, flags, slot, what, sealed=sealed)
            if length(reference) <= limit:
                return reference
        if size <= limit:
            return text
        raise _too_long(what, size, limit, stored=self.store is not None)

    def _written(self, content: Content, flags: str, slot: Slot, limit: int, *, sealed: bool) -> tuple[int, str]:
        """A text and its length; of what cannot fit only (about) the length."""
        if len(content.data) > 3 * limit:  # no character is more than three bytes of UTF-8 per unit of UTF-16
            return (5 * -(-len(content.data) // 4) if content.binary or sealed else len(content.data)), ""
        if sealed:
            data, letters = self.chain.seal(content.data, context_of(slot))
            content, flags = replace(content, data=data, binary=True), flags + letters
        text = self._text(content, flags, slot)
        return length(text), text

    def _text(self, content: Content, flags: str, slot: Slot) -> str:
        if content.codec == TYPED and not flags:
            return str(content.data, "utf-8")
        body = armour(bytes(content.data)) if content.binary else str(content.data, "utf-8")
        return self._signed(Envelope(content.codec, body, flags, "", content.meta), slot)

    def _signed(self, envelope: Envelope, slot: Slot) -> str:
        if envelope.codec != DILL:
            return envelope.format()
        if self.keys is None:
            raise NotSerializable(f"{slot} needs to be pickled, and there are no keys to sign it with")
        return self.keys.sign(envelope, slot).format()

    def _refer(self, content: Content, flags: str, slot: Slot, what: str, *, sealed: bool) -> str:
        data, letters = self.chain.seal(content.data, context_of(slot)) if sealed else (content.data, "")
        digest = content_digest(data)
        try:
            assert self.store is not None  # the caller asked
            uri = self.store.put(content_key(digest), data)
        except Exception as error:
            raise StoreUnavailable(f"{what} ({len(data):,} bytes) could not be written to {self.store!r}: {error}") from error
        body = msgspec.json.encode(Reference(uri, len(data), digest)).decode()
        return self._signed(Envelope(content.codec, body, flags + letters + REFERENCE, "", content.meta), slot)

    # --- reading

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
        data: Buffer
        if envelope.is_reference:
            flags = flags.replace(REFERENCE, "")
            data = self._fetch(envelope, slot)
        elif flags or binary:
            data = unarmour(envelope.body)
        else:
            data = envelope.body.encode("utf-8", "surrogatepass")
        try:
            return Content(envelope.codec, self.chain.decode(data, flags, context_of(slot)), envelope.meta, binary)
        except DefinitionError:  # a setting is wrong, not the payload
            raise
        except Refused as error:
            raise UntrustedPayload(f"{slot} was refused: {error}") from error
        except ValueError as error:
            raise PayloadLost(f"{slot} is damaged: {error}") from error

    def _fetch(self, envelope: Envelope, slot: Slot) -> Buffer:
        reference = reference_in(envelope)
        if self.store is None:
            raise PayloadLost(f"{slot} is at {reference.uri}, and this process has no store to read it from. Set {VARIABLE}")
        change = ""
        for _ in range(2):  # what a cache or the way here has harmed is whole the second time
            try:
                data: Buffer = self.store.get(reference.uri)
            except Exception as error:
                raise PayloadLost(f"{slot} is at {reference.uri}, which cannot be read through {self.store!r}: {error}") from error
            change = damage(data, reference)
            if not change:
                return data
            self.store.forget(reference.uri)
        raise PayloadLost(f"{slot} is at {reference.uri}, which was altered or cut off: {change}")


def context_of(slot: Slot) -> bytes:
    """What encrypted bytes are bound to: domain, name and field."""
    return msgspec.json.encode([slot.domain, slot.name, slot.field])


def reference_in(envelope: Envelope) -> Reference:
    """The reference that an envelope's body is. Raises `MalformedEnvelope`."""
    try:
        return msgspec.json.decode(envelope.body, type=Reference)
    except msgspec.MsgspecError as error:
        raise MalformedEnvelope(f"the reference cannot be read: {error}") from error


def uris_in(texts: Iterable[str]) -> list[str]:
    """The URIs of all references in these texts, those inside arguments too, in their order."""
    return [uri for text in texts for uri in _URI.findall(text)]


def damage(data: Buffer, reference: Reference) -> str:
    """How the bytes differ from what the reference says; empty if they do not."""
    if len(data) != reference.size:
        return f"{len(data):,} bytes instead of {reference.size:,}"
    return "" if content_digest(data) == reference.sha256 else "its digest is another one"


def is_binary(envelope: Envelope) -> bool:
    """Whether the bytes of an envelope stand armoured in its body even without any codec applied."""
    return envelope.codec in BINARY or envelope.meta.startswith("bytes-")


def _too_long(what: str, size: int, limit: int, *, stored: bool) -> LimitExceeded:
    if stored:
        return LimitExceeded(f"{what} is {size:,} characters long; the field holds {limit:,}, not even a reference to the store")
    return LimitExceeded(
        f"{what} is {size:,} characters long; Amazon SWF holds {limit:,} there. "
        f"Set {VARIABLE} to a place for large values (file:///folder or s3://bucket/prefix), or pass less"
    )
