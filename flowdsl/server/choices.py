"""What `flowdsl server` may be told about its engine, from the texts of the command line.

Rule: a wrong text is a `UserError` that shows how to write it, before anything is opened or served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from flowdsl.engine import Quotas, Throttles
from flowdsl.errors import UserError
from flowdsl.server.functions import Functions

if TYPE_CHECKING:
    from collections.abc import Mapping


def quotas(texts: Sequence[str], scale: float) -> Quotas:
    """Amazon SWF's quotas, `scale` times as large, but those that a text `NAME=NUMBER` sets. Raises `UserError`."""
    scaled = Quotas().scaled(scale) if scale != 1 else Quotas()
    return replace(scaled, **dict(_quota(text) for text in texts))


def _quota(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    name = name.replace("-", "_")
    known = [field.name for field in fields(Quotas)]
    if name not in known or not number.isascii() or not number.isdigit() or int(number) < 1:
        raise UserError(f"--quota {text}: write NAME=NUMBER, the number 1 or more; the names are {', '.join(known)}")
    return name, int(number)


def throttles(scale: float, *, wanted: bool) -> Throttles | None:
    """Amazon SWF's rates, `scale` times as large; None if they are not wanted."""
    return Throttles().scaled(scale) if wanted else None


def functions(texts: Sequence[str]) -> Functions | None:
    """The functions of texts `NAME=MODULE:FUNCTION` and `NAME=URL`; None for none. Raises `UserError`."""
    found: Mapping[str, str] = dict(_function(text) for text in texts)
    return Functions(found) if found else None


def _function(text: str) -> tuple[str, str]:
    name, _, function = text.partition("=")
    if not (name and function):
        raise UserError(f"--lambda {text}: write NAME=MODULE:FUNCTION or NAME=URL")
    return name, function
