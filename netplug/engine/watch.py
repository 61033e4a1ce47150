"""Follows one engine for ever: a full listing first, then only what events name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from types import MappingProxyType

from netplug.clock import Clock
from netplug.contract.engine import (
    ContainerFollower,
    Engine,
    EngineAway,
    EngineEvent,
    EngineSnapshot,
    EngineUpdate,
)
from netplug.engine.inspect import Inspector
from netplug.engine.roster import Roster
from netplug.engine.starts import Starts
from netplug.engine.touched import Touched
from netplug.errors import EngineUnreachable

# A burst is over when a slice passes without an event; the slices of a long one add up to 1 s.
_SLICE_S = 0.1
_MOST_SLICES = 10
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
# dockerd drops the events of a slow reader, and sends none when a dead container is disconnected.
_RELIST_S = 300.0

logger = logging.getLogger(__name__)


class Watcher:
    """Tells what the engine knows of the networks of `driver`, and when it cannot.

    A `follower` is told of all containers, without waiting for a burst to end.
    """

    def __init__(
        self,
        engine: Engine,
        driver: str,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        follower: ContainerFollower | None = None,
    ) -> None:
        self._engine = engine
        self._driver = driver
        self._clock = clock
        self._sleep = sleep
        self._starts = Starts(driver, clock)
        self._roster = Roster(engine, self._starts, *((follower,) if follower else ()))
        self._touched = Touched(driver, self._roster, self._starts)
        self._looked_at_s = 0.0
        self._hurried = asyncio.Event()
        self._inspector = Inspector(engine, self._touched.wake)
        self._engine_id = ""

    async def updates(self) -> AsyncGenerator[EngineUpdate, None]:
        """Yield a snapshot after every listing and burst, and `EngineAway` after every failure.

        Never ends, never raises EngineUnreachable. A slow consumer gets fewer snapshots, not old
        ones. Leave it early only through `contextlib.aclosing`.
        """
        pause_s, is_here, here_since_s = _SHORTEST_PAUSE_S, None, 0.0
        while True:
            problem = ""
            try:
                stream = self._engine.events(self._touched.last_ns)
                async with stream as events, aclosing(self._follow(events)) as seen:
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
            self._roster.lost(self._hurried.set)
            yield EngineAway(problem=problem)
            await self._pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _pause(self, pause_s: float) -> None:
        """Sleep, unless somebody is in a hurry."""
        self._hurried.clear()
        both = [
            asyncio.ensure_future(self._sleep(pause_s)),
            asyncio.ensure_future(self._hurried.wait()),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _follow(
        self, events: AsyncIterator[EngineEvent]
    ) -> AsyncGenerator[EngineSnapshot, None]:
        touched, inspector = self._touched, self._inspector
        reader = asyncio.create_task(touched.collect(events))
        try:
            while True:
                relist_at_s = self._clock.monotonic_s() + _RELIST_S
                self._roster.list_all()
                _, container_ids, _, _ = touched.take()
                if reader.done():
                    await reader
                snapshot = await self._list()
                self._inspect(snapshot, container_ids)
                yield replace(snapshot, containers=inspector.known)
                while await touched.within(relist_at_s - self._clock.monotonic_s()):
                    await self._settle(touched)
                    if reader.done():
                        await reader
                    snapshot = await self._refresh(snapshot, touched)
                    yield replace(snapshot, containers=inspector.known)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await inspector.close()
            await self._roster.close()

    def _inspect(self, snapshot: EngineSnapshot, touched: set[str]) -> None:
        """Have those containers inspected that are new, touched, or not what was listed.

        Those that start are inspected when they have started.
        """
        self._looked_at_s = self._clock.monotonic_s()
        known = self._inspector.known
        listed = [e for n in snapshot.networks.values() for e in n.endpoints.values()]
        changed = {
            e.container_id
            for e in listed
            if (seen := known.get(e.container_id))
            and (seen.name != e.name or e.id not in seen.aliases)
        }
        there = {e.container_id for e in listed} - {""}
        self._inspector.want(there.difference(self._starts.under_way), touched | changed)

    async def _list(self) -> EngineSnapshot:
        listed_at = self._clock.now()
        info = await self._engine.info()
        if info.id != self._engine_id:
            self._engine_id = info.id
            self._inspector.forget()
        networks = await self._engine.networks(self._driver)
        return EngineSnapshot(
            info=info,
            closed_subnets=await self._engine.closed_subnets(),
            beside_us=await self._engine.beside(self._driver),
            networks=MappingProxyType({network.id: network for network in networks}),
            listed_at=listed_at,
        )

    async def _settle(self, touched: Touched) -> None:
        """Let a burst pass, so that a hundred container starts cost one look.

        The last news of the inspector needs no waiting, and a new network gets none: its name is
        what users give next. A container that has started gets none either, unless another one
        starts, or there was a look just now.
        """
        if not touched.has_events and not self._inspector.is_busy:
            return
        for _ in range(_MOST_SLICES):
            before = touched.count
            if touched.has_new_network or (touched.has_started and self._is_calm()):
                return
            await self._sleep(_SLICE_S)
            if touched.count == before:
                return

    def _is_calm(self) -> bool:
        """Return whether no container starts and the last look is not of just now."""
        since_s = self._clock.monotonic_s() - self._looked_at_s
        return not self._starts.under_way and since_s >= _SLICE_S

    async def _refresh(self, snapshot: EngineSnapshot, touched: Touched) -> EngineSnapshot:
        """Look at what was touched.

        It is told with what inspections show, which answer at once; unless one hangs, or a new
        network is to be told.
        """
        has_new_network = touched.has_new_network
        network_ids, container_ids, renamed_ids, has_others = touched.take()
        if has_others:
            snapshot = replace(
                snapshot,
                closed_subnets=await self._engine.closed_subnets(),
                beside_us=await self._engine.beside(self._driver),
            )
        networks = dict(snapshot.networks)
        network_ids |= {
            network.id
            for network in networks.values()
            if any(e.container_id in renamed_ids for e in network.endpoints.values())
        }
        for network_id in network_ids:
            if (network := await self._engine.network(network_id)) is not None:
                networks[network.id] = network
            else:
                networks.pop(network_id, None)
        snapshot = replace(snapshot, networks=MappingProxyType(networks))
        self._inspect(snapshot, container_ids)
        if not has_new_network:
            await self._inspector.settle(_SLICE_S)
        return snapshot
