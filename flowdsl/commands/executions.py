"""Commands about executions: start, list, show, history, signal, cancel, terminate, and complete for a manual activity."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from flowdsl.commands.common import (
    FAILED,
    Function,
    argument,
    backend_options,
    check_call,
    chosen_backend,
    find_workflow,
    keyword,
    usage_errors,
    wrong_usage,
)
from flowdsl.errors import DefinitionError, Fault, UserError

_STATUSES = ("COMPLETED", "FAILED", "CANCELED", "TERMINATED", "CONTINUED_AS_NEW", "TIMED_OUT")

output = click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How the answer is written.")


def _one(command: Function) -> Function:
    """The options and the argument of a command about one execution."""
    for part in (click.option("--run-id", help="The run. Default: the open one, else the latest."), click.argument("workflow_id")):
        command = part(command)
    return backend_options(command)


@contextlib.contextmanager
def service_errors() -> Iterator[None]:
    """Wrong usage and what the service refuses: one message, exit code 2."""
    with usage_errors():
        try:
            yield
        except Fault as fault:
            wrong_usage(UserError(str(fault)))


def connection_of(choice: dict[str, str | None]) -> Any:
    """The durable backend that the options name. Raises `DefinitionError` for a local one."""
    backend = chosen_backend(**choice)
    if backend.name == "local":
        raise DefinitionError("a local run has no history and no life outside its process: add --backend embedded or --backend swf")
    from flowdsl.connection import connect  # noqa: PLC0415 - `--help` loads nothing that runs

    connection = connect(backend)
    connection.register()
    return connection


def execution_of(choice: dict[str, str | None], workflow_id: str, run_id: str | None) -> Any:
    """The handle of an execution; nobody serves it. Raises `Fault` if there is none."""
    from flowdsl.client import Execution  # noqa: PLC0415 - `--help` loads nothing that runs
    from flowdsl.running import latest_run  # noqa: PLC0415 - as above

    connection = connection_of(choice)
    return Execution(connection, workflow_id, run_id or latest_run(connection, workflow_id))


@click.command()
@click.argument("target", metavar="TARGET:WORKFLOW")
@click.argument("args", metavar="[ARG]...", nargs=-1)
@click.option("--kw", "keywords", metavar="NAME=VALUE", multiple=True, help="A keyword argument; may be given again.")
@click.option("--id", "workflow_id", help="The execution's workflow id.")
@click.option("--task-list", metavar="L", help="The list of the workers that shall serve it. Default: $FLOWDSL_TASK_LIST, else flowdsl.")
@output
@backend_options
def start(
    target: str, args: tuple[str, ...], keywords: tuple[str, ...], workflow_id: str | None, task_list: str | None,
    output: str, **choice: str | None,
) -> None:  # fmt: skip
    """Start a workflow for others to serve, and print its ids.

    A fleet's workers take it from their task list; an embedded file's execution begins when the file is served.
    """
    with service_errors():
        workflow = find_workflow(target)
        positional, named = [argument(text) for text in args], dict(keyword(text) for text in keywords)
        check_call(workflow, positional, named)
        changes = {name: value for name, value in (("id", workflow_id), ("task_list", task_list)) if value is not None}
        connection = connection_of(choice)
        from flowdsl.running import start_unserved  # noqa: PLC0415 - `--help` loads nothing that runs

        begun = start_unserved(workflow.options(**changes) if changes else workflow, positional, named, connection)
        _print({"workflowId": begun.id, "runId": begun.run_id}, output, f"{begun.id} {begun.run_id}")


@click.command("list")
@click.option("--closed", is_flag=True, help="Those that have ended and are still kept; default: the open ones.")
@click.option("--workflow-id", help="Only runs of this workflow id.")
@click.option("--type", "type_name", metavar="NAME", help="Only runs of this workflow type.")
@click.option("--tag", help="Only runs with this tag.")
@click.option("--status", type=click.Choice(_STATUSES, case_sensitive=False), help="Only runs that ended so; with --closed.")
@click.option("--max-items", type=click.IntRange(min=1), metavar="N", help="So many at most.")
@output
@backend_options
def list_(
    closed: bool, workflow_id: str | None, type_name: str | None, tag: str | None, status: str | None, max_items: int | None,
    output: str, **choice: str | None,
) -> None:  # fmt: skip
    """List executions, the latest first. Amazon SWF narrows by one thing at a time."""
    with service_errors():
        if status is not None and not closed:
            raise DefinitionError("--status says how a run ended: add --closed")
        swf = connection_of(choice).swf
        filters: dict[str, Any] = {"workflow_id": workflow_id, "type_name": type_name, "tag": tag, "most": max_items}
        found = swf.list_closed(**filters, status=status.upper() if status else None) if closed else swf.list_open(**filters)
    _print({"executionInfos": found}, output, "\n".join(_line(info) for info in found))


@click.command()
@_one
@output
def show(workflow_id: str, run_id: str | None, output: str, **choice: str | None) -> None:
    """Show what is known of an execution: its state, what is open, what it published."""
    with service_errors():
        execution = execution_of(choice, workflow_id, run_id)
        about = execution.describe()
        about["published"] = _plain(execution.published())
    info, counts = about["executionInfo"], about["openCounts"]
    opened = ", ".join(f"{number} {name.removeprefix('open')}" for name, number in counts.items() if number) or "nothing"
    lines = [
        _line(info),
        f"task list  {about['executionConfiguration']['taskList']['name']}",
        f"open       {opened}",
        f"published  {json.dumps(about['published'], ensure_ascii=False)}",
    ]
    _print(about, output, "\n".join(lines))


@click.command()
@_one
@click.option("--reverse-order", is_flag=True, help="The latest first.")
@click.option("--max-items", type=click.IntRange(min=1), metavar="N", help="So many at most.")
@output
def history(workflow_id: str, run_id: str | None, reverse_order: bool, max_items: int | None, output: str, **choice: str | None) -> None:
    """Print an execution's events, as Amazon SWF writes them."""
    with service_errors():
        execution = execution_of(choice, workflow_id, run_id)
        events = execution.history()
    chosen = (events[::-1] if reverse_order else events)[:max_items]
    _print({"events": chosen}, output, "\n".join(_event_line(event) for event in chosen))


@click.command()
@_one
@click.argument("signal_name", metavar="NAME")
@click.argument("args", metavar="[ARG]...", nargs=-1)
@click.option("--kw", "keywords", metavar="NAME=VALUE", multiple=True, help="A keyword argument; may be given again.")
def signal(
    workflow_id: str, run_id: str | None, signal_name: str, args: tuple[str, ...], keywords: tuple[str, ...], **choice: str | None
) -> None:
    """Send an open execution the signal NAME (as it was registered: module.function)."""
    with service_errors():
        positional, named = [argument(text) for text in args], dict(keyword(text) for text in keywords)
        execution_of(choice, workflow_id, run_id).signal(signal_name, *positional, **named)


@click.command()
@_one
def cancel(workflow_id: str, run_id: str | None, **choice: str | None) -> None:
    """Ask an open execution to end; its code decides what that takes."""
    with service_errors():
        execution_of(choice, workflow_id, run_id).cancel()


@click.command()
@_one
@click.option("--reason", default="", help="Why; the history keeps it.")
def terminate(workflow_id: str, run_id: str | None, reason: str, **choice: str | None) -> None:
    """End an open execution at once; its code does not hear of it."""
    with service_errors():
        execution_of(choice, workflow_id, run_id).terminate(reason)


@click.command()
@click.argument("token")
@click.argument("value", required=False)
@click.option("--fail", "reason", metavar="REASON", help="End it with this reason instead of a value.")
@backend_options
def complete(token: str, value: str | None, reason: str | None, **choice: str | None) -> None:
    """End a manual activity by its task TOKEN, with a VALUE (JSON where it parses, else a string) or a failure."""
    with usage_errors():
        if reason is not None and value is not None:
            raise DefinitionError("give a VALUE or --fail REASON, not both")
        backend = chosen_backend(**choice)
        from flowdsl import manual  # noqa: PLC0415 - `--help` loads nothing that runs

        try:
            if reason is not None:
                manual.fail(token, reason, backend=backend)
            else:
                manual.complete(token, None if value is None else argument(value), backend=backend)
        except Fault as fault:
            click.echo(f"Error: {fault}", err=True)
            sys.exit(FAILED)


COMMANDS = (start, list_, show, history, signal, cancel, terminate, complete)


# --- printing ---------------------------------------------------------------------------------------------------------


def _print(answer: dict[str, Any], form: str, text: str) -> None:
    if form == "json":
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    elif text:
        click.echo(text)


def _line(info: dict[str, Any]) -> str:
    kind = info["workflowType"]
    state = info.get("closeStatus") or info["executionStatus"]
    return f"{_time(info['startTimestamp'])}  {state:<10}  {info['execution']['workflowId']}  {kind['name']} {kind['version']}"


def _event_line(event: dict[str, Any]) -> str:
    from flowdsl.model.lifecycle import attributes  # noqa: PLC0415 - `--help` does not need the table

    shown = {}
    for name, value in attributes(event).items():
        if isinstance(value, str):
            shown[name] = value if len(value) <= 60 else value[:57] + "…"
        elif isinstance(value, dict) and "name" in value:
            shown[name] = value["name"]
    return f"{event['eventId']:>6}  {_time(event['eventTimestamp'])}  {event['eventType']}  " + " ".join(
        f"{name}={value}" for name, value in shown.items()
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value
