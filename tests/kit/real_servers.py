"""Real servers for tests: Redis and PostgreSQL from the system's packages, on free ports, in temporary folders, never a service.

Where a program is missing the test is skipped and says which package has it (`.ci/test-setup` installs both where it may).
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PATIENCE = 60.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(is_ready: Any, process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not is_ready():
        assert process.poll() is None, f"{what} ended with {process.returncode} before it was ready"
        assert time.monotonic() < deadline, f"{what} is not ready after {_PATIENCE:.0f} s"
        time.sleep(0.02)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis of one's own; gives its URL."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server here: it is in Debian's package redis-server")
    pytest.importorskip("redis", reason="the Redis store needs pip install 'flowdsl[redis]'")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--daemonize", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _listens(port), process, "redis-server")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4]))
    if found:
        return found[-1].parent
    program = shutil.which("postgres")
    return Path(program).parent if program else None


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A PostgreSQL of one's own; gives its SQLAlchemy URL. It refuses to be root's, so root lends it to the user `postgres`."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: it is in Debian's package postgresql")
    pytest.importorskip("sqlalchemy", reason="the SQL store needs pip install 'flowdsl[sql]'")
    pytest.importorskip("psycopg", reason="PostgreSQL's driver: pip install 'psycopg[binary]'")
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("root may not run PostgreSQL, and there is no user `postgres` to lend it to")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(folder, account.pw_uid, account.pw_gid)
    port, data = free_port(), folder / "data"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **user}
    initdb = [programs / "initdb", "-D", data, "-U", "flowdsl", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
    subprocess.run(initdb, check=True, **quiet)
    command = [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", "fsync=off"]
    process = subprocess.Popen(command, **quiet)
    try:
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        _until(lambda: subprocess.run(ready, check=False, **quiet).returncode == 0, process, "postgres")
        yield f"postgresql+psycopg://flowdsl@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(2)  # a fast shutdown: who is connected is disconnected
        process.wait(_PATIENCE)
