"""When something is due: the one heap of all deadlines.

Rule 1: a deadline is named by (execution, event): the event that scheduled the task or started the timer; 0 is the execution itself.
Rule 2: the heap may hold entries that are void; `_due` is the truth, and the heap is swept when more than half of it is void.
Rule 3: what is due first is handled first; among equals, what was set first.
"""

from __future__ import annotations

import heapq

#: (key of the execution, event id)
Ref = tuple[int, int]


class Deadlines:
    """All open deadlines, in milliseconds."""

    __slots__ = ("_due", "_executions", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Ref]] = []
        self._due: dict[Ref, tuple[int, int]] = {}
        self._order = 0
        self._executions = 0

    def put(self, ref: Ref, due: int) -> None:
        """Set or move a deadline."""
        known = self._due.get(ref)
        if known is None:
            self._executions += ref[1] == 0
        elif known[0] == due:
            return
        self._order += 1
        self._due[ref] = due, self._order
        heapq.heappush(self._heap, (due, self._order, ref))
        if len(self._heap) > 2 * len(self._due) + 1_000:
            self._heap = [(when, order, name) for name, (when, order) in self._due.items()]
            heapq.heapify(self._heap)

    def discard(self, ref: Ref) -> None:
        """Drop a deadline, if there is one."""
        if self._due.pop(ref, None) is not None:
            self._executions -= ref[1] == 0

    def first(self) -> tuple[int, Ref] | None:
        """The earliest deadline and whose it is."""
        while self._heap:
            due, order, ref = self._heap[0]
            if self._due.get(ref) == (due, order):
                return due, ref
            heapq.heappop(self._heap)
        return None

    @property
    def only_executions(self) -> bool:
        """Whether nothing but whole executions can time out."""
        return len(self._due) == self._executions

    def __len__(self) -> int:
        return len(self._due)
