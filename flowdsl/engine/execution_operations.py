"""The operations on executions: start, signal, cancel request, terminate, describe, history.

Rule 1: a start is refused in this order: domain, type, deprecation, missing defaults, an open run of the id, quotas.
Rule 2: signals and cancel requests are recorded each time they are sent; they are not idempotent (API reference).
Rule 3: describe and history work for open runs and for closed ones until their retention ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowdsl.engine.catalogue import DEPRECATED, Type
from flowdsl.engine.codec import decode, encode
from flowdsl.engine.faults import already_started, default_undefined, domain_deprecated, limit_exceeded, type_deprecated, unknown_run
from flowdsl.engine.history import Page, page_size, read_events
from flowdsl.engine.runs import describe_ending
from flowdsl.engine.visibility import INFO_COLUMNS, execution_info

if TYPE_CHECKING:
    from flowdsl.engine.execution import Execution
    from flowdsl.engine.world import Operation, World

Params = Mapping[str, Any]
Answer = dict[str, Any]

#: (member, the type's default), in the order in which a missing one is reported
_NEEDED = (
    ("executionStartToCloseTimeout", "defaultExecutionStartToCloseTimeout"),
    ("taskList", "defaultTaskList"),
    ("taskStartToCloseTimeout", "defaultTaskStartToCloseTimeout"),
    ("childPolicy", "defaultChildPolicy"),
)
_OPTIONAL = (("taskPriority", "defaultTaskPriority"), ("lambdaRole", "defaultLambdaRole"))


def _start(world: World, now: int, p: Params) -> Answer:
    domain = world.catalogue.domain(p["domain"])
    if domain.status == DEPRECATED:
        raise domain_deprecated(domain.name)
    kind = world.catalogue.type(domain.name, "workflow", p["workflowType"]["name"], p["workflowType"]["version"])
    if kind.status == DEPRECATED:
        raise type_deprecated("workflow", kind.name, kind.version)
    resolved = _resolve(p, kind)
    if world.runs.find_open(domain.name, p["workflowId"], None) is not None:
        raise already_started()
    if world.runs.open_count.get(domain.name, 0) >= world.quotas.open_executions:
        raise limit_exceeded("Too many open executions")
    run_id = world.new_run_id()
    attributes = {
        **resolved,
        "input": p.get("input"),
        "workflowType": {"name": kind.name, "version": kind.version},
        "tagList": p.get("tagList") or None,
        "parentInitiatedEventId": 0,
    }
    world.runs.create(now, domain.name, p["workflowId"], run_id, attributes)
    return {"runId": run_id}


def _resolve(p: Params, kind: Type) -> dict[str, Any]:
    resolved = {}
    for member, default in _NEEDED:
        value = p.get(member) or kind.defaults.get(default)
        if not value:
            raise default_undefined(member)
        resolved[member] = value
    for member, default in _OPTIONAL:
        resolved[member] = p.get(member) or kind.defaults.get(default)
    return resolved


def _append(world: World, now: int, execution: Execution, event_type: str, attributes: dict[str, Any]) -> Answer:
    world.runs.begin(execution, now)
    execution.append(event_type, attributes)
    world.runs.save(execution)
    return {}


def _signal(world: World, now: int, p: Params) -> Answer:
    execution = world.runs.open(p["domain"], p["workflowId"], p.get("runId"))
    attributes = {"signalName": p["signalName"], "input": p.get("input"), "externalInitiatedEventId": 0}
    return _append(world, now, execution, "WorkflowExecutionSignaled", attributes)


def _request_cancel(world: World, now: int, p: Params) -> Answer:
    execution = world.runs.open(p["domain"], p["workflowId"], p.get("runId"))
    world.runs.mark_cancel_requested(execution)
    return _append(world, now, execution, "WorkflowExecutionCancelRequested", {"externalInitiatedEventId": 0})


def _terminate(world: World, now: int, p: Params) -> Answer:
    execution = world.runs.open(p["domain"], p["workflowId"], p.get("runId"))
    policy = p.get("childPolicy") or execution.config["childPolicy"]
    attributes = {"reason": p.get("reason"), "details": p.get("details"), "childPolicy": policy, "cause": "OPERATOR_INITIATED"}
    return _append(world, now, execution, "WorkflowExecutionTerminated", attributes)


def _describe(world: World, now: int, p: Params) -> Answer:
    named = p["execution"]
    key = world.runs.key_of(p["domain"], named["workflowId"], named["runId"])
    row = world.store.one(f"SELECT {INFO_COLUMNS}, ending FROM executions WHERE id = ?", (key,))
    if row is None:
        raise unknown_run(named["workflowId"], named["runId"])
    execution = world.runs.get(key)
    ending = decode(row[-1]) if execution is None else describe_ending(execution)
    answer: Answer = {
        "executionInfo": execution_info(row[:-1]),
        "executionConfiguration": ending["configuration"],
        "openCounts": ending["counts"],
    }
    if ending["latestActivity"] is not None:
        answer["latestActivityTaskTimestamp"] = ending["latestActivity"] / 1000
    if ending["context"] is not None:
        answer["latestExecutionContext"] = ending["context"]
    return answer


def _history(world: World, now: int, p: Params) -> Answer:
    named, reverse = p["execution"], bool(p.get("reverseOrder"))
    key = world.runs.key_of(p["domain"], named["workflowId"], named["runId"])
    execution = world.runs.get(key)
    (last,) = world.store.one("SELECT max(id) FROM events WHERE execution = ?", (key,))
    use = "GetWorkflowExecutionHistory " + encode([key, reverse])
    at = last if reverse else 1
    if p.get("nextPageToken"):
        at = world.tokens.read_page(use, p["nextPageToken"], now)
    events, beyond = read_events(world, key, execution, Page(1, last, at, page_size(p), reverse))
    answer: Answer = {"events": events}
    if beyond is not None:
        answer["nextPageToken"] = world.tokens.page(use, beyond, now)
    return answer


OPERATIONS: Mapping[str, Operation] = {
    "StartWorkflowExecution": _start,
    "SignalWorkflowExecution": _signal,
    "RequestCancelWorkflowExecution": _request_cancel,
    "TerminateWorkflowExecution": _terminate,
    "DescribeWorkflowExecution": _describe,
    "GetWorkflowExecutionHistory": _history,
}
