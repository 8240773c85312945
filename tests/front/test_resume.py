"""kill -9, and the second start: what had finished is never repeated, what was in hand is given out again at once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from front_kit import Program, attributes, kinds

from flowdsl import Embedded, FileInUse, WorkflowTerminated, attach
from flowdsl.connection import disconnect
from flowdsl.engine import Engine, Service
from flowdsl.service.swf import Swf

PROGRAM = '''
import sys
import time
from pathlib import Path

from flowdsl import ActivityTimedOut, Embedded, Retry, activity, cached, gather, info, run, sleep, start, workflow
from flowdsl.connection import install
from flowdsl.engine import Engine, Service, SkippingClock

BACKEND = Embedded("flows.db")


def note(text):
    """Outside flowdsl's own records: on the test's side, and in a file that is only appended to."""
    with open("side.log", "a") as file:
        file.write(text + "\\n")
    print(text)


def stuck_at_first(name):
    if not Path(name).exists():
        Path(name).touch()
        note(f"in hand {name}")
        time.sleep(600)


@activity
def step(number: int) -> int:
    note(f"step {number} {info().attempt}")
    return number


@activity(retry=Retry(attempts=99, first=0))
def gate() -> None:
    """Keeps the execution open until the test lets it end."""
    note("gate")
    while not Path("go").exists():
        time.sleep(0.01)


@workflow
def one_by_one(count: int) -> int:
    total = sum(step(number) for number in range(count))
    gate()
    return total


@workflow
def all_at_once(count: int) -> int:
    total = sum(gather(*[step.start(number) for number in range(count)]))
    gate()
    return total


@activity
def slow() -> int:
    stuck_at_first("slow")
    return info().attempt


@activity(retry=Retry(attempts=1))
def careful() -> int:
    stuck_at_first("careful")
    return 1


@cached
def drawn() -> int:
    stuck_at_first("drawn")
    note("drawn")
    return 7


@workflow
def with_slow() -> list[int]:
    return [step(1), slow(), step(2)]


@workflow
def with_careful() -> str:
    try:
        return f"careful gave {careful()}"
    except ActivityTimedOut as error:
        return f"timed out: {error.kind}, attempt {error.attempt}"


@workflow
def with_drawn() -> list[int]:
    return [step(1), drawn(), step(2), drawn()]


@workflow
def with_timer() -> list[int]:
    first = step(1)
    sleep(7200)
    return [first, step(2)]


def main(name, *args):
    print("result", run(globals()[name].options(id="the-one"), *args, backend=BACKEND))


def until_the_timer_runs():
    execution = start(with_timer.options(id="the-one"), backend=BACKEND)
    while not any(event["eventType"] == "TimerStarted" for event in execution.history()):
        time.sleep(0.01)
    print("timer")
    execution.result()


def on_a_clock_that_skips(name):
    install(BACKEND, Service(Engine(BACKEND.file, recover=True), SkippingClock(time.time())))
    main(name)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flows.py").write_text(PROGRAM)
    return tmp_path


def history(folder: Path) -> list[dict[str, Any]]:
    """What the file says, read by an engine of our own."""
    service = Service(Engine(folder / "flows.db"))
    try:
        swf = Swf(service, "flowdsl")
        (found,) = swf.list_open(workflow_id="the-one") or swf.list_closed(workflow_id="the-one")
        return list(swf.history("the-one", found["execution"]["runId"]))
    finally:
        service.close()


def finished_steps(folder: Path) -> set[str]:
    """The numbers of the steps whose completion is in the file."""
    events = history(folder)
    by_id = {event["eventId"]: event for event in events}
    done = [attributes(event)["scheduledEventId"] for event in events if event["eventType"] == "ActivityTaskCompleted"]
    inputs = [re.findall(r"\d+", attributes(by_id[scheduled])["input"]) for scheduled in done]
    return {numbers[0] for numbers in inputs if numbers}


def runs_of_steps(folder: Path) -> Counter[str]:
    return Counter(line.split()[1] for line in (folder / "side.log").read_text().splitlines() if line.startswith("step"))


@pytest.mark.parametrize(("flow", "slots"), [("one_by_one", 1), ("all_at_once", 8)])
@pytest.mark.parametrize("kills", [(1,), (9, 6), (19,), (3, 3, 3, 3)])
def test_after_any_number_of_kills_no_finished_activity_is_repeated(folder: Path, flow: str, slots: int, kills: tuple[int, ...]) -> None:
    for lines in kills:
        finished_before = finished_steps(folder) if (folder / "flows.db").exists() else set()
        before = runs_of_steps(folder) if finished_before else Counter()
        with Program(folder, "-c", f"import flows; flows.main({flow!r}, 20)") as program:
            for _ in range(lines):
                if program.line() == "gate":
                    break
            program.kill()
        now = runs_of_steps(folder)
        assert all(now[number] == before[number] for number in finished_before)
    finished, before = finished_steps(folder), runs_of_steps(folder)
    (folder / "go").touch()
    with Program(folder, "-c", f"import flows; flows.main({flow!r}, 20)") as program:
        assert program.until("result")[-1] == "result 190"
        program.rest()
    after = runs_of_steps(folder)
    assert set(after) == {str(number) for number in range(20)}
    assert all(after[number] == before[number] for number in finished)
    assert sum(after.values()) <= 20 + slots * len(kills)


def test_an_activity_in_hand_at_the_kill_is_given_out_again_at_once(folder: Path) -> None:
    with Program(folder, "-c", "import flows; flows.main('with_slow')") as program:
        program.until("in hand")
        program.kill()
    with Program(
        folder, "-c", "import flows; flows.main('with_slow')"
    ) as program:  # its heartbeat timeout is as long as this test's patience: waiting fails
        assert program.until("result")[-1] == "result [1, 2, 2]"
    assert runs_of_steps(folder) == {"1": 1, "2": 1}


def test_an_activity_that_may_run_once_only_is_not_run_again_after_a_kill(folder: Path) -> None:
    with Program(folder, "-c", "import flows; flows.main('with_careful')") as program:
        program.until("in hand")
        program.kill()
    with Program(folder, "-c", "import flows; flows.main('with_careful')") as program:
        assert program.rest() == ["result timed out: HEARTBEAT, attempt 1"]


def test_a_recorded_function_in_hand_at_the_kill_is_run_again_and_then_never_more(folder: Path) -> None:
    with Program(folder, "-c", "import flows; flows.main('with_drawn')") as program:
        program.until("in hand")
        program.kill()
    with Program(folder, "-c", "import flows; flows.main('with_drawn')") as program:
        assert program.rest() == ["drawn", "step 2 1", "drawn", "result [1, 7, 2, 7]"]
    assert runs_of_steps(folder) == {"1": 1, "2": 1}


def test_a_timer_goes_on_over_a_kill(folder: Path) -> None:
    with Program(folder, "-c", "import flows; flows.until_the_timer_runs()") as program:
        program.until("timer")
        program.kill()
    with Program(folder, "-c", "import flows; flows.on_a_clock_that_skips('with_timer')") as program:
        assert program.until("result")[-1] == "result [1, 2]"
        program.rest()
    events = history(folder)
    assert kinds(events)["TimerStarted"] == 1
    started = next(event for event in events if event["eventType"] == "TimerStarted")
    fired = next(event for event in events if event["eventType"] == "TimerFired")
    assert fired["eventTimestamp"] - started["eventTimestamp"] >= 7200
    assert runs_of_steps(folder) == {"1": 1, "2": 1}


def test_a_file_that_another_process_serves_is_refused_and_opens_when_that_one_has_ended(folder: Path) -> None:
    backend = Embedded(folder / "flows.db")
    with Program(folder, "-c", "import flows; flows.until_the_timer_runs()") as program:
        program.until("timer")
        with pytest.raises(FileInUse, match=r"flows\.db' is served by another engine, in this process or in another one.*flowdsl server"):
            attach("the-one", backend=backend)
        program.kill()
    execution = attach("the-one", backend=backend)
    assert execution.describe()["executionInfo"]["executionStatus"] == "OPEN"
    execution.terminate("the test is over")
    with pytest.raises(WorkflowTerminated):
        execution.result()
    disconnect(backend)
