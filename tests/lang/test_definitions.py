"""A decorated function stays itself, and what cannot be decorated is refused with the right way to write it."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import typing
from decimal import Decimal

import pytest

from flowdsl.errors import DefinitionError
from flowdsl.lang.definitions import (
    Activity,
    Cached,
    Definition,
    Signal,
    Timer,
    Workflow,
    activity,
    cached,
    nondeterministic,
    signal,
    timer,
    workflow,
)
from flowdsl.lang.options import Retry
from flowdsl.lang.registry import default_registry

DECORATORS = [workflow, activity, cached, timer, signal]
CLASSES = {"workflow": Workflow, "activity": Activity, "cached": Cached, "timer": Timer, "signal": Signal}


def charge(order_id: str, amount: Decimal = Decimal(1)) -> str:
    """Charge a card."""
    return f"{order_id} {amount}"


@pytest.mark.parametrize("decorator", DECORATORS)
def test_a_decorated_function_keeps_its_face(decorator):
    decorated = decorator(charge, name=f"face.{decorator.__name__}")
    assert isinstance(decorated, CLASSES[decorated.kind])
    assert isinstance(decorated, Definition)
    assert (decorated.__name__, decorated.__qualname__, decorated.__module__) == ("charge", "charge", __name__)
    assert decorated.__doc__ == "Charge a card."
    assert decorated.__wrapped__ is charge
    assert inspect.signature(decorated) == inspect.signature(charge)
    assert typing.get_type_hints(decorated) == {"order_id": str, "amount": Decimal, "return": str}
    assert inspect.isfunction(decorated)
    assert callable(decorated)
    assert decorated.__defaults__ == (Decimal(1),)


def test_nondeterministic_is_cached():
    assert nondeterministic is cached


def test_a_coroutine_function_is_still_one():
    @activity
    async def fetch(url): ...

    assert inspect.iscoroutinefunction(fetch)
    assert asyncio.iscoroutinefunction(fetch) if not hasattr(inspect, "markcoroutinefunction") else True
    assert fetch.is_async
    assert not activity(charge, name="not async").is_async


def test_partial_works_on_top():
    decorated = activity(charge, name="below a partial")
    assert functools.partial(decorated, "a")(amount=2) == "a 2"


def test_wraps_works_on_top_and_the_definition_is_still_found():
    decorated = activity(charge, name="below wraps")

    @functools.wraps(decorated)
    def louder(*args):
        return decorated(*args).upper()

    assert louder("a") == "A 1"
    assert louder.__name__ == "charge"
    assert inspect.signature(louder) == inspect.signature(charge)


def test_a_wrapper_below_the_decorator_is_part_of_the_function():
    def louder(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            return function(*args, **kwargs).upper()

        return call

    decorated = activity(louder(charge), name="above wraps")
    assert decorated("a") == "A 1"
    assert list(decorated.call_signature.parameters) == ["order_id", "amount"]
    assert decorated.call_signature.parameters["amount"].annotation is Decimal


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_is_the_same_object_as_for_any_function(copied):
    decorated = activity(charge, name="copied")
    assert copied(decorated) is decorated
    assert copied([decorated])[0] is decorated


def test_the_repr_says_kind_name_version_and_place():
    decorated = activity(charge, name="shop.charge", version="7")
    line = charge.__code__.co_firstlineno
    assert repr(decorated) == str(decorated) == f"<activity shop.charge v7 (test_definitions.py:{line})>"
    assert decorated.where == f"test_definitions.py:{line}"


def test_attributes_of_the_function_can_be_set_and_read():
    @activity
    def tagged(): ...

    tagged.colour = "red"
    assert tagged.__wrapped__.colour == tagged.colour == "red"
    assert vars(tagged) == {"colour": "red"}


def test_options_give_another_definition_of_the_same_function():
    base = activity(charge, name="with options", retry=3)
    other = base.options(timeout=5)
    assert type(other) is Activity
    assert (other.settings.timeout, other.settings.retry, other.name) == (5.0, Retry(3), "with options")
    assert base.settings.timeout is None
    assert other("a", 2) == "a 2"
    assert other.__wrapped__ is charge


def test_options_that_make_another_type_are_registered_so_that_workers_know_it():
    base = activity(charge, name="first type")
    other = base.options(name="second type", version="9")
    assert default_registry.find("activity", "second type", "9") is other
    assert default_registry.find("activity", "first type", "1") is base


def test_definitions_are_equal_when_function_and_options_are():
    base = activity(charge, name="equal")
    assert base.options(timeout=5) == base.options(timeout=5)
    assert hash(base.options(timeout=5)) == hash(base.options(timeout=5))
    assert base.options(timeout=5) != base
    assert base != charge
    assert base != cached(charge, name="equal")


# --- names


def test_the_name_is_module_and_qualname_without_locals():
    @activity
    def inner(): ...

    assert inner.name == f"{__name__}.test_the_name_is_module_and_qualname_without_locals.inner"
    assert (inner.version, inner.short_name) == ("1", "inner")


def test_in_a_script_the_name_is_the_bare_qualname():
    scope = {"__name__": "__main__", "activity": activity}
    exec("@activity\ndef bare_of_a_script(): ...", scope)
    assert scope["bare_of_a_script"].name == "bare_of_a_script"


def test_a_child_process_that_was_spawned_gives_a_script_the_same_names():
    scope = {"__name__": "__mp_main__", "activity": activity}
    exec("@activity\ndef bare_of_a_spawned_script(): ...", scope)
    assert scope["bare_of_a_spawned_script"].name == "bare_of_a_spawned_script"


def test_a_lambda_has_a_name_that_the_service_takes():
    doubled = activity(lambda x: 2 * x)
    assert doubled.name.endswith("a_lambda_has_a_name_that_the_service_takes.lambda")
    assert (doubled.short_name, doubled(4)) == ("lambda", 8)


def test_a_default_name_that_the_service_does_not_take_is_refused():
    scope = {"__name__": "x" * 260, "activity": activity}
    with pytest.raises(DefinitionError, match="256"):
        exec("@activity\ndef short(): ...", scope)


# --- what can be decorated besides functions


def test_a_closure_keeps_what_it_closed_over():
    def adder(n):
        @activity
        def add(x: int) -> int:
            return x + n

        return add

    one, ten = adder(1), adder(10)
    assert (one(1), ten(1)) == (2, 11)


def test_a_partial_needs_a_name():
    with pytest.raises(DefinitionError, match="no name of its own: add name="):
        activity(functools.partial(charge, "a"))
    decorated = activity(functools.partial(charge, "a"), name="shop.partial")
    assert decorated(amount=3) == "a 3"
    assert list(decorated.call_signature.parameters) == ["amount"]
    assert decorated.call_signature.parameters["amount"].annotation is Decimal
    assert decorated.short_name == "partial"


def test_a_callable_object_needs_a_name():
    class Greeter:
        def __call__(self, name: str) -> str:
            return f"hello {name}"

    with pytest.raises(DefinitionError, match="no name of its own: add name="):
        activity(Greeter())
    greet = activity(Greeter(), name="shop.greet")
    assert greet("ann") == "hello ann"
    assert greet.invoke(("bob",), {}) == "hello bob"
    assert str(greet.call_signature) == "(name: str) -> str"


def test_an_async_callable_object_and_an_async_partial_are_async():
    class Greeter:
        async def __call__(self, name): ...

    async def greet(greeting, name): ...

    assert activity(Greeter(), name="async object").is_async
    assert activity(functools.partial(greet, "hi"), name="async partial").is_async


def test_a_builtin_with_a_signature_can_be_decorated():
    size = activity(len)
    assert (size.name, size([1, 2]), repr(size)) == ("builtins.len", 2, "<activity builtins.len v1>")


def test_a_recursive_function_calls_itself_through_its_name():
    @activity
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert factorial(5) == 120


# --- what cannot


class Unfit:
    @property
    def price(self): ...

    @functools.cached_property
    def weight(self): ...


def generator():
    yield 1


async def async_generator():
    yield 1


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (Unfit, "classes cannot be decorated. Decorate its methods: put @activity above each `def`"),
        (Unfit.__dict__["price"], "put @activity below @property"),
        (Unfit.__dict__["weight"], "put @activity below @property"),
        (generator, "a generator: a decorated function returns one value. Return a list"),
        (async_generator, "a generator"),
        (3, "which cannot be called: decorate a function"),
        (None, "which cannot be called: decorate a function"),
        ("shop.charge", "write @activity(name='shop.charge')"),
        (max, "wrap it"),
    ],
)
def test_what_cannot_be_decorated_is_refused_with_the_right_way(thing, message):
    with pytest.raises(DefinitionError) as refused:
        activity(thing)
    assert message in str(refused.value)


@pytest.mark.parametrize("second", DECORATORS)
def test_a_function_is_decorated_once(second):
    decorated = activity(charge, name="once")
    for again in (decorated, staticmethod(decorated), classmethod(decorated)):
        with pytest.raises(DefinitionError, match=r"decorated already.*charge\.options\("):
            second(again)


# --- the signature that callers see


def test_the_call_signature_has_resolved_annotations():
    decorated = activity(charge, name="resolved")
    assert decorated.call_signature.parameters["order_id"].annotation is str
    assert decorated.call_signature.parameters["amount"].annotation is Decimal
    assert decorated.call_signature.parameters["amount"].default == Decimal(1)
    assert decorated.returns is str


def test_names_that_cannot_be_found_become_any_one_by_one():
    @activity
    def odd(a: Missing, b: int, c, *d: list[Missing], e: typing.Annotated[int, "extra"] = 3) -> Missing: ...  # noqa: F821

    hints = {name: parameter.annotation for name, parameter in odd.call_signature.parameters.items()}
    assert hints == {"a": typing.Any, "b": int, "c": typing.Any, "d": typing.Any, "e": typing.Annotated[int, "extra"]}
    assert odd.returns is typing.Any


def test_a_nested_function_may_be_annotated_with_what_it_closes_over():
    class Local: ...

    @activity
    def nested(a: Local, b: Missing) -> Local:  # noqa: F821
        return Local()

    assert nested.call_signature.parameters["a"].annotation is Local
    assert nested.returns is Local


def test_without_annotations_everything_is_any():
    decorated = activity(lambda x: x, name="nothing said")
    assert decorated.call_signature.parameters["x"].annotation is typing.Any
    assert decorated.returns is typing.Any
