"""Builds: an execution stays with the code that started it, new starts go to the newest code, and `flowdsl upgrade` moves what fits.

Rule 1: each build of a task list has a decision task list of its own, `LIST.BUILD`. The first response to an execution names it, for good
        (a task list override without a timeout); continue-as-new and children begin on the shared list, so with the newest build.
Rule 2: the newest build is the one that was registered last. It is asked of the service and needs nothing else: a build is registered as a
        version of the workflow type `flowdsl.build.LIST`, and the service keeps creation dates. A build whose type is deprecated is not
        counted, so deprecating the newest is the way back to the one before.
Rule 3: only workers of the newest build poll the shared list; who that is, is looked up every `LOOK` seconds. A start that an older worker
        takes meanwhile stays with the older build, which is served as long as such a worker runs.
Rule 4: an execution is moved by a signal with a reserved name. The worker of the old build answers the task that it causes by naming the
        other build's list; workflow code never sees that signal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from flowdsl.limits import NAME, VERSION, check_name
from flowdsl.model.carried import UPGRADE_SIGNAL

if TYPE_CHECKING:
    from flowdsl.service.swf import Swf

LOOK: Final = 10.0
"""Seconds between two looks at which build is the newest."""


class Build:
    """One build of the code behind a task list. Raises `DefinitionError` for a name that Amazon SWF would refuse."""

    def __init__(self, swf: Swf, task_list: str, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        check_name(name, "Worker(build=…)", maximum=VERSION)
        self.name = name
        self.shared = task_list
        self.task_list = check_name(self.list_of(name), "the build's task list")
        self._swf = swf
        self._clock = clock
        self._lock = threading.Lock()
        self._looked: float | None = None
        self._newest = True
        self._stopping = threading.Event()

    def list_of(self, build: str) -> str:
        """The decision task list of a build."""
        return list_of(self.shared, build)

    def register(self) -> None:
        """Make this build known; the last one that became known is the newest."""
        self._swf.register_workflow_type(name=type_of(self.shared), version=self.name)

    def is_newest(self) -> bool:
        """Whether new starts are this build's."""
        with self._lock:
            now = self._clock()
            if self._looked is None or now - self._looked >= LOOK:
                self._newest = newest(self._swf, self.shared) in (None, self.name)
                self._looked = now
            return self._newest

    def wait(self) -> None:
        """Wait until it is time to look again, or for `stop`."""
        self._stopping.wait(LOOK)

    def stop(self) -> None:
        """Interrupt waiting."""
        self._stopping.set()


def type_of(task_list: str) -> str:
    """The workflow type whose versions are the builds of a task list."""
    return f"flowdsl.build.{task_list}"[:NAME]


def list_of(task_list: str, build: str) -> str:
    """The decision task list of a build."""
    return f"{task_list}.{build}"


def newest(swf: Swf, task_list: str) -> str | None:
    """The build that was registered last; None if there is none."""
    known = swf.list_workflow_types(name=type_of(task_list))
    latest = max(known, key=lambda info: (info["creationDate"], info["workflowType"]["version"]), default=None)
    return None if latest is None else str(latest["workflowType"]["version"])


def moved_to(events: Sequence[Mapping[str, Any]]) -> str | None:
    """The build that the last signal of `flowdsl upgrade` among these events names."""
    for event in reversed(events):
        if event["eventType"] == "WorkflowExecutionSignaled":
            about = event["workflowExecutionSignaledEventAttributes"]
            if about["signalName"] == UPGRADE_SIGNAL:
                return str(about.get("input") or "") or None
    return None
