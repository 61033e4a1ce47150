"""An engine that says what a test scripts, and a watcher with a clock and a sleep of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from netplug.contract.engine import (
    Engine,
    EngineContainer,
    EngineEndpoint,
    EngineEvent,
    EngineInfo,
    EngineNetwork,
    EngineSnapshot,
    EngineUpdate,
    ListedContainer,
)
from netplug.engine.watch import Watcher
from netplug.errors import EngineUnreachable
from netplug.model import EndpointId, IPNetwork, NetworkId, Reached

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass
class StillClock:
    """Stands still, unless each look at it takes `step_s`."""

    step_s: float = 0.0
    elapsed_s: float = 0.0

    def now(self) -> datetime:
        return START

    def monotonic_s(self) -> float:
        self.elapsed_s += self.step_s
        return self.elapsed_s


@dataclass
class Naps:
    """Records how long was slept, and lets something happen meanwhile."""

    lengths_s: list[float] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    async def __call__(self, length_s: float) -> None:
        self.lengths_s.append(length_s)
        self.meanwhile()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def opened() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@dataclass
class MemoryEngine:
    """An engine in memory: one queue of events, and a count of what it was asked."""

    known: dict[str, EngineNetwork] = field(default_factory=dict)
    closed: frozenset[IPNetwork] = frozenset()
    others: frozenset[Reached] = frozenset()
    away: int = 0
    asked: list[str] = field(default_factory=list)
    inspectable: dict[str, EngineContainer] = field(default_factory=dict)
    listed: dict[str, ListedContainer] = field(default_factory=dict)
    listings: list[frozenset[str]] = field(default_factory=list)
    listing: asyncio.Event = field(default_factory=opened)
    is_mute: bool = False
    inspected: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    gate: asyncio.Event | None = None
    resumed_from: list[int] = field(default_factory=list)
    queue: asyncio.Queue[EngineEvent | None] = field(default_factory=asyncio.Queue)

    async def info(self) -> EngineInfo:
        self.asked.append("info")
        return EngineInfo(id="engine", version="20.10.24", api_version="1.41")

    async def networks(self, driver: str) -> tuple[EngineNetwork, ...]:
        self.asked.append("networks")
        return tuple(n for n in self.known.values() if n.driver == driver)

    async def subnets(self) -> frozenset[IPNetwork]:
        return self.closed

    async def beside(self, driver: str) -> frozenset[Reached]:
        return self.others

    async def closed_subnets(self) -> frozenset[IPNetwork]:
        self.asked.append("closed")
        return self.closed

    async def network(self, network_id: str) -> EngineNetwork | None:
        self.asked.append(network_id)
        return self.known.get(network_id)

    async def containers(self, ids: Collection[str] = ()) -> tuple[ListedContainer, ...]:
        self.listings.append(frozenset(ids))
        found = tuple(c for c in self.listed.values() if not ids or c.id in ids)
        await self.listing.wait()
        if self.is_mute:
            raise EngineUnreachable("unix:///x", "no listing")
        return found

    async def container(self, container_id: str) -> EngineContainer | None:
        self.inspected.append(container_id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        self.at_once -= 1
        return self.inspectable.get(container_id)

    @asynccontextmanager
    async def events(self, since_ns: int = 0) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        self.resumed_from.append(since_ns)
        if self.away:
            self.away -= 1
            raise EngineUnreachable("unix:///x", "nobody there")
        yield self._stream()

    async def _stream(self) -> AsyncIterator[EngineEvent]:
        while (event := await self.queue.get()) is not None:
            yield event
        raise EngineUnreachable("unix:///x", "it ended the stream of events")


def network(name: str, *containers: str, driver: str = "pynet") -> EngineNetwork:
    endpoints = (
        EngineEndpoint(id=EndpointId(f"{name}-{c}"), name=c, container_id=f"id-{c}")
        for c in containers
    )
    return EngineNetwork(
        id=NetworkId(name), name=name, driver=driver, endpoints={e.id: e for e in endpoints}
    )


def event(action: str, network_id: str, driver: str = "pynet") -> EngineEvent:
    return EngineEvent(kind="network", action=action, id=network_id, attributes={"type": driver})


def about(container_id: str, action: str = "create") -> EngineEvent:
    return EngineEvent(kind="container", action=action, id=container_id, attributes={})


def moved(action: str, network_id: str, container_id: str, driver: str = "pynet") -> EngineEvent:
    attributes = {"type": driver, "container": container_id}
    return EngineEvent(kind="network", action=action, id=network_id, attributes=attributes)


def connected(network_id: str, container_id: str, driver: str = "pynet") -> EngineEvent:
    return moved("connect", network_id, container_id, driver)


def engine_with(networks: Iterable[EngineNetwork]) -> MemoryEngine:
    return MemoryEngine(known={n.id: n for n in networks})


def watch(
    engine: Engine, naps: Naps | None = None, clock: StillClock | None = None
) -> AsyncGenerator[EngineUpdate, None]:
    return Watcher(engine, "pynet", clock or StillClock(), naps or Naps()).updates()


async def snapshot(updates: AsyncGenerator[EngineUpdate, None]) -> EngineSnapshot:
    update = await anext(updates)
    assert isinstance(update, EngineSnapshot)
    return update


def container(name: str, *endpoints: str, **more: str) -> EngineContainer:
    return EngineContainer(
        id=f"id-{more.pop('key', name)}",
        name=name,
        labels=more,
        aliases={EndpointId(e): (f"alias-of-{name}",) for e in endpoints},
    )


async def until(
    updates: AsyncGenerator[EngineUpdate, None], holds: Callable[[EngineSnapshot], bool]
) -> EngineSnapshot:
    """Return the first snapshot of which `holds` is true."""
    while not holds(found := await snapshot(updates)):
        pass
    return found
