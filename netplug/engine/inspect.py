"""What inspections of containers showed: each is asked once, and again when it was touched."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from netplug.contract.engine import Engine, EngineContainer
from netplug.errors import EngineUnreachable

# dockerd inspects under the lock of the container, so that one waits for its start to end: a few of
# those must not hold up the rest.
_AT_ONCE = 8

log = logging.getLogger(__name__)


class Inspector:
    """Inspects a few containers at a time, beside whoever wants to know; `tell` says there is news.

    One that does not answer is asked again the next time that it is wanted.
    """

    def __init__(self, engine: Engine, tell: Callable[[], None]) -> None:
        self._engine = engine
        self._tell = tell
        self._known: dict[str, EngineContainer] = {}
        self._waiting: dict[str, None] = {}
        self._turns: dict[str, int] = {}
        self._numbers = itertools.count()
        self._workers: set[asyncio.Task[None]] = set()

    @property
    def known(self) -> Mapping[str, EngineContainer]:
        """Return a copy of what is known, by container id."""
        return MappingProxyType(dict(self._known))

    @property
    def is_busy(self) -> bool:
        """Return whether more is to come."""
        return not all(worker.done() for worker in self._workers)

    def want(self, listed: Collection[str], touched: Collection[str]) -> None:
        """Inspect those of `listed` that are new or touched; forget what is not listed."""
        for gone in self._known.keys() - set(listed):
            del self._known[gone]
        self._waiting = {key: None for key in self._waiting if key in listed}
        for container_id in listed:
            is_under_way = container_id in self._turns
            if container_id in touched or not (container_id in self._known or is_under_way):
                self._waiting[container_id] = None
        working = sum(not worker.done() for worker in self._workers)
        for _ in range(min(_AT_ONCE - working, len(self._waiting))):
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def settle(self, longest_s: float) -> None:
        """Wait until nothing more is to come, but no longer than that."""
        if self._workers:
            await asyncio.wait(self._workers, timeout=longest_s)

    def forget(self) -> None:
        """Forget everything: another engine answers."""
        self._known.clear()

    async def close(self) -> None:
        """Ask no more; what is known stays."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        self._waiting.clear()
        self._turns.clear()

    async def _work(self) -> None:
        while self._waiting:
            container_id = next(iter(self._waiting))
            del self._waiting[container_id]
            await self._inspect(container_id)

    async def _inspect(self, container_id: str) -> None:
        """Inspect one; of two inspections that overlap, the one that began last counts."""
        turn = self._turns[container_id] = next(self._numbers)
        try:
            found = await self._engine.container(container_id)
        except EngineUnreachable as error:
            log.debug("container not inspected", extra={"reason": str(error)})
            return
        finally:
            is_latest = self._turns.get(container_id) == turn
            if is_latest:
                del self._turns[container_id]
        if found is not None and is_latest and self._known.get(container_id) != found:
            self._known[container_id] = found
            self._tell()
