"""What there is: networks, endpoints, pools, leases, names. Frozen values, hardly any behaviour.

Every record that outlives the daemon is here, and `netplug.store` writes exactly these.
`View` is all of them at one moment; it is replaced whole, never changed.

Not here: kernel objects (`netplug.plan.objects`), Docker's spelling (`netplug.api.wire`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NewType

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


_NOTHING_KEPT = StickyBook()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything known at one moment. Never changed: `with_records` and `without` make a new one.

    Cost of changes made at once: one shallow copy of each mapping concerned, of two for endpoints;
    for leases see `netplug.leases`. Pools with no lease and nothing withheld have no book.
    `engine_subnets` are those of the bridges that the engine makes itself; None until it told.
    `beside_us` are those of all its networks that are not ours.
    `sandboxes` are the endpoints in each, `pool_users` the networks that have the pools.
    """

    host: HostState
    facts: HostFacts = HostFacts()
    engine_subnets: frozenset[IPNetwork] | None = None
    beside_us: frozenset[Reached] = frozenset()
    networks: Mapping[NetworkId, Network] = field(default_factory=lambda: MappingProxyType({}))
    endpoints: Mapping[EndpointId, Endpoint] = field(default_factory=lambda: MappingProxyType({}))
    sandboxes: Mapping[str, frozenset[EndpointId]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    pools: Mapping[PoolId, Pool] = field(default_factory=lambda: MappingProxyType({}))
    pool_users: Mapping[PoolId, NetworkId] = field(default_factory=lambda: MappingProxyType({}))
    leases: Mapping[PoolId, LeaseBook] = field(default_factory=lambda: MappingProxyType({}))
    sticky: Mapping[PoolId, StickyBook] = field(default_factory=lambda: MappingProxyType({}))
    records: Mapping[NameKey, NameRecord] = field(default_factory=lambda: MappingProxyType({}))

    def with_records(self, records: Iterable[Record]) -> View:
        """Return a view in which each of `records` is put in the place of its namesake."""
        return self.changed(puts=records)

    def without(self, records: Iterable[Record]) -> View:
        """Return a view without `records`; those that are not there are passed over."""
        return self.changed(drops=records)

    def changed(
        self,
        *,
        drops: Iterable[Record] = (),
        puts: Iterable[Record] = (),
        withheld: Iterable[Lease | Sticky] = (),
    ) -> View:
        """Return a view with all these changes, in this order.

        The addresses of the records `withheld` are withheld, whether those are there or not.
        """
        draft = _Draft(self)
        for record in drops:
            draft.drop(record)
        for record in puts:
            draft.put(record)
        for record in withheld:
            draft.withhold(record.pool_id, record.address)
        return draft.view()

    def with_facts(self, facts: HostFacts) -> View:
        """Return this view of a host that has changed."""
        return replace(self, facts=facts)

    def with_engine_subnets(
        self, subnets: frozenset[IPNetwork], beside_us: frozenset[Reached]
    ) -> View:
        """Return this view beside an engine that has changed."""
        return replace(self, engine_subnets=subnets, beside_us=beside_us)

    def without_withheld(self, addresses: Mapping[PoolId, Iterable[IPAddress]]) -> View:
        """Return a view in which these are withheld no more, but for those that are kept."""
        draft = _Draft(self)
        for pool_id, of_pool in addresses.items():
            draft.release_withheld(pool_id, of_pool)
        return draft.view()

    def leases_of(self, pool_id: PoolId) -> LeaseBook:
        """Return the leases of a pool by address; empty for an unknown pool."""
        book = self.leases.get(pool_id)
        return LeaseBook(pool_id) if book is None else book

    def sticky_of(self, pool_id: PoolId) -> StickyBook:
        """Return who keeps which address of a pool; such addresses are withheld."""
        return self.sticky.get(pool_id, _NOTHING_KEPT)

    def network_of(self, pool_id: PoolId) -> Network | None:
        """Return the network that has a pool; None for an unknown pool, and one of another's."""
        user = self.pool_users.get(pool_id)
        return None if user is None else self.networks[user]

    def endpoints_of(self, network_id: NetworkId) -> tuple[Endpoint, ...]:
        """Return the endpoints on a network."""
        return tuple(e for e in self.endpoints.values() if e.network_id == network_id)

    def beside(self, endpoint: Endpoint) -> tuple[Endpoint, ...]:
        """Return the other endpoints of an endpoint's sandbox; none while it is in no sandbox."""
        known = self.sandboxes.get(endpoint.sandbox, frozenset())
        return tuple(self.endpoints[other] for other in sorted(known - {endpoint.id}))

    def records_of(self, network_id: NetworkId) -> tuple[NameRecord, ...]:
        """Return what users say of the names of a network."""
        return tuple(r for r in self.records.values() if r.network_id == network_id)


_VIEW_FIELDS = tuple(f.name for f in fields(View))
_values = attrgetter(*_VIEW_FIELDS)


class _Draft:
    """A view in the making: each of its mappings is copied once, when it is first changed."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._host = view.host
        self._tables: dict[str, dict[Any, Any]] = {}
        self._books: dict[PoolId, LeaseBook] = {}
        self._leases: dict[PoolId, list[tuple[IPAddress, Lease | None]]] = {}
        self._withheld: dict[PoolId, list[IPAddress]] = {}
        self._sticky: dict[PoolId, dict[IPAddress, Sticky | None]] = {}

    def put(self, record: Record) -> None:
        """Put `record` in the place of its namesake."""
        match record:
            case Network():
                self._have(record.id, record.pool_ids)
                self._table("networks")[record.id] = record
            case Endpoint():
                self._move(record.id, record.sandbox)
                self._table("endpoints")[record.id] = record
            case Pool():
                self._table("pools")[record.id] = record
            case Lease():
                self._leases.setdefault(record.pool_id, []).append((record.address, record))
            case Sticky():
                self._sticky.setdefault(record.pool_id, {})[record.address] = record
                self._leases.setdefault(record.pool_id, [])
                self._withheld.setdefault(record.pool_id, []).append(record.address)
            case NameRecord():
                self._table("records")[record.key] = record
            case HostState():
                self._host = record

    def drop(self, record: Record) -> None:
        """Leave `record` out; a pool's leases and what is kept of it go with it."""
        match record:
            case Network():
                self._have(record.id, ())
                self._table("networks").pop(record.id, None)
            case Endpoint():
                self._move(record.id, "")
                self._table("endpoints").pop(record.id, None)
            case Pool():
                self._table("pools").pop(record.id, None)
                self._books[record.id] = LeaseBook(record.id)
                self._leases.pop(record.id, None)
                self._table("sticky").pop(record.id, None)
                self._sticky.pop(record.id, None)
                self._withheld.pop(record.id, None)
            case Lease():
                self._leases.setdefault(record.pool_id, []).append((record.address, None))
            case Sticky():
                self._sticky.setdefault(record.pool_id, {})[record.address] = None
            case NameRecord():
                self._table("records").pop(record.key, None)
            case HostState():
                pass

    def withhold(self, pool_id: PoolId, address: IPAddress) -> None:
        """Withhold one more address of a pool that is there."""
        if pool_id in self._view.pools:
            self._leases.setdefault(pool_id, [])
            self._withheld.setdefault(pool_id, []).append(address)

    def release_withheld(self, pool_id: PoolId, addresses: Iterable[IPAddress]) -> None:
        """Withhold addresses of a pool no more, but those that are kept."""
        if kept := self._view.sticky_of(pool_id):
            addresses = [address for address in addresses if address not in kept]
        self._books[pool_id] = self._book(pool_id).release_withheld(addresses)

    def view(self) -> View:
        """Return what came of it."""
        for pool_id, changes in self._leases.items():
            withheld = self._withheld.get(pool_id, ())
            self._books[pool_id] = self._book(pool_id).changed(changes, withheld)
        for pool_id, kept in self._sticky.items():
            self._keep(pool_id, kept)
        for pool_id, book in self._books.items():
            if book.is_blank:
                self._table("leases").pop(pool_id, None)
            else:
                self._table("leases")[pool_id] = book
        values: dict[str, Any] = dict(zip(_VIEW_FIELDS, _values(self._view), strict=True))
        values["host"] = self._host
        for name, table in self._tables.items():
            values[name] = MappingProxyType(table)
        return View(**values)  # half the cost of replace()

    def _keep(self, pool_id: PoolId, changes: Mapping[IPAddress, Sticky | None]) -> None:
        """Change what is kept of a pool; what is not kept any more is not withheld for it."""
        if gone := [address for address, sticky in changes.items() if sticky is None]:
            self._books[pool_id] = self._book(pool_id).release_withheld(gone)
        if kept := self._view.sticky_of(pool_id).changed(changes):
            self._table("sticky")[pool_id] = kept
        else:
            self._table("sticky").pop(pool_id, None)

    def _have(self, network_id: NetworkId, pool_ids: tuple[PoolId, ...]) -> None:
        """Note which pools a network has from now on."""
        before = self._table("networks").get(network_id)
        known = before.pool_ids if before else ()
        if known == pool_ids:
            return
        users = self._table("pool_users")
        for pool_id in known:
            if users.get(pool_id) == network_id:
                del users[pool_id]
        users |= dict.fromkeys(pool_ids, network_id)

    def _move(self, endpoint_id: EndpointId, sandbox: str) -> None:
        """Note in which sandbox an endpoint is from now on, if in any."""
        before = self._table("endpoints").get(endpoint_id)
        if (before.sandbox if before else "") == sandbox:
            return
        sandboxes = self._table("sandboxes")
        if before and before.sandbox:
            sandboxes[before.sandbox] -= {endpoint_id}
            if not sandboxes[before.sandbox]:
                del sandboxes[before.sandbox]
        if sandbox:
            sandboxes[sandbox] = sandboxes.get(sandbox, frozenset()) | {endpoint_id}

    def _table(self, name: str) -> dict[Any, Any]:
        if name not in self._tables:
            self._tables[name] = getattr(
                self._view, name
            ).copy()  # dict() of a proxy is 10 x slower
        return self._tables[name]

    def _book(self, pool_id: PoolId) -> LeaseBook:
        book = self._books.get(pool_id)
        return self._view.leases_of(pool_id) if book is None else book
