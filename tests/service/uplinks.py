"""Networks on a link of the host's, by a driver that plans one object of each sort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from drivers.bridge import BridgeDriver
from netplug.contract.driver import Attachment, FactsWish, GatewaySkip, NameOptions
from netplug.errors import InvalidOptions, NotFound
from netplug.kernel.memory import MemoryKernel
from netplug.model import Endpoint, HostFacts, IPAddress, LinkFacts, Network, Parent, StaticRoute
from netplug.plan.objects import (
    Firewall,
    KernelObject,
    ProxyNeighbour,
    Route,
    RoutedFilter,
    RoutedVeth,
    SandboxLink,
    SandboxMtu,
    Sysctl,
    Vlan,
)
from netplug.view import View
from tests.service.world import NETNS, World, network, start

ETH0 = LinkFacts(name="eth0", index=2, mac="02:00:00:00:00:aa")
GATEWAY = IPv4Address("169.254.64.1")
FORWARDING = "net/ipv4/conf/eth0/forwarding"
FORWARDING6 = "net/ipv6/conf/all/forwarding"


class UplinkDriver:
    """Routes to each endpoint. Options: `parent`, `mac=none` for endpoints without a MAC."""

    name = "host"

    def facts_wanted(self, network: Network) -> FactsWish:
        name = _parent_name(network)
        return FactsWish(links=frozenset({name, name.partition(".")[0]}))

    def parent(self, network: Network, view: View) -> Parent | None:
        name = _parent_name(network)
        base, _, vlan_id = name.partition(".")
        for other in view.networks.values():
            if other.parent and other.parent.name == name:
                return other.parent
        if link := view.facts.links.get(name):
            return Parent(name=name, index=link.index, mac=link.mac)
        if vlan_id and base in view.facts.links:
            return Parent(name=name, vlan_of=base, vlan_id=int(vlan_id))
        raise NotFound("link", name)

    def validate(self, network: Network, view: View) -> None:
        link = _parent_name(network).partition(".")[0]
        if link not in view.facts.links:
            raise NotFound("link", link)

    def skip_gateways(self, options: Mapping[str, str], *, is_internal: bool) -> GatewaySkip:
        return GatewaySkip(ipv4=True, ipv6=True)

    def validate_endpoint(self, endpoint: Endpoint, network: Network, view: View) -> None:
        if endpoint.mac and not self.gives_mac(network):
            raise InvalidOptions(["an endpoint has the MAC of the parent"])

    def may_overlap(self, network: Network) -> bool:
        return ("overlap", "allow") in network.options

    def gives_mac(self, network: Network) -> bool:
        return ("mac", "none") not in network.options

    def plan_network(self, network: Network, view: View) -> frozenset[KernelObject]:
        return frozenset(_of_network(network, view))

    def plan_endpoint(
        self, endpoint: Endpoint, network: Network, view: View
    ) -> frozenset[KernelObject]:
        return frozenset(_of_endpoint(endpoint, network)) if endpoint.sandbox else frozenset()

    def plan_ports(self, endpoint: Endpoint, network: Network) -> frozenset[KernelObject]:
        return frozenset()

    def takes_host_ports(self, network: Network) -> bool:
        return False

    def host_addresses(self, network: Network) -> tuple[IPAddress, ...]:
        return ()

    def name_service(self, network: Network) -> NameOptions:
        return NameOptions()

    def attachment(self, endpoint: Endpoint, network: Network) -> Attachment:
        return Attachment(
            link=f"pyp{endpoint.short_id}", prefix="eth", gateways=(GATEWAY,), routes=_ROUTES
        )


_ROUTES = (StaticRoute(destination=ip_network(GATEWAY)),)


def lan(number: int = 1, *gateways: str, parent: str = "eth0", mac: str = "") -> Network:
    """A network as Docker asks for it, on a link of the host's."""
    options = [("parent", parent)] + ([("mac", mac)] if mac else [])
    made = network(number, *gateways, options=options)
    subnets = tuple(replace(s, gateway=None) for s in made.subnets)
    return replace(made, driver="host", subnets=subnets)


async def on_uplinks(*links: LinkFacts) -> World:
    """A world with both drivers, whose host has these links, else one."""
    kernel = MemoryKernel(
        facts=HostFacts(uplink="eth0"), namespaces=[NETNS], uplinks=links or (ETH0,)
    )
    return await start(kernel=kernel, drivers={"bridge": BridgeDriver(), "host": UplinkDriver()})


def value(world: World, name: str) -> str:
    """What a switch has in the kernel."""
    return next(o.value for o in world.kernel.objects if isinstance(o, Sysctl) and o.name == name)


def borrowed(world: World) -> dict[str, str]:
    """What is on record to be given back."""
    return {b.name: b.before for b in world.state.view.host.borrowed}


def _parent_name(network: Network) -> str:
    return dict(network.options).get("parent", "eth0")


def _of_network(network: Network, view: View) -> Iterator[KernelObject]:
    yield Firewall(has_ipv6=view.facts.has_ipv6, filters_bridged=view.facts.filters_bridged)
    yield RoutedFilter()
    parent = network.parent
    if parent is None:
        return
    if parent.vlan_of:
        yield Vlan(name=parent.name, parent=parent.vlan_of, vlan_id=parent.vlan_id, is_up=True)
    else:
        name = f"net/ipv4/conf/{parent.name}/forwarding"
        yield Sysctl(name=name, value="1", is_borrowed=True)
    if network.has_ipv6:
        for which in ("all", "default"):
            name = f"net/ipv6/conf/{which}/forwarding"
            yield Sysctl(name=name, value="1", is_borrowed=True)


def _of_endpoint(endpoint: Endpoint, network: Network) -> Iterator[KernelObject]:
    name, peer = f"pyv{endpoint.short_id}", f"pyp{endpoint.short_id}"
    mtu_bytes = network.uplink_mtu_bytes
    yield RoutedVeth(name=name, peer=peer, mtu_bytes=mtu_bytes, is_lent=endpoint.is_lent)
    for address in endpoint.addresses:
        yield Route(destination=ip_network(address.ip), link=name)
        if network.parent is not None:
            yield ProxyNeighbour(address=address.ip, link=network.parent.name)
    if endpoint.is_lent:
        yield SandboxMtu(link=peer, netns=endpoint.sandbox, mtu_bytes=mtu_bytes)
    elif endpoint.interface:
        yield SandboxLink(
            host_link=name,
            peer=peer,
            netns=endpoint.sandbox,
            name=endpoint.interface,
            mac=endpoint.mac or None,
            addresses=endpoint.addresses,
            routes=_ROUTES,
            gateways=(GATEWAY,),
        )
