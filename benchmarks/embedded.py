"""Whole runs on the embedded engine, workers and replay included, against what SQLite needs for their events alone.

The floor writes what a sequential activity leaves in a history: six events, in the two commits that it takes (the decision with
the hand-over of the activity, its result with the hand-over of the decision). At once, a hundred activities share a commit.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time

from flowdsl import activity, run, workflow
from flowdsl.backends import Embedded

TEXT = "x" * 120


@activity
def add(x: int) -> int:
    """The least that an activity can do."""
    return x + 1


@workflow
def one_by_one(count: int) -> int:
    """`count` activities, each with the result of the one before."""
    x = 0
    for _ in range(count):
        x = add(x)
    return x


@workflow
def at_once(count: int) -> int:
    """`count` activities that wait for nobody."""
    return sum(add.map(range(count)))


def flow(function: object, count: int, durability: str) -> float:
    """Seconds of a whole run."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run(function, count, backend=Embedded(f"{folder}/e.db", durability=durability))  # type: ignore[arg-type]  # a workflow
        return time.perf_counter() - begun


def floor(count: int, durability: str, commits_each: float) -> float:
    """Seconds for six events an activity."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(f"{folder}/f.db", isolation_level=None)
        synchronous = {"process": "NORMAL", "full": "FULL"}[durability]
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", f"synchronous={synchronous}"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE events (execution, id, at, type, attributes, PRIMARY KEY (execution, id)) WITHOUT ROWID")
        rows = [(1, number, 0, "ActivityTaskScheduled", TEXT) for number in range(6 * count)]
        size = round(6 / commits_each)
        begun = time.perf_counter()
        for first in range(0, len(rows), size):
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows[first : first + size])
            connection.execute("COMMIT")
        took = time.perf_counter() - begun
        connection.close()
        return took


def main() -> None:
    print(f"{'activities':<40} {'this':>12} {'SQLite':>12} {'ratio':>7}")
    for durability, count, rounds in (("process", 1_000, 5), ("full", 300, 3)):
        for function, commits_each in ((one_by_one, 2.0), (at_once, 0.02)):
            flow(function, 20, durability)
            pairs = [(flow(function, count, durability), floor(count, durability, commits_each)) for _ in range(rounds)]
            this, base = (count / statistics.median(times) for times in zip(*pairs, strict=True))
            what = f"{count:,} {function.__name__.replace('_', ' ')}, durability={durability}"
            print(f"{what:<40} {this:>10,.0f}/s {base:>10,.0f}/s {this / base:>7.2f}")


if __name__ == "__main__":
    main()
