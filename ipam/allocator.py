"""Choose an address of a pool."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from itertools import chain

from ipam.pool import hosts
from netplug.contract.ipam import AddressRequest
from netplug.errors import Conflict, InvalidRequest, PoolExhausted
from netplug.model import IPAddress, Lease, LeaseKind, Pool

_HOLDERS = {
    LeaseKind.GATEWAY: "the gateway",
    LeaseKind.RESERVED: "a reservation",
    LeaseKind.ENDPOINT: "an endpoint",
}


def choose(request: AddressRequest, pool: Pool, leases: Mapping[IPAddress, Lease]) -> IPAddress:
    """Return the address that `request` gets; `leases` are those of `pool`.

    Costs one look-up per leased address passed over, and nothing per address of the pool.

    Raises:
        InvalidRequest: the address is outside the pool, or cannot be a host's.
        Conflict: the address is leased.
        PoolExhausted: every address that may be chosen is leased.
    """
    if request.address is not None:
        return _given(request.address, pool, leases)
    if request.kind is LeaseKind.GATEWAY:
        chosen = _first_free(hosts(pool.network), None, pool, leases)
    else:
        chosen = _first_free(hosts(pool.network, pool.sub_range), pool.cursor, pool, leases)
    if chosen is None:
        raise PoolExhausted(
            f"pool {pool.id}",
            "every address is leased; remove an endpoint, or make a network with a larger pool",
        )
    return chosen


def _given(address: IPAddress, pool: Pool, leases: Mapping[IPAddress, Lease]) -> IPAddress:
    if address not in pool.network:
        raise InvalidRequest([f"address {address} lies outside pool {pool.network}"])
    if int(address) not in hosts(pool.network):
        raise InvalidRequest([f"address {address} is the {_role(address, pool)} of {pool.network}"])
    if lease := leases.get(address):
        raise Conflict(
            f"address {address} of pool {pool.network}",
            f"is leased to {lease.owner or _HOLDERS[lease.kind]} "
            f"since {lease.created_at.isoformat(' ', 'seconds')}",
            "leave the address out to get a free one",
        )
    return address


def _role(address: IPAddress, pool: Pool) -> str:
    if address.version == 6:
        return "subnet-router anycast address"
    return "network address" if address == pool.network.network_address else "broadcast address"


def _first_free(
    candidates: range,
    cursor: IPAddress | None,
    pool: Pool,
    leases: Mapping[IPAddress, Lease],
) -> IPAddress | None:
    everything = hosts(pool.network)
    if len(leases) >= everything.stop - everything.start:
        return None
    behind = candidates.start if cursor is None else int(cursor) + 1
    start = behind if behind in candidates else candidates.start
    address_of = IPv4Address if pool.network.version == 4 else IPv6Address
    in_order = chain(range(start, candidates.stop), range(candidates.start, start))
    return next((a for n in in_order if (a := address_of(n)) not in leases), None)
