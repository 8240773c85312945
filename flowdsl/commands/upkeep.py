"""Commands that look after code and surroundings: check, register, replay, upgrade, doctor."""

from __future__ import annotations

import json
import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from flowdsl.commands.common import FAILED, backend_options, chosen_backend, load_target, usage_errors
from flowdsl.commands.executions import connection_of, execution_of, output, service_errors
from flowdsl.errors import DefinitionError

_EXTRAS = {
    "server": "uvicorn", "redis": "redis", "sql": "sqlalchemy", "fsspec": "fsspec", "crypto": "cryptography", "protobuf": "google.protobuf",
    "otel": "opentelemetry", "metrics": "prometheus_client", "cron": "cronsim",
}  # fmt: skip


def _registry_of(target_names: tuple[str, ...]) -> Any:
    from flowdsl.lang.registry import Registry  # noqa: PLC0415 - `--help` loads nothing that runs

    return Registry.collect(*[module for name in target_names for module in load_target(name)])


@click.command()
@click.argument("target_names", metavar="TARGET...", nargs=-1, required=True)
def check(target_names: tuple[str, ...]) -> None:
    """Read the workflows of the TARGETs and name each line that reaches for what is not recorded.

    Exit code 1 if there is one.
    """
    with usage_errors():
        modules = [module for name in target_names for module in load_target(name)]
    from flowdsl.checking import check as check_modules  # noqa: PLC0415 - `--help` loads nothing that runs

    found = check_modules(*modules)
    for finding in found:
        click.echo(str(finding))
    if found:
        sys.exit(FAILED)


@click.command()
@click.argument("target_names", metavar="TARGET...", nargs=-1, required=True)
@backend_options
def register(target_names: tuple[str, ...], **choice: str | None) -> None:
    """Register the domain and the types of the TARGETs, and say which."""
    with service_errors():
        definitions = [d for d in _registry_of(target_names) if d.kind in ("workflow", "activity")]
        connection = connection_of(choice)
        connection.register(*definitions)
    for definition in definitions:
        click.echo(f"{definition.kind} {definition.name} {definition.version}")


@click.command()
@click.argument("target_names", metavar="TARGET...", nargs=-1, required=True)
@click.option("--workflow-id", help="The execution whose history is replayed.")
@click.option("--run-id", help="The run. Default: the open one, else the latest.")
@click.option("--history", type=click.Path(exists=True, dir_okay=False), help="A file with the history (flowdsl history --output json).")
@backend_options
def replay(target_names: tuple[str, ...], workflow_id: str | None, run_id: str | None, history: str | None, **choice: str | None) -> None:
    """Replay a history under the code of the TARGETs: exit code 0 if they agree, 1 and the difference if not. Nothing is written."""
    with service_errors():
        if (workflow_id is None) == (history is None):
            raise DefinitionError("give either --workflow-id or --history")
        registry = _registry_of(target_names)
        events = _read(history) if history is not None else execution_of(choice, str(workflow_id), run_id).history()
        from flowdsl.fitting import misfit_of  # noqa: PLC0415 - `--help` loads nothing that runs

        misfit = misfit_of(registry, events, workflow_id or "history", run_id or "")
    if misfit is not None:
        click.echo(str(misfit), err=True)
        sys.exit(FAILED)
    click.echo(f"{len(events)} events: the code agrees")


@click.command()
@click.argument("target_names", metavar="TARGET...", nargs=-1, required=True)
@click.option("--build", required=True, metavar="B", help="The build that the TARGETs are, and that shall go on with what fits.")
@click.option("--task-list", metavar="L", help="The fleet's task list. Default: $FLOWDSL_TASK_LIST, else flowdsl.")
@backend_options
def upgrade(target_names: tuple[str, ...], build: str, task_list: str | None, **choice: str | None) -> None:
    """Move open executions of older builds to a newer one, where a replay under its code agrees.

    Workers of the old build hand them over, so they have to run still; those that do not fit stay with them.
    """
    from flowdsl import config  # noqa: PLC0415 - `--help` loads nothing that runs

    with service_errors():
        registry, connection = _registry_of(target_names), connection_of(choice)
        from flowdsl.fitting import move_fitting  # noqa: PLC0415 - `--help` loads nothing that runs

        stayed = 0
        for workflow_id, outcome in move_fitting(registry, connection.swf, task_list or config.task_list(), build):
            stayed += outcome != "moved"
            click.echo(f"{workflow_id}: {outcome}")
    sys.exit(FAILED if stayed else 0)


@click.command()
@output
@backend_options
def doctor(output: str, **choice: str | None) -> None:
    """Say what is installed and whether the backend can be reached."""
    with usage_errors():
        backend = chosen_backend(**choice)
    report: dict[str, Any] = {"flowdsl": _version("flowdsl"), "python": platform.python_version(), "backend": backend.name}
    report |= {name: _version(name) for name in ("boto3", "botocore", "wrapt", "dill", "greenlet", "msgspec")}
    report["extras"] = {extra: _has(module) for extra, module in _EXTRAS.items()}
    problem = None if backend.name == "local" else _problem(choice)
    report["reachable"] = problem or "yes"
    if output == "json":
        click.echo(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            text = ", ".join(f"{extra} {'yes' if has else 'no'}" for extra, has in value.items()) if isinstance(value, dict) else value
            click.echo(f"{name:<10} {text}")
    sys.exit(FAILED if problem else 0)


COMMANDS = (check, register, replay, upgrade, doctor)


def _problem(choice: dict[str, str | None]) -> str | None:
    try:
        connection_of(choice).swf.count_open()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - it loads the email package

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def _read(path: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        events: list[dict[str, Any]] = content["events"] if isinstance(content, dict) else content
        events[0]["eventId"]
    except (ValueError, LookupError, TypeError) as error:
        raise DefinitionError(f"{path} holds no history: {error!r}. Write one with  flowdsl history ID --output json") from error
    return events
