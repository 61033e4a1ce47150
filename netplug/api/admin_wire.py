"""docs/admin-api.md in both directions: requests as wishes, records as JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from netplug import __version__
from netplug.api import wire
from netplug.clock import Clock
from netplug.errors import InvalidRequest
from netplug.model import Endpoint, Lease, Network, Pool
from netplug.plan.diff import Change, Create, Delete, Plan, Step
from netplug.plan.objects import Bridge, KernelObject, Veth
from netplug.plan.text import object_text, step_text
from netplug.service.endpoints import Endpoints
from netplug.service.identities import Identities
from netplug.service.journal import Event, Journal
from netplug.service.networks import Networks
from netplug.service.reconcile import Reconciler
from netplug.service.standalone import AttachWish, NetworkWish, Standalone, SubnetWish
from netplug.settings import Settings


class SubnetBody(msgspec.Struct, forbid_unknown_fields=True):
    """A wanted subnet."""

    pool: str | None = None
    range: str | None = None
    gateway: str | None = None


class NetworkCreateBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/networks."""

    name: str
    driver: str = wire.DEFAULT_DRIVER
    subnets: list[SubnetBody] = []
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    options: dict[str, str] = {}
    dry_run: bool = False


class AttachBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/endpoints; one of `netns` and `pid`."""

    network: str
    netns: str | None = None
    pid: int | None = None
    addresses: list[str] = []
    name: str | None = None
    interface: str | None = None
    mac: str | None = None
    options: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the admin API shows and does."""

    settings: Settings
    networks: Networks
    endpoints: Endpoints
    standalone: Standalone
    reconciler: Reconciler
    identities: Identities
    journal: Journal
    clock: Clock
    started_s: float
    engine_endpoint: str


def network_wish(body: NetworkCreateBody) -> NetworkWish:
    """Return the network that a body asks for.

    Raises:
        InvalidRequest: with everything that does not parse.
    """
    problems: list[str] = []
    subnets = tuple(_subnet_wish(s, problems) for s in body.subnets)
    if not body.name.strip() or "/" in body.name:
        problems.append(f"{body.name!r} is no name for a network")
    if problems:
        raise InvalidRequest(problems)
    return NetworkWish(
        name=body.name,
        driver=body.driver,
        subnets=subnets,
        has_ipv4=body.ipv4,
        has_ipv6=body.ipv6 or any(s.is_ipv6 for s in subnets),
        is_internal=body.internal,
        options=tuple(sorted(body.options.items())),
    )


def _subnet_wish(body: SubnetBody, problems: list[str]) -> SubnetWish:
    pool = _parse(ip_network, body.pool, problems)
    return SubnetWish(
        pool=pool,
        sub_range=_parse(ip_network, body.range, problems),
        gateway=_parse(ip_address, body.gateway, problems),
        is_ipv6=pool is not None and pool.version == 6,
    )


def attach_wish(body: AttachBody) -> AttachWish:
    """Return the attachment that a body asks for.

    Raises:
        InvalidRequest: with everything that does not parse.
    """
    problems: list[str] = []
    if (body.netns is None) == (body.pid is None):
        problems.append("one of netns and pid is wanted")
    addresses = [_parse(ip_address, text, problems) for text in body.addresses]
    mac = wire.mac_text(body.mac or "", problems)
    if problems:
        raise InvalidRequest(problems)
    return AttachWish(
        network=body.network,
        netns=body.netns or f"/proc/{body.pid}/ns/net",
        name=body.name or "",
        addresses=tuple(addresses),
        interface=body.interface or "",
        mac=mac,
        options=tuple(sorted(body.options.items())),
    )


def _parse(read: Callable[[str], Any], text: str | None, problems: list[str]) -> Any:
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        problems.append(str(error))
        return None


def starting(settings: Settings) -> dict[str, object]:
    """Return the Status of a daemon that is not ready yet."""
    return {
        "version": __version__,
        "pid": os.getpid(),
        "state": "starting",
        "uptime_s": 0.0,
        "state_dir": str(settings.state_dir),
        "store": settings.store,
        "plugin_socket": str(settings.plugin_socket),
        "admin_socket": str(settings.admin_socket),
        "engine": None,
        "networks": 0,
        "endpoints": 0,
        "pools": 0,
        "leases": 0,
        "last_reconcile": None,
    }


def status_of(services: Services) -> dict[str, object]:
    """Return the Status of a daemon that is ready."""
    view = services.networks.state.view
    report = services.reconciler.last
    info = services.identities.info
    engine = {
        "endpoint": services.engine_endpoint,
        "version": info.version if info else "",
        "problem": services.identities.problem,
    }
    return starting(services.settings) | {
        "state": "ready",
        "uptime_s": round(services.clock.monotonic_s() - services.started_s, 1),
        "engine": engine if services.engine_endpoint else None,
        "networks": len(view.networks),
        "endpoints": len(view.endpoints),
        "pools": len(view.pools),
        "leases": sum(len(leases) for leases in view.leases.values()),
        "last_reconcile": report
        and {
            "at": time_json(report.at),
            "steps": len(report.steps),
            "problem": "; ".join(report.problems),
        },
    }


def network_json(network: Network, services: Services) -> dict[str, object]:
    """Return a Network."""
    view = services.networks.state.view
    driver = services.networks.driver_of(network)
    links = [o.name for o in driver.plan_network(network, view) if isinstance(o, Bridge)]
    return {
        "id": network.id,
        "name": network.name,
        "driver": network.driver,
        "origin": network.origin,
        "internal": network.is_internal,
        "ipv4": network.has_ipv4,
        "ipv6": network.has_ipv6,
        "state": network.state,
        "options": dict(network.options),
        "subnets": [
            {
                "pool": str(s.pool),
                "gateway": str(s.gateway.ip) if s.gateway else None,
                "aux": {name: str(address) for name, address in s.aux},
            }
            for s in network.subnets
        ],
        "link": links[0] if links else "",
        "endpoint_count": len(view.endpoints_of(network.id)),
        "created_at": time_json(network.created_at),
    }


def endpoint_json(endpoint: Endpoint, services: Services) -> dict[str, object]:
    """Return an Endpoint."""
    network = services.networks.state.view.networks.get(endpoint.network_id)
    links = [o.name for o in planned(endpoint, services) if isinstance(o, Veth)]
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "network_id": endpoint.network_id,
        "network": network.label if network else "",
        "origin": endpoint.origin,
        "mac": endpoint.mac,
        "addresses": [str(a) for a in endpoint.addresses],
        "link": links[0] if links else "",
        "sandbox": endpoint.sandbox,
        "joined": bool(endpoint.sandbox),
        "options": dict(endpoint.options),
        "created_at": time_json(endpoint.created_at),
    }


def planned(endpoint: Endpoint, services: Services) -> frozenset[KernelObject]:
    """Return the kernel objects of an endpoint."""
    view = services.networks.state.view
    network = view.networks.get(endpoint.network_id)
    if network is None:
        return frozenset()
    return services.networks.driver_of(network).plan_endpoint(endpoint, network, view)


def pool_json(pool: Pool, services: Services) -> dict[str, object]:
    """Return a Pool."""
    view = services.networks.state.view
    return {
        "id": pool.id,
        "space": pool.space,
        "network": str(pool.network),
        "range": str(pool.sub_range) if pool.sub_range else None,
        "auto": pool.is_auto,
        "size": services.standalone.addresses.ipam.size(pool),
        "leased": len(view.leases_of(pool.id)),
        "networks": sorted(n.label for n in view.networks.values() if pool.id in n.pool_ids),
        "created_at": time_json(pool.created_at),
    }


def lease_json(lease: Lease) -> dict[str, object]:
    """Return a Lease."""
    return {
        "address": str(lease.address),
        "kind": lease.kind,
        "owner": lease.owner,
        "created_at": time_json(lease.created_at),
    }


def plan_json(plan: Plan) -> dict[str, object]:
    """Return a Plan."""
    return {"steps": [step_json(step) for step in plan.steps]}


def step_json(step: Step) -> dict[str, str]:
    """Return one step of a Plan."""
    reason = {Create: "missing", Change: "different", Delete: "not wanted"}[type(step)]
    action, _, rest = step_text(step).partition(" ")
    return {"action": action, "object": rest, "reason": reason}


def objects_json(objects: Iterable[KernelObject]) -> list[str]:
    """Return kernel objects as text, sorted."""
    return sorted(object_text(o) for o in objects)


def by_name(records: Iterable[Any]) -> list[Any]:
    """Return records in the order in which people look for them."""
    return sorted(records, key=lambda record: (record.label, record.id))


def time_json(moment: datetime) -> str:
    """Return a moment in RFC 3339, UTC, with milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_json(event: Event) -> dict[str, str]:
    """Return an Event."""
    return {
        "at": time_json(event.at),
        "kind": event.kind,
        "network": event.network,
        "endpoint": event.endpoint,
        "message": event.message,
    }
