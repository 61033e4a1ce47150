from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from netplug.contract.engine import (
    Engine,
    EngineAway,
    EngineContainer,
    EngineEndpoint,
    EngineEvent,
    EngineInfo,
    EngineNetwork,
    EngineSnapshot,
    EngineUpdate,
    ListedContainer,
)
from netplug.engine.client import EngineClient
from netplug.engine.watch import Watcher
from netplug.errors import EngineUnreachable
from netplug.model import EndpointId, IPNetwork, NetworkId, Reached, Way
from tests.engine.captured import (
    CONNECTED,
    NETWORK_20_10,
    RENAMED_20_10,
    WEB_CONTAINER,
    WEB_ENDPOINT,
    WEB_NETWORK,
    encoded,
)
from tests.engine.dockerd import Dockerd, reply

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


async def test_updates_begin_with_everything_of_our_driver() -> None:
    ours, theirs = network("front", "web"), network("lan", driver="bridge")

    async with aclosing(watch(engine_with([ours, theirs]))) as updates:
        first = await snapshot(updates)

    assert first.networks == {"front": ours}
    assert first.info.version == "20.10.24"
    assert first.listed_at == START


async def test_updates_after_a_burst_look_once_at_what_it_touched() -> None:
    engine = engine_with([network("front"), network("back")])
    naps = Naps()

    async with aclosing(watch(engine, naps)) as updates:
        await snapshot(updates)
        engine.known["front"] = network("front", "web")
        for _ in range(100):
            engine.queue.put_nowait(event("connect", "front"))
        second = await snapshot(updates)

    assert second.networks == engine.known
    assert engine.asked == ["info", "networks", "closed", "front"]
    assert naps.lengths_s == [0.1]


async def test_updates_in_a_burst_without_end_come_after_one_second() -> None:
    engine = engine_with([network("front")])
    naps = Naps(meanwhile=lambda: engine.queue.put_nowait(event("connect", "front")))

    async with aclosing(watch(engine, naps)) as updates:
        await snapshot(updates)
        engine.queue.put_nowait(event("connect", "front"))
        await snapshot(updates)

    assert sum(naps.lengths_s) == pytest.approx(1.0)


async def test_updates_of_a_new_network_come_at_once() -> None:
    engine = engine_with([])
    naps = Naps()

    async with aclosing(watch(engine, naps)) as updates:
        await snapshot(updates)
        engine.known["front"] = network("front")
        engine.queue.put_nowait(event("create", "front"))
        second = await snapshot(updates)

    assert second.networks == engine.known
    assert naps.lengths_s == []


async def test_updates_of_a_new_network_in_a_burst_wait_for_a_slice_of_it() -> None:
    engine = engine_with([network("front")])
    naps = Naps(
        meanwhile=lambda: [
            engine.queue.put_nowait(event(action, "front")) for action in ("connect", "create")
        ].clear()
    )

    async with aclosing(watch(engine, naps)) as updates:
        await snapshot(updates)
        engine.queue.put_nowait(event("connect", "front"))
        await snapshot(updates)

    assert naps.lengths_s == [0.1]


async def test_updates_follow_networks_that_come_and_go() -> None:
    engine = engine_with([network("front")])

    async with aclosing(watch(engine)) as updates:
        await snapshot(updates)
        engine.known = {"back": network("back")}
        engine.queue.put_nowait(event("create", "back"))
        engine.queue.put_nowait(event("destroy", "front"))
        second = await snapshot(updates)

    assert second.networks == engine.known


async def test_updates_after_a_rename_look_at_the_networks_of_the_container() -> None:
    engine = engine_with([network("front", "web"), network("back", "db")])
    renamed = EngineEvent(kind="container", action="rename", id="id-web", attributes={})

    async with aclosing(watch(engine)) as updates:
        await snapshot(updates)
        engine.queue.put_nowait(renamed)
        await snapshot(updates)

    assert engine.asked == ["info", "networks", "closed", "front"]


async def test_updates_ignore_other_drivers_and_other_events() -> None:
    engine = engine_with([network("front", "web")])
    naps = Naps()

    async with aclosing(watch(engine, naps)) as updates:
        await snapshot(updates)
        engine.queue.put_nowait(event("connect", "lan", driver="bridge"))
        engine.queue.put_nowait(
            EngineEvent(kind="container", action="create", id="id-web", attributes={})
        )
        engine.queue.put_nowait(event("connect", "front"))
        await snapshot(updates)

    assert engine.asked == ["info", "networks", "closed", "front"]
    assert naps.lengths_s == [0.1]


@pytest.mark.parametrize("driver", ["bridge", "macvlan"])
@pytest.mark.parametrize("action", ["create", "destroy", "remove"])
async def test_updates_follow_the_subnets_of_networks_of_other_drivers(
    action: str, driver: str
) -> None:
    engine = engine_with([network("front")])
    lan = Reached(network=ip_network("192.0.2.0/24"), way=Way.DOCKER, where="lan (macvlan)")
    engine.closed = frozenset({ip_network("172.17.0.0/16")})

    async with aclosing(watch(engine)) as updates:
        first = await snapshot(updates)
        engine.closed = frozenset({ip_network("172.18.0.0/16")})
        engine.others = frozenset({lan})
        engine.queue.put_nowait(event(action, "lan", driver=driver))
        second = await snapshot(updates)

    assert first.closed_subnets == {ip_network("172.17.0.0/16")}
    assert second.closed_subnets == engine.closed
    assert (first.beside_us, second.beside_us) == (frozenset(), {lan})
    assert engine.asked == ["info", "networks", "closed", "closed"]


async def test_updates_list_everything_again_when_the_listing_is_old() -> None:
    engine = engine_with([network("front")])

    async with aclosing(watch(engine, clock=StillClock(step_s=300.0))) as updates:
        await snapshot(updates)
        engine.queue.put_nowait(event("connect", "front"))
        engine.known["back"] = network("back")
        second = await snapshot(updates)

    assert second.networks == engine.known
    assert engine.asked == ["info", "networks", "closed"] * 2


async def test_updates_without_an_engine_back_off_and_say_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = MemoryEngine(away=7)
    naps = Naps()

    with caplog.at_level(logging.INFO):
        async with aclosing(watch(engine, naps)) as updates:
            away = [await anext(updates) for _ in range(7)]
            await snapshot(updates)

    problem = "no Docker Engine answers at unix:///x: nobody there"
    assert away == [EngineAway(problem=problem)] * 7
    assert naps.lengths_s == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("WARNING", "engine is away"),
        ("INFO", "engine answers"),
    ]


async def test_updates_after_an_outage_begin_anew(caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_with([network("front")])

    with caplog.at_level(logging.INFO):
        async with aclosing(watch(engine)) as updates:
            await snapshot(updates)
            engine.queue.put_nowait(None)
            away = await anext(updates)
            engine.known["back"] = network("back")
            again = await snapshot(updates)

    assert isinstance(away, EngineAway)
    assert again.networks == engine.known
    assert [r.levelname for r in caplog.records] == ["INFO", "WARNING", "INFO"]


async def test_updates_of_an_engine_that_breaks_at_once_come_ever_slower() -> None:
    engine = engine_with([network("front")])
    naps, clock = Naps(), StillClock()

    async with aclosing(watch(engine, naps, clock)) as updates:
        for lasted_s in (1.0, 1.0, 60.0, 1.0):
            await snapshot(updates)
            clock.elapsed_s += lasted_s
            engine.queue.put_nowait(None)
            await anext(updates)
        await snapshot(updates)

    assert [length_s for length_s in naps.lengths_s if length_s != 0.1] == [0.5, 1.0, 0.5, 1.0]


async def test_updates_left_early_leave_no_task() -> None:
    before = asyncio.all_tasks()

    async with aclosing(watch(engine_with([network("front")]))) as updates:
        await snapshot(updates)

    assert asyncio.all_tasks() == before


async def test_updates_over_a_socket_follow_a_rename(
    dockerd: Dockerd, client: EngineClient
) -> None:
    renamed = {WEB_CONTAINER: {"Name": "web2", "EndpointID": WEB_ENDPOINT}}

    async with aclosing(watch(client)) as updates:
        first = await snapshot(updates)
        dockerd.replies[f"/networks/{WEB_NETWORK}"] = reply(
            encoded({**NETWORK_20_10, "Containers": renamed})
        )
        dockerd.send(encoded(RENAMED_20_10))
        second = await snapshot(updates)

    names = [
        [e.name for e in update.networks[NetworkId(WEB_NETWORK)].endpoints.values()]
        for update in (first, second)
    ]
    assert names == [["web", "stray"], ["web2"]]
    assert dockerd.asked("/networks") == 3  # ours, the engine's own, and all


async def test_updates_over_a_socket_survive_a_restart_of_the_engine(
    dockerd: Dockerd, client: EngineClient
) -> None:
    async with aclosing(watch(client)) as updates:
        await snapshot(updates)
        await dockerd.stop()
        gone = [await anext(updates), await anext(updates)]
        await dockerd.start()
        await snapshot(updates)
        dockerd.send(encoded(CONNECTED))
        await snapshot(updates)

    assert [type(update) for update in gone] == [EngineAway, EngineAway]


@pytest.mark.parametrize("path", ["/_ping", "/info", "/networks", f"/networks/{WEB_NETWORK}"])
async def test_updates_over_a_socket_survive_garbage(
    dockerd: Dockerd, client: EngineClient, path: str
) -> None:
    good = dockerd.replies[path]
    dockerd.replies[path] = reply(b"<html>\n")

    async with aclosing(watch(client)) as updates:
        away = await anext(updates)
        dockerd.replies[path] = good
        again = await anext(updates)

    assert isinstance(away, EngineAway)
    assert isinstance(again, EngineSnapshot)


async def test_updates_over_a_socket_survive_garbage_among_events(
    dockerd: Dockerd, client: EngineClient
) -> None:
    async with aclosing(watch(client)) as updates:
        await snapshot(updates)
        dockerd.send(b"<html>\n")
        away = await anext(updates)
        await snapshot(updates)

    assert isinstance(away, EngineAway)


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


async def test_updates_tell_the_containers_after_the_listing() -> None:
    engine = engine_with([network("front", "web"), network("back", "web")])
    engine.inspectable = {"id-web": container("web", "front-web", "back-web")}

    async with aclosing(watch(engine)) as updates:
        first = await snapshot(updates)
        second = await snapshot(updates)

    assert (first.containers, second.containers) == ({}, engine.inspectable)
    assert engine.inspected == ["id-web"]


async def test_updates_after_a_hundred_starts_inspect_each_once_and_few_at_a_time() -> None:
    names = [f"web{number}" for number in range(100)]
    engine = engine_with([network("front", *names)])
    engine.inspectable = {f"id-{name}": container(name, f"front-{name}") for name in names}

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: len(seen.containers) == len(names))

    assert sorted(engine.inspected) == sorted(engine.inspectable)
    assert engine.most_at_once == 8


async def test_updates_while_one_inspection_hangs_tell_the_others() -> None:
    engine = engine_with([network("front", "stuck")])
    engine.gate = asyncio.Event()

    async with aclosing(watch(engine)) as updates:
        await snapshot(updates)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        engine.gate = None
        engine.known["front"] = network("front", "stuck", "web")
        engine.inspectable = {"id-web": container("web", "front-web")}
        engine.queue.put_nowait(event("connect", "front"))
        seen = await until(updates, lambda seen: "id-web" in seen.containers)

    assert set(seen.containers) == {"id-web"}


@pytest.mark.parametrize("action", ["start", "rename", "update"])
async def test_updates_inspect_again_what_an_event_touched(action: str) -> None:
    engine = engine_with([network("front", "web", "db")])
    engine.inspectable = {c: container(c[3:], f"front-{c[3:]}") for c in ("id-web", "id-db")}

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: len(seen.containers) == 2)
        engine.inspectable["id-web"] = container("web", "front-web", service="shop")
        engine.queue.put_nowait(
            EngineEvent(kind="container", action=action, id="id-web", attributes={})
        )
        await until(updates, lambda seen: bool(seen.containers["id-web"].labels))

    assert engine.inspected.count("id-web") == 2
    assert engine.inspected.count("id-db") == 1


async def test_updates_inspect_again_what_has_another_endpoint_than_before() -> None:
    engine = engine_with([network("front", "web")])
    engine.inspectable = {"id-web": container("web", "front-web")}

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: bool(seen.containers))
        engine.known["back"] = network("back", "web")
        engine.inspectable = {"id-web": container("web", "front-web", "back-web")}
        engine.queue.put_nowait(event("create", "back"))
        await until(updates, lambda seen: "back-web" in seen.containers["id-web"].aliases)

    assert engine.inspected == ["id-web"] * 2


async def test_updates_forget_the_container_that_left() -> None:
    engine = engine_with([network("front", "web")])
    engine.inspectable = {"id-web": container("web", "front-web")}

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: bool(seen.containers))
        engine.known["front"] = network("front")
        engine.queue.put_nowait(event("disconnect", "front"))
        last = await snapshot(updates)

    assert last.containers == {}


async def test_updates_after_an_outage_resume_and_keep_what_was_inspected() -> None:
    engine = engine_with([network("front", "web")])
    engine.inspectable = {"id-web": container("web", "front-web")}
    connected = EngineEvent(
        kind="network", action="connect", id="front", attributes={"type": "pynet"}, time_ns=17
    )

    async with aclosing(watch(engine)) as updates:
        await until(updates, lambda seen: bool(seen.containers))
        engine.queue.put_nowait(connected)
        await snapshot(updates)
        engine.queue.put_nowait(None)
        while not isinstance(await anext(updates), EngineAway):
            pass
        again = await snapshot(updates)

    assert engine.resumed_from == [0, 17]
    assert again.containers == engine.inspectable
    assert engine.inspected == ["id-web"]
