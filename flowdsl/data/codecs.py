"""Codecs: bytes to bytes and back, in a chain. What was applied is written in the envelope's flags.

Rule 1: a codec is a letter and two functions. A reader applies the letters of the flags from the last to the first.
Rule 2: compression is used where it changes something: it brings a value inline that would go to a store, or it saves room in the store.
        A value that is short anyway stays readable. What `always` is applied (encryption) is applied to everything.
Rule 3: nobody waits long for nothing: a sample says first whether compressing is worthwhile, and beyond `largest` bytes (`largest_to_store`
        where there is a store) it is not tried.
Rule 4: what a codec expands is bounded, so that a small text cannot fill the memory.
Rule 5: every codec is told the context (domain, name, field); who binds the bytes to it refuses them elsewhere.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, TypeAlias

from flowdsl.errors import DefinitionError, NotInstalled
from flowdsl.model.payload import ENCRYPTED, REFERENCE, ZLIB, ZSTD

Buffer: TypeAlias = bytes | memoryview

#: No payload may expand beyond this many bytes.
MAX_EXPANDED = 4 << 30

_SAMPLE = 4 << 10
#: A sample that does not shrink to this much says: no use.
_WORTHWHILE = 0.9


class Refused(ValueError):
    """The bytes were altered, belong to another place, or need a key that is not here: nothing of them may be used."""


class Codec(Protocol):
    """One step of the chain. `letter` stands for it in the flags; one with `always = True` is applied to every value.

    `context` names the place that the value belongs to: the same bytes when it is read there, others elsewhere.
    """

    letter: str

    def encode(self, data: Buffer, context: bytes) -> bytes:
        """The bytes to store or to send."""

    def decode(self, data: bytes, context: bytes) -> bytes:
        """The bytes that were given to `encode`. Raises `ValueError` when they are not such."""


class Zlib:
    """Deflate, from the standard library. It is slow: storing more than `largest_to_store` bytes as they are takes less time."""

    letter = ZLIB
    largest = 4 << 20
    largest_to_store = 64 << 10

    def __init__(self, level: int = 6) -> None:
        self.level = level

    def encode(self, data: Buffer, context: bytes) -> bytes:
        """The compressed bytes."""
        return zlib.compress(data, self.level)

    def decode(self, data: bytes, context: bytes) -> bytes:
        """The expanded bytes. Raises `ValueError`."""
        expander = zlib.decompressobj()
        try:
            expanded = expander.decompress(data, MAX_EXPANDED)
        except zlib.error as error:
            raise ValueError(f"the compressed data is damaged: {error}") from None
        if not expander.eof:
            raise ValueError("the compressed data is cut off, or expands beyond all measure")
        return expanded


class Zstd:
    """Zstandard (extra `zstd`): smaller than deflate, and fast enough for large values too."""

    letter = ZSTD
    largest = largest_to_store = 64 << 20

    def __init__(self, level: int = 3) -> None:
        """Raises `NotInstalled`."""
        self.level = level
        self._zstd = _zstd_module()

    def encode(self, data: Buffer, context: bytes) -> bytes:
        """The compressed bytes."""
        compressed: bytes = self._zstd.compress(data, self.level)
        return compressed

    def decode(self, data: bytes, context: bytes) -> bytes:
        """The expanded bytes. Raises `ValueError`."""
        expander = self._zstd.ZstdDecompressor()
        try:
            expanded: bytes = expander.decompress(data, MAX_EXPANDED)
        except self._zstd.ZstdError as error:
            raise ValueError(f"the compressed data is damaged: {error}") from None
        if not expander.eof:
            raise ValueError("the compressed data is cut off, or expands beyond all measure")
        return expanded


def _zstd_module() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - only who uses it pays for it
        else:
            from backports import zstd  # noqa: PLC0415 - the same
    except ImportError:
        raise NotInstalled("zstd compression", "zstd") from None
    return zstd


class Chain:
    """The codecs a process has: those it applies, in this order, and all those it can undo."""

    def __init__(self, apply: Sequence[Codec] = (Zlib(),), known: Sequence[Codec] = ()) -> None:
        """`apply` is what is applied to what is written, `known` what is undone besides. Raises `DefinitionError` for a bad letter."""
        for codec in (*apply, *known):
            if isinstance(codec, type) or not all(hasattr(codec, name) for name in ("letter", "encode", "decode")):
                raise DefinitionError(f"{codec!r} is no codec: it needs a letter, encode(data, context) and decode(data, context)")
        self._compressing = tuple(codec for codec in apply if not getattr(codec, "always", False))
        self._always = tuple(codec for codec in apply if getattr(codec, "always", False))
        self._known: Mapping[str, Codec] = {codec.letter: codec for codec in (Zlib(), *known, *apply)}
        for letter in self._known:
            if len(letter) != 1 or not letter.isascii() or not letter.isalpha() or letter == REFERENCE:
                raise DefinitionError(f"a codec's letter is one ASCII letter and not {REFERENCE!r}, unlike {letter!r}")

    @cached_property
    def always(self) -> bool:
        """Whether every value is changed: nothing stands readable in a history."""
        return bool(self._always)

    @cached_property
    def secret(self) -> bool:
        """Whether what is written is encrypted."""
        return any(codec.letter == ENCRYPTED for codec in self._always)

    def shrink(self, data: Buffer, context: bytes, *, short: int | None) -> tuple[Buffer, str] | None:
        """The compressed bytes and the letters of what compressed them; None where that is not worth the time.

        With a store `short` is the number of characters that need none: what will not be that short may be stored as it is.
        """
        if not self._compressing or len(data) > min(getattr(codec, "largest", MAX_EXPANDED) for codec in self._compressing):
            return None
        if len(data) > 4 * _SAMPLE:
            middle = len(data) // 2
            rate = len(zlib.compress(bytes(data[middle : middle + _SAMPLE]), 1)) / _SAMPLE
            is_quick = len(data) <= min(getattr(codec, "largest_to_store", MAX_EXPANDED) for codec in self._compressing)
            if rate > _WORTHWHILE or (short is not None and not is_quick and 1.25 * rate * len(data) > short):
                return None
        shrunk, flags = self._apply(self._compressing, data, context)
        return (shrunk, flags) if len(shrunk) < _WORTHWHILE * len(data) else None

    def seal(self, data: Buffer, context: bytes) -> tuple[Buffer, str]:
        """The bytes after what is applied to every value, and the letters of that."""
        return self._apply(self._always, data, context)

    @staticmethod
    def _apply(codecs: Sequence[Codec], data: Buffer, context: bytes) -> tuple[Buffer, str]:
        for codec in codecs:
            data = codec.encode(data, context)
        return data, "".join(codec.letter for codec in codecs)

    def decode(self, data: Buffer, flags: str, context: bytes) -> Buffer:
        """The bytes before the codecs in `flags`. Raises `ValueError`."""
        for letter in reversed(flags):
            codec = self._known.get(letter) or _missing(letter)
            data = codec.decode(data if isinstance(data, bytes) else bytes(data), context)
        return data


def _missing(letter: str) -> Codec:
    """What reads this letter, although nobody said that it is used here."""
    if letter == ZSTD:
        return Zstd()
    if letter == ENCRYPTED:
        from flowdsl.data.encryption import Aes  # noqa: PLC0415 - only who reads encrypted values needs the extra

        return Aes()
    raise ValueError(f"it was written with the codec {letter!r}, which this process does not have")
