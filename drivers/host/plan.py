"""What a host network and its endpoints are made of, in each of its modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from drivers.host.options import HostOptions, Mode, parse, refuse_unknown
from drivers.host.parents import (
    choose,
    facts_wanted,
    mtu_problems,
    on_parent,
    refuse_neighbours,
    refuse_unfit,
)
from drivers.host.routed import Routed
from drivers.host.sublinks import Ipvlan, Macvlan
from drivers.options import MTU_MIN_IPV6_BYTES
from drivers.subnets import refuse_overlap
from netplug.contract.driver import Attachment, FactsWish, GatewaySkip, NameOptions
from netplug.errors import Conflict, InvalidOptions
from netplug.model import Endpoint, IPAddress, Network, NetworkState, Parent
from netplug.plan.objects import Firewall, KernelObject
from netplug.view import View


class ModePlanner(Protocol):
    """What a mode makes of networks and of joined endpoints."""

    def gives_mac(self, options: HostOptions) -> bool:
        """Return whether endpoints have a MAC of their own."""
        ...

    def problems(self, options: HostOptions, network: Network) -> Iterator[str]:
        """Yield what contradicts the network, or each other."""
        ...

    def plan_network(
        self, options: HostOptions, network: Network, view: View
    ) -> Iterator[KernelObject]:
        """Yield what should exist for the network itself."""
        ...

    def plan_link(self, options: HostOptions, endpoint: Endpoint, network: Network) -> KernelObject:
        """Return the link of an endpoint."""
        ...

    def plan_endpoint(
        self, options: HostOptions, endpoint: Endpoint, network: Network, view: View
    ) -> Iterator[KernelObject]:
        """Yield what should exist for an endpoint."""
        ...

    def plan_ports(
        self, options: HostOptions, endpoint: Endpoint, network: Network
    ) -> Iterator[KernelObject]:
        """Yield what of it publishes the ports."""
        ...

    def attachment(self, options: HostOptions, endpoint: Endpoint, network: Network) -> Attachment:
        """Return what dockerd is told at Join."""
        ...


_MODES: Mapping[Mode, ModePlanner] = {
    Mode.ROUTED: Routed(),
    Mode.MACVLAN: Macvlan(),
    Mode.IPVLAN: Ipvlan(),
}


class HostDriver:
    """Endpoints are on a network of the host's, at addresses of their own."""

    name = "host"

    def facts_wanted(self, network: Network) -> FactsWish:
        """Ask about the parent, the link that it is a VLAN of, and the type of the links."""
        return facts_wanted(parse(network.options), network)

    def parent(self, network: Network, view: View) -> Parent | None:
        """Return the parent that was asked for, else the uplink; an internal network has none."""
        return choose(parse(network.options), network, view)

    def gives_mac(self, network: Network) -> bool:
        """Return whether the mode gives each endpoint a MAC of its own."""
        options = parse(network.options)
        return _MODES[options.mode].gives_mac(options)

    def validate(self, network: Network, view: View) -> None:
        """Refuse contradictions, taken subnets, and a parent that will not carry the network.

        What the host is like counts for a new network only.
        """
        options = parse(network.options)
        is_new = network.state is NetworkState.PENDING
        parent = network.parent
        if is_new and parent is None and not network.is_internal:
            parent = choose(options, network, view)
        problems = [*_contradictions(options, network)]
        if is_new and parent is not None:
            problems += mtu_problems(parent, options, view)
        if problems:
            raise InvalidOptions(problems)
        if is_new and parent is not None:
            refuse_unfit(parent, options, view)
            refuse_neighbours(parent, options, network, view)
        for other in view.networks.values():
            if other.id != network.id:
                refuse_overlap(network, other)

    def may_overlap(self, network: Network) -> bool:
        """Return whether the user said so."""
        return parse(network.options).may_overlap

    def skip_gateways(self, options: Mapping[str, str], *, is_internal: bool) -> GatewaySkip:
        """Say that no gateway is needed unless the user gives one: it would be the LAN's own."""
        parse(options.items())
        return GatewaySkip(ipv4=True, ipv6=True)

    def validate_endpoint(self, endpoint: Endpoint, network: Network, view: View) -> None:
        """Refuse options, a MAC that the mode does not give, and one too many in passthru."""
        refuse_unknown(endpoint.options)
        options = parse(network.options)
        if endpoint.mac and not self.gives_mac(network):
            raise Conflict(
                f"MAC {endpoint.mac}",
                f"cannot be had on network {network.label}: its endpoints have that of the parent",
                "use mode=macvlan with macvlan_mode=bridge",
            )
        others = [e for e in view.endpoints_of(network.id) if e.id != endpoint.id]
        if options.takes_parent and others:
            raise Conflict(
                f"network {network.label}",
                f"has its only endpoint, {others[0].label}, by macvlan_mode=passthru",
                "use macvlan_mode=bridge",
            )
        if options.mode is Mode.MACVLAN and endpoint.mac:
            _refuse_taken_mac(endpoint, network, view)

    def plan_network(self, network: Network, view: View) -> frozenset[KernelObject]:
        """Return what lets the host route for the network, or reach it; and the shared rules.

        Those carry what the host itself asks for names by, too.
        """
        options = parse(network.options)
        firewall = Firewall(
            has_ipv6=view.facts.has_ipv6, filters_bridged=view.facts.filters_bridged
        )
        return frozenset({firewall, *_MODES[options.mode].plan_network(options, network, view)})

    def plan_endpoint(
        self, endpoint: Endpoint, network: Network, view: View
    ) -> frozenset[KernelObject]:
        """Return the link, the ways to it, and, where pynet fills the sandbox, its inside."""
        options = parse(network.options)
        mode = _MODES[options.mode]
        if endpoint.sandbox:
            return frozenset(mode.plan_endpoint(options, endpoint, network, view))
        if endpoint.interface:
            return frozenset()
        return frozenset({mode.plan_link(options, endpoint, network)})

    def plan_ports(self, endpoint: Endpoint, network: Network) -> frozenset[KernelObject]:
        """Return which of the endpoint's own ports are open; none of the host's is taken."""
        options = parse(network.options)
        return frozenset(_MODES[options.mode].plan_ports(options, endpoint, network))

    def takes_host_ports(self, network: Network) -> bool:
        """Say that a published port is the endpoint's own, in each mode."""
        return False

    def host_addresses(self, network: Network) -> tuple[IPAddress, ...]:
        """Return every address: a port is the endpoint's own, wherever others are published."""
        return (IPv4Address(0), IPv6Address(0))

    def name_service(self, network: Network) -> NameOptions:
        """Return how the names are served; the host has no address on the network for it."""
        options = parse(network.options)
        return NameOptions(mode=options.name_mode, ttl_s=options.name_ttl_s)

    def attachment(self, endpoint: Endpoint, network: Network) -> Attachment:
        """Return the link to move, its name inside, and the ways out of the sandbox."""
        options = parse(network.options)
        return _MODES[options.mode].attachment(options, endpoint, network)


def _contradictions(options: HostOptions, network: Network) -> Iterator[str]:
    yield from _MODES[options.mode].problems(options, network)
    if network.has_ipv6 and 0 < options.mtu_bytes < MTU_MIN_IPV6_BYTES:
        yield f"mtu={options.mtu_bytes}: IPv6 needs at least {MTU_MIN_IPV6_BYTES} bytes"
    if not (network.has_ipv4 or network.has_ipv6):
        yield "neither IPv4 nor IPv6 is enabled"


def _refuse_taken_mac(endpoint: Endpoint, network: Network, view: View) -> None:
    """Refuse a MAC that another endpoint on the parent has: the kernel has one link for each."""
    around = [network]
    if network.parent is not None:
        around += on_parent(network.parent, network, view)
    for other in (e for n in around for e in view.endpoints_of(n.id)):
        if other.id != endpoint.id and other.mac == endpoint.mac:
            raise Conflict(
                f"MAC {endpoint.mac}",
                f"is that of endpoint {other.label} on the same parent",
                "choose another --mac-address",
            )
