"""Histories recorded on Amazon SWF: fed with their external inputs, the engine writes them again, event by event."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engine_replay import NotFeasible, Replay, comparable

HISTORIES = Path(__file__).parents[2] / "../shared/swf/histories"
FILES = sorted(HISTORIES.glob("*.json")) if HISTORIES.is_dir() else []


@pytest.mark.skipif(not FILES, reason="the recorded histories are not here")
def test_there_are_recordings_of_every_source():
    assert {path.name.split("-")[0] for path in FILES} >= {"simpleflow", "fsdecider", "elife", "waterflow", "garcon", "boto2", "awsdocs"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_engine_writes_the_recorded_history_again(path):
    recording = json.loads(path.read_text())
    replay = Replay(recording)
    try:
        history = replay.run()
    except NotFeasible as reason:
        pytest.skip(str(reason))
    finally:
        replay.swf.engine.close()
    wanted = [comparable(event, timed=replay.timed) for event in recording["events"]]
    assert [comparable(event, timed=replay.timed) for event in history] == wanted
