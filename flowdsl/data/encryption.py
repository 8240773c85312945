"""Encryption: AES-256-GCM for everything that a history and a store hold (extra `crypto`).

Rule 1: the ciphertext is bound to its context: domain, type and field. Moved anywhere else it does not open.
Rule 2: the nonce is made of a keyed digest of content and context. The same value in the same place is the same text, so that a replay
        recognises its own arguments and a store keeps one copy; who reads the history learns that two values are equal, nothing else.
Rule 3: the key's id stands before the ciphertext. The first key encrypts, all of them decrypt: rotation as with signatures (`keys`).
Rule 4: keys are given, never made by themselves: what one machine alone can read would be lost with it.
Rule 5: what does not open is `UntrustedPayload`: altered, moved, or under a key that this process does not have.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from flowdsl.data.codecs import Refused
from flowdsl.data.keys import KeyRing
from flowdsl.errors import NotInstalled
from flowdsl.model.payload import ENCRYPTED

#: `kid:base64,kid2:base64`; the first key encrypts.
VARIABLE = "FLOWDSL_ENCRYPTION_KEYS"

_NONCE = 12


class Aes:
    """AES-256-GCM. `keys` is a `KeyRing`; without one the keys are those of `FLOWDSL_ENCRYPTION_KEYS`."""

    letter = ENCRYPTED
    always = True

    def __init__(self, keys: KeyRing | None = None, *, environment: Mapping[str, str] | None = None) -> None:
        """Raises `NotInstalled` without the extra, `DefinitionError` without keys."""
        self._aead = _aead()
        self._keys = keys if keys is not None else KeyRing.of_variable(VARIABLE, environment)

    def encode(self, data: bytes | memoryview, context: bytes) -> bytes:
        """Key id, nonce and ciphertext."""
        key_id, key = self._keys.first
        sealing, noncing = _subkeys(key)
        digest = hmac.new(noncing, len(context).to_bytes(8, "big") + context, "sha256")
        digest.update(data)
        head = bytes([len(key_id)]) + key_id.encode() + digest.digest()[:_NONCE]
        body: bytes = self._aead(sealing).encrypt(head[-_NONCE:], data, head + context)
        return head + body

    def decode(self, data: bytes, context: bytes) -> bytes:
        """The plain bytes. Raises `Refused`."""
        length = 1 + data[0] + _NONCE if data else 0
        head, body = data[:length], memoryview(data)[length:]
        key_id = head[1:-_NONCE].decode("ascii", "replace")
        key = self._keys.find(key_id)
        if key is None:
            raise Refused(f"it is encrypted with the key {key_id!r}, which is not in {VARIABLE} here ({self._keys!r})")
        try:
            plain: bytes = self._aead(_subkeys(key)[0]).decrypt(head[-_NONCE:], body, head + context)
        except Exception as error:  # cryptography's InvalidTag, or a body too short to have one
            raise Refused(f"it was altered, or was encrypted with the key {key_id!r} for another place") from error
        return plain


@lru_cache(maxsize=64)
def _subkeys(key: bytes) -> tuple[bytes, bytes]:
    """One key for the cipher and one for the nonces, so that neither says anything about the other."""
    return hmac.digest(key, b"flowdsl aes-256-gcm", "sha256"), hmac.digest(key, b"flowdsl nonce", "sha256")


def _aead() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
    except ImportError:
        raise NotInstalled("encryption", "crypto") from None
    return AESGCM
