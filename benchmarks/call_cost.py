"""What a decorated call costs outside any run: against the plain call, and against wrapt's wrapper that does nothing."""

from __future__ import annotations

import statistics
import timeit
from typing import Any

import wrapt

from flowdsl import activity, cached

ROUNDS, CALLS = 25, 20_000


def plain(x: int) -> int:
    return x


@wrapt.decorator
def untouched(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


FUNCTIONS = {
    "plain": plain,
    "wrapt, untouched": untouched(plain),
    "@activity": activity(name="plain_activity")(plain),
    "@cached": cached(name="plain_cached")(plain),
}


def main() -> None:
    measured: dict[str, list[float]] = {name: [] for name in FUNCTIONS}
    for _ in range(ROUNDS):
        for name, function in FUNCTIONS.items():
            measured[name].append(timeit.timeit(lambda function=function: function(1), number=CALLS) / CALLS)  # type: ignore[misc]  # a default per function
    base = statistics.median(measured["plain"])
    print(f"{'call':<20} {'times plain':>11} {'added ns':>9}")
    for name, times in measured.items():
        median = statistics.median(times)
        print(f"{name:<20} {median / base:>11.1f} {(median - base) * 1e9:>9.0f}")


if __name__ == "__main__":
    main()
