"""What an activity can reach of the flowdsl that runs it: `info()` and `heartbeat()`, and nothing else.

Rule 1: an activity's scope is transparent: decorated calls inside an activity are plain calls.
Rule 2: the scope knows no service. Whoever runs the activity gives it a function for heartbeats and may set `cancelled` from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flowdsl.errors import Cancelled, DefinitionError
from flowdsl.lang.promises import Promise

if TYPE_CHECKING:
    from flowdsl.lang.context import Call, Info, Line


class ActivityScope:
    """The `Runtime` inside one attempt of an activity (or a recorded function)."""

    transparent = True

    def __init__(self, about: Info, beat: Callable[[Any], None] | None = None) -> None:
        self._about = about
        self._beat = beat
        self.cancelled = False

    def info(self) -> Info:
        """Ids, attempt, token and the lost attempt's heartbeat details."""
        return self._about

    def heartbeat(self, details: Any = None) -> None:
        """Report progress; raises `Cancelled` when the activity was asked to stop."""
        if self._beat is not None:
            self._beat(details)
        if self.cancelled:
            raise Cancelled(f"{self._about.name} was asked to stop")

    def start(self, call: Call) -> Promise[Any]:
        """A plain call, settled at once."""
        return Promise.of(lambda: call.target.invoke(call.args, call.kwargs, call.instance))

    def wait(self, ready: Callable[[], bool], promises: Sequence[Promise[Any]], timeout: float | None) -> bool:
        """Nothing is ever pending in an activity."""
        raise DefinitionError("an activity cannot wait for promises of a workflow; pass it their results instead")

    def here(self) -> Line:
        """Nothing can interrupt an activity's code but its worker."""
        raise DefinitionError("an activity has no line that workflow code could interrupt")

    def spawn(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Promise[Any]:
        """A plain call, settled at once."""
        return Promise.of(lambda: fn(*args, **kwargs))
