"""Published ports of endpoints that are reached as they are: no port of the host is taken."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netplug.errors import PynetError
from netplug.model import HostPorts, IPAddress, PortRequest, Protocol
from netplug.plan.objects import HostPort, PortForward
from tests.service.uplinks import lan, on_uplinks
from tests.service.world import World, joined, messages, network


@pytest.fixture
async def world() -> World:
    return await on_uplinks()


def tcp(port: int, host_port: int = 0, host_ip: IPAddress | None = None) -> PortRequest:
    return PortRequest(
        protocol=Protocol.TCP,
        container_port=port,
        host_ip=host_ip,
        host_port=host_port,
        host_port_end=host_port,
    )


async def test_two_endpoints_may_publish_the_same_port(world: World) -> None:
    made = await world.networks.create(lan())
    for number in (2, 3):
        one = await joined(world, made, number)
        await world.ports.publish(made.id, one.id, [tcp(80, 80)])

    assert [(row.host_ips, row.open_at) for row in await world.ports.listing()] == [
        ((), (ip_address("10.1.0.2"),)),
        ((), (ip_address("10.1.0.3"),)),
    ]
    assert not [o for o in world.built if isinstance(o, HostPort | PortForward)]
    assert messages(world)[-1] == "ports of 300000000000 on 100000000000 published: 80/tcp"


async def test_port_of_the_host_is_left_to_the_endpoint_beside(
    world: World,
) -> None:
    made, bridged = [await world.networks.create(n) for n in (lan(), network(2))]
    own, other = [await joined(world, n, number) for n, number in ((made, 2), (bridged, 3))]
    await world.ports.publish(made.id, own.id, [tcp(80, 80)])

    await world.ports.publish(bridged.id, other.id, [tcp(80, 80)])

    assert [str(o.to_address) for o in world.built if isinstance(o, PortForward)] == ["10.2.0.3"]


async def test_port_without_a_choice_is_the_endpoints_own(world: World) -> None:
    made = await world.networks.create(lan())
    one = await joined(world, made)

    (row,) = await world.ports.add(one, [tcp(80)])

    assert (row.mapping.host_port, row.open_at) == (80, (ip_address("10.1.0.2"),))
    await world.ports.remove(
        world.state.view.endpoints[one.id], HostPorts(protocol=Protocol.TCP, first=80, last=80)
    )
    assert await world.ports.listing() == ()


async def test_port_that_was_asked_for_on_an_address_of_the_host_is_open_nowhere_else(
    world: World,
) -> None:
    made = await world.networks.create(lan())
    one = await joined(world, made)

    await world.ports.publish(made.id, one.id, [tcp(80, 80, ip_address("127.0.0.1"))])

    (row,) = await world.ports.listing()
    assert (row.host_ips, row.open_at) == ((), ())


async def test_ports_go_with_their_endpoint(world: World) -> None:
    made = await world.networks.create(lan())
    one = await joined(world, made)
    await world.ports.publish(made.id, one.id, [tcp(80, 80)])

    await world.ports.delete(one.id)

    assert await world.ports.listing() == ()
    with pytest.raises(PynetError):
        await world.ports.add(one, [tcp(80)])
