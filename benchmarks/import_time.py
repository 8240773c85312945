"""How long a fresh interpreter takes to import flowdsl, as a multiple of one that imports nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
STATEMENTS = {
    "nothing": "pass",
    "wrapt, msgspec, greenlet": "import wrapt, msgspec, greenlet",
    "flowdsl": "import flowdsl",
    "boto3": "import boto3",
    "flowdsl --help": "import sys; sys.argv = ['flowdsl', '--help']; import flowdsl.cli; flowdsl.cli.main()",
}


def once(statement: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    measured: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for statement in STATEMENTS.values():
        once(statement)  # the first one compiles and fills the file cache
    for _ in range(ROUNDS):
        for name, statement in STATEMENTS.items():
            measured[name].append(once(statement))
    nothing = statistics.median(measured["nothing"])
    print(f"{'import':<26} {'times':>6} {'added ms':>9}")
    for name, times in measured.items():
        median = statistics.median(times)
        print(f"{name:<26} {median / nothing:>6.1f} {(median - nothing) * 1000:>9.0f}")


if __name__ == "__main__":
    main()
