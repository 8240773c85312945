"""Rule 6: refusals are not failures. Causes are sorted: user code sees only what the user can mend, and nothing ever spins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from replay_world import DOMAIN, LIST, World, attributes, kinds

from flowdsl import activity, cached, continue_as_new, gather, signal, sleep, spawn, workflow
from flowdsl.engine import Quotas
from flowdsl.errors import ActivityFailed, ChildFailed, DefinitionError

REFUSED = ("ScheduleActivityTaskFailed", "StartTimerFailed", "StartChildWorkflowExecutionFailed")


@activity
def double(x: int) -> int:
    return 2 * x


@workflow(task_list=LIST)
def kid(x: int) -> int:
    return x + 1


@signal
def note(text: str) -> str:
    return text


@workflow
def many_activities(count: int) -> list[int]:
    return double.map(range(count))


@workflow
def many_timers(count: int) -> int:
    gather(*[spawn(sleep, 1 + n % 3) for n in range(count)])
    return count


@workflow
def many_children(count: int) -> list[int]:
    return kid.map(range(count))


@pytest.mark.parametrize(
    ("many", "quotas", "expected"),
    [
        (many_activities, Quotas(open_activities=4), [2 * n for n in range(30)]),
        (many_timers, Quotas(open_timers=4), 30),
        (many_children, Quotas(open_children=4), [n + 1 for n in range(30)]),
        (many_children, Quotas(open_executions=4), [n + 1 for n in range(30)]),
        (many_activities, Quotas(open_activities=1), [2 * n for n in range(30)]),
    ],
    ids=["activities", "timers", "children", "executions", "one"],
)
def test_an_open_limit_is_waited_for_and_the_code_never_sees_it(many: Any, quotas: Quotas, expected: Any) -> None:
    world = World(quotas=quotas)
    world.start(many, 30)
    assert world.run_to_end(2000) == expected
    refused = kinds(world.history(), *REFUSED)
    assert 0 < len(refused) <= 100, "the limit is met, and after that it is known"
    assert len(world.history()) < 600


def test_a_limit_of_the_domain_that_others_fill_is_asked_again_less_and_less_often() -> None:
    world = World(quotas=Quotas(open_executions=2))
    world.start(many_children, 3, workflow_id="other")
    other = world.run_id
    world.start(many_children, 3)
    for _ in range(400):
        if not world.decide():
            world.pass_time(1)
    world.call("TerminateWorkflowExecution", domain=DOMAIN, workflowId="other", runId=other)
    before = len(kinds(world.history(), *REFUSED))
    assert before < 40
    assert world.run_to_end(2000) == [1, 2, 3]


class Refusing:
    """A world whose service refuses decisions by a cause that the engine has no reason for, as long as `cause` says one."""

    def __init__(self, world: World, cause: Callable[[str, dict[str, Any]], str | None]) -> None:
        self.world, self.cause = world, cause
        self.events: list[dict[str, Any]] = []
        self.now = 1000.0

    def add(self, kind: str, **given: Any) -> int:
        event_id = len(self.events) + 1
        self.events.append(
            {"eventId": event_id, "eventTimestamp": self.now, "eventType": kind, f"{kind[0].lower()}{kind[1:]}EventAttributes": given}
        )
        return event_id

    def begin(self, workflow: Any, *args: Any) -> None:
        self.add(
            "WorkflowExecutionStarted", workflowType={"name": workflow.name, "version": workflow.version}, taskList={"name": LIST},
            input=self.world.values.encode_call(workflow, args, {}), childPolicy="TERMINATE", parentInitiatedEventId=0,
        )  # fmt: skip
        self.workflow = workflow

    def turn(self) -> list[dict[str, Any]]:
        """One decision task: what the code decides becomes events, or refusals."""
        scheduled = self.add("DecisionTaskScheduled", taskList={"name": LIST})
        started = self.add("DecisionTaskStarted", scheduledEventId=scheduled)
        replayer = self.world.replayer(workflow=self.workflow, run=("w", "r"))
        try:
            replayer.feed(self.events)
            decisions = replayer.decisions()
        finally:
            replayer.close()
        completed = self.add("DecisionTaskCompleted", scheduledEventId=scheduled, startedEventId=started)
        for decision in decisions:
            self.answer(decision, completed)
        return decisions

    def answer(self, decision: dict[str, Any], completed: int) -> None:
        kind = decision["decisionType"]
        given = {**next(v for k, v in decision.items() if k != "decisionType"), "decisionTaskCompletedEventId": completed}
        cause = self.cause(kind, given)
        if kind == "StartTimer":
            if cause:
                self.add("StartTimerFailed", timerId=given["timerId"], cause=cause, decisionTaskCompletedEventId=completed)
            else:
                self.add("TimerStarted", **given)
        elif kind == "ScheduleActivityTask":
            if cause:
                self.add("ScheduleActivityTaskFailed", activityId=given["activityId"], activityType=given["activityType"], cause=cause,
                         decisionTaskCompletedEventId=completed)  # fmt: skip
            else:
                self.add("ActivityTaskScheduled", **given)
        elif kind == "StartChildWorkflowExecution":
            if cause:
                self.add("StartChildWorkflowExecutionFailed", workflowId=given["workflowId"],
                         workflowType=given["workflowType"], cause=cause,
                         initiatedEventId=0, decisionTaskCompletedEventId=completed)  # fmt: skip
            else:
                self.add("StartChildWorkflowExecutionInitiated", **given)
        elif kind == "SignalExternalWorkflowExecution":
            initiated = self.add("SignalExternalWorkflowExecutionInitiated", **given)
            if cause:
                self.add("SignalExternalWorkflowExecutionFailed", workflowId=given["workflowId"], cause=cause, initiatedEventId=initiated,
                         decisionTaskCompletedEventId=completed)  # fmt: skip
            else:
                self.add(
                    "ExternalWorkflowExecutionSignaled",
                    workflowExecution={"workflowId": given["workflowId"], "runId": "x"},
                    initiatedEventId=initiated,
                )
        elif cause:
            self.add(f"{kind}Failed", cause=cause, decisionTaskCompletedEventId=completed)
        else:
            self.add(_closing(kind), **given)

    def fire_timers(self) -> None:
        """Fire what is open, in order."""
        fired = {attributes(e)["startedEventId"] for e in self.events if e["eventType"] in ("TimerFired", "TimerCanceled")}
        for event in [e for e in self.events if e["eventType"] == "TimerStarted" and e["eventId"] not in fired]:
            self.now += float(attributes(event)["startToFireTimeout"])
            self.add("TimerFired", timerId=attributes(event)["timerId"], startedEventId=event["eventId"])


def _closing(kind: str) -> str:
    return {"CompleteWorkflowExecution": "WorkflowExecutionCompleted", "FailWorkflowExecution": "WorkflowExecutionFailed"}[kind]


@workflow
def one_of_each() -> str:
    promises = [double.start(1), spawn(sleep, 5), kid.start(1), spawn(note.send, "other", "hello")]
    gather(*promises)
    return "done"


RATES = {
    "ScheduleActivityTask": "ACTIVITY_CREATION_RATE_EXCEEDED",
    "StartTimer": "TIMER_CREATION_RATE_EXCEEDED",
    "StartChildWorkflowExecution": "CHILD_CREATION_RATE_EXCEEDED",
    "SignalExternalWorkflowExecution": "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_RATE_EXCEEDED",
}


@pytest.mark.parametrize("kind", RATES)
def test_what_came_too_fast_is_held_until_a_pause_is_over_and_then_asked_again(kind: str) -> None:
    refusals: list[str] = []

    def cause(decision: str, given: dict[str, Any]) -> str | None:
        if decision != kind or len(refusals) == 2 or given.get("timerId", "").startswith("flowdsl."):
            return None
        refusals.append(decision)
        return RATES[kind]

    service = Refusing(World(), cause)
    service.begin(one_of_each)
    first = service.turn()
    assert kind in [d["decisionType"] for d in first]
    paused = service.turn()
    assert [d["decisionType"] for d in paused] == ["StartTimer"], "only the pause: what was refused is held"
    pause = paused[0]["startTimerDecisionAttributes"]
    assert pause["timerId"].startswith("flowdsl.pace-")
    assert pause["startToFireTimeout"] == "1"
    service.fire_timers()
    again = service.turn()
    assert [d["decisionType"] for d in again] == [kind]
    second = service.turn()
    assert second[0]["startTimerDecisionAttributes"]["startToFireTimeout"] == "2", "the second pause is longer"
    service.fire_timers()
    assert [d["decisionType"] for d in service.turn()] == [kind]
    assert service.turn() == [], "it was taken"


def test_a_type_that_the_service_does_not_know_is_registered_and_asked_for_again() -> None:
    @activity(name="refusals.unregistered")
    def unregistered(x: int) -> int:
        return x

    @workflow(name="refusals.unknown kid", task_list=LIST)
    def unknown_kid() -> int:
        return 5

    @workflow(name="refusals.asks")
    def asks() -> list[int]:
        return gather(unregistered.start(3), unknown_kid.start())

    world = World(asks)
    world.start(asks)
    assert world.run_to_end() == [3, 5]
    assert kinds(world.history(), *REFUSED) == ["ScheduleActivityTaskFailed", "StartChildWorkflowExecutionFailed"]


def test_a_type_that_cannot_be_registered_fails_the_call_after_a_few_tries() -> None:
    service = Refusing(World(), lambda kind, _: "ACTIVITY_TYPE_DOES_NOT_EXIST" if kind == "ScheduleActivityTask" else None)
    service.begin(many_activities, 1)
    turns = 0
    while service.events[-1]["eventType"] != "WorkflowExecutionFailed":
        service.turn()
        turns += 1
    assert turns == 5, "one call, three after registrations, and the end"
    assert "ACTIVITY_TYPE_DOES_NOT_EXIST" in attributes(service.events[-1])["reason"]


@pytest.mark.parametrize("cause", ["ACTIVITY_TYPE_DEPRECATED", "OPERATION_NOT_PERMITTED", "DEFAULT_TASK_LIST_UNDEFINED"])
def test_what_the_user_can_mend_is_raised_at_the_line_of_the_call(cause: str) -> None:
    seen: list[BaseException] = []

    @workflow(name="refusals.catches")
    def catches() -> str:
        try:
            return str(double(1))
        except ActivityFailed as error:
            seen.append(error)
            return "caught"

    service = Refusing(World(), lambda kind, _: cause if kind == "ScheduleActivityTask" else None)
    service.begin(catches)
    service.turn()
    service.turn()
    assert service.events[-1]["eventType"] == "WorkflowExecutionCompleted"
    assert cause in str(seen[0])
    assert any(frame.name == "catches" for frame in _frames(seen[0]))


def _frames(error: BaseException) -> Any:
    import traceback

    return traceback.extract_tb(error.__traceback__)


def test_a_child_that_cannot_start_raises_with_the_cause() -> None:
    @workflow(name="refusals.child")
    def asks() -> str:
        try:
            return str(kid(1))
        except ChildFailed as error:
            return f"{error.status} {error.reason}"

    service = Refusing(World(), lambda kind, _: "WORKFLOW_TYPE_DEPRECATED" if kind == "StartChildWorkflowExecution" else None)
    service.begin(asks)
    service.turn()
    service.turn()
    assert "NOT_STARTED WORKFLOW_TYPE_DEPRECATED" in attributes(service.events[-1])["result"]


def test_a_close_that_came_between_events_is_asked_for_again() -> None:
    @workflow(name="refusals.closes")
    def closes() -> str:
        return "closed"

    world = World()
    world.start(closes)
    for _ in range(3):
        assert world.decide(between=lambda: world.signal(note, "wait"))
    assert world.is_open
    assert world.run_to_end() == "closed"
    assert kinds(world.history(), "CompleteWorkflowExecutionFailed", "WorkflowExecutionCompleted") == [
        "CompleteWorkflowExecutionFailed", "CompleteWorkflowExecutionFailed", "CompleteWorkflowExecutionFailed",
        "WorkflowExecutionCompleted",
    ]  # fmt: skip


def test_a_close_that_is_not_permitted_is_asked_for_again_with_growing_pauses() -> None:
    @workflow(name="refusals.not permitted")
    def ends() -> None:
        return None

    service = Refusing(World(), lambda kind, _: "OPERATION_NOT_PERMITTED" if kind.startswith("Complete") else None)
    service.begin(ends)
    for _ in range(60):
        service.turn()
        service.fire_timers()
    closes = kinds(service.events, "CompleteWorkflowExecutionFailed")
    assert 1 < len(closes) <= 31
    assert service.now - 1000 > 20 * 60, "it has asked once a minute at last"


def test_a_continuation_that_the_service_will_never_take_fails_the_execution() -> None:
    @workflow(name="refusals.continues")
    def continues(n: int) -> None:
        continue_as_new(n + 1)

    world = World()
    world.start(continues, 1)
    world.call("DeprecateWorkflowType", domain=DOMAIN, workflowType={"name": continues.name, "version": continues.version})
    with pytest.raises(DefinitionError, match="WORKFLOW_TYPE_DEPRECATED"):
        world.run_to_end(20)
    assert len(world.history()) < 20


def test_a_pickled_argument_is_given_to_the_next_attempt_too() -> None:
    """The record's text can't be compared with a new pickle, but it is what every attempt gets."""

    @activity(name="refusals.flaky", retry=3)
    def flaky(make: Any) -> int:
        from flowdsl import info

        if info().attempt < 3:
            raise ValueError("again")
        return make()

    @workflow(name="refusals.pickles")
    def pickles() -> int:
        answer = 42
        return flaky(lambda: answer)

    world = World()
    world.start(pickles)
    assert world.run_to_end() == 42
    inputs = [attributes(e)["input"] for e in world.history() if e["eventType"] == "ActivityTaskScheduled"]
    assert len(inputs) == 3
    assert all("dill" in text for text in inputs)


def test_no_refusal_runs_a_recorded_function_again() -> None:
    runs: list[int] = []

    @cached(name="refusals.once")
    def once() -> int:
        runs.append(1)
        return len(runs)

    @workflow(name="refusals.records")
    def records() -> Any:
        value = once()
        return [value, double.map(range(5))]

    world = World(quotas=Quotas(open_activities=1))
    world.start(records)
    assert world.run_to_end(2000) == [1, [0, 2, 4, 6, 8]]
    assert runs == [1]


@workflow
def two_sleeps() -> str:
    try:
        sleep(1)
    except DefinitionError as error:
        return str(error)
    return "slept"


def test_a_timer_that_the_service_will_never_start_is_raised_at_its_line() -> None:
    world = Refusing(World(), lambda kind, _: "OPERATION_NOT_PERMITTED" if kind == "StartTimer" else None)
    world.begin(two_sleeps)
    world.turn()
    decisions = world.turn()
    assert decisions[-1]["decisionType"] == "CompleteWorkflowExecution"
    assert "OPERATION_NOT_PERMITTED" in decisions[-1]["completeWorkflowExecutionDecisionAttributes"]["result"]
    assert len(world.events) < 15


@workflow
def stops_a_child() -> str:
    child = kid.start(1)
    sleep(1)
    child.cancel()
    sleep(600)
    return "stopped"


def test_a_cancel_of_a_child_that_is_refused_for_its_rate_is_asked_again_and_one_of_a_closed_child_is_not() -> None:
    for cause, again in (
        ("REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_RATE_EXCEEDED", True),
        ("UNKNOWN_EXTERNAL_WORKFLOW_EXECUTION", False),
    ):
        events = Refusing(World(), lambda *_: None)
        events.begin(stops_a_child)
        replayer = events.world.replayer(workflow=stops_a_child, run=("w", "r"))
        completed = 0

        def turn(add: Callable[[int], Any] | None = None) -> list[dict[str, Any]]:
            nonlocal completed
            done = len(replayer.journal.__slots__) and len(events.events)
            if add is not None:
                add(completed)
            scheduled = events.add("DecisionTaskScheduled", taskList={"name": LIST})
            started = events.add("DecisionTaskStarted", scheduledEventId=scheduled)
            replayer.feed(events.events[replayer.journal.last_id :])
            decisions = replayer.decisions()
            completed = events.add("DecisionTaskCompleted", scheduledEventId=scheduled, startedEventId=started)
            assert done is not None
            return decisions

        child, timer = turn()
        child_id = child["startChildWorkflowExecutionDecisionAttributes"]["workflowId"]
        timer_id = timer["startTimerDecisionAttributes"]["timerId"]
        kind = {"name": kid.name, "version": "1"}
        given = {"workflowId": child_id, "workflowType": kind, "decisionTaskCompletedEventId": completed}
        initiated = events.add("StartChildWorkflowExecutionInitiated", **given)
        running = events.add("TimerStarted", timerId=timer_id, startToFireTimeout="1", decisionTaskCompletedEventId=completed)
        execution = {"workflowId": child_id, "runId": "child-run"}
        events.add("ChildWorkflowExecutionStarted", workflowExecution=execution, workflowType=kind, initiatedEventId=initiated)
        events.add("TimerFired", timerId=timer_id, startedEventId=running)
        decisions = turn()
        assert [d["decisionType"] for d in decisions] == ["RequestCancelExternalWorkflowExecution", "StartTimer"]
        asked = events.add(
            "RequestCancelExternalWorkflowExecutionInitiated",
            workflowId=child_id,
            runId="child-run",
            decisionTaskCompletedEventId=completed,
        )
        second = decisions[1]["startTimerDecisionAttributes"]["timerId"]
        events.add("TimerStarted", timerId=second, startToFireTimeout="600", decisionTaskCompletedEventId=completed)
        events.add(
            "RequestCancelExternalWorkflowExecutionFailed", workflowId=child_id, runId="child-run", initiatedEventId=asked, cause=cause,
            decisionTaskCompletedEventId=completed,
        )  # fmt: skip
        paced = turn()
        assert [d["decisionType"] for d in paced] == (["StartTimer"] if again else [])
        replayer.close()
