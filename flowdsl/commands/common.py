"""What several commands share: the options of a backend, reading arguments, printing results.

Rule 1: nothing here loads boto3, the engine or the server before it is called.
Rule 2: wrong usage ends the process with 2 and one message; see `cli`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
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


def backend_options(command: Function) -> Function:
    """The options that choose a backend."""
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


# --- reading ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """End with `USAGE` and one message after an error of the user's."""
    try:
        yield
    except UserError as error:
        wrong_usage(error)


def wrong_usage(error: UserError) -> NoReturn:
    """Say what is wrong and end with `USAGE`."""
    click.echo(f"Error: {error}", err=True)
    sys.exit(USAGE)


def load_target(target: str) -> list[ModuleType]:
    """The modules that a TARGET means; ends the process if one cannot be imported."""
    return own_errors(targets.load, target)


Result = TypeVar("Result")


def own_errors(load: Callable[[str], Result], target: str) -> Result:
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


def find_workflow(target: str) -> Any:
    """The workflow that TARGET:WORKFLOW names. Raises `DefinitionError` for anything else."""
    found = own_errors(targets.resolve, target)
    kind = getattr(found, "kind", None)
    if kind != "workflow":
        what = f"is a definition of kind {kind!r}" if isinstance(kind, str) else f"is a {type(found).__name__}"
        raise DefinitionError(f"{target} {what}, not a @workflow")
    return found


def argument(text: str) -> Any:
    """A value from the command line: JSON where it parses, else the string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def keyword(text: str) -> tuple[str, Any]:
    """NAME=VALUE. Raises `DefinitionError` for another form."""
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise DefinitionError(f"--kw {text!r} is not of the form NAME=VALUE")
    return name, argument(value)


def check_call(workflow: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raise `DefinitionError` if the workflow cannot be called so."""
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


def chosen_backend(backend: str | None, **options: str | None) -> Any:
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


def as_text(result: Any, annotation: Any) -> str:
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


def raised_by_workflow(error: BaseException, workflow: Any) -> bool:
    """Whether the error came out of the workflow's own body (then the workflow failed), and not from our refusing to run it."""
    if isinstance(error.__cause__, WorkflowFailed):
        return True
    code: CodeType | None = getattr(inspect.unwrap(workflow), "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))
