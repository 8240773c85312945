"""Codecs: what is encrypted cannot be read, moved or altered; keys rotate; compression is used where it pays; a user's codec joins in."""

from __future__ import annotations

import inspect
import random

import pytest

from flowdsl.data import Aes, Chain, Converter, KeyRing, MemoryStore, Zlib, Zstd, default_converter
from flowdsl.data.codecs import MAX_EXPANDED
from flowdsl.data.keys import new_key, new_wrapped_key, parse_keys
from flowdsl.errors import DefinitionError, PayloadLost, UntrustedPayload
from flowdsl.model.payload import Envelope, Slot, armour, parse

SLOT = Slot("orders", "score", "result")
OLD, NEW = {"old": b"o" * 32}, {"new": b"n" * 32}
SECRET = "the secret of the treasure"

pytest.importorskip("cryptography", reason="pip install 'flowdsl[crypto]'")


def encrypting(keys, **options):
    return Converter(keys=KeyRing({"s": b"s" * 32}), chain=Chain([Zlib(), Aes(KeyRing(keys))]), **options)


@pytest.mark.parametrize(
    "value",
    [1, SECRET, {"a": (1, 2)}, [SECRET] * 5_000, b"x" * 300_000, lambda: SECRET],
    ids=["number", "text", "tagged", "long", "bytes", "function"],
)
def test_what_is_encrypted_comes_back_and_cannot_be_read(value):
    store = MemoryStore()
    converter = encrypting(OLD, store=store)
    text = converter.encode(value, SLOT)
    copy = converter.decode(text, SLOT)
    assert (copy(), SECRET) == (value(), SECRET) if callable(value) else copy == value
    assert "e" in parse(text).flags
    assert SECRET not in text
    assert not any(SECRET.encode() in data for data in store.objects.values())


def test_arguments_failures_and_reasons_are_encrypted_too():
    converter = encrypting(OLD, store=MemoryStore())
    signature = inspect.signature(lambda a, b: 0)
    text = converter.encode_arguments((SECRET,), {"b": [SECRET] * 9_000}, signature, SLOT)
    assert SECRET not in text
    assert converter.decode_arguments(text, signature, SLOT) == ((SECRET,), {"b": [SECRET] * 9_000})
    reason, details = converter.encode_failure(ValueError(SECRET, lambda: SECRET), SLOT)
    assert reason == "ValueError"
    assert SECRET not in details
    error = converter.decode_failure(reason, details, SLOT)
    assert type(error) is ValueError
    assert (error.args[0], error.args[1]()) == (SECRET, SECRET)


def test_the_same_value_in_the_same_place_is_the_same_text():
    store = MemoryStore()
    converter = encrypting(OLD, store=store)
    for value in (SECRET, random.Random(1).randbytes(100_000)):
        assert converter.encode(value, SLOT) == converter.encode(value, SLOT)
        assert converter.encode(value, SLOT) != converter.encode(value, Slot("orders", "other", "result"))
    assert converter.same(converter.encode(1, SLOT), converter.encode(2, SLOT)) is None
    assert len(store.objects) == 2


@pytest.mark.parametrize(
    "elsewhere", [Slot("x", "score", "result"), Slot("orders", "x", "result"), Slot("orders", "score", "input")], ids=str
)
def test_an_encrypted_value_does_not_open_in_another_place(elsewhere):
    converter = encrypting(OLD)
    with pytest.raises(UntrustedPayload, match="for another place"):
        converter.decode(converter.encode(SECRET, SLOT), elsewhere)


def test_an_encrypted_value_is_refused_wherever_it_was_altered():
    converter = encrypting(OLD)
    text = converter.encode(SECRET, SLOT)
    start = text.index(":") + 1
    for index in range(start, len(text)):
        changed = text[:index] + ("A" if text[index] != "A" else "B") + text[index + 1 :]
        with pytest.raises((UntrustedPayload, PayloadLost)):
            converter.decode(changed, SLOT)


@pytest.mark.parametrize("body", [b"", b"\x03", b"\x03old", b"\xff" * 40])
def test_what_is_too_short_to_be_encrypted_is_refused(body):
    with pytest.raises(UntrustedPayload):
        encrypting(OLD).decode(Envelope("typed", armour(body), "e").format(), SLOT)


def test_rotation_keeps_old_values_readable_until_the_old_key_goes():
    old_text = encrypting(OLD).encode(SECRET, SLOT)
    rotated = encrypting({**NEW, **OLD})
    assert rotated.decode(old_text, SLOT) == SECRET
    new_text = rotated.encode(SECRET, SLOT)
    with pytest.raises(UntrustedPayload, match="'new', which is not in FLOWDSL_ENCRYPTION_KEYS"):
        encrypting(OLD).decode(new_text, SLOT)
    with pytest.raises(UntrustedPayload, match="'old'"):
        encrypting(NEW).decode(old_text, SLOT)


def test_the_environment_turns_it_on(monkeypatch):
    from flowdsl.data.keys import format_keys

    plain = default_converter()
    monkeypatch.setenv("FLOWDSL_ENCRYPTION_KEYS", format_keys(dict([new_key()])).strip())
    monkeypatch.setenv("FLOWDSL_COMPRESSION", "zstd")
    converter = default_converter()
    text = converter.encode([SECRET] * 5_000, SLOT)
    assert parse(text).flags == "se"
    assert converter.decode(text, SLOT) == [SECRET] * 5_000
    assert converter.decode(plain.encode([1], SLOT), SLOT) == [1], "what was written before stays readable"
    monkeypatch.delenv("FLOWDSL_ENCRYPTION_KEYS")
    with pytest.raises(DefinitionError, match="FLOWDSL_ENCRYPTION_KEYS"):
        default_converter().decode(text, SLOT)
    monkeypatch.setenv("FLOWDSL_COMPRESSION", "rar")
    with pytest.raises(DefinitionError, match="rar"):
        default_converter()


def test_kms_wraps_keys(monkeypatch):
    moto, boto3 = pytest.importorskip("moto"), pytest.importorskip("boto3")
    with moto.mock_aws():
        wrapped = new_wrapped_key(boto3.client("kms", region_name="us-east-1").create_key()["KeyMetadata"]["KeyId"])
        keys = parse_keys(wrapped, "the setting")
        assert [len(key) for key in keys.values()] == [32]
        monkeypatch.setenv("FLOWDSL_ENCRYPTION_KEYS", wrapped)
        assert default_converter().decode(default_converter().encode(SECRET, SLOT), SLOT) == SECRET
        key_id, _, secret = wrapped.partition(":")
        with pytest.raises(DefinitionError, match="AWS KMS does not unwrap"):
            parse_keys(f"{key_id}:{secret[:8]}AAAA{secret[12:]}", "the setting")


def test_zstd_is_read_by_who_does_not_write_it():
    pytest.importorskip("backports.zstd", reason="pip install 'flowdsl[zstd]'")
    text = Converter(chain=Chain([Zstd()])).encode(["x" * 100] * 1_000, SLOT)
    assert parse(text).flags == "s"
    assert Converter().decode(text, SLOT) == ["x" * 100] * 1_000
    with pytest.raises(PayloadLost, match="damaged"):
        Converter().decode(text[:-10], SLOT)
    assert MAX_EXPANDED < 1 << 40


class Rot:
    """A user's codec."""

    letter = "q"
    always = True

    def encode(self, data, context):
        return bytes(byte ^ 42 for byte in bytes(data))

    def decode(self, data, context):
        return self.encode(data, context)


def test_a_users_codec_joins_the_chain():
    converter = Converter(chain=Chain([Rot(), Aes(KeyRing(OLD))]))
    text = converter.encode({"a": 1}, SLOT)
    assert parse(text).flags == "qe"
    assert converter.decode(text, SLOT) == {"a": 1}
    with pytest.raises(PayloadLost, match="'q', which this process does not have"):
        encrypting(OLD).decode(text, SLOT)
    assert Converter(chain=Chain(known=[Rot(), Aes(KeyRing(OLD))])).decode(text, SLOT) == {"a": 1}


@pytest.mark.parametrize("codec", [object(), Rot, type("R", (Rot,), {"letter": "r"})(), type("R", (Rot,), {"letter": "xy"})()])
def test_what_is_no_codec_is_refused(codec):
    with pytest.raises(DefinitionError):
        Chain([codec])
