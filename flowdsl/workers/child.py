"""The other side of `processes`: what runs in an activity's own process.

Rule 1: the function runs in the main thread, as it would in a program of its own.
Rule 2: a thread listens to the worker. When the worker is gone, so is this process, with all its children.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from flowdsl.data import pickled
from flowdsl.data.converter import Converter
from flowdsl.errors import NotSerializable
from flowdsl.lang.scope import ActivityScope
from flowdsl.plain import call_plainly
from flowdsl.workers.processes import BEAT, CANCELLED, DONE, FAILED, FAILURE, REFUSED


def main(descriptor: int) -> None:
    """Take one call from the socket, answer it, and return."""
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    worker = _Worker(connection)
    call = connection.recv_bytes()
    threading.Thread(target=worker.listen, daemon=True).start()
    try:
        answer = DONE + _run(call, worker)
    except BaseException as error:
        answer = FAILED + pickle.dumps(Converter().encode_failure(error, FAILURE))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    connection.send_bytes(answer)


def _run(call: bytes, worker: _Worker) -> bytes:
    definition, args, kwargs, instance, about = pickled.loads(call)
    worker.scope = ActivityScope(about, worker.beat)
    value = call_plainly(definition, args, kwargs, instance, worker.scope)
    try:
        return pickled.dumps(value)
    except pickled.Unpicklable as error:
        raise NotSerializable(f"result of '{definition.name}' cannot leave the activity's process: {error}") from error


class _Worker:
    """The worker at the other end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._replies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.scope: ActivityScope | None = None

    def listen(self) -> None:
        """Take the replies in until the worker is gone."""
        while True:
            try:
                self._replies.put(self._connection.recv_bytes())
            except (EOFError, OSError):
                os.killpg(0, signal.SIGKILL)

    def beat(self, details: Any) -> None:
        """Report to the worker; raises what it refuses the details with, `Cancelled` when the activity shall stop."""
        with self._lock:
            self._connection.send_bytes(BEAT + pickled.dumps(details))
            reply = self._replies.get()
        if reply[:1] == REFUSED:
            raise pickle.loads(reply[1:])
        if reply[:1] == CANCELLED and self.scope is not None:
            self.scope.cancelled = True
