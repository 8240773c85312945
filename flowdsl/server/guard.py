"""Who may ask: the rules before any request is read.

Rule 1: a server bound to loopback serves this machine's programs: any signature, or none, will do. Bound anywhere else it has
        credentials and verifies the AWS signature (version 4) of every call. With credentials it always verifies.
Rule 2: a browser is not one of this machine's programs. A request with another origin's `Origin`, or (on loopback) with a `Host` that is
        no loopback name, is refused: the first is a cross-site post, the second DNS rebinding.
Rule 3: this file has no clock, the time is an argument; and it reads one file, that of the credentials.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import ipaddress
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowdsl.errors import Fault, UserError

MAX_SKEW: Final = 900
"""Seconds by which a signature's time may differ from ours ("more than 15 minutes": Amazon SWF API reference, common errors)."""

CREDENTIALS_VARIABLE: Final = "FLOWDSL_SERVER_CREDENTIALS"

_LONGEST_FILE: Final = 4096


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one pair of keys that a server beyond loopback accepts. The secret is kept out of `repr`."""

    access_key: str
    secret_key: str
    #: where they were read from, if it was a file
    file: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key!r}, …)"

    @classmethod
    def parse(cls, text: str, where: str = CREDENTIALS_VARIABLE, file: str | None = None) -> Credentials:
        """From `access_key:secret`. Raises `UserError` for anything else; the message says `where` and never holds the secret."""
        access_key, _, secret = text.strip().partition(":")
        if not re.fullmatch(r"[\w.-]{1,128}", access_key) or len(secret) < 8:  # noqa: PLR2004 - said in the message
            raise UserError(f"{where} must be access_key:secret, the secret at least 8 characters long")
        return cls(access_key, secret, file)

    @classmethod
    def choose(cls, path: str | os.PathLike[str] | None) -> Credentials | None:
        """From the file `path` if one is named, else from the environment if it names any. Raises `UserError`."""
        if path is not None:
            return cls.read(path)
        text = os.environ.get(CREDENTIALS_VARIABLE)
        return cls.parse(text) if text else None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Credentials:
        """From a file that holds `access_key:secret` and that only its owner may read. Raises `UserError`."""
        name = os.fspath(path)
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - its descriptor is what is checked, not its name
                mode = os.fstat(file.fileno()).st_mode
                if os.name == "posix" and mode & 0o077:
                    raise UserError(f"the credentials in {name!r} can be read by others (mode {mode & 0o777:04o}): chmod 600 {name}")
                text = file.read(_LONGEST_FILE)
        except UnicodeDecodeError:
            raise UserError(f"the credentials file {name!r} is no text; it holds one line, access_key:secret") from None
        except OSError as error:
            raise UserError(f"the credentials file {name!r} cannot be read: {error.strerror}") from None
        return cls.parse(text, f"the content of {name!r}", name)


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, without port) can only mean this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def trespass(headers: Mapping[str, str], *, loopback: bool) -> str | None:
    """Why a request is refused before anything of it is read (see rule 2), or None.

    Args:
        headers: by lower-case name.
        loopback: whether the server is bound to loopback only.
    """
    host = headers.get("host", "")
    if loopback and not is_loopback(_without_port(host)):
        return f"this server is bound to loopback; it does not answer for the host {host[:256]!r}"
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in {f"http://{host.lower()}", f"https://{host.lower()}"}:
        return f"requests of the origin {origin[:256]!r} are not served"
    return None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0]
    return host.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Signed:
    """The parts of an `Authorization` header of signature version 4."""

    access_key: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str


_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([^/,\s]+)/(\d{8})/([\w-]+)/([\w-]+)/aws4_request\s*,"
    r"\s*SignedHeaders=([\w;-]+)\s*,\s*Signature=([0-9a-f]{64})\s*"
)


def authorize(headers: Mapping[str, str], body: bytes, credentials: Credentials | None, now: float) -> None:
    """Refuse a call that is not signed as rule 1 demands.

    Args:
        headers: by lower-case name.
        body: the body as it came, still encoded: that is what is signed.
        credentials: whose signature is verified; None accepts any signature, or none.
        now: seconds since the epoch.

    Raises:
        Fault: `MissingAuthenticationTokenException`, `IncompleteSignatureException`, `UnrecognizedClientException`,
            `InvalidSignatureException`.
    """
    authorization = headers.get("authorization")
    if credentials is None:
        if authorization is not None and not authorization.startswith("AWS"):
            raise Fault("IncompleteSignatureException", "the Authorization header is not of the form AWS4-HMAC-SHA256 Credential=…")
        return
    if authorization is None:
        raise Fault("MissingAuthenticationTokenException", "Missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(authorization.strip())
    if match is None:
        raise Fault("IncompleteSignatureException", "the Authorization header is not a signature of version 4")
    signed = Signed(match[1], match[2], match[3], match[4], tuple(match[5].split(";")), match[6])
    if not hmac.compare_digest(signed.access_key.encode(), credentials.access_key.encode()):
        raise Fault("UnrecognizedClientException", "The security token included in the request is invalid.")
    _check_coverage(headers, body, signed, now)
    if not hmac.compare_digest(_signature(headers, body, signed, credentials), signed.signature):
        raise Fault(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
        )


def _check_coverage(headers: Mapping[str, str], body: bytes, signed: Signed, now: float) -> None:
    """The signature must be of this call (its action, host and body) and of this time; else an old one could be sent again."""
    missing = {"host", "x-amz-date", "x-amz-target"}.difference(signed.headers) | set(signed.headers).difference(headers)
    if missing:
        raise Fault("InvalidSignatureException", f"these headers must be there and be signed: {', '.join(sorted(missing))}")
    if signed.service != "swf":
        raise Fault("InvalidSignatureException", f"Credential should be scoped to correct service: 'swf', not {signed.service[:64]!r}.")
    try:
        stamp = calendar.timegm(time.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise Fault("IncompleteSignatureException", "X-Amz-Date must look like 20261123T000000Z") from None
    if abs(now - stamp) > MAX_SKEW or not headers["x-amz-date"].startswith(signed.date):
        what = "expired" if stamp < now else "not yet current"
        raise Fault("InvalidSignatureException", f"Signature {what}: {headers['x-amz-date']} is more than {MAX_SKEW} s from our time")
    declared = headers.get("x-amz-content-sha256")
    if declared is not None and not hmac.compare_digest(declared.encode(), hashlib.sha256(body).hexdigest().encode()):
        raise Fault("InvalidSignatureException", "X-Amz-Content-SHA256 is not the digest of the body")


def _signature(headers: Mapping[str, str], body: bytes, signed: Signed, credentials: Credentials) -> str:
    """What botocore itself, given our secret, signs this request with."""
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - botocore is loaded only by a server that has credentials
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - as above
    from botocore.credentials import Credentials as Keys  # noqa: PLC0415 - as above

    request: Any = AWSRequest("POST", f"http://{headers['host']}/", {name: headers[name] for name in signed.headers}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    signer: Any = SigV4Auth(Keys(credentials.access_key, credentials.secret_key), signed.service, signed.region)
    # botocore leaves out of its own signatures a few headers that proxies change; a client may have signed them all the same.
    signer.headers_to_sign = lambda wanted: wanted.headers
    signature: str = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return signature
