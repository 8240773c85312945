"""What the replayer needs of the floors beside it, as a protocol: values become text and text becomes values, elsewhere.

The replayer never looks into a text. It asks for one when a call is sent for the first time, and hands out readers, not values,
when an outcome arrives: decoding is the reader's moment (replay rule 5).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from flowdsl.limits import DATA


class Values(Protocol):
    """Values of one domain to text and back; `target` is the definition whose signature says the types."""

    def encode_call(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The input of an activity, a child workflow or a signal."""

    def decode_call(self, target: Any, text: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments a workflow was started with, or a signal carries."""

    def encode_result(self, target: Any, value: Any) -> str:
        """What a workflow returned."""

    def decode_result(self, target: Any, text: str | None) -> Any:
        """What an activity or a child workflow returned."""

    def encode_outcome(self, target: Any, value: Any, error: BaseException | None) -> str:
        """What a recorded function returned or raised, as one text."""

    def decode_outcome(self, target: Any, text: str) -> tuple[Any, BaseException | None]:
        """The recorded value and exception; one of them is None."""

    def encode_failure(self, target: Any, error: BaseException) -> tuple[str, str]:
        """An exception as SWF's reason and details; never fails."""

    def decode_failure(self, target: Any, reason: str | None, details: str | None) -> BaseException:
        """The exception that reason and details stand for."""

    def encode_plain(self, name: str, field: str, value: Any, *, limit: int = DATA) -> str:
        """A value without a definition: a user marker, a published value."""

    def decode_plain(self, name: str, field: str, text: str | None) -> Any:
        """Heartbeat details and the like."""

    def expect(self, texts: Iterable[str]) -> None:
        """These texts of a history will probably be decoded, in this order: what is far away may be fetched side by side."""

    def same(self, recorded: str | None, now: str) -> bool | None:
        """Whether two inputs stand for the same arguments; None if that can't be told."""

    def attach_cause(self, error: BaseException, failure: BaseException) -> BaseException:
        """`error` with `failure` as its cause, and its own cause below that."""
