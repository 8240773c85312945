"""Print the manual's page of state diagrams from the table that flowdsl runs on.

    python docs/print_lifecycle.py            writes docs/lifecycle.md
    python docs/print_lifecycle.py --check    exits 1 if the page is not what the table says

Nothing on the page is written by hand: to change a diagram, change `flowdsl/model/lifecycle.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from flowdsl.model.lifecycle import (
    ABSENT,
    BEGINS,
    DECISIONS,
    EVENTS,
    KINDS,
    MARKER,
    NOT_REQUESTED,
    OPEN_STATES,
    SOLE,
    DecisionRow,
    EventRow,
)

PAGE = Path(__file__).with_name("lifecycle.md")

TITLES = {
    "execution": "The execution",
    "decision task": "Decision tasks",
    "activity": "Activities",
    "timer": "Timers",
    "child": "Child executions",
    "external signal": "Signals to other executions",
    "external cancel": "Cancel requests to other executions",
    "lambda": "Lambda tasks",
    "marker": "Markers",
}

INTRODUCTION = """\
<!-- Printed by docs/print_lifecycle.py from flowdsl/model/lifecycle.py. Do not edit. -->

# Lives: what the events of a history mean

A history is a list of events. Each event moves the life of one thing: the execution, a decision task, an activity, a timer, a child.
The pictures below are printed from the one table that flowdsl's decider and its embedded engine both run on.
An arrow that is not in a picture is refused: by the engine before it is written, by the decider before it is believed.

Cancelling is a small life of its own beside the thing's: a request changes nothing else, and what was asked to stop may still complete.

In the tables, **named by** is the attribute that says whose life an event moves, **outcome** lists the attributes that say how it ended
or what arrived, and **schedules** means that a decision task follows (unless one is waiting or the execution has closed).
"""


def page() -> str:
    """The whole page as text."""
    return "\n".join([INTRODUCTION, *(line for kind in (*KINDS, MARKER) for line in _chapter(kind)), *_decisions()])


def _chapter(kind: str) -> Iterator[str]:
    rows = [row for row in EVENTS.values() if row.life == kind]
    yield f"## {TITLES[kind]}\n"
    moving = [row for row in rows if row.moves and not row.cancellation]
    if moving:
        yield from _diagram(moving, ABSENT)
    cancelling = [row for row in rows if row.cancellation]
    if cancelling:
        yield "Being asked to stop:\n"
        yield from _diagram(cancelling, NOT_REQUESTED)
    yield "| event | named by | outcome | schedules | decision |"
    yield "|---|---|---|---|---|"
    yield from (_event(row) for row in rows)
    yield ""


def _diagram(rows: list[EventRow], beginning: str) -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    ends: dict[str, None] = {}
    for row in rows:
        for before, after in row.moves.items():
            yield f"    {'[*]' if before == beginning else before} --> {after}: {row.type}"
            if beginning == ABSENT and after not in OPEN_STATES:
                ends[after] = None
    yield from (f"    {end} --> [*]" for end in ends)
    yield "```\n"


def _event(row: EventRow) -> str:
    named = {SOLE: "(the only one)", BEGINS: f"its own event id; `{row.named}`" if row.named else "its own event id"}.get(
        row.by, f"`{row.named}`"
    )
    outcome = ", ".join(f"`{name}`" for name in row.outcome)
    decision = f"takes {row.acknowledges}" if row.acknowledges else f"refuses {row.refuses}" if row.refuses else ""
    return f"| {row.type} | {named} | {outcome} | {'yes' if row.schedules else ''} | {decision} |"


def _decisions() -> Iterator[str]:
    yield "## Decisions\n"
    yield "What a decider may answer with. A decision that closes is the last of its response.\n"
    yield "| decision | known by | taken | refused | closes | beside a close |"
    yield "|---|---|---|---|---|---|"
    yield from (_decision(row) for row in DECISIONS.values())
    yield ""


def _decision(row: DecisionRow) -> str:
    known = f"`{row.id}`" if row.id else ""
    beside = "" if row.closes else "yes" if row.beside_close else "**no**"
    return f"| {row.type} | {known} | {row.ok} | {row.failed} | {'yes' if row.closes else ''} | {beside} |"


def main(arguments: list[str]) -> int:
    """Write the page, or compare it."""
    if arguments == ["--check"]:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page() else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
