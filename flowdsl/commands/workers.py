"""`flowdsl worker`: one process that serves, or a supervisor of several."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

import click

from flowdsl.commands.common import backend_options, chosen_backend, load_target, usage_errors
from flowdsl.errors import DefinitionError


@click.command()
@click.argument("target_names", metavar="TARGET...", nargs=-1, required=True)
@click.option("--task-list", metavar="L", help="The task list to serve. Default: $FLOWDSL_TASK_LIST, else flowdsl.")
@click.option("--activities", type=click.IntRange(min=0), default=8, show_default=True, help="Activities that run at the same time.")
@click.option("--deciders", type=click.IntRange(min=0), default=1, show_default=True, help="Threads that run workflow code.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Processes, each with that many.")
@click.option("--build", metavar="B", help="This code's name: executions stay with the build that began them.")
@click.option("--reload", is_flag=True, help="Start anew when a Python file changes below this folder.")
@click.option("--health", metavar="[HOST:]PORT", help="Answer GET /health and /metrics there; without a host, to this machine only.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How log lines look.")
@backend_options
def worker(
    target_names: tuple[str, ...], task_list: str | None, activities: int, deciders: int, processes: int, build: str | None, reload: bool,
    health: str | None, log_format: str, **choice: str | None,
) -> None:  # fmt: skip
    """Serve the workflows and activities of the TARGETs until SIGTERM or Ctrl-C.

    The work in hand is finished first; then the exit code is 0.
    """
    with usage_errors():
        _format_logs(log_format)
        backend = chosen_backend(**choice)
        if (processes > 1 or reload) and backend.name == "embedded":
            raise DefinitionError("--processes and --reload need --backend swf: an embedded file is served by one process")
        from flowdsl.supervisor import SUPERVISED  # noqa: PLC0415 - `--help` loads nothing that runs

        if (processes > 1 or reload) and SUPERVISED not in os.environ:
            _supervise(processes, health, _changes() if reload else None)
        _serve(
            target_names, health=None if SUPERVISED in os.environ else health, backend=backend, task_list=task_list, activities=activities,
            deciders=deciders, build=build, sticky=True if processes > 1 and build is None else None,
        )  # fmt: skip


def _serve(target_names: tuple[str, ...], *, health: str | None, **options: Any) -> None:
    """Serve in this process."""
    from flowdsl import telemetry  # noqa: PLC0415 - `--help` loads nothing that runs
    from flowdsl.supervisor import SUPERVISED, drain_with_supervisor  # noqa: PLC0415 - as above
    from flowdsl.worker import Worker  # noqa: PLC0415 - as above

    modules = [module for name in target_names for module in load_target(name)]
    tally, observers = telemetry.Tally(), telemetry.available()
    prometheus = telemetry.prometheus() if health or os.environ.get("PROMETHEUS_MULTIPROC_DIR") else None
    server = Worker(*modules, observers=[tally, *observers, *([prometheus] if prometheus else [])], **options)
    began = time.time()

    def report() -> tuple[bool, dict[str, Any]]:
        about = {"taskList": server.task_list, "build": options["build"], "pid": os.getpid(), "since": began, **tally.report()}
        return not server.stopping, {"status": "draining" if server.stopping else "serving", **about}

    with ExitStack() as stack:
        if health:
            _announce(stack, health, report, prometheus.text if prometheus else None)
        if SUPERVISED in os.environ:
            drain_with_supervisor()
        click.echo(f"serving the task list {server.task_list!r}; SIGTERM or Ctrl-C finishes the work in hand and ends", err=True)
        server.run()


def _supervise(processes: int, health: str | None, changes: Iterable[Any] | None) -> None:
    """Run this very command in children; does not return."""
    from flowdsl import telemetry  # noqa: PLC0415 - `--help` loads nothing that runs
    from flowdsl.supervisor import Supervisor  # noqa: PLC0415 - as above

    with ExitStack() as stack:
        if health:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="flowdsl-metrics-"))
        command = [sys.executable, "-m", "flowdsl", *sys.argv[1:]]
        supervisor = Supervisor(command, processes, say=partial(click.echo, err=True), changes=changes)
        if health:
            prometheus = telemetry.prometheus()
            _announce(stack, health, supervisor.report, prometheus.text if prometheus else None)
        code = supervisor.run()
    sys.exit(code)


def _announce(stack: ExitStack, where: str, report: Any, metrics: Any) -> None:
    from flowdsl.health import Health, address  # noqa: PLC0415 - `--help` loads no HTTP server

    served = stack.enter_context(Health(*address(where), report, metrics))
    click.echo(f"health at {served.url}/health", err=True)


def _changes() -> Iterable[Any]:
    try:
        from watchfiles import PythonFilter, watch  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise DefinitionError("--reload needs watchfiles: pip install 'flowdsl[server]'") from error
    return watch(".", watch_filter=PythonFilter())


def _format_logs(log_format: str) -> None:
    if log_format == "json":
        from flowdsl.telemetry import JsonFormatter  # noqa: PLC0415 - `--help` does not need it

        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())


COMMANDS = (worker,)
