"""What a fault means for whoever made the call: the one place where codes are sorted, and where botocore's exceptions become faults.

Rule 1: a code stands in one set only; what is in none is final.
Rule 2: an error that the user can mend (credentials, region, profile) says how.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from flowdsl.errors import Fault
from flowdsl.service.transport import ANSWER_LOST, NOT_SENT

UNKNOWN_RESOURCE: Final = "UnknownResourceFault"

#: Refused for their rate before anything happened (Amazon SWF answers "Rate exceeded"; the other spellings are AWS's front ends').
THROTTLED: Final = frozenset(
    {"ThrottlingException", "Throttling", "ThrottledException", "RequestThrottledException", "RequestThrottled", "TooManyRequestsException",
     "RequestLimitExceeded", "SlowDown", "PriorRequestNotComplete"}
)  # fmt: skip
#: Went wrong on the service's side; whether the call had an effect is not known.
BROKEN: Final = frozenset(
    {"InternalFailure", "InternalServerError", "InternalError", "InternalFailureException", "ServiceUnavailable",
     "ServiceUnavailableException", "RequestTimeout", "RequestTimeoutException", ANSWER_LOST}
)  # fmt: skip
#: The call itself is wrong: it stays wrong however often it is made.
HOPELESS: Final = frozenset(
    {UNKNOWN_RESOURCE, "ValidationException", "ValidationError", "SerializationException", "UnknownOperationException",
     "RequestEntityTooLargeException"}
)  # fmt: skip
#: The caller may not do this.
FORBIDDEN: Final = frozenset({"OperationNotPermittedFault", "AccessDeniedException", "AccessDenied"})

_RENEW = "Renew them: `aws sso login` for SSO, new keys for keys; a running worker takes them up at its next call"
_CLOCK = "this machine's clock (5 minutes off is too much)"
_HINTS: Final = {
    "ExpiredTokenException": f"The AWS credentials have expired. {_RENEW}",
    "ExpiredToken": f"The AWS credentials have expired. {_RENEW}",
    "UnrecognizedClientException": "AWS does not know these credentials. Check AWS_PROFILE or AWS_ACCESS_KEY_ID, and the region",
    "InvalidSignatureException": f"The request's signature was refused. Check the secret key, and {_CLOCK}",
    "RequestExpired": f"The request is too old. Check {_CLOCK}",
}


def happened_for_sure_not(fault: Fault) -> bool:
    """Whether the call certainly had no effect: it did not arrive, or was turned away at the door."""
    return fault.code == NOT_SENT or fault.code in THROTTLED


def from_answer(code: str, message: str, status: int) -> Fault:
    """The fault of an error answer; `status` is the HTTP status."""
    code = code.rpartition("#")[2].partition(":")[0]
    if not code or code.isdecimal():
        code = "ServiceUnavailable" if status == 503 else "InternalFailure"
    hint = _HINTS.get(code)
    text = f"{hint} ({message})" if hint and message else hint or message
    return Fault(code, text, code in THROTTLED or code in BROKEN or status >= 500 or status == 429)


@contextmanager
def translated() -> Iterator[None]:
    """Turn botocore's exceptions into faults."""
    import botocore.exceptions as aws  # noqa: PLC0415 - loaded with the client
    from botocore.parsers import ResponseParserError  # noqa: PLC0415 - loaded with the client

    try:
        yield
    except aws.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
        details = error.response.get("Error", {})
        raise from_answer(str(details.get("Code", "")), str(details.get("Message", "")), status) from error
    except aws.ParamValidationError as error:
        raise Fault("ValidationException", str(error)) from error
    except (aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ProxyConnectionError, aws.SSLError) as error:
        text = f"{error}. Is the address right (region, AWS_ENDPOINT_URL_SWF) and the service up?"
        raise Fault(NOT_SENT, text, retryable=True) from error
    except (ResponseParserError, aws.HTTPClientError, aws.IncompleteReadError, OSError) as error:
        raise Fault(ANSWER_LOST, f"the answer did not come: {error}", retryable=True) from error
    except aws.BotoCoreError as error:
        raise _before_sending(error, aws) from error


def _before_sending(error: Exception, aws: Any) -> Fault:
    """The fault of a call that botocore could not make."""
    if isinstance(error, aws.NoRegionError):
        return Fault("NoRegion", "No AWS region is known. Set AWS_REGION, or `region` in the profile (`aws configure`), or Swf(region=…)")
    if isinstance(error, aws.ProfileNotFound):
        return Fault("NoCredentials", f"{error}. `aws configure list-profiles` shows those that there are; AWS_PROFILE chooses one")
    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError)):
        return Fault(
            "NoCredentials",
            f"No AWS credentials are found ({error}). Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run "
            "`aws configure`; a local server takes any",
        )
    if isinstance(error, (aws.SSOError, aws.TokenRetrievalError, getattr(aws, "LoginError", aws.SSOError))):  # the last one came in 1.41
        return Fault("ExpiredTokenException", f"The AWS session has ended. Run `aws sso login`, or `aws login` ({error})")
    if isinstance(error, (aws.CredentialRetrievalError, aws.MetadataRetrievalError)):
        return Fault(NOT_SENT, f"the AWS credentials could not be fetched: {error}", retryable=True)
    return Fault(type(error).__name__, str(error))
