"""JSON as the engine's file holds it.

Rule 1: what is folded is what is written: attributes are encoded once, and everything that reads them (the fold, the poll, the history)
        decodes that text. A caller's dictionaries are never kept, and nobody can change history by changing an answer.
Rule 2: text, not bytes: the file can be read with any SQLite tool.
"""

from __future__ import annotations

from typing import Any

from msgspec import DecodeError
from msgspec import json as _json

__all__ = ["DecodeError", "decode", "encode"]

_encoder = _json.Encoder()
_decoder = _json.Decoder()


def encode(value: Any) -> str:
    """`value` as compact JSON text."""
    return _encoder.encode(value).decode()


def decode(text: str | bytes) -> Any:
    """The value of JSON text."""
    return _decoder.decode(text)
