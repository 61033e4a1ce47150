"""On which addresses of the host the ports of an endpoint are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netplug.errors import PortRefused
from netplug.model import Endpoint, IPAddress, Origin, PortRequest, Protocol

_EVERYWHERE: tuple[IPAddress, ...] = (IPv4Address(0), IPv6Address(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where `endpoint` can be reached from the host.

    `usual` are the addresses of the host for what names none, empty for all of them.
    `crosses_families` lets an endpoint without IPv6 be reached on the host's IPv6 ports, and
    `beside` is what other endpoints of the sandbox serve.
    """

    endpoint: Endpoint
    usual: tuple[IPAddress, ...]
    has_ipv6: bool
    crosses_families: bool
    beside: Mapping[PortRequest, frozenset[IPAddress]]

    def host_ips(self, request: PortRequest) -> tuple[IPAddress, ...]:
        """Return the addresses of the host on which this endpoint is to serve a request.

        They are none where it must not cross, or others serve it.

        Raises:
            PortRefused: the endpoint cannot be reached on any of them.
        """
        served = self.beside.get(request, frozenset())
        return tuple(ip for ip in self._wished(request) if ip not in served)

    def is_awaited(self, request: PortRequest) -> bool:
        """Return whether others serve a request on an address on which this one would.

        Raises:
            PortRefused: the endpoint cannot be reached on any of them.
        """
        served = self.beside.get(request, frozenset())
        return bool(served) and not served.isdisjoint(self._wished(request))

    def _wished(self, request: PortRequest) -> tuple[IPAddress, ...]:
        own = {address.version for address in self.endpoint.addresses}
        named = (request.host_ip,) if request.host_ip is not None else ()
        may_cross = bool(own) and self.crosses_families and request.protocol is not Protocol.SCTP
        host_ips = tuple(
            ip
            for ip in named or self.usual or _EVERYWHERE
            if (ip.version in own or may_cross) and (ip.version == 4 or self.has_ipv6 or named)
        )
        if not host_ips and self.crosses_families:
            raise PortRefused(request.text, "the container has no address of that family")
        return host_ips


def publishing_beside(endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> Iterator[Endpoint]:
    """Yield the other endpoints of the sandbox that publish ports."""
    return (other for other in _beside(endpoint, endpoints) if other.ports)


def awaiting_beside(endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> Iterator[Endpoint]:
    """Yield the other endpoints of the sandbox that wait for ports."""
    return (other for other in _beside(endpoint, endpoints) if other.awaited)


def served_beside(
    endpoint: Endpoint, endpoints: Iterable[Endpoint]
) -> Mapping[PortRequest, frozenset[IPAddress]]:
    """Return what other endpoints of the sandbox serve, and where.

    Engine 28 and later ask the way out of each family for the same ports. What was added by hand is
    asked of one endpoint alone.
    """
    served: dict[PortRequest, frozenset[IPAddress]] = {}
    for other in publishing_beside(endpoint, endpoints):
        for mapping in other.ports:
            if mapping.asked.origin is Origin.PYNET:
                continue
            at = served.get(mapping.asked, frozenset())
            served[mapping.asked] = at.union(mapping.host_ips)
    return served


def _beside(endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> Iterator[Endpoint]:
    for other in endpoints:
        if other.sandbox == endpoint.sandbox and other.id != endpoint.id:
            yield other
