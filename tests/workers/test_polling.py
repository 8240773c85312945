"""The loop that polls for ever, and its patience."""

from __future__ import annotations

import logging
import threading

import pytest

from flowdsl.errors import Fault
from flowdsl.workers.hooks import Hooks
from flowdsl.workers.identity import default_identity
from flowdsl.workers.polling import CAP, FIRST, Patience, PollLoop

LIMIT = 20.0


def test_a_loop_steps_until_it_is_stopped_and_is_idle_when_a_step_found_nothing() -> None:
    idle, stepped = threading.Event(), []

    def step() -> bool:
        stepped.append(True)
        if idle.is_set():
            loop.stop()
        return len(stepped) < 3

    loop = PollLoop(step, Hooks(on_idle=idle.set), "loop")
    loop.start()
    assert loop.join(LIMIT)
    assert len(stepped) == 4


def test_a_step_that_fails_is_reported_and_waited_for(caplog) -> None:
    caplog.set_level(logging.INFO)
    waits: list[float] = []
    errors = [ValueError("a bug"), Fault("ConnectionError", "nobody listens", retryable=True)]
    told: list[BaseException] = []

    def step() -> bool:
        if errors:
            raise errors.pop(0)
        loop.stop()
        return True

    hooks = Hooks(on_error=lambda error, about: told.append(error))
    loop = PollLoop(step, hooks, "loop", Patience(hooks, "loop", wait=waits.append, random=lambda: 0.0))
    loop.start()
    assert loop.join(LIMIT)
    assert waits == [FIRST / 2, FIRST]
    assert [type(error) for error in told] == [ValueError, Fault]
    assert "ValueError: a bug" in caplog.text  # a bug comes with its traceback, a fault with one line
    assert caplog.text.count("Traceback") == 1


def test_waiting_is_interrupted_by_a_stop() -> None:
    failing = threading.Event()

    def step() -> bool:
        failing.set()
        raise Fault("ConnectionError", retryable=True)

    loop = PollLoop(step, Hooks(), "loop", Patience(Hooks(), "loop", random=lambda: 1.0))
    loop.start()
    assert failing.wait(LIMIT)
    loop.stop()
    assert loop.join(LIMIT)


def test_waits_grow_to_the_cap_and_begin_anew_when_it_worked() -> None:
    waits: list[float] = []
    patience = Patience(Hooks(), "loop", wait=waits.append, random=lambda: 1.0)
    for _ in range(12):
        patience.failed(Fault("Throttling"))
    assert waits[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert waits[-1] == CAP
    patience.worked()
    patience.failed(Fault("Throttling"))
    assert waits[-1] == FIRST


def test_after_a_stop_a_failure_is_neither_said_nor_waited_for(caplog) -> None:
    patience = Patience(Hooks(on_error=lambda error, about: pytest.fail("reported")), "loop", wait=lambda delay: pytest.fail("waited"))
    patience.stop()
    patience.failed(Fault("ServiceUnavailable"))
    assert caplog.records == []


def test_a_loop_that_was_never_started_has_ended() -> None:
    loop = PollLoop(lambda: True, Hooks(), "loop")
    loop.stop()
    assert loop.join(LIMIT)


def test_hooks_that_fail_are_logged_and_harm_nobody(caplog) -> None:
    def broken(*_: object) -> None:
        raise ValueError("the hook's own fault")

    hooks = Hooks(on_idle=broken, on_error=broken)
    hooks.idle()
    hooks.report(Fault("X"), {})
    assert "on_idle failed" in caplog.text
    assert "on_error failed" in caplog.text


def test_an_identity_names_process_and_host_within_the_services_limit(monkeypatch) -> None:
    import os

    monkeypatch.setattr("socket.gethostname", lambda: "h" * 300)
    assert default_identity().startswith(f"{os.getpid()}@hhh")
    assert len(default_identity()) == 256
