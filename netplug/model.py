"""What there is: networks, endpoints, pools, leases. Frozen values, no behaviour beyond them.

Every record that outlives the daemon is here, and `netplug.store` writes exactly these.
`View` is all of them at one moment; it is replaced whole, never changed.

Not here: kernel objects (`netplug.plan.objects`), Docker's spelling (`netplug.api.wire`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import MappingProxyType
from typing import NewType

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

NetworkId = NewType("NetworkId", str)
EndpointId = NewType("EndpointId", str)
PoolId = NewType("PoolId", str)


class Origin(StrEnum):
    """Who asked for a network or endpoint, and hence who may delete it."""

    DOCKER = "docker"
    PYNET = "pynet"


class NetworkState(StrEnum):
    """How far a network's creation came."""

    PENDING = "pending"
    READY = "ready"


class LeaseKind(StrEnum):
    """What an address is leased for."""

    GATEWAY = "gateway"
    RESERVED = "reserved"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One address range of a network; `gateway` carries the pool's prefix length."""

    pool: IPNetwork
    gateway: IPInterface | None = None
    aux: tuple[tuple[str, IPAddress], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network on this host. `options` are the raw driver options, as the user wrote them.

    `uplink_mtu_bytes` is the uplink's MTU when the network was made: a later change of the uplink
    must not change the network under its containers.
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

    `sandbox` is the netns path named at Join. From Join on the container side of the veth is
    *lent*: dockerd moves and renames it, and pynet neither recreates nor deletes it behind its
    back. Where pynet fills the sandbox itself, `interface` is the link's name in there.
    """

    id: EndpointId
    network_id: NetworkId
    name: str = ""
    origin: Origin = Origin.DOCKER
    mac: str
    addresses: tuple[IPInterface, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    sandbox: str = ""
    interface: str = ""
    is_lent: bool = False
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
class Pool:
    """A range of addresses that leases are taken from.

    `sub_range` narrows dynamic choice (Docker's --ip-range). `cursor` is the last address chosen
    dynamically: the next choice starts behind it, so that a released address rests.
    """

    id: PoolId
    space: str
    network: IPNetwork
    sub_range: IPNetwork | None = None
    is_auto: bool = False
    cursor: IPAddress | None = None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One address of a pool, taken."""

    pool_id: PoolId
    address: IPAddress
    kind: LeaseKind = LeaseKind.ENDPOINT
    owner: str = ""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """What this installation remembers about itself.

    `instance` marks kernel objects as belonging to this state; `ula` is the /48 that automatic
    IPv6 pools are cut from (RFC 4193, random); the cursors are the last automatic pools;
    `engine_id` is the Docker Engine that this state was used with.
    """

    instance: str
    ula: IPv6Network
    cursor_ipv4: IPv4Network | None = None
    cursor_ipv6: IPv6Network | None = None
    engine_id: str = ""

    def with_engine(self, engine_id: str) -> HostState:
        """Return this with another engine."""
        return replace(self, engine_id=engine_id)


Record = Network | Endpoint | Pool | Lease | HostState


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the host is like; read once at start and again when it may have changed.

    `uplink_mtu_bytes` is that of the interface with the default route, else 1500.
    """

    uplink_mtu_bytes: int = 1500
    has_ipv6: bool = True
    filters_bridged: bool = False


def _no_leases() -> Mapping[PoolId, Mapping[IPAddress, Lease]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything known at one moment. Never changed: `with_records` and `without` make a new one.

    Cost of a change: one shallow copy of the mapping concerned.
    """

    host: HostState
    facts: HostFacts = HostFacts()
    networks: Mapping[NetworkId, Network] = field(default_factory=lambda: MappingProxyType({}))
    endpoints: Mapping[EndpointId, Endpoint] = field(default_factory=lambda: MappingProxyType({}))
    pools: Mapping[PoolId, Pool] = field(default_factory=lambda: MappingProxyType({}))
    leases: Mapping[PoolId, Mapping[IPAddress, Lease]] = field(default_factory=_no_leases)

    def with_records(self, records: Iterable[Record]) -> View:
        """Return a view in which each of `records` is put in the place of its namesake."""
        view = self
        for record in records:
            view = view._put(record)
        return view

    def without(self, records: Iterable[Record]) -> View:
        """Return a view without `records`; those that are not there are passed over."""
        view = self
        for record in records:
            view = view._drop(record)
        return view

    def with_facts(self, facts: HostFacts) -> View:
        """Return this view of a host that has changed."""
        return replace(self, facts=facts)

    def leases_of(self, pool_id: PoolId) -> Mapping[IPAddress, Lease]:
        """Return the leases of a pool by address; empty for an unknown pool."""
        return self.leases.get(pool_id, MappingProxyType({}))

    def endpoints_of(self, network_id: NetworkId) -> tuple[Endpoint, ...]:
        """Return the endpoints on a network."""
        return tuple(e for e in self.endpoints.values() if e.network_id == network_id)

    def _put(self, record: Record) -> View:
        match record:
            case Network():
                networks = {**self.networks, record.id: record}
                return replace(self, networks=MappingProxyType(networks))
            case Endpoint():
                return replace(
                    self, endpoints=MappingProxyType({**self.endpoints, record.id: record})
                )
            case Pool():
                return replace(self, pools=MappingProxyType({**self.pools, record.id: record}))
            case Lease():
                of_pool = {**self.leases_of(record.pool_id), record.address: record}
                return self._with_leases(record.pool_id, of_pool)
            case HostState():
                return replace(self, host=record)

    def _drop(self, record: Record) -> View:
        match record:
            case Network():
                kept = {k: v for k, v in self.networks.items() if k != record.id}
                return replace(self, networks=MappingProxyType(kept))
            case Endpoint():
                left = {k: v for k, v in self.endpoints.items() if k != record.id}
                return replace(self, endpoints=MappingProxyType(left))
            case Pool():
                pools = {k: v for k, v in self.pools.items() if k != record.id}
                return replace(self, pools=MappingProxyType(pools))._with_leases(record.id, {})
            case Lease():
                of_pool = dict(self.leases_of(record.pool_id))
                of_pool.pop(record.address, None)
                return self._with_leases(record.pool_id, of_pool)
            case HostState():
                return self

    def _with_leases(self, pool_id: PoolId, of_pool: dict[IPAddress, Lease]) -> View:
        leases = {**self.leases, pool_id: MappingProxyType(of_pool)}
        if not of_pool:
            del leases[pool_id]
        return replace(self, leases=MappingProxyType(leases))
