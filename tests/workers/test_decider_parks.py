"""A decision task that kills or fails its decider again and again is parked with an alert, and goes on when fitting code comes."""

from __future__ import annotations

from typing import Any

import pytest
from decider_stand import DOMAIN, Stand, double, run_to_the_end
from replay_deploys import define, deployed

from flowdsl.service.swf import Swf
from flowdsl.workers.cache import Cache
from flowdsl.workers.decider import Decider
from flowdsl.workers.hooks import Hooks
from flowdsl.workers.parking import lost_in_a_row, read_context


class Died(BaseException):
    """Stands for the end of a decider's process: nothing is answered."""


def healthy() -> int:
    return double(1)


class Dying(Decider):
    """A decider whose process dies of the workflow's code."""

    tried = 0

    def _feed(self, replayer: Any, events: Any) -> Any:
        self.tried += 1
        if any(event["eventType"] == "ActivityTaskCompleted" for event in events):
            raise Died
        return super()._feed(replayer, events)


class Failing(Dying):
    """A decider that fails, and lives on."""

    def _feed(self, replayer: Any, events: Any) -> Any:
        try:
            return super()._feed(replayer, events)
        except Died:
            raise OSError("the disk is full") from None


def parked(stand: Stand, decider: Dying, rounds: int) -> str:
    workflow = define(healthy, "parks.flow")
    stand.swf.register_workflow_type(name=workflow.name, version=workflow.version)
    run_id = stand.start(workflow)
    for _ in range(rounds):
        for _ in range(4):
            try:
                decider.run_once(Cache(0)) or stand.work()
            except (Died, OSError):
                stand.clock.advance(61)
    return run_id


def decider_of(stand: Stand, kind: type[Dying], heard: list[BaseException]) -> Dying:
    hooks = Hooks(on_error=lambda error, _: heard.append(error))
    return kind(Swf(stand.impatient, DOMAIN), "list", deployed(define(healthy, "parks.flow")), stand.values, hooks=hooks)


@pytest.mark.parametrize(("kind", "tries", "says"), [(Dying, 3, "never answered"), (Failing, 3, "the disk is full")])
def test_a_task_that_is_lost_again_and_again_is_parked_with_an_alert(kind, tries, says):
    stand, heard = Stand(), []
    decider = decider_of(stand, kind, heard)
    run_id = parked(stand, decider, 3)
    context = read_context(stand.swf.describe("w", run_id)["latestExecutionContext"])
    assert says in context["blocked"]
    assert says in str(heard[0])
    assert decider.tried == 1 + tries, "the first decision, and as often as may be"
    before = len(stand.events(run_id))
    for _ in range(30):  # an hour of trying again, less and less often
        stand.clock.advance(120)
        try:
            decider.run_once(Cache(0))
        except (Died, OSError):
            stand.clock.advance(61)
    assert len(stand.events(run_id)) - before < 150
    fitting = stand.decider(registry=deployed(define(healthy, "parks.flow")))
    while not stand.events(run_id)[-1]["eventType"].startswith("WorkflowExecution"):
        stand.clock.advance(61)
        run_to_the_end(stand, fitting, Cache(0))
    assert stand.events(run_id)[-1]["eventType"] == "WorkflowExecutionCompleted"
    stand.close()


def test_lost_tasks_are_counted_from_the_last_answer():
    def event(kind: str, **attributes: Any) -> dict[str, Any]:
        return {"eventType": kind, f"{kind[0].lower()}{kind[1:]}EventAttributes": attributes}

    out, done = event("DecisionTaskTimedOut", startedEventId=3), event("DecisionTaskCompleted", executionContext='{"flowdsl": 1}')
    asked = event("DecisionTaskCompleted", executionContext='{"flowdsl": 1, "blocked": "x"}')
    assert lost_in_a_row([out, out, done]) == (0, False)
    assert lost_in_a_row([out, done, out, out]) == (2, False)
    assert lost_in_a_row([asked, out]) == (1, True)
    assert lost_in_a_row([event("DecisionTaskTimedOut", startedEventId=0)]) == (0, False)
