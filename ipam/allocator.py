"""Choose an address of a pool."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from ipam.pool import hosts
from netplug.contract.ipam import AddressRequest
from netplug.errors import Conflict, InvalidRequest, PoolExhausted
from netplug.model import IPAddress, LeaseBook, LeaseKind, Pool

_HOLDERS = {
    LeaseKind.DYNAMIC: "an endpoint",
    LeaseKind.STATIC: "an endpoint",
    LeaseKind.GATEWAY: "the gateway",
    LeaseKind.AUX: "an auxiliary address",
    LeaseKind.RESERVED: "a reservation",
}

_NAMED_OWNERS = 3
_LEASES_LOOKED_AT = 256  # for owners to name: the pool may have a million, and none named


def choose(request: AddressRequest, pool: Pool, leases: LeaseBook) -> IPAddress:
    """Return the address that `request` gets; `leases` are those of `pool`.

    Costs the same whatever is leased. Withheld addresses are chosen when no other is left.

    Raises:
        InvalidRequest: the address is outside the pool, or cannot be a host's.
        Conflict: the address is leased.
        PoolExhausted: every address that may be chosen is leased.
    """
    if request.address is not None:
        return _given(request.address, pool, leases)
    if request.kind is LeaseKind.GATEWAY:
        chosen = _first_free(hosts(pool.network), None, leases)
    else:
        chosen = _first_free(hosts(pool.network, pool.sub_range), pool.cursor, leases)
    if chosen is None:
        raise PoolExhausted(f"pool {pool.id}", _shortage(request, pool, leases))
    return IPv4Address(chosen) if pool.network.version == 4 else IPv6Address(chosen)


def _given(address: IPAddress, pool: Pool, leases: LeaseBook) -> IPAddress:
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


def _first_free(candidates: range, cursor: IPAddress | None, leases: LeaseBook) -> int | None:
    """Return the first free candidate behind the cursor, beginning anew at the end."""
    behind = candidates.start if cursor is None else int(cursor) + 1
    start = behind if behind in candidates else candidates.start
    for spares_withheld in (True, False):
        for first, last in ((start, candidates.stop - 1), (candidates.start, start - 1)):
            chosen = leases.next_free(first, last, spares_withheld=spares_withheld)
            if chosen is not None:
                return chosen
    return None


def _shortage(request: AddressRequest, pool: Pool, leases: LeaseBook) -> str:
    """Return why nothing is free, whose the addresses are, and what to do."""
    is_part = request.kind is not LeaseKind.GATEWAY and pool.sub_range is not None
    candidates = hosts(pool.network, pool.sub_range if is_part else None)
    size = candidates.stop - candidates.start
    of = f"of its range {pool.sub_range} " if is_part else ""
    what = f"its only address {of}is" if size == 1 else f"all {size} addresses {of}are"
    kinds = ", ".join(f"{n} {kind}" for kind in LeaseKind if (n := leases.count(kind)))
    owners = list(islice(_owners(leases), _NAMED_OWNERS + 1))
    named = ", ".join(owners[:_NAMED_OWNERS]) + (" and others" if owners[_NAMED_OWNERS:] else "")
    return (
        f"{what} leased ({len(leases)} in the pool: {kinds}"
        + (f"; to {named}" if named else "")
        + "); remove endpoints, make a network with a larger --subnet, "
        "or see 'pynet ipam audit' for leases that nobody uses"
    )


def _owners(leases: LeaseBook) -> Iterator[str]:
    looked_at = islice(leases.values(), _LEASES_LOOKED_AT)
    yield from dict.fromkeys(lease.owner for lease in looked_at if lease.owner)
