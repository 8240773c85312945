"""Where a workflow runs: `Local`, `Embedded` or `Swf`, or one word for each.

Rule 1: a backend is a plain, frozen value. It opens nothing; `connection.connect` does, once per backend and process.
Rule 2: every backend takes the same words for values: `serializer` (`"json"`, `"dill"`, an object with `dumps` and `loads`; a function's
        own wins) and `codecs` (a tuple; compression and encryption, applied in this order).
Rule 3: what is not said comes from the environment (`config`); what AWS's own tools know comes from botocore.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flowdsl import config
from flowdsl.errors import DefinitionError
from flowdsl.limits import check_name

MEMORY = ":memory:"


@dataclass(frozen=True)
class Local:
    """This process, serial, nothing stored. `serializer` and `codecs` as elsewhere, to see here what they do there."""

    serializer: Any = None
    codecs: Sequence[Any] | None = None
    name = "local"


@dataclass(frozen=True)
class Embedded:
    """SWF's own semantics on SQLite, in this process: durable, no server, no account.

    `path` is the file (`":memory:"` for none); `durability` is `"process"` (survives the process's death) or `"full"` (power loss too);
    `store` is where large values go (a URI or an object with `put` and `get`; default: `FLOWDSL_STORE`, else a folder beside the file).
    """

    path: str | os.PathLike[str] = "flowdsl.db"
    durability: str = "process"
    domain: str = field(default_factory=config.domain)
    store: Any = None
    serializer: Any = None
    codecs: Sequence[Any] | None = None
    name = "embedded"

    def __post_init__(self) -> None:
        if self.durability not in ("process", "full"):
            raise DefinitionError(f"Embedded(durability={self.durability!r}): give 'process' or 'full'")
        check_name(self.domain, "Embedded(domain=…)")

    @property
    def file(self) -> str:
        """The absolute path, or `:memory:`."""
        path = os.fspath(self.path)
        return path if path == MEMORY else os.path.realpath(path)


@dataclass(frozen=True)
class Swf:
    """Amazon SWF, or anything that speaks its protocol.

    `session` is a boto3 session, `endpoint_url` another endpoint (default: botocore's own settings); with `serve=True` this process
    serves the
    executions it runs, on a task list of their own; with `serve=False` a fleet of workers does, on `task_list`.
    `transport` replaces boto3 by anything with `call(operation, params)`.
    """

    domain: str = field(default_factory=config.domain)
    session: Any = None
    endpoint_url: str | None = None
    task_list: str | None = None
    serve: bool = True
    region: str | None = None
    store: Any = None
    transport: Any = None
    serializer: Any = None
    codecs: Sequence[Any] | None = None
    name = "swf"

    def __post_init__(self) -> None:
        check_name(self.domain, "Swf(domain=…)")
        if self.task_list is not None:
            check_name(self.task_list, "Swf(task_list=…)")


Backend: TypeAlias = Local | Embedded | Swf
_WORDS: dict[str, type[Local | Embedded | Swf]] = {"local": Local, "embedded": Embedded, "swf": Swf}


def resolve(backend: str | Backend | None) -> Backend:
    """The backend that a word, an object or the environment means. Raises `DefinitionError` for anything else."""
    if backend is None:
        backend = config.backend_name()
    if isinstance(backend, Local | Embedded | Swf):
        return backend
    if isinstance(backend, str) and backend in _WORDS:
        return _WORDS[backend]()
    raise DefinitionError(f"backend={backend!r}: give 'local', 'embedded', 'swf', or an object made by Local(), Embedded(…) or Swf(…)")
