"""What one run hands to the next beside its input: signals that arrived and that nobody has taken yet.

Amazon SWF gives a continued execution a new history with nothing in it but the input; so what must not be lost travels around that.
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


def split_signals(text: str | None) -> tuple[str | None, Unread]:
    """The input proper, and the signals that the run before left unread."""
    if text is None or not text.startswith('{"signals":'):
        return text, ()
    wrapped = json.loads(text)
    return wrapped["input"], [(name, payload) for name, payload in wrapped["signals"]]
