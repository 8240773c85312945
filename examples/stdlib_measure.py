"""The measuring of `stdlib_report.py`: ordinary functions and dataclasses. Nothing of flowdsl is in here."""

from __future__ import annotations

import ast
import sysconfig
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
FILES_AT_ONCE = 40  # a folder with more files is measured in parts, so that no activity takes long and little is lost by a kill


@dataclass(frozen=True)
class Package:
    """A folder of the library (`email/mime`), one part of a large folder, or one module (`argparse`)."""

    name: str
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Function:
    """A function worth naming; `complexity` is McCabe's number of independent paths."""

    name: str
    complexity: int
    lines: int


@dataclass
class Measured:
    """What was counted in one package."""

    package: str
    files: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    coroutines: int = 0
    public: int = 0
    documented: int = 0
    unreadable: int = 0
    hardest: list[Function] = field(default_factory=list)


def folders() -> Iterator[tuple[str, int]]:
    """The library's folders (two levels deep) and top modules, each with its number of files."""
    found: Counter[str] = Counter()
    for path in LIBRARY.rglob("*.py"):
        inside = path.relative_to(LIBRARY)
        if inside.parts[0] in {"site-packages", "dist-packages"}:
            continue
        found["/".join(inside.parts[:-1][:2]) or inside.stem] += 1
    yield from sorted(found.items())


def split(name: str, files: int) -> list[Package]:
    """One package, or as many parts as it takes."""
    parts = -(-files // FILES_AT_ONCE)
    return [Package(name, part, parts) for part in range(parts)]


def label(package: Package) -> str:
    """How a package is called in the report."""
    return package.name if package.parts == 1 else f"{package.name} ({package.part + 1}/{package.parts})"


def files_of(package: Package) -> list[Path]:
    """The files of one package or part, in an order that is the same everywhere."""
    folder = LIBRARY / package.name
    if not folder.is_dir():
        return [folder.with_suffix(".py")]
    files = sorted(folder.rglob("*.py") if "/" in package.name else folder.glob("*.py"))
    return files[package.part :: package.parts]


def merged(measured: list[Measured]) -> list[Measured]:
    """One entry for each top folder or module, parts and inner folders added up; tests inside a package count as tests."""
    total: dict[str, Measured] = {}
    for m in measured:
        path = m.package.partition(" (")[0].split("/")
        name = "/".join(path[:2]) if is_test(m.package) else path[0]
        one = total.setdefault(name, Measured(name))
        for number in ("files", "lines", "functions", "classes", "coroutines", "public", "documented", "unreadable"):
            setattr(one, number, getattr(one, number) + getattr(m, number))
    return sorted(total.values(), key=lambda m: -m.lines)


def is_test(package: str) -> bool:
    """Whether a package is there to test the others."""
    return any(part in {"test", "tests", "idle_test"} for part in package.partition(" (")[0].split("/"))


BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.Assert, ast.comprehension, ast.match_case)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def count(path: Path, found: Measured) -> None:
    """Add one file. Some files of the library's tests are broken on purpose: they are counted, not parsed."""
    source = path.read_bytes()
    found.files += 1
    found.lines += source.count(b"\n")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        found.unreadable += 1
        return
    module = ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS):
            if not node.name.startswith("_"):
                found.public += 1
                found.documented += ast.get_docstring(node, clean=False) is not None
            if isinstance(node, ast.ClassDef):
                found.classes += 1
            else:
                found.functions += 1
                found.coroutines += isinstance(node, ast.AsyncFunctionDef)
                found.hardest.append(Function(f"{module}.{node.name}", complexity(node), (node.end_lineno or 0) - node.lineno + 1))


def complexity(function: ast.AST) -> int:
    """McCabe's: one, and one more for every place where the path divides."""
    paths = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            paths += 1
        elif isinstance(node, ast.BoolOp):
            paths += len(node.values) - 1
    return paths
