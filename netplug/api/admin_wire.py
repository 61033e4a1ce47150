"""docs/admin-api.md in both directions: requests as wishes, records as JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from netplug import __version__
from netplug.addresses import parse_address, parse_network
from netplug.api import wire
from netplug.api.portspec import host_ports, port_requests
from netplug.clock import Clock
from netplug.contract.names import NameProblem
from netplug.errors import Conflict, InvalidRequest, NotFound
from netplug.model import Endpoint, HostPorts, IPAddress, Network, PortRequest
from netplug.plan.diff import Change, Create, Delete, Plan, Step
from netplug.plan.objects import Bridge, KernelObject, RoutedVeth, Shim, Veth
from netplug.plan.text import object_text, step_text
from netplug.service.auditor import Auditor
from netplug.service.collision_watch import CollisionWatch
from netplug.service.endpoints import Endpoints
from netplug.service.identities import Identities
from netplug.service.journal import Event, Journal
from netplug.service.name_records import NameRecords
from netplug.service.names import NameDirectory
from netplug.service.networks import Networks
from netplug.service.port_listing import PublishedPort
from netplug.service.ports import Ports
from netplug.service.reconcile import Reconciler
from netplug.service.reservations import Reservations
from netplug.service.standalone import AttachWish, NetworkWish, Standalone, SubnetWish
from netplug.service.who import names_of
from netplug.settings import Settings


class SubnetBody(msgspec.Struct, forbid_unknown_fields=True):
    """A wanted subnet."""

    pool: str | None = None
    range: str | None = None
    gateway: str | None = None
    aux: dict[str, str] = {}


class NetworkCreateBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/networks."""

    name: str
    driver: str = wire.DEFAULT_DRIVER
    subnets: list[SubnetBody] = []
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    options: dict[str, str] = {}
    ipam_options: dict[str, str] = {}
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
    aliases: list[str] = []
    options: dict[str, str] = {}


class PublishBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/ports."""

    container: str
    ports: list[str]
    network: str | None = None


class PeerBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/networks/REF/peers."""

    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the admin API shows and does."""

    settings: Settings
    networks: Networks
    endpoints: Endpoints
    ports: Ports
    standalone: Standalone
    names: NameDirectory
    records: NameRecords
    reconciler: Reconciler
    collisions: CollisionWatch
    identities: Identities
    auditor: Auditor
    reservations: Reservations
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
        ipam_options=tuple(sorted(body.ipam_options.items())),
    )


def _subnet_wish(body: SubnetBody, problems: list[str]) -> SubnetWish:
    pool = _parse(parse_network, body.pool, problems)
    return SubnetWish(
        pool=pool,
        sub_range=_parse(parse_network, body.range, problems),
        gateway=_parse(parse_address, body.gateway, problems),
        aux=tuple(
            (n, _parse(parse_address, text, problems)) for n, text in sorted(body.aux.items())
        ),
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
    addresses = [_parse(parse_address, text, problems) for text in body.addresses]
    mac = wire.mac_text(body.mac or "", problems)
    if problems:
        raise InvalidRequest(problems)
    return AttachWish(
        network=body.network,
        netns=body.netns or f"/proc/{body.pid}/ns/net",
        name=body.name or "",
        aliases=tuple(body.aliases),
        addresses=tuple(addresses),
        interface=body.interface or "",
        mac=mac,
        options=tuple(sorted(body.options.items())),
    )


def port_wishes(body: PublishBody) -> tuple[PortRequest, ...]:
    """Return the ports that a body asks for.

    Raises:
        InvalidRequest: with everything that does not parse.
    """
    problems: list[str] = []
    parsed = [_parse(port_requests, text, problems) for text in body.ports]
    if not body.ports:
        problems.append("no port is given")
    if problems:
        raise InvalidRequest(problems)
    return tuple(request for requests in parsed for request in requests)


def published_ports(text: str) -> HostPorts:
    """Return the published ports that a path names.

    Raises:
        InvalidRequest: it names none.
    """
    try:
        return host_ports(text)
    except ValueError as error:
        raise InvalidRequest([str(error)]) from error


def endpoint_of(
    container: str,
    network: str | None,
    services: Services,
    prefers: Callable[[Endpoint], bool],
) -> Endpoint:
    """Return the endpoint that `container`, its name or REF, means; `network` says on which one.

    Of several, it is the only one that `prefers` is true of.

    Raises:
        NotFound: there is none.
        Conflict: there are several.
    """
    found = endpoints_named(container, network, services)
    if len(found) > 1:
        found = list(filter(prefers, found)) or found
    if len(found) > 1:
        raise Conflict(
            f"container {container}", "is on several networks", "choose one with --network"
        )
    return found[0]


def endpoints_named(container: str, network: str | None, services: Services) -> list[Endpoint]:
    """Return the endpoints that `container`, its name or REF, has, or the one on `network`.

    Raises:
        NotFound: there is none.
        Conflict: it is the beginning of several ids.
    """
    endpoints = services.networks.state.view.endpoints
    found = [e for e in endpoints.values() if e.name == container]
    found = found or [services.endpoints.find(container)]
    if network is not None:
        chosen = services.networks.find(network)
        found = [e for e in found if e.network_id == chosen.id]
        if not found:
            raise NotFound(f"endpoint of {container} on network", chosen.label)
    return found


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
        "dns": {
            "domain": settings.dns_domain,
            "address": str(settings.dns_address or ""),
            "clients": 0,
            "problems": [],
        },
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
        "dns": dns_status(services),
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


def dns_status(services: Services) -> dict[str, object]:
    """Return how names are answered, and for whom they are not."""
    settings = services.settings
    return {
        "domain": settings.dns_domain,
        "address": str(settings.dns_address or ""),
        "clients": len(services.names.served()),
        "problems": _grouped(services.names.names.problems()),
    }


def _grouped(problems: Iterable[NameProblem]) -> list[str]:
    """Return each reason once, with the first who has it and how many others do."""
    labels: dict[str, list[str]] = {}
    for problem in problems:
        labels.setdefault(problem.reason, []).append(problem.label)
    sentences: list[str] = []
    for reason, (first, *others) in labels.items():
        count = f" and {len(others)} more" if others else ""
        sentences.append(f"{first}{count}: {reason}" if first else reason)
    return sentences


def network_json(network: Network, services: Services) -> dict[str, object]:
    """Return a Network."""
    view = services.networks.state.view
    driver = services.networks.driver_of(network)
    links = [o.name for o in driver.plan_network(network, view) if isinstance(o, Bridge | Shim)]
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
        "parent": network.parent.name if network.parent else "",
        "peers": sorted(view.networks[p].label for p in network.peers if p in view.networks),
        "endpoint_count": len(view.endpoints_of(network.id)),
        "created_at": time_json(network.created_at),
    }


def endpoint_json(endpoint: Endpoint, services: Services) -> dict[str, object]:
    """Return an Endpoint."""
    network = services.networks.state.view.networks.get(endpoint.network_id)
    links = [o.name for o in planned(endpoint, services) if isinstance(o, Veth | RoutedVeth)]
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
        "names": list(names_of(endpoint)),
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


def ports_json(published: Iterable[PublishedPort]) -> dict[str, object]:
    """Return Ports: of each mapping a row for every address on which it is reached."""
    return {"ports": [row for port in published for row in _port_rows(port)]}


def _port_rows(port: PublishedPort) -> Iterator[dict[str, object]]:
    addresses = [a.ip for a in port.endpoint.addresses]
    for host_ip in port.host_ips:
        of_family = [ip for ip in addresses if ip.version == host_ip.version]
        ends = (port.mapping.host_port, port.mapping.last_host_port)
        yield _port_json(port, str(host_ip), ends, (of_family or addresses)[0])
    for own in port.open_at:
        yield _port_json(port, "", (0, 0), own)


def _port_json(
    port: PublishedPort, host_ip: str, host_ports: tuple[int, int], container_ip: IPAddress
) -> dict[str, object]:
    asked = port.mapping.asked
    return {
        "container": port.endpoint.label,
        "endpoint_id": port.endpoint.id,
        "network": port.network.label,
        "network_id": port.network.id,
        "protocol": asked.protocol,
        "host_ip": host_ip,
        "host_port": host_ports[0],
        "host_port_end": host_ports[1],
        "container_ip": str(container_ip),
        "container_port": asked.container_port,
        "container_port_end": asked.container_port + asked.count - 1,
        "origin": asked.origin,
        "packets": port.packets,
        "bytes": port.bytes,
        "rules": port.rules,
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
