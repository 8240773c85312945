"""Keys and signatures: which pickles this project made itself.

Rule 1: a signature is HMAC-SHA-256 over the envelope's header, its body and its slot. A payload that is altered, or moved to another
        domain, type or field, does not verify.
Rule 2: nothing is unpickled before its signature verifies.
Rule 3: several keys live side by side, each with an id: the first one signs, all of them verify. Rotation is: put the new key first, and
        drop the old one when no open execution was signed with it.
Rule 4: keys are read when the first one is needed. Who only sends JSON never has a key file.
Rule 5: a key may stand there wrapped by AWS KMS (`kid:kms.base64`): then KMS unwraps it once per process, and the setting is no secret.
Rule 6: a secret never appears in a repr, a log line or an error.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import msgspec

from flowdsl.errors import DefinitionError, UntrustedPayload
from flowdsl.model.payload import Envelope, Slot

#: `kid:base64,kid2:base64`; the first key signs.
VARIABLE = "FLOWDSL_SIGNING_KEYS"
_KMS = "kms."
_KMS_CONTEXT = {"purpose": "flowdsl"}

_KEY_BYTES = 32
_LEAST_BYTES = 16
_MAC_CHARACTERS = 43  # 32 bytes in base64 without padding
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class KeyRing:
    """The keys of one project: signs envelopes and verifies them."""

    def __init__(self, keys: Mapping[str, bytes] | Callable[[], Mapping[str, bytes]]) -> None:
        """`keys` maps key ids to secrets of at least 16 bytes, the signing one first; or a function that returns them when needed."""
        self._load = keys if callable(keys) else None
        self._keys: Mapping[str, bytes] | None = None if callable(keys) else _checked(keys)

    @classmethod
    def default(cls, environment: Mapping[str, str] | None = None) -> KeyRing:
        """The keys in `FLOWDSL_SIGNING_KEYS`, else those of this user's key file, which is made when it is first needed."""
        source = os.environ if environment is None else environment
        return cls(lambda: parse_keys(source[VARIABLE], VARIABLE) if source.get(VARIABLE) else load_or_create(default_path(source)))

    @classmethod
    def of_variable(cls, name: str, environment: Mapping[str, str] | None = None) -> KeyRing:
        """The keys in an environment variable, which must be set when the first one is needed. Nothing is made."""
        source = os.environ if environment is None else environment

        def load() -> Mapping[str, bytes]:
            if not source.get(name):
                raise DefinitionError(f"there are no keys. Set {name}=kid:base64; a new one is printed by:  flowdsl key new")
            return parse_keys(source[name], name)

        return cls(load)

    def __repr__(self) -> str:
        return "<KeyRing not read yet>" if self._keys is None else f"<KeyRing {', '.join(self._keys)}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a KeyRing is not pickled: secrets do not travel")

    def __deepcopy__(self, memo: object) -> KeyRing:
        return self

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the signing one first."""
        return tuple(self._ring())

    @property
    def first(self) -> tuple[str, bytes]:
        """Id and secret of the key that signs and encrypts."""
        return next(iter(self._ring().items()))

    def find(self, key_id: str) -> bytes | None:
        """The secret of that id, if it is here."""
        return self._ring().get(key_id)

    def sign(self, envelope: Envelope, slot: Slot) -> Envelope:
        """The envelope signed for its slot: with the key's id in the header and the MAC before the body."""
        key_id, key = self.first
        unsigned = Envelope(envelope.codec, envelope.body, envelope.flags, key_id, envelope.meta)
        return Envelope(envelope.codec, _mac(key, unsigned, slot) + envelope.body, envelope.flags, key_id, envelope.meta)

    def verify(self, envelope: Envelope, slot: Slot) -> Envelope:
        """The envelope without its MAC, once that is proved. Raises `UntrustedPayload`."""
        if not envelope.key_id:
            raise _refuse(slot, "is not signed")
        key = self._ring().get(envelope.key_id)
        if key is None:
            raise _refuse(slot, f"is signed with the key {envelope.key_id!r}, which this process does not have ({self!r})")
        mac, body = envelope.body[:_MAC_CHARACTERS], envelope.body[_MAC_CHARACTERS:]
        unsigned = Envelope(envelope.codec, body, envelope.flags, envelope.key_id, envelope.meta)
        if not hmac.compare_digest(mac.encode("utf-8", "replace"), _mac(key, unsigned, slot).encode()):
            raise _refuse(slot, f"was altered, or was signed with the key {envelope.key_id!r} for another place")
        return unsigned

    def _ring(self) -> Mapping[str, bytes]:
        if self._keys is None:
            assert self._load is not None  # __init__ sets one of the two
            self._keys = _checked(self._load())
        return self._keys


def _mac(key: bytes, envelope: Envelope, slot: Slot) -> str:
    context = msgspec.json.encode([envelope.header, slot.domain, slot.name, slot.field])
    mac = hmac.new(key, context + b"\n", "sha256")
    mac.update(envelope.body.encode("utf-8", "surrogatepass"))
    return urlsafe_b64encode(mac.digest()).decode("ascii").rstrip("=")


def _refuse(slot: Slot, what: str) -> UntrustedPayload:
    return UntrustedPayload(f"{slot} is a pickle that {what}; it was not loaded. Set {VARIABLE} to the same keys on every machine")


# --- key text and key file -------------------------------------------------------------------------------------------


def new_key() -> tuple[str, bytes]:
    """A new random key with its id."""
    key = secrets.token_bytes(_KEY_BYTES)
    return key_id_of(key), key


def key_id_of(key: bytes) -> str:
    """A key's id: made from its digest, it tells nothing about it."""
    return "k" + sha256(b"flowdsl key id" + key).hexdigest()[:8]


def parse_keys(text: str, source: str) -> dict[str, bytes]:
    """The keys in `kid:base64` items, separated by commas or line ends. Raises `DefinitionError`, which never quotes a secret."""
    keys: dict[str, bytes] = {}
    for number, item in enumerate(filter(None, (part.strip() for part in re.split(r"[,\n]", text))), 1):
        key_id, colon, secret = item.partition(":")
        wrapped = secret.startswith(_KMS)
        try:
            secret = secret.removeprefix(_KMS)
            key = b64decode(secret + "=" * (-len(secret) % 4), altchars=b"-_" if {"-", "_"} & set(secret) else None, validate=True)
        except ValueError:
            key = b""
        if wrapped and key:
            key = _unwrap(key, key_id, source)
        if not colon or not _KEY_ID.fullmatch(key_id) or len(key) < _LEAST_BYTES:
            raise DefinitionError(
                f"{source}: key number {number} is not `kid:base64`: letters, digits, - and _, then at least {_LEAST_BYTES} bytes in base64"
            )
        keys[key_id] = key
    return keys


def new_wrapped_key(kms_key: str, client: Any = None) -> str:
    """A new data key of AWS KMS as `kid:kms.base64`: worth nothing to who may not decrypt with `kms_key`. Raises botocore's errors."""
    answer = (client or _kms()).generate_data_key(KeyId=kms_key, KeySpec="AES_256", EncryptionContext=_KMS_CONTEXT)
    return f"{key_id_of(answer['Plaintext'])}:{_KMS}{b64encode(answer['CiphertextBlob']).decode('ascii')}"


def _unwrap(blob: bytes, key_id: str, source: str) -> bytes:
    try:
        key: bytes = _kms().decrypt(CiphertextBlob=blob, EncryptionContext=_KMS_CONTEXT)["Plaintext"]
    except Exception as error:
        raise DefinitionError(f"{source}: AWS KMS does not unwrap the key {key_id!r}: {error}") from error
    return key


def _kms() -> Any:
    import boto3  # noqa: PLC0415 - only who uses KMS

    return boto3.client("kms")


def format_keys(keys: Mapping[str, bytes]) -> str:
    """Keys in the form that `parse_keys` reads, one per line."""
    return "".join(f"{key_id}:{b64encode(key).decode('ascii')}\n" for key_id, key in keys.items())


def default_path(environment: Mapping[str, str] | None = None) -> Path:
    """`$XDG_STATE_HOME/flowdsl/keys`, by default `~/.local/state/flowdsl/keys`."""
    state = (os.environ if environment is None else environment).get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "flowdsl" / "keys"


def load_or_create(path: Path) -> dict[str, bytes]:
    """The keys in a file; a missing file is made with one new key, readable by its owner only.

    The file appears whole and at once: of several processes that make it at the same time one wins and all read its key.
    Raises `DefinitionError` when others may read the file, or when it cannot be made.
    """
    try:
        if not path.exists():
            _create(path)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise DefinitionError(f"others can read the signing keys in {path}. Run:  chmod 600 {path}")
        return parse_keys(path.read_text("ascii", "replace"), str(path))
    except OSError as error:
        raise DefinitionError(f"there are no signing keys: {path} cannot be read or made ({error.strerror}). Set {VARIABLE}") from error


def add_to_file(path: Path, key_id: str, key: bytes) -> None:
    """Put a new key before those in the file: from now on it signs. Raises `DefinitionError`."""
    keys = {key_id: key, **load_or_create(path)}
    with _draft(path, keys) as draft:
        draft.replace(path)


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _draft(path, dict([new_key()])) as draft, suppress(FileExistsError):  # another process was first; its key is as good
        os.link(draft, path)


@contextmanager
def _draft(path: Path, keys: Mapping[str, bytes]) -> Iterator[Path]:
    """A file with these keys, forced to the disk, beside the one that it will be."""
    handle, name = mkstemp(prefix=".keys-", dir=path.parent)  # mkstemp makes it with mode 0600
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(format_keys(keys))
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _checked(keys: Mapping[str, bytes]) -> dict[str, bytes]:
    if not keys:
        raise DefinitionError(f"there are no signing keys. Set {VARIABLE}=kid:base64")
    for key_id, key in keys.items():
        if not _KEY_ID.fullmatch(key_id) or len(key) < _LEAST_BYTES:
            raise DefinitionError(f"the signing key {key_id!r} has no usable id or fewer than {_LEAST_BYTES} bytes")
    return dict(keys)
