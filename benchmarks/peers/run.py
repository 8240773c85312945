"""flowdsl beside others: the same work, interleaved, each peer in its own environment; medians and ratios, written to docs/benchmarks.md.

`python benchmarks/peers/run.py [ROUNDS]`; `make bench-peers` makes the environments first (git-ignored, `.bench/`).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = {
    "flowdsl": "flowdsl", "DBOS": "dbos", "Prefect": "prefect", "AWS durable SDK": "aws-durable-execution-sdk-python",
    "Temporal": "temporalio", "simpleflow": "simpleflow",
}  # fmt: skip
FOLDERS = {"DBOS": "dbos", "Prefect": "prefect", "AWS durable SDK": "awsdurable", "Temporal": "temporalio", "simpleflow": "simpleflow"}

# work, how it is said, and who does it with how many: (peer, program's word, count).
WORKS: list[tuple[str, str, list[tuple[str, str, int]]]] = [
    ("a decorated call outside any run, over the plain call (ns)", "call", [("flowdsl", "call", 200_000), ("DBOS", "call", 200_000)]),
    (
        "sequential activities, durable (per second)", "rate",
        [
            ("flowdsl", "sequential", 1000), ("DBOS", "sequential", 1000), ("AWS durable SDK", "sequential", 1000),
            ("Prefect", "sequential", 100),
        ],
    ),
    (
        "parallel activities, durable (per second)", "rate",
        [("flowdsl", "parallel", 1000), ("DBOS", "parallel", 1000), ("AWS durable SDK", "parallel", 1000), ("Prefect", "parallel", 100)],
    ),
    *(
        (
            f"replay of {count:,} activities (thousand events per second of CPU)", "replay",
            [("flowdsl", "replay", count), ("Temporal", "replay", count), ("Temporal, sandboxed", "replay-sandboxed", count)],
        )
        for count in (20, 1000, 4000)
    ),
]  # fmt: skip
IMPORTS = {
    "flowdsl": "import flowdsl", "DBOS": "import dbos", "Prefect": "import prefect",
    "AWS durable SDK": "import aws_durable_execution_sdk_python", "Temporal": "import temporalio.worker, temporalio.workflow",
    "simpleflow": "import simpleflow.swf.executor",
}  # fmt: skip
HELPS = {"flowdsl": ["-m", "flowdsl", "--help"], "DBOS": "dbos", "Prefect": "prefect", "simpleflow": "simpleflow"}


def python_of(peer: str) -> str:
    return sys.executable if peer == "flowdsl" else str(ROOT / ".bench" / FOLDERS[peer.partition(",")[0]] / "bin" / "python")


def program_of(peer: str) -> str:
    return "flowdsl_bench.py" if peer == "flowdsl" else f"{FOLDERS[peer.partition(',')[0]]}_bench.py"


def once(peer: str, word: str, count: int) -> dict[str, Any] | None:
    """One run of a peer's program; None if it failed."""
    command = [python_of(peer), str(HERE / program_of(peer)), word, str(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, cwd=HERE)
        numbers: dict[str, Any] = json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{")))
    except (subprocess.SubprocessError, StopIteration, ValueError) as error:
        print(f"{peer} {word} {count}: {error}", getattr(error, "stderr", "")[-2000:], file=sys.stderr)
        return None
    return numbers


def figure(how: str, count: int, numbers: dict[str, Any]) -> float:
    if how == "call":
        return float(numbers["seconds"] / numbers["calls"] * 1e9)
    if how == "replay":
        return float(numbers["events"] / numbers["cpu"] / 1000)
    return float(count / numbers["seconds"])


def timed(command: list[str]) -> float | None:
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=120)
    return (time.perf_counter() - began) * 1000 if done.returncode == 0 else None


def rows(rounds: int) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Each work, and what each peer reached in every round."""
    for title, how, peers in WORKS:
        reached: dict[str, list[float]] = {peer: [] for peer, _, _ in peers}
        for _ in range(rounds):
            for peer, word, count in peers:
                numbers = once(peer, word, count)
                if numbers is not None:
                    reached[peer].append(figure(how, count, numbers))
        yield title, reached
    for title, commands in (
        ("import (ms)", {peer: [python_of(peer), "-c", statement] for peer, statement in IMPORTS.items()}),
        (
            "--help (ms)",
            {
                peer: [python_of(peer), *how] if isinstance(how, list) else [str(Path(python_of(peer)).parent / how), "--help"]
                for peer, how in HELPS.items()
            },
        ),
    ):
        reached = {peer: [] for peer in commands}
        for number in range(rounds + 1):
            for peer, command in commands.items():
                taken = timed(command)
                if number and taken is not None:  # the first round compiles and fills the file cache
                    reached[peer].append(taken)
        yield title, reached


def table(rounds: int) -> str:
    lines = []
    for title, reached in rows(rounds):
        medians = {peer: statistics.median(values) for peer, values in reached.items() if values}
        ours = medians.get("flowdsl")
        lines.append(f"\n| {title} | median | of flowdsl's |\n|---|---|---|")
        for peer in reached:
            if peer in medians:
                ratio = f"{medians[peer] / ours:.3g}" if ours else ""
                lines.append(f"| {peer} | {medians[peer]:,.4g} | {ratio} |")
            else:
                lines.append(f"| {peer} | did not run | |")
        print("\n".join(lines[-len(reached) - 1 :]), flush=True)
    return "\n".join(lines)


def versions() -> str:
    found = []
    for peer, package in PEERS.items():
        code = f"from importlib.metadata import version; print(version({package!r}))"
        done = subprocess.run([python_of(peer), "-c", code], capture_output=True, text=True, check=False)
        found.append(f"{peer} {done.stdout.strip() or 'not installed'}")
    return ", ".join(found)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    page = ROOT / "docs" / "benchmarks.md"
    head, mark, tail = page.read_text(encoding="utf-8").partition("<!-- measured -->")
    after = tail.partition("<!-- end -->")[2]
    load = os.getloadavg()[0]
    about = (
        f"Measured on {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, in {rounds} "
        f"interleaved rounds; the load average was {load:.1f} at the start. {versions()}."
    )
    page.write_text(f"{head}{mark}\n\n{about}\n{table(rounds)}\n\n<!-- end -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
