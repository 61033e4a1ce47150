"""mode=macvlan and mode=ipvlan: a link on the parent an endpoint, which the host never sees.

Its packets pass no rule of the host's: what guards it is in the sandbox.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from drivers.host.options import HostOptions, IpvlanFlag, IpvlanMode, MacvlanMode, PortPolicy
from drivers.host.parents import vlans
from drivers.host.ports import open_ports
from drivers.host.shim import plan_routes, plan_shim
from drivers.links import peer_link_name
from drivers.subnets import gateways
from netplug.contract.driver import Attachment
from netplug.model import Endpoint, IPNetwork, Network, Parent, StaticRoute
from netplug.plan.objects import (
    KernelObject,
    SandboxFilter,
    SandboxLink,
    SandboxMtu,
    Sublink,
)
from netplug.view import View

_EVERYTHING: dict[int, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


class _Sublinks(ABC):
    """What macvlan and ipvlan have in common."""

    kind: str

    @abstractmethod
    def kernel_mode(self, options: HostOptions) -> tuple[str, str]:
        """Return mode and flag of a link."""

    def problems(self, options: HostOptions, network: Network) -> Iterator[str]:
        """Yield what contradicts the network."""
        if network.is_internal:
            yield (
                f"mode={self.kind} contradicts --internal: its endpoints are on the parent's own "
                "network; use mode=routed or driver=bridge"
            )
        if network.peers:
            yield (
                f"a network of mode={self.kind} has no peers, what is on the parent's network "
                "reaches it anyway; use mode=routed"
            )

    def plan_network(
        self, options: HostOptions, network: Network, view: View
    ) -> Iterator[KernelObject]:
        """Yield the VLAN, if it is for pynet to make."""
        yield from vlans(_parent(options, network))

    def plan_endpoint(
        self, options: HostOptions, endpoint: Endpoint, network: Network, view: View
    ) -> Iterator[KernelObject]:
        """Yield the link, and what guards it in the sandbox."""
        sublink = self.plan_link(options, endpoint, network)
        guards = options.guards_spoofing
        ports = open_ports(endpoint) if options.ports is PortPolicy.PUBLISHED else None
        if guards or ports is not None:
            yield SandboxFilter(
                link=sublink.name,
                netns=endpoint.sandbox,
                mac=endpoint.mac,
                addresses=frozenset(address.ip for address in endpoint.addresses),
                guards=guards,
                ports=ports,
            )
        if endpoint.interface and not endpoint.is_lent:
            attached = self.attachment(options, endpoint, network)
            yield SandboxLink(
                host_link=sublink.parent,
                peer=sublink.name,
                netns=endpoint.sandbox,
                name=endpoint.interface,
                mac=endpoint.mac or None,
                addresses=endpoint.addresses,
                routes=attached.routes,
                gateways=attached.gateways,
                sublink=sublink,
            )
            return
        yield sublink
        if endpoint.is_lent and sublink.mtu_bytes is not None:
            yield SandboxMtu(link=sublink.name, netns=endpoint.sandbox, mtu_bytes=sublink.mtu_bytes)

    def plan_ports(
        self, options: HostOptions, endpoint: Endpoint, network: Network
    ) -> Iterator[KernelObject]:
        """Yield nothing: which ports are open is part of what guards the link."""
        return iter(())

    def attachment(self, options: HostOptions, endpoint: Endpoint, network: Network) -> Attachment:
        """Return the link to move, and the gateways that the network was given."""
        return Attachment(
            link=peer_link_name(endpoint),
            prefix=options.iface_prefix,
            gateways=tuple(gateways(endpoint, network)),
        )

    def plan_link(self, options: HostOptions, endpoint: Endpoint, network: Network) -> Sublink:
        """Return the link that is moved in."""
        mode, flag = self.kernel_mode(options)
        return Sublink(
            name=peer_link_name(endpoint),
            kind=self.kind,
            parent=_parent(options, network).name,
            mode=mode,
            flag=flag,
            mac=endpoint.mac or None,
            mtu_bytes=options.mtu_bytes or network.uplink_mtu_bytes,
            is_lent=endpoint.is_lent,
        )


class Macvlan(_Sublinks):
    """An endpoint has a MAC of its own on the parent's network."""

    kind = "macvlan"

    def gives_mac(self, options: HostOptions) -> bool:
        """Say that each endpoint has a MAC of its own, except in passthru.

        That has the parent's: another would become the parent's too.
        Source: Linux drivers/net/macvlan.c macvlan_common_newlink, macvlan_set_mac_address.
        """
        return not options.takes_parent

    def kernel_mode(self, options: HostOptions) -> tuple[str, str]:
        """Return the mode of a link; there is no flag."""
        return str(options.macvlan_in_effect), ""

    def problems(self, options: HostOptions, network: Network) -> Iterator[str]:
        """Yield what contradicts the network, or each other."""
        yield from super().problems(options, network)
        mode = options.macvlan_mode
        if mode is MacvlanMode.VEPA and not options.has_icc:
            yield (
                "icc=false contradicts macvlan_mode=vepa, where the switch decides; "
                "use macvlan_mode=private"
            )
        if mode is MacvlanMode.PASSTHRU and not options.has_icc:
            yield "icc=false contradicts macvlan_mode=passthru, which has a single endpoint"
        if mode is MacvlanMode.PASSTHRU and not options.parent:
            yield (
                "macvlan_mode=passthru takes its parent from the host, which would be cut off by "
                "its uplink: name a link with parent="
            )
        if options.has_host_access and options.macvlan_in_effect is not MacvlanMode.BRIDGE:
            yield (
                "host_access=on needs macvlan_mode=bridge with ICC: in other modes the kernel "
                "passes no frame between the host's link and an endpoint's"
            )

    def plan_network(
        self, options: HostOptions, network: Network, view: View
    ) -> Iterator[KernelObject]:
        """Yield the VLAN, if it is for pynet to make, and the host's own link."""
        yield from super().plan_network(options, network, view)
        if options.has_host_access:
            yield from plan_shim(network, _parent(options, network))

    def plan_endpoint(
        self, options: HostOptions, endpoint: Endpoint, network: Network, view: View
    ) -> Iterator[KernelObject]:
        """Yield the link, what guards it, and the host's way to it."""
        yield from super().plan_endpoint(options, endpoint, network, view)
        if options.has_host_access:
            yield from plan_routes(endpoint, network)


class Ipvlan(_Sublinks):
    """An endpoint has the MAC of the parent, and is told from others by its address."""

    kind = "ipvlan"

    def gives_mac(self, options: HostOptions) -> bool:
        """Say that each endpoint has the MAC of the parent."""
        return False

    def kernel_mode(self, options: HostOptions) -> tuple[str, str]:
        """Return mode and flag of a link."""
        return str(options.ipvlan_mode), str(options.flag_in_effect)

    def problems(self, options: HostOptions, network: Network) -> Iterator[str]:
        """Yield what contradicts the network, or each other."""
        yield from super().problems(options, network)
        if options.ipvlan_flag is IpvlanFlag.VEPA and not options.has_icc:
            yield (
                "icc=false contradicts ipvlan_flag=vepa, where the switch decides; "
                "use ipvlan_flag=private"
            )

    def attachment(self, options: HostOptions, endpoint: Endpoint, network: Network) -> Attachment:
        """Return the link to move; where the parent routes for it, everything is on the link."""
        if options.ipvlan_mode is IpvlanMode.L2:
            return super().attachment(options, endpoint, network)
        versions = dict.fromkeys(address.version for address in endpoint.addresses)
        return Attachment(
            link=peer_link_name(endpoint),
            prefix=options.iface_prefix,
            routes=tuple(StaticRoute(destination=_EVERYTHING[version]) for version in versions),
        )


def _parent(options: HostOptions, network: Network) -> Parent:
    return network.parent or Parent(name=options.parent)
