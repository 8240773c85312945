"""What an execution is, said a second time and as plainly as possible: the model that `test_machine.py` holds against the engine.

Rule 1: nothing here is taken from the engine: no table of lives, no fold, no index. A run is a few dictionaries; an event is a number.
Rule 2: the model knows open counts, ids, task queues, clocks, what closes and what follows from it; it knows no texts (inputs, causes).
Rule 3: time is an argument, as in the engine. Two clocks that end in the same millisecond end in the order in which they were set.
"""

from __future__ import annotations

from collections import deque
from typing import Any

#: the quotas under which the machine runs
ACTIVITIES, TIMERS, CHILDREN, EVENTS = 2, 2, 2, 80

CLOSES = {
    "CompleteWorkflowExecution": "COMPLETED",
    "FailWorkflowExecution": "FAILED",
    "CancelWorkflowExecution": "CANCELED",
    "ContinueAsNewWorkflowExecution": "CONTINUED_AS_NEW",
}


class Task:
    """A decision task or an activity: where it waits and since when, and since when it is in somebody's hand."""

    def __init__(self, event: int, at: int, task_list: str, **more: Any) -> None:
        self.event = event
        self.at = at
        self.list = task_list
        self.started: int | None = None
        #: activities: their id, timeouts in milliseconds (or None), the last heartbeat
        self.id: str = more.get("id", "")
        self.heartbeat: int | None = more.get("heartbeat")
        self.length: int | None = more.get("length")
        self.beat = 0

    @property
    def due(self) -> int | None:
        if self.started is None:
            return None
        ends = [self.started + self.length] if self.length is not None else []
        if self.heartbeat is not None:
            ends.append(max(self.beat, self.started) + self.heartbeat)
        return min(ends, default=None)


class Run:
    def __init__(self, number: int, workflow_id: str, at: int, **config: Any) -> None:
        self.number = number
        self.workflow_id = workflow_id
        self.policy: str = config["policy"]
        self.home: str = config["home"]
        self.turn_length: int = config["turn"]
        self.parent: tuple[Run, int] | None = config.get("parent")
        self.ends = at + config["seconds"] * 1000
        self.status = "OPEN"
        self.events = 0
        self.list = self.home
        #: the schedule-to-start timeout of a sticky list
        self.sticky: int | None = None
        self.waiting: Task | None = None
        self.started: Task | None = None
        self.asks = False
        self.activities: dict[str, Task] = {}
        self.timers: set[str] = set()
        #: event that initiated it -> whether its start was acknowledged
        self.children: dict[int, bool] = {}
        self.close_policy = ""

    @property
    def is_open(self) -> bool:
        return self.status == "OPEN"

    def add(self, *, asks: bool = False) -> int:
        """One more event; does it ask for a decision task?"""
        self.events += 1
        self.asks |= asks
        return self.events

    def counts(self) -> dict[str, int]:
        return {
            "openActivityTasks": len(self.activities),
            "openTimers": len(self.timers),
            "openChildWorkflowExecutions": sum(self.children.values()),
            "openDecisionTasks": int(self.waiting is not None),
            "openLambdaFunctions": 0,
        }


class Model:
    """A domain with the types "flow" (60 s a decision task, an hour, TERMINATE, list "deciders") and "act" (list "workers")."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.effects: deque[tuple[Any, ...]] = deque()
        self._clocks: dict[tuple[int, str], tuple[int, int]] = {}
        self._set = 0

    # --- clocks

    def _clock(self, run: Run, name: str, due: int | None) -> None:
        key = run.number, name
        if due is None:
            self._clocks.pop(key, None)
        elif self._clocks.get(key, (None,))[0] != due:
            self._set += 1
            self._clocks[key] = due, self._set

    @property
    def next_due(self) -> int | None:
        return min(self._clocks.values(), default=(None,))[0]

    def tick(self, now: int) -> None:
        while True:
            if self.effects:
                kind, *about = self.effects.popleft()
                getattr(self, f"_deliver_{kind}")(now, *about)
                continue
            if not self._clocks:
                return
            key = min(self._clocks, key=self._clocks.__getitem__)
            if self._clocks[key][0] > now:
                return
            self._expire(now, self.runs[key[0]], key[1])

    def _expire(self, now: int, run: Run, name: str) -> None:
        kind, _, id_ = name.partition(" ")
        self._clock(run, name, None)
        if kind == "run":
            run.add()
            self._close(run, "TIMED_OUT")
            return
        if kind == "timer":
            run.timers.remove(id_)
            run.add(asks=True)
        elif kind == "activity":
            del run.activities[id_]
            run.add(asks=True)
        else:
            self._time_out_decision(run, started=kind == "started")
        self._save(run, now)

    def _time_out_decision(self, run: Run, *, started: bool) -> None:
        if started:
            run.started = None
            self._clock(run, "started", None)
        else:
            run.waiting = None
            self._clock(run, "waiting", None)
        if run.sticky is not None:
            run.list, run.sticky = run.home, None
        run.add(asks=True)

    def recover(self, now: int) -> None:
        """A process died: its decision tasks and its activities that beat are given out again, in the order of their events."""
        for run in [run for run in self.runs if run.is_open]:
            held = [task for task in run.activities.values() if task.started is not None and task.heartbeat is not None]
            held += [run.started] if run.started is not None else []
            for task in sorted(held, key=lambda task: task.event):
                if not run.is_open:
                    break
                if task is run.started:
                    self._time_out_decision(run, started=True)
                else:
                    del run.activities[task.id]
                    self._clock(run, f"activity {task.id}", None)
                    run.add(asks=True)
                self._save(run, now)

    # --- runs

    def open(self, workflow_id: str) -> Run | None:
        return next((run for run in self.runs if run.workflow_id == workflow_id and run.is_open), None)

    def start(self, now: int, workflow_id: str, **config: Any) -> Run | None:
        """A new run, or None if the id is taken."""
        if self.open(workflow_id) is not None:
            return None
        run = Run(len(self.runs), workflow_id, now, **config)
        self.runs.append(run)
        self._clock(run, "run", run.ends)
        run.add(asks=True)
        self._save(run, now)
        return run

    def _save(self, run: Run, now: int) -> None:
        """What ends every transaction: the decision task that is asked for, and the limit of the history."""
        if run.asks and run.is_open and run.waiting is None:
            run.waiting = Task(run.add(), now, run.list)
            self._clock(run, "waiting", None if run.sticky is None else now + run.sticky)
        run.asks = False
        if run.is_open and run.events >= EVENTS - 1:
            run.add()
            self._close(run, "TERMINATED")

    def _close(self, run: Run, status: str, policy: str | None = None) -> None:
        """Nothing of the run moves any more: its counts stay as they are."""
        run.status, run.close_policy, run.asks = status, policy or run.policy, False
        for key in [key for key in self._clocks if key[0] == run.number]:
            del self._clocks[key]
        if run.parent is not None and status != "CONTINUED_AS_NEW":
            self.effects.append(("closed", *run.parent))
        if run.close_policy != "ABANDON":
            self.effects += [("policy", run, event, run.close_policy) for event, started in run.children.items() if started]

    def outside(self, now: int, workflow_id: str, what: str) -> bool:
        """A signal, a cancel request or a termination; False if there is nobody."""
        run = self.open(workflow_id)
        if run is None:
            return False
        run.add(asks=what != "terminate")
        if what == "terminate":
            self._close(run, "TERMINATED")
        self._save(run, now)
        return True

    # --- tasks

    def poll_decision(self, now: int, task_list: str = "deciders") -> Run | None:
        ready = [run for run in self.runs if run.is_open and run.waiting and not run.started and run.waiting.list == task_list]
        if not ready:
            return None
        run = min(ready, key=lambda run: (run.waiting.at, run.number))  # type: ignore[union-attr]  # all of them wait
        task, run.waiting = run.waiting, None
        assert task is not None
        task.started = now
        run.started = task
        self._clock(run, "waiting", None)
        self._clock(run, "started", now + run.turn_length)
        run.add()
        self._save(run, now)
        return run

    def poll_activity(self, now: int, task_list: str = "workers") -> tuple[Run, Task] | None:
        ready = [
            (task.at, run.number, task.event, run, task)
            for run in self.runs
            if run.is_open
            for task in run.activities.values()
            if task.started is None and task.list == task_list
        ]
        if not ready:
            return None
        *_, run, task = min(ready, key=lambda entry: entry[:3])
        task.started = now
        self._clock(run, f"activity {task.id}", task.due)
        run.add()
        self._save(run, now)
        return run, task

    def holds(self, run: Run, task: Task) -> bool:
        """Whether an activity's token is still good."""
        return run.is_open and run.activities.get(task.id) is task

    def answer(self, now: int, run: Run, task: Task) -> None:
        del run.activities[task.id]
        self._clock(run, f"activity {task.id}", None)
        run.add(asks=True)
        self._save(run, now)

    def heartbeat(self, now: int, run: Run, task: Task) -> None:
        task.beat = now
        self._clock(run, f"activity {task.id}", task.due)

    # --- a batch of decisions

    def respond(self, now: int, run: Run, batch: list[dict[str, Any]], sticky: int | None) -> None:
        unhandled, withdrawn = run.waiting is not None, {}
        run.started = None
        self._clock(run, "started", None)
        run.add()
        if sticky is not None:
            run.list, run.sticky = "deciders", sticky
        effects: list[tuple[Any, ...]] = []
        continued = None
        for decision in batch:
            kind = decision["decisionType"]
            given = decision.get(f"{kind[0].lower()}{kind[1:]}DecisionAttributes", {})
            if kind in CLOSES:
                run.add(asks=unhandled)
                if not unhandled:
                    continued = run if kind.startswith("Continue") else None
                    self.effects += effects
                    effects = []
                    self._close(run, CLOSES[kind])
            else:
                effects += getattr(self, f"_decide_{kind}")(now, run, given, withdrawn) or ()
        if run.is_open:
            for id_ in withdrawn:
                del run.activities[id_]
                run.add(asks=True)
        self.effects += effects
        self._save(run, now)
        if continued is not None:
            self.start(now, run.workflow_id, policy="TERMINATE", home="deciders", turn=60_000, seconds=3600, parent=run.parent)

    def _decide_ScheduleActivityTask(self, now: int, run: Run, a: dict[str, Any], _: dict[str, None]) -> None:
        if a["activityId"] in run.activities or len(run.activities) >= ACTIVITIES:
            run.add(asks=True)
            return
        heartbeat, length = (None if a[name] == "NONE" else int(a[name]) * 1000 for name in ("heartbeatTimeout", "startToCloseTimeout"))
        event = run.add()
        run.activities[a["activityId"]] = Task(event, now, "workers", id=a["activityId"], heartbeat=heartbeat, length=length)

    def _decide_RequestCancelActivityTask(self, now: int, run: Run, a: dict[str, Any], withdrawn: dict[str, None]) -> None:
        task = run.activities.get(a["activityId"])
        run.add(asks=task is None)
        if task is not None and task.started is None:
            withdrawn[task.id] = None

    def _decide_StartTimer(self, now: int, run: Run, a: dict[str, Any], _: dict[str, None]) -> None:
        refused = a["timerId"] in run.timers or len(run.timers) >= TIMERS
        run.add(asks=refused)
        if not refused:
            run.timers.add(a["timerId"])
            self._clock(run, f"timer {a['timerId']}", now + int(a["startToFireTimeout"]) * 1000)

    def _decide_CancelTimer(self, now: int, run: Run, a: dict[str, Any], _: dict[str, None]) -> None:
        known = a["timerId"] in run.timers
        run.add(asks=not known)
        run.timers.discard(a["timerId"])
        self._clock(run, f"timer {a['timerId']}", None)

    def _decide_RecordMarker(self, now: int, run: Run, a: dict[str, Any], _: dict[str, None]) -> None:
        run.add()

    def _decide_StartChildWorkflowExecution(self, now: int, run: Run, a: dict[str, Any], _: dict[str, None]) -> list[tuple[Any, ...]]:
        if len(run.children) >= CHILDREN:
            run.add(asks=True)
            return []
        event = run.add()
        run.children[event] = False
        return [("child", run, event, a["workflowId"], a["childPolicy"])]

    def _decide_SignalExternalWorkflowExecution(self, now: int, run: Run, a: dict[str, Any], _: dict[str, None]) -> list[tuple[Any, ...]]:
        run.add()
        return [("send", run, a["workflowId"])]

    _decide_RequestCancelExternalWorkflowExecution = _decide_SignalExternalWorkflowExecution

    # --- what one run does to another

    def _tell(self, now: int, run: Run) -> bool:
        if run.is_open:
            run.add(asks=True)
            self._save(run, now)
            return True
        return False

    def _deliver_child(self, now: int, parent: Run, event: int, workflow_id: str, policy: str) -> None:
        child = self.start(now, workflow_id, policy=policy, home="deciders", turn=60_000, seconds=3600, parent=(parent, event))
        if child is not None:
            self.effects.append(("started", parent, event, workflow_id))
        elif parent.is_open:
            del parent.children[event]
            self._tell(now, parent)

    def _deliver_started(self, now: int, parent: Run, event: int, workflow_id: str) -> None:
        if parent.is_open:
            parent.children[event] = True
            self._tell(now, parent)
        elif parent.close_policy != "ABANDON":
            self._apply_policy(now, parent, event, parent.close_policy)

    def _deliver_closed(self, now: int, parent: Run, event: int) -> None:
        if parent.is_open and event in parent.children:
            del parent.children[event]
            self._tell(now, parent)

    def _deliver_policy(self, now: int, parent: Run, event: int, policy: str) -> None:
        self._apply_policy(now, parent, event, policy)

    def _apply_policy(self, now: int, parent: Run, event: int, policy: str) -> None:
        child = next((run for run in self.runs if run.is_open and run.parent == (parent, event)), None)
        if child is None:
            return
        child.add(asks=policy != "TERMINATE")
        if policy == "TERMINATE":
            self._close(child, "TERMINATED")
        self._save(child, now)

    def _deliver_send(self, now: int, sender: Run, workflow_id: str) -> None:
        target = self.open(workflow_id)
        if target is None:
            self._tell(now, sender)
        else:
            self._tell(now, target)
            self.effects.append(("arrived", sender))

    def _deliver_arrived(self, now: int, sender: Run) -> None:
        self._tell(now, sender)
