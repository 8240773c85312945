"""`flowdsl server --backup FILE`: a copy of the engine's file, whether or not a server serves it.

Rule 1: a file that nobody serves is copied here, by SQLite's online backup. One that is served is locked for good (one file, one engine),
        so its server is asked for a copy; it makes one between its calls and sends it.
Rule 2: the copy is whole or not there: it is written beside its place, flushed to the disk, and moved there.
Rule 3: the server says which file it serves, so that another server's file is never taken for this one.
"""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from flowdsl.errors import FileInUse, UserError

if TYPE_CHECKING:
    from flowdsl.server.guard import Credentials

TARGET: Final = "flowdsl.Backup"
"""`X-Amz-Target` of the one call that Amazon SWF does not have."""

FILE_HEADER: Final = "x-flowdsl-file"
"""The response's header that names the file on the server's machine (`flowdsl.engine.file_id`)."""

_WAIT: Final = 600.0
_CHUNK: Final = 1 << 20


def backup(path: str | os.PathLike[str], to: str | os.PathLike[str], *, host: str, port: int, credentials: Credentials | None) -> None:
    """Copy the engine's file `path` to the new file `to`, which is an engine's file then.

    Args:
        path: the engine's file.
        to: the copy; it must not exist.
        host, port: where the server listens that has `path` open, if one has.
        credentials: what that server demands, if it does.

    Raises:
        UserError: `path` is not there, `to` is, or cannot be written; the server refuses, or serves another file.
        FileInUse: `path` is open in a process that no server at this address is.
        NotAnEngineFile: `path` is no engine's file.
    """
    from flowdsl.engine.store import backup_file, file_id  # noqa: PLC0415 - as in `run.serve`

    target = Path(to)
    if target.exists():
        raise UserError(f"{os.fspath(to)!r} exists; a backup goes to a new file")
    if not Path(path).exists():
        raise UserError(f"there is no file {os.fspath(path)!r} to make a backup of")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        try:
            backup_file(path, part)
        except FileInUse:
            _fetch(part, host, port, credentials, file_id(path))
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


def _fetch(part: Path, host: str, port: int, credentials: Credentials | None, wanted: str) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=_WAIT)
    where = f"{host}, port {port}"
    try:
        connection.request("POST", "/", b"", _headers(host, port, credentials))
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise UserError(f"the server at {where} refused the backup: {_message(response)}")
        if response.headers.get(FILE_HEADER) != wanted:
            raise UserError(f"the server at {where} serves another file. Name the right one with --host and --port.")
        with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123 - for its mode
            _copy(response, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, http.client.HTTPException) as error:
        raise FileInUse(
            f"the file is open in another process, and no flowdsl server that could make the backup answers at {where} ({error}). "
            "Give the --host and --port of the server that serves it, or stop the process."
        ) from None
    finally:
        connection.close()


def _copy(response: http.client.HTTPResponse, file: IO[bytes]) -> None:
    length, size = int(response.headers["content-length"]), 0
    while chunk := response.read(_CHUNK):
        size += file.write(chunk)
    if size != length:
        raise http.client.IncompleteRead(b"", length - size)


def _headers(host: str, port: int, credentials: Credentials | None) -> dict[str, str]:
    headers = {"Host": f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "X-Amz-Target": TARGET}
    if credentials is None:
        return headers
    from botocore.auth import SigV4Auth  # noqa: PLC0415 - botocore is loaded only where something is signed
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - as above
    from botocore.credentials import Credentials as Keys  # noqa: PLC0415 - as above

    request: Any = AWSRequest("POST", f"http://{headers['Host']}/", headers, b"")
    SigV4Auth(Keys(credentials.access_key, credentials.secret_key), "swf", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def _message(response: http.client.HTTPResponse) -> str:
    text = response.read(_CHUNK).decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:512] or str(response.status)
