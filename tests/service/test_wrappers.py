"""Logging, tape, chaos and withdrawable polls."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from flowdsl.errors import DefinitionError, Fault
from flowdsl.service.chaos import FATES
from flowdsl.service.swf import Swf
from flowdsl.service.transport import Transport
from flowdsl.service.wrappers import Chaos, Logging, Retrying, Tape, Withdrawable

SECRET = "4111-1111-1111-1111"


def test_every_wrapper_is_a_transport(script) -> None:
    inner = script()
    for wrapper in (Retrying(inner), Logging(inner), Tape(inner), Chaos(inner), Withdrawable(inner)):
        assert isinstance(wrapper, Transport)


# --- logging


def test_a_call_is_one_line_with_its_names_and_ids(script, caplog) -> None:
    caplog.set_level(logging.DEBUG, "flowdsl.service")
    ticks = iter([1.0, 1.25])
    transport = Logging(script({"runId": "r1"}), clock=lambda: next(ticks))
    transport.call(
        "StartWorkflowExecution",
        {"domain": "d", "workflowId": "w", "workflowType": {"name": "n", "version": "1"}, "taskList": {"name": "t"}},
    )
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "StartWorkflowExecution ok in 250.0 ms domain=d workflowId=w taskList.name=t workflowType.name=n workflowType.version=1 runId=r1"
    )


def test_no_payload_no_token_and_no_message_of_the_service_is_ever_logged(swf, service, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    logged = Swf(Logging(service), "d")
    logged.start_workflow_execution(
        workflow_id="w", name="flow", version="1", task_list="t", execution_start_to_close=60, task_start_to_close=60, input=SECRET
    )
    logged.signal("w", "s", input=SECRET)
    task = logged.poll_for_decision_task(task_list="t")
    marker = {"decisionType": "RecordMarker", "recordMarkerDecisionAttributes": {"markerName": "m", "details": SECRET}}
    logged.respond_decision_task_completed(task_token=task["taskToken"], decisions=[marker], execution_context=SECRET)
    with pytest.raises(Fault):
        logged.signal("w", "s", input=SECRET * 3_000)
    with pytest.raises(Fault):
        logged.respond_activity_task_failed(task_token=task["taskToken"], reason=SECRET, details=SECRET)
    logged.terminate("w", reason=SECRET)
    list(logged.history("w", next(iter(logged.list_closed()))["execution"]["runId"]))
    assert "StartWorkflowExecution" in caplog.text
    assert "refused: ValidationException" in caplog.text
    assert SECRET not in caplog.text
    assert task["taskToken"] not in caplog.text


def test_a_transport_that_breaks_is_logged_and_breaks_its_caller(script, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(KeyError):
        Logging(script(KeyError(SECRET))).call("DescribeDomain", {})
    assert "raised KeyError" in caplog.text
    assert SECRET not in caplog.text


def test_a_name_with_control_characters_cannot_forge_a_line(script, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    Logging(script()).call("SignalWorkflowExecution", {"workflowId": "w\nERROR forged", "signalName": "s"})
    assert r"workflowId='w\nERROR forged'" in caplog.text


# --- tape


def test_what_was_recorded_is_played_again_faults_included(swf, service, tmp_path) -> None:
    def story(swf: Swf) -> list[Any]:
        told: list[Any] = [
            swf.start_workflow_execution(
                workflow_id="w", name="flow", version="1", task_list="t", execution_start_to_close=60, task_start_to_close=60
            )
        ]
        try:
            swf.signal("nobody", "s")
        except Fault as fault:
            told.append((fault.code, fault.message, fault.retryable))
        told.append(swf.describe("w", told[0]))
        told.append(swf.poll_for_decision_task(task_list="t", identity="one" if told else "two"))
        return told

    tape = Tape(service)
    recorded = story(Swf(tape, "d"))
    tape.save(tmp_path / "tape.json")
    player = Tape.load(tmp_path / "tape.json")
    assert story(Swf(player, "d")) == recorded
    assert player.left == 0


def test_members_that_differ_between_processes_are_not_compared() -> None:
    calls = [{"operation": "PollForActivityTask", "params": {"domain": "d", "identity": "1@a"}, "answer": {"startedEventId": 0}}]
    assert Tape(None, calls).call("PollForActivityTask", {"domain": "d", "identity": "2@b"}) == {"startedEventId": 0}
    with pytest.raises(DefinitionError, match=r"no answer \(left\) to PollForActivityTask"):
        Tape(None, calls, ignored=()).call("PollForActivityTask", {"domain": "d", "identity": "2@b"})


def test_equal_calls_are_answered_in_the_order_of_the_recording_and_no_oftener() -> None:
    calls = [{"operation": "DescribeDomain", "params": {"name": "d"}, "answer": {"n": n}} for n in range(2)]
    tape = Tape(None, calls)
    assert [tape.call("DescribeDomain", {"name": "d"})["n"] for _ in range(2)] == [0, 1]
    with pytest.raises(DefinitionError, match="record it again"):
        tape.call("DescribeDomain", {"name": "d"})


def test_a_played_answer_may_be_changed_by_its_reader() -> None:
    calls = [{"operation": "DescribeDomain", "params": {}, "answer": {"list": []}}]
    tape = Tape(None, calls)
    tape.call("DescribeDomain", {})["list"].append(1)
    assert tape.calls[0]["answer"] == {"list": []}


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"format": "else", "calls": []})])
def test_a_file_that_is_no_tape_is_refused_by_name(tmp_path, content) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DefinitionError, match=r"x\.json is no tape"):
        Tape.load(tmp_path / "x.json")


# --- chaos


def weather(seed: int, calls: int, **odds: float) -> tuple[list[str], int]:
    """The outcome of each of so many calls, and how many of them arrived."""
    arrived = []

    class Inner:
        def call(self, operation: str, params: Any) -> dict[str, Any]:
            arrived.append(operation)
            return {}

    chaos = Chaos(Inner(), seed, **odds)
    outcomes = []
    for _ in range(calls):
        try:
            chaos.call("DescribeDomain", {})
            outcomes.append("ok")
        except Fault as fault:
            outcomes.append(fault.code if fault.retryable else "final")
    return outcomes, len(arrived)


@pytest.mark.parametrize(
    ("fate", "outcome", "arrivals"),
    [
        ("drop_before", "ConnectionError", 0),
        ("drop_after", "ConnectionLost", 1),
        ("double", "ok", 2),
        ("throttle", "ThrottlingException", 0),
        ("fail_before", "InternalFailure", 0),
        ("fail_after", "InternalFailure", 1),
    ],
)
def test_each_fate_does_what_it_says(fate, outcome, arrivals) -> None:
    assert fate in FATES
    assert weather(1, 1, **{fate: 1.0}) == ([outcome], arrivals)


def test_the_same_seed_gives_the_same_weather_and_another_one_another() -> None:
    odds = {"drop_before": 0.3, "throttle": 0.3}
    assert weather(1, 50, **odds) == weather(1, 50, **odds)
    assert weather(1, 50, **odds) != weather(2, 50, **odds)


def test_what_happens_to_a_call_does_not_depend_on_calls_of_other_operations(script) -> None:
    alone, mixed = Chaos(script(), 3, throttle=0.5), Chaos(script(), 3, throttle=0.5)
    for number in range(30):
        if number % 3 == 0:
            try_(mixed, "ListDomains")
        try_(alone, "DescribeDomain")
        try_(mixed, "DescribeDomain")
    assert [dealt for dealt in mixed.dealt if dealt[0] == "DescribeDomain"] == alone.dealt


def try_(transport: Any, operation: str) -> None:
    try:
        transport.call(operation, {})
    except Fault:
        return


def test_a_poll_is_never_doubled_and_other_operations_may_be_spared(script) -> None:
    inner = script()
    Chaos(inner, double=1.0).call("PollForActivityTask", {})
    Chaos(inner, double=1.0, operations=["SignalWorkflowExecution"]).call("DescribeDomain", {})
    assert len(inner.calls) == 2


@pytest.mark.parametrize("odds", [{"throttle": -0.1}, {"throttle": 0.6, "double": 0.6}])
def test_probabilities_that_are_none_are_refused(script, odds) -> None:
    with pytest.raises(DefinitionError, match="probabilities"):
        Chaos(script(), **odds)


# --- polls that can be taken back


POLL = {"domain": "d", "taskList": {"name": "t"}}


def test_an_open_poll_ends_when_it_is_withdrawn_and_swallows_no_task(swf, service) -> None:
    begun = threading.Event()

    class Tells:
        call = service.call

        def submit(self, operation: str, params: Any, done: Any) -> Any:
            try:
                return service.submit(operation, params, done)
            finally:
                begun.set()

    polls = Withdrawable(Tells())
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(polls.call("PollForDecisionTask", POLL)))
    thread.start()
    assert begun.wait(20)
    polls.withdraw()
    thread.join()
    assert answers == [{"startedEventId": 0}]
    swf.start_workflow_execution(
        workflow_id="w", name="flow", version="1", task_list="t", execution_start_to_close=60, task_start_to_close=60
    )
    assert swf.count_pending_decision_tasks("t") == 1


def test_after_a_withdrawal_no_poll_begins_but_everything_else_goes_on(swf, service, script) -> None:
    for inner in (service, script({"domainInfo": {}})):
        polls = Withdrawable(inner)
        polls.withdraw()
        polls.withdraw()
        assert polls.call("PollForActivityTask", POLL) == {"startedEventId": 0}
        assert "domainInfo" in polls.call("DescribeDomain", {"name": "d"})


def test_a_poll_that_finds_a_task_brings_it_and_a_refused_one_raises(swf, service) -> None:
    polls = Withdrawable(service)
    swf.start_workflow_execution(
        workflow_id="w", name="flow", version="1", task_list="t", execution_start_to_close=60, task_start_to_close=60
    )
    assert polls.call("PollForDecisionTask", POLL)["taskToken"]
    with pytest.raises(Fault, match="Unknown domain"):
        polls.call("PollForDecisionTask", {"domain": "nowhere", "taskList": {"name": "t"}})


class Submitting:
    """A transport whose polls are answered by hand."""

    def __init__(self, *, answered_first: bool = False) -> None:
        self.done: Any = None
        self.cancelled = 0
        self._answered_first = answered_first

    def call(self, operation: str, params: Any) -> dict[str, Any]:
        raise AssertionError

    def submit(self, operation: str, params: Any, done: Any) -> Submitting:
        self.done = done
        self.begin()
        return self

    def begin(self) -> None: ...

    def cancel(self) -> bool:
        self.cancelled += 1
        if self._answered_first:
            self.done({"taskToken": "t", "startedEventId": 3})
        return not self._answered_first


@pytest.mark.parametrize(("answered_first", "answer"), [(False, {"startedEventId": 0}), (True, {"taskToken": "t", "startedEventId": 3})])
def test_an_answer_that_is_on_its_way_wins_over_the_withdrawal(answered_first, answer) -> None:
    transport = Submitting(answered_first=answered_first)
    polls = Withdrawable(transport)
    transport.begin = polls.withdraw  # between the registration and the ticket
    assert polls.call("PollForActivityTask", POLL) == answer
    assert transport.cancelled == 1


def test_a_caller_who_is_interrupted_takes_the_poll_back(monkeypatch) -> None:
    transport = Submitting()
    polls = Withdrawable(transport)

    def interrupted(self: Any, timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        polls.call("PollForActivityTask", POLL)
    assert transport.cancelled == 1
