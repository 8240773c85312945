"""`flowdsl server --backup`: of a file at rest, of one that is served and written to meanwhile, and what is refused."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flowdsl.cli import main
from flowdsl.engine import Engine, Service
from flowdsl.server import ThreadedServer

NOW = 1_700_000_000_000
DOMAIN = {"name": "d", "workflowExecutionRetentionPeriodInDays": "1"}
FLOW = {"name": "flow", "version": "1"}
DEFAULTS = {
    "defaultTaskList": {"name": "l"},
    "defaultTaskStartToCloseTimeout": "60",
    "defaultExecutionStartToCloseTimeout": "3600",
    "defaultChildPolicy": "TERMINATE",
}


def prepare(call: Any) -> None:
    call("RegisterDomain", DOMAIN)
    call("RegisterWorkflowType", {"domain": "d", **FLOW, **DEFAULTS})


def start(call: Any, workflow_id: str, text: str = "") -> None:
    call("StartWorkflowExecution", {"domain": "d", "workflowId": workflow_id, "workflowType": FLOW, "input": text})


def command(*arguments: str, **environment: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["server", *arguments], env={"FLOWDSL_SERVER_CREDENTIALS": "", **environment})
    return done.exit_code, done.output


def started_ids(path: Path) -> set[str]:
    """The executions that an engine finds in the file, which must be whole."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    engine = Engine(path)
    answer = engine.apply(NOW, "ListOpenWorkflowExecutions", {"domain": "d", "startTimeFilter": {"oldestDate": 0}, "maximumPageSize": 1000})
    engine.close()
    return {info["execution"]["workflowId"] for info in answer["executionInfos"]}


def test_a_file_at_rest_is_copied_and_not_changed(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "e.db")
    prepare(lambda *call: engine.apply(NOW, *call))
    start(lambda *call: engine.apply(NOW, *call), "w")
    engine.close()
    before = (tmp_path / "e.db").read_bytes()
    assert command("--path", str(tmp_path / "e.db"), "--backup", str(tmp_path / "copy.db")) == (0, "")
    assert (tmp_path / "e.db").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "e.db"]
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert started_ids(tmp_path / "copy.db") == {"w"}


def test_a_file_is_copied_while_it_is_served_and_written_to(tmp_path: Path) -> None:
    service = Service(Engine(tmp_path / "e.db"))
    prepare(service.call)
    for number in range(300):
        start(service.call, f"before-{number}", "x" * 20_000)
    said: list[str] = []
    enough = threading.Event()

    def go_on() -> None:
        while not enough.is_set():
            start(service.call, f"during-{len(said)}")
            said.append(f"during-{len(said)}")

    with ThreadedServer(service) as url:
        writer = threading.Thread(target=go_on)
        writer.start()
        acknowledged = set(said)
        done = command("--path", str(tmp_path / "e.db"), "--port", url.rpartition(":")[2], "--backup", str(tmp_path / "copy.db"))
        enough.set()
        writer.join()
    assert done == (0, "")
    found = started_ids(tmp_path / "copy.db")
    assert found >= {f"before-{number}" for number in range(300)} | acknowledged
    during = sorted(int(name.partition("-")[2]) for name in found if name.startswith("during"))
    assert during == list(range(len(during))), "a moment of the file, not a mixture of several"


def test_a_server_with_credentials_wants_them_for_a_backup_too(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("ann:a long secret\n")
    keys.chmod(0o600)
    service = Service(Engine(tmp_path / "e.db"))
    with ThreadedServer(service, credentials="ann:a long secret") as url:
        arguments = ["--path", str(tmp_path / "e.db"), "--port", url.rpartition(":")[2], "--backup", str(tmp_path / "copy.db")]
        code, message = command(*arguments)
        assert (code, "Missing Authentication Token" in message) == (2, True)
        code, message = command(*arguments, FLOWDSL_SERVER_CREDENTIALS="ann:another secret")
        assert (code, "refused the backup" in message, "another secret" in message) == (2, True, False)
        assert command(*arguments, "--credentials", str(keys)) == (0, "")
    Engine(tmp_path / "copy.db").close()


def test_the_copy_of_another_server_s_file_is_not_taken(tmp_path: Path) -> None:
    locked = Engine(tmp_path / "mine.db")
    with ThreadedServer(Service(Engine(tmp_path / "other.db"))) as url:
        port = url.rpartition(":")[2]
        code, message = command("--path", str(tmp_path / "mine.db"), "--port", port, "--backup", str(tmp_path / "copy.db"))
    locked.close()
    assert (code, "serves another file" in message) == (2, True)
    assert not list(tmp_path.glob("copy*"))


def test_a_file_in_use_by_no_server_is_said_to_be(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "e.db")
    with ThreadedServer(Service(Engine(":memory:"))) as url:
        free = url.rpartition(":")[2]  # nobody listens there any more when the server has ended
    code, message = command("--path", str(tmp_path / "e.db"), "--port", free, "--backup", str(tmp_path / "copy.db"))
    engine.close()
    assert (code, "no flowdsl server" in message, "[FD120]" in message) == (2, True, True)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "copy.db").touch(), "exists; a backup goes to a new file"),
        (lambda folder: (folder / "e.db").unlink(), "there is no file"),
        (lambda folder: (folder / "e.db").write_text("dear diary " * 1000), "not an engine file"),
        (lambda folder: sqlite3.connect(folder / "e.db").executescript("PRAGMA application_id = 7").close(), "no engine's file"),
    ],
)
def test_what_is_no_backup_is_refused(tmp_path: Path, harm: Any, message: str) -> None:
    Engine(tmp_path / "e.db").close()
    harm(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    code, said = command("--path", str(tmp_path / "e.db"), "--backup", str(tmp_path / "copy.db"))
    assert (code, message in said) == (2, True), said
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX modes")
@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("ann:a long secret", 0o640, "chmod 600"),
        ("ann:a long secret", 0o604, "chmod 600"),
        ("ann a long secret", 0o600, "must be access_key:secret"),
        ("ann:short", 0o600, "at least 8 characters"),
        ("", 0o600, "must be access_key:secret"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_credentials_file_that_is_open_or_wrong_is_refused_and_never_shown(
    tmp_path: Path, text: str | None, mode: int, message: str
) -> None:
    keys = tmp_path / "keys"
    if text is not None:
        keys.write_text(text)
        keys.chmod(mode)
    code, said = command("--host", "0.0.0.0", "--path", str(tmp_path / "e.db"), "--credentials", str(keys))
    assert (code, message in said) == (2, True), said
    assert "a long secret" not in said
    assert "short" not in said
    assert not (tmp_path / "e.db").exists()
