"""Values of one domain, typed by the definitions they belong to: what the replayer, the workers and the clients ask of `data`.

Rule 1: a value's place is its `Slot`: domain, the definition's name, the field. It is in the signature of what is signed, so a payload
        cannot be used anywhere else.
Rule 2: a definition's own `serializer` and `store` win over the backend's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowdsl.data.failures import attach_cause
from flowdsl.limits import DATA
from flowdsl.model.payload import Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowdsl.data.converter import Converter


class Values:
    """Encodes and decodes for one domain."""

    def __init__(self, converter: Converter, domain: str) -> None:
        self._converter = converter
        self._domain = domain

    def _slot(self, name: str, field: str) -> Slot:
        return Slot(self._domain, name, field)

    def converter_for(self, target: Any) -> Converter:
        """The converter of a definition: the domain's, or one with the definition's own serializer and store."""
        settings = target.settings
        return self._converter.replaced(serializer=settings.serializer, store=settings.store)

    def encode_call(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Arguments as the input of an activity, a workflow or a signal. Raises `NotSerializable` or `LimitExceeded` by name."""
        return self.converter_for(target).encode_arguments(args, kwargs, target.call_signature, self._slot(target.name, "input"))

    def decode_call(self, target: Any, text: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that `text` holds, as the signature annotates them."""
        return self.converter_for(target).decode_arguments(text, target.call_signature, self._slot(target.name, "input"))

    def encode_result(self, target: Any, value: Any) -> str:
        """What the definition's function returned."""
        return self.converter_for(target).encode(value, self._slot(target.name, "result"), target.returns)

    def decode_result(self, target: Any, text: str | None) -> Any:
        """What the definition's function returned, as its annotation says."""
        return self.converter_for(target).decode(text, self._slot(target.name, "result"), target.returns)

    def encode_outcome(self, target: Any, value: Any, error: BaseException | None) -> str:
        """A recorded function's value or exception in one text."""
        slot = self._slot(target.name, "marker")
        if error is not None:
            return self.converter_for(target).encode_outcome(slot, error=error)
        return self.converter_for(target).encode_outcome(slot, value=value, annotation=target.returns)

    def decode_outcome(self, target: Any, text: str) -> tuple[Any, BaseException | None]:
        """The recorded value and None, or None and the recorded exception."""
        return self.converter_for(target).decode_outcome(text, self._slot(target.name, "marker"), target.returns)

    def encode_failure(self, target: Any, error: BaseException) -> tuple[str, str]:
        """An exception as reason and details; never fails."""
        return self._converter.encode_failure(error, self._slot(target.name, "failure"))

    def decode_failure(self, target: Any, reason: str | None, details: str | None) -> BaseException:
        """The exception that reason and details stand for."""
        return self._converter.decode_failure(reason, details, self._slot(target.name, "failure"))

    def encode_plain(self, name: str, field: str, value: Any, *, limit: int = DATA) -> str:
        """A value without a definition of its own, in at most `limit` characters."""
        return self._converter.encode(value, self._slot(name, field), limit=limit)

    def decode_plain(self, name: str, field: str, text: str | None) -> Any:
        """A value without a definition of its own."""
        return self._converter.decode(text, self._slot(name, field))

    def expect(self, texts: Iterable[str]) -> None:
        """These texts of a history will probably be decoded, in this order (see `Steady`, rule 2)."""
        self._converter.expect(texts)

    def same(self, recorded: str | None, now: str) -> bool | None:
        """Whether two inputs stand for the same arguments; None if that can't be told."""
        return None if recorded is None else self._converter.same(recorded, now)

    def attach_cause(self, error: BaseException, failure: BaseException) -> BaseException:
        """`error` with `failure` as its cause, and its own cause below that."""
        return attach_cause(error, failure)
