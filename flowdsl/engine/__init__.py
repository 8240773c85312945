"""Amazon SWF itself, on one SQLite file: the engine behind the embedded backend, the development server and the tests.

`Engine` is SWF without a clock: `apply(now, operation, params)` and `tick(now)`. `Service` adds the clock, the lock and the
long poll, and is a transport like any other.
"""

from __future__ import annotations

from flowdsl.engine.clocks import Clock, ManualClock, SkippingClock, SystemClock
from flowdsl.engine.engine import Engine
from flowdsl.engine.lambdas import Failed, Invocation, Returned
from flowdsl.engine.quotas import Quotas
from flowdsl.engine.service import Service, Ticket
from flowdsl.engine.throttling import Throttles

__all__ = [
    "Clock",
    "Engine",
    "Failed",
    "Invocation",
    "ManualClock",
    "Quotas",
    "Returned",
    "Service",
    "SkippingClock",
    "SystemClock",
    "Throttles",
    "Ticket",
]
