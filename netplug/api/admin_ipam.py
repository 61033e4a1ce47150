"""The admin socket's /v1/ipam: pools, leases, reservations, the audit."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

import msgspec
from aiohttp import web

from netplug.addresses import parse_address
from netplug.api import wire
from netplug.api.admin_wire import Services, time_json
from netplug.errors import Conflict, InvalidRequest
from netplug.model import Endpoint, IPAddress, IPNetwork, Lease, Network, NetworkId, Pool, PoolId
from netplug.service.audit import Finding
from netplug.service.auditor import Audit
from netplug.service.reached import Collision
from netplug.view import View


class ReserveBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/ipam/reservations."""

    pool: str
    addresses: list[str]
    note: str = ""


class RepairBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/ipam/audit."""

    findings: list[str]


async def list_pools(services: Services, _: web.Request) -> object:
    """Return every pool."""
    pools = sorted(services.networks.state.view.pools.values(), key=lambda p: p.id)
    return {"pools": _pools_json(pools, services, await services.collisions.found())}


async def show_pool(services: Services, request: web.Request) -> object:
    """Return one pool and its leases."""
    (pool,) = _one(services.reservations.pools_of(unquote(request.match_info["pool"])))
    leases = await asyncio.to_thread(_leases_json, [pool], services.networks.state.view)
    (shown,) = _pools_json([pool], services, await services.collisions.found())
    return {**shown, "leases": leases}


async def list_leases(services: Services, request: web.Request) -> object:
    """Return the leases of a pool, of a network, or all."""
    view = services.networks.state.view
    reference = request.query.get("pool")
    chosen = services.reservations.pools_of(reference) if reference else view.pools.values()
    pools = sorted(chosen, key=lambda pool: pool.id)
    # Of a million leases it takes seconds; the view does not change meanwhile.
    return {"leases": await asyncio.to_thread(_leases_json, pools, view)}


async def release(services: Services, request: web.Request) -> object:
    """Release a lease that nobody has."""
    pools = services.reservations.pools_of(request.query.get("pool", ""))
    address = _address(request.query.get("address", ""))
    (pool,) = _one([p for p in pools if address in p.network] or pools)
    await services.auditor.release(pool, address)
    return {}


async def reserve(services: Services, request: web.Request) -> object:
    """Reserve addresses, all or none."""
    body = wire.decode(await request.read(), ReserveBody)
    leases = await services.reservations.reserve(body.pool, body.addresses, body.note)
    return _reserved(leases)


async def unreserve(services: Services, request: web.Request) -> object:
    """Give reserved addresses back."""
    pool, texts = request.query.get("pool", ""), request.query.getall("address", [])
    return _reserved(await services.reservations.unreserve(pool, texts))


async def audit(services: Services, _: web.Request) -> object:
    """Compare leases with the engine and the kernel; change nothing."""
    return _audit_json(await services.auditor.audit(), services)


async def repair(services: Services, request: web.Request) -> object:
    """Repair findings of an audit that are still so; return those that were, and what is left."""
    body = wire.decode(await request.read(), RepairBody)
    repaired = [_finding_json(f, services) for f in await services.auditor.fix(body.findings)]
    return {"repaired": repaired, **_audit_json(await services.auditor.audit(), services)}


CALLS = (
    ("GET", "/v1/ipam", list_pools),
    ("GET", "/v1/ipam/leases", list_leases),
    ("DELETE", "/v1/ipam/leases", release),
    ("POST", "/v1/ipam/reservations", reserve),
    ("DELETE", "/v1/ipam/reservations", unreserve),
    ("GET", "/v1/ipam/audit", audit),
    ("POST", "/v1/ipam/audit", repair),
    ("GET", "/v1/ipam/pools/{pool:.*}", show_pool),
)


def _one(pools: Sequence[Pool]) -> Sequence[Pool]:
    """Return the only one of these pools.

    Raises:
        Conflict: there are several.
    """
    if len(pools) > 1:
        ids = ", ".join(pool.id for pool in pools)
        raise Conflict("the network", f"has several pools: {ids}", "give one of them")
    return pools


def _address(text: str) -> IPAddress:
    try:
        return parse_address(text)
    except ValueError as error:
        raise InvalidRequest([str(error)]) from error


def _pools_json(
    pools: Iterable[Pool], services: Services, collisions: Iterable[Collision]
) -> list[dict[str, object]]:
    """Return Pools, with the networks that have them and what collides with those."""
    users: dict[PoolId, list[str]] = defaultdict(list)
    for network in services.networks.state.view.networks.values():
        for pool_id in network.pool_ids:
            users[pool_id].append(network.label)
    told: dict[tuple[PoolId, IPNetwork], list[str]] = defaultdict(list)
    for collision in collisions:
        for pool_id in collision.network.pool_ids:
            told[pool_id, collision.subnet].append(collision.text)
    return [
        {
            **_pool_json(pool, services),
            "networks": sorted(users[pool.id]),
            "collisions": told[pool.id, pool.network],
        }
        for pool in pools
    ]


def _pool_json(pool: Pool, services: Services) -> dict[str, object]:
    return {
        "id": pool.id,
        "space": pool.space,
        "network": str(pool.network),
        "range": str(pool.sub_range) if pool.sub_range else None,
        "auto": pool.is_auto,
        "sticky": pool.is_sticky,
        "size": services.standalone.addresses.ipam.size(pool),
        "leased": len(services.networks.state.view.leases_of(pool.id)),
        "created_at": time_json(pool.created_at),
    }


def _leases_json(pools: Iterable[Pool], view: View) -> list[dict[str, object]]:
    """Return a row for each lease; where it has no owner, who has the address is one."""
    holders = _holders(pools, view)
    return [
        _lease_json(lease, holders.get((pool.id, lease.address), ""))
        for pool in pools
        for lease in view.leases_of(pool.id).values()
    ]


def _holders(pools: Iterable[Pool], view: View) -> dict[tuple[PoolId, IPAddress], str]:
    """Return who has which address of pools, in one pass over networks and endpoints."""
    wanted = {pool.id for pool in pools}
    pools_of: dict[NetworkId, list[PoolId]] = {}
    found: dict[tuple[PoolId, IPAddress], str] = {}
    for network in view.networks.values():
        if pool_ids := [pool_id for pool_id in network.pool_ids if pool_id in wanted]:
            pools_of[network.id] = pool_ids
            for gateway in [s.gateway.ip for s in network.subnets if s.gateway]:
                found |= dict.fromkeys(((i, gateway) for i in pool_ids), network.label)
    for endpoint in view.endpoints.values():
        for pool_id in pools_of.get(endpoint.network_id, ()):
            found |= {(pool_id, a.ip): endpoint.label for a in endpoint.addresses}
    return found


def _lease_json(lease: Lease, holder: str = "") -> dict[str, object]:
    return {
        "pool": lease.pool_id,
        "address": str(lease.address),
        "kind": lease.kind,
        "owner": lease.owner or holder,
        "sticky": lease.sticky,
        "created_at": time_json(lease.created_at),
    }


def _reserved(leases: Sequence[Lease]) -> dict[str, object]:
    return {"leases": [_lease_json(lease) for lease in leases]}


def _audit_json(found: Audit, services: Services) -> dict[str, object]:
    return {
        "findings": [_finding_json(f, services) for f in found.findings],
        "problem": found.problem,
    }


def _finding_json(finding: Finding, services: Services) -> dict[str, object]:
    record, view = finding.record, services.networks.state.view
    networks: list[str] = []
    match record:
        case Lease(pool_id=pool_id) | Pool(id=pool_id):
            networks = [n.label for n in [view.network_of(pool_id)] if n]
        case Endpoint(network_id=network_id):
            networks = [n.label for n in [view.networks.get(network_id)] if n]
        case Network():
            networks = [record.label]
    return {
        "id": finding.id,
        "fault": finding.fault,
        "what": finding.what,
        "networks": networks,
        "evidence": finding.evidence,
        "remedy": finding.remedy,
    }
