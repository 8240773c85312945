"""Recorded histories of the real service, and a builder of short ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowdsl.model.lifecycle import attributes_key

RECORDED = Path(__file__).parents[2] / "../shared/swf/histories"
MODEL = Path(__file__).parents[2] / "../shared/swf/model.json"

Event = dict[str, Any]


def _load(path: Path) -> list[Event]:
    events: list[Event] = json.loads(path.read_text(encoding="utf-8"))["events"]
    if events[0]["eventId"] == 2:
        # One sample of AWS's manual shows the second page of its history only; the first event is on the page it leaves out.
        events.insert(0, {"eventId": 1, "eventType": "WorkflowExecutionStarted", "workflowExecutionStartedEventAttributes": {}})
    return events


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`recorded`: one test per recorded history."""
    if "recorded" in metafunc.fixturenames:
        paths = sorted(RECORDED.glob("*.json"))
        missing = pytest.param([], id="none", marks=pytest.mark.skip(reason="the recorded histories are not here"))
        metafunc.parametrize("recorded", [pytest.param(_load(path), id=path.stem) for path in paths] or [missing])


@pytest.fixture(scope="session")
def all_recorded() -> list[list[Event]]:
    paths = sorted(RECORDED.glob("*.json"))
    if not paths:
        pytest.skip("the recorded histories are not here")
    return [_load(path) for path in paths]


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    """What was found out about events and decisions beside botocore's model, each with its evidence."""
    if not MODEL.is_file():
        pytest.skip("the reference of events and decisions is not here")
    found: dict[str, Any] = json.loads(MODEL.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def story() -> Callable[..., list[Event]]:
    """`story("TimerStarted timerId=t", …)`: events numbered from 1; a value of digits is an event id."""

    def tell(*lines: str, first: int = 1) -> list[Event]:
        events = []
        for event_id, line in enumerate(lines, first):
            event_type, *pairs = line.split()
            given = {name: int(value) if value.isdecimal() else value for name, value in (pair.split("=", 1) for pair in pairs)}
            events.append({"eventId": event_id, "eventType": event_type, attributes_key(event_type): given})
        return events

    return tell
