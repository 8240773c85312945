"""What can be open in an execution, and when each of it is due.

Rule: clocks count whole seconds from the millisecond timestamp of the event that started them (seen in recorded histories).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def milliseconds(duration: str | None) -> int | None:
    """A wire duration in milliseconds; None for `NONE` and for an absent one."""
    return None if duration is None or duration in {"NONE", ""} else int(duration) * 1000


@dataclass(slots=True)
class DecisionTask:
    """A decision task that waits or is started (`started_id`). `wait` and `work` are its two timeouts in milliseconds."""

    scheduled_id: int
    at: int
    list: str
    priority: int
    wait: int | None
    work: int | None
    started_id: int = 0
    started_at: int = 0

    @property
    def due(self) -> int | None:
        """When it times out."""
        if self.started_id:
            return None if self.work is None else self.started_at + self.work
        return None if self.wait is None else self.at + self.wait


@dataclass(slots=True)
class ActivityTask:
    """An open activity; `attributes` are those of its ActivityTaskScheduled."""

    scheduled_id: int
    at: int
    attributes: dict[str, Any]
    started_id: int = 0
    started_at: int = 0
    beat: int | None = None
    details: str | None = None
    cancel_requested_id: int = 0

    @property
    def activity_id(self) -> str:
        """The decider's id for it."""
        return str(self.attributes["activityId"])

    @property
    def list(self) -> str:
        """The task list on which it was scheduled."""
        return str(self.attributes["taskList"]["name"])

    @property
    def priority(self) -> int:
        """Higher is handed out first."""
        return int(self.attributes.get("taskPriority") or 0)

    def timeout(self) -> tuple[int, str] | None:
        """When it times out and how; on equal deadlines the wider clock is named."""
        clocks = [("SCHEDULE_TO_CLOSE", self.at, "scheduleToCloseTimeout")]
        if self.started_id:
            clocks.append(("START_TO_CLOSE", self.started_at, "startToCloseTimeout"))
            clocks.append(("HEARTBEAT", self.beat if self.beat is not None else self.started_at, "heartbeatTimeout"))
        else:
            clocks.append(("SCHEDULE_TO_START", self.at, "scheduleToStartTimeout"))
        due: tuple[int, str] | None = None
        for kind, since, member in clocks:
            length = self.attributes[member]
            if length != "NONE" and (due is None or since + int(length) * 1000 < due[0]):
                due = since + int(length) * 1000, kind
        return due


@dataclass(slots=True)
class Timer:
    """An open timer."""

    timer_id: str
    started_id: int
    at: int
    due: int


@dataclass(slots=True)
class Child:
    """An open child: initiated, and started once `started_id` is set."""

    initiated_id: int
    workflow_id: str
    type: dict[str, str]
    started_id: int = 0
    run_id: str = ""


@dataclass(slots=True)
class Lambda:
    """An open lambda task."""

    scheduled_id: int
    lambda_id: str
    name: str
    payload: str
    at: int
    length: int
    started_id: int = 0
    started_at: int = 0

    @property
    def due(self) -> int | None:
        """When it times out: its clock runs from its start."""
        return self.started_at + self.length if self.started_id else None
