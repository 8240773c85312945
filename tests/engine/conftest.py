"""Makes `engine_kit` importable (with importlib's import mode the folder of a test is not on the path), and judges every answer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engine_kit import Swf
from judge import judge

from flowdsl.engine import Engine


@pytest.fixture(autouse=True)
def _every_answer_is_judged(monkeypatch):
    """Whatever an engine of these tests answers fits botocore's model, comes over the wire, and says only true things of events."""
    apply = Engine.apply

    def judged(self, now_ms, operation, params, **more):
        answer = apply(self, now_ms, operation, params, **more)
        judge(operation, answer)
        return answer

    monkeypatch.setattr(Engine, "apply", judged)


@pytest.fixture
def swf(tmp_path):
    """An engine on a file, with one domain and types that have all defaults; every history is checked at the end."""
    driver = Swf(tmp_path / "engine.db")
    driver.prepare()
    yield driver
    driver.check_all()
    driver.engine.close()
