"""Who polls, as a history shows it."""

from __future__ import annotations

import os
import socket

from flowdsl.limits import IDENTITY
from flowdsl.model.payload import shorten


def default_identity() -> str:
    """Process id and host of this process."""
    return shorten(f"{os.getpid()}@{socket.gethostname()}", IDENTITY)
