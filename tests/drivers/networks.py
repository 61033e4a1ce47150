"""Networks and endpoints as Docker and people ask for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv6Network, ip_interface

from netplug.model import (
    Endpoint,
    EndpointId,
    HostFacts,
    HostState,
    Network,
    NetworkId,
    Record,
    Subnet,
    View,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def network(
    *gateways: str,
    options: dict[str, str] | None = None,
    is_internal: bool = False,
    has_ipv4: bool = True,
    has_ipv6: bool | None = None,
    number: int = 1,
) -> Network:
    """A network with a subnet for each of `gateways`; IPv6 is on where one of them is IPv6."""
    interfaces = [ip_interface(gateway) for gateway in gateways]
    return Network(
        id=NetworkId(f"{number:x}" * 64),
        name=f"net{number}",
        options=tuple((options or {}).items()),
        is_internal=is_internal,
        has_ipv4=has_ipv4,
        has_ipv6=any(i.version == 6 for i in interfaces) if has_ipv6 is None else has_ipv6,
        subnets=tuple(Subnet(pool=i.network, gateway=i) for i in interfaces),
        created_at=NOON,
    )


def without_gateways(given: Network) -> Network:
    """The same as dockerd asks for it where GwAllocCheck said that no gateway is needed."""
    return replace(given, subnets=tuple(replace(s, gateway=None) for s in given.subnets))


def endpoint(
    on: Network, *addresses: str, sandbox: str = "", interface: str = "", is_lent: bool = False
) -> Endpoint:
    return Endpoint(
        id=EndpointId("e" * 64),
        network_id=on.id,
        mac="02:42:0a:09:00:02",
        addresses=tuple(map(ip_interface, addresses)),
        sandbox=sandbox,
        interface=interface,
        is_lent=is_lent,
        created_at=NOON,
    )


def view(*records: Record, has_ipv6: bool = True, filters_bridged: bool = False) -> View:
    host = HostState(instance="0f3a", ula=IPv6Network("fd12:3456:789a::/48"))
    facts = HostFacts(has_ipv6=has_ipv6, filters_bridged=filters_bridged)
    return View(host=host, facts=facts).with_records(records)
