"""A pool and so many leases of its first addresses, each with an owner of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

from netplug.model import IPAddress, IPNetwork, Lease, Pool, PoolId, Record

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
_AT_ONCE = 10_000  # leases made at once: what they need meanwhile stays small


def pool_id(network: IPNetwork) -> PoolId:
    """Return what the pool is known by."""
    return PoolId(f"bench/{network}")


def records(network: IPNetwork, leases: int) -> Iterator[tuple[Record, ...]]:
    """Yield the pool, its cursor behind the leases, and then these, in portions."""
    pool = Pool(id=pool_id(network), space="bench", network=network, created_at=NOW)
    yield (replace(pool, cursor=address(network, leases)),)
    for start in range(0, leases, _AT_ONCE):
        yield tuple(_leases(pool, start, min(start + _AT_ONCE, leases)))


def address(network: IPNetwork, number: int) -> IPAddress:
    """Return an address by its place in the network; that of the first lease is 1."""
    return ip_address(int(network.network_address) + number)


def owner(number: int) -> str:
    """Return whose the lease of that place is."""
    return f"web-{number}"


def _leases(pool: Pool, start: int, stop: int) -> Iterator[Lease]:
    for number in range(start + 1, stop + 1):
        place = address(pool.network, number)
        yield Lease(pool_id=pool.id, address=place, owner=owner(number), created_at=NOW)
