"""`flowdsl check`: what workflow code reaches for that is not recorded, found by reading the code.

Rule 1: read are the workflows of a module and the plain functions of the same module that they call, however deep. Decorated calls are
        where it ends: they may do everything.
Rule 2: a name is looked up where the function would: in its module. What is only known at run time is found at run time (`ambient`).
Rule 3: the clock and chance of the standard library are no findings: inside workflow code they are deterministic by themselves.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import os
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Final

_MOVE = "put it into an @activity function (or @cached, if it takes a moment only) and call that"

#: Modules all of whose functions reach outside.
_MODULES: Final = {
    **dict.fromkeys(("subprocess", "multiprocessing", "concurrent.futures", "_posixsubprocess"), "a process or a thread"),
    **dict.fromkeys(("threading", "_thread"), "a thread"),
    **dict.fromkeys(
        ("socket", "_socket", "ssl", "http.client", "urllib.request", "smtplib", "ftplib", "requests", "requests.api", "httpx", "aiohttp",
         "urllib3", "boto3", "botocore"),
        "the network",
    ),
    **dict.fromkeys(("shutil", "tempfile", "glob", "sqlite3", "_sqlite3"), "a file"),
    **dict.fromkeys(("numpy.random", "numpy.random.mtrand", "numpy.random._generator"), "chance that is not the workflow's"),
}  # fmt: skip
_OS: Final = frozenset({
    "system", "popen", "fork", "listdir", "scandir", "walk", "remove", "unlink", "rename", "replace", "mkdir", "makedirs", "rmdir", "open",
    "stat", "getenv", "environ", "getcwd", "getpid", "link", "symlink", "chmod", "truncate", "utime", "execv", "kill", "cpu_count",
})  # fmt: skip
_BUILTINS: Final = {"open": "a file", "input": "a person at the keyboard"}
_PATHS: Final = frozenset({
    "read_text", "write_text", "read_bytes", "write_bytes", "iterdir", "unlink", "touch", "mkdir", "rmdir", "rglob", "exists", "is_file",
})  # fmt: skip


@dataclass(frozen=True, order=True)
class Finding:
    """One line of workflow code that reaches for what is not recorded."""

    file: str
    line: int
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}; {self.advice}"


def check(*modules: ModuleType) -> list[Finding]:
    """What the workflows of these modules reach for, in the order of files and lines."""
    found: set[Finding] = set()
    seen: set[Any] = set()
    for module in modules:
        for function in _workflows(module):
            _read(function, found, seen)
    return sorted(found)


def _workflows(module: ModuleType) -> Iterator[FunctionType]:
    holders: list[Any] = [module, *(one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__)]
    for holder in holders:
        for value in list(vars(holder).values()):
            if getattr(value, "kind", None) == "workflow" and getattr(value, "_is_definition", False):
                function = inspect.unwrap(value)
                function = getattr(function, "__func__", function)
                if isinstance(function, FunctionType):
                    yield function


def _read(function: FunctionType, found: set[Finding], seen: set[Any]) -> None:
    if function.__code__ in seen:
        return
    seen.add(function.__code__)
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return  # there is no source: a lambda in a line, code that was made by code
    body = tree.body[0]
    file = os.path.relpath(function.__code__.co_filename)
    nodes = body.body if isinstance(body, ast.FunctionDef | ast.AsyncFunctionDef) else [body]
    for node in (inner for statement in nodes for inner in ast.walk(statement)):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            value = _value_of(node, function)
            reach = _reach(value, node)
            if reach is not None:
                found.add(Finding(file, first + node.lineno - 1, f"{ast.unparse(node)} reaches for {reach}", _MOVE))
            elif type(value) is FunctionType and value.__module__ == function.__module__:
                _read(value, found, seen)


_UNKNOWN: Final = object()


def _value_of(node: ast.expr, function: FunctionType) -> Any:
    if isinstance(node, ast.Name):
        if node.id in function.__code__.co_varnames:
            return _UNKNOWN
        return function.__globals__.get(node.id, getattr(builtins, node.id, _UNKNOWN))
    if isinstance(node, ast.Attribute):
        base = _value_of(node.value, function)
        if isinstance(base, ModuleType | type):
            return inspect.getattr_static(base, node.attr, _UNKNOWN)
    return _UNKNOWN


def _reach(value: Any, node: ast.expr) -> str | None:
    """What a value reaches for when it is used; None for nothing."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    if value is _UNKNOWN:
        is_path = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func).endswith("Path")
        return "a file" if is_path and name in _PATHS else None
    if isinstance(value, ModuleType) or getattr(value, "_is_definition", False):
        return None
    for known, reach in _BUILTINS.items():
        if value is getattr(builtins, known):
            return reach
    if value is os.environ or (name in _OS and value is getattr(os, name, None)):
        return "the process's surroundings" if name in ("environ", "getenv", "getcwd", "getpid", "cpu_count") else "a file or a process"
    module = getattr(value, "__module__", None) or ""
    if isinstance(value, type) and issubclass(value, BaseException):
        return None
    return _MODULES.get(module) or _MODULES.get(module.partition(".")[0]) if callable(value) else None
