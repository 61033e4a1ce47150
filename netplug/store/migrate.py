"""The schema, as the steps that lead to it: step n makes version n out of version n-1.

Version 0 is an empty database. The version is SQLite's `user_version`; `application_id` tells our
files from other people's.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from netplug.errors import StoreUnavailable

APPLICATION_ID = 0x70796E74  # "pynt"

_STEPS = (
    (
        """
        CREATE TABLE record (
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (kind, key)
        ) WITHOUT ROWID
        """,
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    (
        """
        UPDATE record
        SET value = CAST(json_set(CAST(value AS TEXT), '$.kind', 'dynamic') AS BLOB)
        WHERE kind = 'lease' AND json_extract(CAST(value AS TEXT), '$.kind') = 'endpoint'
        """,
    ),
)
VERSION = len(_STEPS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the database to the newest version, each step in a transaction of its own.

    Raises:
        StoreUnavailable: a newer pynet wrote it.
        sqlite3.Error: a step failed; the database is as the step before left it.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise StoreUnavailable(
            str(path),
            f"a newer pynet wrote it (schema {found}, this version knows {VERSION})",
            "upgrade pynet, or restore a backup from before",
        )
    for version, statements in enumerate(_STEPS[found:], start=found + 1):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")
