"""The admin socket: docs/admin-api.md, call by call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import web

from netplug import __version__
from netplug.api import wire
from netplug.api.app import Readiness
from netplug.api.middleware import BODY_LIMIT_BYTES, body_of, guarded, within
from netplug.clock import Clock
from netplug.errors import Drift, InvalidInput, InvalidRequest, NotFound, PynetError
from netplug.model import Endpoint, Lease, Network, Pool, PoolId
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

_HEARTBEAT_S = 15.0


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


Call = Callable[["Services", web.Request], Coroutine[Any, Any, object]]


def admin_app(
    services: Callable[[], Services], readiness: Readiness, settings: Settings
) -> web.Application:
    """Return the application of the admin socket; `services` are asked for once it is ready."""

    def bounded(call: Call) -> Callable[[web.Request], Coroutine[Any, Any, web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            await body_of(request)

            await readiness.wait(settings.request_deadline_s)
            what = f"{request.method} {request.path}"
            work = call(services(), request)
            return _json(await within(settings.request_deadline_s, what, work))

        return handle

    async def status(request: web.Request) -> web.Response:
        if not readiness.is_open:
            return _json(_starting(settings))
        return _json(_status(services()))

    async def events(request: web.Request) -> web.StreamResponse:
        await readiness.wait(settings.request_deadline_s)
        return await _stream(services().journal, request)

    app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[guarded(_error_reply)])
    app.router.add_get("/v1/status", status)
    app.router.add_get("/v1/events", events)
    for method, path, call in _CALLS:
        app.router.add_route(method, path, bounded(call))
    app.router.add_route("*", "/{tail:.*}", _unknown)
    return app


async def _list_networks(services: Services, _: web.Request) -> object:
    networks = services.networks.state.view.networks.values()
    return {"networks": [_network(n, services) for n in _by_name(networks)]}


async def _create_network(services: Services, request: web.Request) -> object:
    body = wire.decode(await request.read(), NetworkCreateBody)
    made = await services.standalone.create(_network_wish(body), is_dry=body.dry_run)
    return _plan(made) if isinstance(made, Plan) else _network(made, services)


async def _inspect_network(services: Services, request: web.Request) -> object:
    network = services.networks.find(request.match_info["ref"])
    view = services.networks.state.view
    endpoints = _by_name(view.endpoints_of(network.id))
    return {
        **_network(network, services),
        "endpoints": [_endpoint(e, services) for e in endpoints],
        "objects": _objects(services.networks.objects_of(network, view)),
    }


async def _delete_network(services: Services, request: web.Request) -> object:
    await services.standalone.delete(request.match_info["ref"])
    return {}


async def _list_endpoints(services: Services, _: web.Request) -> object:
    endpoints = services.networks.state.view.endpoints.values()
    return {"endpoints": [_endpoint(e, services) for e in _by_name(endpoints)]}


async def _inspect_endpoint(services: Services, request: web.Request) -> object:
    endpoint = services.endpoints.find(request.match_info["ref"])
    return {**_endpoint(endpoint, services), "objects": _objects(_planned(endpoint, services))}


async def _attach(services: Services, request: web.Request) -> object:
    wish = _attach_wish(wire.decode(await request.read(), AttachBody))
    return _endpoint(await services.standalone.attach(wish), services)


async def _detach(services: Services, request: web.Request) -> object:
    await services.standalone.detach(request.match_info["ref"])
    return {}


async def _list_pools(services: Services, _: web.Request) -> object:
    pools = services.networks.state.view.pools.values()
    return {"pools": [_pool(p, services) for p in sorted(pools, key=lambda p: p.id)]}


async def _inspect_pool(services: Services, request: web.Request) -> object:
    pool_id = PoolId(unquote(request.match_info["pool"]))
    view = services.networks.state.view
    matches = [p for p in view.pools.values() if pool_id in (p.id, str(p.network))]
    if len(matches) != 1:
        raise NotFound("pool", pool_id, "'pynet ipam ls' shows what there is")
    pool = matches[0]
    leases = sorted(view.leases_of(pool.id).values(), key=lambda lease: int(lease.address))
    return {**_pool(pool, services), "leases": [_lease(lease) for lease in leases]}


async def _show_plan(services: Services, _: web.Request) -> object:
    return _plan(await services.reconciler.plan())


async def _heal(services: Services, _: web.Request) -> object:
    report = await services.reconciler.run()
    if report.problems:
        raise Drift(report.problems)
    return {"steps": [_step(step) for step in report.steps]}


async def _verify(services: Services, _: web.Request) -> object:
    verdict = await services.reconciler.verify()
    return {
        "checked": verdict.checked,
        "differences": verdict.differences,
        "foreign": verdict.foreign,
    }


async def _unknown(request: web.Request) -> web.Response:
    raise NotFound("call", f"{request.method} {request.path}", "see docs/admin-api.md")


_CALLS: tuple[tuple[str, str, Call], ...] = (
    ("GET", "/v1/networks", _list_networks),
    ("POST", "/v1/networks", _create_network),
    ("GET", "/v1/networks/{ref}", _inspect_network),
    ("DELETE", "/v1/networks/{ref}", _delete_network),
    ("GET", "/v1/endpoints", _list_endpoints),
    ("POST", "/v1/endpoints", _attach),
    ("GET", "/v1/endpoints/{ref}", _inspect_endpoint),
    ("DELETE", "/v1/endpoints/{ref}", _detach),
    ("GET", "/v1/ipam", _list_pools),
    ("GET", "/v1/ipam/{pool:.+}", _inspect_pool),
    ("GET", "/v1/plan", _show_plan),
    ("POST", "/v1/heal", _heal),
    ("GET", "/v1/verify", _verify),
)


def _network_wish(body: NetworkCreateBody) -> NetworkWish:
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


def _attach_wish(body: AttachBody) -> AttachWish:
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


def _starting(settings: Settings) -> dict[str, object]:
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


def _status(services: Services) -> dict[str, object]:
    view = services.networks.state.view
    report = services.reconciler.last
    info = services.identities.info
    engine = {
        "endpoint": services.engine_endpoint,
        "version": info.version if info else "",
        "problem": services.identities.problem,
    }
    return _starting(services.settings) | {
        "state": "ready",
        "uptime_s": round(services.clock.monotonic_s() - services.started_s, 1),
        "engine": engine if services.engine_endpoint else None,
        "networks": len(view.networks),
        "endpoints": len(view.endpoints),
        "pools": len(view.pools),
        "leases": sum(len(leases) for leases in view.leases.values()),
        "last_reconcile": report
        and {
            "at": _time(report.at),
            "steps": len(report.steps),
            "problem": "; ".join(report.problems),
        },
    }


def _network(network: Network, services: Services) -> dict[str, object]:
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
        "created_at": _time(network.created_at),
    }


def _endpoint(endpoint: Endpoint, services: Services) -> dict[str, object]:
    network = services.networks.state.view.networks.get(endpoint.network_id)
    links = [o.name for o in _planned(endpoint, services) if isinstance(o, Veth)]
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
        "created_at": _time(endpoint.created_at),
    }


def _planned(endpoint: Endpoint, services: Services) -> frozenset[KernelObject]:
    view = services.networks.state.view
    network = view.networks.get(endpoint.network_id)
    if network is None:
        return frozenset()
    return services.networks.driver_of(network).plan_endpoint(endpoint, network, view)


def _pool(pool: Pool, services: Services) -> dict[str, object]:
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
        "created_at": _time(pool.created_at),
    }


def _lease(lease: Lease) -> dict[str, object]:
    return {
        "address": str(lease.address),
        "kind": lease.kind,
        "owner": lease.owner,
        "created_at": _time(lease.created_at),
    }


def _plan(plan: Plan) -> dict[str, object]:
    return {"steps": [_step(step) for step in plan.steps]}


def _step(step: Step) -> dict[str, str]:
    reason = {Create: "missing", Change: "different", Delete: "not wanted"}[type(step)]
    action, _, rest = step_text(step).partition(" ")
    return {"action": action, "object": rest, "reason": reason}


def _objects(objects: Iterable[KernelObject]) -> list[str]:
    return sorted(object_text(o) for o in objects)


def _by_name(records: Iterable[Any]) -> list[Any]:
    return sorted(records, key=lambda record: (record.label, record.id))


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(event: Event) -> dict[str, str]:
    return {
        "at": _time(event.at),
        "kind": event.kind,
        "network": event.network,
        "endpoint": event.endpoint,
        "message": event.message,
    }


async def _stream(journal: Journal, request: web.Request) -> web.StreamResponse:
    """Send what is remembered and, with `follow`, what happens until the client goes."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    with journal.listen() as later:
        for event in journal.past():
            await response.write(wire.encode(_event(event)) + b"\n")
        is_open = request.query.get("follow") == "1"
        while is_open:
            try:
                async with asyncio.timeout(_HEARTBEAT_S):
                    event_or_end = await later.get()
            except TimeoutError:
                await response.write(b"\n")  # finds out whether anybody still reads
                continue
            is_open = event_or_end is not None
            if event_or_end is not None:
                await response.write(wire.encode(_event(event_or_end)) + b"\n")
    await response.write_eof()
    return response


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=wire.encode(value), status=status, content_type="application/json")


def _error_reply(error: PynetError) -> web.Response:
    match error:
        case InvalidInput(problems=problems) | Drift(differences=problems):
            pass
        case _:
            problems = ()
    body = {
        "kind": type(error).__name__,
        "message": str(error),
        "problems": list(problems),
        "exit_code": error.exit_code,
    }
    return _json({"error": body}, error.http_status)
