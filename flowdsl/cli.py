"""The command line: `flowdsl run | worker | server`.

Rule 1: this file only reads arguments and prints. Each command imports what it needs when it is called: `flowdsl --help` loads neither
        boto3 nor the engine nor the server.
Rule 2: exit codes: 0 done; 1 the workflow failed, its traceback on stderr; 2 wrong usage, one message on stderr and no traceback (but for
        an error inside the user's own module, whose traceback is the message); 130 interrupted.
Rule 3: stdout holds the result, stderr everything else.
Rule 4: options that the AWS CLI has are spelled as there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any, NoReturn, TypeVar

import click

from flowdsl import targets
from flowdsl.errors import DefinitionError, UserError, WorkflowFailed

FAILED = 1
USAGE = 2
INTERRUPTED = 130

Function = TypeVar("Function", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Durable workflows in plain Python, on this machine or on Amazon SWF.

    TARGET is a file (shop.py), a module or a package.
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _backend_options(command: Function) -> Function:
    for option in reversed(
        (
            click.option("--backend", metavar="B", help="local, embedded or swf. Default: $FLOWDSL_BACKEND, else local."),
            click.option("--path", type=click.Path(dir_okay=False), help="The embedded engine's file. Default: flowdsl.db."),
            click.option("--domain", help="The SWF domain. Default: $FLOWDSL_DOMAIN, else flowdsl."),
            click.option("--profile", help="The AWS profile."),
            click.option("--region", help="The AWS region."),
            click.option("--endpoint-url", metavar="URL", help="Another address of SWF, such as a flowdsl server's."),
        )
    ):
        command = option(command)
    return command


@main.command()
@click.argument("target", metavar="TARGET:WORKFLOW")
@click.argument("args", metavar="[ARG]...", nargs=-1)
@click.option("--kw", "keywords", metavar="NAME=VALUE", multiple=True, help="A keyword argument; may be given again.")
@click.option("--id", "workflow_id", help="The execution's workflow id. The id of an open execution attaches to it and resumes it.")
@_backend_options
def run(target: str, args: tuple[str, ...], keywords: tuple[str, ...], workflow_id: str | None, **choice: str | None) -> None:
    """Run a workflow and print its result as JSON.

    An ARG (or VALUE) is JSON where it parses, else a string. Write -- before an ARG that begins with a dash.
    """
    with _usage_errors():
        workflow = _workflow(target)
        positional = [_argument(text) for text in args]
        named = dict(_keyword(text) for text in keywords)
        _check_call(workflow, positional, named)
        chosen = workflow.options(id=workflow_id) if workflow_id is not None else workflow
        backend = _backend(**choice)
    from flowdsl.running import run as run_workflow  # noqa: PLC0415 - rule 1

    try:
        result = run_workflow(chosen, *positional, backend=backend, **named)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # `run` has said how to come back
    except Exception as error:
        if isinstance(error, UserError) and not _raised_by_workflow(error, workflow):
            _wrong_usage(error)
        traceback.print_exception(error)
        sys.exit(FAILED)
    click.echo(_text(result, workflow.returns))


@main.command()
@click.argument("target_names", metavar="TARGET...", nargs=-1, required=True)
@click.option("--task-list", metavar="L", help="The task list to serve. Default: $FLOWDSL_TASK_LIST, else flowdsl.")
@click.option("--activities", type=click.IntRange(min=0), default=8, show_default=True, help="Activities that run at the same time.")
@click.option("--deciders", type=click.IntRange(min=0), default=1, show_default=True, help="Threads that run workflow code.")
@_backend_options
def worker(target_names: tuple[str, ...], task_list: str | None, activities: int, deciders: int, **choice: str | None) -> None:
    """Serve the workflows and activities of the TARGETs until SIGTERM or Ctrl-C.

    The work in hand is finished first; then the exit code is 0.
    """
    with _usage_errors():
        modules = [module for name in target_names for module in _load(name)]
        backend = _backend(**choice)
        from flowdsl.worker import Worker  # noqa: PLC0415 - rule 1

        server = Worker(*modules, backend=backend, task_list=task_list, activities=activities, deciders=deciders)
        click.echo(f"serving the task list {server.task_list!r}; SIGTERM or Ctrl-C finishes the work in hand and ends", err=True)
        server.run()


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address; any but loopback needs --credentials.")
@click.option("--port", type=click.IntRange(0, 65535), default=4010, show_default=True, help="0 takes a free one.")
@click.option("--path", type=click.Path(dir_okay=False), default="flowdsl.db", show_default=True, help="The engine's file.")
@click.option(
    "--durability",
    type=click.Choice(["process", "full"]),
    default="process",
    show_default=True,
    help="What acknowledged work survives: the process's death, or the machine's too.",
)
@click.option(
    "--credentials",
    type=click.Path(dir_okay=False),
    help="A file with access_key:secret, mode 0600: only calls signed with them are served. Default: $FLOWDSL_SERVER_CREDENTIALS.",
)
@click.option("--backup", type=click.Path(dir_okay=False), help="Do not serve: copy the engine's file to this new one, served or not.")
def server(host: str, port: int, path: str, durability: Any, credentials: str | None, backup: str | None) -> None:
    """Serve the embedded engine as Amazon SWF, for any AWS client.

    Prints the two environment lines that point a client at it. SIGTERM or Ctrl-C ends it with everything stored.
    """
    with _usage_errors():
        from flowdsl.server import guard, serve  # noqa: PLC0415 - rule 1
        from flowdsl.server.backup import backup as copy  # noqa: PLC0415 - rule 1

        keys = guard.Credentials.choose(credentials)
        if backup is not None:
            copy(path, backup, host=host, port=port, credentials=keys)
        else:
            serve(path, host, port, durability=durability, credentials=keys)


# --- reading ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        _wrong_usage(error)


def _wrong_usage(error: UserError) -> NoReturn:
    click.echo(f"Error: {error}", err=True)
    sys.exit(USAGE)


def _load(target: str) -> list[ModuleType]:
    return _own_errors(targets.load, target)


Result = TypeVar("Result")


def _own_errors(load: Callable[[str], Result], target: str) -> Result:
    """An exception inside the user's module is shown as Python shows it; our own frames are left out."""
    try:
        return load(target)
    except UserError:
        raise
    except Exception as error:
        frames = error.__traceback__
        while frames is not None and (frames.tb_frame.f_globals.get("__name__") or "").split(".")[0] in {"flowdsl", "importlib"}:
            frames = frames.tb_next
        traceback.print_exception(error.with_traceback(frames))
        click.echo(f"Error: {target} cannot be imported, see above", err=True)
        sys.exit(USAGE)


def _workflow(target: str) -> Any:
    found = _own_errors(targets.resolve, target)
    kind = getattr(found, "kind", None)
    if kind != "workflow":
        what = f"is a definition of kind {kind!r}" if isinstance(kind, str) else f"is a {type(found).__name__}"
        raise DefinitionError(f"{target} {what}, not a @workflow")
    return found


def _argument(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _keyword(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise DefinitionError(f"--kw {text!r} is not of the form NAME=VALUE")
    return name, _argument(value)


def _check_call(workflow: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    signature = inspect.signature(workflow)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise DefinitionError(f"{workflow.__name__}{signature}: {error}") from None


_TAKES = {
    "local": (),
    "embedded": ("path", "domain"),
    "swf": ("domain", "profile", "region", "endpoint_url"),
}


def _backend(backend: str | None, **options: str | None) -> Any:
    """The backend that the options describe; refuses an option that the chosen one does not have, and says which has it."""
    from flowdsl import backends  # noqa: PLC0415 - rule 1

    chosen = backends.resolve(backend)
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in _TAKES[chosen.name]:
            owners = " or ".join(owner for owner, names in _TAKES.items() if name in names)
            raise DefinitionError(f"--{name.replace('_', '-')} has no meaning for the backend {chosen.name}: add --backend {owners}")
    if "profile" in given:
        given["session"] = _session(given.pop("profile"), given.get("region"))
    return dataclasses.replace(chosen, **given)


def _session(profile: str, region: str | None) -> Any:
    import boto3  # noqa: PLC0415 - rule 1
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - rule 1

    try:
        return boto3.Session(profile_name=profile, region_name=region)
    except BotoCoreError as error:
        raise DefinitionError(str(error)) from None


# --- printing --------------------------------------------------------------------------------------------------------


def _text(result: Any, annotation: Any) -> str:
    """The result as JSON: plainly where it is JSON, typed values as flowdsl writes them into a history; else its `repr`."""
    try:
        return json.dumps(result, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        pass
    from flowdsl.data.converter import Converter  # noqa: PLC0415 - rule 1
    from flowdsl.model.payload import Slot  # noqa: PLC0415 - rule 1

    for kind in (annotation, type(result)):  # a value of the annotated type is plain JSON; any other has a prefix for machines
        with contextlib.suppress(UserError):
            text = Converter().encode(result, Slot("", "", "result"), kind)
            if not text.startswith("fd1."):
                return text
    return repr(result)


def _raised_by_workflow(error: BaseException, workflow: Any) -> bool:
    """Whether the error came out of the workflow's own body (then the workflow failed), and not from our refusing to run it."""
    if isinstance(error.__cause__, WorkflowFailed):
        return True
    code: CodeType | None = getattr(inspect.unwrap(workflow), "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))
