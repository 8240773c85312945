"""Methods, class methods, static methods and properties: Python binds them, and `self` never travels."""

from __future__ import annotations

import asyncio
import copy
import inspect
import sys

import pytest

from flowdsl.errors import DefinitionError
from flowdsl.lang.definitions import Activity, activity, cached, signal, timer, workflow


class Shop:
    def __init__(self, rate: int):
        self.rate = rate

    @activity(retry=2)
    def charge(self, order_id: str, amount: int = 1) -> str:
        """Charge a card."""
        return f"{order_id}:{amount * self.rate}"

    @activity
    async def fetch(self, url: str) -> str:
        return url * self.rate

    @cached
    def drawn(self) -> int:
        return self.rate

    @timer
    def pause(self, days: int) -> int:
        return 0 * days

    @workflow
    def fulfil(self, order_id: str) -> str:
        return self.charge(order_id)

    @signal
    def approved(self, by: str) -> str:
        return by * self.rate

    @activity
    @classmethod
    def by_class(cls, order_id: str) -> str:
        return f"{cls.__name__} {order_id}"

    @classmethod
    @activity
    def below_classmethod(cls, order_id: str) -> str:
        return f"{cls.__name__} {order_id}"

    @activity
    @staticmethod
    def static(order_id: str) -> str:
        return order_id

    @staticmethod
    @activity
    def below_staticmethod(order_id: str) -> str:
        return order_id

    @property
    @activity
    def price(self) -> int:
        return self.rate * 10


class Corner(Shop):
    pass


def definition(name):
    held = vars(Shop)[name]
    return held if isinstance(held, Activity) else getattr(held, "__func__", None) or held.fget


# --- outside


def test_outside_python_binds_as_always():
    shop = Shop(2)
    assert shop.charge("a", amount=3) == Shop.charge(shop, "a", 3) == "a:6"
    assert Shop.by_class("a") == shop.by_class("a") == Shop.below_classmethod("a") == "Shop a"
    assert Corner.by_class("a") == Corner(1).by_class("a") == Corner.below_classmethod("a") == "Corner a"
    assert Shop.static("a") == shop.static("a") == Shop.below_staticmethod("a") == shop.below_staticmethod("a") == "a"
    assert shop.price == 20
    assert shop.pause(3) is None
    assert asyncio.run(shop.fetch("a")) == "aa"
    assert shop.charge.start("a").result() == "a:2"
    assert shop.charge.map(["a", "b"]) == ["a:2", "b:2"]
    assert shop.fetch.start("a").result() == "aa"


def test_a_bound_method_is_a_definition_of_the_same_kind():
    shop = Shop(2)
    assert isinstance(shop.charge, Activity)
    assert isinstance(Shop.charge, Activity)
    assert shop.charge.name == Shop.charge.name == f"{__name__}.Shop.charge"
    assert shop.charge.__doc__ == "Charge a card."
    assert shop.charge.__self__ is shop
    assert inspect.ismethod(shop.charge)
    assert str(inspect.signature(shop.charge)) == "(order_id: 'str', amount: 'int' = 1) -> 'str'"
    assert shop.charge == shop.charge
    assert hash(shop.charge) == hash(shop.charge)
    assert shop.charge != Shop(2).charge
    assert shop.charge != Shop.charge
    assert "bound activity" in repr(shop.charge)


def test_what_a_definition_knows_of_its_class():
    for name, binding in [("charge", "instance"), ("by_class", "class"), ("below_classmethod", "class"), ("price", "instance")]:
        assert definition(name).binding == binding
        assert definition(name).owner is Shop
    for name in ("static", "below_staticmethod"):
        assert definition(name).binding is None
    assert Shop.fulfil.owner is Corner.fulfil.owner is Shop


def test_the_call_signature_has_no_self():
    for name in ("charge", "by_class", "below_classmethod", "static", "below_staticmethod"):
        assert next(iter(definition(name).call_signature.parameters)) == "order_id"
    assert Shop(1).charge.call_signature == Shop.charge.call_signature


def test_options_of_a_bound_method_stay_bound():
    changed = Shop(2).charge.options(timeout=3)
    assert changed("a") == "a:2"
    assert changed.settings.timeout == 3.0


def test_copies_of_a_bound_method_are_bound_as_pythons_are():
    shop = Shop(2)
    bound = shop.charge
    assert copy.copy(bound) is bound
    deep = copy.deepcopy(bound)
    shop.rate = 5
    assert (bound("a"), deep("a")) == ("a:5", "a:2")
    assert copy.deepcopy(Shop.by_class)("a") == "Shop a"


# --- inside


def test_inside_self_is_the_calls_instance_and_no_argument(inside):
    shop = Shop(2)
    with inside() as runtime:
        assert shop.charge("a", amount=3) == "a:6"
        assert shop.charge.start("b").result() == "b:2"
        assert Shop.charge(shop, "c") == "c:2"
        assert shop.charge.map(["d"]) == ["d:2"]
        assert shop.fetch("e") == "ee"
        assert shop.drawn() == 2
        assert shop.pause(3) is None
        assert shop.fulfil("f") == "f:2"
        assert shop.price == 20
        assert shop.charge.options(timeout=3)("g") == "g:2"
    assert all(call.instance is shop for call in runtime.calls)
    assert [call.args for call in runtime.calls] == [("a",), ("b",), ("c",), ("d",), ("e",), (), (3,), ("f",), (), ("g",)]
    assert runtime.calls[0].kwargs == {"amount": 3}


def test_inside_a_class_method_has_its_class_as_instance(inside):
    with inside() as runtime:
        assert Shop.by_class("a") == "Shop a"
        assert Corner(1).by_class("b") == "Corner b"
        assert Corner.by_class.start("c").result() == "Corner c"
        assert Corner.below_classmethod("d") == "Corner d"
    assert [(call.instance, call.args) for call in runtime.calls] == [(Shop, ("a",)), (Corner, ("b",)), (Corner, ("c",)), (Corner, ("d",))]


def test_started_below_classmethod_works_or_says_how_to_write_it(inside):
    with inside():
        if sys.version_info < (3, 13):
            assert Corner.below_classmethod.start("a").result() == "Corner a"
        else:
            with pytest.raises(DefinitionError, match="Put @activity above @classmethod"):
                Corner.below_classmethod.start("a")


def test_inside_a_static_method_has_no_instance(inside):
    with inside() as runtime:
        assert [Shop.static("a"), Shop(1).static("a"), Shop.below_staticmethod("a"), Shop(1).below_staticmethod("a")] == ["a"] * 4
    assert {call.instance for call in runtime.calls} == {None}


def test_inside_a_signal_of_an_instance_is_received_by_it(inside):
    shop = Shop(2)
    with inside() as runtime:
        promise = shop.approved.start()
        assert runtime.calls[0].instance is shop
        runtime.deliver("ann")
        assert promise.result() == "annann"


@pytest.mark.parametrize("call", [lambda: Shop.charge("a"), Shop.charge, lambda: Shop.charge.start("a")])
def test_a_method_without_an_instance_is_a_type_error(inside, call):
    with inside() as runtime, pytest.raises(TypeError, match=r"Shop\.charge\(\) is a method: call it on an instance"):
        call()
    assert runtime.calls == []


def test_a_class_inside_a_function_is_found_as_well(inside):
    class Local:
        @classmethod
        @activity
        def below_classmethod(cls, x):
            return (cls.__name__, x)

        @property
        @activity
        def price(self):
            return 3

        @activity
        def charge(self, x):
            return x

    with inside() as runtime:
        assert Local.below_classmethod(1) == ("Local", 1)
        assert Local().price == 3
        assert Local().charge(2) == 2
    assert [call.args for call in runtime.calls] == [(1,), (), (2,)]


def test_a_signature_that_was_read_too_early_is_read_again(inside):
    class Local:
        @property
        @activity
        def price(self):
            return 3

    definition = vars(Local)["price"].fget
    assert list(definition.call_signature.parameters) == ["self"]
    with inside():
        assert Local().price == 3
    assert list(definition.call_signature.parameters) == []


def test_a_function_that_was_only_put_into_a_class_says_that_it_is_no_method(inside):
    @activity
    def loose(self, x):
        return x

    class Holder:
        charge = loose

    assert Holder().charge(3) == 3
    with inside(), pytest.raises(DefinitionError, match=r"is no method of .*Holder: it was decorated outside the class"):
        Holder().charge(3)


# --- invoke: what workers call


def test_a_worker_invokes_a_method_on_its_own_instance():
    assert Shop.charge.invoke(("a",), {"amount": 2}, Shop(5)) == "a:10"
    assert definition("price").invoke((), {}, Shop(5)) == 50
    assert asyncio.run(Shop.fetch.invoke(("a",), {}, Shop(2))) == "aa"
    with pytest.raises(DefinitionError, match=r"is a method: whoever runs it needs an instance, as in Worker\(instances="):
        Shop.charge.invoke(("a",), {})


def test_a_worker_invokes_a_class_method_on_its_class():
    for name in ("by_class", "below_classmethod"):
        assert definition(name).invoke(("a",), {}) == "Shop a"
        assert definition(name).invoke(("a",), {}, Corner) == "Corner a"
    for name in ("static", "below_staticmethod"):
        assert definition(name).invoke(("a",), {}) == "a"


def test_the_unbound_definition_is_at_hand():
    assert Shop(1).charge.unbound == Shop.charge
    assert Shop.charge.unbound is Shop.charge
