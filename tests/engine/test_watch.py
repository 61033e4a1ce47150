"""What the watcher tells of networks, and how it outlives the engine."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from ipaddress import ip_network

import pytest

from netplug.contract.engine import (
    EngineAway,
    EngineEvent,
    EngineSnapshot,
)
from netplug.engine.client import EngineClient
from netplug.model import NetworkId, Reached, Way
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
from tests.engine.scripted import (
    START,
    MemoryEngine,
    Naps,
    StillClock,
    engine_with,
    event,
    network,
    snapshot,
    watch,
)


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
