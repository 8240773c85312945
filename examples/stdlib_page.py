"""The page of `stdlib_report.py`: one HTML file with its pictures inside. Plain Python; nothing of flowdsl is in here.

Rule 1: no script, no font, no picture from anywhere else: the page is the same in ten years.
Rule 2: everything that comes from outside goes through `escape`.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH = 1160  # of every picture, in its own units; the page scales them

SAND, SAGE, TEAL = (240, 228, 205), (128, 182, 164), (14, 84, 96)
DONE, FAILED, INK = "#2a8c82", "#d1495b", "#1c2733"
HATCH = """<defs><pattern id="lost" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6" fill="#ece8df"/><rect width="2.4" height="6" fill="#b9b4a8"/></pattern></defs>"""


def page(version: str, code: Sequence[Any], tests: Sequence[Any], ranking: Any, log: Sequence[dict[str, Any]]) -> str:
    """The whole page. `code` and `tests` are merged measurements, `ranking` the findings, `log` the noted activities."""
    everything = [*code, *tests]
    public, documented = sum(m.public for m in code), sum(m.documented for m in code)
    tiles = [
        (f"{sum(m.files for m in everything):,}", "files"),
        (f"{sum(m.lines for m in everything):,}", "lines"),
        (f"{sum(m.functions for m in everything):,}", "functions"),
        (f"{sum(m.classes for m in everything):,}", "classes"),
        (f"{documented / max(public, 1):.0%}", "of public names documented"),
    ]
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>The standard library of Python {escape(version)}</title><style>{style}</style></head><body>
<header><div><p class="kicker">Measured by a durable workflow</p><h1>The standard library of Python {escape(version)}</h1>
<ul class="tiles">{"".join(f"<li><b>{number}</b>{escape(name)}</li>" for number, name in tiles)}</ul></div></header>
<main>
<section><h2>Where the lines are</h2>
<p>Each rectangle is a package or a module without its tests; its area is its number of lines, its colour how much of what is public has a
docstring. {legend()}</p>
{treemap(code)}
{share(code, tests)}</section>
<div class="columns">
<section><h2>Hardest to follow</h2><p>Independent paths through one function (McCabe).</p>{hardest(ranking.hardest)}</section>
<section><h2>Best and least documented</h2><p>Share of public functions and classes with a docstring.</p>{documentation(ranking)}</section>
</div>
<section><h2>How this page was made</h2>{timeline(log)}</section>
</main><footer>Made with flowdsl on its embedded engine. The page needs no network and no script.</footer></body></html>
"""


# --- colours ---------------------------------------------------------------------------------------------------------


def shade(share_: float) -> tuple[int, int, int]:
    """Sand, sage, teal: none, half, all documented."""
    low, high, way = (SAND, SAGE, share_ * 2) if share_ < 0.5 else (SAGE, TEAL, share_ * 2 - 1)
    red, green, blue = (round(a + (b - a) * way) for a, b in zip(low, high, strict=True))
    return red, green, blue


def css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def on(colour: tuple[int, int, int]) -> str:
    """Ink or white, whichever is read on the colour."""
    red, green, blue = colour
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"


def legend() -> str:
    steps = "".join(f'<i style="background:{css(shade(step / 6))}"></i>' for step in range(7))
    return f'<span class="legend">0 % {steps} 100 %</span>'


# --- the treemap -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


def squarify(sizes: Sequence[float], box: Box) -> Iterator[Box]:
    """Rectangles of the given areas that fill the box, as square as they can be (Bruls, Huizing, van Wijk 2000).

    `sizes` are positive, falling, and add up to the box's area.
    """
    start = 0
    while start < len(sizes):
        side = min(box.width, box.height)
        end = start + 1
        while end < len(sizes) and worst(sizes[start : end + 1], side) <= worst(sizes[start:end], side):
            end += 1
        row = sizes[start:end]
        depth = sum(row) / side
        along = 0.0
        for size in row:
            length = size / depth
            yield Box(box.x, box.y + along, depth, length) if box.width >= box.height else Box(box.x + along, box.y, length, depth)
            along += length
        box = (
            Box(box.x + depth, box.y, box.width - depth, box.height)
            if box.width >= box.height
            else Box(box.x, box.y + depth, box.width, box.height - depth)
        )
        start = end


def worst(row: Sequence[float], side: float) -> float:
    """The longest shape (long side over short side) if the row were laid along the side."""
    total = sum(row)
    return max(side * side * max(row) / (total * total), total * total / (side * side * min(row)))


def treemap(code: Sequence[Any]) -> str:
    height = 560
    shown = sorted((m for m in code if m.lines), key=lambda m: -m.lines)
    scale = WIDTH * height / max(sum(m.lines for m in shown), 1)
    boxes = squarify([m.lines * scale for m in shown], Box(0, 0, WIDTH, height)) if shown else ()
    parts = []
    for m, box in zip(shown, boxes, strict=True):
        colour = shade(m.documented / m.public if m.public else 0.0)
        about = f"{m.package}: {m.lines:,} lines, {m.functions:,} functions, {m.documented} of {m.public} public names documented"
        parts.append(
            f'<g><title>{escape(about)}</title><rect x="{box.x + 1:.1f}" y="{box.y + 1:.1f}" rx="3" width="{max(box.width - 2, 0.5):.1f}" '
            f'height="{max(box.height - 2, 0.5):.1f}" fill="{css(colour)}"/>{name_in(box, m, on(colour))}</g>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Packages by size and documentation">{"".join(parts)}</svg>'


def name_in(box: Box, m: Any, colour: str) -> str:
    """The name, as large as it fits, and the lines under it where there is room."""
    size = min(21.0, (box.width - 13) / max(len(m.package), 1) / 0.6, box.height * 0.6)
    if size < 7.5:
        return ""
    name = f'<text x="{box.x + 7:.1f}" y="{box.y + 6 + size * 0.8:.1f}" font-size="{size:.1f}" fill="{colour}">{escape(m.package)}</text>'
    if box.height < size + 26 or box.width < 60:
        return name
    return f'{name}<text class="small" x="{box.x + 7:.1f}" y="{box.y + size + 20:.1f}" fill="{colour}">{m.lines:,}</text>'


def share(code: Sequence[Any], tests: Sequence[Any]) -> str:
    """Code against tests, as one bar."""
    lines, test_lines = sum(m.lines for m in code), sum(m.lines for m in tests)
    if not test_lines:
        return "<p>This installation comes without the library's tests.</p>"
    part = lines / (lines + test_lines)
    return f"""<div class="share"><span style="width:{part:.1%}">{lines:,} lines of code</span>
<span>{test_lines:,} lines that test it</span></div>"""


# --- the rankings ----------------------------------------------------------------------------------------------------


def bars(rows: Sequence[tuple[str, str, float, str]]) -> str:
    """Lines of name, value, length (0 to 1) and colour."""
    return (
        "<table>"
        + "".join(
            f'<tr><td class="name">{escape(name)}</td>'
            f'<td class="bar"><i style="width:{max(length, 0.004):.1%};background:{colour}"></i></td><td>{escape(value)}</td></tr>'
            for name, value, length, colour in rows
        )
        + "</table>"
    )


def hardest(functions: Sequence[Any]) -> str:
    most = max((f.complexity for f in functions), default=1)
    return bars([(f.name, str(f.complexity), f.complexity / most, "#c8742f") for f in functions])


def documentation(ranking: Any) -> str:
    def rows(packages: Sequence[Any]) -> list[tuple[str, str, float, str]]:
        shares = [(m.package, m.documented / m.public) for m in packages]
        return [(name, f"{part:.0%}", part, css(shade(part))) for name, part in shares]

    best = ranking.documented[:6]
    names = {m.package for m in best}
    least = [m for m in ranking.undocumented[:6] if m.package not in names]
    return bars(rows(best)) + '<hr class="thin">' + bars(rows(least[::-1]))


# --- the timeline ----------------------------------------------------------------------------------------------------


@dataclass
class Bar:
    """One run of an activity; `end` is None if its process died."""

    package: str
    pid: int
    attempt: int
    begin: float
    end: float | None = None
    state: str = "lost"
    lane: int = 0


def runs(log: Sequence[dict[str, Any]]) -> list[Bar]:
    """The noted lines put together: a run of an activity from its begin to its end.

    What ended in the very moment in which its process died, before the engine had heard of it, is lost as well.
    """
    found: list[Bar] = []
    going: dict[tuple[int, str, int], Bar] = {}
    latest: dict[str, Bar] = {}
    for entry in log:
        key = (entry["pid"], entry["package"], entry["attempt"])
        if entry["state"] == "begun":
            earlier = latest.get(entry["package"])
            if earlier is not None and earlier.state == "done":
                earlier.state = "lost"
            going[key] = latest[entry["package"]] = Bar(entry["package"], entry["pid"], entry["attempt"], entry["at"])
            found.append(going[key])
        elif key in going:
            going[key].end, going[key].state = entry["at"], entry["state"]
    return found


def timeline(log: Sequence[dict[str, Any]]) -> str:
    """Every run of every activity; processes stand side by side, the time between them is left out."""
    bars_ = [bar for bar in runs(log) if bar.package != log[-1]["package"] or bar.end is not None]
    if not bars_:
        return ""
    pids = list(dict.fromkeys(bar.pid for bar in bars_))
    pieces = [[bar for bar in bars_ if bar.pid == pid] for pid in pids]
    spans = [(piece[0].begin, max(bar.end or bar.begin for bar in piece)) for piece in pieces]
    gap, top, lane_height = 26.0, 26, 15
    lanes = 1 + max(lay(piece) for piece in pieces)
    height = top + lanes * lane_height + 24
    scale = (WIDTH - gap * (len(pieces) - 1) - 2) / max(sum(end - begin for begin, end in spans), 0.001)
    drawn, left = [], 1.0
    for number, (piece, (begin, end)) in enumerate(zip(pieces, spans, strict=True)):
        width = (end - begin) * scale
        drawn.append(f'<text class="small" x="{left:.1f}" y="14" fill="#667">process {piece[0].pid}</text>')
        drawn += ticks(left, width, end - begin, top, height)
        for bar in sorted(piece, key=lambda b: b.state == "failed"):  # failures last, so that nothing covers them
            x, until = left + (bar.begin - begin) * scale, bar.end if bar.end is not None else end
            fill = {"done": DONE, "failed": FAILED}.get(bar.state, "url(#lost)")
            about = f"{bar.package}, attempt {bar.attempt}: {bar.state} after {until - bar.begin:.2f} s"
            least = 6 if bar.state == "failed" else 1.6
            drawn.append(
                f'<rect x="{x:.1f}" y="{top + bar.lane * lane_height}" width="{max((until - bar.begin) * scale - 0.6, least):.1f}" '
                f'height="{lane_height - 3}" rx="2" fill="{fill}"><title>{escape(about)}</title></rect>'
            )
        left += width
        if number + 1 < len(pieces):
            drawn.append(
                f'<line x1="{left + gap / 2:.1f}" x2="{left + gap / 2:.1f}" y1="4" y2="{height}" stroke="{FAILED}" stroke-dasharray="3 3"/>'
                f'<text class="small" x="{left + gap / 2 - 4:.1f}" y="14" text-anchor="end" fill="{FAILED}">ended here</text>'
            )
            left += gap
    picture = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="When each activity ran">{HATCH}{"".join(drawn)}</svg>'
    return story(bars_, len(pids)) + picture


def story(bars_: Sequence[Bar], processes: int) -> str:
    """The timeline in words."""
    finished = sum(bar.state == "done" for bar in bars_)
    failed = sum(bar.state == "failed" for bar in bars_)
    lost = sum(bar.state == "lost" for bar in bars_)
    died = f' <b class="key lost"></b> {lost} were in hand when a process died, and were given out again.' if lost else ""
    where = "one process" if processes == 1 else f"{processes} processes, one after the other"
    return f"""<p>Every run of every activity, as the activities themselves noted it, in {where}:
<b class="key" style="background:{DONE}"></b> {finished} finished, <b class="key" style="background:{FAILED}"></b> {failed} failed and
{"was" if failed == 1 else "were"} retried.{died}</p>"""


def lay(piece: Sequence[Bar]) -> int:
    """Give each bar the first lane that is free; return the last lane's number."""
    free: list[float] = []
    for bar in sorted(piece, key=lambda b: b.begin):
        until = bar.end if bar.end is not None else float("inf")
        bar.lane = next((lane for lane, at in enumerate(free) if at <= bar.begin), len(free))
        if bar.lane == len(free):
            free.append(until)
        else:
            free[bar.lane] = until
    return len(free) - 1


def ticks(left: float, width: float, seconds: float, top: int, height: int) -> list[str]:
    """Thin lines at whole seconds, at most a dozen over the whole width."""
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600) if seconds / s * WIDTH / max(width, 1) <= 14), 3600)
    drawn = []
    marks = [step * n for n in range(int(seconds / step) + 2)]
    for at, _ in pairwise(marks):
        x = left + at / max(seconds, 0.001) * width
        drawn.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 4}" y2="{height - 18}" stroke="#ddd8cc"/>')
        drawn.append(f'<text class="small" x="{x:.1f}" y="{height - 5}" fill="#889">{at:g} s</text>')
    return drawn
