"""Executions in memory and in the file: found, created, saved, closed, forgotten.

Rule 1: an open execution is folded once and then followed (write-through): no step reads what it wrote before. What was not used for
        a while is dropped and folded again when it is needed.
Rule 2: `save` ends what one transaction did to one execution: it adds the decision task that is called for, writes the events, and brings
        the agenda (file), the task lists and the deadlines (memory) in line with the state. It is the only writer of all four.
Rule 3: memory never runs ahead of the file: whatever goes wrong before the commit, `reload` reads everything again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from flowdsl.engine.codec import DecodeError, encode
from flowdsl.engine.effects import Effects, effects_of_close
from flowdsl.engine.execution import Execution
from flowdsl.engine.faults import unknown_run, unknown_workflow_id
from flowdsl.errors import NotAnEngineFile
from flowdsl.model.lifecycle import Refused

if TYPE_CHECKING:
    from flowdsl.engine.catalogue import Catalogue
    from flowdsl.engine.deadlines import Deadlines
    from flowdsl.engine.quotas import Quotas
    from flowdsl.engine.store import Store
    from flowdsl.engine.tasks import TaskLists

#: folded executions kept in memory
_CACHED = 5_000
_DAY = 86_400_000

_PUT_AGENDA = "INSERT OR REPLACE INTO agenda VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_EVENTS = "INSERT INTO events VALUES (?, ?, ?, ?, ?)"


class Runs:
    """All executions of one engine."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        *,
        lists: TaskLists,
        deadlines: Deadlines,
        effects: Effects,
        quotas: Quotas,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._lists = lists
        self._deadlines = deadlines
        self._effects = effects
        self._quotas = quotas
        self._cache: OrderedDict[int, Execution] = OrderedDict()
        self._unsaved: set[int] = set()
        self.open_count: dict[str, int] = {}
        #: (domain, workflow id, run id) of what closed since somebody last took it
        self.closed: list[tuple[str, str, str]] = []
        #: when the first closed execution's retention ends
        self.next_expiry: int | None = None

    # --- from the file

    def load(self) -> None:
        """Rebuild the indexes in memory from the file's."""
        rows = self._store.all(
            "SELECT a.execution, a.event, a.kind, e.domain, a.list, a.priority, a.at, a.started, a.due FROM agenda a "
            "JOIN executions e ON e.id = a.execution ORDER BY a.at, a.execution, a.event"
        )
        deciding = {row[0] for row in rows if row[2] == "D" and row[7]}
        for execution, event, kind, domain, task_list, priority, at, started, due in rows:
            ref = execution, event
            if due is not None:
                self._deadlines.put(ref, due)
            if kind == "L" and started:
                self._lists.call(ref)
            if kind not in "DA":
                continue
            if started:
                self._lists.in_hand.add(ref)
            elif kind == "A" or execution not in deciding:
                self._lists.put((kind, domain, task_list), priority, at, ref)
        self.open_count = dict(self._store.all("SELECT domain, count(*) FROM executions WHERE closed IS NULL GROUP BY domain"))
        self._find_next_expiry()

    def _find_next_expiry(self) -> None:
        self.next_expiry = self._store.one("SELECT min(expires) FROM executions WHERE expires IS NOT NULL")[0]

    @property
    def unsaved(self) -> bool:
        """Whether some execution in memory is ahead of what was handed to the store."""
        return bool(self._unsaved)

    def forget(self) -> None:
        """Drop everything in memory."""
        self._cache.clear()
        self._unsaved.clear()

    def get(self, key: int) -> Execution | None:
        """The open execution with this row id, or None."""
        execution = self._cache.get(key)
        if execution is None:
            row = self._store.one("SELECT domain, workflow_id, run_id FROM executions WHERE id = ? AND closed IS NULL", (key,))
            if row is None:
                return None
            execution = self._cache[key] = self._rebuild(Execution(key, *row))
            if len(self._cache) > _CACHED:
                self._shrink()
        elif len(self._cache) > _CACHED // 2:
            self._cache.move_to_end(key)
        return execution

    def _rebuild(self, execution: Execution) -> Execution:
        rows = self._store.all("SELECT id, at, type, attributes FROM events WHERE execution = ? ORDER BY id", (execution.key,))
        damaged = f"{self._store.path!r} is damaged: the history of {execution.workflow_id!r} (run {execution.run_id})"
        if not rows or [row[0] for row in rows] != list(range(1, len(rows) + 1)):
            raise NotAnEngineFile(f"{damaged} has gaps")
        try:
            for row in rows:
                execution.fold(row)
        except (Refused, KeyError, DecodeError) as error:
            raise NotAnEngineFile(f"{damaged} does not fold: {error}") from error
        execution.needs_decision = False
        execution.touched.clear()
        for event, beat, details in self._store.all(
            "SELECT event, beat, details FROM agenda WHERE execution = ? AND beat IS NOT NULL", (execution.key,)
        ):
            task = execution.activities[event]
            task.beat, task.details = beat, details
        return execution

    def _shrink(self) -> None:
        for key in list(self._cache):
            if len(self._cache) <= _CACHED:
                break
            if key not in self._unsaved:
                del self._cache[key]

    # --- finding

    def find_open(self, domain: str, workflow_id: str, run_id: str | None) -> Execution | None:
        """The open run of this id (and of this run id, if one is given), or None."""
        row = self._store.one(
            "SELECT id, run_id FROM executions WHERE domain = ? AND workflow_id = ? AND closed IS NULL", (domain, workflow_id)
        )
        if row is None or (run_id and row[1] != run_id):
            return None
        return self.get(row[0])

    def open(self, domain: str, workflow_id: str, run_id: str | None) -> Execution:
        """The open run that a request names. Raises `Fault` UnknownResourceFault."""
        self._catalogue.domain(domain)
        execution = self.find_open(domain, workflow_id, run_id)
        if execution is None:
            raise unknown_run(workflow_id, run_id) if run_id else unknown_workflow_id(workflow_id)
        return execution

    def key_of(self, domain: str, workflow_id: str, run_id: str) -> int:
        """The row id of a run, open or closed. Raises `Fault` UnknownResourceFault."""
        self._catalogue.domain(domain)
        row = self._store.one(
            "SELECT id FROM executions WHERE run_id = ? AND domain = ? AND workflow_id = ?", (run_id, domain, workflow_id)
        )
        if row is None:
            raise unknown_run(workflow_id, run_id)
        return int(row[0])

    def name_of(self, key: int) -> tuple[str, str]:
        """(workflow id, run id) of a run, open or closed; empty texts if it was deleted."""
        row = self._store.one("SELECT workflow_id, run_id FROM executions WHERE id = ?", (key,))
        return ("", "") if row is None else (row[0], row[1])

    # --- changing

    def begin(self, execution: Execution, now: int) -> Execution:
        """Begin what a transaction does to an execution."""
        self._unsaved.add(execution.key)
        execution.begin(now)
        return execution

    def create(self, now: int, domain: str, workflow_id: str, run_id: str, attributes: dict[str, Any]) -> Execution:
        """Start a run with the attributes of its WorkflowExecutionStarted. No other run of the id may be open."""
        parent = attributes.get("parentWorkflowExecution")
        tags = attributes.get("tagList")
        key = self._store.write(
            "INSERT INTO executions (domain, workflow_id, run_id, type_name, type_version, tags, parent, started) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                domain, workflow_id, run_id, attributes["workflowType"]["name"], attributes["workflowType"]["version"],
                encode(tags) if tags else None, encode(parent) if parent else None, now,
            ),
        )  # fmt: skip
        for tag in tags or ():
            if tag is not None:
                self._store.write("INSERT OR IGNORE INTO execution_tags VALUES (?, ?)", (key, tag))
        execution = self._cache[key] = Execution(key, domain, workflow_id, run_id)
        self.begin(execution, now)
        execution.append("WorkflowExecutionStarted", attributes)
        self.open_count[domain] = self.open_count.get(domain, 0) + 1
        self.save(execution)
        if len(self._cache) > _CACHED:
            self._shrink()
        return execution

    def save(self, execution: Execution) -> None:
        """Hand what the transaction did to one execution to the store, and bring every index in line."""
        execution.schedule_decision()
        if execution.is_open and execution.last_id >= self._quotas.history_events - 1:
            execution.append(
                "WorkflowExecutionTerminated", {"cause": "EVENT_LIMIT_EXCEEDED", "childPolicy": execution.config["childPolicy"]}
            )
        if execution.fresh:
            self._store.write_many(_PUT_EVENTS, execution.fresh)
            execution.fresh.clear()
        if execution.is_open:
            self._index(execution)
        else:
            self._close(execution)
        execution.touched.clear()
        self._unsaved.discard(execution.key)

    def _index(self, execution: Execution) -> None:
        key = execution.key
        for event, kind in execution.touched.items():
            row = _ROWS[kind](execution, event)
            if row is None:
                self._store.write("DELETE FROM agenda WHERE execution = ? AND event = ?", (key, event))
                self._deadlines.discard((key, event))
                self._lists.discard((key, event))
                continue
            self._store.write(_PUT_AGENDA, (key, event, kind, *row))
            task_list, priority, at, started, due = row[:5]
            if due is None:
                self._deadlines.discard((key, event))
            else:
                self._deadlines.put((key, event), due)
            if started:
                if kind in "DA":
                    self._lists.hand_out((key, event))
                elif kind == "L":
                    self._lists.call((key, event))
            elif kind == "A":
                self._lists.put(("A", execution.domain, task_list or ""), priority, at, (key, event))
        waiting = execution.waiting
        if waiting is not None and execution.started is None:
            self._lists.put(("D", execution.domain, waiting.list), waiting.priority, waiting.at, (key, waiting.scheduled_id))

    def _close(self, execution: Execution) -> None:
        key = execution.key
        retention = self._catalogue.domain(execution.domain).retention_days * _DAY
        expires = execution.closed + retention
        ending, effects = describe_ending(execution), effects_of_close(execution)
        self._store.write(
            "UPDATE executions SET closed = ?, status = ?, expires = ?, cancel_requested = 0, ending = ? WHERE id = ?",
            (execution.closed, execution.status, expires, encode(ending), key),
        )
        self._store.write("DELETE FROM agenda WHERE execution = ?", (key,))
        refs = {0, *execution.touched, *execution.activities, *execution.timers, *execution.lambdas}
        refs |= {task.scheduled_id for task in (execution.waiting, execution.started) if task is not None}
        for event in refs:
            self._deadlines.discard((key, event))
            self._lists.discard((key, event))
        for kind, body in effects:
            self._effects.add(execution.closed, kind, body)
        self.open_count[execution.domain] -= 1
        self.next_expiry = expires if self.next_expiry is None else min(self.next_expiry, expires)
        self.closed.append((execution.domain, execution.workflow_id, execution.run_id))
        self._cache.pop(key, None)

    def heartbeat(self, execution: Execution, scheduled_id: int, now: int, details: str | None) -> None:
        """Restart the heartbeat clock of a started activity. It writes no event."""
        task = execution.activities[scheduled_id]
        task.beat = max(now, execution.last_at)
        task.details = details if details is not None else task.details
        execution.touched[scheduled_id] = "A"
        self._index(execution)
        execution.touched.clear()

    def mark_cancel_requested(self, execution: Execution) -> None:
        """Let the lists of open executions show the request."""
        self._store.write("UPDATE executions SET cancel_requested = 1 WHERE id = ?", (execution.key,))

    def delete_expired(self, now: int) -> None:
        """Delete the closed executions whose retention has ended."""
        if self.next_expiry is None or self.next_expiry > now:
            return
        for (key,) in self._store.all("SELECT id FROM executions WHERE expires <= ? LIMIT 500", (now,)):
            self._store.write("DELETE FROM events WHERE execution = ?", (key,))
            self._store.write("DELETE FROM execution_tags WHERE execution = ?", (key,))
            self._store.write("DELETE FROM executions WHERE id = ?", (key,))
        self._find_next_expiry()


def describe_ending(execution: Execution) -> dict[str, Any]:
    """What DescribeWorkflowExecution must still know of a closed run: the counts keep the values of the close (recorded)."""
    config = execution.config
    return {
        "configuration": configuration(execution),
        "counts": execution.counts(),
        "latestActivity": execution.latest_activity,
        "context": execution.context,
        "parent": config.get("parentWorkflowExecution"),
        "childPolicy": execution.close_policy,
    }


def configuration(execution: Execution) -> dict[str, Any]:
    """`executionConfiguration` of DescribeWorkflowExecution; the task list is the one in force."""
    config = execution.config
    shown = {
        "taskStartToCloseTimeout": config.get("taskStartToCloseTimeout"),
        "executionStartToCloseTimeout": config.get("executionStartToCloseTimeout"),
        "taskList": {"name": execution.list},
        "taskPriority": config.get("taskPriority"),
        "childPolicy": config["childPolicy"],
        "lambdaRole": config.get("lambdaRole"),
    }
    return {name: value for name, value in shown.items() if value is not None}


# --- agenda rows: (list, priority, at, started, due, beat, details), or None when the thing is closed ----------------

_AgendaRow = tuple[str | None, int, int, int, int | None, int | None, str | None]


def _decision_row(execution: Execution, event: int) -> _AgendaRow | None:
    for task in (execution.started, execution.waiting):
        if task is not None and task.scheduled_id == event:
            return task.list, task.priority, task.at, task.started_id, task.due, None, None
    return None


def _activity_row(execution: Execution, event: int) -> _AgendaRow | None:
    task = execution.activities.get(event)
    if task is None:
        return None
    timeout = task.timeout()
    return task.list, task.priority, task.at, task.started_id, None if timeout is None else timeout[0], task.beat, task.details


def _timer_row(execution: Execution, event: int) -> _AgendaRow | None:
    timer = execution.timers.get(event)
    return None if timer is None else (None, 0, timer.at, 0, timer.due, None, None)


def _lambda_row(execution: Execution, event: int) -> _AgendaRow | None:
    task = execution.lambdas.get(event)
    return None if task is None else (None, 0, task.at, task.started_id, task.due, None, None)


def _execution_row(execution: Execution, event: int) -> _AgendaRow | None:
    return None, 0, execution.started_at, 0, execution.due, None, None


_ROWS = {"D": _decision_row, "A": _activity_row, "T": _timer_row, "L": _lambda_row, "X": _execution_row}
