"""The envelope: what is one, what is none, and that nothing can be mistaken for the other."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.limits import length
from flowdsl.model.payload import Envelope, MalformedEnvelope, Slot, armour, content_digest, parse, shorten, unarmour

word = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-")


@given(word.filter(bool), st.text(), word, word, st.text(st.characters(exclude_characters=":")))
def test_an_envelope_comes_back_from_its_text(codec, body, flags, key_id, meta):
    envelope = Envelope(codec, body, flags, key_id, meta)
    assert parse(envelope.format()) == envelope


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_no_json_text_is_taken_for_an_envelope(value):
    assert parse(json.dumps(value)) is None


@pytest.mark.parametrize("text", ["fd1.", "fd1.json", "fd1.json:", "fd1.json..:x", "fd1....:x"])
def test_half_an_envelope_is_malformed(text):
    with pytest.raises(MalformedEnvelope):
        parse(text)


@given(st.binary())
def test_armoured_bytes_come_back_and_need_no_escape_in_json(data):
    assert unarmour(armour(data)) == data
    assert json.dumps(armour(data)) == f'"{armour(data)}"'


@given(st.text(st.characters()), st.integers(1, 50))
def test_a_shortened_text_fits_and_is_text(text, limit):
    short = shorten(text, limit)
    assert length(short) <= limit
    assert short == text or short.endswith("…")


def test_a_slot_says_where_a_value_stands():
    slot = Slot("orders", "charge", "input")
    assert str(slot) == "input of 'charge'"
    assert slot.part("conn") == Slot("orders", "charge", "input.conn")


def test_a_digest_is_sha256():
    assert content_digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
