"""What an activity worker makes of a task: run, answer, survive. The engine is real; decisions are made by the test."""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
import sys
import threading
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from flowdsl.errors import Cancelled, DefinitionError, LimitExceeded, NonRetryable, NotSerializable, RetryAfter
from flowdsl.lang.api import heartbeat, info
from flowdsl.lang.context import current
from flowdsl.lang.definitions import activity
from flowdsl.model.attempts import with_heartbeat
from flowdsl.workers.hooks import Hooks


class CardDeclined(Exception):
    """What a user raises."""

    def __init__(self, cents: int, *, card: str) -> None:
        super().__init__(f"{card}: {cents}")
        self.cents = cents


@activity
def double(x: int) -> int:
    return 2 * x


@activity
def moment(at: datetime, *, label: str = "none") -> list[Any]:
    return [at, label]


@activity
def decline(cents: int) -> None:
    raise CardDeclined(cents, card="visa")


class Payments:
    def __init__(self, bank: str) -> None:
        self.bank = bank

    @activity
    def charge(self, cents: int) -> str:
        return f"{self.bank}:{cents}"

    @activity
    @classmethod
    def currency(cls) -> str:
        return f"{cls.__name__} in EUR"


def test_a_task_becomes_a_call_of_the_plain_function_and_its_value_the_result(bench) -> None:
    assert bench.run(double, 21) == 42


def test_arguments_arrive_as_their_annotations_say_and_keywords_by_name(bench) -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    bench.schedule(moment, at, label="may")
    bench.worker(moment).run_once()
    assert bench.result(moment)[1] == "may"
    assert (
        '"label":"may"'
        in next(e for e in bench.events() if e["eventType"] == "ActivityTaskScheduled")["activityTaskScheduledEventAttributes"]["input"]
    )


@pytest.mark.parametrize("value", [None, 0, "", [], False])
def test_a_falsy_value_is_a_value(bench, value) -> None:
    @activity(name="falsy")
    def falsy() -> Any:
        return value

    got = bench.run(falsy)
    assert got == value and type(got) is type(value)


def test_an_exception_travels_as_itself(bench) -> None:
    bench.schedule(decline, 7)
    bench.worker(decline).run_once()
    error = bench.failure(decline)
    assert isinstance(error, CardDeclined)
    assert error.cents == 7
    assert bench.outcome()[1]["reason"].endswith("CardDeclined: visa: 7")


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), RetryAfter(30), NonRetryable("never"), BaseException("base")]
)
def test_whatever_a_function_raises_is_a_failure_and_the_worker_survives(bench, error) -> None:
    @activity(name="raises")
    def raises() -> None:
        raise error

    bench.schedule(raises)
    worker = bench.worker(raises, double)
    assert worker.run_once()
    assert type(bench.failure(raises)) is type(error)
    bench.schedule(double, 1, call_id="next")
    assert worker.run_once()
    assert bench.outcomes()[-1][0] == "completed"


def test_ctrl_c_in_the_thread_of_run_once_is_the_persons_and_answers_nothing(bench) -> None:
    @activity(name="interrupted")
    def interrupted() -> None:
        raise KeyboardInterrupt

    bench.schedule(interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.worker(interrupted).run_once()
    assert bench.outcomes() == []


def test_a_keyboard_interrupt_that_user_code_raises_in_a_workers_thread_is_its_failure(bench) -> None:
    @activity(name="interrupts")
    def interrupts() -> None:
        raise KeyboardInterrupt

    bench.schedule(interrupts)
    worker = bench.worker(interrupts)
    thread = threading.Thread(target=worker.run_once)
    thread.start()
    thread.join()
    assert isinstance(bench.failure(interrupts), KeyboardInterrupt)


def test_a_type_that_nobody_here_knows_is_answered_with_what_is_known(bench) -> None:
    @activity(name="shop.refund")
    def refund() -> None: ...

    bench.schedule(refund)
    assert bench.worker(double, decline).run_once()
    error = bench.failure(refund)
    assert isinstance(error, DefinitionError)
    assert "no activity 'shop.refund', version '1'" in error.message
    assert double.name in error.message


def test_another_version_is_another_type_and_the_message_shows_the_one_that_is_here(bench) -> None:
    bench.schedule(double.options(version="2"), 1)
    assert bench.worker(double).run_once()
    assert f"It has: {double.name} (version 1)" in bench.failure(double).message


def test_a_result_that_cannot_be_stored_is_a_failure_that_names_the_function(bench) -> None:
    database = sqlite3.connect(":memory:")

    @activity(name="opens.a.database")
    def opens() -> Any:
        return database

    bench.schedule(opens)
    bench.worker(opens).run_once()
    error = bench.failure(opens)
    assert isinstance(error, NotSerializable)
    assert "opens.a.database" in error.message
    database.close()


def test_arguments_that_cannot_be_read_are_a_failure(bench) -> None:
    bench.schedule(double, text='{"args": [{"fd1": "fd1.dill...cp311-a70d0d0a-dill0.4.1:rubbish"}]}')
    bench.worker(double).run_once()
    assert bench.outcome()[0] == "failed"
    bench.schedule(double, text="fd1.dill...cp311-a70d0d0a-dill0.4.1:rubbish", call_id="next")
    bench.worker(double).run_once()
    assert bench.outcomes()[-1][1]["reason"].startswith("flowdsl.errors.UntrustedPayload")


def test_arguments_that_do_not_fit_the_signature_are_pythons_own_type_error(bench) -> None:
    bench.schedule(double, text='{"args": [1, 2, 3]}')
    bench.worker(double).run_once()
    assert isinstance(bench.failure(double), TypeError)


# --- methods


def test_a_method_runs_on_the_instance_that_the_worker_has(bench) -> None:
    bench.schedule(Payments.charge, 5)
    bench.worker(Payments.charge, instances=[object(), Payments("ing")]).run_once()
    assert bench.result(Payments.charge) == "ing:5"


def test_a_method_of_a_subclass_instance_counts(bench) -> None:
    class Cheap(Payments):
        pass

    bench.schedule(Payments.charge, 5)
    bench.worker(Payments.charge, instances=[Cheap("n26")]).run_once()
    assert bench.result(Payments.charge) == "n26:5"


def test_a_class_method_runs_on_its_class_and_needs_no_instance(bench) -> None:
    assert bench.run(Payments.currency) == "Payments in EUR"


def test_a_missing_instance_is_a_failure_that_says_what_to_write(bench) -> None:
    bench.schedule(Payments.charge, 5)
    bench.worker(Payments.charge).run_once()
    assert "instances=[Payments(…)]" in bench.failure(Payments.charge).message


# --- what an attempt knows


@activity
def about() -> list[Any]:
    it = info()
    return [
        it.kind,
        it.name,
        it.workflow_id,
        it.run_id,
        it.call_id,
        it.attempt,
        it.idempotency_key,
        it.task_list,
        it.backend,
        it.heartbeat_details,
    ]


def test_an_attempt_knows_its_ids_and_its_number(bench) -> None:
    bench.schedule(about, call_id="charge-1~3")
    bench.worker(about, backend="embedded").run_once()
    assert bench.result(about) == [
        "activity", about.name, "wf", bench.run_id, "charge-1", 3, f"wf.{bench.run_id}.charge-1", "work", "embedded", None,
    ]  # fmt: skip


def test_the_idempotency_key_is_the_same_in_every_attempt(bench) -> None:
    keys = []

    @activity(name="keyed")
    def keyed() -> None:
        keys.append(info().idempotency_key)

    worker = bench.worker(keyed)
    for call_id in ("pay-1", "pay-1~2"):
        bench.schedule(keyed, call_id=call_id)
        worker.run_once()
    assert len(keys) == 2 and len(set(keys)) == 1


def test_details_of_the_lost_attempt_reach_the_next_one_and_the_arguments_stay(bench) -> None:
    @activity(name="resumes")
    def resumes(x: int) -> list[Any]:
        return [x, info().heartbeat_details]

    text = bench.values.encode_call(resumes, (1,), {})
    details = bench.values.encode_plain(resumes.name, "details", {"row": 500})
    bench.schedule(resumes, text=with_heartbeat(text, details, 32_768), call_id="call-1~2")
    bench.worker(resumes).run_once()
    assert bench.result(resumes) == [1, {"row": 500}]


def test_details_that_cannot_be_read_cost_nothing_but_themselves(bench) -> None:
    text = bench.values.encode_call(about, (), {})
    bench.schedule(about, text=with_heartbeat(text, "fd1.dill..nobody.cp27-dead:rubbish", 32_768))
    bench.worker(about).run_once()
    assert bench.result(about)[-1] is None


def test_an_input_that_only_looks_like_one_with_details_is_an_input(bench) -> None:
    bench.schedule(double, text='{"heartbeat":')
    assert bench.worker(double).run_once()
    assert isinstance(bench.failure(double), DefinitionError)


def test_calls_inside_an_activity_are_plain_calls(bench) -> None:
    @activity(name="outer")
    def outer(x: int) -> int:
        assert current.get().transparent
        return double(x) + double.start(x).result()

    assert bench.run(outer, 1) == 4
    assert [e["eventType"] for e in bench.events()].count("ActivityTaskScheduled") == 1


def test_a_function_runs_in_a_copy_of_the_context_in_which_the_worker_was_made(bench) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")

    @activity(name="tenants")
    def tenants() -> str:
        before = tenant.get()
        tenant.set("changed")
        return before

    tenant.set("acme")
    worker = bench.worker(tenants)
    for call_id in ("a", "b"):
        bench.schedule(tenants, call_id=call_id)
        thread = threading.Thread(target=worker.run_once)
        thread.start()
        thread.join()
    assert [bench.values.decode_result(tenants, about["result"]) for _, about in bench.outcomes()] == ["acme", "acme"]


# --- async def


@activity
async def slowly(x: int) -> int:
    await asyncio.sleep(0)
    assert current.get().transparent
    return x + info().attempt


def test_a_coroutine_runs_to_its_end(bench) -> None:
    assert bench.run(slowly, 1) == 2


def test_coroutines_share_one_loop_that_ends_with_the_worker(bench) -> None:
    loops = []

    @activity(name="loops")
    async def looks() -> None:
        loops.append((asyncio.get_running_loop(), threading.current_thread()))

    worker = bench.worker(looks)
    for call_id in ("a", "b"):
        bench.schedule(looks, call_id=call_id)
        worker.run_once()
    (one, thread), (other, _) = loops
    assert one is other
    worker.stop()
    thread.join()
    assert one.is_closed()


def test_system_exit_in_a_coroutine_does_not_reach_the_loop(bench) -> None:
    @activity(name="exits")
    async def exits() -> None:
        sys.exit(1)

    worker = bench.worker(exits, slowly)
    bench.schedule(exits)
    worker.run_once()
    assert isinstance(bench.failure(exits), SystemExit)
    bench.schedule(slowly, 1, call_id="next")
    worker.run_once()
    assert bench.outcomes()[-1][0] == "completed"
    worker.stop()


# --- manual


def test_a_manual_activity_hands_its_token_out_and_is_completed_elsewhere(bench) -> None:
    tokens = []

    @activity(name="asks.ann", manual=True)
    def asks() -> str:
        tokens.append(info().task_token)
        return "this value is nobody's"

    bench.schedule(asks, heartbeat="NONE")
    assert bench.worker(asks).run_once()
    assert bench.outcomes() == []
    bench.swf.respond_activity_task_completed(task_token=tokens[0], result='"ann said yes"')
    assert bench.outcome()[1]["result"] == '"ann said yes"'


def test_a_manual_activity_that_raises_fails_at_once(bench) -> None:
    @activity(name="asks.nobody", manual=True)
    def asks() -> None:
        raise CardDeclined(1, card="none")

    bench.schedule(asks, heartbeat="NONE")
    bench.worker(asks).run_once()
    assert isinstance(bench.failure(asks), CardDeclined)


# --- heartbeats and cancellation, as the function sees them


def test_reported_details_are_what_the_timeout_tells_of_a_lost_worker(bench) -> None:
    @activity(name="dies")
    def dies() -> None:
        heartbeat({"row": 7})
        heartbeat()
        bench.clock.advance(61)

    bench.schedule(dies)
    bench.worker(dies).run_once()
    kind, lost = bench.outcome()
    assert (kind, lost["timeoutType"]) == ("timed out", "HEARTBEAT")
    assert bench.values.decode_plain(dies.name, "details", lost["details"]) == {"row": 7}


def test_a_cancellation_is_heard_at_the_next_heartbeat_and_answered(bench) -> None:
    @activity(name="listens")
    def listens() -> None:
        heartbeat(1)
        bench.cancel()
        heartbeat(2)

    bench.schedule(listens)
    bench.worker(listens).run_once()
    assert bench.outcome()[0] == "canceled"


def test_a_function_that_finishes_in_spite_of_its_cancellation_is_completed(bench) -> None:
    @activity(name="insists")
    def insists() -> str:
        bench.cancel()
        try:
            heartbeat()
        except Cancelled:
            return "done anyway"
        return "not heard"

    assert bench.run(insists) == "done anyway"


def test_a_function_may_cancel_itself(bench) -> None:
    @activity(name="gives.up")
    def gives_up() -> None:
        raise Cancelled("not needed any more")

    bench.schedule(gives_up)
    bench.worker(gives_up).run_once()
    assert bench.outcome()[0] == "canceled"


def test_details_beyond_what_a_heartbeat_carries_are_refused_in_the_users_line(bench) -> None:
    @activity(name="verbose")
    def verbose() -> str:
        with pytest.raises(LimitExceeded):
            heartbeat(Random(0).randbytes(3_000))
        return "refused"

    assert bench.run(verbose) == "refused"


def test_an_outcome_that_comes_too_late_is_dropped_quietly(bench, caplog) -> None:
    errors = []

    @activity(name="late")
    def late() -> str:
        bench.clock.advance(61)
        return "too late"

    bench.schedule(late)
    bench.worker(late, hooks=Hooks(on_error=lambda error, about: errors.append(error))).run_once()
    assert bench.outcome()[0] == "timed out"
    assert errors == []
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
