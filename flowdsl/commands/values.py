"""Commands that look after keys and stored values: key, gc."""

from __future__ import annotations

import click

from flowdsl.commands.common import backend_options, chosen_backend, usage_errors
from flowdsl.errors import DefinitionError


@click.command()
@click.argument("action", type=click.Choice(["new", "list"]))
@click.option("--write", is_flag=True, help="new: put the key first into this user's key file; from now on it signs.")
@click.option("--kms", metavar="KEY", help="new: a data key that this AWS KMS key wraps; the printed setting is no secret.")
def key(action: str, write: bool, kms: str | None) -> None:
    """Print a new key for $FLOWDSL_SIGNING_KEYS or $FLOWDSL_ENCRYPTION_KEYS, or list the ids of the keys that are in use.

    Rotation: put the new key before the old one everywhere, and drop the old one when no open execution needs it.
    """
    with usage_errors():
        from flowdsl.upkeep import key_lines, new_key_line  # noqa: PLC0415 - `--help` loads nothing that runs

        if action == "list" and (write or kms):
            raise DefinitionError("--write and --kms belong to `flowdsl key new`")
        for line in key_lines() if action == "list" else [new_key_line(write=write, kms=kms)]:
            click.echo(line)


@click.command()
@click.option("--store", metavar="URI", help="The store. Default: the backend's own, as $FLOWDSL_STORE or the file beside says.")
@click.option("--also", "others", metavar="DOMAIN", multiple=True, help="Another domain that uses the store; may be given again.")
@click.option("--older-than", "hours", type=click.FloatRange(min=0), default=24.0, show_default=True, help="Hours; what is younger stays.")
@click.option("--delete", is_flag=True, help="Delete what is found. Without it nothing is changed.")
@backend_options
def gc(store: str | None, others: tuple[str, ...], hours: float, delete: bool, **choice: str | None) -> None:
    """Find stored values that no execution refers to which the service still keeps; with --delete, delete them.

    Every domain that uses the store has to be named, else what only its executions need is found too.
    """
    with usage_errors():
        backend = chosen_backend(**choice)
        if backend.name == "local":
            raise DefinitionError("the local backend keeps no histories: add --backend embedded or swf")
        from flowdsl.upkeep import clear_away  # noqa: PLC0415 - `--help` loads nothing that runs

        for line in clear_away(backend, store, others, seconds=hours * 3600, delete=delete):
            click.echo(line)


COMMANDS = (key, gc)
