"""One call of an activity: its attempts, run here and now, under the call's policy."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from flowdsl.errors import ActivityTimedOut
from flowdsl.lang.scope import ActivityScope
from flowdsl.plain import OutOfTime, call_plainly, call_within

if TYPE_CHECKING:
    from flowdsl.lang.context import Call, Info
    from flowdsl.local.run import LocalRun


def run_activity(run: LocalRun, call: Call, call_id: str, text: str) -> Any:
    """Run attempts until one gives a value; `text` is the encoded arguments. Raises what the last one raised, as the code sees it."""
    beats: list[Any] = [None]  # the details of the last heartbeat
    began = time.monotonic()
    for attempt in itertools.count(1):
        error: Exception
        try:
            return _attempt(run, call, text, run.about(call, call_id, attempt=attempt, heartbeat_details=beats[0]), beats)
        except OutOfTime:
            state, error = "timed_out", _late(call, call_id, attempt)
        except Exception as raised:
            state, error = "failed", raised
        delay = run.next_delay(call, call_id, state, error, attempt, began)
        if delay is None:
            raise error if isinstance(error, ActivityTimedOut) else run.final(call, call_id, attempt, error)
        if delay:
            run.pause(call.name, delay).result()
    raise AssertionError


def _attempt(run: LocalRun, call: Call, text: str, about: Info, beats: list[Any]) -> Any:
    target, values = call.target, run.values
    args, kwargs = values.decode_call(target, text)

    def beat(details: Any) -> None:
        beats[0] = details

    limit = call.options.timeout if call.options is not None else None
    value = call_within(limit, lambda: call_plainly(target, args, kwargs, call.instance, ActivityScope(about, beat)))
    return values.decode_result(target, values.encode_result(target, value))


def _late(call: Call, call_id: str, attempt: int) -> ActivityTimedOut:
    kind, name = "START_TO_CLOSE", call.target.name
    text = f"activity {name} ({call_id}, attempt {attempt}) timed out: it ran longer than its timeout ({kind})"
    return ActivityTimedOut(text, kind=kind, name=name, call_id=call_id, attempt=attempt)
