"""What a user returns is what the caller gets: generated values of generated annotations, through all that carries values, everywhere.

`FLOWDSL_TEST_VALUES` is how many executions are made per backend; each carries several values.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from generated_values import canonical, typed_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl import activity, cached, gather, workflow

EXAMPLES = int(os.environ.get("FLOWDSL_TEST_VALUES", "12"))


@functools.cache
def carrier(annotation: Any, *, record: bool = False) -> Any:
    """An activity (or a recorded function) whose argument and result are annotated like this."""

    def carry(value):
        return value

    carry.__annotations__ = {"value": annotation, "return": annotation}
    kind = "record" if record else "carry"
    return (cached if record else activity)(name=f"{kind}-{carrier.cache_info().misses}")(carry)


@activity
def untyped(value):
    return value


@activity
def mistyped(value: int) -> list[str]:
    return value


@activity
def fails(value: Any) -> None:
    raise LookupError(value)


@workflow
def child(value: Any) -> Any:
    return value


_cases: list[tuple[Any, Any]] = []


@workflow
def through_everything(given: list[Any]) -> list[Any]:
    """The annotations stand in a global: they are the code's, not the history's."""
    came = []
    for (annotation, _), value in zip(_cases, given, strict=True):
        started = [f.start(value) for f in (carrier(annotation), untyped, mistyped, child)]
        came.append([value, *gather(*started), carrier(annotation, record=True)(value), arrived(value)])
    return came


def arrived(value: Any) -> Any:
    try:
        fails(value)
    except LookupError as error:
        return error.args[0]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(typed_values, min_size=1, max_size=4))
def test_a_generated_value_comes_back_exactly_from_everything_that_carries_it(stage, cases):
    _cases[:] = cases
    for (_, value), copies in zip(cases, stage.run(through_everything, [value for _, value in cases]), strict=True):
        assert [canonical(copy) for copy in copies] == [canonical(value)] * len(copies)
