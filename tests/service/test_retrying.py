"""Which calls are made again, how often, and after how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.errors import Fault
from flowdsl.service.retrying import Retrying, may_repeat
from flowdsl.service.transport import ANSWER_LOST, NOT_SENT

THROTTLED = Fault("ThrottlingException", "Rate exceeded", retryable=True)
LOST = Fault(ANSWER_LOST, "gone", retryable=True)
UNSENT = Fault(NOT_SENT, "refused", retryable=True)
BROKEN = Fault("InternalFailure", "", retryable=True)
UNKNOWN = Fault("UnknownResourceFault", "Unknown activity")
INVALID = Fault("ValidationException", "no")
EXPIRED = Fault("ExpiredTokenException", "old")

YES, NO = True, False


@pytest.mark.parametrize(
    ("operation", "throttled", "unsent", "lost", "broken", "unknown", "invalid", "expired"),
    [
        ("PollForActivityTask", NO, NO, NO, NO, NO, NO, NO),
        ("PollForDecisionTask", NO, NO, NO, NO, NO, NO, NO),
        ("RecordActivityTaskHeartbeat", NO, NO, NO, NO, NO, NO, NO),
        ("SignalWorkflowExecution", YES, YES, NO, NO, NO, NO, NO),
        ("RequestCancelWorkflowExecution", YES, YES, NO, NO, NO, NO, NO),
        ("RespondActivityTaskCompleted", YES, YES, YES, YES, NO, NO, YES),
        ("RespondActivityTaskFailed", YES, YES, YES, YES, NO, NO, YES),
        ("RespondActivityTaskCanceled", YES, YES, YES, YES, NO, NO, YES),
        ("RespondDecisionTaskCompleted", YES, YES, YES, YES, NO, NO, YES),
        ("StartWorkflowExecution", YES, YES, YES, YES, NO, NO, NO),
        ("RegisterDomain", YES, YES, YES, YES, NO, NO, NO),
        ("DescribeWorkflowExecution", YES, YES, YES, YES, NO, NO, NO),
        ("GetWorkflowExecutionHistory", YES, YES, YES, YES, NO, NO, NO),
        ("TerminateWorkflowExecution", YES, YES, YES, YES, NO, NO, NO),
    ],
)
def test_what_is_repeated_after_what(operation, throttled, unsent, lost, broken, unknown, invalid, expired) -> None:
    faults = [THROTTLED, UNSENT, LOST, BROKEN, UNKNOWN, INVALID, EXPIRED]
    assert [may_repeat(operation, {}, fault) for fault in faults] == [throttled, unsent, lost, broken, unknown, invalid, expired]


def test_the_next_page_of_a_decision_task_is_no_poll_and_is_repeated() -> None:
    assert may_repeat("PollForDecisionTask", {"nextPageToken": "p"}, LOST)


def test_a_call_is_repeated_until_it_works(script) -> None:
    transport = script(THROTTLED, BROKEN, {"count": 1})
    assert Retrying(transport, sleep=lambda _: None).call("DescribeDomain", {"name": "d"}) == {"count": 1}
    assert transport.calls == [("DescribeDomain", {"name": "d"})] * 3


def test_the_waits_grow_to_a_cap_and_are_a_random_part_of_it(script) -> None:
    waits: list[float] = []
    with pytest.raises(Fault):
        Retrying(script(*[BROKEN] * 99), attempts=7, first=1, cap=10, sleep=waits.append, random=lambda: 0.5).call("DescribeDomain", {})
    assert waits == [0.5, 1, 2, 4, 5, 5]


def test_the_last_fault_is_raised_as_it_came(script) -> None:
    with pytest.raises(Fault) as raised:
        Retrying(script(THROTTLED, BROKEN), attempts=2, sleep=lambda _: None).call("DescribeDomain", {})
    assert raised.value is BROKEN


def test_a_response_gets_more_patience_than_a_question(script) -> None:
    counts = {}
    for operation in ("RespondActivityTaskCompleted", "DescribeDomain"):
        transport = script(*[BROKEN] * 99)
        with pytest.raises(Fault):
            Retrying(transport, attempts=3, sleep=lambda _: None).call(operation, {})
        counts[operation] = len(transport.calls)
    assert counts == {"RespondActivityTaskCompleted": 6, "DescribeDomain": 3}


def test_what_is_no_fault_of_the_service_is_not_repeated(script) -> None:
    transport = script(KeyError("a bug"))
    with pytest.raises(KeyError):
        Retrying(transport, sleep=lambda _: None).call("DescribeDomain", {})
    assert len(transport.calls) == 1


@given(st.lists(st.sampled_from([THROTTLED, UNSENT, LOST, BROKEN]), max_size=5))
def test_a_signal_is_never_sent_again_once_it_may_have_arrived(faults) -> None:
    class Transport:
        arrived = 0

        def call(self, operation: str, params: object) -> dict[str, object]:
            fault = faults.pop(0) if faults else None
            self.arrived += fault is None or fault in (LOST, BROKEN)
            if fault is not None:
                raise fault
            return {}

    transport = Transport()
    try:
        Retrying(transport, sleep=lambda _: None).call("SignalWorkflowExecution", {})
    except Fault:
        pass
    assert transport.arrived == 1
