"""The admin socket: docs/admin-api.md, call by call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from netplug.api import admin_dns, admin_ipam, metrics, wire
from netplug.api.admin_wire import (
    AttachBody,
    NetworkCreateBody,
    PeerBody,
    PublishBody,
    Services,
    attach_wish,
    by_name,
    endpoint_json,
    endpoint_of,
    event_json,
    network_json,
    network_wish,
    objects_json,
    plan_json,
    planned,
    port_wishes,
    ports_json,
    published_ports,
    starting,
    status_of,
    step_json,
)
from netplug.api.app import Readiness
from netplug.api.middleware import BODY_LIMIT_BYTES, body_of, guarded, within
from netplug.errors import Drift, InvalidInput, NotFound, PynetError
from netplug.model import Endpoint
from netplug.plan.diff import Plan
from netplug.service.journal import Journal
from netplug.settings import Settings

_HEARTBEAT_S = 15.0


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
            return _json(starting(settings))
        return _json(status_of(services()))

    async def events(request: web.Request) -> web.StreamResponse:
        await readiness.wait(settings.request_deadline_s)
        return await _stream(services().journal, request)

    async def dns_log(request: web.Request) -> web.StreamResponse:
        await readiness.wait(settings.request_deadline_s)
        return await admin_dns.stream_log(services(), request)

    async def show_metrics(_: web.Request) -> web.Response:
        await readiness.wait(settings.request_deadline_s)
        return await metrics.metrics(services())

    app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[guarded(_error_reply)])
    app.router.add_get("/v1/status", status)
    app.router.add_get("/v1/metrics", show_metrics)
    app.router.add_get("/v1/events", events)
    app.router.add_get("/v1/dns/log", dns_log)
    for method, path, call in _CALLS:
        app.router.add_route(method, path, bounded(call))
    app.router.add_route("*", "/{tail:.*}", _unknown)
    return app


async def _list_networks(services: Services, _: web.Request) -> object:
    networks = services.networks.state.view.networks.values()
    return {"networks": [network_json(n, services) for n in by_name(networks)]}


async def _create_network(services: Services, request: web.Request) -> object:
    body = wire.decode(await request.read(), NetworkCreateBody)
    made = await services.standalone.create(network_wish(body), is_dry=body.dry_run)
    return plan_json(made) if isinstance(made, Plan) else network_json(made, services)


async def _inspect_network(services: Services, request: web.Request) -> object:
    network = services.networks.find(request.match_info["ref"])
    view = services.networks.state.view
    endpoints = by_name(view.endpoints_of(network.id))
    return {
        **network_json(network, services),
        "endpoints": [endpoint_json(e, services) for e in endpoints],
        "objects": objects_json(services.networks.objects_of(network, view)),
    }


async def _delete_network(services: Services, request: web.Request) -> object:
    await services.standalone.delete(request.match_info["ref"])
    return {}


async def _peer(services: Services, request: web.Request) -> object:
    body = wire.decode(await request.read(), PeerBody)
    find = services.networks.find
    network = find(request.match_info["ref"])
    await services.networks.peer(network, find(body.network))
    return network_json(find(network.id), services)


async def _unpeer(services: Services, request: web.Request) -> object:
    network, other = (services.networks.find(request.match_info[key]) for key in ("ref", "other"))
    await services.networks.unpeer(network, other)
    return {}


async def _list_endpoints(services: Services, _: web.Request) -> object:
    endpoints = services.networks.state.view.endpoints.values()
    return {"endpoints": [endpoint_json(e, services) for e in by_name(endpoints)]}


async def _inspect_endpoint(services: Services, request: web.Request) -> object:
    endpoint = services.endpoints.find(request.match_info["ref"])
    return {
        **endpoint_json(endpoint, services),
        "objects": objects_json(planned(endpoint, services)),
    }


async def _attach(services: Services, request: web.Request) -> object:
    wish = attach_wish(wire.decode(await request.read(), AttachBody))
    return endpoint_json(await services.standalone.attach(wish), services)


async def _detach(services: Services, request: web.Request) -> object:
    await services.standalone.detach(request.match_info["ref"])
    return {}


async def _list_ports(services: Services, _: web.Request) -> object:
    return ports_json(await services.ports.listing())


async def _publish(services: Services, request: web.Request) -> object:
    body = wire.decode(await request.read(), PublishBody)
    wishes = port_wishes(body)

    def leads_outside(endpoint: Endpoint) -> bool:
        network = services.networks.state.view.networks[endpoint.network_id]
        has_gateway = any(subnet.gateway for subnet in network.subnets)
        return not network.is_internal and (has_gateway or network.parent is not None)

    endpoint = endpoint_of(body.container, body.network, services, leads_outside)
    return ports_json(await services.ports.add(endpoint, wishes))


async def _unpublish(services: Services, request: web.Request) -> object:
    ports = published_ports(unquote(request.match_info["port"]))

    def publishes(endpoint: Endpoint) -> bool:
        return any(ports.cut(mapping)[0] for mapping in endpoint.ports)

    container, network = request.match_info["ref"], request.query.get("network")
    await services.ports.remove(endpoint_of(container, network, services, publishes), ports)
    return {}


async def _show_plan(services: Services, _: web.Request) -> object:
    return plan_json(await services.reconciler.plan())


async def _heal(services: Services, _: web.Request) -> object:
    report = await services.reconciler.run()
    if report.problems:
        raise Drift(report.problems)
    return {"steps": [step_json(step) for step in report.steps]}


async def _verify(services: Services, _: web.Request) -> object:
    verdict = await services.reconciler.verify()
    return {
        "checked": verdict.checked,
        "differences": verdict.differences,
        "foreign": verdict.foreign,
        "collisions": [c.text for c in await services.collisions.found()],
    }


async def _unknown(request: web.Request) -> web.Response:
    raise NotFound("call", f"{request.method} {request.path}", "see docs/admin-api.md")


_CALLS: tuple[tuple[str, str, Call], ...] = (
    ("GET", "/v1/networks", _list_networks),
    ("POST", "/v1/networks", _create_network),
    ("GET", "/v1/networks/{ref}", _inspect_network),
    ("DELETE", "/v1/networks/{ref}", _delete_network),
    ("POST", "/v1/networks/{ref}/peers", _peer),
    ("DELETE", "/v1/networks/{ref}/peers/{other}", _unpeer),
    ("GET", "/v1/endpoints", _list_endpoints),
    ("POST", "/v1/endpoints", _attach),
    ("GET", "/v1/endpoints/{ref}", _inspect_endpoint),
    ("DELETE", "/v1/endpoints/{ref}", _detach),
    ("GET", "/v1/ports", _list_ports),
    ("POST", "/v1/ports", _publish),
    ("DELETE", "/v1/ports/{ref}/{port:.+}", _unpublish),
    *admin_ipam.CALLS,
    *admin_dns.CALLS,
    ("GET", "/v1/plan", _show_plan),
    ("POST", "/v1/heal", _heal),
    ("GET", "/v1/verify", _verify),
)


async def _stream(journal: Journal, request: web.Request) -> web.StreamResponse:
    """Send what is remembered and, with `follow`, what happens until the client goes."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    with journal.listen() as later:
        for event in journal.past():
            await response.write(wire.encode(event_json(event)) + b"\n")
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
                await response.write(wire.encode(event_json(event_or_end)) + b"\n")
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
