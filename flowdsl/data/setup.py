"""The converter a process has by itself: its store and its keys from the settings."""

from __future__ import annotations

import os
from typing import Any

from flowdsl.data.converter import Converter
from flowdsl.data.keys import KeyRing
from flowdsl.data.stores import VARIABLE


def default_converter(store: Any = None, keys: KeyRing | None = None, *, serializer: Any = None) -> Converter:
    """A converter with the given store (a URI, a path, an object) or that of `FLOWDSL_STORE`, and the given keys or this user's.

    Nothing is read or made before it is needed. Raises `DefinitionError` for a store that is none.
    """
    return Converter(store=store or os.environ.get(VARIABLE), keys=keys or KeyRing.default(), serializer=serializer)
