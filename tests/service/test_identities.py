"""What the engine tells: names are taken over at once, nothing is removed on one word of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest

from netplug.contract.engine import EngineAway, EngineContainer, EngineEndpoint, EngineNetwork
from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.errors import EngineUnreachable, StoreUnavailable
from netplug.model import Endpoint, Network, Pool
from netplug.service.identities import GRACE, Identities
from netplug.service.standalone import AttachWish, NetworkWish
from tests.service.world import (
    NETNS,
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


async def test_sweep_removes_what_the_engine_has_forgotten(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    await world.identities.sweep()

    assert (world.state.view.networks, world.state.view.endpoints) == ({}, {})
    assert world.built == frozenset()


async def test_sweep_removes_an_endpoint_and_keeps_its_network(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    world.engine.listed = {
        web.id: EngineNetwork(id=web.id, name="web", driver="pynet", endpoints={})
    }
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    await world.identities.sweep()

    assert world.state.view.endpoints == {}
    assert web.id in world.state.view.networks


async def test_sweep_removes_what_came_after_the_listing_at_the_second_sight(
    world: World, web: Network, container: Endpoint
) -> None:
    await world.identities.learn(world.engine.snapshot(BEFORE))
    world.clock.advance(PAST_GRACE_S)

    await world.identities.sweep()
    assert container.id in world.state.view.endpoints
    await world.identities.sweep()

    assert world.state.view.endpoints == {}


async def test_sweep_begins_anew_after_the_engine_was_away(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    snapshot = world.engine.snapshot(BEFORE)

    for update in (snapshot, EngineAway(problem="connection refused"), snapshot):
        await world.identities.learn(update)
        await world.identities.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_keeps_what_is_too_young_to_be_known(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(GRACE.total_seconds())
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    for _ in range(3):
        await world.identities.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_keeps_what_the_engine_knows_when_asked_again(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))
    known_to_engine(world)

    await world.identities.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_keeps_what_the_engine_knew_at_the_last_update(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(known_to_engine(world))
    world.engine.listed = {}

    for _ in range(3):
        await world.identities.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_on_the_word_of_another_engine_removes_nothing(
    world: World, web: Network, container: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    await world.identities.learn(known_to_engine(world))
    world.engine.listed = {}
    world.clock.advance(PAST_GRACE_S)

    await world.identities.learn(world.engine.snapshot(world.clock.now(), "engine-2"))
    for _ in range(3):
        await world.identities.sweep()

    assert container.id in world.state.view.endpoints
    assert world.state.view.host.engine_id == "engine-1"
    assert "another Docker Engine answers than before" in caplog.text


async def test_sweep_while_the_engine_is_away_removes_nothing(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))
    await world.identities.learn(EngineAway(problem="connection refused"))

    for _ in range(3):
        await world.identities.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_that_gets_no_answer_removes_nothing(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))
    world.engine.is_away = True

    with pytest.raises(EngineUnreachable):
        await world.identities.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_before_the_first_update_asks_nothing(world: World, web: Network) -> None:
    world.clock.advance(PAST_GRACE_S)

    await world.identities.sweep()

    assert world.engine.asked == 0
    assert web.id in world.state.view.networks


async def test_sweep_leaves_networks_of_our_own_alone(world: World) -> None:
    await world.standalone.create(NetworkWish(name="web"))
    attached = await world.standalone.attach(AttachWish(network="web", netns=NETNS))
    kept = set(world.kept)

    for _ in range(3):
        world.clock.advance(PAST_GRACE_S)
        await world.identities.learn(world.engine.snapshot(world.clock.now()))
        await world.identities.sweep()

    assert attached.id in world.state.view.endpoints
    assert set(world.kept) == kept


async def test_sweep_releases_a_pool_that_nobody_uses_at_the_second_sight(world: World) -> None:
    pool = await world.addresses.request_pool(
        PoolRequest(space="pynet-local", network=ip_network("10.9.0.0/24"))
    )
    await world.identities.learn(known_to_engine(world))
    world.clock.advance(PAST_GRACE_S)

    await world.identities.sweep()
    assert pool.id in world.state.view.pools
    await world.identities.sweep()

    assert world.state.view.pools == {}


async def test_sweep_judges_each_pool_by_its_own_first_sight(world: World) -> None:
    async def request(subnet: str) -> Pool:
        wish = PoolRequest(space="pynet-local", network=ip_network(subnet))
        return await world.addresses.request_pool(wish)

    await request("10.9.0.0/24")
    await world.identities.learn(known_to_engine(world))
    world.clock.advance(PAST_GRACE_S)
    second = await request("10.10.0.0/24")
    await world.identities.sweep()
    world.clock.advance(PAST_GRACE_S)

    await world.identities.sweep()

    assert set(world.state.view.pools) == {second.id}


async def test_sweep_keeps_a_pool_of_a_network_of_another_driver(world: World) -> None:
    pool = await world.addresses.request_pool(
        PoolRequest(space="pynet-local", network=ip_network("10.9.0.0/24"))
    )
    world.engine.others = frozenset({ip_network("10.9.0.0/24")})
    await world.identities.learn(known_to_engine(world))
    world.clock.advance(PAST_GRACE_S)

    for _ in range(3):
        await world.identities.sweep()

    assert pool.id in world.state.view.pools


async def test_sweep_without_an_engine_releases_what_nobody_uses(world: World) -> None:
    own = await world.standalone.create(NetworkWish(name="web"))
    await world.addresses.request_pool(
        PoolRequest(space="pynet-local", network=ip_network("10.9.0.0/24"))
    )
    alone = Identities(
        endpoints=world.endpoints, addresses=world.addresses, clock=world.clock, engine=None
    )
    world.clock.advance(PAST_GRACE_S)

    for _ in range(2):
        await alone.sweep()

    assert isinstance(own, Network)
    assert set(world.state.view.pools) == set(own.pool_ids)


async def test_sweep_releases_a_lease_that_no_endpoint_has(world: World) -> None:
    web = await world.standalone.create(NetworkWish(name="web"))
    assert isinstance(web, Network)
    attached = await world.standalone.attach(AttachWish(network="web", netns=NETNS))
    pool_id = web.pool_ids[0]
    lost, _ = await world.addresses.request_address(AddressRequest(pool_id=pool_id))
    await world.identities.learn(known_to_engine(world))
    world.clock.advance(PAST_GRACE_S)

    for _ in range(2):
        await world.identities.sweep()

    kept = set(world.state.view.leases_of(pool_id))
    assert lost.address not in kept
    assert kept == {web.subnets[0].gateway.ip, attached.addresses[0].ip}  # type: ignore[union-attr]
