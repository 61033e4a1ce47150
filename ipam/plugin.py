"""The IPAM of this host: fulfils `netplug.contract.ipam.Ipam`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Network

from ipam.allocator import choose
from ipam.keeping import Keeping, is_kept
from ipam.pool import check, hosts, is_automatic, is_sticky, may_overlap, overlaps, pool_id
from ipam.ranges import next_free
from netplug.contract.ipam import AddressGrant, AddressRequest, PoolGrant, PoolRequest
from netplug.errors import Conflict, InvalidRequest, NotFound, PoolExhausted
from netplug.model import IPAddress, IPNetwork, Lease, LeaseKind, Pool, PoolRange, Stickiness
from netplug.view import View

DEFAULT_RANGES_IPV4 = (PoolRange(IPv4Network("10.208.0.0/12"), 24),)
"""4096 slices, clear of the defaults that it would share a host with.

Those of Docker are 172.17.0.0/16 onward and 192.168.0.0/16, of Podman 10.88.0.0/16, of Weave
10.32.0.0/12, of k3s 10.42.0.0/15, of kubeadm 10.96.0.0/12, of Flannel 10.244.0.0/16.
"""

_ULA_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolIpam:
    """Pools cut in slices from ranges; addresses in turn.

    IPv4 slices come from `ranges_ipv4`, IPv6 slices from `ranges_ipv6`, or, where that is empty,
    from the host's own /48.
    """

    ranges_ipv4: tuple[PoolRange, ...] = DEFAULT_RANGES_IPV4
    ranges_ipv6: tuple[PoolRange, ...] = ()

    def request_pool(
        self, request: PoolRequest, view: View, taken: Collection[IPNetwork], now: datetime
    ) -> PoolGrant:
        """Choose a pool.

        A given one is not compared with `taken`: whether that matters depends on the network, which
        is not known yet. An automatic one is the next slice behind the host's cursor, and another
        than before, whoever rejected that.

        Raises:
            InvalidRequest: the request makes no sense by itself, or asks for too large a pool.
            Conflict: the pool overlaps one that exists in this space.
            PoolExhausted: no automatic pool is free.
        """
        check(request)
        network = request.network
        if network is not None and not is_automatic(request):
            _refuse_overlap(network, request.space, view)
            return PoolGrant(pool=_pool(request, network, now))

        chosen = self._next_slice(request, view, taken)
        pool = replace(_pool(request, chosen, now), is_auto=True)
        if isinstance(chosen, IPv4Network):
            return PoolGrant(pool=pool, host=replace(view.host, cursor_ipv4=chosen))
        return PoolGrant(pool=pool, host=replace(view.host, cursor_ipv6=chosen))

    def request_address(self, request: AddressRequest, view: View, now: datetime) -> AddressGrant:
        """Choose an address; only an endpoint that leaves the choice to us moves the cursor.

        Raises:
            NotFound: there is no such pool.
            InvalidRequest: the address is outside the pool, or cannot be a host's.
            Conflict: the address is leased; the message names the holder.
            PoolExhausted: every address is leased.
        """
        pool = view.pools.get(request.pool_id)
        if pool is None:
            raise NotFound("pool", request.pool_id)
        leases = view.leases_of(pool.id)
        if not is_kept(request, pool):
            address = choose(request, pool, leases)
            return _granted(request, pool, address, Stickiness.NONE, now)
        kept = Keeping(request, view)
        address = kept.free(leases) or choose(request, pool, leases)
        grant = _granted(request, pool, address, kept.outcome(address), now)
        return replace(grant, kept=kept.change(address, now), lapsed=kept.lapsed(address))

    def size(self, pool: Pool) -> int:
        """Return how many addresses of `pool` can be leased."""
        usable = hosts(pool.network)
        return usable.stop - usable.start

    def _next_slice(
        self, request: PoolRequest, view: View, taken: Collection[IPNetwork]
    ) -> IPNetwork:
        ranges = self._ranges(request, view)
        cursor = view.host.cursor_ipv6 if request.is_ipv6 else view.host.cursor_ipv4
        obstacles = [*(p.network for p in view.pools.values()), *taken]
        for network in view.networks.values():
            if not network.pool_ids:  # another IPAM gave it its subnets
                obstacles += (subnet.pool for subnet in network.subnets)
        chosen = next_free(ranges, obstacles, cursor)
        if chosen is None:
            sizes = " or ".join(dict.fromkeys(f"/{r.size}" for r in ranges))
            raise PoolExhausted(
                f"the automatic ranges {', '.join(str(r.base) for r in ranges)}",
                f"every {sizes} overlaps a pool or something the host routes; "
                "remove a network, or give one a --subnet",
            )
        return chosen

    def _ranges(self, request: PoolRequest, view: View) -> tuple[PoolRange, ...]:
        """Return the ranges that have room for a request, in slices of the size that it wants."""
        ranges = self.ranges_ipv4
        if request.is_ipv6:
            ranges = self.ranges_ipv6 or (PoolRange(view.host.ula, _ULA_SIZE),)
        if request.network is None:
            return ranges
        size = request.network.prefixlen
        fitting = tuple(PoolRange(r.base, size) for r in ranges if r.base.prefixlen <= size)
        if not fitting:
            names = ", ".join(str(r.base) for r in ranges)
            raise InvalidRequest([f"no automatic pool can be as large as /{size}: {names}"])
        return fitting


def _granted(
    request: AddressRequest, pool: Pool, address: IPAddress, sticky: Stickiness, now: datetime
) -> AddressGrant:
    """Return the lease of an address; one that was chosen in turn moves the cursor."""
    lease = Lease(
        pool_id=pool.id,
        address=address,
        kind=_kind(request),
        owner=request.owner,
        sticky=sticky,
        created_at=now,
    )
    is_in_turn = lease.kind is LeaseKind.DYNAMIC and sticky is not Stickiness.KEPT
    return AddressGrant(lease=lease, pool=replace(pool, cursor=address) if is_in_turn else None)


def _kind(request: AddressRequest) -> LeaseKind:
    is_named = request.address is not None and request.kind is LeaseKind.DYNAMIC
    return LeaseKind.STATIC if is_named else request.kind


def _pool(request: PoolRequest, network: IPNetwork, now: datetime) -> Pool:
    return Pool(
        id=pool_id(request.space, network, request.sub_range),
        space=request.space,
        network=network,
        sub_range=request.sub_range,
        may_overlap=may_overlap(request),
        is_sticky=is_sticky(request),
        created_at=now,
    )


def _refuse_overlap(network: IPNetwork, space: str, view: View) -> None:
    for pool in view.pools.values():
        if pool.space == space and overlaps(pool.network, network):
            users = [user.label for user in view.networks.values() if pool.id in user.pool_ids]
            raise Conflict(
                f"pool {network}",
                f"overlaps {pool.network}, used by "
                + (f"network {', '.join(sorted(users))}" if users else "no network yet"),
                "choose another --subnet",
            )
