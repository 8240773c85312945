"""Task lists: which task is handed out next.

Rule 1: decision tasks and activity tasks live in separate lists, even where the names are equal; a list exists as soon as somebody
        names it.
Rule 2: higher priority first, then the older task, then the smaller ids: the same order after a restart.
Rule 3: a waiting decision task is on its list only while none of its execution is started; `runs.py` puts it there.
Rule 4: `fresh` collects the lists that got a task, so that whoever waits can be served without asking again and again. `to_call` is the
        same for lambda tasks: they are on no list, and in hand from their start on.
"""

from __future__ import annotations

import heapq

from flowdsl.engine.deadlines import Ref

#: (kind, domain, task list); kind is "D" for decision tasks, "A" for activity tasks
ListName = tuple[str, str, str]

_Entry = tuple[int, int, Ref]


class TaskLists:
    """What can be handed out now, and what is in somebody's hand."""

    __slots__ = ("_heaps", "_place", "fresh", "in_hand", "sizes", "to_call")

    def __init__(self) -> None:
        self._heaps: dict[ListName, list[_Entry]] = {}
        self._place: dict[Ref, ListName] = {}
        #: tasks that can be handed out, by list
        self.sizes: dict[ListName, int] = {}
        #: started tasks of every kind
        self.in_hand: set[Ref] = set()
        self.fresh: list[ListName] = []
        self.to_call: list[Ref] = []

    def put(self, name: ListName, priority: int, at: int, ref: Ref) -> None:
        """Make a task available; nothing happens if it is already."""
        if ref in self._place:
            return
        self._place[ref] = name
        heapq.heappush(self._heaps.setdefault(name, []), (-priority, at, ref))
        self.sizes[name] = self.sizes.get(name, 0) + 1
        self.fresh.append(name)

    def discard(self, ref: Ref) -> None:
        """The task is closed or void, or has to wait."""
        self.in_hand.discard(ref)
        name = self._place.pop(ref, None)
        if name is None:
            return
        left = self.sizes[name] - 1
        if left:
            self.sizes[name] = left
        else:
            del self.sizes[name], self._heaps[name]

    def hand_out(self, ref: Ref) -> None:
        """The task is started."""
        self.discard(ref)
        self.in_hand.add(ref)

    def call(self, ref: Ref) -> None:
        """The lambda task is started: its function has to be called."""
        if ref not in self.in_hand:
            self.in_hand.add(ref)
            self.to_call.append(ref)

    def first(self, name: ListName) -> Ref | None:
        """The task that the next poll of this list gets."""
        heap = self._heaps.get(name)
        while heap:
            ref = heap[0][2]
            if self._place.get(ref) == name:
                return ref
            heapq.heappop(heap)
        return None
