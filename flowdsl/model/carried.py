"""What travels around an input: a signal's id; and what one run hands to the next, signals that arrived and that nobody has taken yet.

Amazon SWF gives a continued execution a new history with nothing in it but the input; so what must not be lost travels around that. If it
is more than an input can hold it goes to the store, and `{"carried": …}` stands for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

UPGRADE_SIGNAL: Final = "flowdsl.upgrade"
"""The signal that moves an execution to another build of its code; its input is the build's name. Workflow code never sees it."""

Unread = Sequence[tuple[str, str | None]]


def with_signals(text: str, unread: Unread) -> str:
    """The next run's input: `text`, and (name, payload) of the unread signals in the order in which they arrived."""
    if not unread:
        return text
    return json.dumps({"signals": [list(one) for one in unread], "input": text}, ensure_ascii=False)


def with_reference(packed: str) -> str:
    """The next run's input, when `packed` stands for all of it."""
    return json.dumps({"carried": packed}, ensure_ascii=False)


def referred(text: str | None) -> str | None:
    """What `with_reference` was given; None for other inputs."""
    if text is None or not text.startswith('{"carried":'):
        return None
    packed: str = json.loads(text)["carried"]
    return packed


def with_id(text: str, signal_id: str) -> str:
    """A signal's payload under an id, by which a receiver knows that it has it already."""
    return json.dumps({"signal": signal_id, "input": text}, ensure_ascii=False)


def split_id(text: str | None) -> tuple[str | None, str | None]:
    """A signal's payload, and its id or None."""
    if text is None or not text.startswith('{"signal":'):
        return text, None
    wrapped = json.loads(text)
    return wrapped["input"], wrapped["signal"]


def split_signals(text: str | None) -> tuple[str | None, Unread]:
    """The input proper, and the signals that the run before left unread."""
    if text is None or not text.startswith('{"signals":'):
        return text, ()
    wrapped = json.loads(text)
    return wrapped["input"], [(name, payload) for name, payload in wrapped["signals"]]
