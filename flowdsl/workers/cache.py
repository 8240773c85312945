"""Replayers of open executions, kept between decision tasks, so that the next one feeds only what is new.

Rule 1: a cache belongs to one thread. Its replayers are made, fed and closed there: branches are greenlets and never leave their thread.
Rule 2: a kept replayer is used only if it surely stands where the service stands: the last decision task that was processed is the one it
        answered, its definition is still the registered one, and the new events follow the last fed one without a gap. At any doubt it
        is closed, and the whole history is replayed: the decisions are the same (replay rule 1), they only cost more.
Rule 3: a replayer is taken out to be used, and put back when the service has taken its decisions. Whatever goes wrong in between, nothing
        stale stays behind.
Rule 4: number and memory are bounded; what was not used for longest is closed first. Memory is an estimate, `weight`: what Python objects
        cost cannot be asked for cheaply, but it grows with the events that were fed and with their texts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flowdsl.replay.replayer import Replayer

KEPT: Final = 1_000
"""Executions that a decider thread keeps; each costs the memory of its suspended branches (some ten kilobytes, and what user code
holds)."""

KEPT_BYTES: Final = 128 * 1_048_576
"""What they may weigh together."""

_BODY, _EVENT = 20_000, 200  # bytes: a suspended body with its journal, and what an event leaves in the index
_TEXTS = ("input", "result", "details")


def weight(events: Sequence[Mapping[str, Any]]) -> int:
    """About how many bytes a replayer keeps of these events."""
    total = 0
    for event in events:
        for value in event.values():
            if isinstance(value, dict):
                total += sum(len(value.get(name) or "") for name in _TEXTS)
    return total + _EVENT * len(events)


class Cache:
    """At most `size` replayers of one thread, by run id, of `memory` bytes at most. A cache of size 0 keeps nothing."""

    def __init__(self, size: int = KEPT, memory: int = KEPT_BYTES) -> None:
        self._size = size
        self._memory = memory
        self._kept: OrderedDict[str, tuple[Replayer, int]] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def keeps(self) -> bool:
        """Whether it may ever have something."""
        return self._size > 0

    @property
    def weight(self) -> int:
        """About how many bytes the kept replayers take."""
        return self._weight

    def take(self, task: Mapping[str, Any], definition: Any) -> tuple[Replayer, int] | None:
        """Take out the replayer that can go on with this decision task, and its weight; None if there is none (a stale one is closed)."""
        run_id = task["workflowExecution"]["runId"]
        if run_id not in self._kept:
            return None
        replayer, weighs = self._kept.pop(run_id)
        self._weight -= weighs
        if replayer.definition is definition and replayer.journal.last_id == task["previousStartedEventId"]:
            return replayer, weighs
        replayer.close()
        return None

    def keep(self, replayer: Replayer, weighs: int) -> None:
        """Put in a replayer whose decisions the service has taken."""
        weighs = max(weighs, _BODY)
        self._kept[replayer.run_id] = replayer, weighs
        self._weight += weighs
        while self._kept and (len(self._kept) > self._size or self._weight > self._memory):
            self._drop(last=False)

    def close(self) -> None:
        """Close them all; on the cache's own thread, before it ends."""
        while self._kept:
            self._drop(last=True)

    def _drop(self, *, last: bool) -> None:
        replayer, weighs = self._kept.popitem(last=last)[1]
        self._weight -= weighs
        replayer.close()


def unseen(events: Sequence[Mapping[str, Any]], replayer: Replayer, task: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Those events of the task that the replayer was not fed; None if they do not follow without a gap up to the task's own start."""
    first, last = replayer.journal.last_id + 1, task["startedEventId"]
    new = [event for event in events if event["eventId"] >= first]
    return new if [event["eventId"] for event in new] == list(range(first, last + 1)) else None
