"""`scope`, `timeout` and `shield`: what is started inside a block ends with it, whoever ends it."""

from __future__ import annotations

import asyncio

import pytest
from contract_stage import DURABLE, HANDLES, events, new_id, wait_for

from flowdsl import (
    ActivityFailed,
    Cancelled,
    CancelRequested,
    DefinitionError,
    activity,
    gather,
    publish,
    scope,
    shield,
    signal,
    sleep,
    spawn,
    timeout,
    workflow,
)

LONG = 3600


@activity
def double(x: int) -> int:
    return x * 2


@activity
def fail(text: str) -> None:
    raise ValueError(text)


@signal
def go(text: str) -> str:
    return text


@signal
def never() -> None:
    pass


def waits_for_ever(seen: list[str], name: str) -> None:
    try:
        sleep(LONG)
    except Cancelled:
        seen.append(f"{name} cancelled")
        raise
    finally:
        with shield():
            seen.append(f"{name} cleaned {double(1)}")


def waits_for_a_signal(seen: list[str]) -> None:
    try:
        never.wait()
    except Cancelled:
        with shield():
            seen.append(f"branch cancelled and cleaned {double(1)}")
        raise


def after(seconds: float, value: int) -> int:
    sleep(seconds)
    return value


# --- scope


@workflow
def waits_for_what_it_started() -> list[int]:
    done: list[int] = []

    def slow(n: int) -> None:
        sleep(0.01)
        done.append(double(n))

    with scope():
        spawn(slow, 1)
        spawn(slow, 2)
        double.start(5)
    return sorted(done)


def test_a_scope_waits_for_the_branches_that_it_started(stage):
    assert stage.run(waits_for_what_it_started) == [2, 4]


@workflow
def a_branch_fails() -> list[str]:
    seen: list[str] = []

    def fails_soon() -> None:
        sleep(0.01)
        fail("broken")

    try:
        with scope():
            spawn(waits_for_ever, seen, "sibling")
            spawn(fails_soon)
            sleep(LONG)
            seen.append("never")
    except ValueError as error:
        seen.append(f"{error} from {type(error.__cause__).__name__}")
    return seen


def test_a_branch_that_fails_cancels_its_siblings_and_interrupts_the_body(stage):
    assert stage.run(a_branch_fails) == ["sibling cancelled", "sibling cleaned 2", f"broken from {ActivityFailed.__name__}"]


@workflow
def the_body_fails() -> list[str]:
    seen: list[str] = []
    try:
        with scope():
            spawn(waits_for_ever, seen, "branch")
            sleep(0.01)
            raise KeyError("body")
    except KeyError:
        seen.append("body failed")
    return seen


def test_a_body_that_fails_cancels_what_it_started_and_waits_for_its_cleaning_up(stage):
    assert stage.run(the_body_fails) == ["branch cancelled", "branch cleaned 2", "body failed"]


@workflow
def nested() -> list[str]:
    seen: list[str] = []

    def inner() -> None:
        with scope():
            spawn(waits_for_ever, seen, "inner")
            sleep(LONG)

    try:
        with scope():
            spawn(inner)
            sleep(0.01)
            raise LookupError("outer")
    except LookupError:
        seen.append("outer left")
    return seen


def test_scopes_inside_a_cancelled_branch_are_left_too(stage):
    assert stage.run(nested) == ["inner cancelled", "inner cleaned 2", "outer left"]


@workflow
def scope_without_an_error() -> list[object]:
    with scope():
        listening = go.start()
        pause = spawn(after, 0.01, 7)
    return [listening.is_ready(), type(listening.exception()).__name__, pause.result()]


def test_what_nobody_can_wait_for_is_dropped_at_the_end_of_a_scope(stage):
    assert stage.run(scope_without_an_error) == [True, "Cancelled", 7]


# --- timeout


@workflow
def too_slow(limit: float) -> list[str]:
    seen: list[str] = []
    try:
        with timeout(limit):
            spawn(waits_for_ever, seen, "branch")
            go.wait()
    except TimeoutError as error:
        seen.append(type(error).__name__)
    seen.append(str(double(2)))
    return seen


def test_a_timeout_interrupts_the_block_and_cancels_what_it_started(stage):
    assert stage.run(too_slow, 0.02) == ["branch cancelled", "branch cleaned 2", "TimeoutError", "4"]


@workflow
def in_time() -> list[object]:
    with timeout(LONG):
        value = double(1)
        later = spawn(after, 0.01, 9)
    sleep(0.02)
    return [value, later.result()]


def test_a_block_that_is_done_in_time_takes_its_timer_back_and_leaves_the_rest_alone(stage):
    assert stage.run(in_time) == [2, 9]


@pytest.mark.stages(*DURABLE)
def test_the_timer_of_a_block_that_was_done_in_time_is_cancelled(stage):
    execution = stage.start(in_time)
    assert execution.result() == [2, 9]
    assert [timer["timerId"] for timer in events(execution, "TimerCanceled")] == ["timeout-1"]


@workflow
def nested_timeouts(outer: float, inner: float) -> str:
    try:
        with timeout(outer):
            try:
                with timeout(inner):
                    sleep(LONG)
            except TimeoutError:
                return "inner"
    except TimeoutError:
        return "outer"
    return "none"


@pytest.mark.parametrize(("outer", "inner", "which"), [(5, 2, "inner"), (2, 5, "outer")])
def test_of_two_nested_timeouts_the_one_that_is_over_is_raised_at_its_own_block(stage, outer, inner, which):
    assert stage.run(nested_timeouts, stage.seconds(outer), stage.seconds(inner)) == which


@workflow
def swallows_exceptions() -> list[str]:
    seen: list[str] = []
    try:
        with timeout(0.01):
            try:
                sleep(LONG)
            except Exception:
                seen.append("swallowed")
    except TimeoutError:
        seen.append("timed out")
    return seen


def test_code_that_catches_every_exception_does_not_swallow_a_timeout(stage):
    assert stage.run(swallows_exceptions) == ["timed out"]


@workflow
def no_limit() -> int:
    with timeout(None):
        return double(4)


def test_a_timeout_of_none_is_no_limit(stage):
    assert stage.run(no_limit) == 8


# --- shield, and the cancellation of an execution


@workflow
def cleans_up_in_peace() -> list[str]:
    seen: list[str] = []
    try:
        with timeout(0.01):
            with shield():
                sleep(0.03)
                seen.append(f"finished {double(3)}")
            seen.append("never")
    except TimeoutError:
        seen.append("then timed out")
    return seen


def test_a_shield_holds_a_timeout_back_until_its_end(stage):
    assert stage.run(cleans_up_in_peace) == ["finished 6", "then timed out"]


@workflow
def inner_timeout_under_a_shield() -> str:
    with shield():
        try:
            with timeout(0.01):
                sleep(LONG)
        except TimeoutError:
            return "timed out inside"
    return "never"


def test_blocks_inside_a_shield_are_not_held_up(stage):
    assert stage.run(inner_timeout_under_a_shield) == "timed out inside"


@workflow
def shielded_from_its_own_end() -> str:
    publish("begun")
    try:
        with shield():
            text = go.wait()
        go.wait()
    except CancelRequested:
        publish(f"{text}, then {double(5)}")
        raise
    return "never"


@pytest.mark.stages(*HANDLES)
def test_a_shield_holds_the_end_of_an_execution_back(stage):
    execution = stage.start(shielded_from_its_own_end.options(id=new_id("shield")))
    wait_for(lambda: execution.published() == "begun")
    execution.cancel()
    execution.signal(go, "in peace")
    with pytest.raises(Cancelled):
        execution.result()
    assert execution.published() == "in peace, then 10"


@workflow
def scope_of_a_cancelled_execution() -> None:
    seen: list[str] = []
    publish("begun")
    try:
        with scope():
            spawn(waits_for_a_signal, seen)
            go.wait()
    finally:
        publish(seen)


@pytest.mark.stages(*HANDLES)
def test_a_cancelled_execution_leaves_its_scopes_in_order(stage):
    execution = stage.start(scope_of_a_cancelled_execution.options(id=new_id("scope")))
    wait_for(lambda: execution.published() == "begun")
    execution.cancel()
    with pytest.raises(Cancelled):
        execution.result()
    assert execution.published() == ["branch cancelled and cleaned 2"]


# --- coroutines


@workflow
async def coroutine_blocks() -> list[object]:
    seen: list[object] = []
    try:
        with timeout(0.01):
            await asyncio.sleep(LONG)
    except TimeoutError:
        seen.append("await")
    try:
        async with timeout(0.01):
            await double.start(1)
            sleep(LONG)
    except TimeoutError:
        seen.append("plain call")
    try:
        async with scope():
            spawn(after, 0.01, 1)
            spawn(fails_later)
            await asyncio.sleep(LONG)
    except ValueError as error:
        seen.append(str(error))
    seen.append(await _in_a_task())
    return [*seen, await double.start(21)]


def fails_later() -> None:
    sleep(0.02)
    fail("later")


async def _in_a_task() -> list[str]:
    async def limited(seconds: float) -> str:
        try:
            with timeout(seconds):
                await asyncio.sleep(0.05)
        except TimeoutError:
            return "late"
        return "in time"

    return await asyncio.gather(limited(0.01), limited(LONG))


@pytest.mark.stages("plain", "local")
def test_blocks_in_a_coroutine_where_time_passes(stage):
    assert stage.run(coroutine_blocks) == ["await", "plain call", "later", ["late", "in time"], 42]


@workflow
async def coroutine_blocks_of_seconds() -> list[object]:
    async def limited(seconds: float) -> str:
        try:
            with timeout(seconds):
                await asyncio.sleep(10)
        except TimeoutError:
            return "late"
        return "in time"

    seen: list[object] = await asyncio.gather(limited(5), limited(LONG))
    try:
        async with scope():
            spawn(fails_later)
            await asyncio.sleep(LONG)
    except ValueError as error:
        seen.append(str(error))
    try:
        async with timeout(2):
            sleep(LONG)
    except TimeoutError:
        seen.append("plain call")
    return seen


@pytest.mark.stages(*DURABLE)
def test_blocks_in_a_coroutine(stage):
    assert stage.run(coroutine_blocks_of_seconds) == ["late", "in time", "later", "plain call"]


# --- outside


def test_outside_a_run_scopes_do_nothing_and_a_timeout_is_refused():
    with scope(), shield():
        assert gather(double.start(2)) == [4]
    with pytest.raises(DefinitionError, match="timeout\\(\\) belongs inside a workflow"), timeout(3):
        pass


@workflow
def enters_twice() -> str:
    block = scope()
    with block:
        try:
            with block:
                pass
        except DefinitionError as error:
            return str(error)
    return ""


def test_a_block_is_entered_once(stage):
    assert "write a new one" in stage.run(enters_twice)
