"""What a published port of a bridge endpoint is made of."""

from __future__ import annotations

from collections.abc import Iterator

from drivers.bridge.options import BridgeOptions, GatewayMode
from netplug.model import Endpoint, IPAddress, PortMapping, Protocol
from netplug.plan.objects import HostPort, KernelObject, OpenPort, PortForward


def plan_ports(endpoint: Endpoint, options: BridgeOptions) -> Iterator[KernelObject]:
    """Yield the host ports of an endpoint and where they lead.

    A family that is routed has no host ports: the container's own are open to those who route to
    it, as in Docker's mode of that name, unless they were asked for on one host address.
    """
    inside: dict[int, IPAddress] = {address.version: address.ip for address in endpoint.addresses}
    for mapping in endpoint.ports:
        for host_ip in mapping.host_ips:
            target = inside.get(host_ip.version) or next(iter(inside.values()), None)
            if target is None:
                continue
            if _mode(options, target) is not GatewayMode.ROUTED:
                yield from _translate(mapping, host_ip, target)
            elif host_ip.is_unspecified and target.version == host_ip.version:
                yield from _open(mapping, target)


def is_translated(endpoint: Endpoint, options: BridgeOptions) -> bool:
    """Return whether the kernel translates a port for the endpoint."""
    return any(isinstance(o, PortForward) for o in plan_ports(endpoint, options))


def _translate(
    mapping: PortMapping, host_ip: IPAddress, target: IPAddress
) -> Iterator[KernelObject]:
    """Yield the host port, and its translation where the kernel can do it.

    A relay serves what it cannot: packets to ::1, which leave by no other link, and an endpoint
    that has no address of the family.
    """
    asked = mapping.asked
    crosses = target.version != host_ip.version
    has_ipv6_loopback = host_ip.version == 6 and (host_ip.is_unspecified or host_ip.is_loopback)
    is_relayed = (crosses or has_ipv6_loopback) and asked.protocol is not Protocol.SCTP
    yield HostPort(
        protocol=asked.protocol,
        address=host_ip,
        first=mapping.host_port,
        count=asked.count,
        relay_to=target if is_relayed else None,
        relay_port=asked.container_port if is_relayed else None,
    )
    if not crosses and not (host_ip.version == 6 and host_ip.is_loopback):
        yield PortForward(
            protocol=asked.protocol,
            address=host_ip,
            first=mapping.host_port,
            count=asked.count,
            to_address=target,
            to_port=asked.container_port,
        )


def _open(mapping: PortMapping, own: IPAddress) -> Iterator[KernelObject]:
    first = mapping.asked.container_port
    for port in range(first, first + mapping.asked.count):
        yield OpenPort(protocol=mapping.asked.protocol, address=own, port=port)


def _mode(options: BridgeOptions, address: IPAddress) -> GatewayMode:
    return options.gateway_mode_ipv4 if address.version == 4 else options.gateway_mode_ipv6
