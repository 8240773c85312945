"""The engine folds what it writes, the decider folds what it is shown: after every step both must know the same of an execution."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from replay_async_programs import async_programs, play_async
from replay_programs import drive, play, programs, schedules
from replay_world import DOMAIN, World

from flowdsl.model.history import History
from flowdsl.model.lifecycle import ACTIVITY, CHILD, TIMER

COUNTED = {"openActivityTasks": ACTIVITY, "openTimers": TIMER, "openChildWorkflowExecutions": CHILD}
ASKED = {"openActivityTasks": "activity", "openTimers": "timer", "openChildWorkflowExecutions": "workflow"}

thorough = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


class Pair(World):
    """A world in which a history follows each run, event by event, and is compared with the engine after every call."""

    def __init__(self) -> None:
        self.runs: dict[str, tuple[str, History]] = {}
        self.compared = 0
        super().__init__(keeps=True)

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        answer = super().call(operation, **params)
        if operation == "StartWorkflowExecution":
            self.runs[answer["runId"]] = params["workflowId"], History()
        for run_id in list(self.runs):
            self._compare(run_id)
        return answer

    def _ask(self, operation: str, run_id: str, **params: Any) -> dict[str, Any]:
        execution = {"workflowId": self.runs[run_id][0], "runId": run_id}
        return self.engine.apply(self.now, operation, {"domain": DOMAIN, "execution": execution, **params})

    def _new_events(self, run_id: str, known: int) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        page: dict[str, Any] = {"nextPageToken": None}
        while "nextPageToken" in page and (not events or events[-1]["eventId"] > known + 1):
            more = {"nextPageToken": page["nextPageToken"]} if page["nextPageToken"] else {}
            page = self._ask("GetWorkflowExecutionHistory", run_id, reverseOrder=True, maximumPageSize=10, **more)
            events += page["events"]
        return [event for event in reversed(events) if event["eventId"] > known]

    def _compare(self, run_id: str) -> None:
        history = self.runs[run_id][1]
        for event in self._new_events(run_id, history.last_id):
            history.append(event)
            if event["eventType"] == "ChildWorkflowExecutionStarted":
                child = event["childWorkflowExecutionStartedEventAttributes"]["workflowExecution"]
                self.runs.setdefault(child["runId"], (child["workflowId"], History()))
        about = self._ask("DescribeWorkflowExecution", run_id)
        status = about["executionInfo"]["executionStatus"]
        assert status == ("CLOSED" if history.lives.execution.ended else "OPEN")
        counts = {name: history.lives.count(kind) for name, kind in COUNTED.items()}
        counts["openDecisionTasks"] = int(history.lives.waiting is not None)  # one that is started does not count
        assert about["openCounts"] == {**counts, "openLambdaFunctions": 0}
        self.compared += 1

    def compare_replayers(self) -> None:
        """While a decision is in hand, the replayer that made it knows what the engine has open."""
        for run_id, replayer in self.kept.items():
            history = self.runs[run_id][1]
            if replayer.journal.last_started == history.last_id:
                counts = self._ask("DescribeWorkflowExecution", run_id)["openCounts"]
                assert {name: counts[name] for name in ASKED} == {name: replayer.open[verb] for name, verb in ASKED.items()}
                self.compared += 1

    def decide(self, between: Any = None) -> bool:
        def compared() -> None:
            self.compare_replayers()
            if between is not None:
                between()

        return super().decide(compared)


@thorough
@given(programs, schedules)
def test_the_engine_and_the_decider_know_the_same_after_every_step(program: list[Any], schedule: list[int]) -> None:
    _live(play, program, schedule)


@thorough
@given(async_programs, schedules)
def test_the_engine_and_the_decider_know_the_same_of_a_coroutine(program: list[Any], schedule: list[int]) -> None:
    _live(play_async, program, schedule)


def _live(workflow: Any, program: list[Any], schedule: list[int]) -> None:
    world = Pair()
    world.start(workflow, program)
    drive(world, schedule)
    world.run_to_end()
    assert world.compared > world.runs[world.run_id][1].last_id / 4
    assert world.runs[world.run_id][1].lives.execution.ended
