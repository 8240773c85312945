"""`Server`: deciders and activity workers on the task lists of one connection. `Worker`, an embedded file and an own `run` are each one.

Rule 1: a list that is served has a decider and an activity worker; a list that only activities name has an activity worker alone.
Rule 2: who is alone with an engine's file (`every_list`) serves every list that is named anywhere: by a definition, by a call's
        options, by an
        execution that was open before. Nobody else could.
Rule 3: stopping drains, and does not wait: open polls are finished or withdrawn, running activities end or their grace is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowdsl import config
from flowdsl.model.lifecycle import DECISIONS
from flowdsl.service.observed import Observer, observe
from flowdsl.service.swf import Swf
from flowdsl.workers.activities import ActivityWorker
from flowdsl.workers.builds import Build
from flowdsl.workers.decider import Decider
from flowdsl.workers.shadow import SHADOW_EVERY

if TYPE_CHECKING:
    from flowdsl.connection import Connection
    from flowdsl.lang.registry import Registry
    from flowdsl.workers.hooks import Hooks


class Server:
    """Serves task lists, each from the moment it is named in `start` or `add`.

    `activities` run at once and `deciders` decide at once, per list. `on_closed(workflow_id)` is called after a decision that closes an
    execution which nobody of this process waits for. `sticky` (default: with more than one decider) and `build` are the decider's.
    """

    def __init__(
        self, connection: Connection, registry: Registry, instances: list[Any], *,
        activities: int = 8, deciders: int = 1, hooks: Hooks | None = None, every_list: bool = False,
        on_closed: Callable[[str], object] | None = None, sticky: bool | None = None, build: str | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:  # fmt: skip
        self.instances = instances
        self._connection = connection
        self._registry = registry
        self._slots = activities
        self._threads = deciders
        self._hooks = hooks
        self._every_list = every_list
        self._sticky = build is None and (deciders > 1 if sticky is None else sticky)
        self._build = build
        self._transport = observe(connection.transport, observers)
        self._swf = Swf(self._transport, connection.domain)
        self._on_closed = on_closed
        self._lock = threading.Lock()
        self._deciders: dict[str, Decider] = {}
        self._activities: dict[str, ActivityWorker] = {}
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._stopped = False

    # --- serving

    def start(self, *task_lists: str) -> None:
        """Register what is served, and poll. Raises `Fault` where the service refuses the registration."""
        self.refresh()
        for name in task_lists:
            self.add(name)

    def refresh(self) -> None:
        """Take in what was decorated since."""
        definitions = [d for d in self._registry if d.kind in ("workflow", "activity")]
        self._connection.register(*definitions)
        if self._every_list:
            for definition in definitions:
                if definition.settings.task_list:
                    self.add(definition.settings.task_list, decide=definition.kind == "workflow")

    def add(self, task_list: str, *, decide: bool = True) -> None:
        """Serve one more list, its activities and (with `decide`) its decisions."""
        begun: list[ActivityWorker | Decider] = []
        with self._lock:
            if self._stopped:
                return
            if task_list not in self._activities:
                self._activities[task_list] = worker = self._activity_worker(task_list)
                begun.append(worker)
            if decide and task_list not in self._deciders:
                self._deciders[task_list] = decider = self._decider(task_list)
                begun.append(decider)
        for one in begun:
            one.start()

    def _activity_worker(self, task_list: str) -> ActivityWorker:
        connection = self._connection
        return ActivityWorker(
            self._transport, connection.domain, task_list, self._registry, connection.values,
            instances=self.instances, slots=self._slots, hooks=self._hooks, backend=connection.backend.name,
        )  # fmt: skip

    def _decider(self, task_list: str) -> Decider:
        connection, every = self._connection, config.shadow_every()
        build = None if self._build is None else Build(connection.swf, task_list, self._build)
        if build is not None:
            build.register()
        return Decider(
            self._swf, task_list, self._registry, connection.values,
            threads=self._threads, instances=self.instances, hooks=self._hooks, backend=connection.backend.name,
            on_response=self._responded, sticky=self._sticky, build=build,
            shadow_every=SHADOW_EVERY if every is None else every,
        )  # fmt: skip

    # --- what deciders do

    def when_closed(self, workflow_id: str, wake: Callable[[], None]) -> None:
        """Call `wake` once after a decision of ours that asks for this execution's end (the service may still refuse it)."""
        with self._lock:
            self._waiting.setdefault(workflow_id, []).append(wake)

    def _responded(self, execution: Mapping[str, str], batch: Iterable[Mapping[str, Any]]) -> None:
        for decision in batch:
            row = DECISIONS[decision["decisionType"]]
            if self._every_list:
                self._follow(row.type, decision.get(row.key, {}))
            if row.closes:
                self._closing(execution["workflowId"])

    def _follow(self, kind: str, attributes: Mapping[str, Any]) -> None:
        """Serve the list that a decision names."""
        if "taskList" in attributes:
            self.add(attributes["taskList"]["name"], decide=kind != "ScheduleActivityTask")

    def _closing(self, workflow_id: str) -> None:
        with self._lock:
            waiting = self._waiting.pop(workflow_id, [])
        for wake in waiting:
            wake()
        if not waiting and self._on_closed is not None:
            self._on_closed(workflow_id)

    # --- the end

    def stop(self, grace: float | None = None) -> None:
        """Poll no more; activities that run have `grace` seconds (None: as long as it takes). Does not wait: see `join`."""
        with self._lock:
            self._stopped = True
            deciders, workers = list(self._deciders.values()), list(self._activities.values())
        for decider in deciders:
            decider.stop()
        for worker in workers:
            worker.stop(grace)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until everything has ended; False if something has not after `timeout` seconds."""
        return self._wait(timeout, "join")

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until everything that was taken is answered; open polls are not waited for. False if it is not after `timeout` seconds."""
        return self._wait(timeout, "settle")

    def _wait(self, timeout: float | None, how: str) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            everybody = [*self._deciders.values(), *self._activities.values()]
        waits: list[Callable[[float | None], bool]] = [getattr(one, how) for one in everybody]
        return all([wait(None if deadline is None else max(0.0, deadline - time.monotonic())) for wait in waits])  # noqa: C419 - all of them
