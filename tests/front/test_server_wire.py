"""The wire, as pure functions: what is read, what is refused, what an answer looks like byte by byte."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.errors import Fault
from flowdsl.server import wire

HEADERS = {"x-amz-target": "SimpleWorkflowService.ListDomains", "content-type": "application/x-amz-json-1.0"}


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    """Botocore's model of SWF: a judge that is not ours."""
    loaded: dict[str, Any] = Loader().load_service_model("swf", "service-2")
    return loaded


def refused(headers: dict[str, str], body: bytes) -> str:
    with pytest.raises(Fault) as caught:
        wire.read(headers, body)
    return str(caught.value.code)


def test_the_operations_and_which_of_them_answer_are_botocores(model: dict[str, Any]) -> None:
    assert dict(wire.OPERATIONS) == {name: "output" in operation for name, operation in model["operations"].items()}


def test_no_output_member_but_a_timestamp_has_a_fraction(model: dict[str, Any]) -> None:
    kinds = {shape["type"] for shape in model["shapes"].values()}
    assert not kinds & {"double", "float", "map", "blob"}
    assert not [s for s in model["shapes"].values() if s["type"] == "list" and model["shapes"][s["member"]["shape"]]["type"] == "timestamp"]


def test_the_empty_polls_are_answers_of_the_model(model: dict[str, Any]) -> None:
    for operation, shape in wire.EMPTY_POLLS.items():
        assert set(shape) < set(model["shapes"][model["operations"][operation]["output"]["shape"]]["members"])


@pytest.mark.parametrize(
    "target",
    [
        "SimpleWorkflowService.ListDomains",
        "com.amazonaws.swf.service.model.SimpleWorkflowService.ListDomains",
        "x.ListDomains",
        "ListDomains",
    ],
)
def test_the_action_is_what_follows_the_last_dot(target: str) -> None:
    assert wire.read({**HEADERS, "x-amz-target": target}, b"{}") == ("ListDomains", {})


def test_a_legacy_client_is_understood() -> None:
    headers = {
        "x-amz-target": "com.amazonaws.swf.service.model.SimpleWorkflowService.DescribeDomain",
        "content-type": "application/json; charset=UTF-8",
        "content-encoding": "amz-1.0",
    }
    assert wire.read(headers, b'{"name": "d"}') == ("DescribeDomain", {"name": "d"})


@pytest.mark.parametrize(
    "target", ["", "SimpleWorkflowService.", "SimpleWorkflowService.Nonsense", "SimpleWorkflowService.listDomains", "\x00"]
)
def test_a_missing_or_unknown_action_is_refused(target: str) -> None:
    assert refused({**HEADERS, "x-amz-target": target}, b"{}") == "UnknownOperationException"


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/cbor"])
def test_another_content_type_is_refused(content_type: str) -> None:
    assert refused({**HEADERS, "content-type": content_type}, b"{}") == "UnknownOperationException"


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"nonsense", b"[]", b'"text"', b"null", b"1", b"\xff\xfe{}", b'{"a": "\xff"}', b"\xef\xbb\xbf{}", b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}', b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": "\\ud800"}', b'{"\\udfff": 1}',
        b'{"a": ["\\ud800"]}', b'{"a": ' + b"1" * 5_000 + b"}", b"[" * 500_000, b'{"a":' * 100_000, "{}".encode("utf-16"),
    ],
    ids=lambda body: repr(body[:16]),
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    assert refused(HEADERS, body) == "SerializationException"


def test_no_body_is_no_parameters() -> None:
    assert wire.read(HEADERS, b"") == ("ListDomains", {})


def test_surrogate_pairs_and_null_characters_are_text() -> None:
    assert wire.read(HEADERS, b'{"a": "\\ud83d\\ude00\\u0000"}')[1] == {"a": "\N{GRINNING FACE}\0"}


def test_a_gzip_body_is_decoded() -> None:
    assert wire.read({**HEADERS, "content-encoding": "gzip"}, gzip.compress(b'{"name": "d"}', mtime=0))[1] == {"name": "d"}


def test_a_gzip_bomb_is_refused_without_being_blown_up() -> None:
    bomb = gzip.compress(b" " * 200_000_000, mtime=0)
    assert len(bomb) < wire.MAX_BODY
    assert refused({**HEADERS, "content-encoding": "gzip"}, bomb) == "RequestEntityTooLargeException"


@pytest.mark.parametrize("body", [b"{}", gzip.compress(b"{}", mtime=0)[:-3], gzip.compress(b"{}", mtime=0) + b"more", b""])
def test_a_body_that_is_no_whole_gzip_is_refused(body: bytes) -> None:
    assert refused({**HEADERS, "content-encoding": "gzip"}, body) == "SerializationException"


def test_another_coding_is_refused() -> None:
    assert refused({**HEADERS, "content-encoding": "br"}, b"{}") == "SerializationException"


@pytest.mark.parametrize(("size", "read"), [(wire.MAX_BODY, True), (wire.MAX_BODY + 1, False)])
def test_a_body_may_have_one_megabyte(size: int, read: bool) -> None:
    body = b'{"name":"' + b"x" * (size - 11) + b'"}'
    assert len(body) == size
    if read:
        wire.read(HEADERS, body)
    else:
        assert refused(HEADERS, body) == "RequestEntityTooLargeException"


def test_an_operation_without_output_answers_with_no_body_at_all() -> None:
    reply = wire.answer("RegisterDomain", {})
    assert (reply.status, reply.body, dict(reply.headers)["content-length"]) == (200, b"", "0")


def test_members_come_in_alphabetical_order_and_timestamps_with_three_decimals() -> None:
    result = {"typeInfo": {"status": "REGISTERED", "creationDate": 1497119758.3}, "configuration": {}, "deprecationDate": 1e9}
    assert wire.answer("DescribeActivityType", result).body == (
        b'{"configuration":{},"deprecationDate":1000000000.000,"typeInfo":{"creationDate":1497119758.300,"status":"REGISTERED"}}'
    )


@given(st.integers(-(10**11), 10**13))
def test_every_millisecond_is_written_exactly(milliseconds: int) -> None:
    text = wire.encode({"t": milliseconds / 1000}).decode()
    assert text.removeprefix('{"t":').removesuffix("}").replace(".", "").lstrip("-").lstrip("0") == str(abs(milliseconds)).lstrip("0")
    assert text[-5] == "."


@given(st.recursive(st.text() | st.integers() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner)))
def test_user_data_is_never_mistaken_for_a_timestamp(data: Any) -> None:
    assert json.loads(wire.encode({"data": data, "hidden": json.dumps({"t": 1.5, "data": data})})) == {
        "data": data,
        "hidden": json.dumps({"t": 1.5, "data": data}),
    }


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("UnknownResourceFault", 400, "com.amazonaws.swf.base.model#UnknownResourceFault"),
        ("WorkflowExecutionAlreadyStartedFault", 400, "com.amazonaws.swf.base.model#WorkflowExecutionAlreadyStartedFault"),
        ("ValidationException", 400, "com.amazon.coral.validate#ValidationException"),
        ("SerializationException", 400, "com.amazonaws.swf.base.model#SerializationException"),
        ("UnknownOperationException", 400, "com.amazon.coral.service#UnknownOperationException"),
        ("ThrottlingException", 400, "com.amazon.coral.availability#ThrottlingException"),
        ("RequestEntityTooLargeException", 413, "com.amazon.coral.service#RequestEntityTooLargeException"),
        ("ServiceUnavailable", 503, "com.amazon.coral.service#ServiceUnavailable"),
    ],
)
def test_a_fault_carries_its_namespace_status_and_message(code: str, status: int, kind: str) -> None:
    reply = wire.refusal(Fault(code, "what \u2028 happened"))
    assert (reply.status, json.loads(reply.body)) == (status, {"__type": kind, "message": "what \u2028 happened"})


def test_a_bug_of_ours_is_not_described() -> None:
    assert wire.internal_failure() == wire.refusal(Fault("InternalFailure", "secret"))
    assert json.loads(wire.internal_failure().body) == {"__type": "com.amazon.coral.service#InternalFailure"}


@given(st.binary(max_size=200), st.sampled_from(["", "gzip", "amz-1.0"]), st.text(max_size=40), st.text(max_size=40))
def test_no_bytes_whatever_do_more_than_fault(body: bytes, coding: str, target: str, content_type: str) -> None:
    for headers in (
        {"x-amz-target": target, "content-type": content_type, "content-encoding": coding},
        {**HEADERS, "content-encoding": coding},
    ):
        try:
            wire.read(headers, body)
        except Fault as fault:
            wire.refusal(fault)
