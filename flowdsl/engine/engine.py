"""`Engine`: Amazon SWF on one SQLite file, without a clock.

Rule 1: time is an argument, and so is chance. Nothing happens but in `apply` and `tick`, and nothing is late or early but by the
        caller's time; run ids are made of the caller's `entropy`.
Rule 2: one `apply` is one transaction; one effect and one deadline of a `tick` is one transaction. What an answer says is in the file
        before the answer is given. In a `group`, several of them are committed together: an answer counts only when the group has ended.
Rule 3: a refusal (`Fault`) changes nothing. If the file cannot be written, the call did not happen, and memory is read again from it.
        In a group, anything but a refusal takes the whole group back (`GroupLost`): its caller does its parts again, one by one.
Rule 4: an engine is used by one thread at a time; `service.py` sees to that.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flowdsl.engine import execution_operations, registry_operations, task_operations, visibility
from flowdsl.engine.effects import deliver
from flowdsl.engine.expiry import expire, give_out_again
from flowdsl.engine.faults import engine_closed, storage_failed
from flowdsl.engine.lambdas import Invocation, Outcome, finish, invocation
from flowdsl.engine.quotas import Quotas
from flowdsl.engine.store import Store, file_id
from flowdsl.engine.validation import validate
from flowdsl.engine.world import Operation, Place, World
from flowdsl.errors import Fault, InternalError
from flowdsl.model.lifecycle import Refused

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator, Mapping

    from flowdsl.engine.deadlines import Ref
    from flowdsl.engine.tasks import ListName
    from flowdsl.engine.throttling import Throttles

_OPERATIONS: Mapping[str, Operation] = {
    **registry_operations.OPERATIONS,
    **execution_operations.OPERATIONS,
    **task_operations.OPERATIONS,
    **visibility.OPERATIONS,
}


class GroupLost(Exception):
    """Nothing that was done in the group happened; the cause is its `__cause__`."""


class Engine:
    """Amazon SWF's semantics on the SQLite file `path` (":memory:" for none).

    `durability`: "process" (what was acknowledged survives the death of the process) or "full" (also the loss of power).
    `recover`: give out at once what a dead process had in hand, instead of waiting for its timeouts.
    `quotas`: how much may be open; Amazon SWF's own by default. `throttles`: how often what may be asked; None does not throttle.
    `region` and `account` appear in the ARNs of domains; `has_lambda=False` is a region without AWS Lambda.
    `entropy(n)`: n random bytes, for run ids; a test that wants the same run twice gives its own.

    Raises `FileInUse`, `NotAnEngineFile`, or `UserError` for a file that cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = ":memory:",
        *,
        durability: str = "process",
        recover: bool = False,
        quotas: Quotas | None = None,
        throttles: Throttles | None = None,
        region: str = "us-east-1",
        account: str = "000000000000",
        has_lambda: bool = True,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.quotas = quotas or Quotas()
        self._store = Store(path, durability)
        self._world: World | None = None
        try:
            self._world = World(self._store, self.quotas, throttles, Place(region, account, has_lambda), entropy)
        except BaseException:
            self._store.close()
            raise
        self._recover = recover
        self._grouped = False
        self._closed: list[tuple[str, str, str]] = []

    # --- the two verbs

    def apply(self, now_ms: int, operation: str, params: Mapping[str, Any], *, again: bool = False) -> dict[str, Any]:
        """Do one operation of SWF's API at the time `now_ms` (milliseconds since the epoch) and return its answer.

        A poll never waits: without a task it answers without `taskToken`; whoever makes it `again` for the same caller says so: it is
        looked at and throttled once. Raises `Fault` with the service's own code.
        """
        world = self._living()
        if not again:
            validate(operation, params, max_bytes=self.quotas.request_bytes)
            world.buckets.check_call(now_ms, operation, params)
        if self._recover:
            self._give_out_again(now_ms)
        handler = _OPERATIONS[operation]
        answer: dict[str, Any] = self._transaction(lambda: handler(world, now_ms, params))
        return answer

    def tick(self, now_ms: int) -> int | None:
        """Do what is due at `now_ms`: deliver effects, fire timers and timeouts, forget what is past its retention.

        Return when something is due next, in milliseconds, or None if nothing will be due by itself.
        """
        world = self._living()
        if self._recover:
            self._give_out_again(now_ms)
        while True:
            due = world.effects.due
            if due is not None and due <= now_ms:
                self._transaction(lambda: deliver(world, now_ms))
                continue
            first = world.deadlines.first()
            if first is None or first[0] > now_ms:
                break
            ref = first[1]
            self._transaction(lambda ref=ref: expire(world, now_ms, ref))  # type: ignore[misc]  # mypy cannot infer defaults of lambdas
        if world.runs.next_expiry is not None and world.runs.next_expiry <= now_ms:
            self._transaction(lambda: world.runs.delete_expired(now_ms))
        return self.next_due

    @contextmanager
    def group(self) -> Iterator[None]:
        """Commit what is done inside once, at the end. Raises `GroupLost` if nothing of it happened."""
        self._grouped = True
        try:
            yield
            if self._world is not None:
                self._commit()
        except GroupLost:
            raise
        except sqlite3.Error as error:
            self._reload()
            raise GroupLost from error
        except BaseException:
            self._reload()
            raise
        finally:
            self._grouped = False

    def backup(self, path: str | os.PathLike[str], pause: Callable[[], None] = lambda: None) -> None:
        """Copy the file as it is now to the new file `path`; `pause` is called between two steps, and may let operations through.

        Raises `UserError` if `path` exists or cannot be written, `Fault` if the engine is closed.
        """
        self._living()
        self._store.backup(path, pause)

    @property
    def file_id(self) -> str:
        """What names the engine's file on this machine, whatever path leads to it."""
        return file_id(self._store.path)

    def close(self) -> None:
        """Give the file free; the engine cannot be used any more. Everything acknowledged is in the file."""
        if self._world is not None:
            self._world = None
            self._store.close()

    # --- for the service around it

    @property
    def next_due(self) -> int | None:
        """When something is due next, in milliseconds."""
        world = self._living()
        due, first, expiry = world.effects.due, world.deadlines.first(), world.runs.next_expiry
        if first is not None and (due is None or first[0] < due):
            due = first[0]
        return expiry if due is None or (expiry is not None and expiry < due) else due

    def idle_until(self, polled: Collection[ListName]) -> int | None:
        """The next deadline, if nothing can be done before it by anybody who polls; else None.

        None also if only whole executions can time out. `polled` are the task lists that have a worker: an activity on another
        one waits for nobody.
        """
        world = self._living()
        lists, first = world.lists, world.deadlines.first()
        if first is None or world.deadlines.only_executions or world.effects.due is not None or lists.in_hand:
            return None
        if any(name[0] == "D" or name in polled for name in lists.sizes):
            return None
        return first[0]

    def take_fresh_lists(self) -> list[ListName]:
        """The task lists that got a task since the last call, as (kind, domain, name)."""
        lists = self._living().lists
        fresh, lists.fresh = lists.fresh, []
        return fresh

    def take_closed(self) -> list[tuple[str, str, str]]:
        """(domain, workflow id, run id) of the runs whose close was committed since the last call."""
        closed, self._closed = self._closed, []
        return closed

    def take_invocations(self) -> list[Invocation]:
        """The functions of lambda tasks that have to be called, since the last call; after opening a file, those that are under way."""
        world = self._living()
        refs, world.lists.to_call = world.lists.to_call, []
        running = ((ref, world.runs.get(ref[0])) for ref in refs)
        return [invocation(execution, ref) for ref, execution in running if execution is not None and ref[1] in execution.lambdas]

    def finish_lambda(self, now_ms: int, ref: Ref, outcome: Outcome) -> None:
        """What became of the call of an `Invocation`. Nothing happens if its task is over by now."""
        world = self._living()
        self._transaction(lambda: finish(world, now_ms, ref, outcome))

    # --- inside

    def _living(self) -> World:
        if self._world is None:
            raise engine_closed()
        return self._world

    def _give_out_again(self, now_ms: int) -> None:
        world = self._living()
        grouped, self._grouped = self._grouped, False  # it comes first, and is done only once: nothing may take it back
        try:
            self._transaction(lambda: give_out_again(world, now_ms))
        finally:
            self._grouped = grouped
        self._recover = False

    def _transaction(self, work: Callable[[], Any]) -> Any:
        world = self._living()
        written = self._store.written
        try:
            answer = work()
            if not self._grouped:
                self._commit()
        except Fault as fault:
            if world.runs.unsaved or self._store.written != written:
                self._take_back(fault)
            raise
        except sqlite3.Error as error:
            self._take_back(error)
            raise storage_failed(str(error)) from error
        except Refused as error:
            self._take_back(error)
            raise InternalError(f"the engine was about to write an event that Amazon SWF never writes: {error}") from error
        except Exception as error:
            self._take_back(error)
            raise
        except BaseException:  # Ctrl-C: whoever holds the group takes it back
            if not self._grouped:
                self._reload()
            raise
        return answer

    def _commit(self) -> None:
        self._store.commit()
        runs = self._living().runs
        if runs.closed:
            self._closed += runs.closed
            runs.closed = []

    def _take_back(self, cause: Exception) -> None:
        self._reload()
        if self._grouped:
            raise GroupLost from cause

    def _reload(self) -> None:
        """Memory may be ahead of the file: forget the transaction and read the file again."""
        self._store.rollback()
        if self._world is not None:
            self._world.read()
