"""Executions that cannot be decided now: what is answered for them, and when it is time to stop trying.

Rule 1: nothing is written but the fact and a reserved timer that asks again, later each time. The execution stays open and unharmed.
Rule 2: a task that ends its deciders again and again is parked like a misfit; who tries it next may die of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flowdsl.errors import InternalError
from flowdsl.model import decisions
from flowdsl.replay.replayer import REPLAY_VERSION

BLOCKED_PREFIX = decisions.RESERVED_TIMER_PREFIX + "blocked-"
_LONGEST_BLOCK = 600.0
LOST_AT_MOST, LOST_AGAIN = 3, 1  # decision tasks in a row that may be lost before the execution is parked; when it was parked before


def lost_in_a_row(events: Sequence[Mapping[str, Any]]) -> tuple[int, bool]:
    """How many decision tasks in a row, up to now, nobody answered; and whether the last one that was answered parked the execution."""
    lost = 0
    for event in reversed(events):
        kind = event["eventType"]
        if kind == "DecisionTaskTimedOut" and event["decisionTaskTimedOutEventAttributes"].get("startedEventId"):
            lost += 1
        elif kind == "DecisionTaskCompleted":
            context = read_context(event["decisionTaskCompletedEventAttributes"].get("executionContext"))
            return lost, "blocked" in context
    return lost, False


def poisonous(task: Mapping[str, Any], lost: int) -> InternalError:
    """The error for a task that nobody has survived."""
    execution = task["workflowExecution"]
    return InternalError(
        f"{lost} deciders in a row took the decision task of {task['workflowType']['name']!r} (workflow id {execution['workflowId']}, run "
        f"{execution['runId']}) and never answered: its code ends the process, or takes longer than its task_timeout. The execution is "
        "left open and unharmed; it is tried again after a while, longer each time, and goes on when the code does"
    )


def blocked(error: Exception, events: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The response to a task that cannot be decided now: nothing but the fact, and a timer that asks again later."""
    before = sum(
        1 for e in events if e["eventType"] == "TimerStarted" and e["timerStartedEventAttributes"]["timerId"].startswith(BLOCKED_PREFIX)
    )
    delay = min(_LONGEST_BLOCK, 2.0 * 2 ** min(before, 20))
    timer = decisions.start_timer(timer_id=f"{BLOCKED_PREFIX}{events[-1]['eventId']}", start_to_fire=delay)
    context: dict[str, Any] = {
        "flowdsl": REPLAY_VERSION,
        "blocked": (getattr(error, "message", "") or f"{type(error).__name__}: {error}")[:4000],
    }
    for event in reversed(events):
        if event["eventType"] == "DecisionTaskCompleted":
            earlier = read_context(event["decisionTaskCompletedEventAttributes"].get("executionContext"))
            if "published" in earlier:
                context["published"] = earlier["published"]
                break
    return [timer], json.dumps(context, ensure_ascii=False)


def read_context(text: str | None) -> dict[str, Any]:
    """What a decision task's context says: `flowdsl` (the replay version), `published`, `blocked`; empty if it is not ours."""
    try:
        context = json.loads(text or "{}")
    except ValueError:
        return {}
    return context if isinstance(context, dict) and "flowdsl" in context else {}
