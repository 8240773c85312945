"""Histories that were recorded once are replayed for ever: they stand for the executions that users have open when they upgrade."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recorded_flows import FOLDER, RECORDINGS, record
from replay_world import fed, make_values

from flowdsl.errors import ContinueAsNew
from flowdsl.model.history import History
from flowdsl.replay.replayer import Replayer


def load(name: str) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return recorded


def replayer(name: str, recorded: dict[str, Any]) -> Replayer:
    def never(*call: Any) -> Any:
        raise AssertionError(f"a recorded function ran again: {call}")

    return Replayer(RECORDINGS[name][0], workflow_id=name, run_id=recorded["runId"], values=make_values(), record=never)


def without_lines(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where the code stood, and what its tracebacks looked like, is the reader's; the rest is the replay's."""
    kept = json.loads(json.dumps(events))
    for event in kept:
        for given in event.values():
            if isinstance(given, dict):
                given.pop("control", None)
                if "reason" in given or given.get("details", "").startswith("fd1.failure"):
                    given.pop("details", None)
    whole: list[dict[str, Any]] = kept
    return whole


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_history_still_replays_to_what_it_ended_with(name: str) -> None:
    recorded = load(name)
    History.check(recorded["events"])
    whole = fed(replayer(name, recorded), [recorded["events"]])
    assert not whole.outbox
    promise = whole.main.promise  # type: ignore[union-attr]
    if recorded["events"][-1]["eventType"] == "WorkflowExecutionContinuedAsNew":
        assert isinstance(promise.exception(), ContinueAsNew)
    else:
        assert promise.result() == recorded["events"][-1]["workflowExecutionCompletedEventAttributes"]["result"]


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_execution_could_be_taken_over_at_every_decision(name: str) -> None:
    recorded = load(name)
    events = recorded["events"]
    for started in recorded["decided"]:
        late = replayer(name, recorded)
        late.record = lambda target, args, kwargs, instance: target.invoke(args, kwargs, instance)
        try:
            late.feed(events[:started])
            decided = late.decisions()
        finally:
            late.close()
        completed = next(e["eventId"] for e in events[started:] if e["eventType"] == "DecisionTaskCompleted")
        taken = [e for e in events if _batch(e) == completed and not _later_failure(e)]
        assert len(decided) == len(taken), [d["decisionType"] for d in decided]


def _batch(event: dict[str, Any]) -> int | None:
    given = next((value for name, value in event.items() if name.endswith("EventAttributes")), {})
    batch: int | None = given.get("decisionTaskCompletedEventId")
    return batch


def _later_failure(event: dict[str, Any]) -> bool:
    given = next(value for name, value in event.items() if name.endswith("EventAttributes"))
    return event["eventType"].endswith("Failed") and bool(given.get("initiatedEventId"))


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_is_recorded_today_is_what_was_recorded_then(name: str) -> None:
    """The same steps make the same history to the letter: also what nobody's replay would notice stays as it is."""
    assert without_lines(record(name)["events"]) == without_lines(load(name)["events"])


def test_every_recording_has_its_file_and_every_file_its_recording() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(RECORDINGS)
