"""mode=routed: a veth pair an endpoint, and the host routes to it and answers for it.

All of a network have one gateway, a link-local address of the host's end. dockerd gives the sandbox
its address with the length of the subnet, as if the rest of that were on the link; two routes that
are longer by a bit say that it is behind the gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    ip_network,
)

from drivers.beside import answered_for
from drivers.host.options import HostOptions, PortPolicy
from drivers.host.parents import vlans
from drivers.host.ports import routed_ports
from drivers.links import host_link_name, network_mac, peer_link_name
from netplug.contract.driver import Attachment
from netplug.model import Endpoint, IPAddress, Network, Parent, StaticRoute
from netplug.plan.objects import (
    Address,
    KernelObject,
    LinkPolicy,
    Masquerade,
    ProxyNeighbour,
    Route,
    RoutedFilter,
    RoutedPair,
    RoutedSource,
    RoutedVeth,
    SandboxLink,
    SandboxMtu,
    Sysctl,
)
from netplug.view import View

_IPV6_FORWARDING = tuple(
    Sysctl(name=f"net/ipv6/conf/{which}/forwarding", value="1", is_borrowed=True)
    for which in ("all", "default")
)
"""Without it Linux forwards no IPv6 between any links: net/ipv6/ip6_output.c ip6_forward."""


class Routed:
    """The host is the router of each endpoint, on a link for it alone."""

    def gives_mac(self, options: HostOptions) -> bool:
        """Say that each endpoint has a MAC of its own, which only the host sees."""
        return True

    def problems(self, options: HostOptions, network: Network) -> Iterator[str]:
        """Yield what contradicts the network."""
        if network.peers and not options.has_icc:
            yield "a network that keeps its endpoints apart has no peers"
        if network.is_internal and options.parent:
            yield (
                f"parent={options.parent} contradicts --internal: nothing of such a network "
                "leaves the host"
            )

    def plan_network(
        self, options: HostOptions, network: Network, view: View
    ) -> Iterator[KernelObject]:
        """Yield who reaches whom, and what lets the host route and answer on the parent."""
        yield RoutedFilter()
        yield from _pairs(options, network, view)
        if network.has_ipv6:
            yield from _IPV6_FORWARDING
        if network.is_internal:
            return
        if options.masquerades:
            yield from (Masquerade(subnet=subnet.pool) for subnet in network.subnets)
        if network.parent is not None:
            yield from vlans(network.parent)
            yield from _switches(network, network.parent)

    def plan_link(self, options: HostOptions, endpoint: Endpoint, network: Network) -> RoutedVeth:
        """Return the veth pair, as it is while it is the only one of its sandbox."""
        return RoutedVeth(
            name=host_link_name(endpoint),
            peer=peer_link_name(endpoint),
            peer_mac=endpoint.mac or None,
            mac=network_mac(network),
            mtu_bytes=_mtu_bytes(options, network),
            policy=_policy(options, network),
            has_ipv6=network.has_ipv6,
            is_loose=False if options.guards_spoofing else None,
            is_up=True,
            is_lent=endpoint.is_lent,
        )

    def plan_endpoint(
        self, options: HostOptions, endpoint: Endpoint, network: Network, view: View
    ) -> Iterator[KernelObject]:
        """Yield the veth pair, the gateway on it, the way to each address, and what it sends."""
        link = host_link_name(endpoint)
        foreign = answered_for(endpoint, network, view)
        alone = self.plan_link(options, endpoint, network)
        is_loose = any(address.version == 4 for address in foreign) and options.guards_spoofing
        yield replace(alone, is_loose=True) if is_loose else alone
        if any(address.version == 4 for address in endpoint.addresses):
            yield Address(link=link, address=IPv4Interface(_gateway_ipv4(network)))
        for address in endpoint.addresses:
            yield Route(destination=ip_network(address.ip), link=link)
            if network.parent is not None and not network.is_internal:
                yield ProxyNeighbour(address=address.ip, link=network.parent.name)
        if options.guards_spoofing:
            yield from (RoutedSource(link=link, address=address) for address in foreign)
        yield from self.plan_ports(options, endpoint, network)
        if endpoint.is_lent:
            yield SandboxMtu(
                link=peer_link_name(endpoint),
                netns=endpoint.sandbox,
                mtu_bytes=_mtu_bytes(options, network),
            )
        elif endpoint.interface:
            attached = self.attachment(options, endpoint, network)
            yield SandboxLink(
                host_link=link,
                peer=peer_link_name(endpoint),
                netns=endpoint.sandbox,
                name=endpoint.interface,
                mac=endpoint.mac or None,
                addresses=endpoint.addresses,
                routes=attached.routes,
                gateways=attached.gateways,
            )

    def plan_ports(
        self, options: HostOptions, endpoint: Endpoint, network: Network
    ) -> Iterator[KernelObject]:
        """Yield the published ports, where the others are closed."""
        if options.ports is PortPolicy.PUBLISHED and not network.is_internal:
            yield from routed_ports(endpoint)

    def attachment(self, options: HostOptions, endpoint: Endpoint, network: Network) -> Attachment:
        """Return the link to move, and how everything is reached through the gateway.

        On an internal network that is the subnet alone.
        """
        gateways = {a.version: _gateway(a.version, network) for a in endpoint.addresses}
        on_link = [StaticRoute(destination=ip_network(gateway)) for gateway in gateways.values()]
        behind = [
            StaticRoute(destination=half, next_hop=gateways[address.version])
            for address in endpoint.addresses
            if address.network.prefixlen < address.max_prefixlen
            for half in address.network.subnets()
        ]
        return Attachment(
            link=peer_link_name(endpoint),
            prefix=options.iface_prefix,
            host_link=host_link_name(endpoint),
            gateways=() if network.is_internal else tuple(gateways.values()),
            routes=(*on_link, *behind),
        )


def _pairs(options: HostOptions, network: Network, view: View) -> Iterator[RoutedPair]:
    """Yield what endpoints of the network reach; a peer's own plan has the way back."""
    if not options.has_icc:
        return
    peers = (view.networks.get(peer_id) for peer_id in network.peers)
    for other in (network, *(peer for peer in peers if peer is not None)):
        for mine in network.subnets:
            for theirs in other.subnets:
                if mine.pool.version == theirs.pool.version:
                    yield RoutedPair(source=mine.pool, destination=theirs.pool)


def _switches(network: Network, parent: Parent) -> Iterator[Sysctl]:
    """Yield what lets packets for endpoints in by the parent, and answers for them at once.

    Linux answers for a proxied address only on a link that forwards, after up to 0.8 s.
    Those of a VLAN that pynet makes go with it, so that nothing is given back.
    Source: Linux net/ipv4/arp.c arp_process; net/ipv6/ndisc.c ndisc_recv_ns.
    """
    is_borrowed = None if parent.vlan_id else True
    names = []
    if network.has_ipv4:
        names += [
            (f"net/ipv4/conf/{parent.name}/forwarding", "1"),
            (f"net/ipv4/neigh/{parent.name}/proxy_delay", "0"),
        ]
    if network.has_ipv6:
        names += [
            (f"net/ipv6/conf/{parent.name}/proxy_ndp", "1"),
            (f"net/ipv6/neigh/{parent.name}/proxy_delay", "0"),
        ]
    yield from (Sysctl(name=n, value=value, is_borrowed=is_borrowed) for n, value in names)


def _policy(options: HostOptions, network: Network) -> LinkPolicy:
    policy = LinkPolicy.ROUTED_LINK
    if options.guards_spoofing:
        policy |= LinkPolicy.STRICT
    if not options.has_icc:
        policy |= LinkPolicy.APART
    if network.is_internal:
        return policy | LinkPolicy.NO_EGRESS
    return policy | LinkPolicy.OPEN if options.ports is PortPolicy.OPEN else policy


def _mtu_bytes(options: HostOptions, network: Network) -> int:
    return options.mtu_bytes or network.uplink_mtu_bytes


def _gateway(version: int, network: Network) -> IPAddress:
    return _gateway_ipv4(network) if version == 4 else _gateway_ipv6(network)


def _gateway_ipv4(network: Network) -> IPv4Address:
    """Derive the gateway from the network, so that a sandbox on two of them has two.

    It is one of 169.254.64.0/18, far from 169.254.169.254 and the like of clouds (RFC 3927).
    """
    high, low = _octets(network)[2:4]
    return IPv4Address(bytes([169, 254, 64 + high % 64, low]))


def _gateway_ipv6(network: Network) -> IPv6Address:
    """Return the address that the kernel itself gives the host's end: EUI-64, RFC 4291 app. A."""
    octets = _octets(network)
    eui64 = bytes([octets[0] ^ 0x02, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return IPv6Address(b"\xfe\x80" + bytes(6) + eui64)


def _octets(network: Network) -> bytes:
    return bytes.fromhex(network_mac(network).replace(":", ""))
