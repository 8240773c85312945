"""How the outcome of a recorded function stands in a history: a marker, named after the call, whose details are the outcome alone.

Rule 1: the name is the reserved prefix, the call's id, and a digest of the arguments where they are plain data:
        `flowdsl:cached:exchange_rate-1 1a2b3c4d5e6f`. The id finds the record, the digest tells that it belongs to the same call.
Rule 2: a change of the code (`patched`) is a marker named `flowdsl:patched:` and the change's name. It answers for the whole run, from
        the turn that recorded it.
Rule 3: details stay what they are, readable JSON for small values: other tools can read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flowdsl.lang.api import RESERVED_MARKER_PREFIX
from flowdsl.limits import digest

PREFIX = RESERVED_MARKER_PREFIX + "cached:"
PATCHED = RESERVED_MARKER_PREFIX + "patched:"


def arguments_digest(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """A digest of arguments that are plain data; empty for none and for others. By it a record is known to belong to the same call."""
    if not args and not kwargs:
        return ""
    try:
        return digest(json.dumps([args, kwargs], sort_keys=True))[:12]
    except (TypeError, ValueError, RecursionError):
        return ""


def record_name(call_id: str, call_digest: str) -> str:
    """The marker's name."""
    return f"{PREFIX}{call_id} {call_digest}".rstrip()


def split_record(name: str) -> tuple[str, str] | None:
    """The call id and the digest (empty if there is none) in a marker's name; None for other markers."""
    if not name.startswith(PREFIX):
        return None
    call_id, _, call_digest = name[len(PREFIX) :].partition(" ")
    return call_id, call_digest
