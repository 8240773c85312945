"""`flowdsl key` and `flowdsl gc`: keys are made and listed without being shown; what no history needs is found, and deleted when asked."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

import flowdsl
from flowdsl import Embedded, activity, cli, workflow
from flowdsl.connection import disconnect
from flowdsl.data import KeyRing
from flowdsl.data.keys import VARIABLE, default_path, parse_keys


def flow(*words, code=0):
    done = CliRunner().invoke(cli.main, list(words))
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_a_new_key_is_printed_as_a_setting_takes_it(home, monkeypatch):
    text = flow("key", "new").strip()
    ((key_id, key),) = parse_keys(text, "it").items()
    assert len(key) == 32
    assert not default_path().exists()
    monkeypatch.setenv(VARIABLE, text)
    monkeypatch.setenv("FLOWDSL_ENCRYPTION_KEYS", flow("key", "new").strip() + "," + text)
    listed = flow("key", "list")
    assert f"{key_id}  signs  (FLOWDSL_SIGNING_KEYS)" in listed
    assert f"{key_id}  decrypts  (FLOWDSL_ENCRYPTION_KEYS)" in listed
    assert text.partition(":")[2] not in listed


def test_a_key_that_is_written_signs_from_now_on_and_the_old_one_verifies(home):
    assert "no signing key yet" in flow("key", "list")
    old = KeyRing.default().key_ids
    new_id = flow("key", "new", "--write").split()[0]
    assert KeyRing.default().key_ids == (new_id, *old)
    assert default_path().stat().st_mode & 0o777 == 0o600
    assert re.findall(r"^(\w+)  (\w+)", flow("key", "list"), re.MULTILINE) == [(new_id, "signs"), (old[0], "verifies")]


@pytest.mark.parametrize("words", [["list", "--write"], ["new", "--write", "--kms", "alias/x"], ["old"]])
def test_what_makes_no_sense_is_wrong_usage(home, words):
    flow("key", *words, code=2)


def letters(n):
    return Random(n).randbytes(n // 2).hex()


@activity
def makes(n: int) -> str:
    return letters(n)


@activity
def takes(text: str, rest: list[int], *others: str) -> int:
    return len(text) + len(others)


@workflow
def uses_values(n: int) -> int:
    text = makes(n)
    return takes(text, list(range(9_000))) + takes(letters(n + 2), [], *[letters(n + 4)] * 40) + takes(letters(n + 6), list(range(60_000)))


@pytest.fixture
def used(tmp_path, monkeypatch):
    """An engine's file, whose store holds what an execution refers to, and more; everything is two days old."""
    monkeypatch.chdir(tmp_path)
    backend = Embedded("flow.db")
    assert flowdsl.run(uses_values, 60_000, backend=backend) == 60_000 + 60_042 + 60_006
    disconnect(backend)
    folder = tmp_path / "flow.values"
    stray = folder / "sha256" / "00" / "11" / ("0011" + "a" * 60)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    (folder / "notes.txt").write_text("not ours")
    for path in files(folder):
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    yield folder, stray
    disconnect(backend)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_no_history_refers_to_is_found_and_nothing_is_deleted_unasked(used):
    folder, stray = used
    before = files(folder)
    output = flow("gc", "--backend", "embedded", "--path", "flow.db")
    assert f"needless: sha256/00/11/{stray.name} (5 bytes)" in output
    assert output.count("needless: ") == 1
    assert f"{len(before) - 2} needed" in output
    assert files(folder) == before


def test_what_is_found_is_deleted_when_asked_and_what_is_needed_stays_readable(used):
    folder, stray = used
    before = files(folder)
    assert "1 needless, 5 bytes freed" in flow("gc", "--backend", "embedded", "--path", "flow.db", "--delete")
    assert sorted(files(folder)) == sorted(set(before) - {stray})


def test_what_is_young_is_never_deleted(used):
    _, stray = used
    os.utime(stray)
    assert "1 too young to tell" in flow("gc", "--backend", "embedded", "--path", "flow.db", "--delete")
    assert stray.exists()


def test_an_object_that_is_needed_and_missing_is_named(used):
    folder, stray = used
    lost = next(path for path in files(folder / "sha256") if path.stat().st_size > 50_000 and path != stray)
    lost.unlink()
    output = CliRunner().invoke(cli.main, ["gc", "--backend", "embedded", "--path", "flow.db"]).output
    assert lost.name in output


def test_a_backend_without_histories_has_nothing_to_compare_with(used):
    assert "keeps no histories" in flow("gc", code=2)
