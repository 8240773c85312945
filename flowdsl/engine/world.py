"""Everything an engine holds, as one value that its operations are given.

Rule: an operation is a plain function `(world, now, params) -> answer`. It refuses before it changes anything, changes executions only
through `runs`, and leaves the commit to the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from flowdsl.engine.catalogue import Catalogue
from flowdsl.engine.deadlines import Deadlines
from flowdsl.engine.effects import Effects
from flowdsl.engine.runs import Runs
from flowdsl.engine.tasks import TaskLists
from flowdsl.engine.throttling import Buckets
from flowdsl.engine.tokens import Tokens, new_run_id

if TYPE_CHECKING:
    from flowdsl.engine.quotas import Quotas
    from flowdsl.engine.store import Store
    from flowdsl.engine.throttling import Throttles


class Place(NamedTuple):
    """Where the engine says it is."""

    region: str
    account: str
    #: whether AWS Lambda exists in this region
    has_lambda: bool


class World:
    """The parts of one engine."""

    __slots__ = (
        "buckets",
        "catalogue",
        "deadlines",
        "effects",
        "entropy",
        "lists",
        "place",
        "quotas",
        "runs",
        "store",
        "tokens",
    )

    def __init__(self, store: Store, quotas: Quotas, throttles: Throttles | None, place: Place, entropy: Callable[[int], bytes]) -> None:
        self.store = store
        self.quotas = quotas
        self.place = place
        self.entropy = entropy
        self.tokens = Tokens(store.secret)
        self.buckets = Buckets(throttles, self.tokens)
        self.read()

    def new_run_id(self) -> str:
        """The id of a run that begins now."""
        return new_run_id(self.entropy)

    def read(self) -> None:
        """Forget what is in memory and read the file's indexes."""
        self.catalogue = Catalogue(self.store)
        self.lists = TaskLists()
        self.deadlines = Deadlines()
        self.effects = Effects(self.store)
        self.runs = Runs(self.store, self.catalogue, lists=self.lists, deadlines=self.deadlines, effects=self.effects, quotas=self.quotas)
        self.effects.load()
        self.runs.load()


Operation = Callable[[World, int, Mapping[str, Any]], dict[str, Any]]
