"""What stands under a decorator: the user's function, and what it says of itself.

Rule 1: a `Target` is made once per decorated function and shared by all of its definitions (bound ones, ones with other options).
Rule 2: what no run could use is refused here, at decoration, with the right way to write it.
Rule 3: names and places are read at once; type hints and the owning class later, when the module is complete.
Rule 4: `find` is the only way from a name to a definition. It looks below `classmethod`, `property` and `functools.wraps`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from flowdsl.errors import DefinitionError

MAIN = ("__main__", "__mp_main__")  # the second is what multiprocessing calls the first in a child that it spawned

_OVER_DESCRIPTOR = (classmethod, staticmethod)


class Target:
    """A decorated function: what it is, where it stands, whose it is.

    `function` is what was decorated, `plain` what is below `classmethod`, `staticmethod` and `functools.partial`; `module`,
    `qualname`, `file` and `line` say where it stands; `binds` is true if reading it from an instance binds it; `is_async` if it is
    `async def`.
    """

    __slots__ = ("_binding", "_owner", "_signature", "binds", "file", "function", "is_async", "line", "module", "plain", "qualname")

    def __init__(self, kind: str, function: Any) -> None:
        refuse_unusable(kind, function)
        self.function = function
        self.plain = _plain(function)
        self.is_async = inspect.iscoroutinefunction(self.plain)
        self.module: str = getattr(self.plain, "__module__", None) or "builtins"
        self.qualname: str = getattr(_unbound(function), "__qualname__", "")
        self.file, self.line = _location(self.plain)
        self.binds = _binds(function)
        self._binding: str | None = "class" if isinstance(function, classmethod) else None
        self._owner: type | None = None
        self._signature: inspect.Signature | None = None

    @property
    def where(self) -> str:
        """`order.py:12`, for people; the file alone (or nothing) where there is no line."""
        return f"{self.file.replace(chr(92), '/').rpartition('/')[2]}:{self.line}" if self.file else ""

    @property
    def place(self) -> str:
        """`/home/ann/order.py:12`, for messages that compare two places."""
        return f"{self.file}:{self.line}" if self.file else f"{self.module}.{self.qualname}"

    @property
    def is_lambda(self) -> bool:
        """Whether the function has no name of its own."""
        return self.qualname.endswith("<lambda>")

    @property
    def default_name(self) -> str:
        """`module.qualname`, for scripts and notebooks the bare qualname; empty if the function has no name."""
        name = self.qualname.replace("<locals>.", "").replace("<lambda>", "lambda")
        return name if self.module in MAIN or not name else f"{self.module}.{name}"

    @property
    def in_class(self) -> bool:
        """Whether the function was written in the body of a class."""
        outer = self.qualname.rpartition(".")[0]
        return bool(outer) and not outer.endswith("<locals>")

    # --- whose it is

    def belongs_to(self, owner: type) -> None:
        """The class whose body holds the function was made (`__set_name__`)."""
        if self.in_class and self.qualname.rpartition(".")[0] == owner.__qualname__:
            self._owner = owner
            if self._binding is None and self.binds:
                self._binding = "instance"

    def locate(self, first: Any = None) -> None:
        """Find the owner of a function that Python did not tell about it: one below `@classmethod`, `@property` or another decorator.

        `first` is the first argument of a call, whose class may be the owner.
        """
        if self._owner is not None or not self.in_class:
            return
        name = self.qualname.rpartition(".")[2]
        for owner in self._candidates(first):
            for layer in layers(vars(owner).get(name)):
                if is_definition(layer) and layer._self_target is self:
                    self._owner = owner
                    self._binding = self._binding or _binding_of(vars(owner)[name])
                    self._signature = None  # it may have been read when `self` still looked like an argument
                    return

    def _candidates(self, first: Any) -> Iterator[type]:
        outer = _walk(self.module, self.qualname.rpartition(".")[0])
        if isinstance(outer, type):
            yield outer
        if first is not None:
            yield from (first if isinstance(first, type) else type(first)).__mro__

    @property
    def owner(self) -> type | None:
        """The class whose method this is, or None."""
        self.locate()
        return self._owner

    @property
    def binding(self) -> str | None:
        """`instance` for a method, `class` for a class method, None for everything else."""
        self.locate()
        return self._binding

    def bound_as(self, binding: str | None) -> None:
        """Take over a binding that was found in another process."""
        self._binding = binding

    # --- what it takes and gives

    @property
    def signature(self) -> inspect.Signature:
        """The signature as callers see it: no `self` or `cls`, annotations resolved (`Any` where a name cannot be found)."""
        if self._signature is None:
            self._signature = self._read_signature()
        return self._signature

    def _read_signature(self) -> inspect.Signature:
        signature = inspect.signature(_unbound(self.function))
        hints = _hints(self.plain, signature)
        parameters = [p.replace(annotation=hints.get(p.name, Any)) for p in signature.parameters.values()]
        if self.binding is not None:
            parameters = parameters[1:]
        return signature.replace(parameters=parameters, return_annotation=hints.get("return", Any))


def refuse_unusable(kind: str, function: Any) -> None:
    """Raise `DefinitionError`, saying the right way, if `function` is nothing that a `kind` can be made of."""
    given = f"@{kind} was given {_describe(function)}"
    inner = _unbound(function)
    if is_definition(inner):
        raise DefinitionError(
            f"{given}, which is decorated already: decorate a function once. For other options write {inner.__name__}.options(…); "
            "for another kind decorate a plain function that calls it"
        )
    if inspect.isclass(function):
        raise DefinitionError(f"{given}: classes cannot be decorated. Decorate its methods: put @{kind} above each `def`")
    if isinstance(function, (property, functools.cached_property)):
        raise DefinitionError(f"{given}: put @{kind} below @property, directly above the `def`")
    if isinstance(function, str):
        raise DefinitionError(f"{given}: write @{kind}(name={function!r})")
    if not callable(inner):
        raise DefinitionError(f"{given}, which cannot be called: decorate a function")
    plain = _plain(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise DefinitionError(
            f"{given}, a generator: a decorated function returns one value. Return a list, or call the generator from a decorated function"
        )
    try:
        inspect.signature(inner)
    except (ValueError, TypeError):
        name = getattr(inner, "__name__", "it")
        raise DefinitionError(
            f"{given}, which does not say what arguments it takes: wrap it, as in `@{kind}` above `def my_{name}(x): return {name}(x)`"
        ) from None


def find(module: str, qualname: str) -> Any:
    """The definition that stands in `module` under `qualname`, whatever lies on top of it; None if there is none."""
    outer, _, name = qualname.rpartition(".")
    holder = _walk(module, outer)
    try:
        held = vars(holder).get(name)
    except TypeError:
        return None
    return next((layer for layer in layers(held) if is_definition(layer)), None)


def _walk(module: str, path: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in path.split(".") if path else ():
        found = getattr(found, name, None)
    return found


def layers(held: Any) -> Iterator[Any]:
    """`held`, and what lies below it: below `classmethod`, `staticmethod`, `property` and what `functools.wraps` put on top."""
    for _ in range(100):  # a chain of wrappers that is longer leads in a circle
        if held is None:
            return
        yield held
        if is_definition(held):
            return
        if isinstance(held, property):
            held = held.fget
        elif isinstance(held, functools.cached_property):
            held = held.func
        elif callable(held) or isinstance(held, _OVER_DESCRIPTOR):
            held = vars(held).get("__wrapped__") if isinstance(held, types.FunctionType) else getattr(held, "__wrapped__", None)
        else:
            return


def is_definition(thing: object) -> bool:
    """Whether this is something decorated; asks the type, so that an obliging `__getattr__` (a mock's, a proxy's) cannot say yes."""
    return getattr(type(thing), "_is_definition", False) is True


def _binding_of(held: Any) -> str | None:
    if isinstance(held, classmethod):
        return "class"
    return None if isinstance(held, staticmethod) else "instance"


def _describe(function: Any) -> str:
    inner = _unbound(function)
    name = getattr(inner, "__qualname__", None)
    return f"{type(function).__name__} {name or repr(function)}"


def _unbound(function: Any) -> Any:
    return function.__func__ if isinstance(function, _OVER_DESCRIPTOR) else function


def _binds(function: Any) -> bool:
    """Whether reading the function from an instance or a class binds it, as Python's own methods are bound."""
    if isinstance(function, (staticmethod, functools.partial)) or inspect.ismethod(function):
        return False
    return hasattr(type(function), "__get__")


def _plain(function: Any) -> Any:
    """The Python function that will run, as far as it can be known: below partials, and `__call__` of a callable object."""
    inner = _unbound(function)
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not inspect.isroutine(inner) and not inspect.isclass(inner) and hasattr(type(inner), "__call__"):  # noqa: B004 - its method is wanted
        return type(inner).__call__
    return inner


def _location(plain: Any) -> tuple[str, int]:
    code = getattr(inspect.unwrap(plain), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


def _hints(plain: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except Exception:  # one name that cannot be found must not hide the others
        function = inspect.unwrap(plain)
        names = {**getattr(function, "__globals__", {}), **_closure(function)}
        return {name: _resolve(annotation, names) for name, annotation in _annotations(signature)}


def _annotations(signature: inspect.Signature) -> Iterator[tuple[str, Any]]:
    for parameter in signature.parameters.values():
        if parameter.annotation is not parameter.empty:
            yield parameter.name, parameter.annotation
    if signature.return_annotation is not signature.empty:
        yield "return", signature.return_annotation


def _closure(function: Any) -> dict[str, Any]:
    """Names that a nested function took from around it; its annotations may mean them."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # the variable has no value yet
            continue
    return found


def _resolve(annotation: Any, names: dict[str, Any]) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(holder, names, names, include_extras=True)["it"]
    except Exception:
        return Any
