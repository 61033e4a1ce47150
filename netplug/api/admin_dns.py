"""The admin socket's /v1/dns: names, records by hand, lookups, counters, the query log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import msgspec
from aiohttp import web

from netplug.api import wire
from netplug.api.admin_wire import Services, by_name, endpoint_of, endpoints_named, time_json
from netplug.contract.driver import NameMode, NameOptions
from netplug.contract.names import ClientCounters, LoggedQuery, NameAnswer, NameClient
from netplug.errors import InvalidRequest, NotFound
from netplug.model import Endpoint, NameRecord, Network, NetworkId, RecordKind
from netplug.service.names import HOST_CLIENT
from netplug.service.who import NameOrigin, names_of
from netplug.view import View

_HEARTBEAT_S = 15.0
# The latest questions come at once; when none follows for so long, those to come are meant.
_PAUSE_S = 0.3
_MOST_PAST = 1000


class NameAddBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/dns."""

    network: str
    name: str
    values: list[str]
    type: str | None = None


async def list_names(services: Services, request: web.Request) -> object:
    """Return every name, of one network or of all."""
    view = services.networks.state.view
    reference = request.query.get("network")
    chosen = [services.networks.find(reference)] if reference else by_name(view.networks.values())
    served = {network: services.names.options_of(network) for network in chosen}
    # Of 100 000 endpoints it takes seconds; the view does not change meanwhile.
    return await asyncio.to_thread(_listed, served, view)


async def add_name(services: Services, request: web.Request) -> object:
    """Record what a name means."""
    body = wire.decode(await request.read(), NameAddBody)
    record = await services.records.add(body.network, body.name, body.values, _kind(body.type))
    network = services.networks.state.view.networks[record.network_id]
    return _record_json(record, network, services.names.options_of(network))


async def remove_name(services: Services, request: web.Request) -> object:
    """Take back what was recorded of a name."""
    network, name = request.match_info["ref"], request.match_info["name"]
    await services.records.remove(network, name, _kind(request.query.get("type")))
    return {}


async def lookup(services: Services, request: web.Request) -> object:
    """Answer a question, and say why so."""
    name, kind = request.query.get("name", ""), request.query.get("type", "A").upper()
    if not name:
        raise InvalidRequest(["name is wanted"])
    asker = _asker(request.query.get("network"), request.query.get("container"), services)
    answer = await services.names.names.lookup(asker, name, kind)
    return _answer_json(name, kind, answer, services)


async def counters(services: Services, _: web.Request) -> object:
    """Return what was asked by whom."""
    counted = await services.names.names.statistics()
    clients = {client.id: client for client in services.names.served()}
    rows = [_client_json(i, clients.get(i), found, services) for i, found in counted.items()]
    return {"clients": sorted(rows, key=lambda row: (row["label"], row["id"]))}


async def stream_log(services: Services, request: web.Request) -> web.StreamResponse:
    """Send the latest questions and, with `follow`, those to come until the client goes."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    follows = request.query.get("follow") == "1"
    container = request.query.get("container")
    log = services.names.names.follow()
    async with _closing(log), aclosing(_queries(log, follows=follows)) as queries:
        async for query in queries:
            if query is None:
                await response.write(b"\n")  # finds out whether anybody still reads
            elif container in (None, query.label, query.client_id):
                await response.write(wire.encode(_query_json(query)) + b"\n")
    await response.write_eof()
    return response


CALLS = (
    ("GET", "/v1/dns", list_names),
    ("POST", "/v1/dns", add_name),
    ("GET", "/v1/dns/lookup", lookup),
    ("GET", "/v1/dns/counters", counters),
    ("DELETE", "/v1/dns/{ref}/{name}", remove_name),
)


async def _queries(
    log: AsyncIterator[LoggedQuery], *, follows: bool
) -> AsyncGenerator[LoggedQuery | None, None]:
    """Yield questions, and None now and then while there is none; the past only, unless follows."""
    patience_s, count = _HEARTBEAT_S if follows else _PAUSE_S, 0
    while follows or count < _MOST_PAST:
        coming = asyncio.ensure_future(anext(log, None))
        try:
            while not await _comes(coming, patience_s):
                if not follows:
                    return
                yield None
        finally:
            await _given_up(coming)
        if (query := coming.result()) is None:
            return
        count += 1
        yield query


@asynccontextmanager
async def _closing(log: AsyncIterator[LoggedQuery]) -> AsyncIterator[None]:
    """End the log with the context: nobody follows it any more."""
    try:
        yield
    finally:
        if isinstance(log, AsyncGenerator):
            await log.aclose()


async def _comes(coming: asyncio.Future[LoggedQuery | None], within_s: float) -> bool:
    done, _ = await asyncio.wait([coming], timeout=within_s)
    return bool(done)


async def _given_up(coming: asyncio.Future[LoggedQuery | None]) -> None:
    if not coming.done():
        coming.cancel()
        with suppress(asyncio.CancelledError):
            await coming


def _kind(text: str | None) -> RecordKind | None:
    if text is None:
        return None
    try:
        return RecordKind(text.upper())
    except ValueError:
        kinds = ", ".join(RecordKind)
        raise InvalidRequest([f"type {text!r}: one of {kinds} is wanted"]) from None


def _asker(
    network: str | None, container: str | None, services: Services
) -> str | Sequence[NetworkId]:
    """Return who is meant to ask: a container, one who is on that network only, or the host."""
    if container is not None:
        inside = {e.sandbox for e in endpoints_named(container, network, services)}
        if len(inside) == 1 and services.names.is_served(sandbox := inside.pop()):
            return sandbox
        network = endpoint_of(container, network, services, lambda e: bool(e.sandbox)).network_id
    if network is not None:
        found = services.networks.find(network)
        if services.names.options_of(found).mode is NameMode.OFF:
            raise NotFound(
                "name", found.label, "the network has no names: it was made with dns=off"
            )
        return [found.id]
    if services.names.host_address is None:
        raise InvalidRequest(["network or container is wanted: the host asks for no names"])
    return HOST_CLIENT


def _listed(served: Mapping[Network, NameOptions], view: View) -> msgspec.Raw:
    """Return the names of networks, encoded."""
    endpoints: dict[NetworkId, list[Endpoint]] = {}
    for endpoint in view.endpoints.values():
        endpoints.setdefault(endpoint.network_id, []).append(endpoint)
    rows = [
        row
        for network, options in served.items()
        if options.mode is not NameMode.OFF
        for row in _names_on(network, options, endpoints.get(network.id, ()), view)
    ]
    return msgspec.Raw(wire.encode({"names": rows}))


def _names_on(
    network: Network, options: NameOptions, endpoints: Iterable[Endpoint], view: View
) -> Iterator[dict[str, object]]:
    for endpoint in by_name(e for e in endpoints if e.sandbox):
        for name, origin in names_of(endpoint).items():
            for kind, version in ((RecordKind.A, 4), (RecordKind.AAAA, 6)):
                values = [str(a.ip) for a in endpoint.addresses if a.version == version]
                if values:
                    row = _row(name, kind, network, options)
                    yield {**row, "values": values, "origin": origin, "owner": endpoint.label}
    for record in sorted(view.records_of(network.id), key=lambda r: (r.name, r.kind)):
        yield _record_json(record, network, options)


def _record_json(record: NameRecord, network: Network, options: NameOptions) -> dict[str, object]:
    row = _row(record.name, record.kind, network, options)
    return {**row, "values": record.values, "origin": NameOrigin.MANUAL, "owner": ""}


def _row(name: str, kind: RecordKind, network: Network, options: NameOptions) -> dict[str, object]:
    return {
        "name": name,
        "network": network.label,
        "network_id": network.id,
        "type": kind,
        "ttl_s": options.ttl_s,
    }


def _answer_json(name: str, kind: str, answer: NameAnswer, services: Services) -> dict[str, object]:
    networks = services.networks.state.view.networks
    network = networks.get(answer.network_id) if answer.network_id else None
    return {
        "name": name,
        "type": kind,
        "rcode": answer.rcode,
        "records": answer.records,
        "source": answer.source,
        "network": network.label if network else "",
        "network_id": answer.network_id or "",
        "owners": answer.owners,
        "reason": answer.reason,
    }


def _client_json(
    client_id: str, client: NameClient | None, counted: ClientCounters, services: Services
) -> dict[str, Any]:
    """Return a DnsClient; one that is not known here is the host, or has just gone."""
    networks = services.networks.state.view.networks
    ids = client.network_ids if client else ()
    return {
        "id": client_id,
        "kind": client.kind if client else "host" if client_id == HOST_CLIENT else "",
        "label": client.label if client else client_id,
        "networks": [networks[i].label for i in ids if i in networks],
        "queries": counted.queries,
        "hits": counted.hits,
        "misses": counted.misses,
        "forwarded": counted.forwarded,
        "failed": counted.failed,
        "refused": counted.refused,
        "dropped": counted.dropped,
        "rcodes": dict(counted.rcodes),
    }


def _query_json(query: LoggedQuery) -> dict[str, object]:
    return {
        "at": time_json(query.at),
        "client": query.client_id,
        "label": query.label,
        "name": query.name,
        "type": query.kind,
        "rcode": query.rcode,
        "source": query.source,
        "records": query.records,
        "took_ms": round(query.took_s * 1000, 3),
    }
