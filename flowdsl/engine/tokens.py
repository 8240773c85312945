"""Task tokens and page tokens: opaque texts that only this file's engine can make.

Rule 1: a task token names (kind, execution, event that scheduled the task) and nothing else: it stays good over restarts and for as long
        as the task is open, and it says nothing about whether the task is.
Rule 2: a page token names its use (the operation and the arguments that must be repeated), a position, and when it was given; it is
        good for 24 hours (API reference).
Rule 3: both carry a keyed digest, with a key that is kept in the file: what was not given out is refused with "Invalid token", and what
        a token says needs no further check.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import TYPE_CHECKING, Any

from flowdsl.engine.codec import decode, encode
from flowdsl.engine.faults import expired_token, invalid_token

if TYPE_CHECKING:
    from collections.abc import Callable

_TASK = struct.Struct(">BcQQ")
_VERSION = 2
_DIGEST = 16
_PAGE_LIFE = 24 * 3600 * 1000


def new_run_id(entropy: Callable[[int], bytes]) -> str:
    """A run id of the service's own form: 46 characters of base64, with `+`, `/` and `=`."""
    return "22" + base64.b64encode(entropy(32)).decode()


class Tokens:
    """Makes and reads tokens with the file's key."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def _digest(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._secret, digest_size=_DIGEST).digest()

    def _seal(self, body: bytes) -> str:
        return base64.b64encode(body + self._digest(body)).decode()

    def _open(self, token: str) -> bytes:
        try:
            sealed = base64.b64decode(token.encode("ascii"), validate=True)
        except (ValueError, binascii.Error):
            raise invalid_token() from None
        body, digest = sealed[:-_DIGEST], sealed[-_DIGEST:]
        if not body or base64.b64encode(sealed).decode() != token:  # one text for one token: spare bits are zero
            raise invalid_token()
        if not hmac.compare_digest(self._digest(body), digest):
            raise invalid_token()
        return body

    def task(self, kind: str, execution: int, scheduled_id: int) -> str:
        """The token of a task; `kind` is "D" or "A"."""
        return self._seal(_TASK.pack(_VERSION, kind.encode(), execution, scheduled_id))

    def read_task(self, kind: str, token: str) -> tuple[int, int]:
        """(execution, scheduled event) of a task token of this kind. Raises `Fault` "Invalid token"."""
        body = self._open(token)
        if len(body) != _TASK.size:
            raise invalid_token()
        version, found, execution, scheduled_id = _TASK.unpack(body)
        if version != _VERSION or found != kind.encode():
            raise invalid_token()
        return execution, scheduled_id

    def page(self, use: str, position: Any, now: int) -> str:
        """A page token for `use` that continues at `position` (any JSON value)."""
        return self._seal(b"P" + encode([_short(use), position, now]).encode())

    def read_page(self, use: str, token: str, now: int) -> Any:
        """The position in a page token. Raises `Fault` for a token of another use, a forged one, and one older than a day."""
        body = self._open(token)
        if body[:1] != b"P":
            raise invalid_token()
        found, position, at = decode(body[1:])
        if found != _short(use):
            raise invalid_token()
        if now - at > _PAGE_LIFE:
            raise expired_token()
        return position


def _short(use: str) -> str:
    return hashlib.sha256(use.encode()).hexdigest()[:16]
