"""TARGETs: files, modules and packages get one name each; a wrong name is explained, an error inside passes unchanged."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowdsl import targets
from flowdsl.errors import DefinitionError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_imported_under_its_stem(folder: Path) -> None:
    write(folder / "shop.py", "def f(): pass\n")
    (module,) = targets.load("shop.py")
    assert module.__name__ == "shop"
    assert module.f.__module__ == "shop"
    assert importlib.import_module("shop") is module
    assert targets.load(str(folder / "shop.py")) == [module]
    assert targets.load("shop") == [module]


def test_a_file_elsewhere_finds_its_neighbours(folder: Path) -> None:
    write(folder / "a b" / "flows.py", "import helper\nvalue = helper.value\n")
    write(folder / "a b" / "helper.py", "value = 5\n")
    assert targets.resolve("a b/flows.py:value") == 5


def test_a_file_inside_a_package_has_its_dotted_name(folder: Path) -> None:
    write(folder / "src/pack/__init__.py")
    write(folder / "src/pack/sub/__init__.py")
    write(folder / "src/pack/sub/flows.py", "from . import __name__ as package\n")
    (module,) = targets.load("src/pack/sub/flows.py")
    assert (module.__name__, module.package) == ("pack.sub.flows", "pack.sub")


def test_a_package_is_imported_with_all_its_modules_but_main(folder: Path) -> None:
    write(folder / "pack/__init__.py")
    write(folder / "pack/__main__.py", "raise SystemExit('not imported')\n")
    write(folder / "pack/one.py")
    write(folder / "pack/sub/__init__.py")
    write(folder / "pack/sub/two.py")
    names = ["pack", "pack.one", "pack.sub", "pack.sub.two"]
    assert [module.__name__ for module in targets.load("pack")] == names
    assert [module.__name__ for module in targets.load("./pack/")] == names


def test_a_module_in_the_working_folder_is_found(folder: Path) -> None:
    write(folder / "near.py", "class Shop:\n    price = 3\n")
    assert targets.resolve("near:Shop.price") == 3


def test_an_error_inside_the_target_passes_unchanged(folder: Path) -> None:
    write(folder / "broken.py", "1 / 0\n")
    write(folder / "lacking.py", "import no_such_module_at_all\n")
    write(folder / "pack/__init__.py")
    write(folder / "pack/bad/__init__.py", "1 / 0\n")
    for target in ("broken.py", "broken", "pack"):
        with pytest.raises(ZeroDivisionError):
            targets.load(target)
    for target in ("lacking.py", "lacking"):
        with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
            targets.load(target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shp.py", r"there is no file 'shp.py'. Did you mean 'shop.py'\?"),
        ("nowhere/shop.py", r"there is no file 'nowhere/shop.py'"),
        ("shopp", r"there is no module 'shopp'. Did you mean 'shop'\?"),
        ("shop.nothing", "there is no module 'shop.nothing'"),
        ("plain/shop", "there is no file 'plain/shop'"),
        ("./plain", "a folder without __init__.py"),
        ("my.shop.py", "a module's name has no dot"),
        ("json.py", "that module is .*json.*Rename the file"),
        ("sys.py", "that module is built into Python. Rename the file"),
        ("", "there is no module ''"),
        (".shop", "there is no module '.shop'"),
    ],
)
def test_a_wrong_name_is_explained(folder: Path, target: str, message: str) -> None:
    for name in ("shop.py", "my.shop.py", "json.py", "sys.py", "plain/x.py"):
        write(folder / name)
    with pytest.raises(DefinitionError, match=message):
        targets.load(target)


def test_a_module_without_its_suffix_is_hinted_at(folder: Path) -> None:
    write(folder / "flows/shop.py", "x = 1\n")
    with pytest.raises(DefinitionError, match=r"no module 'other.shop'"):
        targets.load("other.shop")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shop.py", "write TARGET:WORKFLOW, as in shop.py:fulfil"),
        ("shop.py:", "write TARGET:WORKFLOW"),
        (":fulfil", "write TARGET:WORKFLOW"),
        ("shop.py:fulfill", r"shop.py has no 'fulfill'. Did you mean 'fulfil'\?"),
        ("shop:fulfil.nothing", "shop has no 'fulfil.nothing'"),
    ],
)
def test_a_wrong_workflow_name_is_explained(folder: Path, target: str, message: str) -> None:
    write(folder / "shop.py", "def fulfil(): pass\n")
    with pytest.raises(DefinitionError, match=message):
        targets.resolve(target)


def test_two_files_of_one_name_are_told_apart(folder: Path) -> None:
    write(folder / "a/shop.py")
    write(folder / "b/shop.py")
    targets.load("a/shop.py")
    with pytest.raises(DefinitionError, match=r"b/shop.py cannot be imported as 'shop': that module is .*a/shop.py. Rename the file"):
        targets.load("b/shop.py")
