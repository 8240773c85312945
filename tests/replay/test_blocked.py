"""Rules 9 and 10 through the real decider: a blocked execution stays open, says so, is asked again ever more seldom, and goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from replay_deploys import define, deployed
from replay_world import DOMAIN, LIST, Direct, World, attributes, kinds

from flowdsl import activity, publish, signal, sleep
from flowdsl.replay.replayer import REPLAY_VERSION
from flowdsl.service.swf import Swf
from flowdsl.workers.decider import Decider
from flowdsl.workers.hooks import Hooks
from flowdsl.workers.parking import read_context

if TYPE_CHECKING:
    from flowdsl.lang.registry import Registry


@activity
def charge(amount: int) -> str:
    return f"charged {amount}"


@activity
def ship(what: str) -> str:
    return f"shipped {what}"


@signal
def go(text: str) -> str:
    return text


def first_code() -> list[str]:
    publish("charging")
    a = charge(10)
    publish("shipping")
    go.wait()
    return [a, ship("book")]


def wrong_code() -> list[str]:
    b = ship("book")
    return [charge(10), b]


def fitting_code() -> list[str]:
    publish("charging")
    a = charge(10)
    publish("shipping again")
    go.wait()
    return [a, ship("book"), "by fitting code"]


class Shop:
    """One open execution of a real engine, and a decider that can be deployed anew."""

    def __init__(self) -> None:
        self.world = World()
        self.errors: list[BaseException] = []
        self.world.start(define(first_code, "blocked.shop"))

    def deploy(self, code: Callable[[], Any]) -> Decider:
        definition = define(code, "blocked.shop")
        self.world.workflow = definition
        registry: Registry = deployed(definition, charge, ship)
        hooks = Hooks(on_error=lambda error, about: self.errors.append(error))
        return Decider(Swf(Direct(self.world), DOMAIN), LIST, registry, self.world.values, hooks=hooks)

    def context(self) -> dict[str, Any]:
        return json.loads(self.world.describe()["latestExecutionContext"])

    def reach_the_signal(self) -> None:
        decider = self.deploy(first_code)
        assert decider.run_once()
        assert self.world.work()
        assert decider.run_once()


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_a_blocked_execution_stays_open_and_its_context_says_so_and_keeps_what_was_published(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.reach_the_signal()
    assert json.loads(shop.context()["published"]) == "shipping"
    before = shop.world.history()
    shop.world.signal(go, "go")
    with caplog.at_level(logging.ERROR):
        assert shop.deploy(wrong_code).run_once()
    assert shop.world.is_open
    context = shop.context()
    assert "took another path" in context["blocked"]
    assert "charge-1" in context["blocked"]
    assert "test_blocked.py" in context["blocked"]
    assert json.loads(context["published"]) == "shipping"
    new = shop.world.history()[len(before) :]
    assert kinds(new) == [
        "WorkflowExecutionSignaled",
        "DecisionTaskScheduled",
        "DecisionTaskStarted",
        "DecisionTaskCompleted",
        "TimerStarted",
    ]
    assert attributes(new[-1])["timerId"].startswith("flowdsl.blocked-")
    assert [type(error).__name__ for error in shop.errors] == ["NonDeterminism"]
    assert "took another path" in caplog.text


@pytest.mark.parametrize("code", [first_code, fitting_code])
def test_a_blocked_execution_goes_on_by_itself_as_soon_as_fitting_code_is_deployed(shop: Shop, code: Callable[[], Any]) -> None:
    shop.reach_the_signal()
    shop.world.signal(go, "go")
    wrong = shop.deploy(wrong_code)
    assert wrong.run_once()
    decider = shop.deploy(code)
    assert not decider.run_once(), "nothing happens before the timer"
    shop.world.pass_time(2)
    while shop.world.is_open:
        assert decider.run_once() or shop.world.work()
    assert shop.world.outcome()[:2] == ["charged 10", "shipped book"]
    assert kinds(shop.world.history(), "ActivityTaskScheduled") == ["ActivityTaskScheduled"] * 2
    assert "blocked" not in shop.context()


def test_a_blocked_execution_is_asked_again_ever_more_seldom(shop: Shop) -> None:
    shop.reach_the_signal()
    shop.world.signal(go, "go")
    decider = shop.deploy(wrong_code)
    for _ in range(86_400):
        decider.run_once()
        shop.world.pass_time(1)
    delays = [attributes(e)["startToFireTimeout"] for e in shop.world.history() if e["eventType"] == "TimerStarted"]
    assert delays[:10] == ["2", "4", "8", "16", "32", "64", "128", "256", "512", "600"]
    assert len(delays) < 160, "a day costs few events"
    fixed = shop.deploy(fitting_code)
    shop.world.pass_time(600)
    while shop.world.is_open:
        assert fixed.run_once() or shop.world.work()
    assert shop.world.outcome()[-1] == "by fitting code"


def test_a_misfit_in_the_first_decision_after_the_start_blocks_too(shop: Shop) -> None:
    first = shop.deploy(first_code)
    assert first.run_once()
    shop.world.work()
    assert shop.deploy(wrong_code).run_once()
    assert "blocked" in shop.context()
    assert shop.world.is_open


def test_the_replay_version_is_recorded_with_every_decision(shop: Shop) -> None:
    shop.reach_the_signal()
    shop.world.signal(go, "go")
    decider = shop.deploy(first_code)
    while shop.world.is_open:
        assert decider.run_once() or shop.world.work()
    contexts = [attributes(e).get("executionContext") for e in shop.world.history() if e["eventType"] == "DecisionTaskCompleted"]
    assert len(contexts) == 4
    assert {read_context(text)["flowdsl"] for text in contexts} == {REPLAY_VERSION}
    assert REPLAY_VERSION == 1, "a change of the order in which things happen is a new number, and its histories are kept beside the old"


def test_what_is_no_context_of_ours_is_read_as_nothing() -> None:
    for text in (None, "", "{", "[1]", '"x"', '{"published": "other"}'):
        assert read_context(text) == {}


def test_an_execution_of_a_type_that_this_process_does_not_have_is_left_to_others(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    other = define(lambda: sleep(1), "blocked.other")
    decider = Decider(Swf(Direct(shop.world), DOMAIN), LIST, deployed(other), shop.world.values)
    with caplog.at_level(logging.WARNING):
        assert decider.run_once()
        shop.world.pass_time(61)
        assert decider.run_once()
    assert len([r for r in caplog.records if "is known here" in r.getMessage()]) == 1, "said once"
    shop.world.pass_time(61)
    assert shop.deploy(first_code).run_once()
    assert kinds(shop.world.history(), "ActivityTaskScheduled") == ["ActivityTaskScheduled"]
