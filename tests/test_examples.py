"""The examples do what their first lines say, as programs of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowdsl import Embedded, attach

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PACKAGES = 45  # of the standard library: enough for the staged failure and for a kill in the middle
SECONDS = 180

pytestmark = pytest.mark.slow


def run(arguments: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=SECONDS, check=False)


def example(name: str, *arguments: str, folder: Path, **environment: str) -> str:
    """Run an example to its good end; return what it printed."""
    done = run([str(EXAMPLES / name), *arguments], folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- the demo ---------------------------------------------------------------------------------------------------------

# Imports the demo and lets it run. `count` is called once a file; at the given one the process kills itself, as `kill -9` would.
KILLED = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import stdlib_report
calls, original = 0, stdlib_report.count

def count(path, found):
    global calls
    calls += 1
    if calls == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    original(path, found)

stdlib_report.count = count
sys.exit(stdlib_report.main())
"""


def demo(folder: Path, kill_at: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / "driver.py").write_text(KILLED.format(folder=str(EXAMPLES), at=kill_at), encoding="utf-8")
    return run(["driver.py", "--limit", str(PACKAGES)], folder)


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "stdlib_report.log").read_text(encoding="utf-8").splitlines()]


def times(log: list[dict[str, Any]], state: str) -> Counter[str]:
    return Counter(entry["package"] for entry in log if entry["state"] == state)


class Page(HTMLParser):
    """What matters of a page: that its elements close in order, and what it would load."""

    VOID = frozenset({"meta", "rect", "line", "hr", "i", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self.loads += [value or "" for name, value in attrs if name in {"src", "href", "data"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_demo_measures_the_library_and_leaves_a_page_that_stands_alone(tmp_path: Path) -> None:
    out = example("stdlib_report.py", "--limit", str(PACKAGES), folder=tmp_path)
    page = Path(re.search(r"The report: (.*)", out)[1])  # type: ignore[index]  # a missing line fails here, as it should
    assert page == tmp_path / "stdlib_report.html"
    seen = Page(page.read_text(encoding="utf-8"))
    assert not seen.open
    assert not seen.loads
    assert not seen.seen["script"]
    assert seen.seen["svg"] == 2
    assert seen.seen["rect"] > PACKAGES
    assert f"{PACKAGES} packages" in out
    assert f"{PACKAGES + 1} activities finished, in 1 process;" in out


def test_the_demos_staged_failure_is_retried_and_nothing_else_runs_twice(tmp_path: Path) -> None:
    out = example("stdlib_report.py", "--limit", str(PACKAGES), folder=tmp_path)
    log = log_of(tmp_path)
    assert times(log, "failed") == {"ast": 1}
    assert [entry["attempt"] for entry in log if entry["package"] == "ast" and entry["state"] == "begun"] == [1, 2]
    assert set(times(log, "done").values()) == {1}
    assert "failed at first and were retried: ast" in out


def recorded_before(folder: Path, moment: float) -> set[str]:
    """The calls whose end the engine had recorded before that moment."""
    execution = attach("stdlib-report", backend=Embedded(folder / "stdlib_report.db"))
    calls = {}
    ended = set()
    for event in execution.history():
        if event["eventType"] == "ActivityTaskScheduled":
            calls[event["eventId"]] = event["activityTaskScheduledEventAttributes"]["activityId"]
        if event["eventType"] == "ActivityTaskCompleted" and event["eventTimestamp"] < moment:
            ended.add(calls[event["activityTaskCompletedEventAttributes"]["scheduledEventId"]].partition("~")[0])
    return ended


def test_the_demo_goes_on_after_kill_9_without_repeating_what_had_finished(tmp_path: Path) -> None:
    killed = demo(tmp_path, kill_at=60)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert not (tmp_path / "stdlib_report.html").exists()

    resumed = demo(tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    log = log_of(tmp_path)
    assert len({entry["run"] for entry in log}) == 1
    assert len({entry["pid"] for entry in log}) == 2
    assert len(times(log, "done")) == PACKAGES + 1

    second = [entry for entry in log if entry["pid"] == log[-1]["pid"]]
    finished = recorded_before(tmp_path, second[0]["at"])
    assert finished
    assert not finished & {entry["call"] for entry in second}
    assert "in 2 processes" in resumed.stdout
    assert "ran again although their end was recorded: none" in resumed.stdout
    assert "ended here" in (tmp_path / "stdlib_report.html").read_text(encoding="utf-8")


def test_the_demo_can_be_run_again_after_its_end(tmp_path: Path) -> None:
    first = example("stdlib_report.py", "--limit", "3", folder=tmp_path)
    second = example("stdlib_report.py", "--limit", "3", folder=tmp_path)
    assert "begins" in first
    assert "begins" in second
    assert len({entry["run"] for entry in log_of(tmp_path)}) == 2


# --- the sequence with a timer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["local", "embedded"])
def test_the_order_is_shipped_as_soon_as_somebody_decides(backend: str, tmp_path: Path) -> None:
    out = example("order_with_timer.py", "--backend", backend, folder=tmp_path)
    assert "parcel o-7, receipt o-7" in out


@pytest.mark.parametrize("backend", ["local", "embedded"])
def test_the_order_is_shipped_when_the_timer_fires(backend: str, tmp_path: Path) -> None:
    out = example("order_with_timer.py", "--backend", backend, "--hours", "0.0001", "--silent", folder=tmp_path)
    assert "parcel o-7, receipt o-7" in out


# --- large values -----------------------------------------------------------------------------------------------------


@pytest.fixture
def s3() -> Iterator[str]:
    """The URL of an S3 that forgets everything at the end."""
    server = pytest.importorskip("moto.server", reason="S3 is played by moto: pip install 'flowdsl[test]'")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def test_a_large_value_goes_to_s3_and_its_reference_into_the_history(s3: str, tmp_path: Path) -> None:
    import boto3

    bucket = boto3.resource("s3", endpoint_url=s3).create_bucket(Bucket="values")
    out = example("large_values_on_s3.py", "s3://values/flowdsl", "--lines", "5000", folder=tmp_path, AWS_ENDPOINT_URL_S3=s3)
    assert "{'lines': 5000, 'characters': 320000}" in out
    longest = int(re.search(r"has ([\d,]+) characters", out)[1].replace(",", ""))  # type: ignore[index]  # as above
    assert longest < 32_768
    stored = list(bucket.objects.all())
    assert all(one.key.startswith("flowdsl/sha256/") for one in stored)
    assert sum(one.size for one in stored) > 0
