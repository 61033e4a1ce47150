"""Addresses of the LAN that no endpoint may have: the host's own, and those of its routers.

A network with a parent is a part of the LAN. With addresses from pynet they are reserved when the
network is made; where Docker leases addresses, an endpoint that gets one is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from netplug.contract.kernel import Kernel
from netplug.errors import Conflict
from netplug.model import Endpoint, IPAddress, Lease, LeaseKind, Network, Reached, Way
from netplug.view import View

_WHOSE = {Way.ADDRESS: "the host's own address on link", Way.ROUTER: "the host's router on link"}


async def lan_leases(
    network: Network, view: View, kernel: Kernel, now: datetime
) -> tuple[Lease, ...]:
    """Return reservations of such addresses in the pools of a network, less what is leased.

    Raises:
        KernelRefused: routes or addresses cannot be listed.
    """
    if network.parent is None or not network.pool_ids:
        return ()
    reached = await kernel.reached(_versions(network))
    return tuple(_reservations(network, view, reached, now))


async def refuse_lan_addresses(endpoint: Endpoint, network: Network, kernel: Kernel) -> None:
    """Refuse an endpoint with such an address: it would cut the host off.

    Raises:
        Conflict: naming whose it is.
        KernelRefused: routes or addresses cannot be listed.
    """
    if network.parent is None or network.pool_ids:
        return
    taken = dict(_taken(await kernel.reached(_versions(network))))
    for address in endpoint.addresses:
        if whose := taken.get(address.ip):
            raise Conflict(
                f"address {address.ip}",
                f"is {whose}",
                "keep it from containers by --aux-address or --ip-range",
            )


def _reservations(
    network: Network, view: View, reached: Iterable[Reached], now: datetime
) -> Iterator[Lease]:
    pools = [view.pools[pool_id] for pool_id in network.pool_ids if pool_id in view.pools]
    for address, whose in _taken(reached):
        for pool in pools:
            if address in pool.network and address not in view.leases_of(pool.id):
                yield Lease(
                    pool_id=pool.id,
                    address=address,
                    kind=LeaseKind.RESERVED,
                    owner=whose,
                    created_at=now,
                )


def _taken(reached: Iterable[Reached]) -> Iterator[tuple[IPAddress, str]]:
    """Yield each such address and whose it is; the same each time, whatever the order."""
    for one in sorted(reached, key=lambda r: (r.way, str(r.network), r.where)):
        if whose := _WHOSE.get(one.way):
            yield one.network.network_address, f"{whose} {one.where}"


def _versions(network: Network) -> set[int]:
    return {subnet.pool.version for subnet in network.subnets}
