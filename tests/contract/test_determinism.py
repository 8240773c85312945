"""The clock, chance and the world outside, as workflow code and everybody else sees them."""

from __future__ import annotations

import datetime as dt
import json
import linecache
import logging
import os
import pickle
import random
import secrets
import socket
import subprocess
import threading
import time
import uuid
from datetime import datetime
from pathlib import Path
from random import randint
from time import sleep as nap
from time import time as clock
from zoneinfo import ZoneInfo

import pytest
from contract_stage import DURABLE, events

from flowdsl import NotRecorded, activity, cached, gather, now, signal, spawn, workflow


@activity
def outside_sees() -> list[float]:
    return [time.time(), clock(), datetime.now().timestamp()]


@cached
def recorded_sees() -> float:
    return time.time()


@signal
def payload() -> float:
    return time.time()


def chances() -> list[object]:
    return [
        random.random(), randint(1, 10**9), random.choice(range(10**9)), random.sample(range(10**6), 2), random.gauss(0, 1),
        random.Random().random(), secrets.token_hex(8), secrets.randbelow(10**9), os.urandom(4).hex(), str(uuid.uuid4()), str(uuid.uuid1()),
    ]  # fmt: skip


def times() -> list[float]:
    return [
        time.time(), clock(), time.time_ns() / 1e9, time.monotonic(), datetime.now().timestamp(), datetime.now(dt.UTC).timestamp(),
        dt.datetime.now(ZoneInfo("UTC")).timestamp(), datetime.utcnow().replace(tzinfo=dt.UTC).timestamp(),
        datetime.today().timestamp(),
        now().timestamp(),
    ]  # fmt: skip


@workflow
def watched() -> list[object]:
    before = [times(), chances()]
    nap(3)
    branches = gather(*[spawn(chances) for _ in range(2)])
    outside_sees()
    return [*before, times(), chances(), *branches, f"{time.strftime('%Y')} {dt.date.today().year}"]


@pytest.mark.stages(*DURABLE)
def test_the_clock_is_historys_and_chance_is_the_branchs(stage):
    """On `replayed` every decision starts from the first line: had a value changed, the last answer would show a mixture."""
    first, chance, second, more, *branches, year = stage.run(watched)
    assert max(first) - min(first) < 0.002
    assert max(second) - min(second) < 0.002
    assert second[0] - first[0] >= 3
    seen = [json.dumps(one) for one in (chance, more, *branches)]
    assert len(set(seen)) == 4
    assert uuid.UUID(chance[-2]).version == 4
    assert uuid.UUID(chance[-1]).version == 1
    assert year == f"{datetime.fromtimestamp(second[0]).year} {datetime.fromtimestamp(second[0]).year}"


@workflow
def naps() -> None:
    nap(5)
    time.sleep(7)


@pytest.mark.stages(*DURABLE)
def test_a_sleep_of_pythons_is_a_durable_timer(stage):
    execution = stage.start(naps)
    execution.result()
    assert [event["startToFireTimeout"] for event in events(execution, "TimerStarted")] == ["5", "7"]


@workflow
def others() -> list[float]:
    return [*outside_sees(), recorded_sees()]


@pytest.mark.stages(*DURABLE)
def test_activities_and_recorded_functions_see_the_machines_clock(stage):
    before = time.time()
    seen = stage.run(others)
    assert all(before <= one <= time.time() for one in seen)


def test_other_threads_and_plain_code_are_left_alone(stage):
    stage.run(naps) if stage.durable else stage.run(others)
    seen: list[float] = []
    thread = threading.Thread(target=lambda: seen.append(time.time()))
    before = time.time()
    thread.start()
    thread.join()
    assert before <= seen[0] <= time.time()
    assert type(datetime.now()) is datetime
    assert isinstance(datetime.now(), dt.datetime)
    assert pickle.loads(pickle.dumps(datetime)) is datetime
    assert pickle.loads(pickle.dumps(time.time)) is clock
    random.seed(7)
    assert random.random() == random.Random(7).random()


def reads_a_file() -> str:
    return Path(__file__).read_text()


REACHES = {
    "a file": reads_a_file,
    "a folder": lambda: list(Path().iterdir()),
    "a socket": lambda: socket.create_connection(("127.0.0.1", 9)),
    "a process": lambda: subprocess.run(["true"], check=False),
    "a thread": lambda: threading.Thread(target=print).start(),
}


@workflow
def reaches(what: str) -> str:
    try:
        return str(REACHES[what]())
    except NotRecorded as error:
        return error.message


@pytest.mark.parametrize("what", REACHES)
def test_what_is_not_recorded_is_refused_with_the_function_to_decorate(stage, what):
    text = stage.run(reaches, what)
    assert "inside a workflow" in text
    assert "@activity" in text
    assert "test_determinism.py:" in text
    assert (what != "a file") or "Decorate reads_a_file()" in text


@workflow
def pythons_own() -> str:
    import this_is_only_imported_by_a_workflow as fresh

    logging.getLogger("test").warning("a line of a log")
    linecache.clearcache()
    return fresh.VALUE + linecache.getline(__file__, 1)[:3] + ZoneInfo("Europe/Berlin").key


def test_imports_log_files_source_lines_and_time_zones_are_pythons_own_business(stage, tmp_path, monkeypatch):
    (tmp_path / "this_is_only_imported_by_a_workflow.py").write_text("with open(__file__) as own: VALUE = own.readline()[:4]\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "this_is_only_imported_by_a_workflow", raising=False)
    handler = logging.FileHandler(tmp_path / "log", delay=True)
    logging.getLogger("test").addHandler(handler)
    try:
        assert stage.run(pythons_own) == 'with"""Europe/Berlin'
    finally:
        logging.getLogger("test").removeHandler(handler)
        handler.close()
    assert (tmp_path / "log").read_text() == "a line of a log\n"
