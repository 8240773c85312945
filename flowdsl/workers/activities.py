"""The activity worker: poll for an activity task, run its function, respond.

Rule 1: every task that was taken is answered, whatever happens: with the function's value, with a failure, or with a cancellation. There
        are three exceptions: the service does not know the task any more; the activity is completed by somebody else (`manual`); the
        process dies.
Rule 2: nothing that user code does ends the worker. What it raises, `SystemExit` too, is the activity's failure.
Rule 3: a value that cannot be stored, arguments that cannot be read, a method without an instance, a type that is not known here:
        each is a failure that says so. A task is never dropped: it would hang until its timeout.
Rule 4: stopping drains. No poll begins any more; what runs has `grace` seconds. What still runs then is cancelled, and answered with
        `RetryAfter`: the worker's end is no fault of the activity, so it is given out again. `Retry(attempts=1)` still means at most once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from flowdsl.errors import Cancelled, DefinitionError, Fault, RetryAfter
from flowdsl.lang.options import Options
from flowdsl.service.faults import UNKNOWN_RESOURCE
from flowdsl.service.swf import Swf
from flowdsl.service.withdrawable import Submits, Withdrawable
from flowdsl.workers.attempts import Attempt
from flowdsl.workers.crew import Crew, Slots
from flowdsl.workers.executors import Executors
from flowdsl.workers.heartbeats import GAP, LONGEST, Heart
from flowdsl.workers.hooks import Hooks
from flowdsl.workers.identity import default_identity
from flowdsl.workers.instances import find_instance
from flowdsl.workers.polling import Patience

if TYPE_CHECKING:
    from flowdsl.data.values import Values
    from flowdsl.lang.registry import Registry
    from flowdsl.service.transport import Transport

log = logging.getLogger("flowdsl.worker")

_MANY = 12
"""So many known activities are named in a failure."""


class ActivityWorker:
    """Runs the activities of `registry` that come on `task_lists` (one name or several).

    `instances` are what methods run on; `slots` is how many activities run at once (0: nothing is polled); `identity` is who polls, as the
    history shows it; `backend` is what `info().backend` says. Raises `DefinitionError` if there are fewer slots than task lists.
    """

    def __init__(
        self,
        transport: Transport,
        domain: str,
        task_lists: Sequence[str] | str,
        registry: Registry,
        values: Values,
        *,
        instances: Sequence[Any] = (),
        slots: int = 8,
        identity: str | None = None,
        hooks: Hooks | None = None,
        backend: str = "",
    ) -> None:
        self._polls = Withdrawable(transport)
        self._swf = Swf(self._polls, domain)
        self._task_lists = (task_lists,) if isinstance(task_lists, str) else tuple(task_lists)
        self._registry = registry
        self._values = values
        self._instances = instances
        self._identity = identity or default_identity()
        self._hooks = hooks or Hooks()
        self._backend = backend
        # In this process a heartbeat costs microseconds and no rate is limited: details arrive at once, and a cancellation within a second.
        in_process = isinstance(transport, Submits)
        self._pollers = 1 if in_process else slots  # in this process one poll has its answer at once
        self._heart = Heart(self._swf, gap=0.0 if in_process else GAP, longest=1.0 if in_process else LONGEST)
        self._executors = Executors(copy_context())
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._running: dict[Attempt, Crew | None] = {}
        self._stopping = False
        self._gave_up = False
        self._graces: list[threading.Timer] = []
        self._slots = Slots(slots, self._task_lists if slots else ())
        self._crews = [self._crew(name, slots) for name in self._task_lists] if slots else []

    def _crew(self, task_list: str, slots: int) -> Crew:
        patience = Patience(self._hooks, f"activities of {task_list!r}")
        crew: Crew

        def run(task: dict[str, Any]) -> bool:
            return self._run(task, task_list, crew)

        crew = Crew(
            task_list, poll=partial(self._poll, task_list), run=run, slots=self._slots, size=slots, patience=patience, hooks=self._hooks,
            on_end=self._end, pollers=self._pollers,
        )  # fmt: skip
        return crew

    # --- serving

    def start(self) -> None:
        """Begin to serve, in background threads."""
        for crew in self._crews:
            crew.start()

    def stop(self, grace: float | None = None) -> None:
        """Poll no more; what runs has `grace` seconds (None: as long as it takes). Does not wait: see `join`."""
        with self._lock:
            self._stopping = True
        for crew in self._crews:
            crew.stop()
        self._slots.close()
        self._polls.withdraw()
        if grace is not None:
            timer = threading.Timer(grace, self._give_up)
            timer.daemon = True
            with self._lock:
                self._graces.append(timer)
            timer.start()
        self._end()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until everything is answered and every thread has ended; False if that is not so after `timeout` seconds."""
        return all([crew.join(timeout) for crew in self._crews])  # noqa: C419 - all of them are waited for

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until everything that was taken is answered; open polls are not waited for. False if it is not after `timeout` seconds."""
        with self._answered:
            return self._answered.wait_for(lambda: not self._running, timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.join()

    def run_once(self, task_list: str | None = None) -> bool:
        """One poll and, if it brought a task, that task, in the calling thread. Return whether there was one. Raises the poll's `Fault`."""
        name = task_list or self._task_lists[0]
        task = self._poll(name)
        if task is not None:
            self._run(task, name, None)
        return task is not None

    def _poll(self, task_list: str) -> dict[str, Any] | None:
        return self._swf.poll_for_activity_task(task_list=task_list, identity=self._identity)

    # --- the end

    def _give_up(self) -> None:
        """The grace is over: cancel what runs, and answer for what does not listen."""
        with self._lock:
            self._gave_up = True
            running = list(self._running.items())
        for attempt, crew in running:
            attempt.cancel("stopped")
            if attempt.claim():
                self._respond(attempt, None, Cancelled("the worker was stopped"))
                self._forget(attempt)
                if crew is not None:
                    crew.write_off()

    def _forget(self, attempt: Attempt) -> None:
        self._heart.remove(attempt)
        with self._lock:
            self._running.pop(attempt, None)
            self._answered.notify_all()

    def _end(self) -> None:
        """Let go of the heart and the event loop once nobody needs them any more."""
        with self._lock:
            over = self._stopping and not self._running and not any(crew.living for crew in self._crews)
            graces = list(self._graces)
        if over:
            for timer in graces:
                timer.cancel()
            self._heart.stop()
            self._executors.stop()

    # --- one task

    def _run(self, task: Mapping[str, Any], task_list: str, crew: Crew | None) -> bool:
        """Run a task and answer it. False: it was answered already, and this thread is not expected back."""
        kind = task["activityType"]
        definition: Any = self._registry.find("activity", kind["name"], kind["version"]) or Stranger(kind["name"], kind["version"])
        attempt = Attempt(task, definition, self._values, domain=self._swf.domain, task_list=task_list, backend=self._backend)
        attempt.on_news(self._heart.news)
        with self._lock:
            self._running[attempt] = crew
            too_late = self._gave_up
        self._heart.add(attempt)
        try:
            if too_late:
                attempt.cancel("stopped")
            value, error = self._outcome(attempt)
            if not attempt.claim():
                return False
            self._respond(attempt, value, error)
            return True
        finally:
            self._forget(attempt)

    def _outcome(self, attempt: Attempt) -> tuple[str | None, BaseException | None]:
        """Run the function: the text of its value, or what went wrong."""
        definition = attempt.definition
        try:
            if attempt.reason is not None:
                raise Cancelled("the worker was stopped")
            if isinstance(definition, Stranger):
                raise self._unknown(definition)
            args, kwargs = self._values.decode_call(definition, attempt.input)
            value = self._executors.run(attempt, args, kwargs, find_instance(definition, self._instances))
            return (None if definition.settings.manual else self._values.encode_result(definition, value)), None
        except KeyboardInterrupt as error:
            if threading.current_thread() is threading.main_thread():
                raise  # somebody pressed Ctrl-C during `run_once`; the function did not raise this
            return None, error
        except BaseException as error:
            return None, error

    def _unknown(self, stranger: Stranger) -> DefinitionError:
        near = self._registry.nearest("activity", stranger.name)
        others = sorted({d.name for d in self._registry if d.kind == "activity"} - {d.name for d in near})
        known = ", ".join([f"{d.name} (version {d.version})" for d in near] + others[:_MANY])
        more = f" and {len(others) - _MANY} more" if len(others) > _MANY else ""
        return DefinitionError(
            f"the worker {self._identity} has no activity {stranger.name!r}, version {stranger.version!r}. "
            f"It has: {known or 'none'}{more}. Give it the module with that activity, or poll its task list by workers that have it"
        )

    # --- the answer

    def _respond(self, attempt: Attempt, value: str | None, error: BaseException | None) -> None:
        if attempt.reason == "gone":
            log.info("%s is over for the service; its outcome is dropped", attempt)
            return
        try:
            self._send(attempt, value, error)
        except Fault as fault:
            if fault.code == UNKNOWN_RESOURCE:
                log.info("%s was over before it was answered: %s", attempt, fault)
                return
            level = logging.INFO if self._stopping else logging.ERROR
            log.log(level, "%s could not be answered and will time out: %s", attempt, fault)
            self._hooks.report(fault, attempt.ids())

    def _send(self, attempt: Attempt, value: str | None, error: BaseException | None) -> None:
        if error is None:
            if not attempt.definition.settings.manual:
                self._swf.respond_activity_task_completed(task_token=attempt.token, result=value)
            return
        if isinstance(error, Cancelled) and attempt.reason != "stopped":
            log.info("%s ended by its cancellation", attempt)
            self._swf.respond_activity_task_canceled(task_token=attempt.token)
            return
        if isinstance(error, Cancelled):
            error = RetryAfter(0, f"the worker {self._identity} was stopped before {attempt.about.name} had ended")
        log.info("%s failed", attempt, exc_info=error)
        reason, details = self._values.encode_failure(attempt.definition, error)
        self._swf.respond_activity_task_failed(task_token=attempt.token, reason=reason, details=details)


class Stranger:
    """Stands for an activity that this worker does not know: enough of a definition to answer its task."""

    kind = "activity"
    is_async = False
    returns = Any

    def __init__(self, name: str, version: str) -> None:
        self.name = name
        self.version = version
        self.settings = Options(name=name, version=version)
