"""The standard library of the Python that runs this, measured: a durable workflow over some thousand real files.

    python examples/stdlib_report.py          run it; kill it at any point, in any way; run it again: it goes on where it was

What to look at:

- `library` is `@cached`: the folder is listed once, and every replay, in whatever process, sees that same list;
- `measure` is an activity: one per package, all at the same time, parsing and counting; one of them fails at first and is retried;
- `rank` is a child workflow, with an execution and a history of its own; what it is given is far larger than the 32 kB that
  Amazon SWF allows for a value, so it is stored beside the engine's file without a word about it here;
- `breather` is a timer: nothing sleeps in any process while it runs;
- `draw` writes the page: one HTML file, no scripts, no network.

Every run of an activity is noted in `stdlib_report.log` by the activity itself, outside flowdsl's own records. After a kill that
file is the witness: no activity whose end was recorded began once more. (What was in hand at the moment of the kill did: activities
run at least once.)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stdlib_page
from stdlib_measure import Function, Measured, Package, count, files_of, folders, is_test, label, merged, split

from flowdsl import Embedded, Execution, Retry, WorkflowTimedOut, activity, cached, gather, info, start, timer, workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGED_FAILURE = "ast"  # its first attempt fails on purpose


@dataclass(frozen=True)
class Ranking:
    """The findings, best or worst first."""

    hardest: list[Function]
    documented: list[Measured]
    undocumented: list[Measured]


# --- the workflow ----------------------------------------------------------------------------------------------------


@cached
def library(limit: int | None) -> list[Package]:
    """Everything to measure, tests included. Recorded: a file that appears tomorrow does not confuse a replay."""
    return [package for folder, files in folders() for package in split(folder, files)][:limit]


@activity(retry=Retry(attempts=3, on=(OSError,), first=0.5), timeout=120)
def measure(package: Package, log: str) -> Measured:
    """Parse every file of the package and count."""
    with noted(log, "measure", label(package)):
        if package.name == STAGED_FAILURE and info().attempt == 1:
            raise OSError("staged: the first attempt at this package fails, so that there is a retry to look at")
        found = Measured(label(package))
        for path in files_of(package):
            count(path, found)
        found.hardest = sorted(found.hardest, key=lambda f: -f.complexity)[:3]
        return found


@timer
def breather(measured: int) -> timedelta:
    """A pause before the page is drawn: a millisecond for each package, one second at most."""
    return timedelta(milliseconds=min(measured, 1000))


@workflow
def rank(measured: list[Measured]) -> Ranking:
    """Order the findings. Plain code: it sees recorded values only, so it may do as it likes."""
    hardest = sorted((f for m in measured for f in m.hardest), key=lambda f: (-f.complexity, f.name))
    whole = [m for m in merged(measured) if m.public >= 10 and not is_test(m.package)]
    whole.sort(key=lambda m: (-m.documented / m.public, -m.public))
    return Ranking(hardest[:12], whole[:8], whole[::-1][:8])


@activity(timeout=60)
def draw(measured: list[Measured], ranking: Ranking, page: str, log: str) -> str:
    """Write the page, whole or not at all; return its path."""
    with noted(log, "draw", Path(page).name):
        packages = merged(measured)
        tests = [m for m in packages if is_test(m.package)]
        code = [m for m in packages if not is_test(m.package)]
        html = stdlib_page.page(platform.python_version(), code, tests, ranking, entries(log, info().run_id))
        unfinished = Path(page + ".part")
        unfinished.write_text(html, encoding="utf-8")
        unfinished.replace(page)
        return page


@workflow(timeout=timedelta(hours=1))
def report(page: str, log: str, limit: int | None) -> dict[str, Any]:
    """Measure, rank, pause, draw."""
    packages = library(limit)
    measured = gather(*[measure.start(package, log) for package in packages])
    pause = breather.start(len(measured))
    ranking = rank(measured)
    pause.result()
    total = Counter[str]()
    for m in measured:
        total.update({"files": m.files, "lines": m.lines, "functions": m.functions, "classes": m.classes})
    return {"page": draw(measured, ranking, page, log), "packages": len(packages), "hardest": ranking.hardest[0].name, **total}


# --- the witness -----------------------------------------------------------------------------------------------------


@contextmanager
def noted(log: str, what: str, package: str) -> Iterator[None]:
    """Note the begin and the end of one run of an activity: a line each, in one write, whatever happens between."""
    about = info()

    def note(state: str) -> None:
        line = {"run": about.run_id, "pid": os.getpid(), "at": time.time(), "state": state}
        line |= {"what": what, "package": package, "call": about.call_id, "attempt": about.attempt}
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    note("begun")
    try:
        yield
    except BaseException:
        note("failed")
        raise
    note("done")


def entries(log: str, run_id: str) -> list[dict[str, Any]]:
    """What was noted of one execution. A kill may have cut the last line of an earlier process short."""
    found = []
    for line in Path(log).read_text(encoding="utf-8").splitlines() if Path(log).exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry["run"] == run_id:
            found.append(entry)
    return found


# --- the program -----------------------------------------------------------------------------------------------------


def main() -> int:
    """Start the execution, or go on with the one that a killed process left; show how far it is; say what came out."""
    options = argparse.ArgumentParser(description="Measure the standard library of this Python, durably.")
    options.add_argument("--folder", type=Path, default=Path(), help="where the page, the log and the engine's file go (default: here)")
    options.add_argument("--limit", type=int, help="measure only the first so many packages")
    chosen = options.parse_args()
    folder: Path = chosen.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    log = str(folder / "stdlib_report.log")
    # What the library's own files are warned of is not this program's business.
    warnings.simplefilter("ignore")

    began = time.monotonic()
    execution = start(
        report.options(id="stdlib-report"),
        str(folder / "stdlib_report.html"),
        log,
        chosen.limit,
        backend=Embedded(path=str(folder / "stdlib_report.db")),
    )
    before = done(entries(log, execution.run_id))
    if before:
        print(f"Going on with execution {execution.id}: {len(before)} activities had finished before.")
    else:
        print(f"Execution {execution.id} begins. Kill it whenever you like, and start it again.")
    try:
        result = wait(execution, log)
    except KeyboardInterrupt:
        print("\nInterrupted; the execution is alive. Start this program again to go on.")
        return 130
    noted_runs = entries(log, execution.run_id)
    tell(result, noted_runs, repeated(noted_runs, execution), time.monotonic() - began)
    return 0


def wait(execution: Execution, log: str) -> dict[str, Any]:
    """The execution's result; meanwhile a line that counts, if somebody is looking."""
    while True:
        try:
            result: dict[str, Any] = execution.result(timeout=0.2 if sys.stdout.isatty() else None)
        except WorkflowTimedOut:
            raise
        except TimeoutError:
            print(f"\r  {len(done(entries(log, execution.run_id)))} activities have finished …", end="", flush=True)
        else:
            if sys.stdout.isatty():
                print("\r" + " " * 60 + "\r", end="")
            return result


def done(log: list[dict[str, Any]]) -> Counter[str]:
    """How often each activity finished."""
    return Counter(entry["package"] for entry in log if entry["state"] == "done")


def repeated(log: list[dict[str, Any]], execution: Execution) -> list[str]:
    """Activities that began once more after their end was recorded: what must never be. The witness against the history."""
    calls: dict[int, str] = {}
    ended: dict[str, float] = {}
    for event in execution.history():
        if event["eventType"] == "ActivityTaskScheduled":
            calls[event["eventId"]] = event["activityTaskScheduledEventAttributes"]["activityId"]
        elif event["eventType"] == "ActivityTaskCompleted":
            scheduled = event["activityTaskCompletedEventAttributes"]["scheduledEventId"]
            # The id of a second attempt is that of the call with `~2` behind it.
            ended[calls[scheduled].partition("~")[0]] = event["eventTimestamp"]
    return sorted(entry["package"] for entry in log if entry["state"] == "begun" and entry["at"] > ended[entry["call"]] + 0.001)


def tell(result: dict[str, Any], log: list[dict[str, Any]], again: list[str], seconds: float) -> None:
    """The summary a person reads."""
    processes = len({entry["pid"] for entry in log})
    failed = sorted({entry["package"] for entry in log if entry["state"] == "failed"})
    total = ", ".join(f"{result[name]:,} {name}" for name in ("files", "lines", "functions", "classes", "packages"))
    print(
        f"""
The standard library of Python {platform.python_version()}
  {total}
  the hardest function to follow: {result["hardest"]}
How it was made
  {len(done(log))} activities finished, in {processes} process{"es" if processes > 1 else ""}; this one took {seconds:.1f} s
  failed at first and were retried: {", ".join(failed) or "none"}
  ran again although their end was recorded: {", ".join(again) or "none"}
The report: {result["page"]}"""
    )


if __name__ == "__main__":
    sys.exit(main())
