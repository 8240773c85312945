"""`flowdsl check` reads code as a colleague would: what it names is wrong, what it leaves alone is right."""

from __future__ import annotations

from click.testing import CliRunner

from flowdsl.cli import main

BAD = """
import os, random, subprocess, threading, time
from datetime import datetime
from pathlib import Path
from subprocess import run as execute

from flowdsl import activity, workflow

@activity
def allowed():
    return open("prices").read()

def helper():
    deeper()
    return subprocess.run(["true"])          # line 15

def deeper():
    return Path("prices").read_text()        # line 18

def never_called():
    return open("prices")

class Shop:
    @workflow
    def method(self):
        return threading.Thread()            # line 26

@workflow
def flow():
    allowed()
    helper()
    time.sleep(1)
    when = datetime.now(), random.random()
    name = os.environ["HOME"]                # line 34
    with open("x") as file:                  # line 35
        execute(["true"])                    # line 36
    open_ = len("x")
    return when, name, open_
"""

GOOD = """
import random, time
from flowdsl import activity, workflow

@activity
def fetch(url):
    import urllib.request
    return urllib.request.urlopen(url)

@workflow
def flow(open):
    open()
    time.sleep(random.random())
    return fetch("x")
"""


def checked(tmp_path, monkeypatch, name, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{name}.py").write_text(text)
    return CliRunner().invoke(main, ["check", f"{name}.py"])


def test_each_line_that_is_not_recorded_is_named_with_what_to_do(tmp_path, monkeypatch):
    result = checked(tmp_path, monkeypatch, "check_bad", BAD)
    assert result.exit_code == 1
    assert [int(line.split(":")[1]) for line in result.output.splitlines()] == [15, 18, 26, 34, 35, 36]
    assert "check_bad.py:18: Path('prices').read_text reaches for a file" in result.output
    assert all("@activity" in line for line in result.output.splitlines())


def test_code_that_keeps_the_rules_passes(tmp_path, monkeypatch):
    result = checked(tmp_path, monkeypatch, "check_good", GOOD)
    assert (result.exit_code, result.output) == (0, "")


def test_what_cannot_be_found_is_wrong_usage():
    assert CliRunner().invoke(main, ["check", "no_such_file.py"]).exit_code == 2
