"""One execution, folded: everything the engine must know of it without reading its history again.

Rule 1: state changes by folding events and in no other way; the fold that rebuilds an execution from the file is the one that follows
        every event as it is written. What no event carries (heartbeats) is set from the agenda.
Rule 2: every event first passes the table of lives (`model/lifecycle.py`); a move that the table does not have is a bug of the engine
        and is refused before it is written.
Rule 3: at most one decision task waits and at most one is started; both may exist at once. A scheduling event that finds none waiting
        is followed by DecisionTaskScheduled in the same transaction, whether or not one is started (seen in recorded histories).
Rule 4: all events of a transaction have one timestamp, and timestamps never decrease within an execution.
Rule 5: `touched` names what changed on the agenda; writing the index rows is `runs.py`'s work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowdsl.engine.codec import decode, encode
from flowdsl.engine.open_work import ActivityTask, Child, DecisionTask, Lambda, Timer, milliseconds
from flowdsl.limits import LAMBDA_LONGEST, YEAR
from flowdsl.model.lifecycle import EVENTS, Lives, attributes_key

#: event type -> the member of the event that holds its attributes
_KEYS: Mapping[str, str] = {event_type: attributes_key(event_type) for event_type in EVENTS}

#: how much of an open execution's history stays in memory, in events and in characters
_TAIL_EVENTS, _TAIL_CHARACTERS = 6_000, 8_000_000

#: (id, milliseconds, type, attributes as JSON): an event as the file holds it
Row = tuple[int, int, str, str]

#: the events that close an execution, with the status they bring
CLOSE_STATUS: Mapping[str, str] = {event_type: row.closes for event_type, row in EVENTS.items() if row.closes}

#: the events that ask for a decision task: what happened outside the decider's batch, and what the batch could not do
SCHEDULING = frozenset(event_type for event_type, row in EVENTS.items() if row.schedules)

#: event type -> the members that the table of lives looks at; the rest (inputs, results) is not kept in memory for its sake
_LOOKED_AT: Mapping[str, tuple[str, ...]] = {
    event_type: tuple(filter(None, (row.named, *row.refers, "cause" if row.causes else ""))) for event_type, row in EVENTS.items()
}


def wire(row: Row) -> dict[str, Any]:
    """An event as the service's protocol shows it: a new value each time."""
    event_id, at, event_type, text = row
    return {"eventId": event_id, "eventTimestamp": at / 1000, "eventType": event_type, _KEYS[event_type]: decode(text)}


class Execution:
    """The folded state of one run. `key` is its row's id in the file; `now` the timestamp of the transaction that is being made."""

    __slots__ = (
        "activities",
        "activity_ids",
        "cancel_requested",
        "children",
        "close_policy",
        "closed",
        "config",
        "context",
        "domain",
        "fresh",
        "key",
        "lambdas",
        "last_at",
        "last_id",
        "latest_activity",
        "list",
        "lives",
        "needs_decision",
        "now",
        "override_wait",
        "previous_started",
        "run_id",
        "started",
        "started_at",
        "status",
        "tail",
        "tail_characters",
        "timer_ids",
        "timers",
        "touched",
        "waiting",
        "workflow_id",
    )

    def __init__(self, key: int, domain: str, workflow_id: str, run_id: str) -> None:
        self.key = key
        self.domain = domain
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.lives = Lives()
        #: the attributes of WorkflowExecutionStarted
        self.config: dict[str, Any] = {}
        self.started_at = 0
        self.last_id = 0
        self.last_at = 0
        self.now = 0
        self.status: str | None = None
        self.closed = 0
        #: the child policy that the close applied
        self.close_policy = ""
        #: where the next decision task is scheduled, and the schedule-to-start timeout of a temporary override
        self.list = ""
        self.override_wait: str | None = None
        self.waiting: DecisionTask | None = None
        self.started: DecisionTask | None = None
        self.previous_started = 0
        self.needs_decision = False
        self.activities: dict[int, ActivityTask] = {}
        self.activity_ids: dict[str, int] = {}
        self.timers: dict[int, Timer] = {}
        self.timer_ids: dict[str, int] = {}
        self.children: dict[int, Child] = {}
        self.lambdas: dict[int, Lambda] = {}
        self.cancel_requested = False
        self.context: str | None = None
        self.latest_activity: int | None = None
        self.tail: list[Row] = []
        self.tail_characters = 0
        self.fresh: list[tuple[int, int, int, str, str]] = []
        self.touched: dict[int, str] = {}

    @property
    def is_open(self) -> bool:
        """Whether anything can still happen to it."""
        return self.status is None

    @property
    def execution(self) -> dict[str, str]:
        """`{workflowId, runId}`, as events name an execution."""
        return {"workflowId": self.workflow_id, "runId": self.run_id}

    @property
    def due(self) -> int:
        """When the whole execution times out."""
        length = milliseconds(self.config.get("executionStartToCloseTimeout"))
        return self.started_at + (YEAR * 1000 if length is None else length)

    # --- writing

    def begin(self, now: int) -> None:
        """Begin a transaction at `now` (milliseconds): the one timestamp of all its events."""
        self.now = max(now, self.last_at)

    def append(self, event_type: str, attributes: Mapping[str, Any]) -> int:
        """Add one event and fold it; return its id. Members whose value is None are left out."""
        text = encode({name: value for name, value in attributes.items() if value is not None})
        event_id = self.last_id + 1
        self.fold((event_id, self.now, event_type, text))
        self.fresh.append((self.key, event_id, self.now, event_type, text))
        return event_id

    def schedule_decision(self) -> None:
        """Write DecisionTaskScheduled if this transaction calls for it: some event schedules, none is waiting, the execution is open."""
        if not self.needs_decision:
            return
        self.needs_decision = False
        if self.status is not None or self.waiting is not None:
            return
        self.append(
            "DecisionTaskScheduled",
            {
                "taskList": {"name": self.list},
                "taskPriority": self.config.get("taskPriority"),
                "startToCloseTimeout": self.config.get("taskStartToCloseTimeout"),
                "scheduleToStartTimeout": self.override_wait or "NONE",
            },
        )

    # --- folding

    def fold(self, row: Row) -> None:
        """Take one event into the state."""
        event_id, at, event_type, text = row
        attributes = decode(text)
        looked_at = {name: attributes[name] for name in _LOOKED_AT[event_type] if name in attributes}
        self.lives.apply({"eventId": event_id, "eventType": event_type, _KEYS[event_type]: looked_at})
        self.last_id, self.last_at = event_id, at
        self.tail.append(row)
        self.tail_characters += len(text)
        if len(self.tail) > _TAIL_EVENTS or self.tail_characters > _TAIL_CHARACTERS:
            self._shorten_tail()
        if event_type in SCHEDULING:
            self.needs_decision = True
        change = _CHANGES.get(event_type)
        if change is not None:
            change(self, event_id, at, attributes)
        elif event_type in CLOSE_STATUS:
            self.status, self.closed = CLOSE_STATUS[event_type], at
            # TerminateWorkflowExecution may override the policy; the one in ContinuedAsNew is the new run's
            self.close_policy = (attributes if event_type == "WorkflowExecutionTerminated" else self.config)["childPolicy"]

    def _shorten_tail(self) -> None:
        kept = self.tail[len(self.tail) // 2 :]
        self.tail, self.tail_characters = kept, sum(len(row[3]) for row in kept)

    def recent(self, first: int, last: int) -> list[Row] | None:
        """The events `first` to `last`, both included, if they are still in memory."""
        if not self.tail or self.tail[0][0] > first:
            return None
        offset = self.tail[0][0]
        return self.tail[first - offset : last - offset + 1]

    def counts(self) -> dict[str, int]:
        """`openCounts` of DescribeWorkflowExecution: a decision task counts while it waits, an activity until it closes (recorded)."""
        return {
            "openActivityTasks": len(self.activities),
            "openChildWorkflowExecutions": sum(1 for child in self.children.values() if child.started_id),
            "openDecisionTasks": 1 if self.waiting is not None else 0,
            "openLambdaFunctions": len(self.lambdas),
            "openTimers": len(self.timers),
        }


# --- what each event changes ----------------------------------------------------------------------------------------

Change = Callable[[Execution, int, int, dict[str, Any]], None]


def _execution_started(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    e.config = a
    e.started_at = at
    e.list = a["taskList"]["name"]
    e.touched[0] = "X"


def _cancel_requested(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    e.cancel_requested = True


def _decision_scheduled(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    e.waiting = DecisionTask(
        event_id, at, a["taskList"]["name"], int(a.get("taskPriority") or 0),
        milliseconds(a.get("scheduleToStartTimeout")), milliseconds(a.get("startToCloseTimeout")),
    )  # fmt: skip
    e.touched[event_id] = "D"


def _decision_started(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    task, e.waiting = e.waiting, None
    assert task is not None  # the table of lives has refused anything else
    task.started_id, task.started_at = event_id, at
    e.started = task
    e.touched[task.scheduled_id] = "D"


def _decision_completed(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    e.previous_started = a["startedEventId"]
    e.started = None
    e.context = a.get("executionContext", e.context)
    if "taskList" in a:
        wait = a.get("taskListScheduleToStartTimeout")
        e.list, e.override_wait = a["taskList"]["name"], None if milliseconds(wait) is None else wait
    e.touched[a["scheduledEventId"]] = "D"


def _decision_timed_out(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    if a["startedEventId"]:
        e.started = None
    else:
        e.waiting = None
    if e.override_wait is not None:
        e.list, e.override_wait = e.config["taskList"]["name"], None
    e.touched[a["scheduledEventId"]] = "D"


def _activity_scheduled(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    e.activities[event_id] = ActivityTask(event_id, at, a)
    e.activity_ids[a["activityId"]] = event_id
    e.latest_activity = at
    e.touched[event_id] = "A"


def _activity_started(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    task = e.activities[a["scheduledEventId"]]
    task.started_id, task.started_at = event_id, at
    e.latest_activity = at
    e.touched[task.scheduled_id] = "A"


def _activity_closed(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    task = e.activities.pop(a["scheduledEventId"])
    del e.activity_ids[task.activity_id]
    e.latest_activity = at
    e.touched[task.scheduled_id] = "A"


def _activity_cancel_requested(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    e.activities[e.activity_ids[a["activityId"]]].cancel_requested_id = event_id
    e.latest_activity = at


def _timer_started(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    e.timers[event_id] = Timer(a["timerId"], event_id, at, at + int(a["startToFireTimeout"]) * 1000)
    e.timer_ids[a["timerId"]] = event_id
    e.touched[event_id] = "T"


def _timer_closed(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    del e.timers[a["startedEventId"]]
    del e.timer_ids[a["timerId"]]
    e.touched[a["startedEventId"]] = "T"


def _child_initiated(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    e.children[event_id] = Child(event_id, a["workflowId"], a["workflowType"])


def _child_started(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    child = e.children[a["initiatedEventId"]]
    child.started_id, child.run_id = event_id, a["workflowExecution"]["runId"]


def _child_closed(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    e.children.pop(a["initiatedEventId"], None)  # 0 when the child was never initiated


def _lambda_scheduled(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    length = int(a.get("startToCloseTimeout") or LAMBDA_LONGEST) * 1000
    e.lambdas[event_id] = Lambda(event_id, a["id"], a["name"], a.get("input") or "{}", at, length)


def _lambda_started(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    task = e.lambdas[a["scheduledEventId"]]
    task.started_id, task.started_at = event_id, at
    e.touched[task.scheduled_id] = "L"


def _lambda_closed(e: Execution, event_id: int, at: int, a: dict[str, Any]) -> None:
    del e.lambdas[a["scheduledEventId"]]
    e.touched[a["scheduledEventId"]] = "L"


_CHANGES: Mapping[str, Change] = {
    "WorkflowExecutionStarted": _execution_started,
    "WorkflowExecutionCancelRequested": _cancel_requested,
    "DecisionTaskScheduled": _decision_scheduled,
    "DecisionTaskStarted": _decision_started,
    "DecisionTaskCompleted": _decision_completed,
    "DecisionTaskTimedOut": _decision_timed_out,
    "ActivityTaskScheduled": _activity_scheduled,
    "ActivityTaskStarted": _activity_started,
    "ActivityTaskCompleted": _activity_closed,
    "ActivityTaskFailed": _activity_closed,
    "ActivityTaskTimedOut": _activity_closed,
    "ActivityTaskCanceled": _activity_closed,
    "ActivityTaskCancelRequested": _activity_cancel_requested,
    "TimerStarted": _timer_started,
    "TimerFired": _timer_closed,
    "TimerCanceled": _timer_closed,
    "StartChildWorkflowExecutionInitiated": _child_initiated,
    "StartChildWorkflowExecutionFailed": _child_closed,
    "ChildWorkflowExecutionStarted": _child_started,
    "ChildWorkflowExecutionCompleted": _child_closed,
    "ChildWorkflowExecutionFailed": _child_closed,
    "ChildWorkflowExecutionCanceled": _child_closed,
    "ChildWorkflowExecutionTimedOut": _child_closed,
    "ChildWorkflowExecutionTerminated": _child_closed,
    "LambdaFunctionScheduled": _lambda_scheduled,
    "LambdaFunctionStarted": _lambda_started,
    "LambdaFunctionCompleted": _lambda_closed,
    "LambdaFunctionFailed": _lambda_closed,
    "LambdaFunctionTimedOut": _lambda_closed,
    "StartLambdaFunctionFailed": _lambda_closed,
}
