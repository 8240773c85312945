"""Durable workflows from plain Python functions, on Amazon SWF.

Decorate the functions you have; call them, `run` them here, on the embedded engine, or on AWS, unchanged.
Importing this package loads the language only; what runs workflows is loaded when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from flowdsl.errors import (
    ActivityFailed,
    ActivityTimedOut,
    AlreadyRunning,
    Cancelled,
    CancelRequested,
    ChildFailed,
    DefinitionError,
    Evicted,
    Fault,
    FileInUse,
    FlowError,
    InternalError,
    LimitExceeded,
    NonDeterminism,
    NonRetryable,
    NotAnEngineFile,
    NotInstalled,
    NotRecorded,
    NotSerializable,
    PayloadLost,
    PythonMismatch,
    RemoteError,
    RetryAfter,
    SignalFailed,
    StoreUnavailable,
    UntrustedPayload,
    WorkflowFailed,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from flowdsl.lang.api import continue_as_new, heartbeat, info, logger, mark, now, patched, publish, sleep, sleep_until, spawn, wait_until
from flowdsl.lang.blocks import scope, shield, timeout
from flowdsl.lang.context import Call, Info, install_direct
from flowdsl.lang.definitions import (
    Activity,
    Cached,
    Signal,
    Timer,
    Workflow,
    activity,
    cached,
    install_sender,
    nondeterministic,
    signal,
    timer,
    workflow,
)
from flowdsl.lang.options import Retry
from flowdsl.lang.promises import Promise, as_completed, first, gather
from flowdsl.lang.registry import Registry, default_registry

if TYPE_CHECKING:
    from flowdsl.backends import Embedded, Local, Swf
    from flowdsl.client import Execution
    from flowdsl.manual import complete, fail, still_alive
    from flowdsl.running import attach, executions, run, signal_with_start, start
    from flowdsl.worker import Worker

__version__ = "0.1.0"


_LAZY = {
    "run": "running", "start": "running", "attach": "running", "executions": "running",
    "signal_with_start": "running",
    "complete": "manual", "fail": "manual", "still_alive": "manual",
    "Execution": "client", "Worker": "worker", "Local": "backends", "Embedded": "backends", "Swf": "backends",
}  # fmt: skip


def _run_directly(call: Call) -> Any:
    from flowdsl.running import run_locally  # noqa: PLC0415 - a module that only decorates never loads what runs

    return run_locally(call)


def _send(definition: Any, workflow_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    from flowdsl.running import send  # noqa: PLC0415 - as above

    send(definition, workflow_id, args, kwargs)


install_direct(_run_directly)
install_sender(_send)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(f"flowdsl.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'flowdsl' has no attribute {name!r}")


__all__ = [
    "Activity",
    "ActivityFailed",
    "ActivityTimedOut",
    "AlreadyRunning",
    "Cached",
    "CancelRequested",
    "Cancelled",
    "ChildFailed",
    "DefinitionError",
    "Embedded",
    "Evicted",
    "Execution",
    "Fault",
    "FileInUse",
    "FlowError",
    "Info",
    "InternalError",
    "LimitExceeded",
    "Local",
    "NonDeterminism",
    "NonRetryable",
    "NotAnEngineFile",
    "NotInstalled",
    "NotRecorded",
    "NotSerializable",
    "PayloadLost",
    "Promise",
    "PythonMismatch",
    "Registry",
    "RemoteError",
    "Retry",
    "RetryAfter",
    "Signal",
    "SignalFailed",
    "StoreUnavailable",
    "Swf",
    "Timer",
    "UntrustedPayload",
    "Worker",
    "Workflow",
    "WorkflowFailed",
    "WorkflowTerminated",
    "WorkflowTimedOut",
    "activity",
    "as_completed",
    "attach",
    "cached",
    "complete",
    "continue_as_new",
    "default_registry",
    "executions",
    "fail",
    "first",
    "gather",
    "heartbeat",
    "info",
    "logger",
    "mark",
    "nondeterministic",
    "now",
    "patched",
    "publish",
    "run",
    "scope",
    "shield",
    "signal",
    "signal_with_start",
    "sleep",
    "sleep_until",
    "spawn",
    "start",
    "still_alive",
    "timeout",
    "timer",
    "wait_until",
    "workflow",
]


def __dir__() -> list[str]:
    return sorted(__all__)
