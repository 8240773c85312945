"""The names that users import, from one place; the list below is the manual's, and this test keeps both true."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import flowdsl

DOCS = Path(__file__).resolve().parents[1] / "docs"

DECORATORS = ["workflow", "activity", "cached", "nondeterministic", "timer", "signal"]
PROMISES = ["Promise", "gather", "first", "as_completed", "spawn", "wait_until"]
INSIDE_A_WORKFLOW = ["sleep", "sleep_until", "now", "info", "continue_as_new", "publish", "mark", "logger"]
INSIDE_AN_ACTIVITY = ["heartbeat", "info", "RetryAfter", "NonRetryable"]
RUNNING = ["run", "start", "attach", "executions", "Execution", "Worker", "Local", "Embedded", "Swf", "Retry"]
ERRORS = [
    "FlowError", "DefinitionError", "NotSerializable", "NonDeterminism", "LimitExceeded",
    "ActivityFailed", "ActivityTimedOut", "ChildFailed", "Cancelled", "WorkflowFailed", "WorkflowTimedOut", "WorkflowTerminated",
    "RemoteError", "Fault", "InternalError",
]  # fmt: skip
NAMES = sorted({*DECORATORS, *PROMISES, *INSIDE_A_WORKFLOW, *INSIDE_AN_ACTIVITY, *RUNNING, *ERRORS})


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_can_be_imported_from_flowdsl(name: str) -> None:
    assert hasattr(flowdsl, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_exported_and_listed(name: str) -> None:
    assert name in flowdsl.__all__
    assert name in dir(flowdsl)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "logger"])
def test_a_public_name_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(flowdsl, name))


@pytest.mark.parametrize("name", sorted({*NAMES, *flowdsl.__all__}))
def test_a_public_name_is_in_the_reference(name: str) -> None:
    manual = (DOCS / "language.md").read_text(encoding="utf-8") + (DOCS / "errors.md").read_text(encoding="utf-8")
    assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", manual)


def test_everything_that_is_exported_exists() -> None:
    assert not [name for name in flowdsl.__all__ if not hasattr(flowdsl, name)]


def test_cached_and_nondeterministic_are_the_same_decorator() -> None:
    assert flowdsl.nondeterministic is flowdsl.cached


def test_the_version_is_the_projects() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", flowdsl.__version__)


def test_an_unknown_name_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="actvity"):
        flowdsl.actvity
