"""Follows one engine for ever: a full listing first, then only what events name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from types import MappingProxyType

from netplug.clock import Clock
from netplug.contract.engine import (
    Engine,
    EngineAway,
    EngineEvent,
    EngineSnapshot,
    EngineUpdate,
)
from netplug.errors import EngineUnreachable
from netplug.model import NetworkId

# A burst is over when a slice passes without an event; the slices of a long one add up to 1 s.
_SLICE_S = 0.1
_MOST_SLICES = 10
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
# dockerd drops the events of a slow reader, and sends none when a dead container is disconnected.
_RELIST_S = 300.0

logger = logging.getLogger(__name__)


class Watcher:
    """Tells what the engine knows of the networks of `driver`, and when it cannot."""

    def __init__(
        self,
        engine: Engine,
        driver: str,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._engine = engine
        self._driver = driver
        self._clock = clock
        self._sleep = sleep

    async def updates(self) -> AsyncGenerator[EngineUpdate, None]:
        """Yield a snapshot after every listing and burst, and `EngineAway` after every failure.

        Never ends, never raises EngineUnreachable. A slow consumer gets fewer snapshots, not old
        ones. Leave it early only through `contextlib.aclosing`.
        """
        pause_s, is_here, here_since_s = _SHORTEST_PAUSE_S, None, 0.0
        while True:
            problem = ""
            try:
                async with self._engine.events() as events, aclosing(self._follow(events)) as seen:
                    async for snapshot in seen:
                        if not is_here:
                            is_here, here_since_s = True, self._clock.monotonic_s()
                            logger.info("engine answers", extra={"version": snapshot.info.version})
                        yield snapshot
            except EngineUnreachable as error:
                problem = str(error)
            if is_here is not False:
                logger.warning("engine is away", extra={"problem": problem})
            # An engine that breaks each time it is listed must not be listed at full speed.
            if is_here and self._clock.monotonic_s() - here_since_s > _LONGEST_PAUSE_S:
                pause_s = _SHORTEST_PAUSE_S
            is_here = False
            yield EngineAway(problem=problem)
            await self._sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _follow(
        self, events: AsyncIterator[EngineEvent]
    ) -> AsyncGenerator[EngineSnapshot, None]:
        touched = _Touched(self._driver)
        reader = asyncio.create_task(touched.collect(events))
        try:
            while True:
                relist_at_s = self._clock.monotonic_s() + _RELIST_S
                snapshot = await self._list()
                yield snapshot
                while await touched.within(relist_at_s - self._clock.monotonic_s()):
                    await self._settle(touched)
                    if reader.done():
                        await reader
                    snapshot = await self._refresh(snapshot, touched)
                    yield snapshot
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _list(self) -> EngineSnapshot:
        listed_at = self._clock.now()
        info = await self._engine.info()
        networks = await self._engine.networks(self._driver)
        return EngineSnapshot(
            info=info,
            networks=MappingProxyType({network.id: network for network in networks}),
            listed_at=listed_at,
        )

    async def _settle(self, touched: _Touched) -> None:
        """Let a burst pass, so that a hundred container starts cost one look."""
        for _ in range(_MOST_SLICES):
            before = touched.count
            await self._sleep(_SLICE_S)
            if touched.count == before:
                return

    async def _refresh(self, snapshot: EngineSnapshot, touched: _Touched) -> EngineSnapshot:
        network_ids, container_ids = touched.take()
        networks = dict(snapshot.networks)
        network_ids |= {
            network.id
            for network in networks.values()
            if any(e.container_id in container_ids for e in network.endpoints.values())
        }
        for network_id in network_ids:
            if (network := await self._engine.network(network_id)) is not None:
                networks[network.id] = network
            else:
                networks.pop(network_id, None)
        return replace(snapshot, networks=MappingProxyType(networks))


class _Touched:
    """Networks and containers that events named since they were last taken."""

    def __init__(self, driver: str) -> None:
        self.count = 0
        self._driver = driver
        self._network_ids: set[NetworkId] = set()
        self._container_ids: set[str] = set()
        self._changed = asyncio.Event()

    async def collect(self, events: AsyncIterator[EngineEvent]) -> None:
        """Read until the stream breaks; that wakes the waiter too."""
        try:
            async for event in events:
                self._add(event)
        finally:
            self._changed.set()

    async def within(self, deadline_s: float) -> bool:
        """Return whether something was touched before the deadline; not when that is past."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._changed.wait()
                return deadline_s > 0
        return False

    def take(self) -> tuple[set[NetworkId], set[str]]:
        """Return the ids of networks and of containers, and start afresh."""
        taken = self._network_ids, self._container_ids
        self._network_ids, self._container_ids = set(), set()
        self._changed.clear()
        return taken

    def _add(self, event: EngineEvent) -> None:
        match event.kind, event.action:
            case "network", _ if event.attributes.get("type") == self._driver:
                self._network_ids.add(NetworkId(event.id))
            case "container", "rename":
                self._container_ids.add(event.id)
            case _:
                return
        self.count += 1
        self._changed.set()
