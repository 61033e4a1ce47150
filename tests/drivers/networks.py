"""Networks and endpoints as Docker and people ask for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv6Network, ip_address, ip_interface
from typing import Any

from netplug.model import (
    Endpoint,
    EndpointId,
    HostFacts,
    HostState,
    IPAddress,
    LinkFacts,
    Network,
    NetworkId,
    Parent,
    PortMapping,
    PortRequest,
    Protocol,
    Record,
    Subnet,
)
from netplug.view import View

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


def with_ports(given: Endpoint) -> Endpoint:
    """The same with a port on every address, one on loopback, and a run of two."""
    everywhere = (ip_address("0.0.0.0"), ip_address("::"))
    loopback = (ip_address("127.0.0.1"), ip_address("::1"))
    return replace(
        given,
        ports=(
            published(80, 8080, everywhere),
            published(53, 5353, loopback, Protocol.UDP),
            published(9000, 9000, everywhere[:1], count=2),
        ),
    )


def published(
    port: int,
    host_port: int,
    host_ips: tuple[IPAddress, ...],
    protocol: Protocol = Protocol.TCP,
    count: int = 1,
) -> PortMapping:
    """The mapping that a user's wish became: `count` ports from `port` on."""
    asked = PortRequest(
        protocol=protocol,
        container_port=port,
        host_port=host_port,
        host_port_end=host_port,
        count=count,
    )
    return PortMapping(asked=asked, host_ips=host_ips, host_port=host_port)


def view(
    *records: Record,
    has_ipv6: bool = True,
    filters_bridged: bool = False,
    has_spoof_guard: bool = True,
) -> View:
    host = HostState(instance="0f3a", ula=IPv6Network("fd12:3456:789a::/48"))
    facts = HostFacts(
        has_ipv6=has_ipv6, filters_bridged=filters_bridged, has_spoof_guard=has_spoof_guard
    )
    return View(host=host, facts=facts).with_records(records)


UPLINK = LinkFacts(name="eth0", index=2, mac="52:54:00:00:00:02")
LAN = Parent(name=UPLINK.name, index=UPLINK.index, mac=UPLINK.mac)
TEN = Parent(name="eth0.10", vlan_of="eth0", vlan_id=10)


def host_network(
    *gateways: str,
    parent: Parent | None = LAN,
    aux: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    is_internal: bool = False,
    has_ipv4: bool = True,
    number: int = 1,
) -> Network:
    """A network of the host driver; each of `aux` is an address of the subnet that it fits."""
    made = network(
        *gateways, options=options, is_internal=is_internal, has_ipv4=has_ipv4, number=number
    )
    named = [(name, ip_address(text)) for name, text in (aux or {}).items()]
    subnets = tuple(
        replace(s, aux=tuple((name, ip) for name, ip in named if ip in s.pool))
        for s in made.subnets
    )
    return replace(made, driver="host", parent=parent, subnets=subnets)


def on_host(*records: Record, links: tuple[LinkFacts, ...] = (UPLINK,), **facts: Any) -> View:
    """A host with an uplink and all types of links; `facts` are further fields of `HostFacts`."""
    given: dict[str, Any] = {
        "uplink": UPLINK.name,
        "links": {link.name: link for link in links},
        "link_kinds": frozenset({"macvlan", "ipvlan", "vlan"}),
        **facts,
    }
    return view(*records).with_facts(HostFacts(**given))
