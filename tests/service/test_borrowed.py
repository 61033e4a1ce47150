"""Switches of the host's: taken before they are changed, given back when nobody needs them."""

from __future__ import annotations

import contextlib
from ipaddress import ip_network

import pytest

from netplug.errors import KernelRefused
from netplug.kernel.memory import Stopped, fail_at, stop_at
from netplug.model import NetworkState
from netplug.plan.diff import Create
from netplug.plan.objects import Sysctl, Vlan
from tests.service.uplinks import FORWARDING, FORWARDING6, borrowed, lan, on_uplinks, value
from tests.service.world import World, network

ACCEPT_RA = "net/ipv6/conf/eth0/accept_ra"
OF_ETH0 = "net/ipv6/conf/eth0/forwarding"


@pytest.fixture
async def world() -> World:
    made = await on_uplinks()
    made.state.learn_engine_subnets(frozenset())
    return made


async def set_by_others(world: World, name: str, text: str) -> None:
    await world.kernel.apply(Create(Sysctl(name=name, value=text)))


async def test_switch_of_the_parent_is_borrowed_until_the_last_network_on_it_goes(
    world: World,
) -> None:
    first, second = [await world.networks.create(lan(number)) for number in (1, 2)]
    assert borrowed(world) == {FORWARDING: "0"}
    assert value(world, FORWARDING) == "1"

    await world.networks.delete(first.id)
    assert value(world, FORWARDING) == "1"
    await world.networks.delete(second.id)

    assert value(world, FORWARDING) == "0"
    assert borrowed(world) == {}


async def test_switch_that_was_set_already_is_nobodys_debt(world: World) -> None:
    await set_by_others(world, FORWARDING, "1")

    made = await world.networks.create(lan())
    await world.networks.delete(made.id)

    assert value(world, FORWARDING) == "1"


async def test_record_is_kept_in_one_commit_with_the_network_before_anything_is_changed(
    world: World,
) -> None:
    def stop_at_the_first_step(step: object) -> None:
        (made,) = world.state.view.networks.values()
        assert made.state is NetworkState.PENDING
        assert borrowed(world) == {FORWARDING: "0"}
        raise Stopped

    world.kernel.before_step = stop_at_the_first_step

    with pytest.raises(Stopped):
        await world.networks.create(lan())

    assert value(world, FORWARDING) == "0"


@pytest.mark.parametrize("number", range(3))
async def test_create_that_fails_gives_back(world: World, number: int) -> None:
    await set_by_others(world, ACCEPT_RA, "1")
    before = world.kernel.objects
    world.kernel.before_step = fail_at(number)

    with pytest.raises(KernelRefused):
        await world.networks.create(lan(1, "10.1.0.1/24", "fd01::1/64"))

    world.kernel.before_step = lambda step: None
    await world.reconciler.run()
    assert world.kernel.objects == before
    assert borrowed(world) == {}


@pytest.mark.parametrize("number", range(12))
async def test_what_a_crash_left_borrowed_is_given_back_at_the_next_start(
    world: World, number: int
) -> None:
    await set_by_others(world, "net/ipv6/conf/default/forwarding", "1")
    await set_by_others(world, OF_ETH0, "1")
    before = world.kernel.objects
    world.let(stop_at(number))

    async def come_and_go() -> None:
        made = await world.networks.create(lan(1, "10.1.0.1/24", "fd01::1/64"))
        await world.networks.delete(made.id)

    with contextlib.suppress(Stopped):
        await come_and_go()

    after = await world.restarted()
    if after.state.view.networks:
        await after.networks.delete(lan().id)
    after.state.learn_engine_subnets(frozenset())
    await after.reconciler.run()
    assert after.kernel.objects == before
    assert borrowed(after) == {}


async def test_forwarding_ipv6_is_given_back_with_all_that_it_moved(world: World) -> None:
    await set_by_others(world, OF_ETH0, "1")
    await set_by_others(world, ACCEPT_RA, "1")
    before = world.kernel.objects

    made = await world.networks.create(lan(1, "10.1.0.1/24", "fd01::1/64"))
    assert (value(world, FORWARDING6), value(world, ACCEPT_RA)) == ("1", "2")
    await world.reconciler.run()
    assert (value(world, OF_ETH0), value(world, ACCEPT_RA)) == ("1", "2")
    await world.networks.delete(made.id)
    await world.reconciler.run()

    assert world.kernel.objects == before


@pytest.mark.parametrize("subnets", [None, {ip_network("fd17::/64")}])
async def test_forwarding_ipv6_stays_while_the_engine_may_need_it(
    world: World, subnets: set[object] | None
) -> None:
    if subnets is None:
        world = await on_uplinks()
    else:
        world.state.learn_engine_subnets(frozenset({ip_network("fd17::/64")}))
    made = await world.networks.create(lan(1, "10.1.0.1/24", "fd01::1/64"))
    await world.networks.delete(made.id)
    await world.reconciler.run()
    assert value(world, FORWARDING6) == "1"

    world.state.learn_engine_subnets(frozenset({ip_network("172.17.0.0/16")}))
    await world.reconciler.run()

    assert value(world, FORWARDING6) == "0"
    assert borrowed(world) == {}


async def test_forwarding_ipv6_stays_while_a_bridge_network_needs_it(world: World) -> None:
    made = await world.networks.create(lan(1, "10.1.0.1/24", "fd01::1/64"))
    bridged = await world.networks.create(network(2, "10.2.0.1/24", "fd02::1/64"))

    await world.networks.delete(made.id)
    assert value(world, FORWARDING6) == "1"
    await world.networks.delete(bridged.id)

    assert value(world, FORWARDING6) == "0"


async def test_switch_that_somebody_else_set_meanwhile_is_his(world: World) -> None:
    made = await world.networks.create(lan())
    await set_by_others(world, FORWARDING, "2")

    await world.networks.delete(made.id)

    assert value(world, FORWARDING) == "2"
    assert borrowed(world) == {}


async def test_forwarding_of_the_parent_stays_once_the_whole_host_forwards(world: World) -> None:
    made = await world.networks.create(lan())
    await set_by_others(world, "net/ipv4/ip_forward", "1")

    await world.networks.delete(made.id)

    assert value(world, FORWARDING) == "1"
    assert borrowed(world) == {}


async def test_switch_that_could_not_be_given_back_is_tried_again(world: World) -> None:
    made = await world.networks.create(lan())
    world.kernel.before_step = fail_at(0)

    await world.networks.delete(made.id)
    assert borrowed(world) == {FORWARDING: "0"}
    await world.reconciler.run()

    assert value(world, FORWARDING) == "0"


async def test_switch_that_others_set_back_is_borrowed_when_it_is_mended(world: World) -> None:
    await set_by_others(world, FORWARDING, "1")
    made = await world.networks.create(lan())
    await set_by_others(world, FORWARDING, "0")

    await world.reconciler.mend_uplinks()
    assert value(world, FORWARDING) == "1"
    await world.networks.delete(made.id)

    assert value(world, FORWARDING) == "0"


async def test_pools_and_what_is_borrowed_are_kept_beside_each_other(world: World) -> None:
    await world.networks.create(lan())
    await world.addresses.remember_engine("engine-1")

    await world.networks.create(lan(2, "10.2.0.1/24", "fd02::1/64"))

    assert world.state.view.host.engine_id == "engine-1"
    assert FORWARDING in borrowed(world)
    assert FORWARDING6 in borrowed(world)


async def test_vlan_goes_with_the_last_network_on_it(world: World) -> None:
    first, second = [
        await world.networks.create(lan(number, parent="eth0.10")) for number in (1, 2)
    ]
    await world.networks.delete(first.id)
    assert any(isinstance(o, Vlan) for o in world.built)

    await world.networks.delete(second.id)

    assert not any(isinstance(o, Vlan) for o in world.built)
