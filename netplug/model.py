"""What there is: networks, endpoints, pools, leases, names. Frozen values, hardly any behaviour.

Every record that outlives the daemon is here, and `netplug.store` writes exactly these.

Not here: all of them at one moment (`netplug.view`), kernel objects (`netplug.plan.objects`),
Docker's spelling (`netplug.api.wire`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from types import MappingProxyType
from typing import NewType

from netplug.leases import IPAddress as IPAddress
from netplug.leases import Lease as Lease
from netplug.leases import LeaseBook as LeaseBook
from netplug.leases import LeaseKind as LeaseKind
from netplug.leases import PoolId as PoolId
from netplug.leases import Stickiness as Stickiness
from netplug.sticky import Sticky as Sticky
from netplug.sticky import StickyBook as StickyBook

IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

NetworkId = NewType("NetworkId", str)
EndpointId = NewType("EndpointId", str)

NameKey = tuple[NetworkId, str, "RecordKind"]


class Origin(StrEnum):
    """Who asked for a network or endpoint, and hence who may delete it."""

    DOCKER = "docker"
    PYNET = "pynet"


class NetworkState(StrEnum):
    """How far a network's creation came."""

    PENDING = "pending"
    READY = "ready"


class Protocol(StrEnum):
    """The transport of a published port."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRequest:
    """A port, or a run of `count` ports, of a container that the host is asked to publish.

    `host_ip` None leaves the addresses to the network's default. `host_port` 0 leaves the choice to
    the host; otherwise the first free port from `host_port` to `host_port_end` is taken, which are
    equal where the choice is the user's. A run is published port by port, in order, from
    `host_port` on.
    """

    protocol: Protocol
    container_port: int
    host_ip: IPAddress | None = None
    host_port: int = 0
    host_port_end: int = 0
    count: int = 1
    origin: Origin = Origin.DOCKER

    @property
    def text(self) -> str:
        """Return it as Docker's `-p` has it: "127.0.0.1:8080:80/tcp", "8000-8009:9000-9009/udp"."""
        ip = "" if self.host_ip is None else _in_url(self.host_ip)
        last = self.host_port + self.count - 1 if self.count > 1 else self.host_port_end
        parts = (ip, _run(self.host_port, last) if self.host_port else "")
        host = ":".join(part for part in parts if part or ip)
        inside = _run(self.container_port, self.container_port + self.count - 1)
        return f"{host}:{inside}/{self.protocol}".removeprefix(":")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPorts:
    """Ports of the host, from `first` to `last`; `host_ip` None is on whatever address."""

    protocol: Protocol
    first: int
    last: int
    host_ip: IPAddress | None = None

    @property
    def text(self) -> str:
        """Return them as a user names them: "127.0.0.1:8080/tcp", "8000-8009/udp"."""
        ip = "" if self.host_ip is None else f"{_in_url(self.host_ip)}:"
        return f"{ip}{_run(self.first, self.last)}/{self.protocol}"

    def cut(self, mapping: PortMapping) -> tuple[PortMapping | None, tuple[PortMapping, ...]]:
        """Return what of a mapping is one of these ports, and the rest of it."""
        first, last = (max(self.first, mapping.host_port), min(self.last, mapping.last_host_port))
        on = tuple(ip for ip in mapping.host_ips if self.host_ip in (None, ip))
        if mapping.asked.protocol is not self.protocol or first > last or not on:
            return None, (mapping,)
        elsewhere = tuple(ip for ip in mapping.host_ips if ip not in on)
        rest = [replace(mapping, host_ips=elsewhere)] if elsewhere else []
        here = replace(mapping, host_ips=on)
        if mapping.host_port < first:
            rest.append(here.part(mapping.host_port, first - 1))
        if last < mapping.last_host_port:
            rest.append(here.part(last + 1, mapping.last_host_port))
        return here.part(first, last), tuple(rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """A published port or run of ports: what was asked, and which host port it got.

    `host_ips` are the addresses it is published on; an unspecified one means every address of its
    family.
    """

    asked: PortRequest
    host_ips: tuple[IPAddress, ...]
    host_port: int

    @property
    def last_host_port(self) -> int:
        """Return the last host port of the run."""
        return self.host_port + self.asked.count - 1

    def part(self, first: int, last: int) -> PortMapping:
        """Return the part of a run from host port `first` to `last`, which lie in it."""
        if (first, last) == (self.host_port, self.last_host_port):
            return self
        asked = replace(
            self.asked,
            container_port=self.asked.container_port + first - self.host_port,
            host_port=first,
            host_port_end=first,
            count=last - first + 1,
        )
        return replace(self, asked=asked, host_port=first)

    def overlaps(self, other: PortMapping) -> bool:
        """Return whether a packet could be for both."""
        if self.asked.protocol is not other.asked.protocol:
            return False
        if self.host_port > other.last_host_port or other.host_port > self.last_host_port:
            return False
        return any(
            one.version == two.version and (one == two or one.is_unspecified or two.is_unspecified)
            for one in self.host_ips
            for two in other.host_ips
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who is at an endpoint: what it is called there besides its name, and where it listens.

    `short_id` is the beginning of the container's id; `project`, `service` and `number` are what
    Compose calls it; `ports` are those exposed or published; `links` are names that only it has
    for others. All of it is empty where the engine, or the user who attached a namespace, says
    nothing of it.
    """

    aliases: tuple[str, ...] = ()
    hostname: str = ""
    short_id: str = ""
    project: str = ""
    service: str = ""
    number: str = ""
    ports: tuple[tuple[Protocol, int], ...] = ()
    links: tuple[str, ...] = ()


class RecordKind(StrEnum):
    """The type of a name's record; RFC 1035 section 3.2.2, RFC 2782, RFC 3596."""

    A = "A"
    AAAA = "AAAA"
    CNAME = "CNAME"
    TXT = "TXT"
    SRV = "SRV"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRecord:
    """What a user says a name of a network means; `name` is relative to it, in lower case."""

    network_id: NetworkId
    name: str
    kind: RecordKind
    values: tuple[str, ...]
    created_at: datetime

    @property
    def key(self) -> NameKey:
        """Return what it is known by."""
        return (self.network_id, self.name, self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One address range of a network; `gateway` carries the pool's prefix length."""

    pool: IPNetwork
    gateway: IPInterface | None = None
    aux: tuple[tuple[str, IPAddress], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A link of the host's that a network stands on, as it was when the network was made.

    `index` and `mac` tell it from another that takes its name, and find it under a new one. Where
    `vlan_id` is given, the link is a VLAN of the link `vlan_of` that pynet makes and removes, and
    they are those of `vlan_of`.
    """

    name: str
    index: int = 0
    mac: str = ""
    vlan_of: str = ""
    vlan_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network on this host. `options` are the raw driver options, as the user wrote them.

    `parent` is the link that it stands on, None where it has one of its own.
    `peers` are the networks that it may talk to, each of which has it among its own.
    `uplink_mtu_bytes` is the uplink's MTU when the network was made: a later change of the uplink
    must not change the network under its containers. That of a `parent` is followed.
    """

    id: NetworkId
    name: str = ""
    driver: str = "bridge"
    origin: Origin = Origin.DOCKER
    options: tuple[tuple[str, str], ...] = ()
    is_internal: bool = False
    has_ipv4: bool = True
    has_ipv6: bool = False
    subnets: tuple[Subnet, ...] = ()
    pool_ids: tuple[PoolId, ...] = ()
    peers: tuple[NetworkId, ...] = ()
    parent: Parent | None = None
    uplink_mtu_bytes: int = 1500
    state: NetworkState = NetworkState.PENDING
    created_at: datetime

    @property
    def short_id(self) -> str:
        """Return the twelve characters that Docker shows."""
        return self.id[:12]

    @property
    def label(self) -> str:
        """Return what a person calls it: the name, else the short id."""
        return self.name or self.short_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A container's (or namespace's) place on a network.

    `identity` is None until the engine told it. `sandbox` is the netns path named at Join. From
    Join on the container side of the veth is *lent*: dockerd moves and renames it, and pynet
    neither recreates nor deletes it behind its back. Where pynet fills the sandbox itself,
    `interface` is the link's name in there. `mac` is empty where the link has that of its parent.
    `awaited` are the ports that Docker asks for here, and
    that another endpoint of the sandbox serves, in whole or on some addresses.
    """

    id: EndpointId
    network_id: NetworkId
    name: str = ""
    identity: Identity | None = None
    origin: Origin = Origin.DOCKER
    mac: str
    addresses: tuple[IPInterface, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    sandbox: str = ""
    interface: str = ""
    is_lent: bool = False
    ports: tuple[PortMapping, ...] = ()
    awaited: tuple[PortRequest, ...] = ()
    created_at: datetime

    @property
    def short_id(self) -> str:
        """Return the twelve characters that Docker shows."""
        return self.id[:12]

    @property
    def label(self) -> str:
        """Return what a person calls it: the name, else the short id."""
        return self.name or self.short_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRoute:
    """A route inside the sandbox; without `next_hop` it is on-link."""

    destination: IPNetwork
    next_hop: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class PoolRange:
    """Where automatic pools are cut from, and the prefix length that they have by default."""

    base: IPNetwork
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A range of addresses that leases are taken from.

    `sub_range` narrows dynamic choice (Docker's --ip-range). `cursor` is the last address chosen
    dynamically: the next choice starts behind it, so that a released address rests. With
    `may_overlap` the user knows of what else the network reaches. `is_sticky` tells that addresses
    are kept for whoever had them.
    """

    id: PoolId
    space: str
    network: IPNetwork
    sub_range: IPNetwork | None = None
    is_auto: bool = False
    may_overlap: bool = False
    is_sticky: bool = True
    cursor: IPAddress | None = None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowed:
    """A kernel switch of the host's that has a `value` of ours until nobody needs it any more.

    `before` is what it had, and gets back unless somebody else changed it meanwhile. Of one that
    another one moved, `value` is what it has once that one is given back.
    """

    name: str
    value: str
    before: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """What this installation remembers about itself.

    `instance` marks kernel objects as belonging to this state; `ula` is the /48 that automatic
    IPv6 pools are cut from (RFC 4193, random); the cursors are the last automatic pools;
    `engine_id` is the Docker Engine that this state was used with; `borrowed` are the switches to
    give back, in the order in which they were taken.
    """

    instance: str
    ula: IPv6Network
    cursor_ipv4: IPv4Network | None = None
    cursor_ipv6: IPv6Network | None = None
    engine_id: str = ""
    borrowed: tuple[Borrowed, ...] = ()

    def with_engine(self, engine_id: str) -> HostState:
        """Return this with another engine."""
        return replace(self, engine_id=engine_id)


def _in_url(address: IPAddress) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def _run(first: int, last: int) -> str:
    return f"{first}-{last}" if last > first else str(first)


Record = Network | Endpoint | Pool | Lease | Sticky | NameRecord | HostState


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """What a link of the host's is like.

    `kind` is the kernel's word for its type ("vlan", "bond"), empty for hardware; `master` is the
    link that it is a port of, if any.
    """

    name: str
    index: int = 0
    mac: str = ""
    mtu_bytes: int = 1500
    kind: str = ""
    master: str = ""
    is_loopback: bool = False
    is_wireless: bool = False
    is_up: bool = True


class Way(StrEnum):
    """How a network is in use beside ours.

    DIRECT: on a link. GATEWAY: behind a router. ADDRESS: it is the host's own. ROUTER: it is one of
    the host's routers. RESOLVER: the host asks it for names. DOCKER: it is of one of Docker's
    networks, which the kernel need not know. DOCKER_BRIDGE: likewise, but the kernel knows better,
    and sooner.
    """

    DIRECT = "direct"
    GATEWAY = "gateway"
    ADDRESS = "address"
    ROUTER = "router"
    RESOLVER = "resolver"
    DOCKER = "docker"
    DOCKER_BRIDGE = "docker-bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A network, or a single address, in use beside ours; `where` is the link or network."""

    network: IPNetwork
    way: Way
    where: str = ""


def _no_links() -> Mapping[str, LinkFacts]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the host is like; read once at start and again when it may have changed.

    `uplink` is the interface with the default route, empty without one, and `uplink_mtu_bytes` its
    MTU, else 1500; `links` and `link_kinds` are those that were asked about and exist;
    `has_spoof_guard` tells that endpoints can be kept to their own addresses;
    `ephemeral_ports` are the first and the last port that the kernel chooses from by itself.
    """

    uplink: str = ""
    uplink_mtu_bytes: int = 1500
    links: Mapping[str, LinkFacts] = field(default_factory=_no_links)
    link_kinds: frozenset[str] = frozenset()
    has_ipv6: bool = True
    filters_bridged: bool = False
    has_spoof_guard: bool = True
    ephemeral_ports: tuple[int, int] = (32768, 60999)
