"""Whether to try again, and when: a pure function of the policy, the attempt and what happened.

Rule 1: an exception is not retried unless a policy says so, as in Python. `RetryAfter` asks for it itself; `NonRetryable` forbids it.
Rule 2: a lost worker (heartbeat timeout) is no exception: without a policy its activity is given out again up to `LOST_WORKER_RETRIES`
        times. An explicit policy counts it like any other timeout, so `Retry(attempts=1)` means at most once.
Rule 3: jitter comes from a generator seeded with the call's id, so every replay draws the same delay.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from flowdsl.errors import ActivityTimedOut, NonRetryable, RetryAfter

if TYPE_CHECKING:
    from flowdsl.lang.options import Retry

LOST_WORKER_RETRIES = 3


def next_delay(policy: Retry | None, *, state: str, error: BaseException, attempt: int, elapsed: float, seed: str) -> float | None:
    """Seconds to wait before attempt `attempt + 1`, or None if there is none.

    `state` is `failed`, `timed_out` or `failed_to_schedule`; `attempt` counts from 1; `elapsed` is seconds since the first attempt was
    asked for; `seed` names the call.
    """
    if isinstance(error, NonRetryable):
        return None
    if policy is None:
        return _without_policy(error, attempt)
    if attempt >= policy.attempts or not _covers(policy, state, error):
        return None
    if isinstance(error, RetryAfter):
        delay = error.seconds
    else:
        delay = min(policy.cap if policy.cap is not None else float("inf"), policy.first * policy.factor ** min(attempt - 1, 1000))
        if policy.jitter:
            delay *= 0.5 + 0.5 * Random(f"{seed}~{attempt}").random()  # noqa: S311 - spreads load, keeps no secret
    if policy.within is not None and elapsed + delay > policy.within:
        return None
    return delay


def _without_policy(error: BaseException, attempt: int) -> float | None:
    if isinstance(error, RetryAfter):
        return error.seconds
    if isinstance(error, ActivityTimedOut) and error.kind == "HEARTBEAT" and attempt <= LOST_WORKER_RETRIES:
        return 0.0
    return None


def _covers(policy: Retry, state: str, error: BaseException) -> bool:
    """Whether the policy names the state, or a class of the error, and does not exclude it."""
    if any(isinstance(kind, type) and isinstance(error, kind) for kind in policy.unless) or state in policy.unless:
        return False
    if state in policy.on or isinstance(error, RetryAfter):
        return True
    return any(isinstance(kind, type) and isinstance(error, kind) for kind in policy.on)
