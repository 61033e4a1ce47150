"""The engine adapter against a real dockerd, with Docker's own bridge driver in pynet's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from integration.lab import Engine, Host
from netplug.clock import SystemClock
from netplug.contract.engine import EngineAway, EngineSnapshot, EngineUpdate
from netplug.engine.client import EngineClient
from netplug.engine.discover import EngineAddress
from netplug.engine.watch import Watcher
from netplug.model import NetworkId

pytestmark = pytest.mark.needs("dockerd")

DRIVER = "bridge"
DEADLINE_S = 15.0

Names = dict[str, set[str]]


@pytest.fixture
def engine(host: Host) -> Iterator[Engine]:
    engine = Engine(host)
    engine.start()
    engine.image("box")
    yield engine
    engine.stop()


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[EngineClient]:
    client = EngineClient(EngineAddress(url=f"unix://{engine.socket}", origin="test"))
    yield client
    await client.close()


async def test_client_reads_the_engine(engine: Engine, client: EngineClient) -> None:
    said = engine.docker_json("info", "--format", "{{json .}}")

    info = await client.info()

    assert (info.id, info.version) == (said["ID"], said["ServerVersion"])
    assert not info.is_live_restore
    assert await client.network("0" * 64) is None


async def test_client_lists_networks_with_their_endpoints(
    engine: Engine, client: EngineClient
) -> None:
    front = engine.docker("network", "create", "front").stdout.strip()
    web = run_box(engine, "web", "front")
    endpoint = engine.docker_json("inspect", "web")[0]["NetworkSettings"]["Networks"]["front"]

    networks = {network.id: network for network in await client.networks(DRIVER)}

    assert {network.name for network in networks.values()} == {"bridge", "front"}
    (listed,) = networks[NetworkId(front)].endpoints.values()
    assert (listed.id, listed.name, listed.container_id) == (endpoint["EndpointID"], "web", web)


async def test_watcher_follows_names(engine: Engine, client: EngineClient) -> None:
    async with aclosing(Watcher(client, DRIVER, SystemClock()).updates()) as updates:
        await until(updates, {"bridge": set()})

        engine.docker("network", "create", "front")
        await until(updates, {"bridge": set(), "front": set()})

        run_box(engine, "web", "front")
        await until(updates, {"bridge": set(), "front": {"web"}})

        engine.docker("rename", "web", "shop")
        await until(updates, {"bridge": set(), "front": {"shop"}})

        engine.docker("network", "connect", "bridge", "shop")
        await until(updates, {"bridge": {"shop"}, "front": {"shop"}})

        engine.docker("network", "disconnect", "front", "shop")
        await until(updates, {"bridge": {"shop"}, "front": set()})

        engine.docker("kill", "shop")
        engine.docker("network", "rm", "front")
        await until(updates, {"bridge": set()})


async def test_watcher_survives_a_restart_of_the_engine(
    engine: Engine, client: EngineClient
) -> None:
    async with aclosing(Watcher(client, DRIVER, SystemClock()).updates()) as updates:
        await until(updates, {"bridge": set()})

        engine.kill()
        assert isinstance(await anext(updates), EngineAway)

        await asyncio.to_thread(engine.start)
        engine.docker("network", "create", "front")
        await until(updates, {"bridge": set(), "front": set()})


def run_box(engine: Engine, name: str, network: str) -> str:
    """Start a container that does nothing, and return its id."""
    words = ("run", "-d", "--name", name, "--network", network, "box", "sleep", "600")
    return engine.docker(*words).stdout.strip()


async def until(updates: AsyncGenerator[EngineUpdate, None], names: Names) -> None:
    """Read updates until one has exactly these container names by network."""
    latest: Names = {}
    try:
        async with asyncio.timeout(DEADLINE_S):
            while latest != names:
                update = await anext(updates)
                if isinstance(update, EngineSnapshot):
                    latest = {
                        network.name: {e.name for e in network.endpoints.values()}
                        for network in update.networks.values()
                    }
    except TimeoutError:
        pytest.fail(f"waited for {names}, the latest is {latest}")
