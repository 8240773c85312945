"""(kind, name, version) -> definition, and what may replace what."""

from __future__ import annotations

import contextlib
import importlib
import sys
import textwrap
import threading

import pytest

from flowdsl.errors import DefinitionError
from flowdsl.lang.definitions import activity, timer, workflow
from flowdsl.lang.registry import Registry, default_registry


def cell(source, file, module="__main__"):
    """Run a notebook cell (or a script) and return what it defined."""
    scope = {"__name__": module, "activity": activity, "workflow": workflow}
    exec(compile(textwrap.dedent(source), file, "exec"), scope)
    return scope


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Files of a project that can be imported, and are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(files=None, **modules):
        for name, source in {**(files or {}), **{f"{module}.py": source for module, source in modules.items()}}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_decorated_function_is_found_by_kind_name_and_version():
    @activity(name="registry.found", version="3")
    def found(): ...

    assert default_registry.find("activity", "registry.found", "3") is found
    assert default_registry.find("activity", "registry.found", "1") is None
    assert default_registry.find("workflow", "registry.found", "3") is None
    assert found in default_registry
    assert found in list(default_registry)


def test_kinds_and_versions_have_names_of_their_own():
    @activity(name="registry.shared")
    def one(): ...

    @workflow(name="registry.shared")
    def two(): ...

    @activity(name="registry.shared", version="2")
    def three(): ...

    assert default_registry.find("activity", "registry.shared", "1") is one
    assert default_registry.find("workflow", "registry.shared", "1") is two
    assert default_registry.find("activity", "registry.shared", "2") is three


def test_a_clash_names_both_places():
    @activity(name="registry.clash")
    def one(): ...

    with pytest.raises(DefinitionError) as refused:

        @activity(name="registry.clash")
        def two(): ...

    lines = [function.__code__.co_firstlineno for function in (one.__wrapped__,)]
    assert f"{__file__}:{lines[0]}" in str(refused.value)
    assert f"{__file__}:{lines[0] + 5}" in str(refused.value)
    assert default_registry.find("activity", "registry.clash", "1") is one


def test_a_notebook_cell_that_runs_again_replaces_its_definitions_quietly():
    first = cell("@activity\ndef rerun(): return 1", "/tmp/ipykernel_1/1.py")["rerun"]
    second = cell("\n\n@activity\ndef rerun(): return 2", "/tmp/ipykernel_1/2.py")["rerun"]
    assert first.name == "rerun"
    assert default_registry.find("activity", "rerun", "1") is second
    assert second() == 2


def test_a_notebook_may_not_give_one_name_to_two_functions():
    cell("@activity(name='registry.named')\ndef first(): ...", "/tmp/ipykernel_1/3.py")
    with pytest.raises(DefinitionError, match=r"/tmp/ipykernel_1/3\.py:1 and /tmp/ipykernel_1/4\.py:1"):
        cell("@activity(name='registry.named')\ndef second(): ...", "/tmp/ipykernel_1/4.py")


def test_two_lambdas_of_one_cell_clash_and_a_lambda_of_a_cell_that_runs_again_does_not():
    with pytest.raises(DefinitionError, match="two definitions of the activity 'lambda'"):
        cell("a = activity(lambda: 1)\nb = activity(lambda: 2)", "/tmp/ipykernel_1/5.py")
    again = cell("a = activity(lambda: 3)", "/tmp/ipykernel_1/6.py")["a"]
    assert default_registry.find("activity", "lambda", "1") is again


def test_a_script_that_is_imported_as_well_is_the_same_file():
    source = "@activity(name='registry.script')\ndef scripted(): ..."
    cell(source, "/srv/scripted.py")
    again = cell(source, "/srv/scripted.py", module="scripted")["scripted"]
    assert default_registry.find("activity", "registry.script", "1") is again


def test_a_nested_function_that_is_made_again_replaces_itself():
    def factory(n):
        @activity
        def made():
            return n

        return made

    first, second = factory(1), factory(2)
    assert default_registry.find("activity", first.name, "1") is second


def test_the_same_function_may_be_decorated_again():
    def plain(): ...

    first, second = activity(plain, name="registry.same"), activity(plain, name="registry.same")
    assert first == second


def test_a_reloaded_module_replaces_its_definitions(project):
    project(reloaded="from flowdsl.lang.definitions import activity\n@activity\ndef charge(): return 1\n")
    module = importlib.import_module("reloaded")
    old = module.charge
    project(reloaded="from flowdsl.lang.definitions import activity\n\n\n# moved down\n@activity\ndef charge(): return 2222\n")
    importlib.reload(module)
    assert module.charge is not old
    assert default_registry.find("activity", "reloaded.charge", "1") is module.charge


def test_another_file_with_the_same_names_is_a_clash(project):
    source = "from flowdsl.lang.definitions import activity\n@activity(name='registry.files')\ndef charge(): ...\n"
    project(file_one=source, file_two=source)
    importlib.import_module("file_one")
    with pytest.raises(DefinitionError, match=r"file_one\.py:2 and .*file_two\.py:2"):
        importlib.import_module("file_two")


def test_many_threads_register_the_same_name_at_once_and_exactly_one_wins():
    registry = Registry()
    rivals = []
    for n in range(8):
        rival = cell(f"@activity(name='registry.prize', version='{n}')\ndef rival(): ...", f"/rival{n}.py", f"rival{n}")["rival"]
        rivals.append(rival)
        rival._self_settings = rival.settings.changed("activity", {"version": "1"})
    barrier, won = threading.Barrier(len(rivals)), []

    def add(definition):
        barrier.wait()
        with contextlib.suppress(DefinitionError):
            registry.add(definition)
            won.append(definition)

    threads = [threading.Thread(target=add, args=(rival,)) for rival in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == list(registry)
    assert len(won) == 1


# --- nearest


def test_the_nearest_are_other_versions_or_names_that_look_alike():
    registry = Registry()
    for name, version in [("shop.charge", "1"), ("shop.charge", "2"), ("shop.change", "1"), ("garden.water", "1")]:
        registry.add(activity(lambda: 0, name=f"nearest.{name}", version=version).options(name=name))
    assert [(one.name, one.version) for one in registry.nearest("activity", "shop.charge")] == [("shop.charge", "1"), ("shop.charge", "2")]
    assert next(one.name for one in registry.nearest("activity", "shop.chagre")) == "shop.charge"
    assert registry.nearest("activity", "zzz") == []
    assert registry.nearest("workflow", "shop.charge") == []


# --- collect


SHOP = """
    from flowdsl.lang.definitions import activity, workflow, timer
    import functools

    @activity
    def charge(): ...

    class Payments:
        @activity
        def method(self): ...

        @classmethod
        @activity
        def below(cls): ...

        @property
        @activity
        def price(self): ...

        class Inner:
            @activity
            def deep(self): ...

    def logged(function):
        @functools.wraps(function)
        def call(): return function()
        return call

    @logged
    @workflow
    def wrapped(): ...

    def factory():
        @activity
        def nested(): ...
        return nested

    factory()
    plain = 3
"""


def test_a_module_gives_what_is_decorated_in_it_and_what_it_imported(project):
    project(shop_a=SHOP, shop_b="from shop_a import charge\nfrom flowdsl.lang.definitions import workflow\n@workflow\ndef fulfil(): ...\n")
    shop_a, shop_b = importlib.import_module("shop_a"), importlib.import_module("shop_b")
    names = {"charge", "Payments.method", "Payments.below", "Payments.price", "Payments.Inner.deep", "wrapped", "factory.nested"}
    assert {one.name for one in Registry.collect(shop_a)} == {f"shop_a.{name}" for name in names}
    assert {one.name for one in Registry.collect(shop_b)} == {"shop_b.fulfil", "shop_a.charge"}
    assert {one.name for one in Registry.collect(shop_a.Payments)} == {f"shop_a.{name}" for name in names if name.startswith("Payments")}


def test_a_package_gives_what_is_in_all_of_its_modules_and_runs_no_main(project):
    one = "from flowdsl.lang.definitions import activity\n@activity\ndef one(): ...\n"
    project(
        {
            "pack_a/__init__.py": "",
            "pack_a/mod.py": one,
            "pack_a/sub/__init__.py": "",
            "pack_a/sub/mod.py": one,
            "pack_a/__main__.py": "raise SystemExit('the program ran')\n",
        }
    )
    package = importlib.import_module("pack_a")
    assert {one.name for one in Registry.collect(package)} == {"pack_a.mod.one", "pack_a.sub.mod.one"}


def test_definitions_bound_ones_and_registries_are_collected():
    class Shop:
        @activity
        def charge(self): ...

    @timer
    def pause(): ...

    registry = Registry.collect(Shop().charge, pause)
    assert {one.name.rpartition(".")[2] for one in Registry.collect(registry)} == {"charge", "pause"}
    assert not any(one._self_is_bound for one in registry)
    assert len(Registry.collect()) == 0


@pytest.mark.parametrize("nothing", [3, "shop", len, object()])
def test_anything_else_is_refused(nothing):
    with pytest.raises(DefinitionError, match="is neither decorated nor a module, a package or a class"):
        Registry.collect(nothing)


def test_a_module_with_obliging_objects_gives_no_false_definitions(project):
    project(mocked="from unittest.mock import Mock, MagicMock\na = Mock()\nb = MagicMock()\n")
    assert len(Registry.collect(importlib.import_module("mocked"))) == 0
