"""The decorators, bare (`@activity`) or with options (`@activity(retry=3)`), and the classes that they make.

Rule 1: decorating checks everything that can be checked, registers the definition, and never calls the function.
Rule 2: what is decorated may be a `def`, an `async def`, a method, a class or static method, a lambda, a partial, a callable object.
Rule 3: a decorated function is what it was (`wrapping`); a call of it means what Python says it means (`calls`, `signals`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowdsl.errors import DefinitionError
from flowdsl.lang import pickling
from flowdsl.lang.calls import Activity, Cached, Startable, Timer, Workflow
from flowdsl.lang.options import Options
from flowdsl.lang.registry import default_registry
from flowdsl.lang.signals import Signal, install_sender
from flowdsl.lang.targets import Target
from flowdsl.lang.wrapping import Definition
from flowdsl.limits import check_name

if TYPE_CHECKING:
    from flowdsl.lang.shapes import ActivityDecorator, CachedDecorator, SignalDecorator, TimerDecorator, WorkflowDecorator

__all__ = [
    "Activity",
    "Cached",
    "Definition",
    "Signal",
    "Startable",
    "Timer",
    "Workflow",
    "activity",
    "cached",
    "install_sender",
    "nondeterministic",
    "signal",
    "timer",
    "workflow",
]

_MISSING: Any = object()


def _decorator(kind: type[Definition[..., Any]]) -> Any:
    """The decorator of one kind, with and without options."""

    def decorate(function: Any = _MISSING, /, **options: Any) -> Any:
        settings = Options().changed(kind.kind, options)
        if function is _MISSING:
            return lambda function: _define(kind, function, settings)
        return _define(kind, function, settings)

    decorate.__name__ = decorate.__qualname__ = kind.kind
    decorate.__doc__ = kind.__doc__
    return decorate


def _define(kind: type[Definition[..., Any]], function: Any, settings: Options) -> Definition[..., Any]:
    target = Target(kind.kind, function)
    if not settings.name:
        if not target.default_name:
            raise DefinitionError(f"@{kind.kind} was given {function!r}, which has no name of its own: add name=…")
        settings = settings.changed(kind.kind, {"name": check_name(target.default_name, f"the name of the {kind.kind}")})
    definition = kind(target, settings)
    default_registry.add(definition)
    return definition


activity: ActivityDecorator = _decorator(Activity)
cached: CachedDecorator = _decorator(Cached)
nondeterministic: CachedDecorator = cached
timer: TimerDecorator = _decorator(Timer)
signal: SignalDecorator = _decorator(Signal)
workflow: WorkflowDecorator = _decorator(Workflow)

pickling.teach_dill(Activity, Cached, Timer, Signal, Workflow)
