"""`flowdsl worker --processes N`: children that serve, and one process that keeps them at it.

Rule 1: a child that ends is started again, after a pause that doubles up to `CAP` as long as children do not live for `SETTLED` seconds.
Rule 2: the first SIGTERM or SIGINT is passed on: every child drains; the second one too, and then they end at once. The supervisor's exit
        code is 0 if every child's was.
Rule 3: a reload drains a child and starts a new one in its place; the new one begins while the old one still finishes its work.
Rule 4: a child lives no longer than its supervisor: it reads a pipe that only the supervisor holds, and drains at its end.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import IO, Any, Final

log = logging.getLogger("flowdsl.worker")

FIRST: Final = 0.5
CAP: Final = 30.0
"""Seconds to wait before a crashed child is started again, at first and at most."""

SETTLED: Final = 30.0
"""Seconds after which a child has shown that it can live."""

SUPERVISED: Final = "FLOWDSL_SUPERVISED"
"""Set for children: their standard input ends with the supervisor."""


@dataclass
class _Child:
    number: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0
    restarts: int = 0


class Supervisor:
    """Runs `command` in `count` processes until a signal. `say(text)` is told what happens; `changes` yields whenever code has changed."""

    def __init__(self, command: Sequence[str], count: int, *, say: Callable[[str], object], changes: Iterable[Any] | None = None) -> None:
        self._command = list(command)
        self._say = say
        self._changes = changes
        self._children = [_Child(number + 1) for number in range(count)]
        self._leaving: list[subprocess.Popen[bytes]] = []
        self._codes: list[int] = []
        self._notes: SimpleQueue[str] = SimpleQueue()
        self._stopping = False

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all children run, and what there is to say of them."""
        children = [
            {"number": c.number, "pid": c.process.pid if c.process else None, "restarts": c.restarts, "running": _runs(c.process)}
            for c in self._children
        ]
        well = not self._stopping and all(child["running"] for child in children)
        return well, {"status": "draining" if self._stopping else "serving" if well else "restarting", "children": children}

    def run(self) -> int:
        """Serve until a signal; return the exit code."""
        previous = {number: signal.signal(number, lambda *_: self._notes.put("signal")) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            if self._changes is not None:
                threading.Thread(target=self._watch, args=(self._changes,), name="flowdsl-reload", daemon=True).start()
            while not self._stopping or self._everybody():
                self._look_after()
                self._listen()
            return 0 if not any(self._codes) else 1
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    # --- one round

    def _look_after(self) -> None:
        self._leaving = [process for process in self._leaving if _runs(process) or self._ended(process)]
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and not _runs(child.process):
                self._after(child, now)
            if child.process is None and not self._stopping and now >= child.due:
                self._start(child, now)

    def _after(self, child: _Child, now: float) -> None:
        """A child has ended."""
        process = child.process
        assert process is not None
        child.process = None
        self._ended(process)
        if self._stopping:
            return
        child.failures = 0 if now - child.started >= SETTLED else child.failures + 1
        child.due = now + (min(CAP, FIRST * 2.0 ** min(child.failures - 1, 30)) if child.failures else 0.0)
        child.restarts += 1
        self._say(f"process {child.number} (pid {process.pid}) ended with {process.returncode}; next start in {child.due - now:.1f} s")

    def _start(self, child: _Child, now: float) -> None:
        child.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=os.environ | {SUPERVISED: "1"}, start_new_session=True)
        child.started = now
        self._say(f"process {child.number} runs as pid {child.process.pid}")

    def _ended(self, process: subprocess.Popen[bytes]) -> bool:
        _close(process.stdin)
        if self._stopping:
            self._codes.append(process.returncode)
        return False

    def _everybody(self) -> list[subprocess.Popen[bytes]]:
        return [*self._leaving, *(child.process for child in self._children if child.process is not None)]

    # --- what may happen

    def _listen(self) -> None:
        with suppress(Empty):
            note = self._notes.get(timeout=0.1)
            if note == "signal":
                self._stopping = True
                _signal(self._everybody())
            elif note == "changed" and not self._stopping:
                self._reload()

    def _reload(self) -> None:
        self._say("the code has changed: starting anew")
        old = [child.process for child in self._children if child.process is not None]
        for child in self._children:
            child.process, child.due, child.failures = None, 0.0, 0
        self._leaving += old
        _signal(old)

    def _watch(self, changes: Iterable[Any]) -> None:
        for _ in changes:
            self._notes.put("changed")


def drain_with_supervisor(descriptor: int = 0) -> None:
    """In a child: when the supervisor is gone, drain as after a signal."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(descriptor, 1024):  # no buffered file: its lock would be held when the interpreter ends
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="flowdsl-supervised", daemon=True).start()


def _runs(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is None


def _signal(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if _runs(process):
            process.send_signal(signal.SIGTERM)


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with suppress(OSError):
            stream.close()
