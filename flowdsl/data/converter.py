"""The converter: between Python's values and the texts of a history. The one door; everything else in this folder stands behind it.

Rule 1: what a user returns is what the caller gets, with the same types, on every backend; what cannot be carried exactly is refused.
Rule 2: three ways, the most readable first: bare JSON (`typed`), self-describing JSON (`tagged`), a signed pickle (`pickled`). The text
        says which one it is; a reader needs no setting but the keys and the store.
Rule 3: arguments are carried one by one, each under its own annotation and each with its own text: one connection among five numbers does
        not make the numbers unreadable, and a table given to a hundred calls is stored once. Defaults are not filled in.
Rule 4: a failure to encode names the function, the argument and the part of it; reporting a failure never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowdsl.data import arguments, culprit, formats, pickled, sameness, tagged, typed
from flowdsl.data.classes import ClassMissing
from flowdsl.data.failures import Reader, Writer, reason_of
from flowdsl.data.packing import INLINE, Content, Packer, uris_in
from flowdsl.data.serializers import Serializer, checked_serializer, user_dumps, user_loads
from flowdsl.data.stores.steady import Steady
from flowdsl.data.stores.uris import store_from
from flowdsl.errors import DefinitionError, NotInstalled, NotSerializable, PayloadLost, RemoteError
from flowdsl.limits import DATA
from flowdsl.model.payload import ARGUMENTS, ARROW, DILL, FAILURE, NPY, PREFIX, PROTOBUF, TAGGED, TYPED, USER, Slot, shorten

if TYPE_CHECKING:
    import inspect
    from collections.abc import Iterable

    from flowdsl.data.codecs import Buffer, Chain
    from flowdsl.data.keys import KeyRing
    from flowdsl.data.stores.base import Store

_SEALED = "sealed"
_ERROR = "error"
#: What of a failure may be carried by a pickle, in characters: more of it is shown by its repr. With a store a failure may be long.
_LONGEST_SEALED, _LONGEST_SEALED_WITH_STORE = 16_000, 64 << 20


class Converter:
    """Encodes and decodes everything that crosses between workflow, activity, client and history."""

    def __init__(
        self,
        *,
        store: Store | Steady | str | None = None,
        keys: KeyRing | None = None,
        serializer: Serializer | str | None = None,
        chain: Chain | None = None,
    ) -> None:
        """`store` keeps large values, `keys` sign pickles (without them there are none); `serializer` is `"json"` (never a pickle),
        `"dill"` (always one), an object with `dumps` and `loads`, or None: whatever is needed.
        """
        self._packer = Packer(store if isinstance(store, Steady) else store_from(store), keys, chain)
        self._sealer = Packer(None, keys, chain)  # what a failure holds stays in it
        self._serializer = checked_serializer(serializer)
        self._derived: dict[tuple[int, int], tuple[Any, Any, Converter]] = {}

    def replaced(self, *, serializer: Any = None, store: Any = None) -> Converter:
        """This converter with a function's own `serializer=` and `store=`; None leaves what there is. Raises `DefinitionError`."""
        if serializer is None and store is None:
            return self
        key = (id(serializer), id(store))
        found = self._derived.get(key)
        if found is None:  # the options are kept beside it, so that their ids stay theirs
            converter = Converter(
                store=self._packer.store if store is None else store,
                keys=self._packer.keys,
                serializer=self._serializer if serializer is None else serializer,
                chain=self._packer.chain,
            )
            found = self._derived[key] = (serializer, store, converter)
        return found[2]

    @property
    def store(self) -> Any:
        """The store itself, without what stands before it; None if there is none."""
        return None if self._packer.store is None else self._packer.store.store

    # --- values

    def encode(self, value: Any, slot: Slot, annotation: Any = Any, *, limit: int = DATA, argument: str | None = None) -> str:
        """The text of a value, at most `limit` characters long. `argument` is what an error calls the value.

        Raises `NotSerializable`, `LimitExceeded`, and `StoreUnavailable` when the store cannot be written.
        """
        content = self._content(value, slot, annotation, argument)
        if content.codec == TYPED and len(content.data) <= limit and len(content.data) <= INLINE and not self._packer.chain.always:
            return str(content.data, "utf-8")
        return self._packer.pack(content, slot, limit=limit, what=_what(slot, argument))

    def decode(self, text: str | None, slot: Slot, annotation: Any = Any) -> Any:
        """The value of a text; None for no text. Text that is not JSON was written by somebody else and stands for itself.

        Raises `UntrustedPayload`, `PythonMismatch`, `PayloadLost`, `DefinitionError` when the text does not fit the annotation, and
        `NotSerializable` when a class it needs is not here.
        """
        if text is None:
            return None
        if not text.startswith(PREFIX):
            return _decode_bare(text, slot, annotation)
        content = self._packer.open(text, slot)
        assert content is not None  # only text without the prefix is bare
        return self._value(content, slot, annotation)

    def expect(self, texts: Iterable[str]) -> None:
        """These texts will probably be decoded, in this order: what of them is in the store may be fetched side by side."""
        if self._packer.store is not None:
            self._packer.store.expect(uris_in(texts))

    def same(self, one: str | None, other: str | None) -> bool | None:
        """Whether two texts stand for the same value; None if that cannot be told (pickles, references to different objects)."""
        return sameness.same(one, other, self._packer.chain)

    # --- arguments

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], signature: inspect.Signature, slot: Slot) -> str:
        """The text of a call's arguments: `{"args": […], "kwargs": {…}}`, empty members left out.

        Raises what `encode` raises; the error names the function and the argument.
        """
        plan = arguments.plan_of(signature)
        parts = [self._part(arg, slot, str(n), *plan.positional(n)) for n, arg in enumerate(args)]
        named = {name: self._part(arg, slot, name, *plan.keyword(name)) for name, arg in kwargs.items()}
        data, is_bare = arguments.join(parts, named)
        if is_bare and len(data) <= INLINE:
            return data.decode()
        content = Content(TYPED if is_bare else ARGUMENTS, data)
        return self._packer.pack(content, slot, limit=DATA, what=f"the arguments of '{slot.name}'", seal=False)

    def _part(self, value: Any, slot: Slot, place: str, name: str, annotation: Any) -> str:
        return self.encode(value, slot.part(place), annotation, argument=name)

    def decode_arguments(self, text: str | None, signature: inspect.Signature, slot: Slot) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments in a text that `encode_arguments` made, or that somebody wrote in that form. Raises what `decode` raises."""
        if text is None or text in ("", "{}"):
            return (), {}
        content = self._packer.open(text, slot)
        data, is_bare = (text.encode(), True) if content is None else (bytes(content.data), content.codec == TYPED)
        if content is not None and content.codec not in (TYPED, ARGUMENTS):
            raise PayloadLost(f"{slot} does not hold the arguments of a call but a value of the codec {content.codec!r}")
        plan = arguments.plan_of(signature)
        parts, named = arguments.split(data, is_bare, slot)
        args = tuple([self.decode(part, slot.part(str(n)), plan.positional(n)[1]) for n, part in enumerate(parts)])
        return args, {name: self.decode(part, slot.part(name), plan.keyword(name)[1]) for name, part in named.items()}

    # --- failures

    def encode_failure(self, error: BaseException, slot: Slot, *, limit: int = DATA) -> tuple[str, str]:
        """The reason (at most 256 characters) and the details of an exception. Never fails: what does not fit or travel is left out."""
        for thrift in (0, 1, 2):
            try:
                failure = Writer(lambda part: self._seal(part, slot), thrift).write(error)
                content = Content(FAILURE, msgspec.json.encode(failure))
                return self._reason(error), self._packer.pack(content, slot, limit=limit, what=f"the failure of '{slot.name}'")
            except Exception:  # noqa: S112 - the next attempt carries less
                continue
        return self._reason(error), ""

    def _reason(self, error: BaseException) -> str:
        """Class and message; where values are encrypted, the message is one."""
        return reason_of(error, secret=self._packer.chain.secret)

    def decode_failure(self, reason: str | None, details: str | None, slot: Slot) -> BaseException:
        """The exception that was encoded; a `RemoteError` for what somebody else wrote, or what can't be rebuilt. Never fails."""
        try:
            content = self._packer.open(details, slot) if details else None
            if content is not None and content.codec == FAILURE:
                return self._read_failure(content, slot)
        except Exception as error:
            message = reason or f"the {slot} cannot be read"
            remote = RemoteError(message, type_name=_type_in(reason), traceback=shorten(details or "", 2_000))
            remote.__cause__ = error
            return remote
        return RemoteError(details or reason or "no reason was given", type_name=reason or "")

    def _read_failure(self, content: Content, slot: Slot) -> BaseException:
        return Reader(msgspec.json.decode(content.data), lambda tree: self._unseal(tree, slot)).read()

    def _seal(self, part: Any, slot: Slot) -> Any:
        longest = _LONGEST_SEALED if self._packer.store is None else _LONGEST_SEALED_WITH_STORE
        content = Content(DILL, pickled.dumps(part), pickled.writer(), binary=True)
        return {"$": _SEALED, "v": self._sealer.pack(content, slot, limit=longest, what="a part", seal=False)}

    def _unseal(self, tree: dict[str, Any], slot: Slot) -> Any:
        if tree.get("$") != _SEALED:
            raise ValueError(f"the tag {tree.get('$')!r} is unknown to this version of flowdsl")
        content = self._packer.open(tree["v"], slot)
        if content is None or content.codec != DILL:
            raise ValueError("a sealed part is a pickle")
        return pickled.loads(bytes(content.data))

    # --- outcomes

    def encode_outcome(
        self, slot: Slot, *, value: Any = None, error: BaseException | None = None, annotation: Any = Any, limit: int = DATA
    ) -> str:
        """A value or an exception in one text, for a marker. Raises what `encode` raises, for a value only."""
        if error is None:
            return self.encode(value, slot, annotation, limit=limit)
        return self.encode_failure(error, slot, limit=limit)[1]

    def decode_outcome(self, text: str | None, slot: Slot, annotation: Any = Any) -> tuple[Any, BaseException | None]:
        """`(value, None)`, or `(None, exception)`. Raises what `decode` raises."""
        if text is not None and text.startswith(f"{PREFIX}{FAILURE}."):
            return None, self.decode_failure(None, text, slot)
        return self.decode(text, slot, annotation), None

    # --- inside

    def _content(self, value: Any, slot: Slot, annotation: Any, argument: str | None) -> Content:
        serializer = self._serializer
        if serializer is None or serializer == "json":
            native = formats.write(value) if serializer is None else None
            if native is not None:
                return native
            data = typed.dumps(value, annotation)
            if data is not None:
                return Content(TYPED, data)
            try:
                return Content(TAGGED, tagged.dumps(value, self._error_leaf))
            except tagged.Unsupported as error:
                if serializer == "json":
                    raise self._refusal(value, slot, argument, error) from error
        elif not isinstance(serializer, str):
            return user_dumps(serializer, value, _what(slot, argument))
        try:
            return Content(DILL, pickled.dumps(value), pickled.writer(), binary=True)
        except pickled.Unpicklable as error:
            raise self._refusal(value, slot, argument, error) from error

    def _value(self, content: Content, slot: Slot, annotation: Any) -> Any:
        try:
            if content.codec == TYPED:
                return _decode_bare(content.data, slot, annotation)
            if content.codec == TAGGED:
                return tagged.loads(bytes(content.data), lambda tree: self._read_error(tree, slot))
            if content.codec == DILL:
                return pickled.loads(bytes(content.data))
            if content.codec in (NPY, ARROW, PROTOBUF):
                return formats.read(content)
        except (DefinitionError, PayloadLost, NotInstalled):
            raise
        except ClassMissing as error:
            raise NotSerializable(f"{slot} cannot be rebuilt here: {error.args[0]}") from error
        except Exception as error:
            raise NotSerializable(f"{slot} cannot be rebuilt here: {type(error).__name__}: {error}") from error
        if content.codec == USER:
            return user_loads(self._serializer, content, slot)
        raise PayloadLost(f"{slot} is of the codec {content.codec!r}, which is no value's or is unknown to this version of flowdsl")

    def _error_leaf(self, value: Any) -> Any:
        """An exception that is a value, in a list of outcomes say."""
        if not isinstance(value, BaseException):
            raise tagged.Unsupported(f"{culprit.class_name(type(value))} has no place in JSON")
        return {"$": _ERROR, "v": Writer(_no_seal, exact=True).write(value)}

    def _read_error(self, tree: dict[str, Any], slot: Slot) -> Any:
        if tree["$"] != _ERROR:
            raise ValueError(f"the tag {tree['$']!r} is unknown to this version of flowdsl")
        return Reader(tree["v"], _no_seal).read()

    def _refusal(self, value: Any, slot: Slot, argument: str | None, error: Exception) -> NotSerializable:
        path, why = culprit.path_to(value, self._can_store), shorten(str(error), 200)
        return NotSerializable(f"{_what(slot, argument)} → {path} cannot be stored; open it inside the activity ({why})")

    def _can_store(self, value: Any) -> bool:
        try:
            tagged.dumps(value)
        except tagged.Unsupported:
            if self._serializer == "json":
                return False
            try:
                pickled.dumps(value)
            except pickled.Unpicklable:
                return False
        return True


def _no_seal(part: Any) -> Any:
    raise tagged.Unsupported(f"{culprit.class_name(type(part))} has no place in JSON")


def _what(slot: Slot, argument: str | None) -> str:
    return f"argument '{argument}' of '{slot.name}'" if argument else str(slot)


def _type_in(reason: str | None) -> str:
    return (reason or "").partition(":")[0]


def _decode_bare(text: str | Buffer, slot: Slot, annotation: Any) -> Any:
    try:
        return typed.loads(text, annotation)
    except msgspec.ValidationError as error:
        raise DefinitionError(f"{slot} does not fit its annotation {annotation!r}: {error}") from error
    except ValueError as error:
        if isinstance(text, str) and typed.is_plain(annotation):
            return text
        raise DefinitionError(f"{slot} is not what flowdsl wrote and does not fit its annotation {annotation!r}: {error}") from error
