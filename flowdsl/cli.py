"""The command line: `flowdsl run`, `flowdsl server`, and the commands of `flowdsl.commands`.

Rule 1: this file only reads arguments and prints. Each command imports what it needs when it is called: `flowdsl --help` loads neither
        boto3 nor the engine nor the server.
Rule 2: exit codes: 0 done; 1 the workflow failed, its traceback on stderr; 2 wrong usage, one message on stderr and no traceback (but for
        an error inside the user's own module, whose traceback is the message); 130 interrupted.
Rule 3: stdout holds the result, stderr everything else.
Rule 4: options that the AWS CLI has are spelled as there.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import click

from flowdsl.commands import executions, upkeep, values, workers
from flowdsl.commands.common import FAILED, INTERRUPTED
from flowdsl.commands.common import argument as _argument
from flowdsl.commands.common import as_text as _text
from flowdsl.commands.common import backend_options as _backend_options
from flowdsl.commands.common import check_call as _check_call
from flowdsl.commands.common import chosen_backend as _backend
from flowdsl.commands.common import find_workflow as _workflow
from flowdsl.commands.common import keyword as _keyword
from flowdsl.commands.common import raised_by_workflow as _raised_by_workflow
from flowdsl.commands.common import usage_errors as _usage_errors
from flowdsl.commands.common import wrong_usage as _wrong_usage
from flowdsl.errors import UserError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Durable workflows in plain Python, on this machine or on Amazon SWF.

    TARGET is a file (shop.py), a module or a package.
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


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
@click.option("--lambda", "functions", multiple=True, metavar="NAME=FUNCTION", help="What lambda tasks call: MODULE:FUNCTION or a URL.")
@click.option("--quota", "quotas", multiple=True, metavar="NAME=NUMBER", help="Another limit, such as open_timers=5.")
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Quotas and rates as a fraction of Amazon SWF's own.",
)
@click.option("--throttle", is_flag=True, help="Keep Amazon SWF's request rates too.")
def server(host: str, port: int, path: str, credentials: str | None, backup: str | None, **choice: Any) -> None:
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
            serve(path, host, port, credentials=keys, **choice)


for _module in (executions, workers, upkeep, values):
    for _command in _module.COMMANDS:
        main.add_command(_command)
