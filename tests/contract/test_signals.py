"""Messages in and out: signals, published values, marks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from contract_stage import DURABLE, HANDLES, events, new_id, wait_for

import flowdsl
from flowdsl import Fault, Retry, SignalFailed, activity, continue_as_new, mark, publish, signal, signal_with_start, sleep, workflow

# --- signals ---------------------------------------------------------------------------------------------------------


@signal
def approved(by: str, level: int = 1) -> str:
    return f"{by}/{level}"


@signal
def rejected(reason: str) -> str:
    return reason


@activity
def touch(x: int) -> int:
    return x


@workflow
def one_approval(limit: float | None) -> str:
    try:
        return approved.wait(timeout=limit)
    except TimeoutError:
        return "nobody"


def test_waiting_has_an_end_when_no_signal_comes(stage):
    assert stage.run(one_approval, stage.seconds(30)) == "nobody"
    assert stage.run(one_approval, 0) == "nobody"


@pytest.mark.stages(*HANDLES)
def test_a_signal_carries_its_arguments_and_gives_what_its_function_makes_of_them(stage):
    execution = stage.start(one_approval, None)
    execution.signal(approved, "ann", level=3)
    assert execution.result() == "ann/3"


@pytest.mark.stages(*HANDLES)
def test_a_signal_is_sent_by_its_name_too(stage):
    execution = stage.start(one_approval, None)
    execution.signal(approved.name, by="bob")
    assert execution.result() == "bob/1"


@workflow
def approvals(n: int) -> list[str]:
    touch(0)
    return [approved.wait() for _ in range(n)]


@pytest.mark.stages(*HANDLES)
def test_signals_are_taken_first_in_first_out_and_none_is_lost(stage):
    execution = stage.start(approvals, 40)
    for n in range(40):
        execution.signal(approved, str(n))
    assert execution.result() == [f"{n}/1" for n in range(40)]


@workflow
def two_names() -> list[str]:
    return [rejected.wait(), approved.wait(), rejected.wait()]


@pytest.mark.stages(*HANDLES)
def test_two_signals_are_waited_for_by_their_names(stage):
    execution = stage.start(two_names)
    execution.signal(approved, "a")
    execution.signal(rejected, "r1")
    execution.signal(rejected, "r2")
    assert execution.result() == ["r1", "a/1", "r2"]


@pytest.mark.stages(*DURABLE)
def test_signals_sent_before_the_first_decision_are_kept(stage):
    with stage.fleet() as fleet:
        execution = flowdsl.start(approvals, 3, backend=fleet.backend)
        for n in range(3):
            execution.signal(approved, str(n))
        fleet.work()
        assert execution.result() == ["0/1", "1/1", "2/1"]
        assert [event["eventType"] for event in execution.history()][2:5] == ["WorkflowExecutionSignaled"] * 3


@workflow
def patient(limit: float) -> list[str]:
    seen = []
    for _ in range(3):
        try:
            seen.append(approved.wait(timeout=limit))
        except TimeoutError:
            seen.append("-")
    return seen


@pytest.mark.stages(*DURABLE)
def test_a_wait_that_timed_out_takes_no_later_signal(stage):
    with stage.clock.held():
        execution = stage.start(patient, 60)
        wait_for(lambda: events(execution, "TimerStarted"))
        stage.clock.advance(60)
        wait_for(lambda: len(events(execution, "TimerStarted")) == 2)
        execution.signal(approved, "late")
    assert execution.result() == ["-", "late/1", "-"]


@workflow
def races(duration: float) -> str:
    promise = approved.start()
    sleep(duration)
    return promise.result() if promise.is_ready() else "not yet"


@pytest.mark.stages(*DURABLE)
def test_a_started_signal_is_a_promise(stage):
    assert stage.run(races, 5) == "not yet"
    with stage.clock.held():
        execution = stage.start(races, 5)
        execution.signal(approved, "ann")
    assert execution.result() == "ann/1"


@workflow
def one_at_a_time(seen: tuple[str, ...] = ()) -> tuple[str, ...]:
    seen = (*seen, approved.wait())
    if len(seen) < 4:
        continue_as_new(seen)
    return seen


def four_in_a_row(stage):
    execution = stage.start(one_at_a_time)
    for n in range(4):
        execution.signal(approved, str(n))
    return execution.result(timeout=2)


@pytest.mark.stages("local")
def test_no_signal_is_lost_when_a_workflow_continues_as_new(stage):
    assert four_in_a_row(stage) == ("0/1", "1/1", "2/1", "3/1")


@pytest.mark.stages(*DURABLE)
def test_no_signal_is_lost_when_a_workflow_continues_as_new_on_a_service(stage):
    assert four_in_a_row(stage) == ("0/1", "1/1", "2/1", "3/1")


@workflow
def sender(target: str, n: int) -> list[str]:
    sent = []
    for number in range(n):
        approved.send(target, f"sender {number}")
        sent.append(str(number))
    try:
        approved.send(f"nobody-{target}", "x")
    except SignalFailed as error:
        sent.append(f"{error.workflow_id == f'nobody-{target}'}")
    return sent


@pytest.mark.stages(*HANDLES)
def test_a_workflow_sends_signals_to_another_one(stage):
    target = new_id("target")
    execution = stage.start(approvals.options(id=target), 2)
    if not stage.durable:
        wait_for(lambda: flowdsl.local.running.find(target))
    assert stage.run(sender, target, 2) == ["0", "1", "True"]
    assert execution.result() == ["sender 0/1", "sender 1/1"]


@pytest.mark.stages(*HANDLES)
def test_a_client_sends_signals_by_the_id(stage, monkeypatch):
    target = new_id("target")
    execution = stage.start(one_approval.options(id=target), None)
    if stage.durable:
        _by_default(stage.backend, monkeypatch)
    else:
        wait_for(lambda: flowdsl.local.running.find(target))
    approved.send(target, by="client")
    assert execution.result() == "client/1"
    with pytest.raises(SignalFailed, match=r"no .*open|no local workflow") as caught:
        approved.send("nobody", by="client")
    assert caught.value.workflow_id == "nobody"


def _by_default(backend, monkeypatch):
    """What a user sets in the environment."""
    monkeypatch.setattr("flowdsl.backends._WORDS", {"swf": lambda: backend})
    monkeypatch.setenv("FLOWDSL_BACKEND", "swf")


@pytest.mark.stages(*HANDLES)
def test_a_signal_to_an_execution_that_is_over_is_refused(stage):
    execution = stage.start(one_approval, 0)
    execution.result()
    with pytest.raises((Fault, SignalFailed), match=r"Unknown execution|no open"):
        execution.signal(approved, "late")


def test_arguments_that_do_not_fit_a_signal_are_refused_where_it_is_sent(stage):
    with pytest.raises(TypeError):
        approved.send("somebody", nobody="x")


# --- more than one signal can be -------------------------------------------------------------------------------------


@workflow
def counts(seen: tuple[str, ...], rest: int) -> list[str]:
    seen = (*seen, approved.wait())
    if rest > 1:
        continue_as_new(seen, rest - 1)
    return list(seen)


@pytest.mark.stages(*HANDLES)
def test_a_signal_with_an_id_is_received_once_also_by_the_next_run(stage):
    execution = stage.start(counts, (), 3)
    for name in ("a", "a", "b", "a", "b"):
        execution.signal(approved.options(id=f"message {name}"), name)
    execution.signal(approved, "end")
    assert execution.result() == ["a/1", "b/1", "end/1"]


@signal
def bulk(text: str) -> str:
    return text


@workflow
def takes_bulk(n: int, total: int = 0) -> int:
    if n == 0:
        return total
    if total == 0:
        approved.wait()
    continue_as_new(n - 1, total + len(bulk.wait()))
    return 0


@pytest.mark.stages(*HANDLES)
def test_33_a_signal_of_300_kb_arrives(stage):
    execution = stage.start(takes_bulk, 1)
    execution.signal(approved, "go")
    execution.signal(bulk, "x" * 300_000)
    assert execution.result() == 300_000


@pytest.mark.stages(*HANDLES)
def test_39_unread_signals_that_no_input_could_hold_are_carried_to_the_next_run(stage):
    execution = stage.start(takes_bulk, 30)
    for n in range(30):
        execution.signal(bulk, f"{n:02}" * 2_500)
    execution.signal(approved, "go")
    assert execution.result() == 30 * 5_000


@workflow
def sends_until_it_arrives(target: str) -> str:
    approved.options(retry=Retry(attempts=20, first=1, factor=1)).send(target, "early")
    return "sent"


@pytest.mark.stages(*DURABLE)
def test_a_workflow_sends_again_until_its_target_exists(stage):
    target = new_id("target")
    with stage.clock.held():
        early = stage.start(sends_until_it_arrives, target)
        wait_for(lambda: events(early, "SignalExternalWorkflowExecutionFailed"))
        execution = stage.start(one_approval.options(id=target), None)
    assert early.result() == "sent"
    assert execution.result() == "early/1"


@pytest.mark.stages(*HANDLES)
def test_a_signal_starts_its_execution_if_there_is_none(stage):
    mine = approvals.options(id=new_id("cart"))
    first = signal_with_start(partial(approved, "ann", level=2), mine, 3, backend=stage.backend)
    again = signal_with_start(partial(approved, by="bob"), mine, 3, backend=stage.backend)
    assert again.run_id == first.run_id
    first.signal(approved, "cid")
    assert first.result() == ["ann/2", "bob/1", "cid/1"]
    other = signal_with_start(partial(approved, "dan"), approvals.options(id=first.id), 1, backend=stage.backend)
    assert other.result() == ["dan/1"]


@pytest.mark.stages("embedded", "server")
def test_many_who_signal_with_start_at_once_start_one_execution_and_no_signal_is_lost(stage):
    mine = approvals.options(id=new_id("cart"))
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(signal_with_start, partial(approved, str(n)), mine, 12, backend=stage.backend) for n in range(12)]
        handles = [job.result() for job in jobs]
    assert len({handle.run_id for handle in handles}) == 1
    assert sorted(handles[0].result(), key=lambda text: int(text[:-2])) == [f"{n}/1" for n in range(12)]


def test_signal_with_start_needs_a_signal_and_an_id(stage):
    with pytest.raises(flowdsl.DefinitionError, match="partial"):
        signal_with_start(approved, approvals.options(id="x"), 1, backend=stage.backend)
    with pytest.raises(flowdsl.DefinitionError, match=r"options\(id="):
        signal_with_start(partial(approved, "x"), approvals, 1, backend=stage.backend)


# --- out -------------------------------------------------------------------------------------------------------------


@workflow
def publishes(n: int) -> str:
    for number in range(n):
        publish({"progress": number, "of": (n,)})
        touch(number)
    approved.wait()
    return "done"


@pytest.mark.stages(*HANDLES)
def test_what_was_published_last_can_be_read_from_outside_also_after_the_end(stage):
    execution = stage.start(publishes, 3)
    assert wait_for(lambda: (p := execution.published()) and p["progress"] == 2 and p) == {"progress": 2, "of": (3,)}
    execution.signal(approved, "go")
    assert execution.result() == "done"
    assert execution.published() == {"progress": 2, "of": (3,)}


@pytest.mark.stages(*HANDLES)
def test_nothing_is_published_by_a_workflow_that_does_not(stage):
    execution = stage.start(one_approval, 0)
    execution.result()
    assert execution.published() is None


@workflow
def marks() -> str:
    mark("begun")
    touch(1)
    mark("counted", {"n": 2})
    mark("counted", [3])
    return "marked"


def test_marks_are_no_part_of_what_a_workflow_gives(stage):
    assert stage.run(marks) == "marked"


@pytest.mark.stages(*DURABLE)
def test_marks_are_seen_in_the_history(stage):
    execution = stage.start(marks)
    execution.result()
    seen = [(event["markerName"], event.get("details")) for event in events(execution, "MarkerRecorded")]
    assert seen == [("begun", "null"), ("counted", '{"n":2}'), ("counted", "[3]")]


@workflow
def publishes_quotes(n: int) -> str:
    publish(['"'] * n)
    return "done"


@pytest.mark.stages(*HANDLES)
@pytest.mark.parametrize("n", [5_000, 6_500, 200_000])
def test_what_is_published_may_be_large_and_full_of_quotes(stage, n):
    execution = stage.start(publishes_quotes, n)
    assert execution.result() == "done"
    assert execution.published() == ['"'] * n
