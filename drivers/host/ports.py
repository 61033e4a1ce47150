"""Published ports where the endpoint has its own on the network: they are open, no more."""

from __future__ import annotations

from collections.abc import Iterator

from netplug.model import Endpoint, Protocol
from netplug.plan.objects import RoutedPort


def routed_ports(endpoint: Endpoint) -> Iterator[RoutedPort]:
    """Yield the published ports of an endpoint at its addresses.

    As in Docker's gateway mode `routed`, not those that were asked for on one host address.
    """
    for mapping in endpoint.ports:
        asked = mapping.asked
        families = {ip.version for ip in mapping.host_ips if ip.is_unspecified}
        for address in endpoint.addresses:
            if address.version in families:
                yield RoutedPort(
                    protocol=asked.protocol,
                    address=address.ip,
                    first=asked.container_port,
                    count=asked.count,
                )


def open_ports(endpoint: Endpoint) -> frozenset[tuple[Protocol, int, int]]:
    """Return the same as protocol, first and last port."""
    return frozenset(
        (port.protocol, port.first, port.first + port.count - 1) for port in routed_ports(endpoint)
    )
