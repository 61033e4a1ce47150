"""Kernel objects as values. Each has a key (what it is) and fields (how it should be).

A field that is `None` means "do not care": it is never compared and never causes a step.

A field marked `SET_ONCE` is given to the kernel when the object is made and cannot be read back;
it is not compared either.

Everything pynet makes is recognisable on the host: links by their device group, of which the high
bits say "pynet" and the low bits which policy applies, so that a constant number of firewall rules
serves any number of networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag

from netplug.model import IPAddress, IPInterface, IPNetwork, Protocol, StaticRoute

SET_ONCE: Mapping[str, bool] = {"set_once": True}

GROUP_BASE = 0x5059_0000
GROUP_MASK = 0xFFFF_0000
SOCKET_MARK = GROUP_BASE
"""The mark of our sockets on host ports, by which the firewall knows them."""
PACKET_MARK = GROUP_BASE
"""The mark of packets that must seem to come from the host."""


class LinkPolicy(IntFlag):
    """The low bits of the device group of a link of ours; what the firewall does with it.

    ROUTED_LINK is the host's end of one routed endpoint. OPEN: whoever is not behind a link of ours
    reaches all its ports. STRICT: a packet comes in by it only if its source is routed back by it,
    or is that of a `RoutedSource`.
    """

    NONE = 0
    NO_EGRESS = 0x0001
    ROUTED_IPV4 = 0x0002
    ROUTED_IPV6 = 0x0004
    APART = 0x0008
    ROUTED_LINK = 0x0010
    OPEN = 0x0020
    STRICT = 0x0040
    GUARDED = 0x2000
    PORT = 0x4000
    DOOMED = 0x8000


@dataclass(frozen=True, slots=True)
class Key:
    """What an object is: its kind and the name that is unique within the kind."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A Linux bridge. `mac` fixes its address; without one it would follow its ports'.

    Without `has_ipv6` the host has no IPv6 on it, not even a link-local address. No bridge of ours
    listens to router advertisements: its containers must not configure the host.
    `routes_localnet` lets packets of 127.0.0.0/8 leave by it: the host reaches ports that are
    published on its loopback. None comes in by it: a rule drops them.
    """

    name: str
    mac: str | None = None
    mtu_bytes: int | None = None
    policy: LinkPolicy | None = None
    has_ipv6: bool | None = None
    routes_localnet: bool | None = None
    is_up: bool | None = None

    @property
    def key(self) -> Key:
        """Return the link's key; a name belongs to one link of any kind."""
        return Key("link", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth:
    """A veth pair with one end on a bridge. It is known by that end, `name`.

    The other end, `peer`, is made with `peer_mac` and `mtu_bytes`. Where `is_lent`, it is in
    somebody's sandbox: a missing pair is then not made again, since nobody would move it in.
    `is_isolated` ports reach the bridge itself but not each other (bridge port flag `isolated`).
    `is_hairpin` ports get back what they sent themselves (bridge port flag `hairpin`): a container
    needs it to reach its own published port where the kernel filters bridged packets, since the
    translated packet then never leaves the bridge.
    Source: Linux net/bridge/br_netfilter_hooks.c, br_nf_pre_routing_finish, bridged_dnat.
    `is_guarded` ports send only what their `SpoofGuard` has, and nothing without one.
    """

    name: str
    peer: str | None = field(default=None, metadata=SET_ONCE)
    peer_mac: str | None = field(default=None, metadata=SET_ONCE)
    mtu_bytes: int | None = None
    bridge: str | None = None
    is_isolated: bool | None = None
    is_hairpin: bool | None = None
    is_guarded: bool | None = None
    is_up: bool | None = None
    is_lent: bool | None = field(default=None, metadata=SET_ONCE)

    @property
    def key(self) -> Key:
        """Return the link's key; a name belongs to one link of any kind."""
        return Key("link", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedVeth:
    """A veth pair whose host end, `name`, is no port: packets are routed to the endpoint.

    `mac` is that of the host's end, from which its link-local IPv6 address follows; the other
    fields are as in `Veth`. It forwards IPv4 and IPv6 whatever the host does on other links, and
    listens to no router advertisement. With the policy STRICT the kernel's own check of reverse
    paths (rp_filter) is on too; where `is_loose` it lets in what is routed back by any link, since
    the sandbox has others, and `RoutedSource` says what that is.
    """

    name: str
    peer: str | None = field(default=None, metadata=SET_ONCE)
    peer_mac: str | None = field(default=None, metadata=SET_ONCE)
    mac: str | None = None
    mtu_bytes: int | None = None
    policy: LinkPolicy | None = None
    has_ipv6: bool | None = None
    is_loose: bool | None = None
    is_up: bool | None = None
    is_lent: bool | None = field(default=None, metadata=SET_ONCE)

    @property
    def key(self) -> Key:
        """Return the link's key; a name belongs to one link of any kind."""
        return Key("link", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vlan:
    """A VLAN of the link `parent` that pynet made: IEEE 802.1Q."""

    name: str
    parent: str
    vlan_id: int
    is_up: bool | None = None

    @property
    def key(self) -> Key:
        """Return the link's key; a name belongs to one link of any kind."""
        return Key("link", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sublink:
    """A link on top of `parent` that is made for a sandbox, under this name until it is renamed.

    `kind` is "macvlan" or "ipvlan", `mode` as `ip link` has it ("bridge", "l3s"), `flag` that of
    ipvlan ("private"). An ipvlan has the MAC of its parent, and a macvlan in mode passthru. In the
    sandbox its alias still says whose it is. Where `is_lent` it may be in the sandbox, where a look
    does not find it.
    """

    name: str
    kind: str
    parent: str
    mode: str
    flag: str = ""
    mac: str | None = None
    mtu_bytes: int | None = None
    is_lent: bool | None = field(default=None, metadata=SET_ONCE)

    @property
    def key(self) -> Key:
        """Return the link's key; a name belongs to one link of any kind."""
        return Key("link", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shim:
    """A macvlan of the host's own on `parent`, in mode bridge: by it the host reaches the others.

    It answers for an address of the host only who is routed to by it (arp_filter), so that the LAN
    goes on seeing the host at the parent alone.
    """

    name: str
    parent: str
    mac: str | None = None
    has_ipv6: bool | None = None
    is_up: bool | None = None

    @property
    def key(self) -> Key:
        """Return the link's key; a name belongs to one link of any kind."""
        return Key("link", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The host reaches `destination` on `link`, without a gateway. Marked by its protocol."""

    destination: IPNetwork
    link: str

    @property
    def key(self) -> Key:
        """Return the key: where a route leads is part of what it is."""
        return Key("route", f"{self.destination} on {self.link}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyNeighbour:
    """The host answers ARP or neighbour solicitations on `link` for `address`, of an endpoint."""

    address: IPAddress
    link: str

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("proxy-neighbour", f"{self.address} on {self.link}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of a link; one of IPv4's link-local ones has the scope of the link."""

    link: str
    address: IPInterface

    @property
    def key(self) -> Key:
        """Return the key: an address is one object a link."""
        return Key("address", f"{self.address} on {self.link}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A kernel switch that must have a value.

    Unless `is_borrowed` it is never set back: it has no owner. A borrowed one is the host's, and
    gets back what it had when nobody needs it any more (`netplug.model.Borrowed`). One of `link`,
    which is ours, comes and goes with that.
    """

    name: str
    value: str
    link: str = field(default="", metadata=SET_ONCE)
    is_borrowed: bool | None = field(default=None, metadata=SET_ONCE)

    @property
    def key(self) -> Key:
        """Return the key: the path below /proc/sys with slashes."""
        return Key("sysctl", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Masquerade:
    """What leaves `subnet` for a link that is not ours takes that link's address."""

    subnet: IPNetwork

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("masquerade", str(self.subnet))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSubnet:
    """Packets from `subnet` may be routed out of `link` again: both are one network."""

    subnet: IPNetwork
    link: str

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("local-subnet", f"{self.subnet} on {self.link}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSubnet:
    """Packets from `subnet`, that of one network, may be routed out of `link`, that of another."""

    subnet: IPNetwork
    link: str

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("peer-subnet", f"{self.subnet} to {self.link}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """An endpoint of a network that keeps its endpoints apart, but not from this one."""

    address: IPAddress

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("hub", str(self.address))


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectAnswer:
    """The sandbox of the endpoint with `address` is on the bridge `link`, too.

    It answers clients there directly, past the translation by which they reached a published port,
    so that they must seem to be the host.
    """

    address: IPAddress
    link: str

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("direct-answer", f"{self.address} to {self.link}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSubnet:
    """A subnet of the engine's own networks: ours reach only what is published there."""

    subnet: IPNetwork

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("engine-subnet", str(self.subnet))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPort:
    """A port of an endpoint that is routed to: reached from outside without translation."""

    protocol: Protocol
    address: IPAddress
    port: int

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("open-port", _ports_text(self.protocol, self.address, self.port, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedPort:
    """Published ports of a routed endpoint, `count` from `first` on: open to everybody."""

    protocol: Protocol
    address: IPAddress
    first: int
    count: int = 1

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("routed-port", _ports_text(self.protocol, self.address, self.first, self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedPair:
    """Routed endpoints in `source` reach those in `destination`: of one network, or of peers."""

    source: IPNetwork
    destination: IPNetwork

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("routed-pair", f"{self.source} to {self.destination}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedSource:
    """The sandbox behind the routed link `link` sends from `address` too, of another link of its.

    A sandbox answers by the link of its default route, whichever of its addresses was asked.
    """

    link: str
    address: IPAddress

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("routed-source", f"{self.address} by {self.link}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    """The rules that every network shares. Their number does not depend on what they serve.

    `filters_bridged` tells that this kernel shows bridged packets to the FORWARD hook
    (net.bridge.bridge-nf-call-iptables exists), so that they must be accepted there. Both are
    unknown of rules that an earlier run left: they are replaced or removed. `faults` names what is
    missing or was changed, in words.
    """

    has_ipv6: bool | None = None
    filters_bridged: bool | None = None
    faults: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Return the key; there is one firewall."""
        return Key("firewall", "PYNET")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedFilter:
    """The rules that decide who reaches routed endpoints, and what those may send.

    All networks with such endpoints share them; others do without. Packets to a routed endpoint
    pass the rest of the firewall by.
    """

    @property
    def key(self) -> Key:
        """Return the key; there is one."""
        return Key("routed-filter", "PYNET")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoofGuard:
    """What the guarded port `link` may send: frames of its own MAC, from its own addresses.

    Without addresses, only the MAC counts. It goes by the name of the link, so that it is there
    before the link is.
    """

    link: str
    mac: str
    addresses: frozenset[IPAddress] = frozenset()

    @property
    def key(self) -> Key:
        """Return the key: one guard a link."""
        return Key("spoof-guard", self.link)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLink:
    """The container side of a link where pynet, not dockerd, moves and configures it.

    `netns` is a path that `setns(2)` accepts. `gateways` become default routes, after `routes`. Of
    a veth pair it goes with the host end, `host_link`. A `sublink` is made, moved in and, at the
    end, removed in there; `host_link` is then its parent.
    """

    host_link: str = field(metadata=SET_ONCE)
    peer: str = field(metadata=SET_ONCE)
    netns: str
    name: str
    mac: str | None = None
    addresses: tuple[IPInterface, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    gateways: tuple[IPAddress, ...] = ()
    sublink: Sublink | None = field(default=None, metadata=SET_ONCE)

    @property
    def key(self) -> Key:
        """Return the key: one name a namespace."""
        return Key("sandbox-link", f"{self.name} in {self.netns}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxMtu:
    """The MTU of the container side of `link`, which is found in `netns` by its alias.

    It is nobody's but the container's: where it is not found, there is nothing to mend.
    """

    link: str
    netns: str
    mtu_bytes: int

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("sandbox-mtu", self.link)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFilter:
    """What a sublink may send and receive, by rules in the sandbox `netns` itself.

    Packets of a macvlan or ipvlan pass no rule of the host's. `link` is the sublink's first name,
    by whose alias it is found, as soon as it is there. With `guards` it sends only from `mac`,
    where that is given, and `addresses`; `ports`, where not None, are all that new connections
    reach: protocol, first and last port, of runs that do not overlap.
    """

    link: str
    netns: str
    mac: str = ""
    addresses: frozenset[IPAddress] = frozenset()
    guards: bool = False
    ports: frozenset[tuple[Protocol, int, int]] | None = None

    @property
    def key(self) -> Key:
        """Return the key: one filter a link."""
        return Key("sandbox-filter", self.link)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPort:
    """Ports of the host that nobody else may take, `count` from `first` on: bound sockets.

    `address` is the host's; unspecified, it means every address of its family. Where `relay_to` is
    given, what reaches the sockets themselves is carried there, from `relay_port` on: packets that
    no rule of the kernel can send on, such as those to ::1, or from IPv6 to a container without it.
    """

    protocol: Protocol
    address: IPAddress
    first: int
    count: int = 1
    relay_to: IPAddress | None = None
    relay_port: int | None = None

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("host-port", _ports_text(self.protocol, self.address, self.first, self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class PortForward:
    """New connections to a host port, or a run of them, go to a container instead.

    `address` is as in `HostPort`. A run arrives port by port, in order, from `to_port` on.
    """

    protocol: Protocol
    address: IPAddress
    first: int
    count: int = 1
    to_address: IPAddress
    to_port: int

    @property
    def key(self) -> Key:
        """Return the key."""
        return Key("port-forward", _ports_text(self.protocol, self.address, self.first, self.count))


def _ports_text(protocol: Protocol, address: IPAddress, first: int, count: int) -> str:
    ports = f"{first}-{first + count - 1}" if count > 1 else f"{first}"
    host = f"[{address}]" if address.version == 6 else f"{address}"
    return f"{host}:{ports}/{protocol}"


SetMember = Masquerade | LocalSubnet | Hub | PeerSubnet | DirectAnswer | EngineSubnet | OpenPort
"""What is kept in the firewall's sets."""

KernelObject = (
    Bridge
    | Veth
    | RoutedVeth
    | Vlan
    | Sublink
    | Shim
    | Address
    | Route
    | ProxyNeighbour
    | Sysctl
    | SetMember
    | Firewall
    | RoutedFilter
    | SpoofGuard
    | RoutedPort
    | RoutedPair
    | RoutedSource
    | SandboxLink
    | SandboxMtu
    | SandboxFilter
    | HostPort
    | PortForward
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A link of that name exists and is not ours: it is read, never changed or removed."""

    key: Key
    description: str
