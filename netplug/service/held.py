"""Who holds a lease, by the records: an endpoint, or the network that the address belongs to."""

from __future__ import annotations

from netplug.model import Endpoint, IPAddress, Lease, Network, Pool
from netplug.view import View


def leasable(pool: Pool) -> range:
    """Return the addresses of a pool that may be an endpoint's, as integers.

    Not IPv4's network and broadcast address, nor IPv6's subnet-router anycast address; all of a
    network of two addresses or one may be.
    """
    network = pool.network
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.prefixlen >= network.max_prefixlen - 1:
        return range(first, last + 1)
    return range(first + 1, last if network.version == 4 else last + 1)


def is_leasable(address: IPAddress, pool: Pool) -> bool:
    """Return whether an address may be an endpoint's that has it from a pool."""
    return address.version == pool.network.version and int(address) in leasable(pool)


def of_network(network: Network) -> dict[IPAddress, str]:
    """Return the addresses that a network itself has, and what each is to it."""
    found = {aux: f"the aux address {name}" for s in network.subnets for name, aux in s.aux}
    return found | {s.gateway.ip: "the gateway" for s in network.subnets if s.gateway}


def leases_of(endpoint: Endpoint, view: View) -> tuple[Lease, ...]:
    """Return the leases of an endpoint's addresses, less those that another endpoint has, too."""
    network = view.networks.get(endpoint.network_id)
    if network is None:
        return ()
    others = {
        address.ip
        for other in view.endpoints_of(network.id)
        if other.id != endpoint.id
        for address in other.addresses
    }
    return tuple(
        lease
        for pool_id in network.pool_ids
        for address in endpoint.addresses
        if address.ip not in others and (lease := view.leases_of(pool_id).get(address.ip))
    )


def pool_of(address: IPAddress, network: Network, view: View) -> Pool | None:
    """Return the pool of a network that an address lies in, if one of ours does."""
    pools = (view.pools.get(pool_id) for pool_id in network.pool_ids)
    return next((pool for pool in pools if pool and address in pool.network), None)


def is_same_lease(one: Lease, other: Lease | None) -> bool:
    """Return whether it is one lease, whatever has been learned of its owner meanwhile."""
    return other is not None and (one.pool_id, one.address, one.created_at) == (
        other.pool_id,
        other.address,
        other.created_at,
    )
