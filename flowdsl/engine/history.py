"""Reading a history by pages.

Rule 1: `maximumPageSize` absent or 0 is 1,000. A page token is given if and only if there is more: a last page that is exactly full
        has none.
Rule 2: `reverseOrder` is applied before pages are cut.
Rule 3: a history may grow between two pages; going up, pages go on to its end of that moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flowdsl.engine.execution import Execution, wire
from flowdsl.limits import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowdsl.engine.world import World


def page_size(params: Mapping[str, Any]) -> int:
    """How many items a page may have."""
    wanted: int | None = params.get("maximumPageSize")
    return wanted or PAGE_SIZE


class Page(NamedTuple):
    """The events `first` … `last`, of which `size` are wanted, beginning at `at` and going down if `reverse`."""

    first: int
    last: int
    at: int
    size: int
    reverse: bool


def read_events(world: World, key: int, execution: Execution | None, page: Page) -> tuple[list[dict[str, Any]], int | None]:
    """One page of the history of run `key`; and where the next page begins, or None.

    `execution` is the folded run if it is open: what it still has in memory is not read again.
    """
    first, last, at, size, reverse = page
    low, high = (max(first, at - size + 1), at) if reverse else (at, min(last, at + size - 1))
    rows = None if execution is None else execution.recent(low, high)
    if rows is None:
        rows = world.store.all(
            "SELECT id, at, type, attributes FROM events WHERE execution = ? AND id BETWEEN ? AND ? ORDER BY id", (key, low, high)
        )
    events = [wire(row) for row in rows]
    if reverse:
        events.reverse()
        return events, low - 1 if low > first else None
    return events, high + 1 if high < last else None
