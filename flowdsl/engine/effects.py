"""What one execution does to another: children, signals, cancel requests, the news of a close; and lambda tasks.

Rule 1: an effect is written in the transaction that causes it and delivered later, in a transaction of its own that changes one
        execution: the service works so, with 15 to 90 ms between (seen in recorded histories). `tick` delivers; here they are due at once.
Rule 2: delivering deletes the effect in the transaction that does its work, so it happens exactly once, whenever the process dies.
        An acknowledgement to the sender is an effect of its own.
Rule 3: effects are delivered in the order in which they were caused.
Rule 4: effects of an execution that has closed meanwhile are still delivered; only what would be written to it is dropped.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from flowdsl.engine.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowdsl.engine.execution import Execution
    from flowdsl.engine.store import Store
    from flowdsl.engine.world import World

Body = dict[str, Any]


class Effects:
    """The queue of effects still to be delivered."""

    __slots__ = ("_queue", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: deque[tuple[int, int, str, str]] = deque()

    def load(self) -> None:
        """Read the queue from the file."""
        self._queue = deque(self._store.all("SELECT id, due, kind, body FROM effects ORDER BY id"))

    def add(self, due: int, kind: str, body: Body) -> None:
        """Queue an effect, in the transaction that causes it."""
        text = encode(body)
        number = self._store.write("INSERT INTO effects (due, kind, body) VALUES (?, ?, ?)", (due, kind, text))
        self._queue.append((number, due, kind, text))

    @property
    def due(self) -> int | None:
        """When the first one is due."""
        return self._queue[0][1] if self._queue else None

    def take(self) -> tuple[str, Body]:
        """Remove the first one, in the transaction that delivers it."""
        number, _, kind, text = self._queue.popleft()
        self._store.write("DELETE FROM effects WHERE id = ?", (number,))
        return kind, decode(text)


# --- caused by a close ----------------------------------------------------------------------------------------------

#: what the parent is told, by the child's close status: the event, and the members it takes over from the child's closing event
_OUTCOMES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "COMPLETED": ("ChildWorkflowExecutionCompleted", ("result",)),
    "FAILED": ("ChildWorkflowExecutionFailed", ("reason", "details")),
    "CANCELED": ("ChildWorkflowExecutionCanceled", ("details",)),
    "TIMED_OUT": ("ChildWorkflowExecutionTimedOut", ("timeoutType",)),
    "TERMINATED": ("ChildWorkflowExecutionTerminated", ()),
}


def effects_of_close(execution: Execution) -> list[tuple[str, Body]]:
    """The news for the parent (none when the run continues as new), and the child policy for each open child.

    The policy applied is the closing parent's own, on every close: the service applies it on normal completion too (recorded).
    A child whose start is not acknowledged yet is met when that acknowledgement finds the parent closed.
    """
    effects: list[tuple[str, Body]] = []
    config = execution.config
    parent = config.get("parentWorkflowExecution")
    outcome = _OUTCOMES.get(execution.status or "")
    if parent and outcome is not None:
        event_type, members = outcome
        closing = decode(execution.tail[-1][3])
        news = {
            "workflowExecution": execution.execution,
            "workflowType": config["workflowType"],
            **{name: closing[name] for name in members if name in closing},
            "initiatedEventId": config["parentInitiatedEventId"],
        }
        effects.append(("child_closed", {"domain": execution.domain, "parent": parent, "event": event_type, "attributes": news}))
    effects += [
        ("child_policy", policy_body(execution.domain, execution.execution, child.initiated_id, child.workflow_id, execution.close_policy))
        for child in execution.children.values()
        if child.started_id and execution.close_policy != "ABANDON"
    ]
    return effects


def policy_body(domain: str, parent: dict[str, str], initiated: int, workflow_id: str, policy: str) -> Body:
    """The body of a `child_policy` effect."""
    return {"domain": domain, "parent": parent, "initiated": initiated, "workflowId": workflow_id, "policy": policy}


def link(execution: Execution, initiated: int) -> Body:
    """What an effect must know of the execution that causes it."""
    return {"domain": execution.domain, "key": execution.key, "from": execution.execution, "initiated": initiated}


# --- delivering -----------------------------------------------------------------------------------------------------


_UNKNOWN = "UNKNOWN_EXTERNAL_WORKFLOW_EXECUTION"


def deliver(world: World, now: int) -> None:
    """Deliver the first effect; the caller commits."""
    kind, body = world.effects.take()
    _DELIVER[kind](world, now, body)


def _append(world: World, now: int, execution: Execution | None, event_type: str, attributes: Mapping[str, Any]) -> bool:
    """One event in a transaction of its own; False if the execution is no longer open."""
    if execution is None:
        return False
    world.runs.begin(execution, now)
    execution.append(event_type, attributes)
    world.runs.save(execution)
    return True


def _start_child(world: World, now: int, body: Body) -> None:
    initiated = body["attributes"]
    workflow_id = initiated["workflowId"]
    if world.runs.find_open(body["domain"], workflow_id, None) is not None:
        _fail_initiator(world, now, body, "StartChildWorkflowExecutionFailed", cause="WORKFLOW_ALREADY_RUNNING", also="workflowType")
        return
    started = {
        name: initiated.get(name)
        for name in (
            "input", "executionStartToCloseTimeout", "taskStartToCloseTimeout", "childPolicy", "taskList", "taskPriority",
            "workflowType", "tagList", "lambdaRole",
        )
    }  # fmt: skip
    started |= {"parentWorkflowExecution": body["from"], "parentInitiatedEventId": body["initiated"]}
    child = world.runs.create(now, body["domain"], workflow_id, world.new_run_id(), started)
    told = {"child": child.execution, "type": initiated["workflowType"]}
    world.effects.add(child.now, "child_started", {name: body[name] for name in ("domain", "key", "from", "initiated")} | told)


def _child_started(world: World, now: int, body: Body) -> None:
    parent = world.runs.get(body["key"])
    attributes = {"workflowExecution": body["child"], "workflowType": body["type"], "initiatedEventId": body["initiated"]}
    if _append(world, now, parent, "ChildWorkflowExecutionStarted", attributes):
        return
    row = world.store.one("SELECT ending FROM executions WHERE id = ?", (body["key"],))
    policy = decode(row[0])["childPolicy"] if row is not None else "ABANDON"
    if policy != "ABANDON":
        _child_policy(world, now, policy_body(body["domain"], body["from"], body["initiated"], body["child"]["workflowId"], policy))


def _child_closed(world: World, now: int, body: Body) -> None:
    parent = world.runs.find_open(body["domain"], body["parent"]["workflowId"], body["parent"]["runId"])
    child = None if parent is None else parent.children.get(body["attributes"]["initiatedEventId"])
    if child is not None:
        _append(world, now, parent, body["event"], {**body["attributes"], "startedEventId": child.started_id})


def _child_policy(world: World, now: int, body: Body) -> None:
    child = world.runs.find_open(body["domain"], body["workflowId"], None)
    if child is None:
        return
    config = child.config
    if config.get("parentWorkflowExecution") != body["parent"] or config["parentInitiatedEventId"] != body["initiated"]:
        return  # the workflow id belongs to somebody else by now
    if body["policy"] == "TERMINATE":
        event = "WorkflowExecutionTerminated", {"cause": "CHILD_POLICY_APPLIED", "childPolicy": config["childPolicy"]}
        _append(world, now, child, *event)
        return
    world.runs.mark_cancel_requested(child)
    attributes = {"cause": "CHILD_POLICY_APPLIED", "externalWorkflowExecution": body["parent"], "externalInitiatedEventId": 0}
    _append(world, now, child, "WorkflowExecutionCancelRequested", attributes)


def _signal(world: World, now: int, body: Body) -> None:
    initiated = body["attributes"]
    target = world.runs.find_open(body["domain"], initiated["workflowId"], initiated.get("runId"))
    if target is None:
        _fail_initiator(world, now, body, "SignalExternalWorkflowExecutionFailed", cause=_UNKNOWN, also="runId")
        return
    attributes = {
        "signalName": initiated["signalName"], "input": initiated.get("input"),
        "externalWorkflowExecution": body["from"], "externalInitiatedEventId": body["initiated"],
    }  # fmt: skip
    _append(world, now, target, "WorkflowExecutionSignaled", attributes)
    world.effects.add(target.now, "delivered", _acknowledgement(body, target, "ExternalWorkflowExecutionSignaled"))


def _cancel(world: World, now: int, body: Body) -> None:
    initiated = body["attributes"]
    target = world.runs.find_open(body["domain"], initiated["workflowId"], initiated.get("runId"))
    if target is None:
        failed = "RequestCancelExternalWorkflowExecutionFailed"
        _fail_initiator(world, now, body, failed, cause=_UNKNOWN, also="runId")
        return
    world.runs.mark_cancel_requested(target)
    attributes = {"externalWorkflowExecution": body["from"], "externalInitiatedEventId": body["initiated"]}
    _append(world, now, target, "WorkflowExecutionCancelRequested", attributes)
    world.effects.add(target.now, "delivered", _acknowledgement(body, target, "ExternalWorkflowExecutionCancelRequested"))


def _not_sent(world: World, now: int, body: Body) -> None:
    _fail_initiator(world, now, body, body["event"], cause=body["cause"], also="runId")


def _acknowledgement(body: Body, target: Execution, event_type: str) -> Body:
    return {"key": body["key"], "event": event_type, "execution": target.execution, "initiated": body["initiated"]}


def _delivered(world: World, now: int, body: Body) -> None:
    attributes = {"workflowExecution": body["execution"], "initiatedEventId": body["initiated"]}
    _append(world, now, world.runs.get(body["key"]), body["event"], attributes)


def _fail_initiator(world: World, now: int, body: Body, event_type: str, *, cause: str, also: str) -> None:
    initiated = body["attributes"]
    copied = ("workflowId", "decisionTaskCompletedEventId", "control", also)
    attributes = {name: initiated.get(name) for name in copied} | {"cause": cause, "initiatedEventId": body["initiated"]}
    _append(world, now, world.runs.get(body["key"]), event_type, attributes)


def _lambda(world: World, now: int, body: Body) -> None:
    """Start a lambda task; whoever serves the engine then calls the function. Without a role it cannot be started (recorded)."""
    execution, scheduled = world.runs.get(body["key"]), body["initiated"]
    if execution is None or scheduled not in execution.lambdas:
        return
    if not execution.config.get("lambdaRole"):
        message = "No IAM role is attached to the current workflow execution."
        attributes = {"scheduledEventId": scheduled, "cause": "ASSUME_ROLE_FAILED", "message": message}
        _append(world, now, execution, "StartLambdaFunctionFailed", attributes)
        return
    _append(world, now, execution, "LambdaFunctionStarted", {"scheduledEventId": scheduled})


_DELIVER: Mapping[str, Callable[[Any, int, Body], None]] = {
    "start_child": _start_child,
    "child_started": _child_started,
    "child_closed": _child_closed,
    "child_policy": _child_policy,
    "signal": _signal,
    "cancel": _cancel,
    "delivered": _delivered,
    "not_sent": _not_sent,
    "lambda": _lambda,
}
