"""What dockerd remembers: networks, and containers with their endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from integration.conformance.replies import IPInterface, Joined
from integration.conformance.sandbox import Sandbox
from integration.conformance.specs import EndpointSpec, NetworkSpec

Role = frozenset[int]
"""The IP versions for which an endpoint is the gateway endpoint of its sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A pool of a network, with the addresses reserved in it; the null IPAM's has no id."""

    space: str
    pool_id: str
    pool: IPInterface
    gateway: IPInterface | None = None
    aux: Mapping[str, IPInterface] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    id: str
    spec: NetworkSpec
    allocations: tuple[Allocation, ...]

    @property
    def name(self) -> str:
        return self.spec.name

    def of_version(self, version: int) -> tuple[Allocation, ...]:
        return tuple(a for a in self.allocations if a.pool.version == version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An address and the pool that it goes back to."""

    pool_id: str
    address: IPInterface


@dataclass(slots=True, kw_only=True)
class Endpoint:
    id: str
    spec: EndpointSpec
    held: tuple[Held, ...] = ()
    mac: str = ""
    joined: Joined | None = None
    interface: str = ""

    @property
    def network(self) -> Network:
        return self.spec.network

    @property
    def link(self) -> str:
        """The link that the driver lent, by its name outside."""
        assert self.joined is not None
        assert self.joined.interface_name is not None
        return self.joined.interface_name.src_name or ""

    def address(self, version: int) -> IPInterface | None:
        return next((h.address for h in self.held if h.address.version == version), None)

    def ip(self, version: int = 4) -> str:
        """The address without its prefix; a test that asks knows that there is one."""
        address = self.address(version)
        assert address is not None
        return str(address.ip)

    def gateway(self, version: int) -> str:
        """What Join said; an IPv6 gateway is nothing to an endpoint without IPv6 address."""
        if self.joined is None or self.address(version) is None:
            return ""
        return (self.joined.gateway if version == 4 else self.joined.gateway_ipv6) or ""


@dataclass(slots=True, kw_only=True)
class Container:
    name: str
    sandbox: Sandbox
    endpoints: list[Endpoint] = field(default_factory=list)
    roles: dict[str, Role] = field(default_factory=dict)

    def on(self, network: Network) -> Endpoint:
        return next(e for e in self.endpoints if e.network.id == network.id)
