"""host_access=on: a macvlan of the host's own, by which it reaches the endpoints.

Frames between a macvlan and its parent are dropped, so that the parent's own address is no way.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network

from drivers.links import network_mac
from netplug.model import Endpoint, IPAddress, Network, Parent
from netplug.plan.objects import Address, KernelObject, Route, Shim

HOST = frozenset({"host", "host6"})
"""The names of the auxiliary addresses (`--aux-address host=…`) that the host has on the shim.

There are two, since docker takes an address a name.
"""


def shim_name(network: Network) -> str:
    """Return the name of the host's link on a network."""
    return f"pyh{network.short_id}"


def plan_shim(network: Network, parent: Parent) -> Iterator[KernelObject]:
    """Yield the shim, and the addresses that the user reserved for the host.

    With IPv4 the host needs none: it speaks from the parent's, and answers for that on the shim,
    too. An IPv6 link answers for its own alone.
    Source: Linux net/ipv4/arp.c arp_process; net/ipv6/ndisc.c ndisc_recv_ns.
    """
    name = shim_name(network)
    yield Shim(
        name=name,
        parent=parent.name,
        mac=network_mac(network),
        has_ipv6=_has_ipv6(network),
        is_up=True,
    )
    yield from (
        Address(link=name, address=ip_interface(address)) for address in _addresses(network)
    )


def plan_routes(endpoint: Endpoint, network: Network) -> Iterator[Route]:
    """Yield the host's way to an endpoint by the shim."""
    for address in endpoint.addresses:
        if address.version == 4 or _has_ipv6(network):
            yield Route(destination=ip_network(address.ip), link=shim_name(network))


def _has_ipv6(network: Network) -> bool:
    return any(address.version == 6 for address in _addresses(network))


def _addresses(network: Network) -> Iterator[IPAddress]:
    for subnet in network.subnets:
        yield from (address for name, address in subnet.aux if name in HOST)
