"""What every peer's program uses: wall time and CPU time of one piece of work, and the answer to the driver."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """The numbers of the block, once it is left: `seconds`, and `cpu` of this process."""
    numbers: dict[str, Any] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield numbers
    numbers["seconds"] = time.perf_counter() - wall
    numbers["cpu"] = time.process_time() - cpu


def reported(works: Mapping[str, Callable[[int], dict[str, Any]]]) -> None:
    """Do the work that the command line names and print its numbers, after whatever the peer printed."""
    work, count = sys.argv[1], int(sys.argv[2])
    print("\n" + json.dumps(works[work](count)))
