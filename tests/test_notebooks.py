"""The notebooks run from their first cell to their last, in a real kernel, and show what their text says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install 'flowdsl[test]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'flowdsl[test]'")
pytest.importorskip("ipykernel", reason="there is no kernel to run notebooks with: pip install 'flowdsl[test]'")

# The kernel's client warns of its own libraries' plans; what the notebook's code warns of is in the kernel, not here.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]


def shown(cell: Any) -> str:
    """What a cell shows: what it printed, then its value as text."""
    texts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.get("outputs", ())]
    return "".join(texts).strip()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each cell of the quickstart shows, by the cell's id. A cell that raises fails everything here, with its traceback."""
    notebook = nbformat.read(NOTEBOOKS / "quickstart.ipynb", as_version=4)
    folder = tmp_path_factory.mktemp("quickstart")
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    return {cell["id"]: shown(cell) for cell in notebook.cells if cell.cell_type == "code"}


def test_a_plain_call_and_a_local_run_give_the_value(quickstart: dict[str, str]) -> None:
    assert quickstart["plain-call"] == "4.0"
    assert quickstart["run-local"] == "15.5"


def test_the_embedded_engine_runs_inside_the_kernels_event_loop(quickstart: dict[str, str]) -> None:
    assert quickstart["run-embedded"] == "49.44"


def test_a_cell_that_was_changed_and_run_again_replaces_the_definition(quickstart: dict[str, str]) -> None:
    assert quickstart["redefine"] == ""
    assert quickstart["rerun"] == "50.56"


def test_a_signal_from_another_cell_reaches_the_waiting_execution(quickstart: dict[str, str]) -> None:
    assert quickstart["start"] == "'OPEN'"
    assert quickstart["result"] == "'34.00, approved by ann'"


def test_the_history_tells_what_happened(quickstart: dict[str, str]) -> None:
    lines = quickstart["history"].splitlines()
    assert lines[0] == "1 WorkflowExecutionStarted"
    assert lines[-1].endswith("WorkflowExecutionCompleted")
    assert any("ChildWorkflowExecutionCompleted" in line for line in lines)
    assert any("WorkflowExecutionSignaled" in line for line in lines)


def test_an_exception_of_an_activity_arrives_as_itself(quickstart: dict[str, str]) -> None:
    assert quickstart["error"] == "no such article: 'spoon' | WorkflowFailed"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_stored_without_results(path: Path) -> None:
    # Results are the reader's own; stored ones are stale the day after, and make every diff unreadable.
    notebook = nbformat.read(path, as_version=4)
    assert not [cell["id"] for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
