"""What is removed by itself: what is nobody's, by the word of engine and kernel, seen twice."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network

import pytest

from netplug.contract.engine import EngineAway, EngineNetwork
from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.errors import EngineUnreachable
from netplug.model import Endpoint, Network, Pool
from netplug.service.auditor import Auditor
from netplug.service.identities import Identities
from netplug.service.standalone import AttachWish, NetworkWish
from tests.service.world import (
    GRACE,
    NETNS,
    NOON,
    World,
    joined,
    known_to_engine,
    network,
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


async def test_sweep_removes_what_the_engine_has_forgotten(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    await world.auditor.sweep()
    assert container.id in world.state.view.endpoints
    await world.auditor.sweep()

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

    for _ in range(2):
        await world.auditor.sweep()

    assert world.state.view.endpoints == {}
    assert web.id in world.state.view.networks


async def test_sweep_removes_what_came_after_the_listing_at_the_second_sight(
    world: World, web: Network, container: Endpoint
) -> None:
    await world.identities.learn(world.engine.snapshot(BEFORE))
    world.clock.advance(PAST_GRACE_S)

    await world.auditor.sweep()
    assert container.id in world.state.view.endpoints
    await world.auditor.sweep()

    assert world.state.view.endpoints == {}


async def test_sweep_begins_anew_after_the_engine_was_away(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    snapshot = world.engine.snapshot(BEFORE)

    for update in (snapshot, EngineAway(problem="connection refused"), snapshot):
        await world.identities.learn(update)
        await world.auditor.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_keeps_what_is_too_young_to_be_known(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(GRACE.total_seconds())
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    for _ in range(3):
        await world.auditor.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_keeps_what_the_engine_knows_when_asked_again(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))
    known_to_engine(world)

    await world.auditor.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_keeps_what_the_engine_knew_at_the_last_update(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(known_to_engine(world))
    world.engine.listed = {}

    for _ in range(3):
        await world.auditor.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_on_the_word_of_another_engine_removes_nothing(
    world: World, web: Network, container: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    await world.identities.learn(known_to_engine(world))
    world.engine.listed = {}
    world.clock.advance(PAST_GRACE_S)

    await world.identities.learn(world.engine.snapshot(world.clock.now(), "engine-2"))
    for _ in range(3):
        await world.auditor.sweep()

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
        await world.auditor.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_that_gets_no_answer_removes_nothing(
    world: World, web: Network, container: Endpoint
) -> None:
    world.clock.advance(PAST_GRACE_S)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))
    world.engine.is_away = True

    with pytest.raises(EngineUnreachable):
        await world.auditor.sweep()

    assert container.id in world.state.view.endpoints


async def test_sweep_before_the_first_update_asks_nothing(world: World, web: Network) -> None:
    world.clock.advance(PAST_GRACE_S)

    await world.auditor.sweep()

    assert world.engine.asked == 0
    assert web.id in world.state.view.networks


async def test_sweep_leaves_networks_of_our_own_alone(world: World) -> None:
    await world.standalone.create(NetworkWish(name="web"))
    attached = await world.standalone.attach(AttachWish(network="web", netns=NETNS))
    kept = set(world.kept)

    for _ in range(3):
        world.clock.advance(PAST_GRACE_S)
        await world.identities.learn(world.engine.snapshot(world.clock.now()))
        await world.auditor.sweep()

    assert attached.id in world.state.view.endpoints
    assert set(world.kept) == kept


async def test_sweep_releases_a_pool_that_nobody_uses_at_the_second_sight(world: World) -> None:
    pool = await world.addresses.request_pool(
        PoolRequest(space="pynet-local", network=ip_network("10.9.0.0/24"))
    )
    await world.identities.learn(known_to_engine(world))
    world.clock.advance(PAST_GRACE_S)

    await world.auditor.sweep()
    assert pool.id in world.state.view.pools
    await world.auditor.sweep()

    assert world.state.view.pools == {}


async def test_sweep_judges_each_pool_by_its_own_first_sight(world: World) -> None:
    async def request(subnet: str) -> Pool:
        wish = PoolRequest(space="pynet-local", network=ip_network(subnet))
        return await world.addresses.request_pool(wish)

    await request("10.9.0.0/24")
    await world.identities.learn(known_to_engine(world))
    world.clock.advance(PAST_GRACE_S)
    second = await request("10.10.0.0/24")
    await world.auditor.sweep()
    world.clock.advance(PAST_GRACE_S)

    await world.auditor.sweep()

    assert set(world.state.view.pools) == {second.id}


async def test_sweep_keeps_a_pool_of_a_network_of_another_driver(world: World) -> None:
    pool = await world.addresses.request_pool(
        PoolRequest(space="pynet-local", network=ip_network("10.9.0.0/24"))
    )
    world.engine.others = frozenset({ip_network("10.9.0.0/24")})
    await world.identities.learn(known_to_engine(world))
    world.clock.advance(PAST_GRACE_S)

    for _ in range(3):
        await world.auditor.sweep()

    assert pool.id in world.state.view.pools


async def test_sweep_without_an_engine_releases_what_nobody_uses(world: World) -> None:
    own = await world.standalone.create(NetworkWish(name="web"))
    await world.addresses.request_pool(
        PoolRequest(space="pynet-local", network=ip_network("10.9.0.0/24"))
    )
    told = Identities(
        endpoints=world.endpoints, addresses=world.addresses, clock=world.clock, engine=None
    )
    alone = Auditor(
        endpoints=world.endpoints, addresses=world.addresses, identities=told, grace=GRACE
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
        await world.auditor.sweep()

    kept = set(world.state.view.leases_of(pool_id))
    assert lost.address not in kept
    assert kept == {web.subnets[0].gateway.ip, attached.addresses[0].ip}  # type: ignore[union-attr]
