"""What holds for every test: no account, no home folder, no surroundings of the developer."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Machines differ in speed and tests assert no times, so a slow example is not a failure. In CI the verdict on a change is the same each
# time it is asked for; everywhere else every run looks at new examples.
settings.register_profile(
    "flowdsl", deadline=None, print_blob=True, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "flowdsl"))

_shadows: list[int] = []

# The one variable that is for tests; every other one is the developer's and is hidden from them.
KEPT = {"FLOWDSL_TEST_AWS"}


@pytest.fixture(autouse=True, scope="session")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the developer's configuration and credentials; put what flowdsl keeps for a user into a temporary folder."""
    state: Path = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("FLOWDSL_") and name not in KEPT]:
            patch.delenv(name)
        patch.setenv("XDG_STATE_HOME", str(state))
        patch.setenv("FLOWDSL_SHADOW_EVERY", "1")  # every continued decision is compared with a replay of the whole history
        if os.environ.get("FLOWDSL_TEST_AWS") != "1":
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            patch.setenv("AWS_ACCESS_KEY_ID", "flowdsl")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "flowdsl")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            # Files that do not exist: botocore must not find the developer's profiles.
            patch.setenv("AWS_CONFIG_FILE", str(state / "aws-config"))
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(state / "aws-credentials"))
        yield


@pytest.fixture(autouse=True)
def kept_and_fresh_agree() -> Iterator[None]:
    """No decider may decide from its cache what a replay of the whole history does not (`flowdsl.workers.shadow`)."""
    shadow = sys.modules.get("flowdsl.workers.shadow")
    before = 0 if shadow is None else shadow.COUNTS.differed
    yield
    shadow = sys.modules.get("flowdsl.workers.shadow")
    if shadow is not None:
        assert shadow.COUNTS.differed == before


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell how many decisions were compared, to xdist's controller if there is one."""
    shadow = sys.modules.get("flowdsl.workers.shadow")
    if shadow is not None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["shadows"] = shadow.COUNTS.agreed
        else:
            _shadows.append(shadow.COUNTS.agreed)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of xdist's processes has ended."""
    _shadows.append(getattr(node, "workeroutput", {}).get("shadows", 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many scenarios of the contract suite were played on each backend.

    It stands here because xdist's controller, which writes the summary, reads no other conftest.
    """
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, []) if report.when == "call"]
    order = ["plain", "local", "embedded", "replayed", "server", "aws"]
    played = re.compile(rf"tests/contract/.*\[(?:.*-)?({'|'.join(order)})(?:-.*)?\]$")
    if sum(_shadows):
        terminalreporter.write_line(f"shadow replays: {sum(_shadows):,} decisions of kept executions agreed with their whole history")
    names = [played.search(report.nodeid) for report in reports]
    counts = Counter(name[1] for name in names if name is not None)
    if counts:
        terminalreporter.write_line(
            "contract: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: order.index(item[0])))
        )
