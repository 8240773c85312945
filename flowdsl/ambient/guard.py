"""The world outside is not recorded: workflow code that reaches for it is stopped at that line.

Rule 1: Python itself says when something reaches out (`sys.addaudithook`), whatever the way: `open`, pathlib, a library, C code. One look
        at the event's name sends all others on.
Rule 2: what Python does on its own behalf while workflow code runs is none of the workflow's: imports, source lines for tracebacks,
        logging, time zones (`_PYTHONS_OWN`). flowdsl's own work is not workflow code (`outside_workflow`).
Rule 3: the error says what was reached for, where, and which function to decorate.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Final

from flowdsl.ambient.replaced import is_users
from flowdsl.errors import NotRecorded
from flowdsl.lang.context import workflow_runtime

_FILES, _NETWORK, _PROCESSES, _THREADS, _PERSON = "a file", "the network", "a process", "a thread", "a person at the keyboard"

REFUSED: Final = {
    **dict.fromkeys(
        ("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
         "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.copyfile", "shutil.move", "tempfile.mkstemp", "tempfile.mkdtemp",
         "sqlite3.connect"),
        _FILES,
    ),
    **dict.fromkeys(
        ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
         "socket.gethostbyaddr", "socket.gethostname", "urllib.Request"),
        _NETWORK,
    ),
    **dict.fromkeys(
        ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn", "os.startfile"),
        _PROCESSES,
    ),
    **dict.fromkeys(("threading.Thread.start", "_thread.start_new_thread", "_thread.start_joinable_thread"), _THREADS),
    "builtins.input": _PERSON,
}  # fmt: skip
"""Audit events (Python's documentation, "Audit events table"), and one of our own, and what they reach for."""

_ZONES = f"{os.sep}zoneinfo{os.sep}"
_PYTHONS_OWN = frozenset({
    "importlib", "zipimport", "linecache", "tokenize", "inspect", "traceback", "warnings", "logging", "zoneinfo", "locale", "gettext",
    "encodings", "pkgutil", "sysconfig", "bdb", "pdb", "faulthandler", "tracemalloc",
})  # fmt: skip


def install() -> None:
    """Watch, from now on."""
    sys.addaudithook(_hook)
    original = threading.Thread.start  # Python tells of a thread's start since 3.12 only

    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        _hook("threading.Thread.start", ())
        original(self)

    threading.Thread.start = start  # type: ignore[method-assign]  # the one place where all threads begin


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in REFUSED and workflow_runtime() is not None:
        _refuse(event, args)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _ZONES in str(args[0]):
        return  # read by C code of Python's own
    place: FrameType | None = None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.partition(".")[0] in _PYTHONS_OWN:
            return
        if name == "flowdsl.replay.branches" and frame.f_code.co_name == "body":
            break  # below it there is no workflow code
        if place is None and is_users(frame.f_code.co_filename):
            place = frame
        frame = frame.f_back
    why = f"{_what(event, args)} inside a workflow: {REFUSED[event]} is not recorded, so a replay would see another one"
    raise NotRecorded(f"{why}. {_advice(place)}")


def _what(event: str, args: tuple[Any, ...]) -> str:
    if event == "open" or event.startswith(("os.", "shutil.", "sqlite3.", "subprocess.")):
        return f"{event}({', '.join(repr(arg) for arg in args[:1])})"
    return "starting a thread" if REFUSED[event] == _THREADS else event


def _advice(place: FrameType | None) -> str:
    if place is None:
        return "Put it into a function, decorate that with @activity (or @cached, if it takes a moment only), and call it"
    code = place.f_code
    where = f"{Path(code.co_filename).name}:{place.f_lineno}"
    name = code.co_name
    if _is_a_workflow(place):
        return f"Put {where} into a function of its own, decorate that with @activity (or @cached, if it takes a moment only), and call it"
    return f"Decorate {name}() ({where}) with @activity (or @cached, if it takes a moment only)"


def _is_a_workflow(place: FrameType) -> bool:
    found = place.f_globals.get(place.f_code.co_name)
    return place.f_code.co_name in ("<module>", "<lambda>") or getattr(found, "kind", None) == "workflow"
