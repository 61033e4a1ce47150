"""Pools and leases: what is granted is stored first, and nothing is granted twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.contract.store import Batch
from netplug.errors import Conflict, NotFound, PoolExhausted, StoreUnavailable
from netplug.model import LeaseKind, Pool, PoolId
from netplug.service.cooldown import Cooldown
from tests.service.world import (
    COOLDOWN_S,
    World,
    network,
    nothing_happens,
    refuse_commits,
)


async def pool_of(world: World, network: str = "10.9.0.0/24") -> Pool:
    return await world.addresses.request_pool(
        PoolRequest(space="pynet-local", network=ip_network(network))
    )


async def test_request_pool_survives_a_restart(world: World) -> None:
    pool = await pool_of(world)

    after = await world.restarted()

    assert after.state.view.pools == {pool.id: pool}


async def test_request_pool_that_is_automatic_avoids_what_the_host_routes(world: World) -> None:
    first = await world.addresses.request_pool(PoolRequest(space="pynet-local"))
    await world.addresses.release_pool(first.id)
    world.kernel.routes[ip_network("10.208.1.0/24")] = "eth0"

    second = await world.addresses.request_pool(PoolRequest(space="pynet-local"))

    assert [str(first.network), str(second.network)] == ["10.208.0.0/24", "10.208.2.0/24"]


async def test_request_pool_after_a_restart_goes_on_behind_the_last(world: World) -> None:
    first = await world.addresses.request_pool(PoolRequest(space="pynet-local"))
    await world.addresses.release_pool(first.id)

    after = await world.restarted()
    second = await after.addresses.request_pool(PoolRequest(space="pynet-local"))

    assert str(second.network) == "10.208.1.0/24"


async def test_request_pool_of_many_at_once_gives_each_its_own(world: World) -> None:
    wish = PoolRequest(space="pynet-local")

    pools = await asyncio.gather(*(world.addresses.request_pool(wish) for _ in range(16)))

    assert len({pool.network for pool in pools}) == 16


async def test_request_pool_that_cannot_be_recorded_grants_nothing(world: World) -> None:
    world.store.before_commit = refuse_commits(0)

    with pytest.raises(StoreUnavailable):
        await pool_of(world)

    assert world.state.view.pools == {}


async def test_release_pool_forgets_its_leases(world: World) -> None:
    kept = world.kept
    pool = await pool_of(world)
    await world.addresses.request_address(AddressRequest(pool_id=pool.id))

    await world.addresses.release_pool(pool.id)
    await world.addresses.release_pool(pool.id)

    assert world.kept == kept


async def test_request_address_of_many_at_once_gives_each_its_own(world: World) -> None:
    pool = await pool_of(world)
    wish = AddressRequest(pool_id=pool.id)

    grants = await asyncio.gather(*(world.addresses.request_address(wish) for _ in range(32)))

    assert len({lease.address for lease, _ in grants}) == 32


async def test_request_address_of_more_than_there_are_gives_all_and_refuses_the_rest(
    world: World,
) -> None:
    pool = await pool_of(world, "10.9.0.0/29")
    wish = AddressRequest(pool_id=pool.id)

    outcomes = await asyncio.gather(
        *(world.addresses.request_address(wish) for _ in range(8)), return_exceptions=True
    )

    assert sum(isinstance(outcome, PoolExhausted) for outcome in outcomes) == 2
    assert len(world.state.view.leases_of(pool.id)) == 6


async def test_request_address_of_an_unknown_pool_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="no pool"):
        await world.addresses.request_address(AddressRequest(pool_id=PoolId("none")))


async def test_request_address_that_cannot_be_recorded_grants_nothing(world: World) -> None:
    pool = await pool_of(world)
    world.store.before_commit = refuse_commits(0)

    with pytest.raises(StoreUnavailable):
        await world.addresses.request_address(AddressRequest(pool_id=pool.id))

    assert world.state.view.leases_of(pool.id) == {}


async def test_release_address_frees_it_and_repeating_it_succeeds(world: World) -> None:
    pool = await pool_of(world)
    wish = AddressRequest(pool_id=pool.id, address=ip_address("10.9.0.7"))
    await world.addresses.request_address(wish)

    await world.addresses.release_address(pool.id, ip_address("10.9.0.7"))
    await world.addresses.release_address(pool.id, ip_address("10.9.0.7"))
    await world.addresses.release_address(PoolId("none"), ip_address("10.9.0.7"))

    lease, _ = await world.addresses.request_address(wish)
    assert str(lease.address) == "10.9.0.7"


async def test_request_address_asks_for_durability(world: World) -> None:
    pool = await pool_of(world)
    batches: list[object] = []
    world.store.before_commit = batches.append

    await world.addresses.request_address(AddressRequest(pool_id=pool.id))

    assert [isinstance(batch, Batch) and batch.is_durable for batch in batches] == [True]


async def test_request_address_on_a_network_is_synced_beside_what_follows(world: World) -> None:
    pool = await pool_of(world)
    await world.networks.create(replace(network(1, "10.9.0.1/24"), pool_ids=(pool.id,)))
    done: list[str] = []
    world.store.before_commit = lambda batch: done.append(f"durable={batch.is_durable}")
    world.store.before_sync = lambda: done.append("sync")

    lease, _ = await world.addresses.request_address(AddressRequest(pool_id=pool.id))
    answered = list(done)
    await world.state.synced()

    assert (answered, done) == (["durable=False"], ["durable=False", "sync"])
    assert world.state.view.leases_of(pool.id)[lease.address] == lease


async def test_request_address_of_a_pool_goes_on_while_others_are_being_written(
    world: World,
) -> None:
    pool = await pool_of(world)
    wish = AddressRequest(pool_id=pool.id)
    async with world.store.held() as arrived:
        tasks = [asyncio.create_task(world.addresses.request_address(wish)) for _ in range(32)]
        for _ in tasks:
            await arrived.get()

    grants = await asyncio.gather(*tasks)

    assert len({lease.address for lease, _ in grants}) == 32


async def test_request_address_that_another_is_about_to_get_names_it(world: World) -> None:
    pool = await pool_of(world)
    wish = AddressRequest(pool_id=pool.id, address=ip_address("10.9.0.7"), owner="db")

    outcomes = await asyncio.gather(
        *(world.addresses.request_address(wish) for _ in range(2)), return_exceptions=True
    )

    (refusal,) = [o for o in outcomes if isinstance(o, Conflict)]
    assert "is leased to db" in str(refusal)


async def test_request_address_that_wraps_round_passes_over_those_under_way(
    world: World,
) -> None:
    pool = await pool_of(world, "10.9.0.0/29")
    gateways, endpoints = (
        AddressRequest(pool_id=pool.id, kind=kind)
        for kind in (LeaseKind.GATEWAY, LeaseKind.DYNAMIC)
    )

    grants = await asyncio.gather(
        *(world.addresses.request_address(wish) for wish in (endpoints, gateways) * 3)
    )

    assert sorted(int(lease.address) & 7 for lease, _ in grants) == [1, 2, 3, 4, 5, 6]


async def test_request_address_that_could_not_be_recorded_is_free_again(world: World) -> None:
    pool = await pool_of(world)
    wish = AddressRequest(pool_id=pool.id, address=ip_address("10.9.0.7"))
    world.store.before_commit = refuse_commits(0)
    with pytest.raises(StoreUnavailable):
        await world.addresses.request_address(wish)
    world.store.before_commit = nothing_happens

    lease, _ = await world.addresses.request_address(wish)

    assert lease.kind is LeaseKind.STATIC


async def test_release_pool_waits_for_addresses_on_their_way(world: World) -> None:
    pool = await pool_of(world)
    kept = world.kept
    async with world.store.held() as arrived:
        asked = asyncio.create_task(
            world.addresses.request_address(AddressRequest(pool_id=pool.id))
        )
        await arrived.get()
        released = asyncio.create_task(world.addresses.release_pool(pool.id))

    await asyncio.gather(asked, released)

    assert {key for key in kept if key[0] != "host"} == {("pool", pool.id)}
    assert {key for key in world.kept if key[0] != "host"} == set()
    assert world.state.view.leases == {}


async def lease_and_release(world: World, pool: Pool) -> str:
    lease, _ = await world.addresses.request_address(AddressRequest(pool_id=pool.id))
    await world.addresses.release_address(pool.id, lease.address)
    return str(lease.address)


async def test_released_address_rests_until_its_time_is_over(world: World) -> None:
    pool = await pool_of(world, "10.9.0.0/29")
    wish = AddressRequest(pool_id=pool.id)
    for _ in range(4):
        await world.addresses.request_address(wish)
    rested = [await lease_and_release(world, pool) for _ in range(2)]
    await world.addresses.release_address(pool.id, ip_address("10.9.0.2"))
    world.clock.advance(COOLDOWN_S - 1)
    await world.addresses.release_address(pool.id, ip_address("10.9.0.1"))
    world.clock.advance(1)

    order = [str((await world.addresses.request_address(wish))[0].address) for _ in range(4)]

    assert rested == ["10.9.0.5", "10.9.0.6"]
    assert order == ["10.9.0.2", "10.9.0.5", "10.9.0.6", "10.9.0.1"]


async def test_released_address_that_is_leased_and_released_again_rests_anew(
    world: World,
) -> None:
    pool = await pool_of(world, "10.9.0.0/30")
    given = AddressRequest(pool_id=pool.id, address=ip_address("10.9.0.1"))
    for _ in range(2):
        await world.addresses.request_address(given)
        await world.addresses.release_address(pool.id, ip_address("10.9.0.1"))
        world.clock.advance(COOLDOWN_S / 2)
    world.clock.advance(1)

    assert await lease_and_release(world, pool) == "10.9.0.2"


async def test_address_that_was_leased_while_it_rested_rests_anew(world: World) -> None:
    pool = await pool_of(world, "10.9.0.0/30")
    given = AddressRequest(pool_id=pool.id, address=ip_address("10.9.0.1"))
    for wait_s in (COOLDOWN_S - 1, 2):
        await world.addresses.request_address(given)
        await world.addresses.release_address(pool.id, ip_address("10.9.0.1"))
        world.clock.advance(wait_s)
    await world.addresses.request_address(given)
    world.clock.advance(COOLDOWN_S - 2)
    await world.addresses.release_address(pool.id, ip_address("10.9.0.1"))
    world.clock.advance(1)

    assert await lease_and_release(world, pool) == "10.9.0.2"


async def test_rest_of_a_pool_that_is_gone_ends_without_a_trace(world: World) -> None:
    pool = await pool_of(world)
    await lease_and_release(world, pool)
    await world.addresses.release_pool(pool.id)
    world.clock.advance(COOLDOWN_S)
    other = await pool_of(world, "10.8.0.0/24")

    await lease_and_release(world, other)

    assert set(world.state.view.leases) == {other.id}


async def test_cooldown_of_zero_lets_nothing_rest(world: World) -> None:
    pool = await pool_of(world)
    addresses = replace(world.addresses, cooldown=Cooldown(0.0))
    lease, _ = await addresses.request_address(AddressRequest(pool_id=pool.id))

    await addresses.release_address(pool.id, lease.address)

    assert world.state.view.leases == {}


async def test_request_address_after_a_restart_does_not_begin_anew(world: World) -> None:
    pool = await pool_of(world)
    first, _ = await world.addresses.request_address(AddressRequest(pool_id=pool.id))
    await world.addresses.release_address(pool.id, first.address)

    after = await world.restarted()
    second, _ = await after.addresses.request_address(AddressRequest(pool_id=pool.id))

    assert second.address == first.address + 1


async def test_remember_engine_survives_a_restart_and_keeps_the_cursor(world: World) -> None:
    await world.addresses.request_pool(PoolRequest(space="pynet-local"))

    await world.addresses.remember_engine("engine-1")

    host = (await world.restarted()).state.view.host
    assert host.engine_id == "engine-1"
    assert str(host.cursor_ipv4) == "10.208.0.0/24"
