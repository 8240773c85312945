"""The testing kit: durable backends for tests, on a clock that does not wait.

    def test_the_order_is_sent_after_the_cooling_off():
        with flowdsl.testing.embedded() as backend:
            assert flowdsl.run(fulfil, order, backend=backend) == "sent"      # the timer of a day takes no time

Rule 1: what is tested is the real thing: the engine, the workers, over `server` also HTTP and boto3. Only the clock is another one, and
        the file is in memory.
Rule 2: time passes by itself as soon as everybody waits for it (`SkippingClock`); give a `ManualClock` to move it by hand, or a
        `SystemClock` to wait as in real life.
Rule 3: every `with` is a world of its own: what runs in one is not seen in another, and ends with it.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowdsl.backends import MEMORY, Embedded, Swf
from flowdsl.connection import disconnect, install
from flowdsl.engine import Engine, Service
from flowdsl.engine.clocks import Clock, ManualClock, SkippingClock, SystemClock

__all__ = ["Clock", "ManualClock", "SkippingClock", "SystemClock", "embedded", "server"]

_REGION = "us-east-1"
_numbers = itertools.count(1)


@contextmanager
def embedded(
    path: str | os.PathLike[str] = MEMORY, *, clock: Clock | None = None, store: Any = None, serializer: Any = None, codecs: Any = None
) -> Iterator[Embedded]:
    """An embedded backend of its own, in memory unless `path` names a file; what is open when the block ends stays in that file.

    `clock` is a `SkippingClock` that begins now unless another one is given; `store` is where large values go;
    `serializer` and `codecs` are a backend's own.
    Raises what opening an engine's file raises (`FileInUse`, `NotAnEngineFile`), and `DefinitionError` if it is open in this process.
    """
    values: dict[str, Any] = {"store": store, "serializer": serializer, "codecs": codecs}
    backend = Embedded(path, domain=f"testing-{next(_numbers)}", **values) if path == MEMORY else Embedded(path, **values)
    service = _service(path, clock)
    try:
        install(backend, service)
    except BaseException:
        service.close()
        raise
    try:
        yield backend
    finally:
        disconnect(backend)


@contextmanager
def server(
    path: str | os.PathLike[str] = MEMORY, *, clock: Clock | None = None, store: Any = None, serializer: Any = None, codecs: Any = None
) -> Iterator[Swf]:
    """A server in this process that speaks Amazon SWF's protocol on a free port of this machine, and the backend that reaches it.

    The backend goes through boto3; its `endpoint_url` is what any other client of SWF can be pointed at, with any credentials.
    Arguments and errors are those of `embedded`. Raises `NotInstalled` without the packages of the extra `server`.
    """
    from flowdsl.server import ThreadedServer  # noqa: PLC0415 - the extra `server` is loaded by who serves

    with ThreadedServer(_service(path, clock)) as url:
        backend = Swf(endpoint_url=url, session=_session(), region=_REGION, store=store, serializer=serializer, codecs=codecs)
        try:
            yield backend
        finally:
            disconnect(backend)


def _session() -> Any:
    """A boto3 session; all of them read AWS's descriptions of its services once."""
    import boto3  # noqa: PLC0415 - boto3 is loaded when a service is called
    import botocore.session  # noqa: PLC0415 - as above

    core = botocore.session.get_session()
    core.register_component("data_loader", _descriptions())
    return boto3.Session(botocore_session=core, aws_access_key_id="flowdsl", aws_secret_access_key="flowdsl", region_name=_REGION)  # noqa: S106 - anything does


@functools.cache
def _descriptions() -> Any:
    import botocore.loaders  # noqa: PLC0415 - as above

    return botocore.loaders.create_loader()


def _service(path: str | os.PathLike[str], clock: Clock | None) -> Service:
    return Service(Engine(os.fspath(path), recover=True), SkippingClock(time.time()) if clock is None else clock)
