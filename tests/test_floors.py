"""Folder = floor: imports go down, never sideways between strangers, and hardly ever inside a function.

Rule 1: every module stands on one floor (`FLOORS`); a new folder or file at the top must be given one here.
Rule 2: a module imports its own place, and what its floor may see (`MAY_IMPORT`).
Rule 3: an import inside a function is an exception with a reason (`LAZY`).
Rule 4: floors 0 and 1 and replay/ are pure: nothing there can look at a clock, a file, a thread or the network.
Rule 5: imports under `if TYPE_CHECKING:` obey rule 2 as well; only circles are forgiven there, as nothing runs.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "flowdsl"

FRONT = "front"
FLOORS: dict[str, int] = {
    "errors": 0,
    "limits": 0,
    "model": 1,
    "lang": 1,
    "replay": 2,
    "data": 2,
    "plain": 2,
    "ambient": 2,
    "local": 3,
    "service": 3,
    "engine": 3,
    "workers": 4,
    FRONT: 5,
}
GROUND = frozenset({"errors", "limits"})

# What each place may import besides itself. The front may import everything.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "limits": frozenset({"errors"}),
    "model": GROUND,
    "lang": GROUND,
    "replay": GROUND | {"model", "lang"},
    "data": GROUND | {"model", "lang"},
    "plain": GROUND | {"lang"},
    # The local runtime runs the very branches that the replayer runs, so it stands above replay/ and not beside it.
    "local": GROUND | {"model", "lang", "data", "replay", "plain", "ambient"},
    # The clock and chance of workflow code, by the branch that runs.
    "ambient": GROUND | {"lang"},
    "service": GROUND | {"model"},
    "engine": GROUND | {"model"},
    "workers": GROUND | {"model", "lang", "data", "replay", "plain", "ambient", "service"},
}

# Packages that cost time to import, or may be absent; they are imported inside functions, everywhere.
HEAVY = frozenset(
    {
        "boto3", "botocore", "dill",  # core, but 0.4 s and 0.06 s that most programs never need at import
        "starlette", "uvicorn", "httptools", "jinja2", "rich", "watchfiles",  # [server]
        "redis", "sqlalchemy", "fsspec", "cryptography", "compression", "backports", "google",  # stores and codecs
        "opentelemetry", "prometheus_client", "cronsim", "anywidget", "IPython", "ipykernel",  # the rest of the extras
        "pydantic", "attrs", "attr", "numpy", "pandas", "polars", "pyarrow",  # only looked at where a value of theirs is met
    }
)  # fmt: skip

# (importing place, or one module of it, imported module): why the import has to wait for the call.
LAZY: dict[tuple[str, str], str] = {
    ("lang", "asyncio"): "only `async def` code pays for it",
    ("plain", "asyncio"): "the same",
    ("replay", "flowdsl.replay.loop"): "it imports asyncio: only `async def` workflows pay for it",
    ("ambient", "flowdsl.ambient.guard"): "only who runs workflows pays for what it loads",
    ("ambient", "flowdsl.ambient.replaced"): "the same",
    ("service", "importlib.metadata"): "it loads the email package; only a client that says who it is needs it",
    ("data.codecs", "flowdsl.data.encryption"): "it imports the codecs; only who reads encrypted values needs it",
    # The front joins everything, and must load only what the chosen backend or command needs.
    ("", "flowdsl.running"): "a module that only decorates never loads what runs",
    ("cli", "flowdsl.running"): "`flowdsl --help` loads nothing that runs",
    ("cli", "flowdsl.server"): "the same",
    ("cli", "flowdsl.server.backup"): "the same",
    ("cli", "flowdsl.server.guard"): "the same",
    ("client", "flowdsl.lang.options"): "only for an execution whose code this process does not have",
    ("client", "inspect"): "the same",
    ("connection", "flowdsl.engine"): "only the embedded backend opens an engine",
    ("connection", "flowdsl.serving"): "workers are loaded by who serves",
    ("connection", "flowdsl.leases"): "the same",
    ("connection", "flowdsl.service.boto"): "only the swf backend reaches AWS",
    ("connection", "flowdsl.service.wrappers"): "the same",
    ("server", "flowdsl.server.run"): "it needs an extra, and `import flowdsl.server` must be able to say so",
    ("server.run", "flowdsl.engine"): "a server in a thread serves what it is given and needs no engine of its own",
    ("server.run", "flowdsl.server.choices"): "the same",
    ("testing", "flowdsl.server"): "only the server needs an extra",
    ("server.backup", "flowdsl.engine.store"): "as for `server.run`",
    ("server.run", "resource"): "not on every system",
}

CLOCKS = {"time"}
CHANCE = {"secrets", "uuid"}  # `random.Random(seed)` is arithmetic; the module's own functions are forbidden by the next test
THREADS = {"threading", "_thread", "multiprocessing", "concurrent", "queue", "subprocess", "signal"}
OUTSIDE = {
    "socket",
    "ssl",
    "select",
    "selectors",
    "http",
    "urllib",
    "os",
    "pathlib",
    "io",
    "tempfile",
    "shutil",
    "sqlite3",
    "boto3",
    "botocore",
    "dill",
}
IMPURE = CLOCKS | CHANCE | THREADS | OUTSIDE
PURE = ("errors", "limits", "model", "lang", "replay")

# (module, imported module): why a pure floor may know it after all.
KNOWN: dict[tuple[str, str], str] = {
    ("lang.outside", "time"): "a timer that is called outside every run waits; nobody replays that",
}


@dataclass(frozen=True)
class Import:
    """One import statement's target, as it stands in a file."""

    module: str
    target: str
    line: int
    lazy: bool
    typing_only: bool

    @property
    def where(self) -> str:
        return f"{modules()[self.module].relative_to(PACKAGE.parent)}:{self.line}"


def module_name(path: Path) -> str:
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def place_of(module: str) -> str:
    """The key of `FLOORS` for a module name inside flowdsl ("lang.promises" → "lang")."""
    top = module.partition(".")[0]
    return top if top in FLOORS else FRONT


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


class Reader(ast.NodeVisitor):
    """Collects imports with the two facts that matter: inside a function, under TYPE_CHECKING."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.module = module
        self.package = module if is_package else module.rpartition(".")[0]
        self.found: list[Import] = []
        self.depth = 0
        self.typing_only = False

    def add(self, target: str, line: int) -> None:
        self.found.append(Import(self.module, target, line, self.depth > 0, self.typing_only))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            up = self.package.split(".")
            kept = up[: len(up) - (node.level - 1)]
            base = ".".join(["flowdsl", *[part for part in kept if part], *([base] if base else [])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            self.add(inner if inner.removeprefix("flowdsl.") in modules() else base, node.lineno)

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            before, self.typing_only = self.typing_only, True
            for child in node.body:
                self.visit(child)
            self.typing_only = before
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # the same walk for both

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1


@cache
def imports() -> tuple[Import, ...]:
    found: list[Import] = []
    for module, path in modules().items():
        reader = Reader(module, path.name == "__init__.py")
        reader.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
        found += reader.found
    return tuple(found)


def inside(one: Import) -> str | None:
    """The target's name inside flowdsl, or None if it is somebody else's module."""
    if one.target == "flowdsl":
        return ""
    return one.target.removeprefix("flowdsl.") if one.target.startswith("flowdsl.") else None


def test_the_reader_sees_the_project() -> None:
    # Without this the other tests would pass on an empty folder.
    assert {"errors", "lang.promises", "lang.context"} <= set(modules())
    assert any(one.target == "flowdsl.errors" for one in imports())


def test_imports_go_down_and_never_sideways_between_strangers() -> None:
    wrong = []
    for one in imports():
        target = inside(one)
        place = place_of(one.module)
        if target is None or place == FRONT:
            continue
        goal = place_of(target)
        if goal != place and goal not in MAY_IMPORT[place]:
            wrong.append(f"{one.where}: {place} (floor {FLOORS[place]}) imports {goal} (floor {FLOORS[goal]})")
    assert not wrong, "\n".join(wrong)


def test_what_a_floor_may_see_is_always_below_it() -> None:
    for place, below in MAY_IMPORT.items():
        for other in below:
            assert FLOORS[other] < FLOORS[place] or {place, other} <= GROUND, f"{place} may not see {other}"


def test_no_module_imports_itself_in_a_circle() -> None:
    edges: dict[str, set[str]] = {module: set() for module in modules()}
    for one in imports():
        target = inside(one)
        if target is not None and not one.typing_only and not one.lazy and target in edges and target != one.module:
            edges[one.module].add(target)
    done: set[str] = set()
    path: list[str] = []

    def walk(module: str) -> None:
        if module in path:
            pytest.fail("a circle of imports: " + " → ".join([*path[path.index(module) :], module]))
        if module in done:
            return
        path.append(module)
        for target in sorted(edges[module]):
            walk(target)
        path.pop()
        done.add(module)

    for module in edges:
        walk(module)


def test_an_import_inside_a_function_is_an_exception_with_a_reason() -> None:
    wrong = []
    for one in imports():
        if not one.lazy or one.typing_only or one.module.partition(".")[0] == "commands":
            continue  # each command loads what it needs when it is called: `flowdsl --help` loads nothing that runs
        if one.target.partition(".")[0] in HEAVY or {(place_of(one.module), one.target), (one.module, one.target)} & set(LAZY):
            continue
        wrong.append(f"{one.where}: imports {one.target} inside a function")
    assert not wrong, "\n".join(wrong)


def test_every_listed_exception_is_still_needed() -> None:
    late = [one for one in imports() if one.lazy]
    lazy = {(place_of(one.module), one.target) for one in late} | {(one.module, one.target) for one in late}
    known = {(one.module, one.target) for one in imports()}
    assert not set(LAZY) - lazy
    assert not set(KNOWN) - known


def test_heavy_and_optional_packages_are_only_imported_when_they_are_used() -> None:
    eager = [
        f"{one.where}: imports {one.target} at the top"
        for one in imports()
        if one.target.partition(".")[0] in HEAVY and not one.lazy and not one.typing_only and place_of(one.module) != FRONT
    ]
    assert not eager, "\n".join(eager)


def test_pure_floors_know_no_clock_no_chance_no_thread_and_nothing_outside() -> None:
    wrong = [
        f"{one.where}: {place_of(one.module)} is pure and imports {one.target}"
        for one in imports()
        if place_of(one.module) in PURE
        and not one.typing_only
        and one.target.partition(".")[0] in IMPURE
        and (one.module, one.target) not in KNOWN
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_floors_use_only_seeded_randomness() -> None:
    wrong = []
    for module, path in modules().items():
        if place_of(module) not in PURE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            from_random = isinstance(node, ast.ImportFrom) and node.module == "random"
            if from_random and any(alias.name != "Random" for alias in node.names):
                wrong.append(f"flowdsl/{module.replace('.', '/')}.py:{node.lineno}: only `Random(seed)` is deterministic")
    assert not wrong, "\n".join(wrong)


def test_the_ground_imports_the_standard_library_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"flowdsl"}
    wrong = [one.where for one in imports() if place_of(one.module) in GROUND and one.target.partition(".")[0] not in allowed]
    assert not wrong, "\n".join(wrong)


def test_every_folder_has_a_floor() -> None:
    # Only the front may have files and folders that are not listed; a new folder is a decision, made in FLOORS.
    front = {"server", "ui", "testing", "commands"}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= set(FLOORS) | front


def test_a_module_that_outgrew_its_subject_is_reported() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert not {name: lines for name, lines in lengths.items() if lines > 450}, "two subjects in one file?"
