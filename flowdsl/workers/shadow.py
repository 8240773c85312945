"""Shadow replays: now and then, what a kept execution decides is compared with what its whole history says.

Rule 1: the whole history is the truth. Where a kept replayer differs, the fresh one's answer goes out, the difference is reported as ours,
        and nothing is kept.
Rule 2: a shadow runs no recorded function: a turn that ran one for the first time is not compared, the next one is.
Rule 3: a shadow is silent: the workflow's logger takes it for a replay.
Rule 4: counts are kept per process, so that tests and metrics can tell how often both agreed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from flowdsl.errors import InternalError

if TYPE_CHECKING:
    from flowdsl.replay.replayer import Replayer

SHADOW_EVERY: Final = 500
"""Of so many decision tasks that a kept execution answers, one is compared. 1 compares each, 0 none."""

Answer = tuple[list[dict[str, Any]], str]


class Counts:
    """How often kept and fresh agreed and differed, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.agreed = 0
        self.differed = 0

    def note(self, *, agreed: bool) -> None:
        """One comparison."""
        with self._lock:
            if agreed:
                self.agreed += 1
            else:
                self.differed += 1


COUNTS: Final = Counts()


class Turnstile:
    """Says which turns of one decider are compared."""

    def __init__(self, every: int = SHADOW_EVERY) -> None:
        self._every = every
        self._passed = 0

    def compares(self, *, recorded: bool) -> bool:
        """Whether this turn is compared; `recorded`: it ran a recorded function for the first time (rule 2)."""
        self._passed += 1
        if not self._every or recorded or self._passed < self._every:
            return False
        self._passed = 0
        return True


def refuse_to_record(target: Any, args: Any, kwargs: Any, instance: Any) -> NoReturn:
    """Stands for the recorder of a shadow. Raises `InternalError`: the kept replayer ran nothing in this turn."""
    raise InternalError(f"a replay of the whole history runs {target.name}, whose outcome the kept execution has found recorded")


def difference(replayer: Replayer, kept: Answer, fresh: Answer) -> InternalError:
    """The error that shows both answers' decisions."""
    return InternalError(
        f"a kept execution of {replayer.definition.name!r} (workflow id {replayer.workflow_id}, run {replayer.run_id}) decided differently "
        f"from a replay of its whole history, at event {replayer.journal.last_id}. The replay's decisions were sent.\n"
        f"  kept    {_sketch(kept)}\n  replay  {_sketch(fresh)}\n"
        "  Does the workflow look at something that changes outside of it (a global, a file, an object that two executions share)?"
    )


def _sketch(answer: Answer) -> str:
    decisions: Sequence[Mapping[str, Any]] = answer[0]
    return ", ".join(f"{one['decisionType']} {_named(one)}" for one in decisions[:8]) or "nothing"


def _named(decision: Mapping[str, Any]) -> str:
    for key, attributes in decision.items():
        if key.endswith("Attributes"):
            return str(attributes.get("activityId") or attributes.get("timerId") or attributes.get("markerName") or "")
    return ""
