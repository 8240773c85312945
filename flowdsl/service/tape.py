"""A tape: calls and their answers, recorded once and played for ever.

Rule 1: with a transport behind it a tape records; without one it plays.
Rule 2: a played call is answered by the first unused recording with the same operation and the same members; members in `ignored`, which
        differ from process to process, are not compared. Threads may therefore play in another order than they recorded.
Rule 3: what is on a tape is everything: inputs, results and tokens. Treat the file as the data it is made of.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from flowdsl.errors import DefinitionError, Fault

if TYPE_CHECKING:
    from flowdsl.service.transport import Transport

_FORMAT = "flowdsl-tape-1"


class Tape:
    """A transport that records `transport`'s calls, or plays `calls` when there is no transport."""

    def __init__(
        self, transport: Transport | None = None, calls: Collection[Mapping[str, Any]] = (), *, ignored: Collection[str] = ("identity",)
    ) -> None:
        self._transport = transport
        self._ignored = frozenset(ignored)
        self._lock = threading.Lock()
        self.calls = [dict(call) for call in calls]
        self._unused = list(self.calls)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, ignored: Collection[str] = ("identity",)) -> Self:
        """The tape that `save` wrote, to be played. Raises `DefinitionError` for a file that is no tape."""
        with Path(path).open(encoding="utf-8") as file:
            try:
                content = json.load(file)
            except ValueError as error:
                raise DefinitionError(f"{os.fspath(path)} is no tape: {error}") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise DefinitionError(f"{os.fspath(path)} is no tape: it does not say {_FORMAT!r}")
        return cls(None, content["calls"], ignored=ignored)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was recorded as JSON."""
        with self._lock, Path(path).open("w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "calls": self.calls}, file, ensure_ascii=False, indent=1)

    @property
    def left(self) -> int:
        """How many recordings were not played yet."""
        return len(self._unused)

    def call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Record or play one call. Raises the recorded `Fault`, or `DefinitionError` when the tape has no answer."""
        return self._play(operation, params) if self._transport is None else self._record(self._transport, operation, params)

    def _record(self, transport: Transport, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        asked = json.loads(json.dumps(params))
        try:
            answer = transport.call(operation, params)
        except Fault as fault:
            outcome: dict[str, Any] = {"fault": {"code": fault.code, "message": fault.message, "retryable": fault.retryable}}
            self._keep({"operation": operation, "params": asked, **outcome})
            raise
        self._keep({"operation": operation, "params": asked, "answer": json.loads(json.dumps(answer))})
        return answer

    def _keep(self, call: dict[str, Any]) -> None:
        with self._lock:
            self.calls.append(call)

    def _play(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        asked = self._compared(json.loads(json.dumps(params)))
        with self._lock:
            same = (call for call in self._unused if call["operation"] == operation and self._compared(call["params"]) == asked)
            found = next(same, None)
            if found is None:
                raise DefinitionError(f"the tape has no answer (left) to {operation} with {asked!r}; record it again")
            self._unused.remove(found)
        if "fault" in found:
            raise Fault(**found["fault"])
        answer: dict[str, Any] = json.loads(json.dumps(found["answer"]))
        return answer

    def _compared(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in params.items() if name not in self._ignored}
