"""One call of an activity: its attempts, run here and now, under the call's policy."""

from __future__ import annotations

import itertools
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from flowdsl.errors import ActivityTimedOut, Cancelled
from flowdsl.lang.promises import Promise
from flowdsl.lang.scope import ActivityScope
from flowdsl.local import desk
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


def run_manual(run: LocalRun, call: Call, call_id: str, text: str) -> Promise[Any]:
    """Run the function; what it returns is nothing, somebody ends the promise by its token. No second attempt is made here."""
    promise: Promise[Any] = Promise(run, call_id)
    promise.on_cancel = lambda: promise.fail(Cancelled(f"{call.name} was cancelled"))
    token = desk.wait_for(promise, uuid.uuid4().hex, run.do_soon, partial(run.final, call, call_id, 1))
    try:
        _attempt(run, call, text, run.about(call, call_id, task_token=token), [None])
    except Exception as error:
        promise.fail(run.final(call, call_id, 1, error))
    if call.options is not None and call.options.timeout is not None and not promise.is_ready():
        late = run.pause(call.name, call.options.timeout)
        late.subscribe(lambda _: None if promise.is_ready() else promise.fail(_late(call, call_id, 1)))
    return promise


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
