"""Makes `engine_kit` importable: with importlib's import mode the folder of a test is not on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engine_kit import Swf


@pytest.fixture
def swf(tmp_path):
    """An engine on a file, with one domain and types that have all defaults; every history is checked at the end."""
    driver = Swf(tmp_path / "engine.db")
    driver.prepare()
    yield driver
    driver.check_all()
    driver.engine.close()
