"""The tables of the engine's file, and the way from an older version of them to this one.

Rule 1: `events` is the truth. `agenda` and `effects` are indexes of it with the few facts that no event carries (heartbeats, which
        effects are still to be delivered); `executions` has one row per run, so that lists and lookups need no fold.
Rule 2: the version is `PRAGMA user_version`; `MIGRATIONS[n]` are the statements that lead from version n to n + 1. They only ever
        grow: a released migration is never edited.
Rule 3: times are integers, milliseconds since the epoch. Texts of struct type are JSON.
"""

from __future__ import annotations

#: marks a SQLite file as ours: the bytes "FLOW"
APPLICATION_ID = 0x464C4F57

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        """CREATE TABLE domains (
            name TEXT PRIMARY KEY, status TEXT NOT NULL, description TEXT, retention_days INTEGER NOT NULL, retention TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE TABLE domain_tags (domain TEXT, key TEXT, value TEXT, PRIMARY KEY (domain, key)) WITHOUT ROWID",
        """CREATE TABLE types (
            domain TEXT, kind TEXT, name TEXT, version TEXT, status TEXT NOT NULL, description TEXT,
            created INTEGER NOT NULL, deprecated INTEGER, defaults TEXT NOT NULL,
            PRIMARY KEY (domain, kind, name, version)
        ) WITHOUT ROWID""",
        # `closed` and `status` are NULL while the run is open; `expires` is when retention ends; `ending` is the snapshot that
        # DescribeWorkflowExecution shows after the close, with the child policy that the close applied. Ids are never used again:
        # task tokens name them.
        """CREATE TABLE executions (
            id INTEGER PRIMARY KEY AUTOINCREMENT, domain TEXT NOT NULL, workflow_id TEXT NOT NULL, run_id TEXT NOT NULL,
            type_name TEXT NOT NULL, type_version TEXT NOT NULL, tags TEXT, parent TEXT,
            started INTEGER NOT NULL, closed INTEGER, status TEXT, expires INTEGER,
            cancel_requested INTEGER NOT NULL DEFAULT 0, ending TEXT
        )""",
        "CREATE UNIQUE INDEX one_open_run ON executions (domain, workflow_id) WHERE closed IS NULL",
        "CREATE UNIQUE INDEX runs ON executions (run_id)",
        "CREATE INDEX by_start ON executions (domain, started, id)",
        "CREATE INDEX by_close ON executions (domain, closed, id) WHERE closed IS NOT NULL",
        "CREATE INDEX by_expiry ON executions (expires) WHERE expires IS NOT NULL",
        "CREATE TABLE execution_tags (execution INTEGER, tag TEXT, PRIMARY KEY (execution, tag)) WITHOUT ROWID",
        """CREATE TABLE events (
            execution INTEGER, id INTEGER, at INTEGER NOT NULL, type TEXT NOT NULL, attributes TEXT NOT NULL,
            PRIMARY KEY (execution, id)
        ) WITHOUT ROWID""",
        # One row per thing of an open execution that can be handed out or can expire: kind D (decision task), A (activity task),
        # T (timer), L (lambda), X (the execution itself, as event 0). `started` is 0 while a task waits on `list`.
        """CREATE TABLE agenda (
            execution INTEGER, event INTEGER, kind TEXT NOT NULL, list TEXT, priority INTEGER NOT NULL DEFAULT 0, at INTEGER NOT NULL,
            started INTEGER NOT NULL DEFAULT 0, due INTEGER, beat INTEGER, details TEXT,
            PRIMARY KEY (execution, event)
        ) WITHOUT ROWID""",
        # What one execution does to another, still to be delivered, in order of id.
        "CREATE TABLE effects (id INTEGER PRIMARY KEY AUTOINCREMENT, due INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL)",
    ),
)

VERSION = len(MIGRATIONS)
