"""Addresses of the LAN that are the host's or its routers': no endpoint of the LAN gets them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from netplug.errors import Conflict
from netplug.model import Endpoint, LeaseKind, Network, PoolId, Reached, Way
from netplug.service.standalone import AttachWish, NetworkWish, SubnetWish
from tests.service.uplinks import on_uplinks
from tests.service.world import NETNS, World, endpoint, network

LAN = ip_network("10.1.0.0/29")
OWN = Reached(network=ip_network("10.1.0.2/32"), way=Way.ADDRESS, where="eth0")
ROUTER = Reached(network=ip_network("10.1.0.4/32"), way=Way.ROUTER, where="eth0")
ELSEWHERE = Reached(network=ip_network("10.7.0.1/32"), way=Way.ROUTER, where="eth0")
ON_LAN = Reached(network=LAN, way=Way.DIRECT, where="eth0")


@pytest.fixture
async def world() -> World:
    made = await on_uplinks()
    made.kernel.reach |= {OWN, ROUTER, ELSEWHERE, ON_LAN}
    return made


async def lan(world: World) -> Network:
    wish = NetworkWish(name="lan", driver="host", subnets=(SubnetWish(pool=LAN),))
    made = await world.standalone.create(wish)
    assert isinstance(made, Network)
    return made


async def test_create_on_a_lan_reserves_what_the_host_and_its_router_have(world: World) -> None:
    made = await lan(world)

    leases = world.state.view.leases_of(made.pool_ids[0])

    assert {(str(lease.address), lease.kind, lease.owner) for lease in leases.values()} == {
        ("10.1.0.2", LeaseKind.RESERVED, "the host's own address on link eth0"),
        ("10.1.0.4", LeaseKind.RESERVED, "the host's router on link eth0"),
    }


async def test_endpoints_on_a_lan_get_the_other_addresses(world: World) -> None:
    await lan(world)
    sandboxes = [f"{NETNS}{number}" for number in range(4)]
    world.kernel.namespaces.update(sandboxes)
    got = [await world.standalone.attach(AttachWish(network="lan", netns=s)) for s in sandboxes]

    assert [str(e.addresses[0].ip) for e in got] == ["10.1.0.1", "10.1.0.3", "10.1.0.5", "10.1.0.6"]


async def test_router_that_is_the_gateway_stays_what_it_is(world: World) -> None:
    subnet = SubnetWish(pool=LAN, gateway=ROUTER.network.network_address)
    await world.standalone.create(NetworkWish(name="lan", driver="host", subnets=(subnet,)))

    leases = world.state.view.leases_of(PoolId(f"pynet-local/{LAN}"))

    assert leases[ROUTER.network.network_address].kind is LeaseKind.GATEWAY


async def test_unreserved_address_of_the_lan_is_anybodys(world: World) -> None:
    await lan(world)
    await world.reservations.unreserve("lan", [str(ROUTER.network.network_address)])

    made = await world.standalone.attach(
        AttachWish(network="lan", netns=NETNS, addresses=(ROUTER.network.network_address,))
    )

    assert made.addresses[0].ip == ROUTER.network.network_address


@pytest.mark.parametrize(
    ("number", "whose"),
    [(2, "is the host's own address on link eth0"), (4, "is the host's router on link eth0")],
)
async def test_endpoint_with_such_an_address_from_docker_is_refused(
    world: World, number: int, whose: str
) -> None:
    on = replace(network(1), driver="host", subnets=(replace(network(1).subnets[0], pool=LAN),))
    await world.networks.create(on)

    with pytest.raises(Conflict, match=f"{whose}; keep it from containers by --aux-address"):
        await world.endpoints.create(_with(on, number))

    assert world.state.view.endpoints == {}
    await world.endpoints.create(_with(on, 3))


def _with(on: Network, number: int) -> Endpoint:
    address = ip_interface(f"{LAN[number]}/{LAN.prefixlen}")
    return replace(endpoint(on, number), addresses=(address,))
