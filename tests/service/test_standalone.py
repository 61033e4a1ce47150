"""Networks and attachments without Docker, each whole or not at all."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from netplug.errors import Conflict, InvalidOptions, InvalidRequest, KernelRefused, NotFound
from netplug.kernel.memory import fail_at
from netplug.model import LeaseKind, Network, Origin, PoolId
from netplug.plan.diff import Delete, Plan
from netplug.plan.objects import SandboxLink, Veth
from netplug.service.standalone import AttachWish, NetworkWish, SubnetWish
from tests.service.uplinks import GATEWAY, on_uplinks
from tests.service.world import (
    NETNS,
    World,
    joined,
    network,
    nothing_happens,
    refuse_commits,
    start,
)

WEB = NetworkWish(
    name="web",
    subnets=(SubnetWish(pool=ip_network("10.9.0.0/24"), gateway=ip_address("10.9.0.254")),),
)
DUAL = NetworkWish(name="dual", has_ipv6=True)


async def made(world: World, wish: NetworkWish = WEB) -> Network:
    network = await world.standalone.create(wish)
    assert isinstance(network, Network)
    return network


async def test_create_takes_the_wanted_subnet_and_gateway(world: World) -> None:
    web = await made(world)

    assert web.origin is Origin.PYNET
    assert [str(s.gateway) for s in web.subnets] == ["10.9.0.254/24"]
    (lease,) = world.state.view.leases_of(web.pool_ids[0]).values()
    assert lease.kind is LeaseKind.GATEWAY
    assert not (await world.reconciler.verify()).differences


async def test_create_without_subnets_chooses_one_of_each_family(world: World) -> None:
    dual = await made(world, DUAL)

    assert [s.pool.version for s in dual.subnets] == [4, 6]
    assert dual.subnets[1].pool.subnet_of(world.state.view.host.ula)  # type: ignore[arg-type]


async def test_create_of_one_family_only_asks_for_no_other(world: World) -> None:
    only = await made(world, NetworkWish(name="six", has_ipv4=False, has_ipv6=True))

    assert [s.pool.version for s in only.subnets] == [6]


async def test_create_of_a_name_in_use_is_a_conflict(world: World) -> None:
    await made(world)
    kept = world.kept

    with pytest.raises(Conflict, match="network web exists"):
        await made(world)

    assert world.kept == kept


async def test_create_of_one_name_twice_at_once_makes_one(world: World) -> None:
    wish = NetworkWish(name="web")

    outcomes = await asyncio.gather(
        world.standalone.create(wish), world.standalone.create(wish), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Network"]


async def test_create_with_bad_options_gives_its_pools_back(world: World) -> None:
    with pytest.raises(InvalidOptions):
        await made(world, NetworkWish(name="web", options=(("mtu", "much"),)))

    assert world.state.view.pools == {}


async def test_create_refused_at_any_step_leaves_nothing() -> None:
    for number in range(5):
        world = await start()
        world.kernel.before_step = fail_at(number)

        with pytest.raises(KernelRefused):
            await made(world)

        assert world.built == frozenset()
        assert {kind for kind, _ in world.kept} == {"host"}


async def test_create_that_cannot_be_recorded_leaves_nothing() -> None:
    for number in range(4):
        world = await start()
        world.store.before_commit = refuse_commits(number)

        with pytest.raises(Exception, match="the test says so"):
            await made(world)

        assert world.built == frozenset()
        assert {kind for kind, _ in world.kept} == {"host"}, number


async def test_create_dry_lists_the_steps_and_keeps_nothing(world: World) -> None:
    objects = world.kernel.objects

    plan = await world.standalone.create(WEB, is_dry=True)

    assert isinstance(plan, Plan)
    assert plan.steps
    assert world.kernel.objects == objects
    assert {kind for kind, _ in world.kept} == {"host"}


async def test_delete_gives_everything_back(world: World) -> None:
    await made(world)

    await world.standalone.delete("web")

    assert world.built == frozenset()
    assert {kind for kind, _ in world.kept} == {"host"}


async def test_delete_of_dockers_network_says_which_command_does_it(world: World) -> None:
    await world.networks.create(network(1))

    with pytest.raises(Conflict, match="use 'docker network rm 100000000000'"):
        await world.standalone.delete("1000")


async def test_delete_with_endpoints_names_them(world: World) -> None:
    await made(world)
    await world.standalone.attach(AttachWish(network="web", netns=NETNS, name="a"))

    with pytest.raises(Conflict, match="has endpoints: a; detach them"):
        await world.standalone.delete("web")


async def test_attach_fills_the_namespace(world: World) -> None:
    await made(world, DUAL)

    attached = await world.standalone.attach(AttachWish(network="dual", netns=NETNS, name="a"))

    (inside,) = (o for o in world.built if isinstance(o, SandboxLink))
    assert (inside.name, inside.netns, inside.mac) == ("eth0", NETNS, attached.mac)
    assert [a.version for a in inside.addresses] == [4, 6]
    assert len(inside.gateways) == 2
    assert not (await world.reconciler.verify()).differences


async def test_attach_survives_a_restart(world: World) -> None:
    await made(world)
    attached = await world.standalone.attach(AttachWish(network="web", netns=NETNS))
    built = world.built

    after = await world.restarted()

    assert after.built == built
    assert after.state.view.endpoints == {attached.id: attached}


@pytest.mark.parametrize(
    "wish",
    [
        AttachWish(network="web", netns=NETNS, name="DB"),
        AttachWish(network="web", netns=NETNS, name="a", aliases=("ok", "db")),
    ],
)
async def test_attach_under_a_name_that_is_recorded_is_a_conflict(
    world: World, wish: AttachWish
) -> None:
    await made(world)
    await world.records.add("web", "db", ["10.0.0.9"])
    kept = world.kept

    with pytest.raises(Conflict, match="is recorded on network web; 'pynet dns rm db --network"):
        await world.standalone.attach(wish)

    assert world.kept == kept


async def test_attach_twice_to_one_namespace_numbers_the_interfaces(world: World) -> None:
    await made(world)
    await made(world, DUAL)

    first = await world.standalone.attach(AttachWish(network="web", netns=NETNS))
    second = await world.standalone.attach(AttachWish(network="dual", netns=NETNS))

    assert [first.interface, second.interface] == ["eth0", "eth1"]


async def test_attach_takes_the_wanted_address_name_and_mac(world: World) -> None:
    await made(world)

    attached = await world.standalone.attach(
        AttachWish(
            network="web",
            netns=NETNS,
            name="a",
            addresses=(ip_address("10.9.0.77"),),
            interface="lan0",
            mac="02:00:00:00:00:07",
        )
    )

    assert [str(a) for a in attached.addresses] == ["10.9.0.77/24"]
    assert (attached.interface, attached.mac) == ("lan0", "02:00:00:00:00:07")


async def test_attach_of_an_address_elsewhere_names_the_subnets(world: World) -> None:
    await made(world)
    kept = world.kept

    with pytest.raises(InvalidRequest, match=r"192\.0\.2\.1 is not in web \(10\.9\.0\.0/24\)"):
        await world.standalone.attach(
            AttachWish(network="web", netns=NETNS, addresses=(ip_address("192.0.2.1"),))
        )

    assert world.kept == kept


async def test_attach_of_two_addresses_of_one_family_is_refused(world: World) -> None:
    await made(world)
    kept = world.kept
    addresses = (ip_address("10.9.0.7"), ip_address("10.9.0.8"))

    with pytest.raises(InvalidRequest, match="one address of each family"):
        await world.standalone.attach(AttachWish(network="web", netns=NETNS, addresses=addresses))

    assert world.kept == kept


async def test_attach_to_a_process_is_not_taken_up_again_by_another_of_its_number(
    world: World,
) -> None:
    await made(world)
    world.kernel.namespaces.add("/proc/4711/ns/net")
    attached = await world.standalone.attach(AttachWish(network="web", netns="/proc/4711/ns/net"))
    await world.kernel.apply(Delete(Veth(name=f"pyv{attached.short_id}")))

    await world.reconciler.run()

    assert not [o for o in world.built if isinstance(o, SandboxLink)]


async def test_attach_of_a_name_in_use_is_a_conflict(world: World) -> None:
    await made(world)
    await world.standalone.attach(AttachWish(network="web", netns=NETNS, name="a"))

    with pytest.raises(Conflict, match="endpoint a exists on network web"):
        await world.standalone.attach(AttachWish(network="web", netns=NETNS, name="a"))


async def test_attach_to_dockers_network_says_which_command_does_it(world: World) -> None:
    await world.networks.create(network(1))

    with pytest.raises(Conflict, match="use 'docker network connect 100000000000 CONTAINER'"):
        await world.standalone.attach(AttachWish(network="1000", netns=NETNS))


@pytest.mark.parametrize("netns", ["/run/netns/no-such", NETNS])
async def test_attach_refused_leaves_nothing(world: World, netns: str) -> None:
    await made(world, DUAL)
    world.kernel.before_step = fail_at(1)
    leases = dict(world.state.view.leases)

    with pytest.raises(KernelRefused):
        await world.standalone.attach(AttachWish(network="dual", netns=netns))

    assert world.state.view.endpoints == {}
    assert dict(world.state.view.leases) == leases
    assert not (await world.reconciler.verify()).differences


async def test_attach_again_after_a_refusal_works(world: World) -> None:
    await made(world)
    with pytest.raises(KernelRefused):
        await world.standalone.attach(AttachWish(network="web", netns="/run/netns/later"))
    world.kernel.namespaces.add("/run/netns/later")

    await world.standalone.attach(AttachWish(network="web", netns="/run/netns/later"))

    assert not (await world.reconciler.verify()).differences


async def test_detach_gives_the_addresses_back(world: World) -> None:
    await made(world)
    kept_leases, built = dict(world.state.view.leases), world.built
    await world.standalone.attach(AttachWish(network="web", netns=NETNS, name="a"))

    await world.standalone.detach("a")

    assert (dict(world.state.view.leases), world.built) == (kept_leases, built)
    assert world.state.view.endpoints == {}


async def test_detach_of_dockers_endpoint_says_which_command_does_it(world: World) -> None:
    web = await world.networks.create(network(1))
    await joined(world, web)

    with pytest.raises(Conflict, match="use 'docker network disconnect NETWORK 200000000000'"):
        await world.standalone.detach("2000")


async def test_detach_of_nothing_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await world.standalone.detach("a")


async def test_attach_of_many_at_once_gives_each_its_own_address(world: World) -> None:
    await made(world)
    paths = [f"/run/netns/{number}" for number in range(32)]
    world.kernel.namespaces.update(paths)
    world.let(nothing_happens)

    attached = await asyncio.gather(
        *(world.standalone.attach(AttachWish(network="web", netns=path)) for path in paths)
    )

    assert len({e.addresses for e in attached}) == 32
    assert not (await world.reconciler.verify()).differences


async def test_attach_of_two_at_once_to_one_namespace_names_two_interfaces(world: World) -> None:
    await made(world)
    await made(world, DUAL)

    attached = await asyncio.gather(
        world.standalone.attach(AttachWish(network="web", netns=NETNS)),
        world.standalone.attach(AttachWish(network="dual", netns=NETNS)),
    )

    assert {e.interface for e in attached} == {"eth0", "eth1"}


async def test_create_spares_auxiliary_addresses_even_the_first(world: World) -> None:
    subnet = SubnetWish(pool=ip_network("10.9.0.0/29"), aux=(("router", ip_address("10.9.0.1")),))
    web = await made(world, NetworkWish(name="web", subnets=(subnet,)))

    attached = await world.standalone.attach(AttachWish(network="web", netns=NETNS))

    (kept,) = web.subnets
    assert (kept.aux, str(kept.gateway)) == ((("router", ip_address("10.9.0.1")),), "10.9.0.2/29")
    lease = world.state.view.leases_of(PoolId("pynet-local/10.9.0.0/29"))[ip_address("10.9.0.1")]
    assert (lease.kind, lease.owner) == (LeaseKind.AUX, "router")
    assert [str(a) for a in attached.addresses] == ["10.9.0.3/29"]


async def test_detach_lets_the_addresses_rest(world: World) -> None:
    subnet = SubnetWish(pool=ip_network("10.9.0.0/29"))
    web = await made(world, NetworkWish(name="web", subnets=(subnet,)))
    attached = await world.standalone.attach(AttachWish(network="web", netns=NETNS))
    await world.standalone.detach(attached.id)
    (address,) = (int(a.ip) for a in attached.addresses)

    book = world.state.view.leases_of(web.pool_ids[0])

    assert book.next_free(address, address, spares_withheld=False) == address
    assert book.next_free(address, address, spares_withheld=True) is None


# On a link of the host's


async def test_create_where_no_gateway_is_needed_leases_none_unless_it_is_given() -> None:
    world = await on_uplinks()
    none = await made(world, NetworkWish(name="none", driver="host", has_ipv6=True))
    subnet = SubnetWish(pool=ip_network("10.9.0.0/24"), gateway=ip_address("10.9.0.254"))
    given = await made(world, NetworkWish(name="given", driver="host", subnets=(subnet,)))

    assert [s.gateway for s in none.subnets] == [None, None]
    assert all(not world.state.view.leases_of(pool_id) for pool_id in none.pool_ids)
    assert [str(s.gateway) for s in given.subnets] == ["10.9.0.254/24"]


async def test_attach_fills_the_sandbox_as_the_driver_says() -> None:
    world = await on_uplinks()
    await made(world, NetworkWish(name="lan", driver="host"))

    attached = await world.standalone.attach(AttachWish(network="lan", netns=NETNS, name="a"))

    (inside,) = (o for o in world.built if isinstance(o, SandboxLink))
    assert (inside.mac, inside.gateways) == (attached.mac, (GATEWAY,))
    assert [str(route.destination) for route in inside.routes] == [f"{GATEWAY}/32"]
    assert not (await world.reconciler.verify()).differences


async def test_attach_where_endpoints_have_the_parents_mac_gives_none() -> None:
    world = await on_uplinks()
    options = (("mac", "none"),)
    await made(world, NetworkWish(name="lan", driver="host", options=options))

    with pytest.raises(InvalidOptions):
        await world.standalone.attach(
            AttachWish(network="lan", netns=NETNS, mac="02:00:00:00:00:09")
        )
    attached = await world.standalone.attach(AttachWish(network="lan", netns=NETNS))

    assert attached.mac == ""
