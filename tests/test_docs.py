"""The manual is true: its programs run, and what exists is in it.

Rule 1: every ```python block of the README and of docs/ is run, in the order of its page and in one process, unless its first line is
        `# name.py`: then it is written to that file and run as a program of its own, which the blocks after it may import.
Rule 2: a page that says `flowdsl worker …` gets that worker, and a development server that AWS_ENDPOINT_URL_SWF names.
Rule 3: every `flowdsl …` line must be a command with options that exist; every `flowdsl run …` line is run.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from flowdsl import cli, errors
from flowdsl.lang.options import OPTIONS_OF

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w./]+\.py)\n")
SECONDS = 120


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(text_of(page)) if kind == language]


def shell_lines(page: Path) -> list[list[str]]:
    """The words of each command line of a page, comments left out."""
    lines = [line for body in blocks(page, "bash") for line in body.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def flowdsl_lines(page: Path) -> list[list[str]]:
    return [words[1:] for words in shell_lines(page) if words[0] == "flowdsl"]


def id_of(page: Path) -> str:
    return page.name


# --- the programs run -------------------------------------------------------------------------------------------------


@contextmanager
def served(workers: list[list[str]], folder: Path) -> Iterator[dict[str, str]]:
    """A fresh development server and these workers of it; gives the environment of a program that talks to it."""
    if not workers:
        yield {}
        return
    pytest.importorskip("uvicorn", reason="the server needs pip install 'flowdsl[server]'")
    command = [sys.executable, "-m", "flowdsl"]
    server = subprocess.Popen([*command, "server", "--port", "0", "--path", str(folder / "server.db")], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    told = [server.stdout.readline(), server.stdout.readline()]
    environment = dict(assignment.split("=", 1) for line in told for assignment in shlex.split(line.removeprefix("export ")))
    running = [subprocess.Popen([*command, *words], cwd=folder, env=os.environ | environment, text=True) for words in workers]
    try:
        yield environment
    finally:
        # The server goes last: it answers the polls that the workers wait for, so that nobody has to sit out a minute.
        ending = [*running, server]
        for process in ending:
            process.send_signal(signal.SIGTERM)
        try:
            codes = [process.wait(SECONDS) for process in ending]
        finally:
            for process in ending:
                process.kill()
            server.stdout.close()
    assert codes == [0] * len(ending)


def program(arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    surroundings = os.environ | {"PYTHONPATH": str(folder)} | environment
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"


def workers_of(page: Path) -> list[list[str]]:
    return [words for words in flowdsl_lines(page) if words[0] == "worker" and "--domain" not in words]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=id_of)
def test_every_python_program_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    named, rest = [], []
    for body in blocks(page, "python"):
        name = NAMED.match(body)
        if name:
            (tmp_path / name[1]).write_text(body, encoding="utf-8")
            named.append(name[1])
        else:
            rest.append(body)
    with served(workers_of(page), tmp_path) as environment:
        for file in named:
            program([file], tmp_path, environment)
        if rest:
            (tmp_path / "page.py").write_text("\n\n".join(rest), encoding="utf-8")
            program(["page.py"], tmp_path, environment)
        for words in flowdsl_lines(page):
            if words[0] == "run" and "--domain" not in words and named:
                program(["-m", "flowdsl", *words], tmp_path, environment)


# --- what is named exists ---------------------------------------------------------------------------------------------


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params if isinstance(parameter, click.Option) for name in parameter.opts}


@pytest.mark.parametrize("page", [page for page in PAGES if flowdsl_lines(page)], ids=id_of)
def test_a_command_line_of_a_page_has_a_command_and_options_that_exist(page: Path) -> None:
    for words in flowdsl_lines(page):
        command = cli.main.commands[words[0]]
        given = {word.partition("=")[0] for word in words[1:] if word.startswith("--") and word != "--"}
        assert given <= options_of(command) | {"--help"}, " ".join(words)


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_a_make_target_and_a_file_that_a_page_names_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in shell_lines(page):
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words
        if words[0] == "python":
            assert (ROOT / words[1]).is_file(), words


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_a_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), target
        if anchor:
            headings = [line.lstrip("# ").lower() for line in text_of(goal).splitlines() if line.startswith("#")]
            assert anchor in [re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings], target


# --- what exists is named ---------------------------------------------------------------------------------------------


def all_commands() -> list[tuple[str, click.Command]]:
    return sorted(cli.main.commands.items())


@pytest.mark.parametrize(("name", "command"), all_commands(), ids=[name for name, _ in all_commands()])
def test_a_command_and_each_of_its_options_is_in_the_manual(name: str, command: click.Command) -> None:
    manual = text_of(DOCS / "command-line.md")
    assert f"## flowdsl {name}\n" in manual
    section = manual.partition(f"## flowdsl {name}\n")[2].partition("\n## ")[0]
    assert {option for option in options_of(command) if f"`{option}`" not in section} == set()


@pytest.mark.parametrize(("kind", "option"), [(kind, option) for kind, options in OPTIONS_OF.items() for option in options])
def test_an_option_of_a_decorator_is_in_the_reference(kind: str, option: str) -> None:
    section = text_of(DOCS / "language.md").partition("### Options")[2].partition("\n### ")[0]
    row = next((line for line in section.splitlines() if line.startswith(f"| `{option}` |")), "")
    assert kind in row or "| all |" in row


def error_classes() -> list[type[BaseException]]:
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, BaseException)]
    return [cls for cls in classes if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", error_classes(), ids=lambda cls: cls.__name__)
def test_an_error_is_in_the_manual_beside_its_code(cls: Any) -> None:
    manual = text_of(DOCS / "errors.md")
    if issubclass(cls, errors.Control):
        assert f"`{cls.__name__}`" in manual
    else:
        assert re.search(rf"^\| {cls.code} \| `{cls.__name__}`", manual, re.MULTILINE)


def test_no_code_belongs_to_two_errors() -> None:
    codes = [cls.code for cls in error_classes() if issubclass(cls, errors.FlowError)]
    assert len(codes) == len(set(codes))


def test_the_manual_lists_no_code_that_no_error_has() -> None:
    known = {cls.code for cls in error_classes() if issubclass(cls, errors.FlowError)}
    assert set(re.findall(r"\bFD\d{3}\b", text_of(DOCS / "errors.md"))) <= known


def test_every_variable_that_flowdsl_reads_is_in_the_manual() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "flowdsl").rglob("*.py"))
    variables = set(re.findall(r"\bFLOWDSL_[A-Z_]+\b", sources))
    manual = text_of(DOCS / "aws.md")
    assert variables
    assert {name for name in variables if f"`{name}`" not in manual} == set()
