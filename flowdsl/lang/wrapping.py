"""`Definition`: a decorated function that stays a function.

Rule 1: a definition is made of a `Target` (the function), `Options` and, for a method, what it is bound to. Nothing of it changes
        afterwards: binding and `.options` give another definition of the same target.
Rule 2: whatever Python asks of a function (name, doc, signature, hints, binding, pickle, copy, equality) is answered as the function would.
Rule 3: wrong arguments are a `TypeError` at the call, as in Python, before anything was started.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import wrapt

from flowdsl.errors import DefinitionError, InternalError
from flowdsl.lang import pickling
from flowdsl.lang.context import Call
from flowdsl.lang.registry import default_registry
from flowdsl.limits import clean_id

if TYPE_CHECKING:
    import inspect
    from typing import Self

    from flowdsl.lang.options import Options
    from flowdsl.lang.targets import Target

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

_NOTHING: Any = object()  # None is something that a function may be bound to, or be given


def _unused(*_: Any) -> Any:
    """What wrapt would call; `__call__` is ours."""
    raise InternalError("wrapt called the wrapper of a definition")


class Definition(wrapt.FunctionWrapper[P, R_co]):
    """A decorated function, or a method of it that is bound to an instance. It looks like the function itself."""

    # No annotation may stand in this body, nor in a subclass's: `__annotations__` of the class would hide the function's own.
    kind = ""
    _is_definition = True

    if TYPE_CHECKING:  # wrapt's says that a proxy has every attribute: `charge.strat(3)` would pass mypy (with pyright it still does)
        __getattr__ = None  # type: ignore[assignment, misc]  # hiding it is the purpose

    def __init__(self, target: Target, settings: Options, wrapped: Any = None, bound_to: Any = _NOTHING) -> None:
        super().__init__(target.function if wrapped is None else wrapped, _unused)
        self._self_target: Target = target
        self._self_settings: Options = settings
        self._self_is_bound: bool = bound_to is not _NOTHING
        self._self_bound_to: Any = bound_to

    # --- what it is

    @property
    def settings(self) -> Options:
        """Its options, checked."""
        return self._self_settings

    @property
    def name(self) -> str:
        """The type's name on the service."""
        return self._self_settings.name

    @property
    def version(self) -> str:
        """The type's version on the service."""
        return self._self_settings.version

    @property
    def short_name(self) -> str:
        """The function's own name, fit for call ids."""
        own: str = getattr(self.__wrapped__, "__name__", "") or self.name.rpartition(".")[2]
        return clean_id("lambda" if own == "<lambda>" else own)

    @property
    def is_async(self) -> bool:
        """Whether it was written with `async def`."""
        return self._self_target.is_async

    @property
    def call_signature(self) -> inspect.Signature:
        """The signature as callers see it: no `self` or `cls`, annotations resolved (`Any` where a name cannot be found)."""
        return self._self_target.signature

    @property
    def returns(self) -> Any:
        """The resolved return annotation, or `Any`."""
        return self._self_target.signature.return_annotation

    @property
    def where(self) -> str:
        """`order.py:12`."""
        return self._self_target.where

    @property
    def binding(self) -> str | None:
        """`instance` for a method, `class` for a class method, else None."""
        return self._self_target.binding

    @property
    def owner(self) -> type | None:
        """The class whose method it is, or None."""
        return self._self_target.owner

    @property
    def unbound(self) -> Self:
        """The definition that a bound method was made from; of others, itself."""
        return type(self)(self._self_target, self._self_settings) if self._self_is_bound else self

    def invoke(self, args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any = None) -> Any:
        """Run the plain function and return what it returns (a coroutine for `async def`).

        `instance` is `self` for a method (and may be the class for a class method). Raises `DefinitionError` if a method gets none.
        """
        target = self._self_target
        function = target.function
        if self._self_is_bound:
            return self.__wrapped__(*args, **kwargs)
        if target.binding == "class":
            owner = target.owner if instance is None else instance
            bound = function.__get__(None, owner) if isinstance(function, classmethod) else function.__get__(owner)
            return bound(*args, **kwargs)
        if target.binding == "instance":
            if instance is None:
                raise DefinitionError(f"{self.name} is a method: whoever runs it needs an instance, as in Worker(instances=[…])")
            return function.__get__(instance)(*args, **kwargs)
        return function(*args, **kwargs)

    # --- it stays a function

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        target = self._self_target
        if self._self_is_bound or not target.binds:
            return self
        if isinstance(target.function, classmethod):
            to = type(instance) if owner is None else owner
            return type(self)(target, self._self_settings, target.function.__get__(None, to), to)
        return self if instance is None else type(self)(target, self._self_settings, target.function.__get__(instance, owner), instance)

    def __set_name__(self, owner: type, name: str) -> None:
        if "_self_target" in self.__self_dict__:  # a definition that is being unpickled may be blank still
            self._self_target.belongs_to(owner)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Definition):
            return NotImplemented
        return (
            type(self) is type(other)
            and self._self_target.function is other._self_target.function
            and self._self_settings == other._self_settings
            and self._self_bound_to is other._self_bound_to
        )

    def __ne__(self, other: object) -> bool:  # wrapt has one that compares the functions
        return not self == other

    def __hash__(self) -> int:
        return hash((self._self_target.function, id(self._self_bound_to)))

    def __repr__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        bound = "bound " if self._self_is_bound else ""
        return f"<{bound}{self.kind} {self.name} v{self.version}{place}>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: Any) -> Any:
        return pickling.reduce(self)

    def __reduce__(self) -> Any:
        return pickling.reduce(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any], /) -> Any:
        if not self._self_is_bound or self.binding == "class":
            return self
        return self.unbound.__get__(deepcopy(self._self_bound_to, memo))

    # --- a call

    def _with(self, settings: Options) -> Self:
        return type(self)(self._self_target, settings, self.__wrapped__, self._self_bound_to)

    def _changed(self, changes: Any) -> Self:
        changed = self._with(self._self_settings.changed(self.kind, changes))
        if changed.name != self.name or changed.version != self.version:
            default_registry.add(changed.unbound)  # another type of the same function: workers have to know it
        return changed

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], kind: str = "") -> Call:
        """The call that travels to a runtime, its arguments checked."""
        instance = None
        if self._self_is_bound:
            instance = self._self_bound_to
            self._self_target.locate(instance)
            if self.binding is None:
                raise DefinitionError(
                    f"{self.name} is no method of {type(instance).__qualname__}: it was decorated outside the class. Decorate it inside"
                )
        elif self._self_target.in_class:
            instance, args = self._take_instance(args)
        try:
            self.call_signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__wrapped__.__qualname__}(): {error}") from None
        return Call(kind or self.kind, self.short_name, args, kwargs, self, self._self_settings, instance)

    def _take_instance(self, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Split `self` or `cls` off the arguments of a method that was called through its class, or through a decorator on top."""
        target = self._self_target
        target.locate(args[0] if args else None)
        if target.binding is None:
            return None, args
        given = args[0] if args else None
        owner = target.owner
        if target.binding == "class" and not (isinstance(given, type) and (owner is None or issubclass(given, owner))):
            raise DefinitionError(
                f"{self.name} does not know its class: this Python does not tell a decorator below @classmethod. "
                f"Put @{self.kind} above @classmethod"
            )
        if target.binding == "instance" and (not args or (owner is not None and not isinstance(given, owner))):
            raise TypeError(f"{self.__wrapped__.__qualname__}() is a method: call it on an instance")
        return given, args[1:]
