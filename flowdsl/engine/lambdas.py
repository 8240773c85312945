"""Lambda tasks: which functions have to be called, and what became of them.

Rule 1: the engine calls nothing. It says what is to be called (`Invocation`) and is told the outcome; the outside world is the
        service's (`service.py`), which is given somebody who can call (`server/functions.py`, or a test).
Rule 2: the file is the truth: a lambda task that is started and not closed has to be called. A call that a dead process had begun is
        therefore made again when the file is opened: at least once, like everything that AWS Lambda does for others.
Rule 3: an outcome that comes after the timeout, or after the close of the execution, is dropped without a word.
Rule 4: what the service would not take is not written: a result or details that are too long for a history are a failure that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from flowdsl import limits
from flowdsl.engine.codec import encode

if TYPE_CHECKING:
    from flowdsl.engine.deadlines import Ref
    from flowdsl.engine.execution import Execution
    from flowdsl.engine.world import World


class Invocation(NamedTuple):
    """A function that has to be called now.

    `ref` names the task, `name` the function (or its ARN), `payload` is JSON text, `seconds` the time that the task is given.
    """

    ref: Ref
    name: str
    payload: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Returned:
    """The function gave `result`: JSON text."""

    result: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The function, or the attempt to call it, failed: `details` is the error as JSON text, as AWS Lambda shows it."""

    reason: str
    details: str


Outcome = Returned | Failed


def failure(reason: str, message: str, error_type: str | None = None, trace: list[str] | None = None) -> Failed:
    """A failure in AWS Lambda's form, cut to what a history can hold: of a long message the beginning, of a long trace the end."""
    shown: dict[str, Any] = {
        "errorMessage": _text(message[: limits.DATA // 8]),
        "errorType": _text((error_type or reason)[: limits.REASON]),
    }
    kept = [_text(line) for line in trace or ()]
    while kept and limits.length(encode({**shown, "stackTrace": kept})) > limits.DATA:
        del kept[0]
    if kept:
        shown["stackTrace"] = kept
    return Failed(reason[: limits.REASON // 2], encode(shown))


def _text(text: str) -> str:
    """What an exception says may hold halves of surrogate pairs, which no file and no wire can carry."""
    return text.encode("utf-8", "replace").decode()


def unknown_function(name: str) -> Failed:
    """What the service records for a function that does not exist."""
    return failure("ResourceNotFoundException", f"Function not found: {name}")


def invocation(execution: Execution, ref: Ref) -> Invocation:
    """What has to be called for a started lambda task; an absent input is `{}`."""
    task = execution.lambdas[ref[1]]
    return Invocation(ref, task.name, task.payload, task.length // 1000)


def finish(world: World, now: int, ref: Ref, outcome: Outcome) -> None:
    """Record an outcome; the caller commits."""
    execution = world.runs.get(ref[0])
    task = None if execution is None else execution.lambdas.get(ref[1])
    if execution is None or task is None or not task.started_id:
        return
    if isinstance(outcome, Returned) and limits.length(outcome.result) > limits.DATA:
        outcome = failure("ResultTooLong", f"the result has more than {limits.DATA} characters, which is what a history can hold")
    ids = {"scheduledEventId": task.scheduled_id, "startedEventId": task.started_id}
    world.runs.begin(execution, now)
    if isinstance(outcome, Returned):
        execution.append("LambdaFunctionCompleted", {"result": outcome.result, **ids})
    else:
        execution.append("LambdaFunctionFailed", {"reason": outcome.reason, "details": outcome.details, **ids})
    world.runs.save(execution)
