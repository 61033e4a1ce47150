"""The store of a real host: one state file, one thread that touches it, one that syncs it.

Commits that arrive while the thread is busy are written together, in their order and as one
transaction. None of them can fail for a reason of its own (keys replace, drops forgive), so what
fails one, a full disk say, fails all of them, and nothing of any was written.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from netplug.contract.store import Batch
from netplug.errors import StoreUnavailable
from netplug.model import Record
from netplug.store.codec import Key, decode, encode, key_of
from netplug.store.database import Changes, Database
from netplug.store.syncs import Syncs

TIDY_AFTER_ROWS = 256
"""So many rows in the WAL, at most a page (4 KiB) each and usually less, are worth moving."""

LOADED_AT_ONCE = 4096
"""So many records are loaded in one portion: some MiB."""

TIDY_IDLE_S = 0.5
"""Nothing to write for so long counts as idle: moving takes milliseconds, and a commit waits."""

TIDY_AT_ONCE_ROWS = 16384
"""Idle or not, the WAL shall not grow beyond about 64 MiB."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Commit:
    changes: Changes
    is_durable: bool
    done: Future[None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Load:
    behind: Key
    done: Future[tuple[Record, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Settle:
    done: Future[None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Close:
    done: Future[None]


_Job = _Commit | _Load | _Settle | _Close


class SqliteStore:
    """Fulfils `Store` over the state file at `path`; `opened` makes one.

    A commit or load whose caller is cancelled takes place all the same.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._closing: _Close | None = None
        self._syncs = Syncs(self._sync)
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._database: Database | None = None
        self._is_suspect = False

    @classmethod
    async def opened(cls, path: Path) -> SqliteStore:
        """Open the state file, or make it and its directory at the first start.

        Raises:
            StoreUnavailable: it is in use, damaged, not ours, newer than this version, or cannot
                be written.
        """
        store = cls(path)
        opened: Future[None] = store._loop.create_future()
        Thread(target=store._work, args=(opened,), name="store", daemon=True).start()
        try:
            await opened
        except asyncio.CancelledError:
            store._jobs.put(_Close(done=store._loop.create_future()))
            raise
        return store

    async def load(self) -> AsyncIterator[tuple[Record, ...]]:
        """Yield every record, in portions."""
        behind: Key = ("", "")
        while True:
            self._refuse_if_closed()
            load = _Load(behind=behind, done=self._loop.create_future())
            self._jobs.put(load)
            if not (portion := await load.done):
                return
            yield portion
            behind = key_of(portion[-1])

    async def commit(self, batch: Batch) -> None:
        """Write `batch` atomically; when it returns, the promise of `is_durable` holds."""
        self._refuse_if_closed()
        if batch.is_durable and self._is_suspect:
            await self.sync()  # a log is read up to its first damage
        commit = _Commit(
            changes=Changes(
                puts=tuple(encode(record) for record in batch.puts),
                drops=tuple(key_of(record) for record in batch.drops),
            ),
            is_durable=batch.is_durable,
            done=self._loop.create_future(),
        )
        self._jobs.put(commit)
        await commit.done

    async def sync(self) -> None:
        """Put what was committed so far on the disk, beside the commits that go on.

        Who asks while one is under way shares the next one.
        """
        self._refuse_if_closed()
        await self._syncs.next()

    async def close(self) -> None:
        """Write what waits, close the file and let another process in."""
        if self._closing is None:
            self._closing = _Close(done=self._loop.create_future())
            await self._syncs.settled()
            self._jobs.put(self._closing)
        await asyncio.shield(self._closing.done)
        self._syncer.shutdown(wait=False)

    async def _sync(self) -> None:
        """Sync the log; once the disk has refused that, move it into the file, which reads it anew.

        Until that has succeeded, syncing the log proves nothing.
        """
        if self._database is not None and not self._is_suspect:
            try:
                await self._loop.run_in_executor(self._syncer, self._database.sync)
            except StoreUnavailable as error:
                _log.warning("store.sync.failed", extra={"reason": str(error)})
            else:
                return
        self._is_suspect = True
        settle = _Settle(done=self._loop.create_future())
        self._jobs.put(settle)
        await settle.done
        self._is_suspect = False

    def _refuse_if_closed(self) -> None:
        if self._closing is not None:
            raise StoreUnavailable(str(self._path), "it is closed")

    def _work(self, opened: Future[None]) -> None:
        """Be the thread: open, do what comes until it is a close."""
        try:
            database = Database(self._path)
        except Exception as error:
            _fail([opened], error)
            return
        self._database = database
        _answer([opened], None)
        while True:
            is_tidy = database.rows_in_wal < TIDY_AFTER_ROWS
            jobs = self._next_jobs(None if is_tidy else TIDY_IDLE_S)
            _do(jobs, database)
            if jobs and isinstance(jobs[-1], _Close):
                return
            if not jobs or database.rows_in_wal >= TIDY_AT_ONCE_ROWS:
                _tidy(database)

    def _next_jobs(self, patience_s: float | None) -> list[_Job]:
        """Wait for a job and return it with all that came behind it; none if patience ran out."""
        jobs: list[_Job] = []
        with suppress(Empty):
            jobs.append(self._jobs.get(timeout=patience_s))
            while True:
                jobs.append(self._jobs.get_nowait())
        return jobs


def _do(jobs: Sequence[_Job], database: Database) -> None:
    commits: list[_Commit] = []
    for job in jobs:
        if isinstance(job, _Commit):
            commits.append(job)
            continue
        _write(commits, database)
        commits = []
        match job:
            case _Load(behind=behind, done=loaded):
                _settle([loaded], partial(_records, database, behind))
            case _Settle(done=settled):
                _settle([settled], database.settle)
            case _Close(done=closed):
                _settle([closed], database.close)
    _write(commits, database)


def _write(commits: Sequence[_Commit], database: Database) -> None:
    if commits:
        group = [commit.changes for commit in commits]
        is_durable = any(commit.is_durable for commit in commits)
        waiting = [commit.done for commit in commits]
        _settle(waiting, lambda: database.write(group, is_durable=is_durable))


def _records(database: Database, behind: Key) -> tuple[Record, ...]:
    entries = database.read(behind, LOADED_AT_ONCE)
    return tuple(decode(entry, str(database.path)) for entry in entries)


def _settle(waiting: Sequence[Future[T]], action: Callable[[], T]) -> None:
    """Give the outcome of `action`, good or bad, to all who wait for it."""
    try:
        result = action()
    except Exception as error:
        _fail(waiting, error)
    else:
        _answer(waiting, result)


def _answer(waiting: Sequence[Future[T]], result: T) -> None:
    _tell(waiting, lambda future: future.set_result(result))


def _fail(waiting: Sequence[Future[T]], error: Exception) -> None:
    _tell(waiting, lambda future: future.set_exception(error))


def _tell(waiting: Sequence[Future[T]], tell: Callable[[Future[T]], None]) -> None:
    """Tell all who still wait, which wakes their loop once; a loop that is gone has nobody."""

    def tell_all() -> None:
        for future in waiting:
            if not future.done():
                tell(future)

    with suppress(RuntimeError):
        waiting[0].get_loop().call_soon_threadsafe(tell_all)


def _tidy(database: Database) -> None:
    try:
        database.tidy()
    except Exception as error:  # the thread must live: every later commit waits for it
        _log.warning("store.tidy.failed", extra={"reason": str(error)})
