"""The converter a process has by itself: its store and its keys from the settings."""

from __future__ import annotations

import os
from typing import Any

from flowdsl.data.codecs import Chain, default_chain
from flowdsl.data.converter import Converter
from flowdsl.data.keys import KeyRing
from flowdsl.data.stores.base import VARIABLE


def default_converter(store: Any = None, keys: KeyRing | None = None, *, serializer: Any = None, codecs: Any = None) -> Converter:
    """A converter with the given store (a URI, a path, an object) or that of `FLOWDSL_STORE`, and the given keys or this user's.

    `codecs` are applied in their order; by default what `FLOWDSL_COMPRESSION` and `FLOWDSL_ENCRYPTION_KEYS` say. Keys are read when the
    first one is needed. Raises `DefinitionError` for a store that is none, `NotInstalled` for what needs an extra.
    """
    chain = default_chain() if codecs is None else Chain(codecs)
    return Converter(store=store or os.environ.get(VARIABLE), keys=keys or KeyRing.default(), serializer=serializer, chain=chain)
