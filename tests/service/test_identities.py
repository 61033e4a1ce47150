"""What the engine tells: names are taken over at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest

from netplug.contract.engine import EngineAway, EngineContainer, EngineEndpoint, EngineNetwork
from netplug.errors import StoreUnavailable
from netplug.model import Endpoint, Network
from tests.service.world import (
    GRACE,
    NOON,
    World,
    joined,
    known_to_engine,
    network,
    nothing_happens,
    refuse_commits,
)

WEB = network(1)
BEFORE = NOON - timedelta(seconds=1)
PAST_GRACE_S = GRACE.total_seconds() + 1


@pytest.fixture
async def web(world: World) -> Network:
    return await world.networks.create(WEB)


@pytest.fixture
async def container(world: World, web: Network) -> Endpoint:
    return await joined(world, web)


async def test_learn_takes_over_the_names(world: World, web: Network, container: Endpoint) -> None:
    endpoints = {container.id: EngineEndpoint(id=container.id, name="shop")}
    world.engine.listed = {
        web.id: EngineNetwork(id=web.id, name="front", driver="pynet", endpoints=endpoints)
    }

    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    after = await world.restarted()
    assert after.state.view.networks[web.id].name == "front"
    assert after.state.view.endpoints[container.id].name == "shop"


async def test_learn_of_an_endpoint_without_a_name_keeps_the_one_it_has(
    world: World, web: Network, container: Endpoint
) -> None:
    await world.state.commit(puts=(replace(container, name="shop"),))
    endpoints = {container.id: EngineEndpoint(id=container.id, name="")}
    world.engine.listed = {
        web.id: EngineNetwork(id=web.id, name="web", driver="pynet", endpoints=endpoints)
    }

    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    assert world.state.view.endpoints[container.id].name == "shop"


async def test_learn_of_what_is_not_ours_makes_no_record(world: World) -> None:
    world.engine.listed = {
        WEB.id: EngineNetwork(id=WEB.id, name="web", driver="pynet", endpoints={})
    }

    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    assert world.state.view.networks == {}


async def test_learn_of_known_names_writes_nothing(world: World, web: Network) -> None:
    await world.identities.learn(known_to_engine(world))
    kept = world.kept

    await world.identities.learn(known_to_engine(world))

    assert world.kept == kept


async def test_learn_looks_only_at_what_the_engine_says_otherwise(
    world: World, web: Network, container: Endpoint
) -> None:
    """Of 100 000 endpoints, looking at all would hold up everybody at each update."""
    one = known_to_engine(world)
    await world.identities.learn(one)
    by_hand = replace(world.state.view.endpoints[container.id], name="by hand")
    await world.state.commit(puts=(by_hand,))

    await world.identities.learn(replace(one, listed_at=NOON))
    assert world.state.view.endpoints[container.id].name == "by hand"

    seen = EngineContainer(id="c", name="one", labels={}, aliases={container.id: ("shop",)})
    listed = EngineEndpoint(id=container.id, name="one", container_id="c")
    on = replace(one.networks[web.id], endpoints={container.id: listed})
    two = replace(one, networks={web.id: on})
    await world.identities.learn(two)
    assert world.state.view.endpoints[container.id].name == "one"

    await world.identities.learn(replace(two, containers={"c": seen}))
    identity = world.state.view.endpoints[container.id].identity
    assert identity is not None
    assert identity.aliases == ("shop",)


async def test_learn_of_what_could_not_be_kept_keeps_it_the_next_time(
    world: World, web: Network, container: Endpoint
) -> None:
    snapshot = known_to_engine(world)
    on = replace(
        snapshot.networks[web.id],
        endpoints={container.id: EngineEndpoint(id=container.id, name="one")},
    )
    snapshot = replace(snapshot, networks={web.id: on})
    world.store.before_commit = refuse_commits(0, 1)
    with pytest.raises(StoreUnavailable):
        await world.identities.learn(snapshot)
    world.store.before_commit = nothing_happens

    await world.identities.learn(snapshot)

    assert world.state.view.endpoints[container.id].name == "one"


async def test_learn_waits_for_no_network_whose_name_is_the_same(
    world: World, web: Network, container: Endpoint
) -> None:
    busy = await world.networks.create(network(2))
    snapshot = known_to_engine(world)
    on = replace(
        snapshot.networks[web.id],
        endpoints={container.id: EngineEndpoint(id=container.id, name="one")},
    )

    async with world.networks.locks.hold(f"network {busy.id}"), asyncio.timeout(1.0):
        await world.identities.learn(
            replace(snapshot, networks={busy.id: snapshot.networks[busy.id], web.id: on})
        )

    assert world.state.view.endpoints[container.id].name == "one"


async def test_learn_remembers_the_first_engine(world: World) -> None:
    await world.identities.learn(known_to_engine(world))

    assert (await world.restarted()).state.view.host.engine_id == "engine-1"


async def test_learn_keeps_the_engines_own_subnets_while_it_is_away(world: World) -> None:
    world.engine.others = frozenset({ip_network("172.17.0.0/16")})
    before = world.state.view.engine_subnets

    await world.identities.learn(world.engine.snapshot(NOON))
    await world.identities.learn(EngineAway(problem="connection refused"))

    assert (before, world.state.view.engine_subnets) == (None, world.engine.others)


async def test_learn_that_the_engine_is_away_keeps_the_problem(world: World) -> None:
    await world.identities.learn(known_to_engine(world))

    await world.identities.learn(EngineAway(problem="connection refused"))

    assert world.identities.info is None
    assert world.identities.problem == "connection refused"
