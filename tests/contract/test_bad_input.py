"""What is refused, clearly, with nothing lost: each refusal says what is wrong, where, and what to do."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import os
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest
from contract_stage import DURABLE, events, new_id, wait_for

import flowdsl
import flowdsl.testing
from flowdsl import (
    AlreadyRunning,
    DefinitionError,
    Embedded,
    FileInUse,
    NotSerializable,
    Retry,
    Swf,
    UntrustedPayload,
    activity,
    run,
    signal,
    sleep,
    timer,
    workflow,
)
from flowdsl.connection import connect
from flowdsl.workers.parking import read_context

# --- a value that nothing can carry ----------------------------------------------------------------------------------


@activity
def takes(first: int, config: object) -> int:
    return first


@activity
def double(x: int) -> int:
    return x * 2


@workflow
def gives_a_generator() -> str:
    try:
        takes(1, config={"rows": [1, (x for x in range(3))]})
    except NotSerializable as error:
        return str(error)
    return "carried"


def test_an_argument_that_cannot_be_carried_is_named_with_its_function_and_the_part_of_it(stage):
    text = stage.run(gives_a_generator)
    assert text.startswith(f"argument 'config' of '{__name__}.takes' → ['rows'] → [1] → generator cannot be stored")
    assert text.endswith("[FD102]")


@workflow
def anything(x: object) -> object:
    return x


def test_a_workflows_own_argument_is_refused_before_anything_is_started(stage):
    with pytest.raises(NotSerializable, match=r"'x' of '.*anything' → generator"):
        stage.run(anything, (n for n in range(3)))


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a:b", "a/b", "a|b", "line\nbreak", "\x7f", "arn", "", "x" * 257, 7])
def test_a_name_that_the_service_refuses_is_refused_at_decoration(name):
    with pytest.raises(DefinitionError, match=r"name"):
        activity(name=name)(lambda: None)


@pytest.mark.parametrize("change", [{"id": "a:b"}, {"id": "arn"}, {"task_list": "a/b"}, {"version": "x" * 65}, {"tags": ["x"] * 6}])
def test_an_option_with_a_bad_name_is_refused_where_it_is_written(change):
    with pytest.raises(DefinitionError, match=next(iter(change))):
        anything.options(**change)


@pytest.mark.parametrize("make", [lambda: Embedded(domain="a:b"), lambda: Swf(domain="arn"), lambda: Swf(task_list="a|b")])
def test_a_backend_with_a_bad_name_is_refused(make):
    with pytest.raises(DefinitionError, match=r"domain|task_list"):
        make()


def test_an_unknown_option_is_refused_with_the_nearest_known_one():
    with pytest.raises(DefinitionError, match="did you mean 'timeout'"):
        activity(timeuot=3)


# --- durations -------------------------------------------------------------------------------------------------------

DURATIONS = {"negative": -1, "text": "1h", "boolean": True, "nan": float("nan"), "infinite": float("inf")}
WHY = {
    "negative": "must not be negative",
    "text": "seconds",
    "boolean": "seconds",
    "nan": "number",
    "infinite": "the most that can be asked for",
}


@workflow
def sleeps(kind: str) -> str:
    try:
        sleep(DURATIONS[kind])
    except DefinitionError as error:
        return str(error)
    return "slept"


@timer
def odd_timer(kind: str) -> object:
    return {**DURATIONS, "none": None, "naive": datetime(2030, 1, 1)}[kind]


@workflow
def waits_oddly(kind: str) -> str:
    try:
        odd_timer(kind)
    except DefinitionError as error:
        return str(error)
    return "waited"


@pytest.mark.parametrize("kind", DURATIONS)
def test_a_duration_that_is_none_is_refused_at_the_call(stage, kind):
    text = stage.run(sleeps, kind)
    assert "sleep()" in text
    assert WHY[kind] in text


@pytest.mark.parametrize("kind", [*DURATIONS, "none", "naive"])
def test_a_timer_function_that_returns_no_duration_is_refused_by_name(stage, kind):
    text = stage.run(waits_oddly, kind)
    assert "odd_timer" in text
    assert text.endswith("[FD101]")


@pytest.mark.parametrize("option", ["timeout", "heartbeat", "schedule_to_start", "schedule_to_close"])
@pytest.mark.parametrize("duration", [-1, "soon", True, float("nan")])
def test_a_duration_option_is_refused_at_decoration(option, duration):
    with pytest.raises(DefinitionError, match=option):
        activity(**{option: duration})


@pytest.mark.parametrize("bad", [{"attempts": 0}, {"attempts": 2, "first": -1}, {"attempts": 2, "on": "sometimes"}, {"attempts": 1.5}])
def test_a_retry_policy_that_makes_no_sense_is_refused(bad):
    with pytest.raises(DefinitionError, match=r"Retry\("):
        Retry(**bad)


# --- threads and foreign things --------------------------------------------------------------------------------------


@workflow
def starts_a_thread() -> str:
    thread = threading.Thread(target=double, args=(1,))
    try:
        thread.start()
    except DefinitionError as error:
        return f"{type(error).__name__}: {error} {double(2)}"
    return "started"


def test_a_thread_of_the_workflow_is_refused_where_it_is_started(stage):
    text = stage.run(starts_a_thread)
    assert text.startswith("NotRecorded: starting a thread inside a workflow")
    assert "@activity" in text
    assert text.endswith(" 4")


@workflow
def uses_a_pool() -> str:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            return str(pool.submit(double, 1).result())
        except DefinitionError as error:
            return str(error)


def test_a_thread_pool_of_the_workflow_is_refused(stage):
    assert "thread" in stage.run(uses_a_pool)


@workflow
async def awaits_a_thread() -> str:
    try:
        await asyncio.to_thread(len, "x")
    except DefinitionError as error:
        return str(error)
    return "awaited"


@workflow
async def awaits_a_socket() -> str:
    try:
        await asyncio.open_connection("127.0.0.1", 9)
    except DefinitionError as error:
        return str(error)
    return "awaited"


@workflow
async def awaits_a_subprocess() -> str:
    try:
        await asyncio.create_subprocess_exec("true")
    except DefinitionError as error:
        return str(error)
    return "awaited"


@pytest.mark.parametrize("flow", [awaits_a_thread, awaits_a_socket, awaits_a_subprocess])
def test_awaiting_what_cannot_be_recorded_is_refused_with_what_to_write_instead(stage, flow):
    text = stage.run(flow)
    assert "cannot be durable" in text
    assert "@activity" in text


@workflow
async def awaits_another_loops_future() -> str:
    loop = asyncio.new_event_loop()
    try:
        await loop.create_future()
    except (DefinitionError, RuntimeError) as error:
        return str(error)
    finally:
        loop.close()
    return "awaited"


def test_awaiting_a_future_of_another_loop_is_refused(stage):
    assert "loop" in stage.run(awaits_another_loops_future)


@workflow
def runs_a_loop() -> str:
    async def inner() -> int:
        return double(1)

    try:
        return str(asyncio.run(inner()))
    except DefinitionError as error:
        return str(error)


def test_a_durable_call_in_an_event_loop_of_the_workflows_own_is_refused(stage):
    assert "event loop" in stage.run(runs_a_loop)


@workflow
def runs_another() -> str:
    try:
        run(anything, 1)
    except DefinitionError as error:
        return str(error)
    return "ran"


def test_run_inside_a_workflow_is_refused(stage):
    assert "child workflow" in stage.run(runs_another)


def test_running_what_is_no_workflow_is_refused():
    with pytest.raises(DefinitionError, match=r"len.*@workflow"):
        run(len, "x")
    with pytest.raises(DefinitionError, match=r"double.*@workflow"):
        run(double, 1)


def test_an_unknown_backend_is_refused_with_those_that_there_are():
    with pytest.raises(DefinitionError, match="'local', 'embedded', 'swf'"):
        run(anything, 1, backend="cloud")


# --- code that no longer fits ----------------------------------------------------------------------------------------


@signal
def go_on() -> None:
    pass


def define(body: str) -> object:
    """A deployment: `body` is what the workflow does after it was told to go on. All stand at the same place, so the latest counts."""

    @activity(name="before")
    def before() -> str:
        return "before"

    @activity(name="after")
    def after() -> str:
        return "after"

    @workflow(name="deployed")
    def deployed() -> list[str]:
        if body == "swapped":
            seen = [after()]
            go_on.wait()
            return [*seen, before()]
        seen = [before()]
        go_on.wait()
        return [*seen, after()]

    return deployed


@pytest.mark.stages(*DURABLE)
def test_code_that_no_longer_fits_leaves_the_execution_blocked_and_fitting_code_goes_on(own_stage):
    stage = own_stage
    with stage.fleet() as fleet:
        execution = flowdsl.start(define("original").options(id=new_id("deployed")), backend=fleet.backend)
        fleet.work()
        wait_for(lambda: events(execution, "ActivityTaskCompleted"))
        wait_for(lambda: len(events(execution, "DecisionTaskCompleted")) == 2)
        fleet.stop()
        before = [event["eventType"] for event in execution.history()]

        define("swapped")
        with stage.clock.held():  # else its retry timers would fire and fire
            fleet.work()
            execution.signal(go_on)
            blocked = wait_for(lambda: read_context(execution.describe().get("latestExecutionContext")).get("blocked"))
        history, now = (next(line for line in blocked.splitlines() if line.strip().startswith(word)) for word in ("history", "now"))
        assert "ActivityTaskScheduled (event 5) before-1" in history
        assert "activity after() as after-1" in now
        assert "test_bad_input.py:" in history
        assert "test_bad_input.py:" in now
        assert "left open and unharmed" in blocked
        assert execution.describe()["executionInfo"]["executionStatus"] == "OPEN"
        assert not events(execution, "ActivityTaskScheduled")[1:]

        define("original")
        stage.clock.advance(5)
        assert execution.result(timeout=60) == ["before", "after"]
        history = [event["eventType"] for event in execution.history()]
        assert history[: len(before)] == before
        assert "blocked" not in read_context(execution.describe().get("latestExecutionContext"))


# --- what others wrote -----------------------------------------------------------------------------------------------


@pytest.mark.stages(*DURABLE)
def test_a_pickle_that_is_not_signed_is_not_loaded(stage, tmp_path):
    connection = connect(stage.backend)
    connection.register(anything)
    trace = tmp_path / "loaded"
    canary = base64.b64encode(f"cos\nsystem\n(S'touch {trace}'\ntR.".encode()).decode()
    task_list = new_id("unsigned")
    run_id = connection.swf.start_workflow_execution(
        workflow_id=new_id("unsigned"), name=anything.name, version="1", task_list=task_list, input=f"fd1.dill...:{canary}",
        execution_start_to_close=3600, task_start_to_close=60, child_policy="terminate",
    )  # fmt: skip
    (open_one,) = [one for one in flowdsl.executions(stage.backend) if one.run_id == run_id]
    with pytest.raises(Exception) as caught:
        stage.attach(open_one.id).result(timeout=30)
    assert type(caught.value) is UntrustedPayload
    assert "is not signed" in str(caught.value)
    assert not Path(trace).exists()


@pytest.mark.stages(*DURABLE)
def test_a_pickle_signed_for_another_place_is_not_loaded(stage):
    other = stage.start(returns_a_lambda)
    other.result()
    stolen = events(other, "WorkflowExecutionCompleted")[0]["result"]
    with pytest.raises(UntrustedPayload, match="for another place"):
        connect(stage.backend).values.decode_result(anything, stolen)


@workflow
def returns_a_lambda() -> object:
    return lambda: 1


# --- ids and files ---------------------------------------------------------------------------------------------------


@workflow
def waits(x: int) -> int:
    go_on.wait()
    return x


@pytest.mark.stages("local", *DURABLE)
def test_an_id_that_is_running_with_other_input_says_how_to_wait_for_it(stage):
    own = new_id("taken")
    first = stage.start(waits.options(id=own), 1)
    if not stage.durable:
        wait_for(lambda: flowdsl.local.running.find(own))
    with pytest.raises(AlreadyRunning, match=own) as caught:
        stage.run(waits.options(id=own), 2)
    assert "another id" in str(caught.value)
    if stage.durable:
        assert f"attach('{own}')" in str(caught.value)
    first.signal(go_on)
    assert first.result() == 1


HOLDER = """
import sys
from flowdsl.backends import Embedded
from flowdsl.connection import connect
connect(Embedded(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_that_another_process_serves_is_refused_and_unharmed(tmp_path):
    path = tmp_path / "sp ace ü.db"
    environment = {**os.environ, "PYTHONPATH": str(Path(flowdsl.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(FileInUse) as caught:
            run(anything, 1, backend=Embedded(path))
        holder.stdin.close()
    assert str(path) in str(caught.value)
    assert "is served by another engine" in str(caught.value)
    assert "flowdsl server" in str(caught.value)
    with flowdsl.testing.embedded(str(path)) as backend:
        assert run(anything, 1, backend=backend) == 1


def test_a_file_that_is_something_else_is_refused_and_unharmed(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and no database" * 100)
    with pytest.raises(flowdsl.NotAnEngineFile, match=r"notes\.txt"):
        run(anything, 1, backend=Embedded(path))
    assert path.read_text().startswith("these are my notes")
