"""The host driver under the services: what is built goes again, in each of its modes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from drivers.bridge import BridgeDriver
from drivers.host import HostDriver
from netplug.errors import Conflict, PynetError
from netplug.kernel.memory import MemoryKernel, Stopped, fail_at, stop_at
from netplug.model import Endpoint, HostFacts, Network, Parent, PortRequest, Protocol, Subnet
from netplug.plan.diff import Delete
from netplug.plan.objects import (
    ProxyNeighbour,
    Route,
    RoutedSource,
    RoutedVeth,
    SandboxFilter,
    Vlan,
)
from netplug.service.standalone import AttachWish, NetworkWish, SubnetWish
from tests.service.uplinks import ETH0, borrowed
from tests.service.world import (
    DOCKERS_SANDBOX,
    NETNS,
    World,
    endpoint,
    joined,
    messages,
    network,
    nothing_happens,
    start,
)

MODES: dict[str, dict[str, str]] = {
    "routed": {},
    "routed on a VLAN": {"parent": "eth0.10"},
    "routed, published ports": {"ports": "published"},
    "routed, alone": {"icc": "false", "masquerade": ""},
    "macvlan": {"mode": "macvlan"},
    "macvlan on a VLAN": {"mode": "macvlan", "parent": "eth0.10"},
    "macvlan, host access": {"mode": "macvlan", "host_access": "on"},
    "ipvlan": {"mode": "ipvlan"},
    "ipvlan l3s": {"mode": "ipvlan", "ipvlan_mode": "l3s"},
}
each_mode = pytest.mark.parametrize("options", MODES.values(), ids=MODES)


@pytest.fixture
async def world() -> World:
    kernel = MemoryKernel(
        facts=HostFacts(uplink="eth0"), namespaces=[NETNS, DOCKERS_SANDBOX], uplinks=[ETH0]
    )
    made = await start(kernel=kernel, drivers={"bridge": BridgeDriver(), "host": HostDriver()})
    made.state.learn_engine_subnets(frozenset())
    return made


def host(options: Mapping[str, str], number: int = 1) -> Network:
    """A network of two families, with an address of the host's on it."""
    made = network(number, f"10.{number}.0.1/24", f"fd0{number}::1/64")
    subnets = tuple(
        Subnet(pool=s.pool, aux=(("host", s.pool[9]),) if "host_access" in options else ())
        for s in made.subnets
    )
    return replace(made, driver="host", options=tuple(options.items()), subnets=subnets)


async def made(world: World, on: Network, number: int = 2) -> Endpoint:
    """Do what dockerd does for one container."""
    driver = world.networks.driver_of(on)
    asked = endpoint(on, number)
    pool = on.subnets[1].pool
    both = (*asked.addresses, ip_interface(f"{pool[number]}/{pool.prefixlen}"))
    mac = asked.mac if driver.gives_mac(on) else ""
    kept = await world.endpoints.create(replace(asked, addresses=both, mac=mac))
    await world.endpoints.join(on.id, kept.id, DOCKERS_SANDBOX, is_lent=True)
    return world.state.view.endpoints[kept.id]


@each_mode
async def test_what_is_built_is_as_planned_and_goes_again(
    world: World, options: dict[str, str]
) -> None:
    before = world.kernel.objects
    on = await world.networks.create(host(options))
    one = await made(world, on)
    await world.reconciler.mend_uplinks()  # what dockerd moved in is found in its sandbox
    assert not (await world.reconciler.verify()).differences
    assert (await world.reconciler.run()).steps == ()

    await world.endpoints.delete(one.id)
    await world.networks.delete(on.id)
    await world.reconciler.run()

    assert world.kernel.objects == before
    assert borrowed(world) == {}


async def test_second_network_of_a_sandbox_changes_the_link_of_the_first_and_back(
    world: World,
) -> None:
    on_bridge = await world.networks.create(network(3, "10.3.0.1/24", "fd03::1/64"))
    await made(world, await world.networks.create(host({})))
    alone = world.built
    for on in (host({}, 2), on_bridge):
        on = await world.networks.create(on)
        before = world.built

        other = await made(world, on, 3)

        (first,) = before & {o for o in alone if isinstance(o, RoutedVeth)}
        assert replace(first, is_loose=True) in world.built
        sources = {o for o in world.built if isinstance(o, RoutedSource)}
        assert {s.address for s in sources if s.link == first.name} == {
            a.ip for a in other.addresses
        }
        assert (await world.reconciler.run()).steps == ()
        await world.endpoints.delete(other.id)
        assert world.built == before
        assert (await world.reconciler.run()).steps == ()


@each_mode
async def test_attached_namespace_is_filled_and_left(world: World, options: dict[str, str]) -> None:
    before = world.kernel.objects
    subnet = SubnetWish(pool=ip_network("10.9.0.0/24"))
    wish = NetworkWish(name="a", driver="host", subnets=(subnet,), options=tuple(options.items()))
    await world.standalone.create(wish)
    attached = await world.standalone.attach(AttachWish(network="a", netns=NETNS, name="in"))
    assert not (await world.reconciler.verify()).differences

    after = await world.restarted()
    assert after.reconciler.last is not None
    assert after.reconciler.last.steps == ()

    after.state.learn_engine_subnets(frozenset())
    await after.standalone.detach(attached.id)
    await after.standalone.delete("a")
    await after.reconciler.run()
    assert after.kernel.objects == before


@each_mode
async def test_create_that_fails_anywhere_leaves_nothing(
    world: World, options: dict[str, str]
) -> None:
    before = world.kernel.objects
    for number in range(9):
        world.kernel.before_step = fail_at(number)
        try:
            await world.networks.create(host(options))
        except PynetError:
            world.kernel.before_step = nothing_happens
            await world.reconciler.run()
            assert world.kernel.objects == before
        else:
            break


@each_mode
@pytest.mark.parametrize("number", [1, 4, 7, 10, 13])
async def test_what_a_crash_left_goes_at_the_next_start(
    world: World, options: dict[str, str], number: int
) -> None:
    before = world.kernel.objects
    world.let(stop_at(number))
    try:
        on = await world.networks.create(host(options))
        await made(world, on)
        await world.networks.delete(on.id)
    except Stopped:
        pass

    after = await world.restarted()
    after.state.learn_engine_subnets(frozenset())
    for left in list(after.state.view.networks.values()):
        assert not (await after.reconciler.verify()).differences
        await after.networks.delete(left.id)
    await after.reconciler.run()

    assert after.kernel.objects == before
    assert borrowed(after) == {}


@each_mode
async def test_parent_renamed_twice_is_followed_each_time(
    world: World, options: dict[str, str]
) -> None:
    await world.networks.create(host(options))
    for old, new in (("eth0", "lan0"), ("lan0", "eth0")):
        world.kernel.rename(old, new)
        report = await world.reconciler.mend_uplinks()
        assert report is not None
        assert (report.steps, report.news) == ((), (f"parent {old} is called {new} now",))
        assert not (await world.reconciler.verify()).differences


@each_mode
async def test_two_networks_on_a_parent_do_not_disturb_each_other(
    world: World, options: dict[str, str]
) -> None:
    first = await world.networks.create(host(options))
    one = world.kernel.objects
    second = await world.networks.create(host(options, 2))
    await made(world, second)

    await world.networks.delete(second.id)

    assert world.kernel.objects == one
    assert not (await world.reconciler.verify()).differences
    await world.networks.delete(first.id)


async def test_vlan_that_was_there_is_nobodys_to_remove(world: World) -> None:
    world.kernel.plug(replace(ETH0, name="eth0.10", index=7, kind="vlan"))

    on = await world.networks.create(host({"parent": "eth0.10"}))
    await world.networks.delete(on.id)

    assert on.parent == Parent(name="eth0.10", index=7, mac=ETH0.mac)
    assert "eth0.10" in world.kernel.uplinks


async def test_parents_that_come_and_go_give_back_and_take_what_is_on_them(world: World) -> None:
    on = await world.networks.create(host({"parent": "eth0.10"}))
    await made(world, on)
    before = world.built
    world.kernel.unplug("eth0")
    assert not any(isinstance(o, Vlan | ProxyNeighbour) for o in world.kernel.objects)
    await world.reconciler.mend_uplinks()

    world.kernel.plug(replace(ETH0, index=12))
    await world.reconciler.mend_uplinks()

    assert world.built == before


async def test_peers_reach_each_other_until_they_are_parted(world: World) -> None:
    first, second = [await world.networks.create(host({}, number)) for number in (1, 2)]
    before = world.kernel.objects

    await world.networks.peer(first, second)
    assert len(world.kernel.objects - before) == 4  # of two families, there and back
    assert not (await world.reconciler.verify()).differences
    await world.networks.delete(second.id)
    await world.networks.create(host({}, 2))

    assert world.kernel.objects == before


async def test_published_ports_are_open_and_take_none_of_the_host(world: World) -> None:
    on = await world.networks.create(host({"ports": "published"}))
    request = PortRequest(protocol=Protocol.TCP, container_port=80, host_port=80, host_port_end=80)
    for number in (2, 3):
        one = await made(world, on, number)
        await world.ports.publish(on.id, one.id, [request])

    rows = await world.ports.listing()

    assert [row.host_ips for row in rows] == [(), ()]
    assert [str(ip) for row in rows for ip in row.open_at] == [
        "10.1.0.2",
        "fd01::2",
        "10.1.0.3",
        "fd01::3",
    ]
    assert not (await world.reconciler.verify()).differences


async def test_subnets_of_a_bridge_and_of_the_host_do_not_overlap(world: World) -> None:
    await world.networks.create(network(1))

    with pytest.raises(Conflict, match="overlaps"):
        await world.networks.create(replace(host({}, 2), subnets=host({}).subnets))


async def test_routes_that_others_removed_are_put_back(world: World) -> None:
    on = await world.networks.create(host({}))
    await joined(world, on)
    before = world.kernel.objects
    for obj in before:
        if isinstance(obj, Route):
            await world.kernel.apply(Delete(obj))

    await world.reconciler.mend_uplinks()

    assert world.kernel.objects == before
    assert ProxyNeighbour(address=ip_address("10.1.0.2"), link="eth0") in before


async def test_filter_that_a_container_removed_is_told_and_put_back(world: World) -> None:
    on = await world.networks.create(host({"mode": "macvlan"}))
    await made(world, on)
    before = world.kernel.objects
    (filtered,) = (o for o in before if isinstance(o, SandboxFilter))
    await world.kernel.apply(Delete(filtered))

    verdict = await world.reconciler.verify()
    await world.reconciler.run()

    assert verdict.differences == (f"sandbox-filter {filtered.link} is missing",)
    assert world.kernel.objects == before
    assert messages(world)[-1].startswith("1 differences mended: create sandbox-filter ")
