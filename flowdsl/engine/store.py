"""The engine's file: opened, locked, migrated; and the one transaction that is written at a time.

Rule 1: one file is served by one engine. The lock is SQLite's own (`locking_mode=EXCLUSIVE`): there is no lock file to be left behind, the
        operating system releases it when the process dies in whatever way, and WAL then needs no shared memory.
Rule 2: a transaction begins with its first write and ends with `commit`; what was not committed never happened.
Rule 3: `durability="process"` survives the death of the process at any moment (`synchronous=NORMAL`); `"full"` also the loss of power.
Rule 4: a file that is not ours, is damaged or was written by a newer flowdsl is refused before anything is written to it.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowdsl.engine.schema import APPLICATION_ID, MIGRATIONS, VERSION
from flowdsl.errors import DefinitionError, FileInUse, NotAnEngineFile, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_SYNCHRONOUS = {"process": "NORMAL", "full": "FULL"}

#: a file up to this size is checked whole when it is opened; damage in a larger one is found when it is read
_CHECKED_BYTES = 16 * 1024 * 1024

#: pages in the write-ahead log before they move to the file, which waits for the disk: 16 MB
_CHECKPOINT_PAGES = 4_000

#: pages that a backup copies in one step: a millisecond or two
_BACKUP_PAGES = 512


class Store:
    """One open engine file.

    Raises `FileInUse` if another engine (here or in another process) serves the file, `NotAnEngineFile` if it is not an engine file,
    is damaged or newer, `UserError` if it cannot be opened or written at all.
    """

    __slots__ = ("_connection", "_in_transaction", "_write", "path", "secret", "written")

    def __init__(self, path: str | os.PathLike[str], durability: str = "process") -> None:
        if durability not in _SYNCHRONOUS:
            raise DefinitionError(f"durability is 'process' or 'full', not {durability!r}")
        self.path = os.fspath(path)
        self._in_transaction = False
        #: how many times something was written, ever
        self.written = 0
        try:
            self._connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256)
        except sqlite3.Error as error:
            raise UserError(f"the engine's file {self.path!r} cannot be opened: {error}") from None
        self._write = self._connection.execute
        try:
            self._open(_SYNCHRONOUS[durability])
            self.secret = self._find_secret()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error):
                raise explain(self.path, error) from None
            raise

    def _open(self, synchronous: str) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        self._refuse_foreign()
        if self.path != ":memory:":
            run("PRAGMA journal_mode=WAL")
        run(f"PRAGMA synchronous={synchronous}")
        run("PRAGMA cache_size=-32768")
        run(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        run("BEGIN EXCLUSIVE")
        try:
            self._migrate()
        except BaseException:
            run("ROLLBACK")
            raise
        run("COMMIT")

    def _refuse_foreign(self) -> None:
        run = self._connection.execute
        application, version = run("PRAGMA application_id").fetchone()[0], run("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            if application or version or run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise NotAnEngineFile(f"{self.path!r} is a SQLite file of another program; flowdsl did not touch it. Name another path.")
            return
        if version > VERSION:
            raise NotAnEngineFile(
                f"{self.path!r} was written by a newer flowdsl (file version {version}, this one knows {VERSION}). Upgrade flowdsl."
            )
        if self.path != ":memory:" and Path(self.path).stat().st_size <= _CHECKED_BYTES:
            verdict = run("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise NotAnEngineFile(f"{self.path!r} is damaged: {verdict}")

    def _migrate(self) -> None:
        run = self._connection.execute
        version = run("PRAGMA user_version").fetchone()[0]
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                run(statement)
        if version != VERSION:
            run(f"PRAGMA application_id={APPLICATION_ID}")
            run(f"PRAGMA user_version={VERSION}")

    def _find_secret(self) -> bytes:
        row = self.one("SELECT value FROM settings WHERE name = 'secret'")
        if row is not None:
            return bytes(row[0])
        secret = secrets.token_bytes(32)
        self.write("INSERT INTO settings VALUES ('secret', ?)", (secret,))
        self.commit()
        return secret

    # --- reading

    def one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first row, or None."""
        return self._connection.execute(sql, values).fetchone()

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows."""
        return self._connection.execute(sql, values).fetchall()

    # --- writing

    def write(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run one statement in the transaction, which begins with it. Return the id of a row that was inserted."""
        self.written += 1
        if not self._in_transaction:
            self._write("BEGIN IMMEDIATE")
            self._in_transaction = True
        return self._write(sql, values).lastrowid or 0

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        self.written += 1
        if not self._in_transaction:
            self._write("BEGIN IMMEDIATE")
            self._in_transaction = True
        self._connection.executemany(sql, rows)

    @property
    def in_transaction(self) -> bool:
        """Whether something was written that is not committed."""
        return self._in_transaction

    def commit(self) -> None:
        """End the transaction: what was written is kept, whatever happens to the process from now on."""
        if self._in_transaction:
            self._write("COMMIT")
            self._in_transaction = False

    def rollback(self) -> None:
        """Forget what was written since the transaction began."""
        self._in_transaction = False
        if self._connection.in_transaction:
            self._write("ROLLBACK")

    def backup(self, path: str | os.PathLike[str], pause: Callable[[], None]) -> None:
        """Copy what is committed to a new file, consistent as of the last step; between two steps `pause` may let others write.

        Raises `UserError` if the copy cannot be written.
        """
        copy_into(path, self._connection, pause)

    def close(self) -> None:
        """Give the file free. What was not committed is forgotten."""
        self.rollback()
        self._connection.close()


def copy_into(path: str | os.PathLike[str], source: sqlite3.Connection, pause: Callable[[], None] = lambda: None) -> None:
    """SQLite's online backup of `source` to the new file `path`, which only its owner may read. Raises `UserError`."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise UserError(f"the backup {os.fspath(path)!r} cannot be written: {error.strerror}") from None
    target = sqlite3.connect(path)
    try:
        source.backup(target, pages=_BACKUP_PAGES, progress=lambda *_: pause(), sleep=0)
    except BaseException as error:
        target.close()
        Path(path).unlink()
        if isinstance(error, sqlite3.Error):
            raise UserError(f"the backup {os.fspath(path)!r} cannot be written: {error}") from None
        raise
    target.close()
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())


def file_id(path: str | os.PathLike[str]) -> str:
    """Device and inode; empty if there is no such file."""
    try:
        found = Path(path).stat()
    except OSError:
        return ""
    return f"{found.st_dev}-{found.st_ino}"


def backup_file(path: str | os.PathLike[str], to: str | os.PathLike[str]) -> None:
    """Copy an engine's file that nobody serves to the new file `to`. Nothing in it is changed, nothing migrated.

    Raises `FileInUse`, `NotAnEngineFile`, `UserError`.
    """
    uri = f"{Path(path).absolute().as_uri()}?mode=rw"
    source = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)
    try:
        if source.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise NotAnEngineFile(f"{os.fspath(path)!r} is no engine's file")
        copy_into(to, source)
    except sqlite3.Error as error:
        raise explain(os.fspath(path), error) from None
    finally:
        source.close()


def explain(path: str, error: sqlite3.Error) -> Exception:
    """Whose fault it is that SQLite cannot open or read `path`."""
    text = str(error)
    if "locked" in text:
        return FileInUse(
            f"{path!r} is served by another engine, in this process or in another one. One file is served by one engine: "
            "stop the other one, reach it through `flowdsl server`, or name another path."
        )
    if isinstance(error, sqlite3.OperationalError) and "malformed" not in text and "no such table" not in text:
        return UserError(f"the engine's file {path!r} cannot be opened: {text}")
    return NotAnEngineFile(f"{path!r} is not an engine file, or it is damaged: {text}")
