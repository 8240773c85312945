"""Who may ask: hosts, origins and signatures, as pure functions; botocore signs, our side verifies."""

from __future__ import annotations

import calendar
import time
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Keys

from flowdsl.errors import Fault, UserError
from flowdsl.server import guard

CREDENTIALS = guard.Credentials("ann", "a long secret")
BODY = b'{"registrationStatus":"REGISTERED"}'


def signed(
    *, secret: str = "a long secret", service: str = "swf", extra: dict[str, str] | None = None, body: bytes = BODY
) -> dict[str, str]:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "SimpleWorkflowService.ListDomains", **(extra or {})}
    request: Any = AWSRequest("POST", "http://example.org:4010/", headers, body)
    SigV4Auth(Keys("ann", secret), service, "eu-west-1").add_auth(request)
    return {"host": "example.org:4010"} | {name.lower(): value for name, value in request.headers.items()}


def stamp(headers: dict[str, str]) -> float:
    return calendar.timegm(time.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))


def refused(headers: dict[str, str], body: bytes = BODY, *, later: float = 0) -> str:
    with pytest.raises(Fault) as caught:
        guard.authorize(headers, body, CREDENTIALS, stamp(headers) + later if "x-amz-date" in headers else time.time())
    return str(caught.value.code)


def test_what_botocore_signs_with_our_secret_is_accepted() -> None:
    headers = signed()
    guard.authorize(headers, BODY, CREDENTIALS, stamp(headers) + 899)


def test_headers_that_are_not_signed_may_change_on_the_way() -> None:
    headers = signed() | {"user-agent": "proxy", "x-forwarded-for": "10.0.0.1"}
    guard.authorize(headers, BODY, CREDENTIALS, stamp(headers))


@pytest.mark.parametrize(
    "change",
    [
        {"x-amz-target": "SimpleWorkflowService.TerminateWorkflowExecution"},
        {"host": "elsewhere.example"},
        {"content-type": "application/json"},
    ],
)
def test_a_changed_header_breaks_the_signature(change: dict[str, str]) -> None:
    assert refused(signed() | change) == "InvalidSignatureException"


def test_another_body_breaks_the_signature() -> None:
    assert refused(signed(), b"{}") == "InvalidSignatureException"


def test_a_declared_digest_does_not_stand_for_another_body() -> None:
    assert refused(signed(extra={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})) == "InvalidSignatureException"


def test_another_secret_breaks_the_signature() -> None:
    assert refused(signed(secret="another secret")) == "InvalidSignatureException"


def test_an_unknown_access_key_is_refused() -> None:
    headers = signed()
    headers["authorization"] = headers["authorization"].replace("Credential=ann/", "Credential=bob/")
    assert refused(headers) == "UnrecognizedClientException"


@pytest.mark.parametrize("later", [901, -901])
def test_an_old_or_future_signature_is_refused(later: float) -> None:
    assert refused(signed(), later=later) == "InvalidSignatureException"


def test_a_signature_for_another_service_is_refused() -> None:
    assert refused(signed(service="s3")) == "InvalidSignatureException"


def test_a_signature_that_does_not_cover_the_action_is_refused() -> None:
    headers = signed()
    headers["authorization"] = headers["authorization"].replace(";x-amz-target", "")
    assert refused(headers) == "InvalidSignatureException"


def test_a_signed_header_that_is_missing_is_refused() -> None:
    headers = signed(extra={"X-Extra": "1"})
    del headers["x-extra"]
    assert refused(headers) == "InvalidSignatureException"


def test_no_signature_is_refused() -> None:
    headers = signed()
    del headers["authorization"]
    assert refused(headers) == "MissingAuthenticationTokenException"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer abc", "AWS4-HMAC-SHA256 nonsense", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, Signature=f"]
)
def test_what_is_no_signature_of_version_4_is_refused(authorization: str) -> None:
    assert refused(signed() | {"authorization": authorization}) == "IncompleteSignatureException"


@pytest.mark.parametrize("authorization", [None, "AWS4-HMAC-SHA256 Credential=anyone, Signature=any", "AWS3-HTTPS AWSAccessKeyId=x"])
def test_without_credentials_any_signature_or_none_will_do(authorization: str | None) -> None:
    guard.authorize({} if authorization is None else {"authorization": authorization}, BODY, None, 0.0)


def test_without_credentials_another_kind_of_authorization_is_still_refused() -> None:
    with pytest.raises(Fault, match="IncompleteSignature"):
        guard.authorize({"authorization": "Basic eDp5"}, BODY, None, 0.0)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "localhost:4010", "127.0.0.1:4010", "127.8.9.1", "[::1]:4010", "[::1]"]
)
def test_loopback_names_are_answered_for(host: str) -> None:
    assert guard.trespass({"host": host}, loopback=True) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:4010", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost,evil"]
)
def test_other_hosts_are_not_answered_for_on_loopback(host: str) -> None:
    assert guard.trespass({"host": host}, loopback=True) is not None


def test_any_host_is_answered_for_beyond_loopback() -> None:
    assert guard.trespass({"host": "flow.example:4010"}, loopback=False) is None


@pytest.mark.parametrize("origin", ["null", "", "http://evil.example", "http://localhost:3000", "http://localhost"])
@pytest.mark.parametrize("loopback", [True, False])
def test_other_origins_are_refused(origin: str, loopback: bool) -> None:
    assert guard.trespass({"host": "localhost:4010", "origin": origin}, loopback=loopback) is not None


def test_our_own_origin_is_served() -> None:
    assert guard.trespass({"host": "localhost:4010", "origin": "http://localhost:4010"}, loopback=True) is None


@pytest.mark.parametrize("text", ["", "ann", "ann:", "ann:short", ":a long secret", "a n:a long secret"])
def test_credentials_of_another_form_are_refused_without_telling_the_secret(text: str) -> None:
    with pytest.raises(UserError, match="access_key:secret") as caught:
        guard.Credentials.parse(text)
    assert "a long secret" not in str(caught.value)


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(guard.Credentials.parse("ann:a long secret"))
