"""How attempts of one call are told apart, and how heartbeat details of a lost attempt reach the next one.

Amazon SWF has no retries: every attempt is a task of its own, and a worker is shown the activity id and the input, not the decision's
`control`. So the attempt is a suffix of the id
(`charge-1`, `charge-1~2`), and details of a lost attempt travel around the next one's input.
"""

from __future__ import annotations

import json

_SEPARATOR = "~"


def attempt_id(call_id: str, attempt: int) -> str:
    """The id of one attempt; the first attempt's is the call's own."""
    return call_id if attempt == 1 else f"{call_id}{_SEPARATOR}{attempt}"


def split_attempt(activity_id: str) -> tuple[str, int]:
    """The call id and the attempt (from 1) that an id stands for."""
    call_id, separator, attempt = activity_id.rpartition(_SEPARATOR)
    return (call_id, int(attempt)) if separator and attempt.isdecimal() else (activity_id, 1)


def with_heartbeat(text: str, details: str | None, limit: int) -> str:
    """The input of the next attempt: `text` and the details that the lost one left; the details are dropped if both exceed `limit`."""
    if details is None:
        return text
    wrapped = json.dumps({"heartbeat": details, "input": text}, ensure_ascii=False)
    return wrapped if len(wrapped) <= limit else text


def split_heartbeat(text: str | None) -> tuple[str | None, str | None]:
    """The input proper, and the encoded details of the lost attempt if there are any."""
    if text is None or not text.startswith('{"heartbeat":'):
        return text, None
    wrapped = json.loads(text)
    return wrapped["input"], wrapped["heartbeat"]
