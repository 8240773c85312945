"""What a command line calls a TARGET: a file, a module or a package that holds definitions.

Rule 1: a module has one name, however it is reached. A file is imported under its stem (inside a package: under its dotted name), so that
        `shop.py` on the command line and `import shop` in a program name the same types.
Rule 2: the folder that makes the name importable is put on `sys.path`, so that the module's neighbours, and other processes that are
        given this path, find it too.
Rule 3: an error inside the target is the target's own and passes unchanged; an error in naming it is a `DefinitionError`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from flowdsl.errors import DefinitionError


def load(target: str) -> list[ModuleType]:
    """Import what `target` names; a package with all its modules (but for `__main__`).

    Raises:
        DefinitionError: there is no such file or module, or its name is taken by another module.
    """
    if target.endswith(".py") or os.sep in target or (os.altsep and os.altsep in target):
        module = _load_path(Path(target))
    else:
        module = _load_name(target)
    return [module, *_submodules(module)]


def resolve(target: str) -> Any:
    """The object that `TARGET:NAME` names; NAME may be dotted (`Class.method`).

    Raises:
        DefinitionError: as `load`; or no `:NAME`, or no such name in the module.
    """
    place, colon, name = target.rpartition(":")
    if not (colon and place and name) or os.sep in name:
        raise DefinitionError(f"{target!r} names no workflow; write TARGET:WORKFLOW, as in shop.py:fulfil")
    found: Any = load(place)[0]
    for part in name.split("."):
        if not hasattr(found, part):
            raise DefinitionError(f"{place} has no {name!r}{_nearest(part, [n for n in dir(found) if not n.startswith('_')])}")
        found = getattr(found, part)
    return found


def _load_path(path: Path) -> ModuleType:
    resolved = path.resolve()
    if resolved.is_dir():
        if not (resolved / "__init__.py").is_file():
            raise DefinitionError(f"{path} is a folder without __init__.py: no package. Name a file, a module or a package")
    elif not resolved.is_file():
        neighbours = [str(path.with_name(p.name)) for p in resolved.parent.glob("*.py")] if resolved.parent.is_dir() else []
        raise DefinitionError(f"there is no file {str(path)!r}{_nearest(str(path), neighbours)}")
    name, root = _dotted(resolved)
    _importable_from(root)
    loaded = sys.modules.get(name)
    if loaded is not None:
        _check_same(path, resolved, loaded)
        return loaded
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != _origin(resolved):
        taken = f"; {name!r} is {spec.origin or 'a namespace package'}" if spec else ""
        raise DefinitionError(f"{path} cannot be imported as {name!r}{taken}. Rename the file")
    return importlib.import_module(name)


def _dotted(path: Path) -> tuple[str, Path]:
    """The name under which `path` is imported, and the folder from which."""
    parts = [path.stem if path.is_file() else path.name]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    if any("." in part for part in parts):
        raise DefinitionError(f"{path.name} cannot be imported: a module's name has no dot")
    return ".".join(parts), folder


def _origin(path: Path) -> Path:
    return path / "__init__.py" if path.is_dir() else path


def _check_same(path: Path, resolved: Path, loaded: ModuleType) -> None:
    file = getattr(loaded, "__file__", None)
    if file is None or Path(file).resolve() != _origin(resolved):
        where = file or "built into Python"
        raise DefinitionError(f"{path} cannot be imported as {loaded.__name__!r}: that module is {where}. Rename the file")


def _importable_from(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()


def _load_name(name: str) -> ModuleType:
    _importable_from(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the target's own name, or that of a package it stands in; an import inside the target that fails is rule 3's.
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
    except (TypeError, ValueError):
        if name and not name.startswith("."):
            raise
    file = Path(f"{name.replace('.', os.sep)}.py")
    if name and file.is_file():
        raise DefinitionError(f"there is no module {name!r}; there is a file {file}")
    raise DefinitionError(f"there is no module {name!r}{_nearest(name, [found.name for found in pkgutil.iter_modules(['.'])])}")


def _submodules(module: ModuleType) -> list[ModuleType]:
    paths = getattr(module, "__path__", None)
    if paths is None:
        return []
    names = (info.name for info in pkgutil.walk_packages(paths, f"{module.__name__}.", onerror=_reraise))
    return [importlib.import_module(name) for name in names if name.rpartition(".")[2] != "__main__"]


def _reraise(_: str) -> None:
    raise  # noqa: PLE0704 - walk_packages calls this while it handles the error; silence would hide a broken package


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f". Did you mean {close[0]!r}?" if close else ""
