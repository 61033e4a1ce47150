"""Which pools and leases nobody uses: what a call that was cut off left behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from netplug.model import IPAddress, Lease, Network, NetworkId, Pool, PoolId, View


def unused_pools(view: View, before: datetime) -> Iterator[Pool]:
    """Yield the pools from before that moment that no network of ours has.

    Such a pool may serve a network of another driver, which only the engine knows.
    """
    used = _users(view)
    yield from (p for p in view.pools.values() if p.id not in used and p.created_at < before)


def unused_leases(view: View, before: datetime) -> Iterator[Lease]:
    """Yield the leases from before that moment, of pools of our networks, that no endpoint has."""
    held: dict[NetworkId, set[IPAddress]] = {}
    for endpoint in view.endpoints.values():
        held.setdefault(endpoint.network_id, set()).update(a.ip for a in endpoint.addresses)
    for pool_id, network in _users(view).items():
        kept = held.get(network.id, set()) | set(_reserved(network))
        for lease in view.leases_of(pool_id).values():
            is_old_lease = lease.kind.is_for_endpoint and lease.created_at < before
            if is_old_lease and lease.address not in kept:
                yield lease


def _users(view: View) -> dict[PoolId, Network]:
    return {pool_id: n for n in view.networks.values() for pool_id in n.pool_ids}


def _reserved(network: Network) -> Iterator[IPAddress]:
    for subnet in network.subnets:
        if subnet.gateway:
            yield subnet.gateway.ip
        yield from (address for _, address in subnet.aux)
