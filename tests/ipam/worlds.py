"""Views and requests that the tests of this folder start from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import IPv6Network, ip_address, ip_network

from ipam.plugin import PoolIpam
from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.model import HostState, IPAddress, Lease, LeaseKind, Pool, PoolId, Record
from netplug.view import View

NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
ULA = IPv6Network("fd12:3456:789a::/48")
SPACE = "local"


def view_of(*records: Record) -> View:
    return View(host=HostState(instance="a1b2", ula=ULA)).with_records(records)


def pool_of(network: str, sub_range: str = "", cursor: str = "", space: str = SPACE) -> Pool:
    return Pool(
        id=PoolId("/".join(filter(None, (space, network, sub_range)))),
        space=space,
        network=ip_network(network),
        sub_range=ip_network(sub_range) if sub_range else None,
        cursor=ip_address(cursor) if cursor else None,
        created_at=NOW,
    )


def leases_of(pool: Pool, addresses: Iterable[str]) -> list[Lease]:
    return [Lease(pool_id=pool.id, address=ip_address(a), created_at=NOW) for a in addresses]


def pool_request(
    network: str = "",
    sub_range: str = "",
    *,
    is_ipv6: bool | None = None,
    options: tuple[tuple[str, str], ...] = (),
    space: str = SPACE,
) -> PoolRequest:
    """A request; without `is_ipv6` of the network's own family."""
    return PoolRequest(
        space=space,
        network=ip_network(network) if network else None,
        sub_range=ip_network(sub_range) if sub_range else None,
        is_ipv6=":" in network if is_ipv6 is None else is_ipv6,
        options=options,
    )


def lease_next(
    view: View, pool: Pool, address: str = "", kind: LeaseKind = LeaseKind.DYNAMIC, owner: str = ""
) -> tuple[IPAddress, View]:
    """Lease an address as the service would: choose it, then put what came back."""
    request = AddressRequest(
        pool_id=pool.id, address=ip_address(address) if address else None, kind=kind, owner=owner
    )
    grant = PoolIpam().request_address(request, view, NOW)
    changed: list[Record] = [grant.lease] if grant.pool is None else [grant.lease, grant.pool]
    return grant.lease.address, view.with_records(changed)
