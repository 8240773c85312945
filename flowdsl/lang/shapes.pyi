"""What type checkers know of the decorators. It stands in a stub because nothing of it exists when the program runs.

Rule 1: a parameter list and a return type go through every decorator unchanged (`ParamSpec`); options are checked by name and type.
Rule 2: what takes a class first may be a class method, so reading it from a class takes that argument away (`Class…`). Anything else loses
        its first argument when it is read from an instance, and only then. A static method cannot be told from these:
        read it from its class.
Rule 3: a timer's call gives None whatever its function returns, and the function may return only what is a length of time.
"""

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar, Unpack, overload

from flowdsl.lang.calls import Activity, Cached, Timer, Workflow
from flowdsl.lang.options import ActivityOptions, CommonOptions, WorkflowOptions
from flowdsl.lang.signals import Signal

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
T = TypeVar("T")

Length: TypeAlias = float | timedelta | datetime

class ClassActivity(Activity[P, R_co]):
    def __get__(  # type: ignore[override]  # for a class method there is one way to be read
        self: ClassActivity[Concatenate[Any, Q], S], instance: object, owner: Any = None, /
    ) -> Activity[Q, S]: ...

class ClassCached(Cached[P, R_co]):
    def __get__(  # type: ignore[override]  # for a class method there is one way to be read
        self: ClassCached[Concatenate[Any, Q], S], instance: object, owner: Any = None, /
    ) -> Cached[Q, S]: ...

class ClassWorkflow(Workflow[P, R_co]):
    def __get__(  # type: ignore[override]  # for a class method there is one way to be read
        self: ClassWorkflow[Concatenate[Any, Q], S], instance: object, owner: Any = None, /
    ) -> Workflow[Q, S]: ...

class ClassTimer(Timer[P, R_co]):
    def __get__(  # type: ignore[override]  # for a class method there is one way to be read
        self: ClassTimer[Concatenate[Any, Q], S], instance: object, owner: Any = None, /
    ) -> Timer[Q, S]: ...

class ActivityDecorator(Protocol):
    """The type of `activity`."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[type[T], P], R], /, **options: Unpack[ActivityOptions]
    ) -> ClassActivity[Concatenate[type[T], P], R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /, **options: Unpack[ActivityOptions]) -> Activity[P, R]: ...
    @overload
    def __call__(self, **options: Unpack[ActivityOptions]) -> _ActivityWithOptions: ...

class _ActivityWithOptions(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[type[T], P], R], /) -> ClassActivity[Concatenate[type[T], P], R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Activity[P, R]: ...

class CachedDecorator(Protocol):
    """The type of `cached`, alias `nondeterministic`."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[type[T], P], R], /, **options: Unpack[CommonOptions]
    ) -> ClassCached[Concatenate[type[T], P], R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /, **options: Unpack[CommonOptions]) -> Cached[P, R]: ...
    @overload
    def __call__(self, **options: Unpack[CommonOptions]) -> _CachedWithOptions: ...

class _CachedWithOptions(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[type[T], P], R], /) -> ClassCached[Concatenate[type[T], P], R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Cached[P, R]: ...

class WorkflowDecorator(Protocol):
    """The type of `workflow`."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[type[T], P], R], /, **options: Unpack[WorkflowOptions]
    ) -> ClassWorkflow[Concatenate[type[T], P], R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /, **options: Unpack[WorkflowOptions]) -> Workflow[P, R]: ...
    @overload
    def __call__(self, **options: Unpack[WorkflowOptions]) -> _WorkflowWithOptions: ...

class _WorkflowWithOptions(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[type[T], P], R], /) -> ClassWorkflow[Concatenate[type[T], P], R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Workflow[P, R]: ...

class SignalDecorator(Protocol):
    """The type of `signal`."""

    @overload
    def __call__(self, fn: Callable[P, R], /, **options: Unpack[CommonOptions]) -> Signal[P, R]: ...
    @overload
    def __call__(self, **options: Unpack[CommonOptions]) -> _SignalWithOptions: ...

class _SignalWithOptions(Protocol):
    def __call__(self, fn: Callable[P, R], /) -> Signal[P, R]: ...

class TimerDecorator(Protocol):
    """The type of `timer`."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[type[T], P], Coroutine[Any, Any, Length]], /, **options: Unpack[CommonOptions]
    ) -> ClassTimer[Concatenate[type[T], P], Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[type[T], P], Length], /, **options: Unpack[CommonOptions]
    ) -> ClassTimer[Concatenate[type[T], P], None]: ...
    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, Length]], /, **options: Unpack[CommonOptions]
    ) -> Timer[P, Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(self, fn: Callable[P, Length], /, **options: Unpack[CommonOptions]) -> Timer[P, None]: ...
    @overload
    def __call__(self, **options: Unpack[CommonOptions]) -> _TimerWithOptions: ...

class _TimerWithOptions(Protocol):
    @overload
    def __call__(
        self, fn: Callable[Concatenate[type[T], P], Coroutine[Any, Any, Length]], /
    ) -> ClassTimer[Concatenate[type[T], P], Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[type[T], P], Length], /) -> ClassTimer[Concatenate[type[T], P], None]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, Length]], /) -> Timer[P, Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(self, fn: Callable[P, Length], /) -> Timer[P, None]: ...
