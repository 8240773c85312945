"""Programs in processes of their own, that a test watches line by line, signals and kills; and a server whose calls a test can wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any, Self

from flowdsl.engine import Engine, Service
from flowdsl.server import ThreadedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds after which a test that waits for something that never comes fails


class Program:
    """A Python program (`arguments` as after `python`), whose lines on stdout can be waited for. Leaving it kills it."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self._lines: Queue[str | None] = Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=self._read_lines), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.append(self.process.stderr.read())

    def line(self) -> str:
        """The next line. Fails when the program ends without one."""
        line = self._lines.get(timeout=PATIENCE)
        if line is None:
            self._lines.put(None)
            raise AssertionError(f"the program ended: {self.end()}")
        return line

    def until(self, text: str) -> list[str]:
        """The lines up to and with the first one that begins with `text`."""
        lines = [self.line()]
        while not lines[-1].startswith(text):
            lines.append(self.line())
        return lines

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.end()

    def end(self) -> tuple[int, str]:
        """Wait for the end; the exit code and stderr."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code, "".join(self._errors)

    def rest(self) -> list[str]:
        """Wait for the end; the lines that nobody has read."""
        code, errors = self.end()
        assert (code, errors) == (0, ""), (code, errors)
        return list(iter(self._lines.get, None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.end()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class Watched(Service):
    """An engine's service that counts the calls that were made, and lets a test wait for them."""

    def __init__(self, engine: Engine, clock: Any = None) -> None:
        super().__init__(engine, clock)
        self.made: Counter[str] = Counter()
        self._news = threading.Condition()

    def submit_all(self, calls: Any) -> Any:
        tickets = super().submit_all(calls)
        with self._news:
            self.made.update(operation for operation, _, _ in calls)
            self._news.notify_all()
        return tickets

    def wait_for(self, operation: str, number: int = 1) -> None:
        """Until so many calls of the operation were made (a poll: until it is open)."""
        with self._news:
            assert self._news.wait_for(lambda: self.made[operation] >= number, PATIENCE), (
                f"{operation} was made {self.made[operation]} times"
            )


@contextmanager
def served(clock: Any = None) -> Iterator[tuple[str, Watched]]:
    """A server in this process, on an engine in memory: its URL and its service."""
    service = Watched(Engine(":memory:"), clock)
    with ThreadedServer(service) as url:
        yield url, service


def attributes(event: dict[str, Any]) -> dict[str, Any]:
    kind = event["eventType"]
    found: dict[str, Any] = event[f"{kind[0].lower()}{kind[1:]}EventAttributes"]
    return found


def kinds(events: list[dict[str, Any]]) -> Counter[str]:
    """How often each type of event is in a history."""
    return Counter(event["eventType"] for event in events)
