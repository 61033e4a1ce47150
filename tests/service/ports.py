"""Endpoints with published ports, and what is there of them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

from netplug.kernel.memory import MemoryKernel
from netplug.model import Endpoint, HostPorts, IPAddress, PortRequest, Protocol
from netplug.plan.objects import HostPort, PortForward
from netplug.service.port_mappings import mapping_text
from tests.service.world import (
    DOCKERS_SANDBOX,
    World,
    endpoint,
    network,
    start,
)

V4, V6 = ip_address("0.0.0.0"), ip_address("::")
LOOPBACK = ip_address("127.0.0.1")
WEB = network(1, "10.9.0.1/24", "fd09::1/64")
OTHER = network(2, "10.8.0.1/24")


def tcp(
    port: int,
    host_port: int = 0,
    end: int = 0,
    *,
    host_ip: IPAddress | None = None,
    count: int = 1,
) -> PortRequest:
    return PortRequest(
        protocol=Protocol.TCP,
        container_port=port,
        host_ip=host_ip,
        host_port=host_port,
        host_port_end=end or host_port,
        count=count,
    )


def host_tcp(first: int, last: int = 0, *, host_ip: IPAddress | None = None) -> HostPorts:
    return HostPorts(protocol=Protocol.TCP, first=first, last=last or first, host_ip=host_ip)


async def web(world: World) -> Endpoint:
    """A joined endpoint of two families."""
    await world.networks.create(WEB)
    both = (*endpoint(WEB).addresses, ip_interface("fd09::2/64"))
    made = await world.endpoints.create(replace(endpoint(WEB), addresses=both))
    await world.endpoints.join(WEB.id, made.id, DOCKERS_SANDBOX, is_lent=True)
    return current(world, made)


async def other(world: World, number: int = 3, *, sandbox: str = "") -> Endpoint:
    """A joined endpoint with IPv4 only, on another network, in a sandbox of its own."""
    if OTHER.id not in world.state.view.networks:
        await world.networks.create(OTHER)
    made = await world.endpoints.create(endpoint(OTHER, number))
    sandbox = sandbox or f"{DOCKERS_SANDBOX}{number}"
    await world.endpoints.join(OTHER.id, made.id, sandbox, is_lent=True)
    return current(world, made)


async def publish(world: World, on: Endpoint, *requests: PortRequest) -> list[str]:
    await world.ports.publish(on.network_id, on.id, requests)
    return texts(world, on)


def current(world: World, made: Endpoint) -> Endpoint:
    return world.state.view.endpoints[made.id]


def texts(world: World, made: Endpoint) -> list[str]:
    return [mapping_text(m) for m in current(world, made).ports]


def forwards(world: World) -> set[str]:
    return {
        f"{o.key.name} {o.to_address} {o.to_port}"
        for o in world.built
        if isinstance(o, PortForward)
    }


def host_ports(world: World) -> dict[str, str]:
    """Host ports, and where what reaches them is relayed to."""
    return {
        o.key.name: f"{o.relay_to} {o.relay_port}" if o.relay_to else ""
        for o in world.built
        if isinstance(o, HostPort)
    }


async def routed(world: World, number: int = 2) -> Endpoint:
    """A joined endpoint on a network that is routed to, in a sandbox of its own."""
    on = await world.networks.create(network(4, options=[("gateway_mode_ipv4", "routed")]))
    made = await world.endpoints.create(endpoint(on, number))
    await world.endpoints.join(on.id, made.id, f"{DOCKERS_SANDBOX}{number}", is_lent=True)
    return current(world, made)


async def after_power_loss(world: World) -> World:
    """Start over the same disk on a host that has nothing of it any more."""
    await world.store.close()
    again = await start(kernel=MemoryKernel(), disk=world.disk, clock=world.clock)
    await again.reconciler.recover()
    return again
