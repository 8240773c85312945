"""An order: a sequence with a timer in it, and a signal that makes it shorter.

    python examples/order_with_timer.py                       on the embedded engine, in this process
    python examples/order_with_timer.py --backend local       in this process, nothing stored
    python examples/order_with_timer.py --backend swf         on Amazon SWF, or on what AWS_ENDPOINT_URL_SWF names

The customer is charged, then has some time to think it over. Nothing runs while the timer does: the process may be stopped for as
long as it likes. `approve` (here sent by the program itself; from a shell: `flowdsl signal ID approved '"ann"'`) ends the wait.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import timedelta

from flowdsl import Retry, activity, info, signal, start, timer, wait_until, workflow


@dataclass(frozen=True)
class Order:
    """What is bought. Dataclasses travel as JSON and arrive as themselves."""

    number: str
    cents: int
    hours_to_think: float


class CardDeclined(Exception):
    """An exception of the application's own; the workflow catches it as itself, on every backend."""


@activity(retry=Retry(attempts=4, unless=(CardDeclined,), first=0.1), timeout=30)
def charge(order: Order) -> str:
    """Take the money. The key stays the same over all attempts, so that a payment service can see a repetition."""
    if order.cents > 100_000:
        raise CardDeclined(f"{order.cents / 100:.2f} is too much for this card")
    return f"receipt {order.number} ({info().idempotency_key})"


@activity
def refund(receipt: str) -> str:
    """Give the money back."""
    return f"refund of {receipt}"


@activity
def ship(order: Order) -> str:
    """Send the goods."""
    return f"parcel {order.number}"


@timer
def thinking_time(order: Order) -> timedelta:
    """How long the customer may think it over."""
    return timedelta(hours=order.hours_to_think)


@signal
def decided(keep: bool, by: str = "the customer") -> tuple[bool, str]:
    """Somebody has decided before the time is over."""
    return keep, by


@workflow(timeout=timedelta(days=30))
def buy(order: Order) -> str:
    """Charge, wait for the end of the thinking time or a decision, then ship or refund."""
    try:
        receipt = charge(order)
    except CardDeclined as refusal:
        return f"not sold: {refusal}"
    grace = thinking_time.start(order)
    answer = decided.start()
    wait_until(lambda: grace.is_ready() or answer.is_ready())
    keep, by = answer.result() if answer.is_ready() else (True, "time")
    grace.cancel()
    answer.cancel()
    if not keep:
        return f"{refund(receipt)}, decided by {by}"
    return f"{ship(order)}, {receipt}"


def main() -> None:
    options = argparse.ArgumentParser(description="Buy something, think it over, keep it.")
    options.add_argument("--backend", default="embedded", choices=["local", "embedded", "swf"])
    options.add_argument("--hours", type=float, default=48.0, help="the time to think it over")
    options.add_argument("--silent", action="store_true", help="decide nothing: wait for the timer")
    chosen = options.parse_args()

    order = Order("o-7", 1999, chosen.hours)
    execution = start(buy.options(id=f"buy-{order.number}"), order, backend=chosen.backend)
    print(f"{execution.id} runs on {chosen.backend}")
    if not chosen.silent:
        execution.signal(decided, keep=True, by="ann")
    print(execution.result())


if __name__ == "__main__":
    main()
