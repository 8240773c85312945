"""The port: everything that can answer SWF's operations is a `Transport`.

Rule 1: one method. The operation is SWF's own action name, its members are SWF's own, in camelCase.
Rule 2: an answer is a plain dict: no response metadata, timestamps as floats (epoch seconds, milliseconds in the fraction), `{}` where the
        operation has no output. An empty poll has no `taskToken`.
Rule 3: a refusal is a `flowdsl.errors.Fault` whose `code` is SWF's own fault name, or one of the two below where no answer came.
Rule 4: a wrapper is a transport around a transport; it changes when and how often a call is made, never what it means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

#: The request did not reach the service: nothing happened there.
NOT_SENT: Final = "ConnectionError"
#: The request may have reached the service, its answer did not come back.
ANSWER_LOST: Final = "ConnectionLost"

#: The long polls: an answer hands out a task, and a second poll hands out another one.
POLLS: Final = frozenset({"PollForActivityTask", "PollForDecisionTask"})


@runtime_checkable
class Transport(Protocol):
    """Whatever answers SWF's operations: boto3, the embedded engine, a tape."""

    def call(self, operation: str, params: Mapping[str, Any], /) -> dict[str, Any]:
        """Perform `operation` (SWF's action name) with `params`; return its answer. Raises `Fault`."""


def begins_poll(operation: str, params: Mapping[str, Any]) -> bool:
    """Whether the call is a long poll that may hand out a task; asking for the next page of a task is not."""
    return operation in POLLS and "nextPageToken" not in params
