"""Disks for one daemon after the other, and stores that fail and die when they are told to."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from netplug.contract.store import Batch, Store
from netplug.errors import StoreUnavailable
from netplug.kernel.memory import Stopped
from netplug.model import Record
from netplug.store.memory import Disk, MemoryStore
from netplug.store.sqlite import SqliteStore

_WAL_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24


class Fate(Enum):
    """What becomes of a commit; whoever dies commits nothing more."""

    REFUSED = auto()
    DIES_BEFORE = auto()
    DIES_BEHIND = auto()


class Medium(Protocol):
    """A disk that outlives its daemons."""

    async def opened(self) -> Store:
        """Open the store for the next daemon."""
        ...

    async def killed(self, store: Store, lost: int = 0) -> None:
        """End a daemon in the middle: all that was written stays, less the last `lost` commits."""
        ...

    def discard(self) -> None:
        """Leave nothing behind."""
        ...


class FatefulStore:
    """Passes commits on to a store, until the one that fails or kills the daemon."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.written = 0
        self.durable = 0
        self.refused = 0
        self._fate: Fate | None = None
        self._left = 0
        self._is_dead = False

    def arm(self, fate: Fate, after: int) -> None:
        """Let so many commits pass, and then one meet its fate."""
        self._fate, self._left = fate, after

    def load(self) -> AsyncIterator[tuple[Record, ...]]:
        return self.store.load()

    async def commit(self, batch: Batch) -> None:
        fate = self._next()
        if fate is Fate.REFUSED:
            self.refused += 1
            await asyncio.sleep(0)  # it was on its way
            raise StoreUnavailable("on a bad day", "the test says so")
        if self._is_dead or fate is Fate.DIES_BEFORE:
            self._is_dead = True
            raise Stopped("before a commit")
        self._is_dead = fate is Fate.DIES_BEHIND
        await self.store.commit(batch)
        self.written += 1
        if batch.is_durable:
            self.durable = self.written
        if fate is Fate.DIES_BEHIND:
            raise Stopped("behind a commit")

    async def sync(self) -> None:
        written = self.written
        await self.store.sync()
        self.durable = max(self.durable, written)

    async def close(self) -> None:
        await self.store.close()

    def _next(self) -> Fate | None:
        if self._fate is None or self._left:
            self._left = max(0, self._left - 1)
            return None
        fate, self._fate = self._fate, None
        return fate


class MemoryMedium:
    """A disk in memory that remembers how it was after each commit."""

    def __init__(self) -> None:
        self._disk = Disk()
        self._past: list[dict[tuple[str, str], bytes]] = []

    async def opened(self) -> Store:
        past = self._past = []

        class Remembering(MemoryStore):
            async def commit(self, batch: Batch) -> None:
                past.append(dict(self._disk.values))
                await asyncio.sleep(0)  # as on disk, others run meanwhile
                await super().commit(batch)

        return Remembering(self._disk)

    async def killed(self, store: Store, lost: int = 0) -> None:
        await store.close()
        if lost:
            self._disk.values = self._past[-lost]

    def discard(self) -> None:
        self._past = []


class SqliteMedium:
    """The state file in a folder of its own; a killed daemon leaves it with its log beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "0" / "state.db"
        self._deaths = 0

    async def opened(self) -> Store:
        return await SqliteStore.opened(self._path)

    async def killed(self, store: Store, lost: int = 0) -> None:
        self._deaths += 1
        after = self._folder / str(self._deaths) / "state.db"
        after.parent.mkdir()
        shutil.copyfile(self._path, after)
        wal = _without_commits(self._path.with_name("state.db-wal").read_bytes(), lost)
        after.with_name("state.db-wal").write_bytes(wal)
        await store.close()
        shutil.rmtree(self._path.parent)
        self._path = after

    def discard(self) -> None:
        shutil.rmtree(self._folder)


def _without_commits(wal: bytes, lost: int) -> bytes:
    """Return a log as a power failure leaves it that tears off the last commits.

    Of the first of these, all but the last byte is there.

    Source: https://sqlite.org/fileformat.html#the_write_ahead_log
    """
    frame_bytes = _FRAME_HEADER_BYTES + int.from_bytes(wal[8:12])
    salts, ends = wal[16:24], []
    for start in range(_WAL_HEADER_BYTES, len(wal), frame_bytes):
        if wal[start + 8 : start + 16] != salts:
            break  # of the log before
        if any(wal[start + 4 : start + 8]):
            ends.append(start + frame_bytes)
    if not lost:
        return wal
    return wal[: ends[-lost] - 1]
