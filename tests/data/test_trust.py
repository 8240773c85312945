"""Keys and signatures: what is signed, what is refused before anything is loaded, and how keys come into being."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowdsl.data import Converter, KeyRing, MemoryStore
from flowdsl.data.keys import VARIABLE, default_path, load_or_create, new_key, parse_keys
from flowdsl.data.pickled import writer
from flowdsl.errors import DefinitionError, FlowError, PayloadLost, PythonMismatch, UntrustedPayload
from flowdsl.model.payload import Envelope, Slot, armour, parse

SLOT = Slot("orders", "score", "result")
OLD, NEW = {"old": b"o" * 32}, {"new": b"n" * 32}


@pytest.fixture
def converter():
    return Converter(keys=KeyRing(OLD))


class Bomb:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def malicious(path):
    return Envelope("dill", armour(pickle.dumps(Bomb(path))), meta=writer())


def test_a_malicious_pickle_never_runs(converter, tmp_path):
    trap = tmp_path / "sprung"
    honest = parse(converter.encode(lambda: 1, SLOT))
    unsigned = malicious(trap)
    attempts = [
        unsigned,
        Envelope("dill", unsigned.body, "", "old", unsigned.meta),
        Envelope("dill", "A" * 43 + unsigned.body, "", "old", unsigned.meta),
        Envelope("dill", honest.body[:43] + unsigned.body, "", "old", unsigned.meta),
        Envelope("dill", honest.body[:43] + unsigned.body, "z", "old", unsigned.meta),
        KeyRing(NEW).sign(unsigned, SLOT),
        KeyRing({"old": b"x" * 32}).sign(unsigned, SLOT),
        KeyRing(OLD).sign(unsigned, Slot("orders", "score", "input")),
        KeyRing(OLD).sign(unsigned, Slot("orders", "other", "result")),
        KeyRing(OLD).sign(unsigned, Slot("elsewhere", "score", "result")),
    ]
    for envelope in attempts:
        with pytest.raises(UntrustedPayload, match="result of 'score'"):
            converter.decode(envelope.format(), SLOT)
        sealed = {"$": "sealed", "v": envelope.format()}
        failure = {"version": 1, "errors": [{"type": "a:b", "home": "x", "class": sealed, "args": [sealed]}]}
        converter.decode_failure("r", f"fd1.failure...:{json.dumps(failure)}", SLOT)
    assert not trap.exists()
    converter.decode(KeyRing(OLD).sign(unsigned, SLOT).format(), SLOT)
    assert trap.exists()  # the trap itself works: signed with our key for this slot, it is sprung


def test_a_payload_is_refused_wherever_one_character_was_changed(converter):
    text = converter.encode(lambda: 1, SLOT)
    for index in range(0, len(text), 7):
        changed = text[:index] + ("A" if text[index] != "A" else "B") + text[index + 1 :]
        if parse_or_none(changed) is None:
            continue
        with pytest.raises((UntrustedPayload, PayloadLost)):
            converter.decode(changed, SLOT)


def parse_or_none(text):
    try:
        return parse(text)
    except ValueError:
        return None


def test_an_unsigned_codec_cannot_smuggle_a_pickle(converter, tmp_path):
    body = malicious(tmp_path / "sprung").body
    for codec in ("json", "typed", "user", "args", "failure", "what"):
        with pytest.raises(FlowError):
            converter.decode(Envelope(codec, body).format(), SLOT)
    assert not (tmp_path / "sprung").exists()


def test_a_reference_to_a_pickle_is_verified_before_it_is_fetched():
    store = MemoryStore()
    converter = Converter(keys=KeyRing(OLD), store=store)
    noise = os.urandom(100_000)
    text = converter.encode(lambda: noise, SLOT)
    assert "r" in parse(text).flags
    store.objects.clear()
    with pytest.raises(PayloadLost):
        converter.decode(text, SLOT)
    moved = Slot("orders", "other", "result")
    with pytest.raises(UntrustedPayload):
        converter.decode(text, moved)


def test_a_pickle_of_another_python_is_not_loaded(converter):
    envelope = parse(converter.encode(lambda: 1, SLOT))
    theirs = Envelope("dill", envelope.body[43:], meta="cp39-610d0d0a-dill0.4.1")
    with pytest.raises(PythonMismatch, match=r"Python 3\.9 .*this process is Python 3\."):
        converter.decode(KeyRing(OLD).sign(theirs, SLOT).format(), SLOT)


def test_rotation_keeps_old_payloads_readable_until_the_old_key_goes(converter):
    old_text = converter.encode(lambda: 1, SLOT)
    rotated = Converter(keys=KeyRing({**NEW, **OLD}))
    assert rotated.decode(old_text, SLOT)() == 1
    new_text = rotated.encode(lambda: 2, SLOT)
    assert parse(new_text).key_id == "new"
    with pytest.raises(UntrustedPayload, match="'new', which this process does not have"):
        converter.decode(new_text, SLOT)
    with pytest.raises(UntrustedPayload):
        Converter(keys=KeyRing(NEW)).decode(old_text, SLOT)


def test_one_argument_cannot_take_anothers_place(converter):
    import inspect

    signature = inspect.signature(lambda a, b: 0)
    text = converter.encode_arguments((lambda: 1, lambda: 2), {}, signature, SLOT)
    body = json.loads(text.partition(":")[2])
    body["args"].reverse()
    with pytest.raises(UntrustedPayload):
        converter.decode_arguments(f"fd1.args...:{json.dumps(body)}", signature, SLOT)


def test_secrets_show_nowhere(tmp_path):
    key_id, key = new_key()
    ring = KeyRing({key_id: key})
    import base64

    shown = [repr(ring), str(ring), *map(str, ring.key_ids)]
    for text in (f"{key_id}:{base64.b64encode(key).decode()[:-6]}!!!", "a b:" + base64.b64encode(key).decode()):
        with pytest.raises(DefinitionError) as refused:
            parse_keys(text, VARIABLE)
        shown.append(str(refused.value))
    assert not any(base64.b64encode(key).decode()[:8] in text or key.hex()[:8] in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(ring)


def test_keys_come_from_the_environment_first(tmp_path):
    import base64

    text = ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in {**NEW, **OLD}.items())
    ring = KeyRing.default({VARIABLE: text, "XDG_STATE_HOME": str(tmp_path)})
    assert ring.key_ids == ("new", "old")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "a", "a:", "a:c2hvcnQ=", ":" + "A" * 44, "bad id:" + "A" * 44])
def test_keys_that_are_none_are_refused(text):
    with pytest.raises(DefinitionError):
        KeyRing(parse_keys(text, VARIABLE))


def test_the_key_file_is_made_when_it_is_needed_and_only_its_owner_can_read_it(tmp_path):
    environment = {"XDG_STATE_HOME": str(tmp_path / "a state")}
    ring = KeyRing.default(environment)
    converter = Converter(keys=ring)
    converter.encode({"a": 1}, SLOT)
    assert not default_path(environment).exists()
    text = converter.encode(lambda: 1, SLOT)
    assert default_path(environment).stat().st_mode & 0o777 == 0o600
    assert default_path(environment).parent.stat().st_mode & 0o777 == 0o700
    assert Converter(keys=KeyRing.default(environment)).decode(text, SLOT)() == 1


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "keys"
    load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(DefinitionError, match="chmod 600"):
        load_or_create(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DefinitionError, match=VARIABLE):
        load_or_create(tmp_path / "file" / "keys")


def test_threads_that_make_the_key_file_at_once_agree(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        rings = list(pool.map(lambda _: load_or_create(tmp_path / "keys"), range(64)))
    assert all(ring == rings[0] for ring in rings)
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys"]


def test_processes_that_make_the_key_file_at_once_agree(tmp_path):
    code = "import sys; from flowdsl.data import KeyRing; sys.stdin.read(); print(KeyRing.default().key_ids)"
    environment = {"XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in started:  # all are imported and wait: closing their input lets them go together
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    assert len({process.communicate()[0] for process in started}) == 1
