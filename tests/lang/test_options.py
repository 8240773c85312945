"""Options are checked and normalised where they are written."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.errors import DefinitionError
from flowdsl.lang import options
from flowdsl.lang.definitions import activity, cached, signal, timer, workflow
from flowdsl.lang.options import OPTIONS_OF, UNSET, Options, Retry

DECORATORS = {"activity": activity, "workflow": workflow, "cached": cached, "timer": timer, "signal": signal}


def test_every_field_has_a_check_and_every_option_is_a_field():
    fields = {field.name for field in dataclasses.fields(Options)}
    assert set(options._CHECKS) == fields
    assert set().union(*OPTIONS_OF.values()) == fields


def test_the_options_of_each_kind_are_the_manuals():
    common = {"name", "version", "task_list", "priority", "serializer", "store"}
    assert {kind: set(names) - common for kind, names in OPTIONS_OF.items()} == {
        "activity": {"timeout", "schedule_to_start", "schedule_to_close", "heartbeat", "watchdog", "retry", "executor", "manual"},
        "workflow": {"timeout", "task_timeout", "child_policy", "tags", "retry", "id", "on_failure"},
        "cached": set(),
        "timer": set(),
        "signal": {"id", "retry"},
    }


@pytest.mark.parametrize("kind", DECORATORS)
def test_an_unknown_option_is_refused_with_the_nearest_known_name(kind):
    with pytest.raises(DefinitionError, match=r"has no option 'verzion'; did you mean 'version'\?"):
        DECORATORS[kind](verzion="2")


def test_an_option_of_another_kind_is_refused_with_the_kind_it_belongs_to():
    with pytest.raises(DefinitionError, match="@timer has no option 'heartbeat': it belongs to @activity"):
        timer(heartbeat=3)


def test_an_option_like_no_other_is_refused_with_all_that_there_are():
    with pytest.raises(DefinitionError, match=r"'zzz'\. Options of @signal: name, version, task_list, priority, serializer, store"):
        signal(zzz=3)


def test_a_wrong_option_is_refused_before_there_is_a_function():
    with pytest.raises(DefinitionError):
        activity(timeout=-1)


def test_an_option_is_refused_by_the_options_method_too():
    @activity
    def plain(): ...

    with pytest.raises(DefinitionError, match=r"did you mean 'retry'"):
        plain.options(retri=3)


@pytest.mark.parametrize(("given", "kept"), [(3, 3.0), (0.5, 0.5), (timedelta(minutes=1), 60.0), (None, None), (0, 0.0)])
@pytest.mark.parametrize("option", ["timeout", "schedule_to_start", "schedule_to_close", "heartbeat", "watchdog"])
def test_durations_become_float_seconds(option, given, kept):
    settings = Options().changed("activity", {option: given})
    assert getattr(settings, option) == kept
    assert type(getattr(settings, option)) is type(kept)


@pytest.mark.parametrize("given", [-1, -0.001, "3", True, float("nan"), float("inf"), timedelta(seconds=-1), [3], object()])
@pytest.mark.parametrize("option", ["timeout", "task_timeout"])
def test_anything_else_is_no_duration(option, given):
    with pytest.raises(DefinitionError, match=option):
        Options().changed("workflow", {option: given})


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("activity", "name", "a:b"),
        ("activity", "name", "a/b"),
        ("activity", "name", "a|b"),
        ("activity", "name", "a\nb"),
        ("activity", "name", "arn"),
        ("activity", "name", ""),
        ("activity", "name", "x" * 257),
        ("activity", "name", 3),
        ("activity", "version", 2),
        ("activity", "version", ""),
        ("activity", "version", "x" * 65),
        ("activity", "task_list", "a:b"),
        ("activity", "task_list", ""),
        ("activity", "priority", 2**31),
        ("activity", "priority", -(2**31) - 1),
        ("activity", "priority", True),
        ("activity", "priority", 1.0),
        ("activity", "executor", "fibers"),
        ("activity", "executor", ["thread"]),
        ("activity", "manual", 1),
        ("activity", "retry", 0),
        ("activity", "retry", True),
        ("activity", "retry", 2.5),
        ("activity", "retry", "always"),
        ("activity", "store", 3),
        ("activity", "store", ""),
        ("activity", "serializer", 3),
        ("workflow", "child_policy", "TERMINATE"),
        ("workflow", "tags", "one"),
        ("workflow", "tags", ["a"] * 6),
        ("workflow", "tags", ["x" * 257]),
        ("workflow", "tags", [3]),
        ("workflow", "tags", 3),
        ("workflow", "id", "a:b"),
        ("workflow", "id", "x" * 257),
        ("workflow", "id", 7),
        ("workflow", "on_failure", "mail"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_name_of_its_option(kind, option, value):
    with pytest.raises(DefinitionError, match=option):
        DECORATORS[kind](**{option: value})


class Shelf:
    def put(self, key, data): ...
    def get(self, key): ...


@pytest.mark.parametrize(
    ("kind", "option", "value", "kept"),
    [
        ("activity", "name", "x" * 256, "x" * 256),
        ("activity", "version", "x" * 64, "x" * 64),
        ("activity", "priority", 2**31 - 1, 2**31 - 1),
        ("activity", "priority", -(2**31), -(2**31)),
        ("activity", "priority", None, None),
        ("activity", "task_list", None, None),
        ("activity", "retry", 3, Retry(3)),
        ("activity", "retry", None, None),
        ("activity", "store", "s3://bucket/prefix", "s3://bucket/prefix"),
        ("activity", "serializer", "dill", "dill"),
        ("workflow", "tags", ["a", "b"], ("a", "b")),
        ("workflow", "tags", ("x" * 256,) * 5, ("x" * 256,) * 5),
        ("workflow", "child_policy", "request_cancel", "request_cancel"),
        ("workflow", "id", None, None),
        ("workflow", "on_failure", print, print),
    ],
)
def test_a_value_that_can_be_is_kept(kind, option, value, kept):
    assert getattr(Options().changed(kind, {option: value}), option) == kept


def test_an_object_with_put_and_get_is_a_store():
    shelf = Shelf()
    assert Options().changed("activity", {"store": shelf}).store is shelf


def test_what_was_not_given_has_the_manuals_defaults():
    settings = Options()
    assert (settings.version, settings.executor, settings.manual, settings.child_policy) == ("1", "thread", False, "terminate")
    assert (settings.task_timeout, settings.timeout, settings.retry, settings.tags) == (60.0, None, None, ())
    assert settings.heartbeat is UNSET


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_unset_stays_itself(through):
    assert through(UNSET) is UNSET
    assert not UNSET
    assert repr(UNSET) == "UNSET"


def test_options_are_frozen_and_changing_them_gives_others():
    settings = Options()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.version = "2"
    assert settings.changed("activity", {"version": "2"}).version == "2"
    assert settings.version == "1"


# --- Retry


def test_a_retry_has_the_manuals_defaults():
    policy = Retry(3)
    assert policy.on == ("failed", "timed_out", "failed_to_schedule")
    assert (policy.attempts, policy.unless, policy.first, policy.factor) == (3, (), 1.0, 2.0)
    assert (policy.cap, policy.jitter, policy.within) == (60.0, True, None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("failed", ("failed",)),
        (ValueError, (ValueError,)),
        ([ValueError, "timed_out"], (ValueError, "timed_out")),
        ((OSError,), (OSError,)),
        ((), ()),
    ],
)
def test_what_to_retry_on_is_one_or_several(given, kept):
    assert Retry(2, on=given).on == kept
    assert Retry(2, unless=given).unless == kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": -1},
        {"attempts": None},
        {"attempts": 2.0},
        {"attempts": True},
        {"on": "fail"},
        {"on": int},
        {"on": ValueError()},
        {"on": [3]},
        {"on": 3},
        {"unless": "sometimes"},
        {"first": -1},
        {"first": None},
        {"factor": 0.5},
        {"factor": "2"},
        {"factor": float("inf")},
        {"factor": True},
        {"cap": -1},
        {"jitter": 1},
        {"within": "day"},
    ],
)
def test_a_wrong_retry_names_the_wrong_argument(wrong):
    (name,) = wrong
    with pytest.raises(DefinitionError, match=rf"Retry\({name}="):
        Retry(**{"attempts": 3, **wrong})


def test_durations_of_a_retry_may_be_timedeltas_and_limits_none():
    policy = Retry(3, first=timedelta(seconds=2), cap=None, within=timedelta(hours=1))
    assert (policy.first, policy.cap, policy.within) == (2.0, None, 3600.0)


@given(st.builds(Retry, st.integers(1, 99), on=st.sampled_from(["failed", ValueError, (OSError, "timed_out")]), first=st.floats(0, 99)))
def test_a_retry_survives_pickle_copy_and_replace(policy):
    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == dataclasses.replace(policy) == policy
