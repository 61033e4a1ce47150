"""A store that lasts as long as the process; it keeps the promises of `netplug.contract.store`.

disk = Disk()
store = MemoryStore(disk)
...
await store.close()
after_restart = MemoryStore(disk)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from netplug.contract.store import Batch
from netplug.errors import StoreUnavailable
from netplug.model import Record
from netplug.store.codec import Entry, Key, decode, encode, key_of


@dataclass(slots=True)
class Disk:
    """What outlives a MemoryStore; encoded, so that what a file would refuse is refused here."""

    values: dict[Key, bytes] = field(default_factory=dict)
    is_in_use: bool = False


class MemoryStore:
    """Fulfils `Store` over a `Disk`, its own unless one is given."""

    def __init__(self, disk: Disk | None = None) -> None:
        """Take the disk.

        Raises:
            StoreUnavailable: another store has it.
        """
        self._disk = disk if disk is not None else Disk()
        self._is_closed = False
        if self._disk.is_in_use:
            raise StoreUnavailable("in memory", "in use by another store", "close that one first")
        self._disk.is_in_use = True

    async def load(self) -> AsyncIterator[tuple[Record, ...]]:
        """Yield every record, all at once."""
        self._refuse_if_closed()
        yield tuple(
            decode(Entry(*key, value), "in memory") for key, value in self._disk.values.items()
        )

    async def commit(self, batch: Batch) -> None:
        """Write `batch` atomically."""
        self._refuse_if_closed()
        puts = [encode(record) for record in batch.puts]
        for record in batch.drops:
            self._disk.values.pop(key_of(record), None)
        for entry in puts:
            self._disk.values[entry.kind, entry.key] = entry.value

    async def sync(self) -> None:
        """Do nothing: what is committed lasts as long as anything here."""
        self._refuse_if_closed()

    async def close(self) -> None:
        """Give the disk back."""
        if not self._is_closed:
            self._disk.is_in_use = False
        self._is_closed = True

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise StoreUnavailable("in memory", "it is closed")
