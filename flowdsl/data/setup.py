"""The converter a process has by itself: its store and its keys from the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flowdsl.data import encryption
from flowdsl.data.codecs import Chain, Codec, Zlib, Zstd
from flowdsl.data.converter import Converter
from flowdsl.data.keys import KeyRing
from flowdsl.data.stores.base import VARIABLE as STORE
from flowdsl.errors import DefinitionError

#: `zlib`, `zstd` or `none`.
VARIABLE = "FLOWDSL_COMPRESSION"


def default_converter(store: Any = None, keys: KeyRing | None = None, *, serializer: Any = None, codecs: Any = None) -> Converter:
    """A converter with the given store (a URI, a path, an object) or that of `FLOWDSL_STORE`, and the given keys or this user's.

    `codecs` are applied in their order; by default what `FLOWDSL_COMPRESSION` and `FLOWDSL_ENCRYPTION_KEYS` say. Keys are read when the
    first one is needed. Raises `DefinitionError` for a store that is none, `NotInstalled` for what needs an extra.
    """
    chain = default_chain() if codecs is None else Chain(codecs)
    return Converter(store=store or os.environ.get(STORE), keys=keys or KeyRing.default(), serializer=serializer, chain=chain)


def default_chain(environment: Mapping[str, str] | None = None) -> Chain:
    """What `FLOWDSL_COMPRESSION` names (by default zlib), then AES if `FLOWDSL_ENCRYPTION_KEYS` is set.

    Raises `DefinitionError` and `NotInstalled`.
    """
    source = os.environ if environment is None else environment
    name = source.get(VARIABLE) or "zlib"
    if name not in ("zlib", "zstd", "none"):
        raise DefinitionError(f"{VARIABLE}={name!r}: it is zlib, zstd or none")
    codecs: list[Codec] = [] if name == "none" else [Zstd() if name == "zstd" else Zlib()]
    if source.get(encryption.VARIABLE):
        codecs.append(encryption.Aes(environment=source))
    return Chain(codecs)
