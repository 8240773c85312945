"""Which instance a method runs on: `self` never travels, so the worker brings its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowdsl.errors import DefinitionError


def find_instance(definition: Any, instances: Sequence[Any]) -> Any:
    """What to bind the definition's function to: None for a function, the class for a class method, else the one registered instance.

    Raises `DefinitionError` when none or more than one fits.
    """
    if definition.binding is None:
        return None
    owner = definition.owner
    if definition.binding == "class":
        return owner
    fitting = [one for one in instances if isinstance(one, owner)]
    if len(fitting) == 1:
        return fitting[0]
    have = "none" if not fitting else f"{len(fitting)}"
    raise DefinitionError(
        f"{definition.name} is a method of {owner.__qualname__} and runs on the instance that the worker has; it has {have}. "
        f"Start it with exactly one:  Worker(…, instances=[{owner.__qualname__}(…)])"
    )
