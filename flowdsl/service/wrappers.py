"""The wrappers of a transport, each a transport itself; they may be put around each other in any order.

`Logging(Retrying(BotoTransport()))` logs what the program asked for, `Retrying(Logging(BotoTransport()))` every single attempt.
"""

from __future__ import annotations

from flowdsl.service.chaos import Chaos
from flowdsl.service.logged import Logging
from flowdsl.service.retrying import Retrying
from flowdsl.service.tape import Tape
from flowdsl.service.withdrawable import Withdrawable

__all__ = ["Chaos", "Logging", "Retrying", "Tape", "Withdrawable"]
