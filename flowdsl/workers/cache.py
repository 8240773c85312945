"""Replayers of open executions, kept between decision tasks, so that the next one feeds only what is new.

Rule 1: a cache belongs to one thread. Its replayers are made, fed and closed there: branches are greenlets and never leave their thread.
Rule 2: a kept replayer is used only if it surely stands where the service stands: the last decision task that was processed is the one it
        answered, its definition is still the registered one, and the new events follow the last fed one without a gap. At any doubt it
        is closed, and the whole history is replayed: the decisions are the same (replay rule 1), they only cost more.
Rule 3: a replayer is taken out to be used, and put back when the service has taken its decisions. Whatever goes wrong in between, nothing
        stale stays behind.
Rule 4: the number is bounded; what was not used for longest is closed first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flowdsl.replay.replayer import Replayer

KEPT: Final = 200
"""Executions that a decider thread keeps; each costs the memory of its suspended branches (some ten kilobytes, and what user code
holds)."""


class Cache:
    """At most `size` replayers of one thread, by run id. A cache of size 0 keeps nothing."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._kept: OrderedDict[str, Replayer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def keeps(self) -> bool:
        """Whether it may ever have something."""
        return self._size > 0

    def take(self, task: Mapping[str, Any], definition: Any) -> Replayer | None:
        """Take out the replayer that can go on with this decision task; None if there is none (a stale one is closed)."""
        replayer = self._kept.pop(task["workflowExecution"]["runId"], None)
        if replayer is None:
            return None
        if replayer.definition is definition and replayer.journal.last_id == task["previousStartedEventId"]:
            return replayer
        replayer.close()
        return None

    def keep(self, replayer: Replayer) -> None:
        """Put in a replayer whose decisions the service has taken."""
        self._kept[replayer.run_id] = replayer
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)[1].close()

    def close(self) -> None:
        """Close them all; on the cache's own thread, before it ends."""
        while self._kept:
            self._kept.popitem()[1].close()


def unseen(events: Sequence[Mapping[str, Any]], replayer: Replayer, task: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Those events of the task that the replayer was not fed; None if they do not follow without a gap up to the task's own start."""
    first, last = replayer.journal.last_id + 1, task["startedEventId"]
    new = [event for event in events if event["eventId"] >= first]
    return new if [event["eventId"] for event in new] == list(range(first, last + 1)) else None
