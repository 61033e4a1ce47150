"""The state file: everything that blocks, for one thread; `sync` is for any.

How a commit reaches the disk. In WAL mode a commit with `synchronous=NORMAL` is one write() into
the WAL: it survives the process, not a power failure. A durable one runs with `synchronous=FULL`,
which syncs the WAL before the commit counts. An fdatasync of the WAL after a NORMAL commit costs
the same (0.33 against 0.37 ms, ext4 on a virtual disk), but when it fails the batch is already
committed, and "nothing was written" would be a lie; with FULL, SQLite takes the commit back. Where
that lie is not told, `sync` is that fdatasync: another thread may wait for it beside commits.

When the WAL moves into the file. Never during a commit (`wal_autocheckpoint=0`): `tidy` does it,
and its caller chooses an idle moment.

Source: https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from netplug.errors import StoreUnavailable
from netplug.store.codec import Entry, Key
from netplug.store.lock import Lock
from netplug.store.migrate import APPLICATION_ID, VERSION, migrate

BUSY_S = 1.0
"""How long to wait for a stranger's transaction, say of a `sqlite3` shell."""

_DAMAGED_HINT = "move it away and restore a backup: pynet never starts empty over it"

_TROUBLES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        sqlite3.SQLITE_FULL: ("no space is left on its disk", "free some and try again"),
        sqlite3.SQLITE_IOERR_SHMSIZE: ("no space is left on its disk", "free some and try again"),
        sqlite3.SQLITE_READONLY: ("it cannot be written", "make file and directory writable"),
        sqlite3.SQLITE_PERM: ("it cannot be written", "make file and directory writable"),
        sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "make file and directory writable"),
        sqlite3.SQLITE_CORRUPT: ("it is damaged", _DAMAGED_HINT),
        sqlite3.SQLITE_NOTADB: ("it is damaged", _DAMAGED_HINT),
        sqlite3.SQLITE_BUSY: ("another program is writing to it", "end that program"),
        sqlite3.SQLITE_IOERR: ("its disk fails", "see what the kernel says with 'dmesg'"),
    }
)

_TOUCH = f"PRAGMA user_version = {VERSION}"
"""Writes one page that says what it said before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A batch as it is written; where a key is in both, the put wins."""

    puts: Sequence[Entry]
    drops: Sequence[Key]


class Database:
    """The open state file and the lock on its directory. Every method raises StoreUnavailable."""

    def __init__(self, path: Path) -> None:
        """Open the state file; make it, and its directory, where there is none."""
        self.path = path
        self.rows_in_wal = 0
        with _explained(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = Lock(path.parent / "lock")
        try:
            self._connection = self._opened()
            try:
                with _explained(path):
                    self._wal = os.open(_wal_of(path), os.O_RDWR | os.O_CLOEXEC)
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def read(self, behind: Key, limit: int) -> list[Entry]:
        """Return the next so many entries behind a key, in the order of keys."""
        with _explained(self.path):
            rows = self._connection.execute(
                "SELECT kind, key, value FROM record WHERE (kind, key) > (?, ?) "
                "ORDER BY kind, key LIMIT ?",
                (*behind, limit),
            )
            return [Entry(*row) for row in rows]

    def write(self, group: Sequence[Changes], *, is_durable: bool) -> None:
        """Write all of `group` in its order, or nothing of it."""
        write = self._connection.execute
        with _explained(self.path):
            write(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
            with self._connection:
                write("BEGIN IMMEDIATE")
                for changes in group:
                    self._put_down(changes)
                if is_durable:
                    # A commit that changes no page is not synced, and what makes this one
                    # change nothing may be an earlier one that was not synced either.
                    write(_TOUCH)

    def sync(self) -> None:
        """Put every commit so far on the disk.

        When it fails, Linux counts the pages that it could not write as written, so that doing it
        again proves nothing; `settle`, which reads them once more, does.
        """
        with _explained(self.path):
            os.fdatasync(self._wal)

    def tidy(self) -> None:
        """Move the WAL into the file; worth it once `rows_in_wal` are many."""
        self.rows_in_wal = 0
        with _explained(self.path):
            _start_wal_over(self._connection)

    def settle(self) -> None:
        """Move all of the WAL into the file and sync it; what `sync` cannot prove any more."""
        with _explained(self.path):
            if not _start_wal_over(self._connection):
                reason = "its log cannot be moved into it"
                raise StoreUnavailable(str(self.path), reason, "end the program that reads it")

    def close(self) -> None:
        """Close the file, which moves the WAL into it, and let another process in."""
        try:
            with _explained(self.path):
                self._connection.close()
        finally:
            os.close(self._wal)
            self._lock.release()

    def _put_down(self, changes: Changes) -> None:
        self._connection.executemany("DELETE FROM record WHERE kind = ? AND key = ?", changes.drops)
        self._connection.executemany(
            "INSERT OR REPLACE INTO record (kind, key, value) VALUES (?, ?, ?)", changes.puts
        )
        self.rows_in_wal += len(changes.drops) + len(changes.puts)

    def _opened(self) -> sqlite3.Connection:
        with _explained(self.path):
            if not os.path.lexists(self.path):
                self._create()
            if not self.path.is_file():
                raise StoreUnavailable(str(self.path), "it is not a file", _DAMAGED_HINT)
            # SQLite would open a read-only file, and leave a read-only WAL behind.
            os.close(os.open(self.path, os.O_RDWR))
            connection = _connected(self.path)
            try:
                self._check(connection)
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
                connection.execute("PRAGMA wal_autocheckpoint = 0").fetchone()
                # Also keeps the two apart: right behind journal_mode a checkpoint is refused.
                migrate(connection, self.path)
                _start_wal_over(connection)  # a crash may have left a long one
            except BaseException:
                connection.close()
                raise
            return connection

    def _create(self) -> None:
        """Make the first state file, whole or not at all: an empty one is always damage."""
        wal = _wal_of(self.path)
        if wal.exists():
            raise StoreUnavailable(
                str(self.path),
                f"it is missing, but {wal.name} is there and holds changes made to it",
                "put the file back, or move that one away to begin with no networks",
            )
        fresh = self.path.with_name(f"{self.path.name}.new")
        fresh.unlink(missing_ok=True)
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL, 0o600))
        with closing(_connected(fresh)) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY").fetchone()
            migrate(connection, fresh)
        fresh.rename(self.path)
        _sync_directory(self.path.parent)

    def _check(self, connection: sqlite3.Connection) -> None:
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        if owner != APPLICATION_ID:
            is_empty = self.path.stat().st_size == 0
            reason = "it is empty" if is_empty else "it is not a state file of pynet"
            raise StoreUnavailable(str(self.path), reason, _DAMAGED_HINT)
        (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if finding != "ok":
            reason = f"it is damaged ({finding.splitlines()[-1]})"
            raise StoreUnavailable(str(self.path), reason, _DAMAGED_HINT)


def _wal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _connected(path: Path) -> sqlite3.Connection:
    """Open an existing file; `mode=rw` because SQLite would make a missing one."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)


def _start_wal_over(connection: sqlite3.Connection) -> bool:
    """Move the WAL into the file, and make the first commit of the next one.

    That commit syncs the WAL's header, whatever `synchronous` says (SQLite src/wal.c,
    sqlite3WalFrames): here nobody waits for it. Return whether all of it was moved: a program that
    reads the file may need some of it.
    """
    is_busy, frames, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    connection.execute(_TOUCH)
    return not is_busy and frames == moved


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise what SQLite and the file system say as StoreUnavailable; a bug stays what it is."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        trouble = _TROUBLES.get(code) or _TROUBLES.get(code & 0xFF)  # the low byte is the family
        if trouble is None:
            raise
        reason, hint = trouble
        raise StoreUnavailable(str(path), f"{reason} ({error})", hint) from error
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some and try again" if is_full else "mend that, or choose another directory"
        raise StoreUnavailable(str(error.filename or path), str(error.strerror), hint) from error
