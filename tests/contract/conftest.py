"""One suite, every backend. A test takes `stage` and says by a mark where it can be played; without one it is played everywhere.

`@pytest.mark.stages("embedded", "server")` for what needs a history; `handles` for what needs a handle (everything but plain calls).
Engines are shared by the tests of a file; their ids are their own (`new_id`).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from contract_stage import Stage

import flowdsl.testing
from flowdsl import Local, Swf

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = ("plain", "local", "embedded", "server")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stages(*names): the backends that the scenario is played on (default: all of them)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stage" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("stages")
        names: list[object] = [name for name in ALL if mark is None or name in mark.args]
        if mark is None and os.environ.get("FLOWDSL_TEST_AWS") == "1":  # everything else needs an engine whose clock jumps
            names.append(pytest.param("aws", marks=pytest.mark.aws))
        metafunc.parametrize("stage", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The backend of this scenario."""
    clock = flowdsl.testing.SkippingClock()
    with ExitStack() as stack:
        if request.param == "plain":
            yield Stage("plain")
        elif request.param == "local":
            yield Stage("local", Local())
        elif request.param == "embedded":
            yield Stage("embedded", stack.enter_context(flowdsl.testing.embedded(clock=clock)), clock)
        elif request.param == "server":
            yield Stage("server", stack.enter_context(flowdsl.testing.server(clock=clock)), clock)
        else:
            yield Stage("aws", Swf())
