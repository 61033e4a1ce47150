"""Sets of kernel objects as drivers plan them, drawn at random from a small world.

Two sets drawn here share most names, so that every way from one to the other turns up: links that
come, go, change and move, addresses and rules that stay behind.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    ip_network,
)

from hypothesis import strategies as st

from netplug.kernel.memory import SWITCHES, MemoryKernel
from netplug.model import IPAddress, IPInterface
from netplug.plan.diff import Step, diff
from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    Foreign,
    KernelObject,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
    ProxyNeighbour,
    Route,
    RoutedFilter,
    RoutedVeth,
    SandboxLink,
    Shim,
    SpoofGuard,
    Sysctl,
    Veth,
)

STRANGERS = frozenset(
    Foreign(key=Bridge(name=name).key, description="a bridge link") for name in ("docker0", "br0")
)
NAMESPACES = ("/run/netns/0", "/run/netns/1")

_PARENT = "eth0"
_FORWARDING = f"net/ipv4/conf/{_PARENT}/forwarding"
_MTUS = st.sampled_from([1300, 1500])
_POLICIES = st.sampled_from([LinkPolicy.NONE, LinkPolicy.NO_EGRESS, LinkPolicy.ROUTED_IPV4])


@st.composite
def objects(draw: st.DrawFn) -> frozenset[KernelObject]:
    """A set that could be wanted: nothing in it stands on what is not in it."""
    bridges = [draw(_bridges(name)) for name in ("py-0", "py-1", "py-2") if draw(st.booleans())]
    found: set[KernelObject] = {*bridges}
    if bridges or draw(st.booleans()):
        found.add(Firewall(has_ipv6=True, filters_bridged=draw(st.booleans())))
        if draw(st.booleans()):
            found.add(RoutedFilter())
    for number, bridge in enumerate(bridges):
        found |= draw(_addressing(number, bridge))
    if draw(st.booleans()):
        found |= draw(_on_uplinks())
    for number in range(4):
        if bridges and draw(st.booleans()):
            found |= draw(_attached(number, draw(st.sampled_from(bridges))))
    found.update(Sysctl(name=n, value="1") for n in SWITCHES if draw(st.booleans()))
    return frozenset(found)


def _bridges(name: str) -> st.SearchStrategy[Bridge]:
    return st.builds(
        Bridge,
        name=st.just(name),
        mac=st.sampled_from(["02:50:00:00:00:01", "02:50:00:00:00:02"]),
        mtu_bytes=_MTUS,
        policy=_POLICIES,
        has_ipv6=st.booleans(),
    )


@st.composite
def _addressing(draw: st.DrawFn, number: int, bridge: Bridge) -> set[KernelObject]:
    addresses: list[IPInterface] = [IPv4Interface(f"10.{number}.0.{draw(st.integers(1, 2))}/24")]
    if bridge.has_ipv6:
        addresses.append(IPv6Interface(f"fd0{number}::{draw(st.integers(1, 2))}/64"))
    found: set[KernelObject] = set()
    for address in addresses:
        if draw(st.booleans()):
            found.add(Address(link=bridge.name, address=address))
        if draw(st.booleans()):
            found.add(LocalSubnet(subnet=address.network, link=bridge.name))
        if draw(st.booleans()):
            found.add(Masquerade(subnet=address.network))
    if draw(st.booleans()):
        switch = f"net/ipv4/conf/{bridge.name}/rp_filter"
        found.add(Sysctl(name=switch, value="2", link=bridge.name))
    return found


@st.composite
def _attached(draw: st.DrawFn, number: int, bridge: Bridge) -> set[KernelObject]:
    """An endpoint: the first two are filled by pynet, the others lent to dockerd."""
    veth = Veth(
        name=f"pyv{number}",
        peer=f"pyp{number}",
        peer_mac=f"02:42:00:00:00:0{number}",
        mtu_bytes=draw(_MTUS),
        bridge=bridge.name,
        is_isolated=draw(st.booleans()),
        is_guarded=draw(st.booleans()),
        is_lent=number >= len(NAMESPACES),
    )
    outside: set[KernelObject] = {veth}
    if veth.is_guarded:
        own = frozenset({IPv4Address(f"10.0.0.1{draw(st.integers(0, 1))}")})
        outside.add(SpoofGuard(link=veth.name, mac=str(veth.peer_mac), addresses=own))
    if veth.is_lent:
        return outside
    inside = SandboxLink(
        host_link=veth.name,
        peer=f"pyp{number}",
        netns=NAMESPACES[number],
        name="eth0",
        mac=veth.peer_mac,
        addresses=(IPv4Interface(f"10.0.0.1{number}/24"),),
        gateways=(IPv4Address("10.0.0.1"),),
    )
    return {inside, *outside}


@st.composite
def _on_uplinks(draw: st.DrawFn) -> set[KernelObject]:
    """Endpoints on a link of the host, and its own way to them."""
    found: set[KernelObject] = {Sysctl(name=_FORWARDING, value="1", is_borrowed=True)}
    for number in range(3):
        if draw(st.booleans()):
            found |= draw(_routed(number))
    if draw(st.booleans()):
        shim = Shim(name="pyh0", parent=_PARENT, has_ipv6=draw(st.booleans()))
        found |= {shim, Route(destination=IPv4Network("10.8.0.9/32"), link=shim.name)}
    return found


@st.composite
def _routed(draw: st.DrawFn, number: int) -> set[KernelObject]:
    veth = RoutedVeth(
        name=f"pyvr{number}",
        peer=f"pypr{number}",
        mac="02:50:00:00:00:01",
        mtu_bytes=draw(_MTUS),
        policy=LinkPolicy.ROUTED_LINK | draw(st.sampled_from([LinkPolicy.NONE, LinkPolicy.STRICT])),
        has_ipv6=draw(st.booleans()),
    )
    found: set[KernelObject] = {veth}
    addresses: list[IPAddress] = [IPv4Address(f"10.7.0.{number}")]
    if veth.has_ipv6:
        addresses.append(IPv6Address(f"fd07::{number}"))
    for address in addresses:
        if draw(st.booleans()):
            found.add(Route(destination=ip_network(address), link=veth.name))
        if draw(st.booleans()):
            found.add(ProxyNeighbour(address=address, link=_PARENT))
    return found


async def kernel_with(present: Collection[KernelObject]) -> MemoryKernel:
    """A kernel that holds `present`, and links of strangers beside it."""
    kernel = MemoryKernel(foreign=STRANGERS, namespaces=NAMESPACES)
    for step in diff(frozenset(unlent(o) for o in present), ()).steps:
        await kernel.apply(step)
    return kernel


async def take(kernel: MemoryKernel, steps: Collection[Step]) -> None:
    for step in steps:
        await kernel.apply(step)


def unlent(obj: KernelObject) -> KernelObject:
    """Return `obj` as it was before anybody took its other end."""
    return replace(obj, is_lent=False) if isinstance(obj, Veth) else obj
