"""`import flowdsl` is what every script, test and command line pays: what it loads is listed here, nothing else may come in."""

from __future__ import annotations

import json
import subprocess
import sys
from textwrap import dedent

# Third-party packages that the import may load. Each is small (measured in benchmarks/import_time.py).
ALLOWED = {"wrapt", "msgspec", "greenlet", "typing_extensions"}
DEPENDENCIES = "import wrapt, msgspec, greenlet"

# What flowdsl itself must not add to them: each was once the reason why some command line took seconds.
HEAVY = {
    "boto3", "botocore", "dill", "sqlite3", "click", "starlette", "uvicorn", "jinja2", "rich", "pydantic", "attr", "numpy", "IPython",
    "asyncio", "multiprocessing", "http.client", "ssl", "urllib.request", "email", "unittest",
}  # fmt: skip

FLOORS_ABOVE = ("flowdsl.engine", "flowdsl.workers", "flowdsl.service", "flowdsl.replay", "flowdsl.server", "flowdsl.cli", "flowdsl.run")
AWS_AND_ENGINE = {"boto3", "botocore", "dill", "sqlite3"}


def loaded_by(program: str, after: str = "pass") -> set[str]:
    """The modules that a fresh interpreter has after the program and had not before it. The program may print."""
    end = "print()\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    wrapped = f"{after}\nimport sys, json\nbefore = set(sys.modules)\n{dedent(program)}\n{end}"
    answer = subprocess.run([sys.executable, "-c", wrapped], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(answer.stdout.splitlines()[-1]))


def third_party(modules: set[str]) -> set[str]:
    tops = {name.partition(".")[0] for name in modules}
    return {top for top in tops if top not in sys.stdlib_module_names and not top.startswith("_")}


def test_importing_flowdsl_loads_only_its_small_packages() -> None:
    assert third_party(loaded_by("import flowdsl")) <= ALLOWED | {"flowdsl"}


def test_importing_flowdsl_adds_nothing_heavy_to_them() -> None:
    loaded = loaded_by("import flowdsl", after=DEPENDENCIES)
    assert "flowdsl.lang.promises" in loaded
    assert not loaded & HEAVY


def test_importing_flowdsl_leaves_everything_that_runs_workflows_alone() -> None:
    loaded = loaded_by("import flowdsl")
    assert not [name for name in loaded if name.startswith(FLOORS_ABOVE)]


def test_decorating_and_running_locally_needs_neither_aws_nor_pickles_nor_a_database() -> None:
    loaded = loaded_by(
        """
        import flowdsl
        @flowdsl.activity
        def double(x: int) -> int: return 2 * x
        @flowdsl.workflow
        def both(x: int) -> int: return double(x) + double(x + 1)
        assert flowdsl.run(both, 1) == 6
        """
    )
    assert "flowdsl.local" in loaded
    assert not loaded & AWS_AND_ENGINE


def test_running_on_the_embedded_engine_needs_no_aws() -> None:
    loaded = loaded_by(
        """
        import flowdsl
        @flowdsl.workflow
        def one() -> int: return 1
        assert flowdsl.run(one, backend=flowdsl.Embedded(":memory:")) == 1
        """
    )
    assert "sqlite3" in loaded
    assert not loaded & {"boto3", "botocore", "dill"}


def test_the_command_line_answers_help_without_aws_and_without_the_engine() -> None:
    loaded = loaded_by("import flowdsl.cli\ntry: flowdsl.cli.main(['--help'])\nexcept SystemExit: pass")
    assert "click" in loaded
    assert not loaded & (AWS_AND_ENGINE | {"starlette", "uvicorn"})
