"""The clock and chance of workflow code: `time`, `datetime`, `random`, `secrets`, `uuid`, `os.urandom`, and `time.sleep`.

Rule 1: a stand-in asks the context variable. Outside workflow code it calls the original with the same arguments, and nothing else.
Rule 2: time is the execution's `now()`. Random numbers come from one generator per branch, seeded with the run's id and the branch's
        path: they depend on how many the branch drew before, and on nothing else.
Rule 3: a function is replaced in its own module, and under every name that the user's modules have bound to it (`from time import time`).
        `datetime.now` and `utcnow` are replaced in the class itself: the class stays the same object for `isinstance`, annotations and
        pickle, however it was imported. `uuid4` and `secrets` draw from `os.urandom`, `date.today` from `time.time`: they follow.
Rule 4: `logging`, asyncio's own loops and flowdsl itself see the machine's clock: a log line says when it was written.
Rule 5: not reached are names bound elsewhere than in a module (a default argument, an attribute), names in installed packages that were
        imported before, and generators of other libraries (numpy's). `flowdsl check` finds the first two in the code it reads.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import functools
import gc
import os
import random
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flowdsl.lang.api import sleep as durable_sleep
from flowdsl.lang.context import workflow_runtime

if TYPE_CHECKING:
    from typing import Protocol

    from flowdsl.lang.context import Runtime

    class _Source(Protocol):
        def chance(self) -> random.Random: ...


_NOT_USERS = tuple(
    os.path.realpath(path) + os.sep for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_OWN = str(Path(__file__).resolve().parents[1]) + os.sep
_UUID_EPOCH = 0x01B21DD213814000  # 100 ns intervals between 1582-10-15 and 1970-01-01 (RFC 9562, section 5.1)

StandIn = Callable[..., Any]
"""`stand_in(runtime, *args, **kwargs)`: what the function is inside a workflow."""


def install() -> None:
    """Replace everything (rule 3)."""
    replaced = {}
    for module, name, stand_in in _stand_ins():
        original = getattr(module, name)
        replaced[id(original)] = original, _replacement(original, stand_in, clock=module is time)
        setattr(module, name, replaced[id(original)][1])
    random._urandom = os.urandom  # type: ignore[attr-defined]  # what SystemRandom, and with it `secrets`, draws from
    for module in list(sys.modules.values()):
        if is_users(getattr(module, "__file__", None)) or getattr(module, "__name__", "") == "__main__":
            _rebind(module, replaced)
    _replace_method(dt.datetime, "now", _now)
    _replace_method(dt.datetime, "utcnow", _utcnow)
    _seed_unseeded()


def is_users(file: str | None) -> bool:
    """Whether a module's or a frame's file is neither the standard library's, nor an installed package's, nor flowdsl's."""
    if not file or file.startswith("<frozen"):
        return False
    path = os.path.realpath(file) if file[0] != "<" else file
    return not path.startswith((*_NOT_USERS, _OWN))


def _rebind(module: ModuleType, replaced: dict[int, tuple[Any, Any]]) -> None:
    names = vars(module)
    for name, value in list(names.items()):
        original, stand_in = replaced.get(id(value), (None, None))
        if original is value and value is not None:
            names[name] = stand_in


def _replacement(original: Callable[..., Any], stand_in: StandIn, *, clock: bool) -> Callable[..., Any]:
    def replacement(*args: Any, **kwargs: Any) -> Any:
        runtime = workflow_runtime()
        if runtime is None or (clock and _is_exempt()):
            return original(*args, **kwargs)
        return stand_in(runtime, *args, **kwargs)

    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", "__text_signature__"):
        value = getattr(original, attribute, None)
        if value is not None:
            setattr(replacement, attribute, value)
    return replacement


def _is_exempt() -> bool:
    """Whether the caller of the stand-in is one of rule 4."""
    caller = sys._getframe(2).f_globals.get("__name__", "")
    return bool(caller.startswith(("flowdsl.", "logging", "asyncio")))


def _stand_ins() -> Iterator[tuple[ModuleType, str, StandIn]]:
    """Each function that is replaced in a module."""
    for name in ("time", "monotonic", "perf_counter"):
        yield time, name, _seconds
        yield time, f"{name}_ns", lambda runtime: int(_seconds(runtime) * 1_000_000) * 1_000
    for name in ("gmtime", "localtime", "ctime"):
        yield time, name, functools.partial(_of_now, getattr(time, name))
    yield time, "asctime", functools.partial(_of_today, time.asctime, time.localtime)
    yield time, "strftime", functools.partial(_formatted, time.strftime, time.localtime)
    yield time, "sleep", lambda _, duration: durable_sleep(duration)
    for name, method in vars(random).items():
        if getattr(method, "__self__", None) is random._inst and not name.startswith("_"):
            yield random, name, functools.partial(_drawn, name)
    yield os, "urandom", lambda runtime, size: _chance(runtime).randbytes(size)
    if hasattr(os, "getrandom"):
        yield os, "getrandom", lambda runtime, size, _=0: _chance(runtime).randbytes(size)
    yield uuid, "uuid1", _uuid1


# --- time


def _seconds(runtime: Runtime) -> float:
    moment = runtime.info().now
    assert moment is not None  # every workflow's runtime knows it
    return moment.timestamp()


def _of_now(original: Callable[[float], Any], runtime: Runtime, seconds: float | None = None) -> Any:
    return original(_seconds(runtime) if seconds is None else seconds)


def _of_today(original: Callable[[Any], Any], local: Callable[[float], Any], runtime: Runtime, moment: Any = None) -> Any:
    return original(local(_seconds(runtime)) if moment is None else moment)


def _formatted(original: Callable[..., str], local: Callable[[float], Any], runtime: Runtime, form: str, moment: Any = None) -> str:
    return original(form, local(_seconds(runtime)) if moment is None else moment)


def _now(original: Any) -> Callable[..., Any]:
    def now(cls: Any, tz: Any = None) -> Any:
        runtime = workflow_runtime()
        if runtime is None or _is_exempt():
            return original.__get__(None, cls)(tz)
        return cls.fromtimestamp(_seconds(runtime), tz)

    return now


def _utcnow(original: Any) -> Callable[..., Any]:
    def utcnow(cls: Any) -> Any:
        runtime = workflow_runtime()
        if runtime is None or _is_exempt():
            return original.__get__(None, cls)()
        return cls.fromtimestamp(_seconds(runtime), dt.UTC).replace(tzinfo=None)

    return utcnow


def _replace_method(cls: type, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
    """Replace a class method of a class that is written in C, in its dictionary; the class's caches are told."""
    original = vars(cls)[name]
    method = make(original)
    method.__doc__, method.__qualname__ = original.__doc__, f"{cls.__qualname__}.{name}"
    own = next(part for part in gc.get_referents(vars(cls)) if isinstance(part, dict))
    own[name] = classmethod(method)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


# --- chance


def _chance(runtime: Runtime) -> random.Random:
    """The generator of the branch that runs (rule 2)."""
    source: _Source = runtime  # type: ignore[assignment]  # the runtimes of workflow code have it; others are transparent
    return source.chance()


def _drawn(name: str, runtime: Runtime, *args: Any, **kwargs: Any) -> Any:
    return getattr(_chance(runtime), name)(*args, **kwargs)


def _uuid1(runtime: Runtime, node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    """As RFC 9562 lays it out; the node is a random multicast address, as where no address is known."""
    chance = _chance(runtime)
    clock = int(_seconds(runtime) * 1_000_000) * 10 + _UUID_EPOCH
    sequence = chance.getrandbits(14) if clock_seq is None else clock_seq
    address = chance.getrandbits(48) | (1 << 40) if node is None else node
    fields = clock & 0xFFFFFFFF, (clock >> 32) & 0xFFFF, (clock >> 48) & 0x0FFF, (sequence >> 8) & 0x3F, sequence & 0xFF, address
    return uuid.UUID(fields=fields, version=1)


def _seed_unseeded() -> None:
    """`random.Random()` inside a workflow is seeded from the branch's generator, not by the system."""
    original = random.Random.seed

    @functools.wraps(original)
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        runtime = workflow_runtime() if a is None and type(self) is not random.SystemRandom else None
        original(self, a if runtime is None else _chance(runtime).getrandbits(256), version)

    random.Random.seed = seed  # type: ignore[method-assign]  # rule 3: in its own place, whatever name it is imported under
