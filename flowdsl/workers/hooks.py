"""What a program may hear of its workers.

Rule 1: a hook is called in the worker's own thread and must return soon. What it raises is logged, never passed on: a hook cannot stop
        a worker.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("flowdsl.worker")


@dataclass(frozen=True, slots=True)
class Hooks:
    """`on_idle()` is called when a poll came back empty; `on_error(error, about)` when something went wrong that no caller hears of.

    `about` says what it belongs to: the workflow's or the task's ids, the operation, the task list; whatever is known.
    """

    on_idle: Callable[[], Any] | None = None
    on_error: Callable[[BaseException, dict[str, Any]], Any] | None = None

    def idle(self) -> None:
        """A poll came back empty."""
        if self.on_idle is not None:
            try:
                self.on_idle()
            except Exception:
                log.exception("the hook on_idle failed")

    def report(self, error: BaseException, about: Mapping[str, Any]) -> None:
        """Something went wrong."""
        if self.on_error is not None:
            try:
                self.on_error(error, dict(about))
            except Exception:
                log.exception("the hook on_error failed")
