"""Who waits for whom: a lock for each thing, and a gate between changes and reconciliation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

POOLS = "pools"
"""The lock over pools, and over what the installation remembers about itself (`HostState`)."""


class Locks:
    """A lock a name, made when needed and forgotten when nobody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Hold the lock called `name` for the duration of the context."""
        lock, users = self._locks.get(name, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[name] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            users = self._locks[name][1] - 1
            if users:
                self._locks[name] = lock, users
            else:
                del self._locks[name]

    @asynccontextmanager
    async def hold_all(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Hold several locks, sorted by name, so that no two who do wait for each other."""
        async with AsyncExitStack() as held:
            for name in sorted(set(names)):
                await held.enter_async_context(self.hold(name))
            yield


class Gate:
    """Many may pass at once, or one alone; those who want to be alone are not starved."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._inside = 0
        self._wanting_alone = 0
        self._is_taken = False

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Pass together with others."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_taken and not self._wanting_alone)
            self._inside += 1
        try:
            yield
        finally:
            async with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Pass when nobody else is inside, and let nobody in."""
        async with self._changed:
            self._wanting_alone += 1
            try:
                await self._changed.wait_for(lambda: not self._is_taken and not self._inside)
                self._is_taken = True
            finally:
                self._wanting_alone -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            async with self._changed:
                self._is_taken = False
                self._changed.notify_all()
