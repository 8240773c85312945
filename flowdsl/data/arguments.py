"""A call's arguments in one text: which annotation belongs to which place, and how the single arguments' texts stand in one object.

Rule 1: an argument that is bare JSON stands there as it is. Any other one stands as `{"fd1": "<its envelope>"}`, and the whole is an
        envelope then (codec `args`). A user's dict that looks like this is wrapped the same way.
Rule 2: arguments are told apart by position or keyword as the caller gave them; what the callee does with them is Python's own affair.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import msgspec

from flowdsl.errors import DefinitionError
from flowdsl.model.payload import PREFIX, Slot

_WRAPPER = b'{"fd1":'
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_encode = msgspec.json.Encoder().encode


class Plan:
    """Name and annotation of every place of one signature."""

    def __init__(self, signature: inspect.Signature) -> None:
        self._positional: list[tuple[str, Any]] = []
        self._keyword: dict[str, tuple[str, Any]] = {}
        self._more: tuple[str, Any] | None = None
        self._others: tuple[str, Any] | None = None
        for name, parameter in signature.parameters.items():
            annotation = Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation
            if parameter.kind in _POSITIONAL:
                self._positional.append((name, annotation))
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                self._more = (name, annotation)
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self._others = (name, annotation)
            elif parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
                self._keyword[name] = (name, annotation)

    def positional(self, index: int) -> tuple[str, Any]:
        """Name and annotation of the positional argument at `index`; one too many has a number for a name."""
        if index < len(self._positional):
            return self._positional[index]
        if self._more is not None:
            return f"*{self._more[0]}[{index - len(self._positional)}]", self._more[1]
        return str(index), Any

    def keyword(self, name: str) -> tuple[str, Any]:
        """Name and annotation of a keyword argument."""
        found = self._keyword.get(name)
        if found is not None:
            return found
        return name, Any if self._others is None else self._others[1]


_MOST_PLANS = 1024
_plans: OrderedDict[int, tuple[inspect.Signature, Plan]] = OrderedDict()


def plan_of(signature: inspect.Signature) -> Plan:
    """The plan of a signature, kept for the next call (signatures need not be hashable: they are known by identity)."""
    found = _plans.get(id(signature))
    if found is None:
        if len(_plans) >= _MOST_PLANS:
            _plans.popitem(last=False)
        found = _plans[id(signature)] = (signature, Plan(signature))
    return found[1]


def join(parts: list[str], named: dict[str, str]) -> tuple[bytes, bool]:
    """One JSON text of the arguments' texts, and whether it is bare: no argument had to be wrapped."""
    bare = True

    def item(text: str) -> bytes:
        nonlocal bare
        data = text.encode()
        if text.startswith(PREFIX) or data.startswith(_WRAPPER):
            bare = False
            return _WRAPPER + _encode(text) + b"}"
        return data

    members = []
    if parts:
        members.append(b'"args":[' + b",".join([item(part) for part in parts]) + b"]")
    if named:
        members.append(b'"kwargs":{' + b",".join([_encode(name) + b":" + item(part) for name, part in named.items()]) + b"}")
    return b"{" + b",".join(members) + b"}", bare


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    args: list[msgspec.Raw] = []
    kwargs: dict[str, msgspec.Raw] = {}


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    fd1: str


_call_decoder = msgspec.json.Decoder(_Call)
_wrapped_decoder = msgspec.json.Decoder(_Wrapped)


def split(data: bytes, bare: bool, slot: Slot) -> tuple[list[str], dict[str, str]]:
    """The texts of the single arguments. Raises `DefinitionError` when the text has another form."""
    try:
        call = _call_decoder.decode(data)
        unwrap = _as_it_is if bare else _unwrapped
        return [unwrap(bytes(part)) for part in call.args], {name: unwrap(bytes(part)) for name, part in call.kwargs.items()}
    except msgspec.MsgspecError as error:
        right = '{"args": [1, 2], "kwargs": {"name": 3}}'
        raise DefinitionError(f"the {slot} does not hold the arguments of a call. Right: {right}, both may be missing ({error})") from error


def _as_it_is(part: bytes) -> str:
    return part.decode()


def _unwrapped(part: bytes) -> str:
    return _wrapped_decoder.decode(part).fd1 if part.startswith(_WRAPPER) else part.decode()
