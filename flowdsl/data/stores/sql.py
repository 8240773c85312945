"""Any database that SQLAlchemy reaches as a store (extra `sql`): PostgreSQL, SQLite, MySQL and others.

Rule 1: an object is rows of one table, a few megabytes each, written in one transaction: it is there whole or not at all.
Rule 2: the table is made when it is first needed; several processes may do that at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Lock
from typing import Any

from flowdsl.data.stores.base import Buffer, Stored, key_in
from flowdsl.errors import DefinitionError, NotInstalled

#: Bytes of one row.
PART = 4 << 20


class SqlStore:
    """Objects in one table of a database. Nothing is connected before it is needed."""

    takes_views = True

    def __init__(self, url: str | Any, *, table: str = "flowdsl_values", part: int = PART) -> None:
        """`url` is SQLAlchemy's own (`postgresql+psycopg://…`, `sqlite:////file`), or an engine.

        Raises `NotInstalled`, `DefinitionError`.
        """
        try:
            import sqlalchemy  # noqa: PLC0415 - an extra
        except ImportError:
            raise NotInstalled("the SQL store", "sql") from None
        if not table.isidentifier():
            raise DefinitionError(f"SqlStore(table={table!r}): give a plain name")
        self._sql = sqlalchemy
        try:
            self.engine = sqlalchemy.create_engine(url, pool_pre_ping=True) if isinstance(url, str) else url
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise DefinitionError(f"the SQL store's URL cannot be used: {error}") from error
        self._part = part
        self._rows = sqlalchemy.Table(
            table,
            sqlalchemy.MetaData(),
            sqlalchemy.Column("key", sqlalchemy.String(96), primary_key=True),
            sqlalchemy.Column("part", sqlalchemy.Integer, primary_key=True, autoincrement=False),
            sqlalchemy.Column("stored", sqlalchemy.Float, nullable=False),
            sqlalchemy.Column("data", sqlalchemy.LargeBinary(length=2**32 - 1), nullable=False),
        )
        self._made = False
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"SqlStore({self.engine.url.render_as_string(hide_password=True)!r}, table={self._rows.name!r})"

    def put(self, key: str, data: Buffer) -> str:
        """Keep the bytes. Raises SQLAlchemy's errors."""
        self._make()
        now, view, rows = time.time(), memoryview(data), self._rows
        parts = range(0, max(len(view), 1), self._part)
        with self.engine.begin() as connection:
            known = connection.execute(rows.update().where(rows.c.key == key).values(stored=now)).rowcount
        if not known:
            try:
                with self.engine.begin() as connection:
                    for number, start in enumerate(parts):
                        row = {"key": key, "part": number, "stored": now, "data": bytes(view[start : start + self._part])}
                        connection.execute(rows.insert().values(row))
            except self._sql.exc.IntegrityError:  # another process was first, with the same bytes
                pass
        return f"sql:{rows.name}/{key}"

    def get(self, uri: str) -> Buffer:
        """The bytes. Raises `LookupError` or SQLAlchemy's errors."""
        self._make()
        rows, key = self._rows, key_in(uri)
        with self.engine.connect() as connection:
            query = self._sql.select(rows.c.data).where(rows.c.key == key).order_by(rows.c.part)
            found: list[bytes] = [bytes(row.data) for row in connection.execute(query)]
        if not found:
            raise LookupError(f"the table {rows.name} has no row {key}")
        return found[0] if len(found) == 1 else b"".join(found)

    def stored(self) -> Iterator[Stored]:
        """What the table holds."""
        self._make()
        rows, sql = self._rows, self._sql
        size = sql.func.sum(sql.func.length(rows.c.data))
        query = sql.select(rows.c.key, size, sql.func.max(rows.c.stored)).group_by(rows.c.key)
        with self.engine.connect() as connection:
            found = connection.execute(query).all()
        now = time.time()
        for key, total, stored in found:
            yield Stored(key, int(total), now - stored)

    def delete(self, key: str) -> None:
        """Delete the object's rows."""
        with self.engine.begin() as connection:
            connection.execute(self._rows.delete().where(self._rows.c.key == key_in(key)))

    def close(self) -> None:
        """Let go of the connections; the next call opens new ones."""
        self.engine.dispose()

    def _make(self) -> None:
        with self._lock:
            if self._made:
                return
            try:
                self._rows.metadata.create_all(self.engine)
            except self._sql.exc.DBAPIError:  # another process has just made it, or the database cannot be used: this says which
                if not self._sql.inspect(self.engine).has_table(self._rows.name):
                    raise
            self._made = True
