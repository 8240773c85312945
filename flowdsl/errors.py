"""Every error of flowdsl: whose fault it is, what to do, and a stable code.

Rule 1: this module is the bottom of the house. It imports the standard library only.
Rule 2: each class says whose fault it stands for by its parent: `UserError` (yours), `WorkError` (the work's),
        `Fault` (the service's), `InternalError` (ours).
Rule 3: every class survives `pickle` and `copy`, whatever its constructor takes: `__reduce__` rebuilds from `args` and
        attributes and never calls `__init__` again. A test walks all classes.
Rule 4: a code is never reused and never changes; the manual lists all of them (`docs/errors.md`, tested).
Rule 5: what user code must not swallow by `except Exception` derives from `Control`, a `BaseException`.
"""

from __future__ import annotations

from typing import Any, ClassVar


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class FlowError(Exception):
    """The root of everything flowdsl raises on purpose.

    `str(error)` is the message followed by the stable code in brackets: `order-7 is already running … [FD110]`.
    """

    code: ClassVar[str] = "FD000"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())

    @property
    def message(self) -> str:
        """The text without the code."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" if self.message else f"[{self.code}]"


# --- yours: the program that uses flowdsl has to change -----------------------------------------------------------


class UserError(FlowError):
    """Your code or configuration has to change; nothing was lost."""

    code = "FD100"


class DefinitionError(UserError, ValueError):
    """A decorator, an option, a name, a duration or an argument is not what flowdsl can use."""

    code = "FD101"


class NotSerializable(UserError, TypeError):
    """A value cannot cross to another process; the message names the function, the argument and the culprit in it."""

    code = "FD102"


class LimitExceeded(UserError):
    """A limit of Amazon SWF would be exceeded, and nothing is configured that could avoid it (a store, say)."""

    code = "FD103"


class NotInstalled(UserError, ImportError):
    """An optional package is missing; the message has the command that installs it."""

    code = "FD104"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs packages that are not installed. Run:  pip install 'flowdsl[{extra}]'")
        self.extra = extra


class AlreadyRunning(UserError):
    """The workflow id belongs to an open execution that was started with another workflow or other input."""

    code = "FD110"


class FileInUse(UserError):
    """The embedded engine's file is served by another process: one SQLite file is served by one process."""

    code = "FD120"


class NotAnEngineFile(UserError):
    """The file is no flowdsl engine file, is damaged, or was written by a newer flowdsl."""

    code = "FD121"


class NonDeterminism(UserError):
    """The workflow's code no longer fits the history of an open execution. The execution is left open and unharmed.

    `recorded` is what the history holds, `now` is what the code does, each with its line where it is known.
    """

    code = "FD201"

    def __init__(self, message: str, *, recorded: str = "", now: str = "") -> None:
        super().__init__(message)
        self.recorded = recorded
        self.now = now


class NotRecorded(DefinitionError):
    """Workflow code reached for the world outside (a file, the network, a process, a thread), which no replay could answer."""

    code = "FD202"


class UntrustedPayload(UserError):
    """A pickled payload is not signed with one of this project's keys, or was signed for another place; it was not loaded."""

    code = "FD310"


class PythonMismatch(UserError):
    """A pickled payload was written by another Python minor version; loading it could kill the process. It was not loaded."""

    code = "FD312"


class PayloadLost(UserError):
    """A large value's stored object is missing, truncated or altered; only the call that needs it fails."""

    code = "FD320"


class StoreUnavailable(UserError):
    """The store for large values cannot be reached, read or written now; the same call may succeed later."""

    code = "FD321"


# --- the work's: what ran did not end well ------------------------------------------------------------------------


class WorkError(FlowError):
    """Work that was started did not end with a value."""

    code = "FD500"


class ActivityFailed(WorkError):
    """An activity (or a recorded function) ended with an exception; that exception's `__cause__` is this.

    `name` is the activity's name, `call_id` its id in the history, `attempt` counts from 1, `reason` is the history's reason.
    """

    code = "FD501"

    def __init__(self, message: str, *, name: str = "", call_id: str = "", attempt: int = 1, reason: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.call_id = call_id
        self.attempt = attempt
        self.reason = reason


class ActivityTimedOut(ActivityFailed, TimeoutError):
    """An activity was out of time. `kind` is `START_TO_CLOSE`, `SCHEDULE_TO_START`, `SCHEDULE_TO_CLOSE` or `HEARTBEAT`."""

    code = "FD502"

    def __init__(self, message: str, *, kind: str = "", name: str = "", call_id: str = "", attempt: int = 1, details: Any = None) -> None:
        super().__init__(message, name=name, call_id=call_id, attempt=attempt, reason=kind)
        self.kind = kind
        self.details = details


class ChildFailed(WorkError):
    """A child workflow did not complete; the child's own exception, if there is one, has this as its `__cause__`.

    `status` is `FAILED`, `TIMED_OUT`, `CANCELED`, `TERMINATED` or `NOT_STARTED`; `reason` is the history's reason or cause.
    """

    code = "FD503"

    def __init__(
        self, message: str, *, name: str = "", call_id: str = "", attempt: int = 1, status: str = "FAILED", reason: str = ""
    ) -> None:
        super().__init__(message)
        self.name = name
        self.call_id = call_id
        self.attempt = attempt
        self.status = status
        self.reason = reason


class Cancelled(WorkError):
    """The awaited call, or the whole execution, was cancelled."""

    code = "FD504"


class WorkflowFailed(WorkError):
    """A workflow execution failed; the workflow's own exception has this as its `__cause__`."""

    code = "FD505"

    def __init__(self, message: str, *, workflow_id: str = "", run_id: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.reason = reason


class WorkflowTimedOut(WorkflowFailed, TimeoutError):
    """A workflow execution was out of its `timeout`."""

    code = "FD506"


class WorkflowTerminated(WorkflowFailed):
    """A workflow execution was terminated from outside."""

    code = "FD507"


class RemoteError(WorkError):
    """An exception that could not be rebuilt here. `type_name` is its class as `module.QualName`; the message is its own text."""

    code = "FD508"

    def __init__(self, message: str, *, type_name: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback = traceback


class SignalFailed(WorkError):
    """A signal could not be delivered: no open execution has the id (`reason` is the service's cause)."""

    code = "FD509"

    def __init__(self, message: str, *, workflow_id: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.reason = reason


class NonRetryable(WorkError):
    """Raise it in an activity or a child workflow to say: do not try again, whatever the retry policy."""

    code = "FD510"


class RetryAfter(WorkError):
    """Raise it in an activity to say: try again, but not before `seconds` (int, float) or a `timedelta` from now."""

    code = "FD511"

    def __init__(self, delay: Any, message: str = "") -> None:
        seconds = delay.total_seconds() if hasattr(delay, "total_seconds") else delay
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            raise DefinitionError(f"RetryAfter({delay!r}): the delay must be seconds (a number, 0 or more) or a timedelta")
        super().__init__(message or f"try again after {seconds:g} s")
        self.seconds = float(seconds)


# --- the service's -------------------------------------------------------------------------------------------------


class Fault(FlowError):
    """Amazon SWF (or what speaks its protocol) refused a call.

    `code` is the service's own fault name (`UnknownResourceFault`, `ThrottlingException`, …), `retryable` whether the same call
    may succeed later.
    """

    code = "FD600"

    def __init__(self, code: str, message: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # the contract names the service's own code `Fault.code`; it shadows the class's
        self.retryable = retryable

    @property
    def stable_code(self) -> str:
        """Our own code for all faults, as the manual lists it."""
        return "FD600"

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else str(self.code)


# --- ours ----------------------------------------------------------------------------------------------------------


class InternalError(FlowError):
    """A bug in flowdsl. Please report it with the whole text."""

    code = "FD900"


# --- control flow: user code must not swallow it -------------------------------------------------------------------


class Control(BaseException):
    """The root of control flow that passes through user code; never caught by `except Exception`."""


class Evicted(Control):
    """A suspended workflow body is torn down; every durable call raises this again and does nothing (replay rule 8)."""


class CancelRequested(Control):
    """Cancellation on its way through a body to the line that handles it."""


class Interrupted(Control):
    """A block (`with scope():`, `with timeout(…):`) is ended from outside its body; it is on its way from the waiting line to the block."""


class ContinueAsNew(Control):
    """`continue_as_new(...)` ends this run; the next one gets `call_args` and `call_kwargs`."""

    def __init__(self, call_args: tuple[Any, ...] = (), call_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.call_args = call_args
        self.call_kwargs = call_kwargs or {}
