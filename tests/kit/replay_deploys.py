"""Code before and after a deploy: definitions of one name that no registry of the process holds, so that two of them can stand side by
side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowdsl.lang.definitions import Activity, Cached, Workflow
from flowdsl.lang.options import Options
from flowdsl.lang.registry import Registry
from flowdsl.lang.targets import Target

KINDS: dict[str, Any] = {"workflow": Workflow, "activity": Activity, "cached": Cached}


def define(function: Callable[..., Any], name: str, kind: str = "workflow", **options: Any) -> Any:
    """The definition that `@workflow(name=…)` would make of the function, registered nowhere."""
    return KINDS[kind](Target(kind, function), Options().changed(kind, {"name": name, **options}))


def deployed(*definitions: Any) -> Registry:
    """What a decider knows after a deploy of these."""
    registry = Registry()
    for definition in definitions:
        registry.add(definition)
    return registry
