"""Writes a line for every call: what it was about and how it ended, never what it carried.

Rule 1: a line shows only the members in `_SHOWN`: names and ids. Inputs, results, details, reasons, contexts and tokens are in none.
Rule 2: of a fault, the code: the service's messages quote the values they refuse.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flowdsl.errors import Fault

if TYPE_CHECKING:
    from flowdsl.service.transport import Transport

log = logging.getLogger("flowdsl.service")

_SHOWN = ("domain", "name", "version", "workflowId", "runId", "signalName", "activityId", "identity")
_SHOWN_IN = ("taskList", "execution", "workflowExecution", "workflowType", "activityType", "executionFilter", "typeFilter")
_COUNTED = ("decisions", "events", "executionInfos")


class Logging:
    """A transport that logs calls at `level` (a fault: one level up) to the logger `flowdsl.service`."""

    def __init__(
        self, transport: Transport, *, logger: logging.Logger = log, level: int = logging.DEBUG, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._logger = logger
        self._level = level
        self._clock = clock

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Perform the operation and log it. Raises what the transport raises."""
        began = self._clock()
        try:
            answer = self._transport.call(operation, params)
        except Fault as fault:
            self._write(self._level + 10, operation, began, params, {}, f"refused: {fault.code}")
            raise
        except BaseException as error:
            self._write(self._level + 10, operation, began, params, {}, f"raised {type(error).__name__}")
            raise
        self._write(self._level, operation, began, params, answer, "ok")
        return answer

    def _write(self, level: int, operation: str, began: float, params: Mapping[str, Any], answer: Mapping[str, Any], outcome: str) -> None:
        if self._logger.isEnabledFor(level):
            about = " ".join([*_about(params), *_about(answer)])
            self._logger.log(level, "%s %s in %.1f ms %s", operation, outcome, (self._clock() - began) * 1000, about)


def _about(members: Mapping[str, Any]) -> list[str]:
    shown = [f"{name}={_plain(members[name])}" for name in _SHOWN if name in members]
    for name in _SHOWN_IN:
        inner = members.get(name)
        if isinstance(inner, Mapping):
            shown += [f"{name}.{key}={_plain(inner[key])}" for key in _SHOWN if key in inner]
    return shown + [f"{name}={len(members[name])}" for name in _COUNTED if name in members]


def _plain(value: Any) -> str:
    """A name as it is; one that the service will refuse for its control characters as Python writes it, so that it forges no line."""
    text = str(value)
    return text if text.isprintable() else repr(value)
