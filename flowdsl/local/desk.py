"""Where the tokens of local manual activities wait for their answers, in this process.

Rule: an answer may come from any thread. The promise is settled by the run's own thread, which is told what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowdsl.errors import ActivityFailed, Fault

if TYPE_CHECKING:
    from flowdsl.lang.promises import Promise

LOCAL = "local."
"""How such a token begins."""

_waiting: dict[str, tuple[Promise[Any], Callable[[Callable[[], None]], None], Callable[[BaseException], BaseException]]] = {}


def wait_for(
    promise: Promise[Any], number: str, tell: Callable[[Callable[[], None]], None], explain: Callable[[BaseException], BaseException]
) -> str:
    """The token that settles `promise`. `tell(do)` has the run call `do()`; `explain` makes a failure what the caller sees."""
    token = LOCAL + number
    _waiting[token] = promise, tell, explain
    promise.subscribe(lambda _: _waiting.__delitem__(token))
    return token


def answer(token: str, value: Any, error: BaseException | None) -> None:
    """Settle what waits for the token. Raises `Fault` as the service does if nothing does."""
    waiting = _waiting.get(token)
    if waiting is None:
        raise Fault("UnknownResourceFault", f"no local activity of this process waits for the token {token!r}")
    promise, tell, explain = waiting

    def settle() -> None:
        if promise.is_ready():
            return
        if error is None:
            promise.settle(value)
        else:
            promise.fail(error if isinstance(error, ActivityFailed) else explain(error))

    tell(settle)
