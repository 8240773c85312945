"""`f.map(xs)`: a window of calls that slides over the items.

Rule 1: items are taken from the iterable only when their call is started, so that an endless source is as good as a list.
Rule 2: values stand in the order of the items, the first exception is the first that happened; after it nothing more is started.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flowdsl.errors import DefinitionError
from flowdsl.lang import outside
from flowdsl.lang.context import Runtime, workflow_runtime

if TYPE_CHECKING:
    from flowdsl.lang.promises import Promise


def map_calls(definition: Any, xs: Iterable[Any], concurrency: Any) -> list[Any]:
    """`[definition(x) for x in xs]`; inside a workflow at most `concurrency` (None: any number) are open at a time."""
    if concurrency is not None and (isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1):
        raise DefinitionError(f"{definition.short_name}.map(concurrency={concurrency!r}): give a whole number, 1 or more, or None")
    runtime = workflow_runtime()
    if runtime is not None:
        return _Window(runtime, concurrency).run(definition, xs)
    if definition.is_async:
        return [outside.run_now(lambda x=x: definition(x), f"{definition.name}.map()") for x in xs]  # type: ignore[misc]  # a default per item
    return [definition(x) for x in xs]


class _Window:
    def __init__(self, runtime: Runtime, size: int | None) -> None:
        self.runtime = runtime
        self.size = size
        self.open: dict[int, Promise[Any]] = {}
        self.failed: list[Promise[Any]] = []

    def run(self, definition: Any, xs: Iterable[Any]) -> list[Any]:
        promises: list[Promise[Any]] = []
        for x in xs:
            promise = definition.start(x)
            promises.append(promise)
            self.open[id(promise)] = promise
            promise.subscribe(self._settled)
            if self.size is not None:
                self._wait_until_open(self.size - 1)
            if self.failed:
                break
        self._wait_until_open(0)
        for promise in self.open.values():
            promise.unsubscribe(self._settled)
        if self.failed:
            min(self.failed, key=lambda promise: promise.settled_at).result()
        return [promise.result() for promise in promises]

    def _settled(self, promise: Promise[Any]) -> None:
        del self.open[id(promise)]
        if promise.failed:
            self.failed.append(promise)

    def _wait_until_open(self, most: int) -> None:
        """Wait until at most `most` calls are open, or one has failed."""
        if len(self.open) > most and not self.failed:
            self.runtime.wait(lambda: len(self.open) <= most or bool(self.failed), tuple(self.open.values()), None)
