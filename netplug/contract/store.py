"""Where records survive a crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from netplug.model import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Changes that happen together or not at all.

    `puts` replace their namesakes; `drops` that are not there are passed over. `is_durable` asks
    that the batch survives a power failure; without it, it survives the death of the process.
    """

    puts: tuple[Record, ...] = ()
    drops: tuple[Record, ...] = ()
    is_durable: bool = False


class Store(Protocol):
    """Keeps records; one writer at a time, and the store is what enforces it."""

    def load(self) -> AsyncIterator[tuple[Record, ...]]:
        """Yield every record, in portions: all of a million at once would be held twice.

        What is committed meanwhile may be among them or not.

        Raises:
            StoreUnavailable: it cannot be read, or holds what this version cannot read. It is
                never silently emptied.
        """
        ...

    async def commit(self, batch: Batch) -> None:
        """Write `batch` atomically; when it returns, the promise of `is_durable` holds.

        Commits of one process are applied in the order in which they were called.

        Raises:
            StoreUnavailable: nothing of the batch was written.
        """
        ...

    async def sync(self) -> None:
        """Have everything committed before the call survive a power failure.

        Commits go on meanwhile. For what need not be durable when its commit returns, but soon.

        Raises:
            StoreUnavailable: some of it may not; all of it is committed as before.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun and let another process in. Repeating it is harmless."""
        ...
