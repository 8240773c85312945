"""Histories recorded on Amazon SWF: fed with their external inputs, the engine writes them again, event by event."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engine_replay import Replay, comparable

HISTORIES = Path(__file__).parents[2] / "../shared/swf/histories"
FILES = sorted(HISTORIES.glob("*.json")) if HISTORIES.is_dir() else []


@pytest.mark.skipif(not FILES, reason="the recorded histories are not here")
def test_there_are_recordings_of_every_source():
    assert {path.name.split("-")[0] for path in FILES} >= {"simpleflow", "fsdecider", "elife", "waterflow", "garcon", "boto2", "awsdocs"}


#: what the engine does not write as it was recorded: recording -> events whose time differs, and why
DIFFERENT_TIMES = {
    # until January 2012 the events of a batch of decisions were 12 ms later than the DecisionTaskCompleted before them; since then they
    # have been one transaction with one time, which every recording of later years shows
    "awsdocs-three-timeouts-2012-01-15": {8},
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_engine_writes_the_recorded_history_again(path):
    recording = json.loads(path.read_text())
    replay = Replay(recording)
    try:
        history = replay.run()
    finally:
        replay.swf.engine.close()
    other_times = DIFFERENT_TIMES.get(path.stem, set())

    def shown(events):
        found = [comparable(event, timed=replay.timed) for event in events]
        return [{**event, "eventTimestamp": None} if event["eventId"] in other_times else event for event in found]

    assert shown(history) == shown(replay.events)
