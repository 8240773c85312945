"""Methods: an instance, a class or nobody is what they run on, and it never travels."""

from __future__ import annotations

import threading

import pytest
from contract_stage import DURABLE, events

from flowdsl import activity, cached, gather, timer, workflow


class Payments:
    """An object that nothing could serialize: it holds a lock."""

    rate = 2

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.charged: list[int] = []

    @activity
    def charge(self, amount: int) -> str:
        with self.lock:
            self.charged.append(amount)
        return f"{self.name} charged {amount}"

    @activity
    @classmethod
    def converted(cls, amount: int) -> str:
        return f"{cls.__name__} {amount * cls.rate}"

    @activity
    @staticmethod
    def rounded(amount: float) -> int:
        return round(amount)

    @cached
    def key(self) -> str:
        return f"key of {self.name}"

    @timer
    def pause(self) -> float:
        return 0.01 * len(self.name)

    @workflow
    def settle(self, amounts: list[int]) -> list[str]:
        receipts = gather(*[self.charge.start(amount) for amount in amounts])
        self.pause()
        return [*receipts, self.converted(3), str(self.rounded(2.6)), self.key(), *self.charge.map([7])]

    @workflow
    @classmethod
    def of_the_class(cls, amount: int) -> list[str]:
        return [cls.converted(amount), Payments.converted(amount)]

    @workflow
    @staticmethod
    def of_nobody(amount: float) -> int:
        return Payments.rounded(amount)


class Refunds(Payments):
    rate = 3


def test_methods_run_on_the_instance_that_was_given(stage):
    payments = Payments(f"bank-{stage.name}")
    who = payments.name
    assert stage.run(payments.settle, [1, 2]) == [
        f"{who} charged 1",
        f"{who} charged 2",
        "Payments 6",
        "3",
        f"key of {who}",
        f"{who} charged 7",
    ]
    assert sorted(payments.charged) == [1, 2, 7]


@pytest.mark.stages(*DURABLE)
def test_self_is_in_no_event(stage):
    execution = stage.start(Payments("secret-name").settle, [1])
    execution.result()
    inputs = [event.get("input") for event in events(execution, "WorkflowExecutionStarted", "ActivityTaskScheduled")]
    assert inputs == ['{"args":[[1]]}', '{"args":[1]}', '{"args":[3]}', '{"args":[2.6]}', '{"args":[7]}']


def test_class_methods_and_static_methods_are_called_on_their_class(stage):
    assert stage.run(Payments.of_the_class, 4) == ["Payments 8", "Payments 8"]
    assert stage.run(Payments.of_nobody, 4.4) == 4


def test_a_method_of_a_subclass_runs_on_the_subclass(stage):
    refunds = Refunds(f"refunds-{stage.name}")
    assert stage.run(refunds.settle, [5])[0] == f"{refunds.name} charged 5"
