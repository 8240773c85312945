"""Codecs: bytes to bytes and back, in a chain. What was applied is written in the envelope's flags.

Rule 1: a codec is a letter and two functions. A reader applies the letters of the flags from the last to the first.
Rule 2: compression is used where it changes something: it brings a value inline that would go to a store, or it saves room in the store.
        A value that is short anyway stays readable.
Rule 3: what a codec expands is bounded, so that a small text cannot fill the memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from flowdsl.model.payload import ZLIB

#: No payload may expand beyond this many bytes.
MAX_EXPANDED = 4 << 30


class Codec(Protocol):
    """One step of the chain. `letter` stands for it in the flags."""

    letter: str

    def encode(self, data: bytes) -> bytes:
        """The bytes to store or to send."""

    def decode(self, data: bytes) -> bytes:
        """The bytes that were given to `encode`. Raises `ValueError` when they are not such."""


class Zlib:
    """Deflate, from the standard library."""

    letter = ZLIB

    def __init__(self, level: int = 6) -> None:
        self.level = level

    def encode(self, data: bytes) -> bytes:
        """The compressed bytes."""
        return zlib.compress(data, self.level)

    def decode(self, data: bytes) -> bytes:
        """The expanded bytes. Raises `ValueError`."""
        expander = zlib.decompressobj()
        try:
            expanded = expander.decompress(data, MAX_EXPANDED)
        except zlib.error as error:
            raise ValueError(f"the compressed data is damaged: {error}") from None
        if not expander.eof:
            raise ValueError("the compressed data is cut off, or expands beyond all measure")
        return expanded


class Chain:
    """The codecs a process has: those it applies when it compresses, and all those it can undo."""

    def __init__(self, apply: Sequence[Codec] = (Zlib(),), known: Sequence[Codec] = ()) -> None:
        self._apply = tuple(apply)
        self._known: Mapping[str, Codec] = {codec.letter: codec for codec in (Zlib(), *known, *apply)}

    def encode(self, data: bytes) -> tuple[bytes, str]:
        """The bytes after all codecs, and their letters."""
        for codec in self._apply:
            data = codec.encode(data)
        return data, "".join(codec.letter for codec in self._apply)

    def decode(self, data: bytes, flags: str) -> bytes:
        """The bytes before the codecs in `flags`. Raises `ValueError`."""
        for letter in reversed(flags):
            codec = self._known.get(letter)
            if codec is None:
                raise ValueError(f"it was written with the codec {letter!r}, which this process does not have")
            data = codec.decode(data)
        return data
