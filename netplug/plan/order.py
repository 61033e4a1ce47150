"""What must exist before what, and what goes when something else goes."""

from __future__ import annotations

from netplug.plan.objects import (
    Address,
    Bridge,
    DirectAnswer,
    EngineSubnet,
    Firewall,
    HostPort,
    Hub,
    KernelObject,
    Key,
    LocalSubnet,
    Masquerade,
    OpenPort,
    PeerSubnet,
    PortForward,
    ProxyNeighbour,
    Route,
    RoutedFilter,
    RoutedPair,
    RoutedPort,
    RoutedSource,
    RoutedVeth,
    SandboxFilter,
    SandboxLink,
    SandboxMtu,
    SetMember,
    Shim,
    SpoofGuard,
    Sublink,
    Sysctl,
    Veth,
    Vlan,
)

_RANK: dict[type[KernelObject], int] = {
    Vlan: 0,
    Sysctl: 1,
    Firewall: 2,
    RoutedFilter: 3,
    Bridge: 3,
    Masquerade: 4,
    LocalSubnet: 4,
    PeerSubnet: 4,
    Hub: 4,
    DirectAnswer: 4,
    EngineSubnet: 4,
    SpoofGuard: 4,
    RoutedPair: 4,
    RoutedSource: 4,
    Veth: 5,
    RoutedVeth: 5,
    Sublink: 5,
    Shim: 5,
    Address: 6,
    Route: 7,
    ProxyNeighbour: 8,
    SandboxLink: 8,
    SandboxMtu: 9,
    SandboxFilter: 9,
    HostPort: 10,
    PortForward: 11,
    OpenPort: 11,
    RoutedPort: 11,
}


def rank(obj: KernelObject) -> int:
    """Return the place of `obj` in creation order; deletes run in reverse.

    Guarantees: a link before its own switches, other switches before all else; rules before the
    links they guard; a link before its addresses and routes; an address is answered for once it
    is routed; a host port is ours before packets to it are sent on.
    """
    if isinstance(obj, Sysctl) and obj.link:
        return _RANK[Address]
    return _RANK[type(obj)]


def goes_with(obj: KernelObject) -> Key | None:
    """Return the key of what takes `obj` along when it is deleted, so that one step is enough.

    An address would go with its link too, but links go a little later: a subnet must be free for
    the next network at once.
    Source: Linux drivers/net/veth.c veth_dellink.
    """
    match obj:
        case SandboxLink(host_link=link, sublink=None):
            return Key("link", link)
        case _:
            return None


def stands_on(obj: KernelObject) -> Key | None:
    """Return the key of the link without which `obj` cannot exist."""
    match obj:
        case Address(link=link) | Route(link=link) | SandboxLink(host_link=link):
            return Key("link", link)
        case _:
            return None


def is_shared(obj: KernelObject) -> bool:
    """Return whether all networks share `obj`, so that the end of one does not end it."""
    return isinstance(obj, Firewall | RoutedFilter)


def is_of_firewall(obj: KernelObject) -> bool:
    """Return whether `obj` is part of the packet filter, which others change too."""
    rules = Firewall | RoutedFilter
    members = SetMember | PortForward | SpoofGuard | RoutedPort | RoutedPair | RoutedSource
    return isinstance(obj, rules | members)


def is_on_uplink(obj: KernelObject) -> bool:
    """Return whether `obj` stands on a link of the host's own, which others change too."""
    on_uplink = RoutedVeth | Route | ProxyNeighbour | Vlan | Shim | SandboxMtu
    return isinstance(obj, on_uplink) or (isinstance(obj, Sysctl) and bool(obj.is_borrowed))


def is_removable(obj: KernelObject) -> bool:
    """Return whether `obj` is removed when nobody wants it: what is but a value stays as it is."""
    return not isinstance(obj, Sysctl | SandboxMtu)
