"""Endpoints, in the order in which dockerd asks, and out of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from netplug.errors import Conflict, InvalidOptions, KernelRefused, NotFound, StoreUnavailable
from netplug.kernel.memory import fail_at
from netplug.model import EndpointId, Network, NetworkId
from netplug.plan.diff import Change, Create, Delete, Step
from netplug.plan.objects import Veth
from netplug.service.endpoints import mac_for
from tests.service.world import (
    DOCKERS_SANDBOX,
    World,
    endpoint,
    joined,
    messages,
    network,
    nothing_happens,
    refuse_commits,
    start,
)

WEB = network(1, "10.9.0.1/24", "fd09::1/64")
ONE = endpoint(WEB)


@pytest.fixture
async def on_web(world: World) -> Network:
    return await world.networks.create(WEB)


def veths(world: World) -> set[str]:
    return {o.name for o in world.built if isinstance(o, Veth)}


async def test_create_records_and_builds_nothing(world: World, on_web: Network) -> None:
    built = world.built

    assert await world.endpoints.create(ONE) == ONE

    assert world.state.view.endpoints == {ONE.id: ONE}
    assert world.built == built
    assert messages(world)[-1] == ("endpoint 200000000000 created on 100000000000: 10.9.0.2/24")


async def test_build_ahead_makes_the_link_that_join_then_finds(
    world: World, on_web: Network
) -> None:
    await world.endpoints.create(ONE)

    await world.endpoints.build_ahead(on_web.id, ONE.id)

    assert veths(world) == {"pyv200000000000"}
    assert not (await world.reconciler.verify()).differences
    made: list[Step] = []
    world.kernel.before_step = made.append
    await world.endpoints.join(on_web.id, ONE.id, DOCKERS_SANDBOX, is_lent=True)
    assert not [step for step in made if isinstance(step, Create | Change)]


async def test_build_ahead_of_what_is_gone_or_joined_changes_nothing(
    world: World, on_web: Network
) -> None:
    await world.endpoints.build_ahead(NetworkId("f" * 64), ONE.id)
    await world.endpoints.build_ahead(on_web.id, ONE.id)
    assert veths(world) == set()
    await joined(world, on_web)
    (veth,) = (o for o in world.built if isinstance(o, Veth))
    await world.kernel.apply(Delete(veth))
    built = world.built

    await world.endpoints.build_ahead(on_web.id, ONE.id)

    assert world.built == built


async def test_build_ahead_that_is_refused_is_left_to_join(world: World, on_web: Network) -> None:
    await world.endpoints.create(ONE)
    world.kernel.before_step = fail_at(0)

    await world.endpoints.build_ahead(on_web.id, ONE.id)

    assert veths(world) == set()
    world.kernel.before_step = nothing_happens
    await world.endpoints.join(on_web.id, ONE.id, DOCKERS_SANDBOX, is_lent=True)
    assert veths(world) == {"pyv200000000000"}


async def test_delete_before_join_takes_what_was_built_ahead(world: World, on_web: Network) -> None:
    kept, built = world.kept, world.built
    await world.endpoints.create(ONE)
    await world.endpoints.build_ahead(on_web.id, ONE.id)

    await world.endpoints.delete(ONE.id)

    assert (world.kept, world.built) == (kept, built)


async def test_create_on_an_unknown_network_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="no network '100000000000'"):
        await world.endpoints.create(ONE)


async def test_create_repeated_returns_the_first(world: World, on_web: Network) -> None:
    first = await joined(world, on_web)

    assert await world.endpoints.create(ONE) == first


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, mac="02:42:00:00:00:99"),
        replace(ONE, addresses=(ip_interface("10.9.0.9/24"),)),
    ],
)
async def test_create_with_the_id_of_another_is_a_conflict(
    world: World, on_web: Network, other: object
) -> None:
    await world.endpoints.create(ONE)

    with pytest.raises(Conflict, match="exists with other addresses"):
        await world.endpoints.create(other)  # type: ignore[arg-type]


async def test_create_with_unknown_options_records_nothing(world: World, on_web: Network) -> None:
    with pytest.raises(InvalidOptions, match="unknown option 'speed'"):
        await world.endpoints.create(replace(ONE, options=(("speed", "9"),)))

    assert world.state.view.endpoints == {}


async def test_join_builds_the_link_and_says_where_it_leads(world: World, on_web: Network) -> None:
    await world.endpoints.create(ONE)

    attached = await world.endpoints.join(on_web.id, ONE.id, DOCKERS_SANDBOX, is_lent=True)

    assert attached.link == "pyp200000000000"
    assert [str(g) for g in attached.gateways] == ["10.9.0.1"]
    assert veths(world) == {"pyv200000000000"}
    assert world.state.view.endpoints[ONE.id].is_lent
    assert not (await world.reconciler.verify()).differences


async def test_join_introduces_the_endpoint_to_the_host(world: World, on_web: Network) -> None:
    made = await joined(world, on_web)

    (address,) = made.addresses
    assert world.kernel.introduced == {("py-100000000000", address.ip): made.mac}


async def test_join_that_cannot_sync_the_leases_builds_nothing(
    world: World, on_web: Network
) -> None:
    def refuse() -> None:
        raise StoreUnavailable("state.db", "the disk says no")

    await world.endpoints.create(ONE)
    await world.endpoints.build_ahead(on_web.id, ONE.id)
    built = world.built
    world.store.before_sync = refuse
    world.state.sync_soon()

    with pytest.raises(StoreUnavailable, match="the disk says no"):
        await world.endpoints.join(on_web.id, ONE.id, DOCKERS_SANDBOX, is_lent=True)

    assert world.built == built
    assert not world.state.view.endpoints[ONE.id].sandbox


async def test_join_repeated_changes_nothing(world: World, on_web: Network) -> None:
    await joined(world, on_web)
    kept, built = world.kept, world.built

    await joined(world, on_web)

    assert (world.kept, world.built) == (kept, built)


async def test_join_of_another_sandbox_is_a_conflict(world: World, on_web: Network) -> None:
    await joined(world, on_web)

    with pytest.raises(Conflict, match=f"is in sandbox {DOCKERS_SANDBOX}"):
        await world.endpoints.join(on_web.id, ONE.id, "/run/netns/other", is_lent=True)


async def test_join_of_what_is_not_there_is_not_found(world: World, on_web: Network) -> None:
    with pytest.raises(NotFound, match="no endpoint"):
        await world.endpoints.join(on_web.id, ONE.id, DOCKERS_SANDBOX, is_lent=True)
    with pytest.raises(NotFound, match="no network"):
        await world.endpoints.join(NetworkId("f" * 64), ONE.id, DOCKERS_SANDBOX, is_lent=True)


async def test_join_refused_leaves_what_was_there_before(world: World, on_web: Network) -> None:
    await world.endpoints.create(ONE)
    kept = world.kept
    world.kernel.before_step = fail_at(0)

    with pytest.raises(KernelRefused):
        await world.endpoints.join(on_web.id, ONE.id, DOCKERS_SANDBOX, is_lent=True)

    assert world.kept == kept
    assert not (await world.reconciler.verify()).differences


async def test_join_that_cannot_be_recorded_leaves_nothing(world: World, on_web: Network) -> None:
    await world.endpoints.create(ONE)
    await world.endpoints.build_ahead(on_web.id, ONE.id)
    kept, built = world.kept, world.built
    world.store.before_commit = refuse_commits(0)

    with pytest.raises(StoreUnavailable):
        await world.endpoints.join(on_web.id, ONE.id, DOCKERS_SANDBOX, is_lent=True)

    assert (world.kept, world.built) == (kept, built)


async def test_join_repeated_that_is_refused_keeps_the_running_containers_link(
    world: World, on_web: Network
) -> None:
    await joined(world, on_web)
    (veth,) = (o for o in world.built if isinstance(o, Veth))
    await world.kernel.apply(Delete(veth))
    await world.kernel.apply(Create(replace(veth, mtu_bytes=1400)))
    world.kernel.before_step = fail_at(0)

    with pytest.raises(KernelRefused):
        await joined(world, on_web)

    assert veths(world) == {veth.name}


async def test_join_repeated_that_cannot_be_recorded_keeps_the_running_containers_link(
    world: World, on_web: Network
) -> None:
    await joined(world, on_web)
    built = world.built
    world.store.before_commit = refuse_commits(0)

    with pytest.raises(StoreUnavailable):
        await joined(world, on_web)

    assert world.built == built


async def test_leave_keeps_the_link_that_dockerd_takes_back(world: World, on_web: Network) -> None:
    await joined(world, on_web)
    kept, built = world.kept, world.built

    await world.endpoints.leave(ONE.id)

    assert (world.kept, world.built) == (kept, built)
    assert messages(world)[-1] == "endpoint 200000000000 left"


async def test_leave_of_an_unknown_endpoint_succeeds(world: World) -> None:
    await world.endpoints.leave(ONE.id)

    assert messages(world) == []


async def test_delete_leaves_what_was_there_before(world: World, on_web: Network) -> None:
    kept, built = world.kept, world.built
    await joined(world, on_web)

    await world.endpoints.delete(ONE.id)

    assert (world.kept, world.built) == (kept, built)


async def test_delete_of_an_unknown_endpoint_succeeds(world: World) -> None:
    await world.endpoints.delete(ONE.id)

    assert messages(world) == []


async def test_delete_after_the_sandbox_took_the_link_along_succeeds(
    world: World, on_web: Network
) -> None:
    await joined(world, on_web)
    await world.kernel.apply(Delete(Veth(name="pyv200000000000")))

    await world.endpoints.delete(ONE.id)

    assert world.state.view.endpoints == {}


async def test_delete_refused_forgets_the_endpoint_and_reconcile_ends_it(
    world: World, on_web: Network
) -> None:
    await joined(world, on_web)
    world.kernel.before_step = fail_at(0)

    await world.endpoints.delete(ONE.id)

    assert world.state.view.endpoints == {}
    assert veths(world) == {"pyv200000000000"}
    world.kernel.before_step = nothing_happens
    await world.reconciler.run()
    assert veths(world) == set()


async def test_join_of_many_at_once_attaches_each(world: World, on_web: Network) -> None:
    made = await asyncio.gather(*(joined(world, on_web, number) for number in range(2, 34)))

    assert len({e.mac for e in made}) == len(veths(world)) == 32
    assert not (await world.reconciler.verify()).differences


async def test_delete_of_many_at_once_while_others_come_keeps_the_books(
    world: World, on_web: Network
) -> None:
    gone = [await joined(world, on_web, number) for number in range(2, 12)]

    await asyncio.gather(
        *(world.endpoints.delete(e.id) for e in gone),
        *(joined(world, on_web, number) for number in range(12, 22)),
    )

    assert len(world.state.view.endpoints) == len(veths(world)) == 10
    assert not (await world.reconciler.verify()).differences


async def test_join_refused_at_any_step_inside_a_namespace_leaves_nothing() -> None:
    for number in range(2):
        world = await start()
        on_web = await world.networks.create(WEB)
        filled = replace(ONE, interface="eth0")
        await world.endpoints.create(filled)
        built = world.built
        world.kernel.before_step = fail_at(number)

        with pytest.raises(KernelRefused):
            await world.endpoints.join(on_web.id, ONE.id, "/run/netns/a", is_lent=False)

        assert world.built == built


async def test_find_takes_a_name_an_id_or_its_beginning(world: World, on_web: Network) -> None:
    made = await world.endpoints.create(replace(ONE, name="a"))

    assert world.endpoints.find("a") == made
    assert world.endpoints.find(made.id) == made
    assert world.endpoints.find(made.id[:6]) == made


async def test_find_of_several_or_none_says_what_to_do(world: World, on_web: Network) -> None:
    for number in (2, 3):
        await world.endpoints.create(replace(endpoint(on_web, number), name="a"))

    with pytest.raises(Conflict, match="'a' is ambiguous; give the beginning of its id"):
        world.endpoints.find("a")
    with pytest.raises(NotFound, match="'pynet endpoint ls' shows what there is"):
        world.endpoints.find("b")


async def test_find_without_a_name_finds_nothing(world: World, on_web: Network) -> None:
    await world.endpoints.create(ONE)

    with pytest.raises(NotFound):
        world.endpoints.find("")


@pytest.mark.parametrize(
    ("addresses", "mac"),
    [
        (["10.9.0.2/24"], "02:42:0a:09:00:02"),
        (["fd09::2/64", "10.9.0.2/24"], "02:42:0a:09:00:02"),
    ],
)
def test_mac_for_an_ipv4_address_spells_it(addresses: list[str], mac: str) -> None:
    assert mac_for(tuple(map(ip_interface, addresses)), ONE.id) == mac


def test_mac_for_ipv6_depends_on_the_address_and_not_on_the_endpoint() -> None:
    one, other = (ip_interface("fd09::2/64"),), (ip_interface("fd09::3/64"),)

    assert mac_for(one, ONE.id) == mac_for(one, EndpointId("f" * 64)) != mac_for(other, ONE.id)
    assert mac_for(one, ONE.id).startswith("02:43:")


def test_mac_for_no_address_depends_on_the_endpoint() -> None:
    assert mac_for((), ONE.id) == mac_for((), ONE.id) != mac_for((), EndpointId("f" * 64))
