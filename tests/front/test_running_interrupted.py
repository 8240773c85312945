"""Ctrl-C and the end of a process while executions are open: they stay alive, it is said how to come back, and the end is quick and
quiet."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from front_kit import Program, served

PROGRAM = """
import sys
import threading
import time

from flowdsl import Embedded, Swf, activity, cached, info, run, signal, start, workflow

URL = sys.argv[1]
seen = threading.Event()
BACKEND = Embedded("flows.db") if URL == "embedded" else Swf(endpoint_url=URL)


def say(*words):
    print(*words)
    seen.set()


def leave_open(flow, *args):
    start(flow, *args, backend=BACKEND)
    seen.wait()


@activity
def greet(name: str) -> str:
    say("greeted", name)
    return f"hello {name}"


@signal
def answer(text: str) -> str:
    return text


@activity
def endless() -> int:
    if info().attempt == 1:
        say("begun")
        time.sleep(600)
    return info().attempt


@cached
def looked_up() -> int:
    say("begun")
    time.sleep(600)
    return 1


@workflow
def asking(name: str) -> str:
    greeting = greet(name)
    try:
        return f"{greeting}: {answer.wait()}"
    finally:
        greet("nobody")  # when the body is torn down at the end of a process, this must not happen


@workflow
def with_endless() -> int:
    return endless()


@workflow
def with_lookup() -> int:
    return looked_up()
"""


@pytest.fixture(params=["embedded", "swf"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "embedded":
        yield "embedded"
    else:
        with served() as (address, _):
            yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flows.py").write_text(PROGRAM)
    return tmp_path


def program(folder: Path, url: str, code: str) -> Program:
    return Program(folder, "-c", f"from flows import *\n{code}", url)


def test_ctrl_c_leaves_the_execution_alive_and_says_how_to_come_back(folder: Path, url: str) -> None:
    with program(folder, url, "run(asking.options(id='q-1'), 'ann', backend=BACKEND)") as one:
        one.until("greeted ann")  # its answer, and the decision on it, may still be on their way: they are finished, however it ends
        one.signal(signal.SIGINT)
        code, errors = one.end()
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in errors.splitlines()  # perhaps not the last one: Ctrl-C in the middle of a call leaves boto's socket open
    (hint,) = [line for line in errors.splitlines() if "Come back" in line]
    assert hint.startswith("q-1 goes on. Come back to it with  flowdsl.attach('q-1', backend=")
    attaching = hint.partition("with  ")[2]
    code = f"import flowdsl; flowdsl.attach('q-1', backend=BACKEND).signal(answer, 'fine'); print('result', {attaching})"
    with program(folder, url, code) as two:
        assert two.until("result") == ["greeted nobody", "result hello ann: fine"]
        assert two.rest() == []


@pytest.mark.parametrize(("flow", "line"), [("asking, 'ann'", "greeted ann"), ("with_endless", "begun"), ("with_lookup", "begun")])
def test_a_process_ends_quickly_and_quietly_with_executions_open(folder: Path, url: str, flow: str, line: str) -> None:
    with program(folder, url, f"leave_open({flow})") as one:
        assert one.rest() == [line]


def test_what_a_process_had_in_hand_at_its_end_is_done_by_the_next_one(folder: Path) -> None:
    with program(folder, "embedded", "leave_open(with_endless.options(id='e-1'))") as one:
        assert one.rest() == ["begun"]
    with program(folder, "embedded", "print(run(with_endless.options(id='e-1'), backend=BACKEND))") as two:
        assert two.rest() == ["2"]


def test_a_forked_child_leaves_its_parents_executions_alone(folder: Path) -> None:
    code = """
import os
execution = start(asking, 'ann', backend=BACKEND)
seen.wait()
child = os.fork()
if child == 0:
    from flowdsl import FileInUse, executions
    try:
        executions(backend=BACKEND)
    except FileInUse as error:
        print("refused", error.code)
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
execution.signal(answer, "still there")
print(execution.result())
"""
    with program(folder, "embedded", "import warnings; warnings.simplefilter('ignore', DeprecationWarning)" + code) as one:
        assert one.rest() == ["greeted ann", "refused FD120", "greeted nobody", "hello ann: still there"]
