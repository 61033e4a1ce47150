"""Syncs of a disk, one at a time: whoever asks while one is under way shares the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Syncs:
    """What was written before `next` was called is on the disk when that returns."""

    def __init__(self, sync: Callable[[], Awaitable[None]]) -> None:
        self._sync = sync
        self._present: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def next(self) -> None:
        """Wait for a sync that begins from now on; raises what it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._present))
        await asyncio.shield(self._next)

    async def settled(self) -> None:
        """Wait until none is under way."""
        while under_way := [s for s in (self._present, self._next) if s and not s.done()]:
            await asyncio.wait(under_way)

    async def _after(self, present: asyncio.Task[None] | None) -> None:
        if present is not None and not present.done():
            await asyncio.wait((present,))
        self._present, self._next = self._next, None
        await self._sync()
