"""The envelope of a value: how the text that stands in a history says what it is.

Rule 1: a plain value is bare JSON, without any prefix, so that the SWF console and other tools read and write it.
Rule 2: everything else is `fd1.<codec>.<flags>.<kid>.<meta>:<body>`. JSON never begins with `f` followed by `d`, and a JSON string begins
        with a quote: a user's string that looks like an envelope is therefore never taken for one.
Rule 3: everything a reader needs before it touches the body (codec, flags, key, versions) stands before the first colon.
Rule 4: the body is text. Bytes stand in it as base85, whose alphabet JSON never escapes: 5 characters carry 4 bytes.
Rule 5: a MAC covers the header, the body and the `Slot`, that is the place the text was made for. Who makes the MAC is not known here.
Rule 6: lengths are counted as SWF's servers count them, in UTF-16 code units.
"""

from __future__ import annotations

from base64 import b85decode, b85encode
from dataclasses import dataclass
from hashlib import sha256

from flowdsl.limits import length

PREFIX = "fd1."

#: What a codec letter among the flags means. A transformation is a letter, in the order in which it was applied; the reference comes last.
ZLIB, ZSTD, ENCRYPTED, REFERENCE = "z", "s", "e", "r"

TYPED, TAGGED, DILL, USER, ARGUMENTS, FAILURE = "typed", "json", "dill", "user", "args", "failure"
NPY, ARROW, PROTOBUF = "npy", "arrow", "proto"

#: What is bytes by nature, and stands armoured in a text. (A user's serializer says it in the meta.)
BINARY = frozenset({DILL, NPY, ARROW, PROTOBUF})


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value stands: the domain, the name of the type (or signal, or marker) and the field.

    `field` is one of `input`, `result`, `failure`, `signal`, `marker`, `details`, `published`, `control`; a part of one has a dotted
    suffix (`input.conn`).
    """

    domain: str
    name: str
    field: str

    def part(self, name: str) -> Slot:
        """The slot of one named part of the value that stands here."""
        return Slot(self.domain, self.name, f"{self.field}.{name}")

    def __str__(self) -> str:
        return f"{self.field} of '{self.name}'"


class MalformedEnvelope(ValueError):
    """The text has the envelope's prefix and is none."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One value's text, taken apart. `flags` are the letters above, `key_id` is empty for what is not signed."""

    codec: str
    body: str
    flags: str = ""
    key_id: str = ""
    meta: str = ""

    @property
    def header(self) -> str:
        """All that stands before the body, without the colon."""
        return f"{PREFIX}{self.codec}.{self.flags}.{self.key_id}.{self.meta}"

    @property
    def is_reference(self) -> bool:
        """Whether the body is a `Reference` to a stored object."""
        return REFERENCE in self.flags

    def format(self) -> str:
        """The text of the envelope."""
        return f"{self.header}:{self.body}"


def parse(text: str) -> Envelope | None:
    """The envelope in `text`, or None when it is a bare value. Raises `MalformedEnvelope`."""
    if not text.startswith(PREFIX):
        return None
    header, colon, body = text.partition(":")
    parts = header.split(".", 4)
    if not colon or len(parts) != 5 or not parts[1]:
        raise MalformedEnvelope(f"this is no envelope: {text[:60]!r}")
    _, codec, flags, key_id, meta = parts
    return Envelope(codec, body, flags, key_id, meta)


def armour(data: bytes) -> str:
    """Bytes as text."""
    return b85encode(data).decode("ascii")


def unarmour(text: str) -> bytes:
    """The bytes in an armoured text. Raises `MalformedEnvelope`."""
    try:
        return b85decode(text)
    except ValueError as error:
        raise MalformedEnvelope(f"the body is no base85: {error}") from None


def content_digest(data: bytes | memoryview) -> str:
    """The SHA-256 of `data` as 64 hexadecimal digits: the name of a stored object and the proof of its content."""
    return sha256(data).hexdigest()


def shorten(text: str, limit: int) -> str:
    """`text` cut to at most `limit` UTF-16 code units, with an ellipsis where it was cut."""
    if length(text) <= limit:
        return text
    units = text.encode("utf-16-le", "surrogatepass")[: 2 * (limit - 1)]
    return units.decode("utf-16-le", "ignore") + "…"


def is_comparable(recorded: str) -> bool:
    """Whether making the text again would tell anything: pickles differ each time, stored objects would be stored again."""
    if not recorded.startswith(PREFIX):
        return True
    envelope = parse(recorded)
    return envelope is not None and not envelope.is_reference and f"{PREFIX}{DILL}." not in recorded
