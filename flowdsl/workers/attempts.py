"""One attempt of an activity: the task, what it may know, and what became of it.

Rule 1: an attempt is answered once. Who answers (the thread that ran it, or a stop that can wait no longer) claims that first.
Rule 2: cancellation has one reason, the first: `requested` (a decider asked), `gone` (the service does not know the task any more),
        `stopped` (this worker ends). What is answered depends on it.
Rule 3: cancelling means: the scope says so at the next `heartbeat()`, and whatever can be interrupted (a coroutine, a process) is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from flowdsl.lang.context import Info
from flowdsl.lang.options import UNSET
from flowdsl.lang.scope import ActivityScope
from flowdsl.limits import HEARTBEAT_DETAILS
from flowdsl.model.attempts import split_attempt, split_heartbeat
from flowdsl.model.payload import Slot

if TYPE_CHECKING:
    from flowdsl.data.values import Values

log = logging.getLogger("flowdsl.worker")

Reason = Literal["requested", "gone", "stopped"]

DEFAULT_HEARTBEAT: Final = 60.0
"""The heartbeat timeout in seconds of an activity that does not say one."""


class Attempt:
    """What a worker holds of one activity task. `input` is the text of the arguments, or None."""

    def __init__(self, task: Mapping[str, Any], definition: Any, values: Values, *, domain: str, task_list: str, backend: str = "") -> None:
        self.token: str = task["taskToken"]
        self.definition = definition
        self.input, beaten = _taken_apart(task.get("input"))
        self._values = values
        self._slot = Slot(domain, definition.name, "details")
        self._lock = threading.Lock()
        self._claimed = False
        self._interrupt: Callable[[], object] | None = None
        self._on_news: Callable[[Attempt], object] | None = None
        self.reason: Reason | None = None
        # what the heart keeps: the encoded details, and when it beats
        self.details: str | None = None
        self.interval: float | None = None
        self.beat_at: float | None = None
        self.due: float | None = None
        self.reported_at: float | None = None
        self.ends_at: float | None = None
        self.in_loop = bool(definition.is_async) and definition.settings.executor == "thread"
        execution = task["workflowExecution"]
        call_id, number = split_attempt(task["activityId"])
        self.about = Info(
            kind="activity",
            name=definition.name,
            version=definition.version,
            workflow_id=execution["workflowId"],
            run_id=execution["runId"],
            call_id=call_id,
            attempt=number,
            task_token=self.token,
            heartbeat_details=self._read(beaten),
            idempotency_key=f"{execution['workflowId']}.{execution['runId']}.{call_id}",
            started=datetime.now(UTC),
            task_list=task_list,
            backend=backend,
        )
        self.scope = ActivityScope(self.about, self.report)

    def __repr__(self) -> str:
        return f"<attempt {self.about.attempt} of {self.about.call_id} ({self.about.name}) of {self.about.workflow_id}>"

    @property
    def heartbeat_timeout(self) -> float | None:
        """Seconds, as the definition says; None for no heartbeats."""
        settings = self.definition.settings
        if settings.heartbeat is not UNSET:
            timeout: float | None = settings.heartbeat
            return timeout
        return None if settings.manual else DEFAULT_HEARTBEAT

    def ids(self) -> dict[str, Any]:
        """What a log line or a hook says of it."""
        about = self.about
        return {
            "activity": about.name, "version": about.version, "workflowId": about.workflow_id, "runId": about.run_id,
            "callId": about.call_id, "attempt": about.attempt, "taskList": about.task_list,
        }  # fmt: skip

    # --- heartbeats

    def on_news(self, tell: Callable[[Attempt], object]) -> None:
        """Call `tell` whenever the function reports."""
        self._on_news = tell

    def report(self, details: Any = None) -> None:
        """What `heartbeat(details)` does. Raises `NotSerializable` or `LimitExceeded` for details that none can carry.

        A report without details leaves the last ones in place: "still alive" takes nothing back.
        """
        if details is not None:
            self.details = self._values.converter_for(self.definition).encode(details, self._slot, limit=HEARTBEAT_DETAILS)
        if self._on_news is not None:
            self._on_news(self)

    def _read(self, text: str | None) -> Any:
        """The details of the lost attempt; details that cannot be read must not cost the attempt."""
        if text is None:
            return None
        try:
            return self._values.converter_for(self.definition).decode(text, self._slot)
        except Exception:
            log.warning("the heartbeat details of the lost attempt of %s cannot be read", self.definition.name, exc_info=True)
            return None

    # --- cancelling

    def cancel(self, reason: Reason) -> None:
        """Ask the function to stop, whatever runs it."""
        with self._lock:
            if self.reason is not None:
                return
            self.reason = reason
            self.scope.cancelled = True
            interrupt = self._interrupt
        self._do(interrupt)

    def interruptible(self, interrupt: Callable[[], object]) -> None:
        """From now on a cancellation calls `interrupt`; at once if there was one."""
        with self._lock:
            self._interrupt = interrupt
            pending = self.reason is not None
        if pending:
            self._do(interrupt)

    @staticmethod
    def _do(interrupt: Callable[[], object] | None) -> None:
        if interrupt is not None:
            with suppress(Exception):  # a loop that is closed, a process that is dead: nothing is left to be stopped
                interrupt()

    # --- the answer

    def claim(self) -> bool:
        """Take the right to answer; False if it was taken."""
        with self._lock:
            claimed, self._claimed = self._claimed, True
            return not claimed


def _taken_apart(text: str | None) -> tuple[str | None, str | None]:
    """The input proper and the lost attempt's details; what only looks like both is an input."""
    try:
        return split_heartbeat(text)
    except (ValueError, LookupError, TypeError):
        return text, None
