"""Removes marked links a little after they were marked, many at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from netplug.errors import KernelRefused

_GATHER_S = (
    0.05  # how long further marks are waited for; a removal costs 16-30 ms whatever its size
)
_RETRY_S = 1.0
_SETTLE_S = 5.0

log = logging.getLogger(__name__)


class Reaper:
    """Calls `remove` once for each burst of `wake`s, on a task of its own."""

    def __init__(self, remove: Callable[[], Awaitable[None]]) -> None:
        self._remove = remove
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task."""
        self._task = asyncio.create_task(self._run(), name="reaper")

    def wake(self) -> None:
        """Note that something was marked."""
        self._idle.clear()
        self._wanted.set()

    async def settle(self) -> None:
        """Return when everything that was marked before the call is gone.

        Raises:
            KernelRefused: it is not gone within 5 s.
        """
        self._hurry.set()
        try:
            async with asyncio.timeout(_SETTLE_S):
                await self._idle.wait()
        except TimeoutError as error:
            reason = f"they are still there after {_SETTLE_S} s"
            reason = f"they are still there after {_SETTLE_S} s"
            raise KernelRefused("remove links", reason) from error
        finally:
            self._hurry.clear()

    async def stop(self) -> None:
        """Remove what is marked and end the task; what resists keeps its mark."""
        if self._task is None:
            return
        with suppress(KernelRefused):
            await self.settle()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            await self._pause(_GATHER_S)
            self._wanted.clear()
            try:
                await self._remove()
            except Exception as error:  # the head of a task
                log.warning("links not removed, trying again", extra={"reason": str(error)})
                self._wanted.set()
                await asyncio.sleep(_RETRY_S)
                continue
            if not self._wanted.is_set():
                self._idle.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return
