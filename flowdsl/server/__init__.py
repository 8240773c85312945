"""`flowdsl server`: the embedded engine behind Amazon SWF's own HTTP protocol, for unmodified boto3 and the AWS CLI.

Floor 5 (front). `wire` is pure (bytes ↔ operations), `guard` says who may ask, `bridge` is the way to the engine, `app` joins the three,
`protocol` bounds what a connection may do, `run` is the process. Only `app`, `protocol` and `run` need the packages of the extra
`server`; that is why the two public names, `serve` and `ThreadedServer`, are looked up when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowdsl.errors import NotInstalled

if TYPE_CHECKING:
    from flowdsl.server.run import ThreadedServer, serve

__all__ = ["ThreadedServer", "serve"]


def __getattr__(name: str) -> Any:
    """Raises `NotInstalled` when starlette, uvicorn or httptools is missing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from flowdsl.server import run  # noqa: PLC0415 - the extra `server` is loaded only when somebody serves
    except ImportError as error:
        if (error.name or "").partition(".")[0] in {"starlette", "uvicorn", "httptools"}:
            raise NotInstalled("flowdsl server", "server") from error
        raise
    return getattr(run, name)
