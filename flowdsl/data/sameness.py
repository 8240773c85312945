"""Whether two texts stand for the same value, without building it: a recorded input against the one of a call that is made again.

Rule 1: equal texts are the same value. JSON texts are compared by content: the order of keys does not count, the type of a number does.
Rule 2: pickles of one value differ from process to process (hash seeds): they tell nothing. Nor do encrypted texts, or values that stand
        in a store, unless they have the same digest. Then the answer is None, and the caller goes by name and place.
Rule 3: nothing is unpickled and nothing is fetched to answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowdsl.model.payload import ARGUMENTS, ENCRYPTED, FAILURE, PREFIX, TAGGED, TYPED, Envelope, MalformedEnvelope, parse, unarmour

if TYPE_CHECKING:
    from flowdsl.data.codecs import Chain

_JSON = frozenset({TYPED, TAGGED, ARGUMENTS, FAILURE})
_WRAPPER = "fd1"


def same(one: str | None, other: str | None, chain: Chain) -> bool | None:
    """True, False, or None when it cannot be told."""
    if one == other:
        return True
    if one is None or other is None:
        return False
    try:
        return _compare(_opened(one, chain), _opened(other, chain), chain)
    except ValueError:  # malformed, or not JSON: somebody else's text, which only equals itself
        return False if not one.startswith(PREFIX) and not other.startswith(PREFIX) else None


def _opened(text: str, chain: Chain) -> tuple[str, Any] | None:
    """Codec and JSON of a text; None for what cannot be looked into."""
    envelope = parse(text)
    if envelope is None:
        return TYPED, msgspec.json.decode(text)
    if envelope.codec not in _JSON or envelope.is_reference or ENCRYPTED in envelope.flags:
        return None
    return envelope.codec, msgspec.json.decode(_body(envelope, chain))


def _body(envelope: Envelope, chain: Chain) -> bytes:
    try:
        return bytes(chain.decode(unarmour(envelope.body), envelope.flags, b"")) if envelope.flags else envelope.body.encode()
    except ValueError as error:
        raise MalformedEnvelope(str(error)) from error


def _compare(one: tuple[str, Any] | None, other: tuple[str, Any] | None, chain: Chain) -> bool | None:
    if one is None or other is None:
        return None
    codecs = {one[0], other[0]}
    if codecs <= {TYPED, ARGUMENTS} and ARGUMENTS in codecs:
        return _compare_calls(one[1], other[1], chain)
    if len(codecs) > 1:  # under an annotation and without one: the same value may be written in both ways
        return None
    return _equal(one[1], other[1])


def _compare_calls(one: Any, other: Any, chain: Chain) -> bool | None:
    """Argument by argument; one that differs decides, one that can't be told leaves it open."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    mine, its = one.get("args", []), other.get("args", [])
    mine_named, its_named = one.get("kwargs", {}), other.get("kwargs", {})
    if len(mine) != len(its) or mine_named.keys() != its_named.keys():
        return False
    pairs = [*zip(mine, its, strict=True), *((part, its_named[name]) for name, part in mine_named.items())]
    answers = [same(_part(a), _part(b), chain) for a, b in pairs]
    if False in answers:
        return False
    return None if None in answers else True


def _part(tree: Any) -> str:
    if isinstance(tree, dict) and tree.keys() == {_WRAPPER} and isinstance(tree[_WRAPPER], str):
        return str(tree[_WRAPPER])
    return msgspec.json.encode(tree).decode()


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON that tells 1 from 1.0 and from true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(item, other[name]) for name, item in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return repr(one) == repr(other) if isinstance(one, float) else bool(one == other)
