"""mypy (strict) and pyright accept `accepted.py` whole, and refuse the marked lines of `refused.py` and no others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def mypy(path):
    """The lines with errors, as mypy sees them."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--no-error-summary", "--hide-error-context", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r"(.+?):(\d+): error: (.*)", line)
        if match:
            found.setdefault((Path(match[1]).name, int(match[2])), match[3])
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return found


def pyright(path):
    """The lines with errors, as pyright sees them."""
    pytest.importorskip("pyright", reason="pyright is not installed")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if not done.stdout.lstrip().startswith("{"):
        pytest.skip(f"pyright cannot run here: {(done.stderr or done.stdout).strip()[-200:]}")
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    errors = [one for one in report["generalDiagnostics"] if one["severity"] == "error"]
    return {(Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"] for one in errors}


CHECKERS = {"mypy": mypy, "pyright": pyright}


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_decorated_functions_keep_their_types(checker):
    assert CHECKERS[checker](HERE / "accepted.py") == {}


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_calls_are_refused_and_only_these(checker):
    lines = (HERE / "refused.py").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if checker in line.partition("# refused:")[2].split()}
    found = CHECKERS[checker](HERE / "refused.py")
    assert {file for file, _ in found} == {"refused.py"}
    refused = {number for _, number in found}
    assert {n: lines[n - 1] for n in sorted(marked - refused)} == {}, "accepted, but should be refused"
    assert {n: found["refused.py", n] for n in sorted(refused - marked)} == {}, "refused, but should be accepted"
