"""One suite, every backend.

A test takes `stage`; `@pytest.mark.stages(*DURABLE)` says where it can be played, else it is played everywhere.

`plain` calls the workflow as a function, `local` runs it in this process, `embedded` on the engine, `replayed` on the engine with a decider
that keeps nothing (every decision is made from the beginning of the history), `server` over HTTP through unmodified boto3.
The tests of a file share an engine; their ids are their own (`new_id`). On the engines time jumps.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from contract_stage import Stage

import flowdsl.testing
from flowdsl import Local, Swf
from flowdsl.workers.decider import Decider

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = ("plain", "local", "embedded", "replayed", "server")


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
    with opened(request.param) as one:
        yield one


@pytest.fixture
def own_stage(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Stage]:
    """The same backend with an engine of its own, for what would disturb others."""
    with opened(stage.name) as one:
        yield one


@contextmanager
def opened(name: str) -> Iterator[Stage]:
    """A stage, for as long as the block runs."""
    clock = flowdsl.testing.SkippingClock()
    with ExitStack() as stack:
        if name == "plain":
            yield Stage("plain")
        elif name == "local":
            yield Stage("local", Local())
        elif name == "aws":
            yield Stage("aws", Swf())
        elif name == "server":
            yield Stage("server", stack.enter_context(flowdsl.testing.server(clock=clock)), clock)
        else:
            if name == "replayed":
                stack.enter_context(pytest.MonkeyPatch.context()).setitem(Decider.__init__.__kwdefaults__, "kept", 0)
            yield Stage(name, stack.enter_context(flowdsl.testing.embedded(clock=clock)), clock)
