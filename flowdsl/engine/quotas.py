"""The quotas of Amazon SWF that the engine keeps, as one value that a test can scale down.

Rule 1: the defaults are those of the developer guide's page "Amazon SWF Quotas"; an embedded engine keeps the open counts and
        the history limit, because programs must see them before they meet them on AWS. Request rates are `throttling.py`'s.
Rule 2: quotas are an argument of the engine, never an environment variable: two engines in one process may differ.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from flowdsl import limits


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much of each thing may exist at once; counts, except where said otherwise."""

    #: registered and deprecated ones together
    domains: int = limits.DOMAINS
    #: per domain and kind, deprecated ones included
    types: int = limits.TYPES
    #: per domain, children included
    open_executions: int = limits.OPEN_EXECUTIONS
    #: per execution; scheduled and started ones
    open_activities: int = limits.OPEN_ACTIVITIES
    #: per execution
    open_timers: int = limits.OPEN_TIMERS
    #: per execution
    open_children: int = limits.OPEN_CHILDREN
    #: per execution
    open_lambdas: int = limits.OPEN_LAMBDAS
    #: events of one history: the execution is terminated with the last one
    history_events: int = limits.HISTORY_EVENTS
    #: polls waiting on one task list
    pollers: int = limits.POLLERS
    #: tags of one domain
    resource_tags: int = limits.RESOURCE_TAGS
    #: bytes of one request
    request_bytes: int = limits.REQUEST_BYTES

    def scaled(self, factor: float) -> Quotas:
        """The same with every count `factor` times as large, and at least 1; a history keeps room for an execution that does nothing.

        The size of a request is no count and stays.
        """
        counts = {field.name: max(1, int(getattr(self, field.name) * factor)) for field in fields(self)}
        counts["history_events"] = max(_SHORTEST_HISTORY, counts["history_events"])
        return replace(self, **counts | {"request_bytes": self.request_bytes})


#: started, a decision task scheduled, started and completed, closed; and the events that a close at the limit needs
_SHORTEST_HISTORY = 10
