"""The engines of a test's worlds are closed with it: SQLite warns of connections that are left open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from replay_world import worlds


@pytest.fixture(autouse=True)
def closed_worlds() -> Iterator[None]:
    yield
    while worlds:
        worlds.pop().engine.close()
