"""How a definition travels: by name where a name leads to it, by value where none does.

Rule 1: `pickle` treats a definition as it treats a function: by module and name, also in `__main__`.
Rule 2: `dill` treats it as it treats a function, too: what lives in `__main__` or in another function goes by value.
Rule 3: by value means in two steps, an empty definition and then its content, because a recursive function's globals lead back to it.
Rule 4: a bound method goes as its instance and its name; other options go as the definition and the options.
Rule 5: loading registers nothing: reading data has no effects elsewhere.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import wrapt

from flowdsl.errors import DefinitionError
from flowdsl.lang.targets import MAIN, Target, find

if TYPE_CHECKING:
    from flowdsl.lang.definitions import Definition
    from flowdsl.lang.options import Options

    AnyDefinition = Definition[..., Any]


def reduce(definition: AnyDefinition, *, main_by_value: bool = False) -> tuple[Any, ...]:
    """What `__reduce_ex__` answers; `main_by_value` is dill's way with `__main__`."""
    target: Target = definition._self_target
    if definition._self_is_bound:
        return bind, (definition.unbound, definition._self_bound_to)
    named = None if main_by_value and target.module in MAIN else find(target.module, target.qualname)
    if named is None or named._self_target is not target:
        return blank, (type(definition),), (target.function, target.binding, definition.settings), None, None, fill
    if named.settings != definition.settings:
        return with_settings, (named, definition.settings)
    return by_name, (target.module, target.qualname)


def by_name(module: str, qualname: str) -> AnyDefinition:
    """The definition that stands in `module` under `qualname`; the module is imported if need be."""
    importlib.import_module(module)
    found: AnyDefinition | None = find(module, qualname)
    if found is None:
        raise DefinitionError(f"{module}.{qualname} was a definition where this was pickled; here nothing decorated has that name")
    return found


def with_settings(definition: AnyDefinition, settings: Options) -> AnyDefinition:
    """The same definition with other options."""
    return definition._with(settings)


def bind(definition: AnyDefinition, instance: Any) -> AnyDefinition:
    """A method of `instance` (of a class, for a class method)."""
    bound: AnyDefinition = definition.__get__(instance, instance if definition.binding == "class" else type(instance))
    return bound


def blank(kind: type[AnyDefinition]) -> AnyDefinition:
    """A definition without content; `fill` is the other half."""
    return kind.__new__(kind)


def fill(definition: AnyDefinition, state: tuple[Any, str | None, Options]) -> None:
    """Give a blank definition its content."""
    function, binding, settings = state
    target = Target(type(definition).kind, function)
    target.bound_as(binding)
    definition.__init__(target, settings)  # type: ignore[misc]  # the second of two steps (rule 3)


def teach_dill(*kinds: type[AnyDefinition]) -> None:
    """Register rule 2 with dill as soon as, and only if, somebody imports it."""

    def register(dill: Any) -> None:
        for kind in kinds:
            dill.pickle(kind, _save)

    wrapt.register_post_import_hook(register, "dill")


def _save(pickler: Any, definition: AnyDefinition) -> None:
    pickler.save_reduce(*reduce(definition, main_by_value=True), obj=definition)
