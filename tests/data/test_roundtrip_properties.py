"""What goes in comes out: generated values of generated annotations, values without annotation, and values under a wrong annotation."""

from __future__ import annotations

from contextlib import suppress

import pytest
from generated_values import canonical, typed_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl.data import Converter, KeyRing, MemoryStore
from flowdsl.model.payload import Slot

SLOT = Slot("orders", "score", "result")


many = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(scope="module")
def converter():
    return Converter(keys=KeyRing({"k1": b"k" * 32}), store=MemoryStore())


@many
@given(typed_values)
def test_a_value_under_its_annotation_comes_back_exactly(converter, case):
    annotation, value = case
    assert canonical(converter.decode(converter.encode(value, SLOT, annotation), SLOT, annotation)) == canonical(value)


@many
@given(typed_values)
def test_a_value_without_annotation_comes_back_exactly_and_without_a_pickle(converter, case):
    _, value = case
    text = converter.encode(value, SLOT)
    assert canonical(converter.decode(text, SLOT)) == canonical(value)
    assert not text.startswith("fd1.dill")


@many
@given(typed_values, typed_values)
def test_a_value_under_a_wrong_annotation_comes_back_exactly(converter, case, other):
    value, annotation = case[1], other[0]
    assert canonical(converter.decode(converter.encode(value, SLOT, annotation), SLOT, annotation)) == canonical(value)


@many
@given(typed_values)
def test_a_text_is_its_own_equal(converter, case):
    annotation, value = case
    assert converter.same(converter.encode(value, SLOT, annotation), converter.encode(value, SLOT, annotation)) is True


@many
@given(typed_values, typed_values)
def test_many_values_are_compared_as_one_is(case, other):
    from flowdsl.data.typed import identical

    first, second = case[1], other[1]
    for one, two in ((first, second), (first, first), (second, first)):
        alike = identical(one, two)
        assert identical([one] * 17 + [one], [one] * 17 + [two]) is alike
        assert identical({"a": tuple([one] * 20)}, {"a": tuple([two] * 20)}) is alike
        assert identical([[one], {"k": one}] * 10, [[two], {"k": two}] * 10) is alike


@many
@given(typed_values)
def test_many_values_under_their_annotation_come_back_exactly(converter, case):
    values, annotation = [case[1]] * 18, list[case[0]]
    assert canonical(converter.decode(converter.encode(values, SLOT, annotation), SLOT, annotation)) == canonical(values)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@many
@given(json_values)
def test_a_value_of_json_types_is_bare_json(converter, value):
    import json

    text = converter.encode(value, SLOT)
    assert not text.startswith("fd1.")
    assert canonical(json.loads(text)) == canonical(value)
    assert canonical(converter.decode(text, SLOT)) == canonical(value)


@many
@given(st.text())
def test_whatever_text_stands_in_a_history_is_read_or_refused_by_name(converter, text):
    from flowdsl.errors import FlowError

    for candidate in (text, "fd1." + text, "fd1.json...:" + text, "fd1.typed.z..:" + text, "fd1.json.r..:" + text):
        converter.same(candidate, text)
        with suppress(FlowError):
            converter.decode(candidate, SLOT)
