"""The project's frame: what its description, its commands and its files promise each other."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import flowdsl

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "flowdsl"
MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def project_files() -> list[Path]:
    """Every text file of the project: what git knows, or what lies here if this is no clone."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        paths = [path for top in ("flowdsl", "tests", "docs", "examples", "benchmarks") for path in (ROOT / top).rglob("*")]
    return [path for path in paths if path.is_file() and path.suffix in {".py", ".md", ".toml", ".cfg", ".ipynb", ".css", ""}]


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", one)[0] for one in requirements}  # type: ignore[index]  # each begins with a name


def test_there_are_six_dependencies_each_with_a_lower_bound(description: dict[str, Any]) -> None:
    dependencies = description["project"]["dependencies"]
    assert names(dependencies) == {"boto3", "wrapt", "dill", "greenlet", "msgspec", "click"}
    assert all(">=" in one for one in dependencies)


def test_the_extras_are_those_of_the_readme(description: dict[str, Any]) -> None:
    extras = set(description["project"]["optional-dependencies"])
    told = (ROOT / "README.md").read_text(encoding="utf-8").partition("Extras:")[2].partition("\n\n")[0]
    assert extras - {"test", "docs"} == set(re.findall(r"`(\w+)`", told))


def test_the_version_is_the_same_everywhere(description: dict[str, Any]) -> None:
    assert description["project"]["version"] == flowdsl.__version__


def test_the_package_says_that_it_is_typed_and_ships_the_mark() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert (PACKAGE / "py.typed").exists()
    assert "py.typed" in setup["options.package_data"]["*"]


def test_every_folder_of_code_is_a_package_so_that_it_is_shipped() -> None:
    assert not [folder for folder in {path.parent for path in MODULES} if not (folder / "__init__.py").exists()]


def test_ci_runs_the_tests_and_the_lint_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make test", "make lint"]


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_at_its_top_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_finished_and_silences_nothing_without_a_reason(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XXX"))
    assert not re.findall(rf"\b({words})\b", text)
    assert not re.findall(r"# type: ignore(?!\[[\w-]+(?:, ?[\w-]+)*\]  # \S).*", text), "a code and a reason belong beside it"
    assert not re.findall(r"# noqa(?!: [A-Z]+\d+(?:, [A-Z]+\d+)* - \S).*", text), "a code and a reason belong beside it"


def test_no_file_names_a_place_of_the_machine_it_was_written_on() -> None:
    # Split, so that this file does not name them either.
    places = ["/wo" + "rk/", "/ro" + "ot/", "/tm" + "p/bash", "pypi" + ".org", "npm" + "js"]
    found = [
        f"{path.relative_to(ROOT)}: {place}"
        for path in project_files()
        for place in places
        if place in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert not found
