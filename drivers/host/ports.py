"""Published ports where the endpoint has its own on the network: they are open, no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netplug.model import Endpoint, Protocol
from netplug.plan.objects import RoutedPort


def routed_ports(endpoint: Endpoint) -> Iterator[RoutedPort]:
    """Yield the published ports of an endpoint at its addresses, as runs that do not overlap.

    As in Docker's gateway mode `routed`, not those that were asked for on one host address.
    """
    for address in endpoint.addresses:
        for protocol in Protocol:
            for first, last in _merged(_published(endpoint, address.version, protocol)):
                yield RoutedPort(
                    protocol=protocol, address=address.ip, first=first, count=last - first + 1
                )


def open_ports(endpoint: Endpoint) -> frozenset[tuple[Protocol, int, int]]:
    """Return protocol, first and last port of what is published at any address of an endpoint."""
    versions = {address.version for address in endpoint.addresses}
    return frozenset(
        (protocol, first, last)
        for protocol in Protocol
        for first, last in _merged(
            run for version in versions for run in _published(endpoint, version, protocol)
        )
    )


def _published(endpoint: Endpoint, version: int, protocol: Protocol) -> Iterator[tuple[int, int]]:
    """Yield the first and the last port of each mapping of a protocol and family."""
    for mapping in endpoint.ports:
        is_open = any(ip.is_unspecified and ip.version == version for ip in mapping.host_ips)
        if is_open and mapping.asked.protocol is protocol:
            first = mapping.asked.container_port
            yield first, first + mapping.asked.count - 1


def _merged(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield runs that touch or overlap as one: the kernel keeps no two of a set that do."""
    last_run: tuple[int, int] | None = None
    for first, last in sorted(runs):
        if last_run and first <= last_run[1] + 1:
            last_run = last_run[0], max(last_run[1], last)
            continue
        if last_run:
            yield last_run
        last_run = first, last
    if last_run:
        yield last_run
