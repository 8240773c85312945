"""Print how much of each floor the tests ran: one line per folder of flowdsl/, from the data file that pytest-cov wrote."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from coverage import Coverage

PACKAGE = Path(__file__).resolve().parents[1] / "flowdsl"
FLOORS = {
    "ground": 0,
    "model": 1,
    "lang": 1,
    "replay": 2,
    "data": 2,
    "plain": 2,
    "local": 3,
    "service": 3,
    "engine": 3,
    "workers": 4,
}
FRONT = 5


def folder_of(path: Path) -> str:
    """The floor's own name of a file: its folder, or what stands alone at the top."""
    inside = path.relative_to(PACKAGE)
    if len(inside.parts) > 1:
        return inside.parts[0]
    return {"errors.py": "ground", "limits.py": "ground", "local.py": "local", "plain.py": "plain"}.get(inside.name, "front")


def main() -> None:
    coverage = Coverage()
    coverage.load()
    lines: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path in sorted(PACKAGE.rglob("*.py")):
        _, statements, _, missing, _ = coverage.analysis2(str(path))
        total = lines[folder_of(path)]
        total[0] += len(statements)
        total[1] += len(statements) - len(missing)
    print("\nfloor  folder    lines   run")
    for folder in sorted(lines, key=lambda name: (-FLOORS.get(name, FRONT), name)):
        statements_, run = lines[folder]
        print(f"{FLOORS.get(folder, FRONT):>5}  {folder:<8} {statements_:>6}  {run / max(statements_, 1):>4.0%}")
    everything, run = (sum(column) for column in zip(*lines.values(), strict=True))
    print(f"{'':>5}  {'all':<8} {everything:>6}  {run / max(everything, 1):>4.0%}")


if __name__ == "__main__":
    main()
