"""An activity in a process of its own: a fresh interpreter that gets the call through a socket and answers through it.

Rule 1: the child is a new interpreter, not a fork (threads and greenlets do not survive one) and not `multiprocessing`, whose children
        run the caller's main module again: a script without a guard, or a notebook, would begin anew in the child.
Rule 2: the call travels by dill: definitions of modules by name, those of `__main__` by value. It never leaves this machine.
Rule 3: the child leads a session of its own. When its attempt is cancelled, and when it has answered, the whole group is killed: nothing
        of an activity outlives it. A child that loses its parent does the same to itself.
Rule 4: a frame is one byte that says what it is, and a body. `child` has the other side.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from socket import socketpair
from typing import TYPE_CHECKING, Any, Final

from flowdsl.data import pickled
from flowdsl.data.converter import Converter
from flowdsl.errors import ActivityFailed, Cancelled, NotSerializable
from flowdsl.model.payload import Slot

if TYPE_CHECKING:
    from flowdsl.workers.attempts import Attempt

BEAT, DONE, FAILED, OK, CANCELLED, REFUSED = b"b", b"d", b"f", b"o", b"c", b"r"

FAILURE: Final = Slot("process", "call", "failure")
"""Where a failure stands on its way from the child to the worker."""

LAST_WORDS: Final = 5.0
"""Seconds that a child has to exit after its answer."""


def run_in_process(attempt: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any) -> Any:
    """Run the attempt's function in a process; return its value or raise what it raised.

    Raises `NotSerializable` if the call cannot be carried there, `Cancelled` if the attempt was cancelled, `ActivityFailed` if the process
    ends without an answer.
    """
    try:
        call = pickled.dumps((attempt.definition, args, kwargs, instance, attempt.about))
    except pickled.Unpicklable as error:
        raise NotSerializable(
            f"{attempt.definition.name} runs in a process of its own (executor='process'), and its call cannot be carried there: {error}"
        ) from error
    here, there = socketpair()
    with there:
        program = f"import sys; sys.path[:] = {sys.path!r}; from flowdsl.workers.child import main; main({there.fileno()})"
        child = subprocess.Popen(
            [sys.executable, "-c", program], pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
    attempt.interruptible(lambda: _kill(child))
    try:
        with Connection(here.detach()) as connection:
            outcome = _converse(attempt, connection, call)
        with suppress(subprocess.TimeoutExpired):
            child.wait(LAST_WORDS)
    finally:
        _kill(child)
        child.wait()
    if outcome is None and attempt.reason is not None:
        raise Cancelled(f"the process of {attempt.definition.name} was killed")
    if outcome is None:
        raise ActivityFailed(
            f"the process of {attempt.definition.name} ended without an answer: {_ending(child.returncode)}",
            name=attempt.definition.name, call_id=attempt.about.call_id or "", attempt=attempt.about.attempt, reason="process",
        )  # fmt: skip
    value, raised = outcome
    if raised is not None:
        raise raised
    return value


def _converse(attempt: Attempt, connection: Connection, call: bytes) -> tuple[Any, BaseException | None] | None:
    """Send the call, answer heartbeats, and return the outcome; None if the child is gone."""
    try:
        connection.send_bytes(call)
        while True:
            frame = connection.recv_bytes()
            kind, body = frame[:1], frame[1:]
            if kind == DONE:
                return pickled.loads(body), None
            if kind == FAILED:
                reason, details = pickle.loads(body)
                return None, Converter().decode_failure(reason, details, FAILURE)
            connection.send_bytes(_beat(attempt, body))
    except (EOFError, OSError):
        return None


def _beat(attempt: Attempt, body: bytes) -> bytes:
    try:
        attempt.report(pickled.loads(body))
    except Exception as error:
        return REFUSED + pickle.dumps(error)
    return CANCELLED if attempt.scope.cancelled else OK


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is None:  # its group is certainly its own as long as nobody has waited for it
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
