"""(kind, name, version) -> definition.

Rule 1: the version is explicit; there is no "latest".
Rule 2: a definition replaces another one quietly only where Python itself would have replaced the function: a notebook cell that ran again,
        a module that was reloaded, a nested function that its factory made anew. Any other clash is an error that names both places.
Rule 3: a registry is a dict and every change of it is one atomic operation of that dict: no lock, and safe from any thread.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flowdsl.errors import DefinitionError
from flowdsl.lang.targets import MAIN, is_definition, layers

if TYPE_CHECKING:
    from flowdsl.lang.definitions import Definition
    from flowdsl.lang.targets import Target

    AnyDefinition = Definition[..., Any]
    Key = tuple[str, str, str]


class Registry:
    """The definitions that a process knows, or that a worker serves."""

    def __init__(self) -> None:
        self._held: dict[Key, AnyDefinition] = {}

    def add(self, definition: AnyDefinition) -> None:
        """Take a definition in; raises `DefinitionError` if its kind, name and version belong to another function already (rule 2)."""
        key = (definition.kind, definition.name, definition.version)
        held = self._held.setdefault(key, definition)
        if held is definition:
            return
        if not may_replace(held._self_target, definition._self_target):
            raise DefinitionError(
                f"two definitions of the {definition.kind} {definition.name!r} version {definition.version!r}: "
                f"{held._self_target.place} and {definition._self_target.place}. Give one of them another name= or version="
            )
        self._held[key] = definition

    def find(self, kind: str, name: str, version: str) -> AnyDefinition | None:
        """The definition with this kind, name and version, or None."""
        return self._held.get((kind, name, version))

    def nearest(self, kind: str, name: str, count: int = 3) -> list[AnyDefinition]:
        """Definitions of that kind for an error message: all versions of the name if it is known, else the names most like it."""
        of_kind = [definition for definition in self if definition.kind == kind]
        same = [definition for definition in of_kind if definition.name == name]
        if same:
            return same
        near = difflib.get_close_matches(name, {definition.name for definition in of_kind}, count, 0.4)
        return [definition for one in near for definition in of_kind if definition.name == one]

    def __iter__(self) -> Iterator[AnyDefinition]:
        return iter(tuple(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, definition: object) -> bool:
        return any(held is definition for held in self)

    def __repr__(self) -> str:
        return f"<Registry of {len(self)} definitions>"

    @classmethod
    def collect(cls, *targets: Any) -> Registry:
        """A registry of what the targets hold: definitions, classes with decorated methods, modules, packages (and all below), registries.

        A module gives what is decorated in it and what it has imported. Raises `DefinitionError` for anything else, naming it.
        """
        registry = cls()
        for target in targets:
            for definition in _definitions_of(target):
                registry.add(definition.unbound)
        return registry


default_registry = Registry()
"""Every definition that was decorated in this process."""


def may_replace(held: Target, new: Target) -> bool:
    """Whether `new` takes the place of `held` quietly (rule 2)."""
    if held.function is new.function:
        return True
    if held.qualname != new.qualname:
        return False
    if held.file == new.file and held.line == new.line:
        return True
    if held.is_lambda and held.file == new.file:
        return False  # lambdas share one name: two of them are two functions unless they stand at the same place
    return (held.module in MAIN and new.module in MAIN) or (held.module == new.module and held.file == new.file)


def _definitions_of(target: Any) -> Iterator[AnyDefinition]:
    if is_definition(target):
        yield target
    elif isinstance(target, Registry):
        yield from target
    elif isinstance(target, ModuleType):
        yield from _of_module(target)
    elif inspect.isclass(target):
        yield from _of_namespace(target, set())
    else:
        raise DefinitionError(f"{target!r} is neither decorated nor a module, a package or a class with decorated methods")


def _of_module(module: ModuleType) -> Iterator[AnyDefinition]:
    seen: set[int] = set()
    for one in _with_submodules(module):
        yield from _of_namespace(one, seen)
        for definition in default_registry:  # what no name of the module leads to: nested functions, for one
            if definition._self_target.module == one.__name__:
                yield definition


def _with_submodules(module: ModuleType) -> Iterator[ModuleType]:
    yield module
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
        if found.name.rpartition(".")[2] != "__main__":  # importing it would run the program
            yield importlib.import_module(found.name)


def _of_namespace(holder: Any, seen: set[int]) -> Iterator[AnyDefinition]:
    """Definitions among the attributes of a module or a class, and of the classes among them."""
    if id(holder) in seen:
        return
    seen.add(id(holder))
    for value in tuple(vars(holder).values()):
        if type(value) is type or inspect.isclass(value):
            yield from _of_namespace(value, seen)
            continue
        for layer in layers(value):
            if is_definition(layer):
                yield layer
