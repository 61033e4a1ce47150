"""Networks: made whole or not at all, whatever refuses in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.contract.store import Batch
from netplug.errors import Conflict, InvalidOptions, KernelRefused, NotFound, StoreUnavailable
from netplug.kernel.memory import fail_at
from netplug.model import HostFacts, LeaseKind, NetworkId, NetworkState
from netplug.plan.diff import Create
from netplug.plan.objects import Address, Bridge, Foreign, Key, Veth
from netplug.plan.order import is_of_firewall
from netplug.plan.resolverlink import RESOLVER_LINK, plan_resolver_link
from netplug.settings import HOST_RESOLVER
from tests.service.world import (
    World,
    joined,
    messages,
    network,
    nothing_happens,
    refuse_commits,
    start,
)

DUAL = network(1, "10.9.0.1/24", "fd09::1/64")


async def test_create_makes_the_network_ready_and_its_objects_hold(world: World) -> None:
    made = await world.networks.create(DUAL)

    assert made.state is NetworkState.READY
    assert world.state.view.networks[DUAL.id] == made
    assert not (await world.reconciler.verify()).differences
    assert messages(world) == [
        "network 100000000000 created with driver bridge: 10.9.0.0/24, fd09::/64"
    ]


async def test_create_marks_the_leases_of_auxiliary_addresses(world: World) -> None:
    pool = await world.addresses.request_pool(
        PoolRequest(space="local", network=ip_network("10.9.0.0/24"))
    )
    for address in ("10.9.0.5", "10.9.0.6"):
        await world.addresses.request_address(
            AddressRequest(pool_id=pool.id, address=ip_address(address))
        )
    subnet = replace(network(1, "10.9.0.1/24").subnets[0], aux=(("nas", ip_address("10.9.0.5")),))

    await world.networks.create(
        replace(network(1, "10.9.0.1/24"), subnets=(subnet,), pool_ids=(pool.id,))
    )

    leases = (await world.restarted()).state.view.leases_of(pool.id).values()
    assert [(str(lease.address), lease.kind, lease.owner) for lease in leases] == [
        ("10.9.0.5", LeaseKind.AUX, "nas"),
        ("10.9.0.6", LeaseKind.STATIC, ""),
    ]


async def test_create_survives_a_restart(world: World) -> None:
    made = await world.networks.create(DUAL)
    before = world.kernel.objects

    after = await world.restarted()

    assert after.state.view.networks == {DUAL.id: made}
    assert after.kernel.objects == before
    assert after.reconciler.last is not None
    assert after.reconciler.last.steps == ()


async def test_create_and_delete_survive_a_power_failure(world: World) -> None:
    batches: list[Batch] = []
    world.store.before_commit = batches.append  # type: ignore[assignment]

    await world.networks.create(DUAL)
    created = batches[-1]
    await world.networks.delete(DUAL.id)

    assert [created.is_durable, batches[-1].is_durable] == [True, True]


async def test_create_remembers_the_uplinks_mtu_of_that_day(world: World) -> None:
    world.kernel.host = HostFacts(uplink_mtu_bytes=1420)
    made = await world.networks.create(DUAL)
    world.kernel.host = HostFacts(uplink_mtu_bytes=9000)

    await world.reconciler.run()

    assert made.uplink_mtu_bytes == 1420
    assert {o.mtu_bytes for o in world.built if isinstance(o, Bridge)} == {1420}


async def test_create_repeated_changes_nothing(world: World) -> None:
    made = await world.networks.create(DUAL)
    kept, built = world.kept, world.built

    assert await world.networks.create(DUAL) == made

    assert (world.kept, world.built) == (kept, built)
    assert len(messages(world)) == 1


async def test_create_with_the_id_of_another_is_a_conflict(world: World) -> None:
    await world.networks.create(DUAL)
    other = replace(network(2), id=DUAL.id)

    with pytest.raises(Conflict, match="exists with other options or subnets"):
        await world.networks.create(other)


async def test_create_with_an_unknown_driver_names_the_known_ones(world: World) -> None:
    with pytest.raises(InvalidOptions, match="driver='vxlan': one of bridge is wanted"):
        await world.networks.create(replace(DUAL, driver="vxlan"))

    assert world.state.view.networks == {}


async def test_create_with_bad_options_leaves_nothing(world: World) -> None:
    kept = world.kept

    with pytest.raises(InvalidOptions):
        await world.networks.create(network(1, options=[("mtu", "much")]))

    assert (world.kept, world.built) == (kept, frozenset())


async def test_create_where_a_stranger_has_the_name_leaves_nothing(world: World) -> None:
    stranger = Foreign(key=Bridge(name="br-web").key, description="a bridge link")
    world.kernel.foreign[stranger.key] = stranger
    kept, objects = world.kept, world.kernel.objects

    with pytest.raises(Conflict, match=r"link br-web exists and is not pynet's \(a bridge link\)"):
        await world.networks.create(network(1, options=[("name", "br-web")]))

    assert (world.kept, world.kernel.objects) == (kept, objects)


async def test_create_of_a_subnet_that_the_host_reaches_elsewhere_is_a_conflict(
    world: World,
) -> None:
    world.kernel.routes[ip_network("10.9.0.0/16")] = "eth0"

    with pytest.raises(
        Conflict,
        match=r"subnet 10\.9\.0\.0/24 overlaps 10\.9\.0\.0/16, which is in use on link eth0",
    ):
        await world.networks.create(DUAL)

    assert world.state.view.networks == {}


async def test_create_of_one_subnet_twice_at_once_makes_one(world: World) -> None:
    rival = replace(DUAL, id=NetworkId("f" * 64))

    outcomes = await asyncio.gather(
        world.networks.create(DUAL), world.networks.create(rival), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Network"]
    assert len(world.state.view.networks) == 1
    assert not (await world.reconciler.verify()).differences


async def test_create_of_many_at_once_makes_all(world: World) -> None:
    await asyncio.gather(*(world.networks.create(network(n)) for n in range(1, 33)))

    assert len(world.state.view.networks) == 32
    assert not (await world.reconciler.verify()).differences


async def test_create_refused_at_any_step_leaves_nothing() -> None:
    steps = (await (await start()).networks.preview(DUAL)).steps

    for number, step in enumerate(steps):
        world = await start()
        kept = world.kept
        world.kernel.before_step = fail_at(number)
        with pytest.raises(KernelRefused):
            await world.networks.create(DUAL)

        assert (world.kept, world.built) == (kept, frozenset()), step
        assert world.state.view.networks == {}


@pytest.mark.parametrize("commit", [0, 1])
async def test_create_that_cannot_be_recorded_leaves_nothing(world: World, commit: int) -> None:
    kept = world.kept
    world.store.before_commit = refuse_commits(commit)

    with pytest.raises(StoreUnavailable):
        await world.networks.create(DUAL)

    assert (world.kept, world.built) == (kept, frozenset())
    assert world.state.view.networks == {}


SHARED = plan_resolver_link([HOST_RESOLVER])


async def test_first_network_brings_the_rules_all_share_and_the_last_takes_them_along(
    world: World,
) -> None:
    networks = replace(world.networks, shared=SHARED)
    other = network(2, "10.10.0.1/24")

    def shared() -> set[Key]:
        return {o.key for o in SHARED} & {o.key for o in world.kernel.objects}

    await networks.create(DUAL)
    with_one = shared()
    await networks.create(other)
    await networks.delete(DUAL.id)
    with_other = shared()
    await networks.delete(other.id)

    assert with_one == with_other == {o.key for o in SHARED}
    assert shared() == {o.key for o in SHARED if not is_of_firewall(o)}


async def test_network_is_made_where_what_all_share_is_refused(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    networks = replace(world.networks, shared=SHARED)
    stranger = Foreign(key=Key("link", RESOLVER_LINK), description="a bridge link")
    world.kernel.foreign[stranger.key] = stranger

    made = await networks.create(DUAL)

    assert made.state is NetworkState.READY
    assert "not made yet" in caplog.text


async def test_create_again_after_the_store_was_away_for_good_builds_it(world: World) -> None:
    world.store.before_commit = refuse_commits(1, 2)
    with pytest.raises(StoreUnavailable):
        await world.networks.create(DUAL)
    world.store.before_commit = nothing_happens

    made = await world.networks.create(DUAL)

    assert made.state is NetworkState.READY
    assert not (await world.reconciler.verify()).differences


async def test_create_refused_for_one_leaves_its_neighbour_alone(world: World) -> None:
    await world.networks.create(DUAL)
    built = world.built
    world.kernel.before_step = fail_at(2)

    with pytest.raises(KernelRefused):
        await world.networks.create(network(2))

    assert world.built == built
    assert not (await world.reconciler.verify()).differences


async def test_preview_lists_the_steps_and_changes_nothing(world: World) -> None:
    kept, objects = world.kept, world.kernel.objects

    plan = await world.networks.preview(DUAL)

    assert all(isinstance(step, Create) or step.object.key.kind == "sysctl" for step in plan.steps)
    assert Address(link="py-100000000000", address=DUAL.subnets[0].gateway) in {  # type: ignore[arg-type]
        step.object for step in plan.steps
    }
    assert (world.kept, world.kernel.objects) == (kept, objects)


async def test_delete_leaves_what_was_there_before(world: World) -> None:
    kept = world.kept
    await world.networks.create(DUAL)

    await world.networks.delete(DUAL.id)

    assert (world.kept, world.built) == (kept, frozenset())
    assert messages(world)[-1] == "network 100000000000 deleted"


async def test_delete_takes_the_endpoints_along(world: World) -> None:
    await world.networks.create(DUAL)
    await joined(world, DUAL)

    await world.networks.delete(DUAL.id)

    assert world.state.view.endpoints == {}
    assert world.built == frozenset()


async def test_delete_of_an_unknown_network_succeeds(world: World) -> None:
    await world.networks.delete(NetworkId("f" * 64))

    assert messages(world) == []


async def test_delete_leaves_the_neighbour_and_what_both_share(world: World) -> None:
    await world.networks.create(network(2))
    before = world.kernel.objects
    await world.networks.create(network(1))

    await world.networks.delete(network(1).id)

    assert world.kernel.objects == before


async def test_delete_goes_on_past_each_refusal_and_reconcile_ends_it(world: World) -> None:
    for number in range(5):
        await world.networks.create(DUAL)
        await joined(world, DUAL)
        world.kernel.before_step = fail_at(number)

        await world.networks.delete(DUAL.id)

        assert world.state.view.networks == {}
        assert not [o for o in world.built if isinstance(o, Veth)] or number == 2
        world.kernel.before_step = nothing_happens
        await world.reconciler.run()
        assert world.built == frozenset()


async def test_delete_that_cannot_be_recorded_changes_nothing(world: World) -> None:
    await world.networks.create(DUAL)
    kept, built = world.kept, world.built
    world.store.before_commit = refuse_commits(0)

    with pytest.raises(StoreUnavailable):
        await world.networks.delete(DUAL.id)

    assert (world.kept, world.built) == (kept, built)
    assert DUAL.id in world.state.view.networks


async def test_find_takes_a_name_an_id_or_its_beginning(world: World) -> None:
    made = await world.networks.create(replace(DUAL, name="web"))

    assert world.networks.find("web") == made
    assert world.networks.find(DUAL.id) == made
    assert world.networks.find(DUAL.id[:5]) == made


async def test_find_of_two_with_one_beginning_is_a_conflict(world: World) -> None:
    await world.networks.create(replace(network(1), id=NetworkId("ab" + "1" * 62)))
    await world.networks.create(replace(network(2), id=NetworkId("ab" + "2" * 62)))

    with pytest.raises(Conflict, match="'ab' is ambiguous"):
        world.networks.find("ab")


async def test_find_of_nothing_says_where_to_look(world: World) -> None:
    with pytest.raises(NotFound, match="'pynet network ls' shows what there is"):
        world.networks.find("web")


async def test_find_without_a_name_finds_nothing(world: World) -> None:
    await world.networks.create(DUAL)

    with pytest.raises(NotFound):
        world.networks.find("")
