"""What follows from the subnets of networks, whoever builds them."""

from __future__ import annotations

from collections.abc import Iterator

from netplug.errors import Conflict
from netplug.model import Endpoint, IPAddress, Network


def refuse_overlap(network: Network, other: Network) -> None:
    """Refuse a network with a subnet that overlaps one of another.

    Raises:
        Conflict: naming both subnets.
    """
    if _all_from_pools(network) and _all_from_pools(other):
        return  # pools of one space never overlap
    for mine in network.subnets:
        for theirs in other.subnets:
            if mine.pool.version == theirs.pool.version and mine.pool.overlaps(theirs.pool):
                raise Conflict(
                    f"subnet {mine.pool}",
                    f"overlaps {theirs.pool} of network {other.label}",
                    "choose another --subnet",
                )


def gateways(endpoint: Endpoint, network: Network) -> Iterator[IPAddress]:
    """Yield the gateways of an endpoint's subnets."""
    for address in endpoint.addresses:
        for subnet in network.subnets:
            if subnet.gateway and address.ip in subnet.pool:
                yield subnet.gateway.ip
                break


def _all_from_pools(network: Network) -> bool:
    return len(network.pool_ids) == len(network.subnets)
