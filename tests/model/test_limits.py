"""Names and durations that users write are checked; ids that flowdsl makes are made to fit."""

from __future__ import annotations

from datetime import timedelta

import botocore.loaders
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowdsl import limits
from flowdsl.errors import DefinitionError
from flowdsl.limits import check_name, clean_id, digest, length, seconds, whole_seconds

ANY_TEXT = st.text(st.characters(), max_size=400)  # lone surrogates too


# --- names ---


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shop:charge", "contains ':' at position 4"),
        ("shop/charge", "contains '/' at position 4"),
        ("a|b", "contains '|' at position 1"),
        ("a\tb", r"contains '\\t' \(U\+0009\) at position 1"),
        ("a\x7fb", r"contains '\\x7f' \(U\+007F\)"),
        ("a\x9fb", r"contains '\\x9f' \(U\+009F\)"),
        ("a\ud800b", r"contains '\\ud800' \(U\+D800\)"),
        ("arn", "must not be the literal 'arn'"),
        (" charge", "begins with a space"),
        ("charge ", "ends with a space"),
        ("charge\u2003", r"ends with '\\u2003' \(U\+2003\)"),
        ("", "is empty"),
        ("x" * 257, "has 257 characters; Amazon SWF takes at most 256"),
        ("😀" * 129, "has 258 characters"),
        (7, "must be a string, not 7"),
    ],
)
def test_a_name_that_the_service_would_refuse_is_refused_with_the_reason(name, says):
    with pytest.raises(DefinitionError, match=says) as caught:
        check_name(name, "the name of activity 'charge'")
    assert str(caught.value).startswith("the name of activity 'charge' ")


@pytest.mark.parametrize("name", ["charge", "shop.charge", "learn", "arn2", "Größe 10 €", "x" * 256, "😀" * 128, "a\u00a0b"])
def test_a_name_that_the_service_takes_is_taken_as_it_is(name):
    assert check_name(name, "the name") == name


def test_a_version_has_a_limit_of_its_own():
    with pytest.raises(DefinitionError, match="has 65 characters; Amazon SWF takes at most 64"):
        check_name("1" * 65, "the version", limits.VERSION)


# --- ids ---


@given(ANY_TEXT, st.integers(32, 256))
@example("", 256)
@example("arn", 256)
@example("\ud83d" * 300, 256)
@example("😀" * 300, 33)
def test_any_text_becomes_an_id_that_the_service_takes(text, maximum):
    made = clean_id(text, maximum)
    assert check_name(made, "the id", maximum) == made
    assert clean_id(text, maximum) == made
    assert clean_id(made, maximum) == made


@given(ANY_TEXT, ANY_TEXT)
@example("a:b", "a/b")
@example("x" * 300, "x" * 301)
@example("a", "a ")
def test_different_texts_never_become_the_same_id(one, other):
    assert (clean_id(one) == clean_id(other)) == (one == other)


def test_an_id_that_fits_is_left_alone_and_another_stays_readable():
    assert clean_id("map-1.7.charge-2") == "map-1.7.charge-2"
    assert clean_id("order:7") == "order-7-" + digest("order:7")[:16]
    assert clean_id("x" * 300).startswith("x" * 200)


def test_a_digest_is_the_same_in_every_process():
    assert digest("order-7") == "df8cf80227ec3237922df0ecd88385c546e4a31bdb8127b033f01e6f21f175df"


@given(ANY_TEXT)
def test_lengths_are_counted_in_utf_16_code_units(text):
    assert length(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2


# --- durations ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0.0), (5, 5.0), (0.25, 0.25), (timedelta(minutes=2), 120.0), (None, None), (limits.LONGEST, 99_999_999.0)],
)
def test_a_duration_is_seconds_or_a_timedelta_or_none(value, expected):
    found = seconds(value, "timeout")
    assert found == expected
    assert found is None or type(found) is float


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (True, r"must be seconds \(int or float\), a timedelta or None, not True \(a bool"),
        ("30", "not '30'; write 30 without quotes"),
        ("5 min", "write timedelta"),
        (b"5", "not b'5'"),
        ([5], r"not \[5\]"),
        (-1, "must not be negative, but is -1"),
        (timedelta(seconds=-1), "must not be negative"),
        (float("nan"), "is NaN"),
        (float("inf"), "more than 99,999,999 s.*None means no limit"),
        (float("-inf"), "must not be negative"),
        (10**400, "more than 99,999,999 s"),
        pytest.param(10**5000, "is a number of thousands of digits: more than", id="an int of 5,001 digits"),
        (timedelta.max, "more than 99,999,999 s"),
        (100_000_000, "is 100000000: more than"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_reason(value, says):
    with pytest.raises(DefinitionError, match=says) as caught:
        seconds(value, "timeout of activity 'charge'")
    assert str(caught.value).startswith("timeout of activity 'charge' ")


def test_a_duration_may_have_a_limit_of_its_own():
    assert seconds(limits.YEAR, "timeout", maximum=limits.YEAR) == limits.YEAR
    with pytest.raises(DefinitionError, match="more than 31,536,000 s"):
        seconds(timedelta(days=366), "timeout", maximum=limits.YEAR)


@pytest.mark.parametrize(
    ("duration", "written"), [(None, "NONE"), (0.0, "0"), (0.001, "1"), (1.0, "1"), (1.000001, "2"), (3 * 1.1, "4"), (3600 * 1.1, "3960")]
)
def test_the_service_counts_whole_seconds_and_nothing_ends_too_early(duration, written):
    assert whole_seconds(duration) == written


@given(st.floats(0, limits.LONGEST))
def test_rounding_never_shortens_by_more_than_noise_and_always_fits(duration):
    written = whole_seconds(duration)
    assert 0 <= int(written) - duration + 1e-6 <= 1 + 2e-6
    assert len(written) <= 8


# --- against botocore's model ---


@pytest.mark.parametrize(
    ("shape", "limit"),
    [
        ("Data", limits.DATA),
        ("LimitedData", limits.HEARTBEAT_DETAILS),
        ("FailureReason", limits.REASON),
        ("TerminateReason", limits.REASON),
        ("Name", limits.NAME),
        ("DomainName", limits.NAME),
        ("SignalName", limits.NAME),
        ("MarkerName", limits.NAME),
        ("Version", limits.VERSION),
        ("WorkflowId", limits.ID),
        ("ActivityId", limits.ID),
        ("TimerId", limits.ID),
        ("FunctionId", limits.ID),
        ("WorkflowRunId", limits.RUN_ID),
        ("Identity", limits.IDENTITY),
        ("Tag", limits.TAG),
        ("TagList", limits.TAGS),
        ("Description", limits.DESCRIPTION),
        ("FunctionName", limits.LAMBDA_NAME),
        ("FunctionInput", limits.LAMBDA_INPUT),
        ("TaskToken", limits.TASK_TOKEN),
        ("PageToken", limits.PAGE_TOKEN),
        ("PageSize", limits.PAGE_SIZE),
        ("ResourceTagKey", limits.RESOURCE_TAG_KEY),
        ("ResourceTagValue", limits.RESOURCE_TAG_VALUE),
        ("DurationInSeconds", len(str(limits.LONGEST))),
    ],
)
def test_lengths_are_those_of_the_services_model(shape, limit):
    assert botocore.loaders.create_loader().load_service_model("swf", "service-2")["shapes"][shape]["max"] == limit


def test_every_operation_has_a_rate_and_nothing_else_has():
    model = botocore.loaders.create_loader().load_service_model("swf", "service-2")
    assert set(limits.RATES) == set(model["operations"])
    assert set(limits.EXECUTION_RATES) <= set(model["operations"])
    assert set(limits.DECISION_RATES) <= set(model["shapes"]["DecisionType"]["enum"])
