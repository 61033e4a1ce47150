"""Published ports: what serves them, by network and by host."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from netplug.errors import NotFound, PortRefused
from netplug.kernel.memory import MemoryKernel, fail_at
from netplug.model import HostFacts, Protocol
from netplug.plan.objects import OpenPort, Veth
from netplug.service.ports import Ports
from tests.service.ports import (
    LOOPBACK,
    OTHER,
    WEB,
    forwards,
    host_ports,
    host_tcp,
    other,
    publish,
    routed,
    tcp,
    texts,
    web,
)
from tests.service.world import (
    World,
    endpoint,
    joined,
    messages,
    network,
    start,
)


async def test_publish_serves_both_families_on_every_address(world: World) -> None:
    one = await web(world)

    assert await publish(world, one, tcp(80, 8080)) == ["0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"]

    assert forwards(world) == {"0.0.0.0:8080/tcp 10.9.0.2 80", "[::]:8080/tcp fd09::2 80"}
    assert host_ports(world) == {"0.0.0.0:8080/tcp": "", "[::]:8080/tcp": "fd09::2 80"}
    assert "no longer" not in messages(world)[-1]
    assert "published: 0.0.0.0:8080->80/tcp" in messages(world)[-1]


async def test_publish_on_ipv6_of_an_endpoint_with_ipv4_only_is_relayed(world: World) -> None:
    one = await other(world)

    await publish(world, one, tcp(80, 8080))

    assert forwards(world) == {"0.0.0.0:8080/tcp 10.8.0.3 80"}
    assert host_ports(world) == {"0.0.0.0:8080/tcp": "", "[::]:8080/tcp": "10.8.0.3 80"}


async def test_publish_of_sctp_is_translated_and_never_relayed(world: World) -> None:
    one = await web(world)

    await publish(world, one, replace(tcp(80, 80), protocol=Protocol.SCTP))

    assert host_ports(world) == {"0.0.0.0:80/sctp": "", "[::]:80/sctp": ""}


@pytest.mark.parametrize(
    ("host_ip", "ports", "forwarded"),
    [
        ("127.0.0.1", {"127.0.0.1:80/tcp": ""}, {"127.0.0.1:80/tcp 10.9.0.2 80"}),
        ("::1", {"[::1]:80/tcp": "fd09::2 80"}, set()),
        ("0.0.0.0", {"0.0.0.0:80/tcp": ""}, {"0.0.0.0:80/tcp 10.9.0.2 80"}),
        ("fd00::7", {"[fd00::7]:80/tcp": ""}, {"[fd00::7]:80/tcp fd09::2 80"}),
    ],
)
async def test_publish_on_one_address_serves_no_other(
    world: World, host_ip: str, ports: dict[str, str], forwarded: set[str]
) -> None:
    one = await web(world)

    await publish(world, one, tcp(80, 80, host_ip=ip_address(host_ip)))

    assert (host_ports(world), forwards(world)) == (ports, forwarded)


async def test_publish_without_ipv6_on_the_host_is_ipv4_alone() -> None:
    world = await start(kernel=MemoryKernel(facts=HostFacts(has_ipv6=False)))
    one = await other(world)

    assert await publish(world, one, tcp(80, 80)) == ["0.0.0.0:80->80/tcp"]


async def test_publish_takes_the_addresses_of_the_network_before_those_of_pynet(
    world: World,
) -> None:
    options = [("com.docker.network.bridge.host_binding_ipv4", "192.0.2.7")]
    bound = await world.networks.create(network(4, options=options))
    free = await other(world)
    one = await joined(world, bound)
    ports = Ports(endpoints=world.endpoints, default_addresses=(LOOPBACK,))

    for made in (one, free):
        await ports.publish(made.network_id, made.id, [tcp(80, 80)])

    assert texts(world, one) == ["192.0.2.7:80->80/tcp"]
    assert texts(world, free) == ["127.0.0.1:80->80/tcp"]


@pytest.mark.parametrize(
    ("binding", "published"),
    [("0.0.0.0", "0.0.0.0:80->80/tcp, [::]:80->80/tcp"), ("::", "[::]:80->80/tcp")],
)
async def test_publish_on_every_address_of_a_network_overrides_those_of_pynet(
    world: World, binding: str, published: str
) -> None:
    bound = await world.networks.create(network(4, options=[("host_binding_ipv4", binding)]))
    one = await joined(world, bound)
    ports = Ports(endpoints=world.endpoints, default_addresses=(LOOPBACK,))

    await ports.publish(one.network_id, one.id, [tcp(80, 80)])

    assert texts(world, one) == [published]


async def test_publish_of_a_run_is_one_of_each(world: World) -> None:
    one = await other(world)

    assert await publish(world, one, tcp(9000, 8000, count=10)) == [
        "0.0.0.0:8000-8009->9000-9009/tcp, [::]:8000-8009->9000-9009/tcp"
    ]
    assert forwards(world) == {"0.0.0.0:8000-8009/tcp 10.8.0.3 9000"}


async def test_publish_lets_the_endpoint_reach_its_own_port(world: World) -> None:
    world.kernel.host = replace(world.kernel.host, filters_bridged=True)
    world.state.learn(world.kernel.host)
    one = await other(world)

    def hairpins() -> list[bool | None]:
        return [o.is_hairpin for o in world.built if isinstance(o, Veth)]

    assert hairpins() == [False]
    await publish(world, one, tcp(80, 80))
    assert hairpins() == [True]
    await publish(world, one)
    assert hairpins() == [False]


async def test_publish_in_routed_mode_opens_the_port_itself(world: World) -> None:
    options = [("gateway_mode_ipv4", "routed")]
    routed = await world.networks.create(network(4, options=options))
    one = await joined(world, routed)

    await publish(world, one, tcp(80, 8080, count=2))

    opened = {o.key.name for o in world.built if isinstance(o, OpenPort)}
    assert opened == {"10.4.0.2:80/tcp", "10.4.0.2:81/tcp"}
    assert not forwards(world)


async def test_publish_in_routed_mode_takes_no_host_port_and_minds_nobody_elses() -> None:
    world = await start(kernel=MemoryKernel(port_holders={(Protocol.TCP, 8081): "nginx (pid 9)"}))
    one, two, three = await routed(world), await routed(world, 3), await other(world, 4)

    for made in (one, two, three):
        await publish(world, made, tcp(80, 8080))
    await world.ports.add(one, [tcp(81, 8081), tcp(82)])

    assert {o.key.name for o in world.built if isinstance(o, OpenPort)} == {
        *("10.4.0.2:80/tcp", "10.4.0.2:81/tcp", "10.4.0.2:82/tcp", "10.4.0.3:80/tcp")
    }
    assert set(host_ports(world)) == {"0.0.0.0:8080/tcp", "[::]:8080/tcp"}
    assert "published: 81/tcp, 82/tcp" in messages(world)[-1]
    await world.ports.remove(one, host_tcp(82))


async def test_listing_in_routed_mode_claims_no_host_port(world: World) -> None:
    one = await routed(world)
    await publish(world, one, tcp(80, 8080))

    (row,) = await world.ports.listing()

    assert (row.host_ips, row.open_at) == ((), (ip_address("10.4.0.2"),))


async def test_add_that_fails_leaves_open_what_another_mapping_opened(world: World) -> None:
    one = await routed(world)
    await publish(world, one, tcp(80, 8080))
    before = world.built
    world.let(fail_at(0))

    with pytest.raises(PortRefused, match="8082:81/tcp"):
        await world.ports.add(one, [tcp(80, 8081), tcp(81, 8082)])

    assert world.built == before


async def test_publish_on_an_internal_network_publishes_nothing(world: World) -> None:
    inside = await world.networks.create(replace(network(4), is_internal=True))
    one = await joined(world, inside)

    assert await publish(world, one, tcp(80, 80)) == []
    with pytest.raises(PortRefused, match="is internal"):
        await world.ports.add(one, [tcp(80, 80)])


async def test_publish_on_an_unknown_endpoint_is_not_found(world: World) -> None:
    await world.networks.create(WEB)

    with pytest.raises(NotFound):
        await publish(world, endpoint(WEB), tcp(80, 80))


async def test_listing_is_by_network_endpoint_and_port(world: World) -> None:
    one, two = await web(world), await other(world)
    await publish(world, two, tcp(80, 8080))
    await publish(world, one, tcp(81, 8082), tcp(80, 8081))

    rows = await world.ports.listing()

    assert [(r.network.label, r.mapping.host_port) for r in rows] == [
        (WEB.label, 8081),
        (WEB.label, 8082),
        (OTHER.label, 8080),
    ]
