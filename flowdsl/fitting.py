"""Does code fit a history? For `flowdsl replay` and `flowdsl upgrade`.

Rule 1: looking changes nothing: a recorded function whose outcome the history does not have is not run; the replay ends there, fitting.
Rule 2: the history is looked at to its end. What came after the latest decision task waits for the next one, so that one is made up: what
        the latest decisions asked for is compared as well.
Rule 3: an execution is moved by telling its old build's worker (`workers.builds` rule 4), and only where the replay agrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flowdsl.data.setup import default_converter
from flowdsl.data.values import Values
from flowdsl.errors import Control, DefinitionError, NonDeterminism
from flowdsl.model.carried import UPGRADE_SIGNAL
from flowdsl.model.lifecycle import EVENTS
from flowdsl.replay.replayer import Replayer
from flowdsl.workers.builds import list_of, moved_to

if TYPE_CHECKING:
    from flowdsl.lang.registry import Registry
    from flowdsl.service.swf import Swf


def misfit_of(registry: Registry, events: Sequence[dict[str, Any]], workflow_id: str, run_id: str) -> NonDeterminism | None:
    """How the code disagrees with the history; None if it does not. Raises `DefinitionError` if it has no such workflow."""
    kind = events[0]["workflowExecutionStartedEventAttributes"]["workflowType"]
    definition = registry.find("workflow", kind["name"], kind["version"])
    if definition is None:
        known = ", ".join(sorted(f"{d.name} ({d.version})" for d in registry if d.kind == "workflow")) or "none"
        raise DefinitionError(f"the code has no workflow {kind['name']!r}, version {kind['version']!r}. It has: {known}")
    values = Values(default_converter(None), "")
    replayer = Replayer(definition, workflow_id=workflow_id, run_id=run_id, values=values, record=_not_recorded, silent=True)
    try:
        replayer.feed([*events, *_next_turn(events)])
    except NonDeterminism as misfit:
        return misfit
    except _NotRecorded:
        return None
    finally:
        replayer.close()
    return None


def move_fitting(registry: Registry, swf: Swf, task_list: str, build: str) -> Iterator[tuple[str, str]]:
    """Move what is open on other builds of the task list and fits; gives each one's workflow id and `moved`, or why it stays."""
    for info in list(swf.list_open()):
        workflow_id, run_id = info["execution"]["workflowId"], info["execution"]["runId"]
        events = list(swf.history(workflow_id, run_id))
        current = _list_of(events)
        if not current.startswith(f"{task_list}.") or list_of(task_list, build) == current or moved_to(events) == build:
            continue
        try:
            misfit = misfit_of(registry, events, workflow_id, run_id)
        except DefinitionError as unknown:
            yield workflow_id, f"stays: {unknown}"
            continue
        if misfit is None:
            swf.signal(workflow_id, UPGRADE_SIGNAL, input=build)
        yield workflow_id, "moved" if misfit is None else f"stays: {misfit}"


def _next_turn(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The decision task that would come next; none if the execution is closed."""
    last = events[-1]
    if EVENTS[last["eventType"]].closes or last["eventType"] == "DecisionTaskStarted":
        return []
    about = {"scheduledEventId": last["eventId"]}
    event = {"eventId": last["eventId"] + 1, "eventType": "DecisionTaskStarted", "eventTimestamp": last["eventTimestamp"]}
    return [{**event, "decisionTaskStartedEventAttributes": about}]


def _list_of(events: Sequence[dict[str, Any]]) -> str:
    """Where the execution's decision tasks go: the last list that a decider named."""
    for event in reversed(events):
        if event["eventType"] == "DecisionTaskCompleted":
            named = event["decisionTaskCompletedEventAttributes"].get("taskList")
            if named:
                return str(named["name"])
    return str(events[0]["workflowExecutionStartedEventAttributes"]["taskList"]["name"])


class _NotRecorded(Control):
    """The history ends before a recorded function's outcome."""


def _not_recorded(target: Any, args: Any, kwargs: Any, instance: Any) -> Any:
    raise _NotRecorded(target.name)
