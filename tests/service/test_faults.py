"""How codes and botocore's exceptions are sorted."""

from __future__ import annotations

import botocore.exceptions as aws
import pytest

from flowdsl.errors import Fault
from flowdsl.service.faults import BROKEN, FORBIDDEN, HOPELESS, THROTTLED, from_answer, translated


def test_a_code_stands_in_one_set_only() -> None:
    sets = [THROTTLED, BROKEN, HOPELESS, FORBIDDEN]
    assert len(frozenset().union(*sets)) == sum(map(len, sets))


def test_a_code_may_come_with_its_namespace_or_with_what_a_header_adds() -> None:
    assert from_answer("com.amazonaws.swf.base.model#UnknownResourceFault", "", 400).code == "UnknownResourceFault"
    assert from_answer("ThrottlingException:http://internal.amazon.com/", "", 400).code == "ThrottlingException"


@pytest.mark.parametrize(
    ("error", "code", "retryable", "hint"),
    [
        (aws.UnauthorizedSSOTokenError(), "ExpiredTokenException", False, "aws sso login"),
        (aws.TokenRetrievalError(provider="sso", error_msg="x"), "ExpiredTokenException", False, "aws sso login"),
        (aws.CredentialRetrievalError(provider="p", error_msg="x"), "ConnectionError", True, "could not be fetched"),
        (aws.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "NoCredentials", False, "aws configure"),
        (aws.ReadTimeoutError(endpoint_url="http://x"), "ConnectionLost", True, "the answer did not come"),
        (aws.ConnectTimeoutError(endpoint_url="http://x"), "ConnectionError", True, "http://x"),
        (aws.ProxyConnectionError(proxy_url="http://p"), "ConnectionError", True, "http://p"),
        (ConnectionResetError("reset"), "ConnectionLost", True, "reset"),
        (aws.DataNotFoundError(data_path="swf"), "DataNotFoundError", False, "swf"),
    ],
)
def test_what_botocore_raises_without_an_answer_becomes_a_fault_that_helps(error, code, retryable, hint) -> None:
    with pytest.raises(Fault) as raised, translated():
        raise error
    assert (raised.value.code, raised.value.retryable) == (code, retryable)
    assert hint in raised.value.message
    assert raised.value.__cause__ is error


def test_what_is_not_botocores_passes_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError
