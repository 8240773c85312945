"""Definitions survive pickle and dill, also into a process that has never seen them."""

from __future__ import annotations

import copy
import functools
import pickle
import subprocess
import sys
import textwrap

import dill
import pytest

from flowdsl.errors import DefinitionError
from flowdsl.lang.definitions import Activity, activity, cached, signal, timer, workflow
from flowdsl.lang.options import Retry
from flowdsl.lang.registry import default_registry


@activity(retry=2)
def charge(order_id: str) -> str:
    return order_id + "!"


@cached
def rate():
    return 1.5


@timer
def pause():
    return 0


@signal
def approved(by):
    return by


@workflow
def fulfil(order):
    return charge(order)


class Shop:
    def __init__(self, name):
        self.name = name

    @activity
    def charge(self, order_id):
        return f"{self.name} {order_id}"

    @activity
    @classmethod
    def by_class(cls, order_id):
        return f"{cls.__name__} {order_id}"

    @classmethod
    @activity
    def below_classmethod(cls, order_id):
        return f"{cls.__name__} {order_id}"

    @property
    @activity
    def price(self):
        return 3


def logged(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)

    return call


@logged
@activity
def wrapped(x):
    return x


THROUGH = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "dill": lambda thing: dill.loads(dill.dumps(thing, recurse=True)),
}


@pytest.fixture(params=THROUGH)
def through(request):
    return THROUGH[request.param]


@pytest.mark.parametrize("definition", [charge, rate, pause, approved, fulfil], ids=lambda one: one.kind)
def test_what_can_be_imported_goes_by_name_and_comes_back_as_itself(through, definition):
    assert through(definition) is definition
    assert len(pickle.dumps(definition)) < 150


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_will_do(protocol):
    assert pickle.loads(pickle.dumps(charge, protocol)) is charge


def test_methods_go_by_name_too(through):
    for name, definition in [("charge", Shop.charge), ("price", vars(Shop)["price"].fget), ("by_class", vars(Shop)["by_class"])]:
        assert through(definition) is definition, name
    assert through(wrapped.__wrapped__) is wrapped.__wrapped__


def test_a_bound_method_goes_with_its_instance(through):
    bound = through(Shop("corner").charge)
    assert isinstance(bound, Activity)
    assert bound("a") == "corner a"
    assert through(Shop.by_class)("a") == through(Shop.below_classmethod)("a") == "Shop a"


def test_other_options_travel(through):
    changed = through(charge.options(retry=Retry(7), timeout=3))
    assert (changed.settings.retry, changed.settings.timeout) == (Retry(7), 3.0)
    assert changed("a") == "a!"
    bound = through(Shop("corner").charge.options(timeout=9))
    assert (bound.settings.timeout, bound("a")) == (9.0, "corner a")


def test_a_partial_of_a_definition_travels(through):
    assert through(functools.partial(charge, "a"))() == "a!"


def test_a_partial_that_was_decorated_travels(through):
    decorated = through(activity(functools.partial(Shop, "corner"), name="pickled partial"))
    assert decorated().name == "corner"
    assert decorated.name == "pickled partial"


def test_pickle_refuses_a_nested_function_as_it_does_for_plain_ones():
    @activity
    def nested(): ...

    with pytest.raises((pickle.PicklingError, AttributeError), match="nested"):
        pickle.dumps(nested)


def test_dill_takes_nested_functions_lambdas_and_closures_by_value():
    def factory(n):
        @activity(retry=4)
        def add(x: int) -> int:
            return x + n

        return add

    add = factory(10)
    for original in (add, add.options(timeout=3)):
        loaded = dill.loads(dill.dumps(original, recurse=True))
        assert type(loaded) is Activity
        assert loaded is not original
        assert (loaded(1), loaded.name, loaded.settings) == (11, original.name, original.settings)
    assert dill.loads(dill.dumps(activity(lambda x: 2 * x, name="pickled lambda"), recurse=True))(4) == 8


def test_loading_registers_nothing():
    @activity
    def unregistered(): ...

    loaded = dill.loads(dill.dumps(unregistered, recurse=True))
    assert default_registry.find("activity", unregistered.name, "1") is unregistered
    assert loaded not in default_registry


def test_a_name_that_leads_nowhere_any_more_is_an_error_that_says_so(monkeypatch):
    data = pickle.dumps(charge)
    monkeypatch.setattr(sys.modules[__name__], "charge", None)
    with pytest.raises(DefinitionError, match=r"test_pickling\.charge was a definition where this was pickled"):
        pickle.loads(data)


def test_copy_and_deepcopy_need_no_pickle():
    @activity
    def nested(): ...

    assert copy.deepcopy({"it": nested})["it"] is nested


# --- into a fresh process


SCRIPT = """
import functools, pickle, sys
import dill
from flowdsl.lang.definitions import activity, workflow

FACTOR = 3

def helper(x):
    return x * FACTOR

@activity(retry=2)
def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)

@activity
def scaled(x: int) -> int:
    return helper(x)

def factory(n):
    @activity
    def inner(x):
        return scaled(x) + n
    return inner

class Shop:
    def __init__(self, name):
        self.name = name

    @activity
    def charge(self, order_id: str) -> str:
        return f"{self.name} {order_id}"

    @activity
    @classmethod
    def by_class(cls, order_id):
        return f"{cls.__name__} {order_id}"

class Node:
    @activity
    def twin(self):
        return Node()  # its globals lead back to its class: while that is loaded, the definition is blank

@workflow
def fulfil(x):
    return scaled(x)

if __name__ == "__main__":
    things = {
        "factorial": factorial, "scaled": scaled, "inner": factory(100), "bound": Shop("corner").charge, "method": Shop.charge,
        "by_class": Shop.by_class, "fulfil": fulfil, "options": scaled.options(retry=7),
        "twin": Node.twin,
        "lambda": activity(lambda x: helper(x), name="lambda"),
    }
    with open(sys.argv[1], "wb") as file:
        dill.dump(things, file, recurse=True)
    loaded = pickle.loads(pickle.dumps([factorial, Shop.charge, Shop("corner").charge]))
    assert loaded[0] is factorial and loaded[1] is Shop.charge and loaded[2]("a") == "corner a"
"""

READER = """
import sys
import dill

with open(sys.argv[1], "rb") as file:
    them = dill.load(file)
called = [them[name](argument) for name, argument in dict(factorial=5, scaled=2, inner=2, bound="a", by_class="a", options=2).items()]
print(*called, them["lambda"](2))
print(them["factorial"], them["options"].settings.retry.attempts, them["method"].binding, them["by_class"].binding)
print(them["bound"].call_signature, them["fulfil"].kind, them["fulfil"].invoke((2,), {}))
print(them["twin"].binding, list(them["twin"].call_signature.parameters))
"""


def _run(*command):
    done = subprocess.run([sys.executable, "-W", "error", *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_main_defined_survives_dill_into_a_fresh_process(tmp_path):
    script, reader, data = tmp_path / "order.py", tmp_path / "reader.py", tmp_path / "things.dill"
    script.write_text(textwrap.dedent(SCRIPT))
    reader.write_text(textwrap.dedent(READER))
    _run(str(script), str(data))
    assert _run(str(reader), str(data)).splitlines() == [
        "120 6 106 corner a Shop a 6 6",
        "<activity factorial v1 (order.py:11)> 7 instance class",
        "(order_id: str) -> str workflow 6",
        "instance []",
    ]


def test_a_process_pool_runs_what_a_script_decorated(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from flowdsl.lang.definitions import activity

        @activity
        def double(x): return 2 * x

        if __name__ == "__main__":
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                print(pool.submit(double, 4).result(), pool.submit(repr, double).result())
        """)
    )
    assert _run(str(script)).strip() == "8 <activity double v1 (pool.py:6)>"


def test_importing_the_language_does_not_import_dill_and_dill_may_come_before_or_after():
    assert _run("-c", "import sys, flowdsl.lang.definitions; print('dill' in sys.modules)").strip() == "False"
    after = (
        "from flowdsl.lang.definitions import activity; import dill; f = activity(lambda x: x + 1, name='f'); "
        "print(dill.loads(dill.dumps(f, recurse=True))(1))"
    )
    before = f"import dill; {after}"
    assert _run("-c", after) == _run("-c", before) == "2\n"
