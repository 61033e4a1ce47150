"""What tests of stores share."""

from __future__ import annotations

from netplug.contract.store import Store
from netplug.model import Record


async def loaded(store: Store) -> tuple[Record, ...]:
    """Everything that a store has."""
    return tuple([record async for portion in store.load() for record in portion])
