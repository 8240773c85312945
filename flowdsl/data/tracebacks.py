"""Tracebacks that cross between processes: frames as plain data, and real traceback objects made from them again.

Rule 1: a frame is `[file, line, function, source, end line, column, end column]`: what a traceback prints, and no variables.
Rule 2: what comes back is a chain of real traceback objects over real frames. `traceback`, `logging`, `pdb` and IPython need not know.
Rule 3: where the file is not on this machine, its known lines are given to `linecache`. An existing file is never shadowed.
Rule 4: deep recursion is cut in the middle: the first frames say where it began, the last ones where it broke.
"""

from __future__ import annotations

import linecache
import traceback
from functools import lru_cache
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

Frame = list[Any]

_HEAD, _TAIL = 30, 70
_MOST_LINES = 200_000


def frames_of(trace: TracebackType | None, *, first: int = _HEAD, last: int = _TAIL) -> list[Frame]:
    """The frames of a traceback as plain data, the outermost first; at most `first + last` of them."""
    entries = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    if len(entries) > first + last:
        entries = entries[:first] + entries[len(entries) - last :]
    return [_frame(entry) for entry in entries]


def _frame(trace: TracebackType) -> Frame:
    code, line = trace.tb_frame.f_code, trace.tb_lineno
    source = linecache.getline(code.co_filename, line, trace.tb_frame.f_globals).rstrip("\n")
    end_line, column, end_column = _positions(code, trace.tb_lasti)
    return [code.co_filename, line, code.co_name, source, end_line, column, end_column]


def _positions(code: CodeType, instruction: int) -> tuple[int | None, int | None, int | None]:
    positions = list(code.co_positions())
    if not 0 <= instruction // 2 < len(positions):
        return None, None, None
    _, end_line, column, end_column = positions[instruction // 2]
    return end_line, column, end_column


def rebuild(frames: list[Frame]) -> TracebackType | None:
    """A real traceback over frames that `frames_of` returned. Raises `ValueError` or `TypeError` for anything else."""
    trace: TracebackType | None = None
    for file, line, function, source, end_line, column, end_column in reversed(frames):
        _lend_source(file, line, source)
        frame_trace = _real_frame(_code(file, line, function, (end_line, column, end_column)))
        trace = TracebackType(trace, frame_trace.tb_frame, frame_trace.tb_lasti, line)
    return trace


def text_of(error: BaseException) -> str:
    """All that Python prints for an exception, its chain included; whatever the exception's own code does."""
    try:
        return "".join(traceback.format_exception(error))
    except Exception as broken:
        return f"{type(error).__qualname__} (it cannot be printed: {type(broken).__qualname__})"


def _raiser() -> None:
    raise RuntimeError


@lru_cache(maxsize=1024)
def _code(file: str, line: int, function: str, positions: tuple[int | None, int | None, int | None]) -> CodeType:
    """The code of `_raiser` under another name and place; every instruction stands at the one line and columns."""
    code = _raiser.__code__
    return code.replace(
        co_filename=file,
        co_name=function,
        co_qualname=function,
        co_firstlineno=line,
        co_linetable=_line_table(len(code.co_code) // 2, line, *positions),
    )


def _line_table(units: int, line: int, end_line: int | None, column: int | None, end_column: int | None) -> bytes:
    """CPython's location table (Objects/locations.md): each entry covers up to 8 code units, all at one place.

    Kind 14 carries line delta, end line delta, column + 1 and end column + 1; kind 13 a line delta only.
    """
    if end_line is None or column is None or end_column is None or end_line < line:
        kind, place = 13, b"\0"
    else:
        kind, place = 14, b"\0" + _varint(end_line - line) + _varint(column + 1) + _varint(end_column + 1)
    entries = [min(8, units - start) for start in range(0, units, 8)]
    return b"".join(bytes([0x80 | kind << 3 | size - 1]) + place for size in entries)


def _varint(number: int) -> bytes:
    """Six bits per byte, the lowest first, with 0x40 on all but the last."""
    encoded = bytearray()
    while number > 0x3F:
        encoded.append(0x40 | number & 0x3F)
        number >>= 6
    encoded.append(number)
    return bytes(encoded)


def _real_frame(code: CodeType) -> TracebackType:
    scope = {"__name__": "remote", "__file__": code.co_filename}
    try:
        exec(code, scope)  # noqa: S102 - the code is `_raiser`'s own; only its labels came from outside
    except RuntimeError as error:
        trace = error.__traceback__
        assert trace is not None  # it was just raised
        assert trace.tb_next is not None  # one frame below
        return trace.tb_next
    raise AssertionError("unreachable: the code always raises")


def _lend_source(file: str, line: int, source: str) -> None:
    """Let `linecache` know one line of a file that is not here (rule 3)."""
    if not source or not 0 < line < _MOST_LINES:
        return
    known = linecache.cache.get(file)
    if known is None:
        if Path(file).exists():
            return
        lines: list[str] = []
    elif len(known) == 4 and known[1] is None and type(known[2]) is _LentLines:
        lines = known[2]
    else:
        return
    lent = _LentLines(lines)
    lent.extend(["\n"] * (line - len(lent)))
    lent[line - 1] = source + "\n"
    linecache.cache[file] = (0, None, lent, file)  # without a time, `checkcache` leaves it alone


class _LentLines(list[str]):
    """Lines of which only some are known: marks our own entries in `linecache`."""
