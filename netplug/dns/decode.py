"""What the daemon says, as values. It is trusted, but a slip of it must not end the process."""

from __future__ import annotations

import ipaddress
from typing import Any

import dns.exception
import dns.rdatatype

from netplug.contract.names import (
    DEFAULT_TTL_S,
    Change,
    ClientKind,
    NameClient,
    Named,
    NamedEndpoint,
    NamedNetwork,
    NamedRecord,
)
from netplug.dns.rdatas import name_of
from netplug.dns.zone import canonical
from netplug.model import EndpointId, NetworkId, Protocol, RecordKind


def change(said: dict[str, Any]) -> Change:
    """Return a change.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it makes no sense.
    """
    return Change(
        puts=tuple(_named(item) for item in said.get("puts", ())),
        drops=tuple(_named(item) for item in said.get("drops", ())),
    )


def client(said: dict[str, Any]) -> NameClient:
    """Return a client.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it makes no sense.
    """
    return NameClient(
        id=str(said["id"]),
        kind=ClientKind(said["kind"]),
        label=str(said.get("label", "")),
        network_ids=tuple(network_id(text) for text in said.get("network_ids", ())),
        netns=str(said.get("netns", "")),
        listen=tuple(ipaddress.ip_address(text) for text in said.get("listen", ())),
        forwards=bool(said.get("forwards", True)),
        left_to_docker=tuple(canonical(str(name)) for name in said.get("left_to_docker", ())),
    )


def question(said: dict[str, Any]) -> tuple[str, int]:
    """Return the name and the type of a question.

    Raises:
        ValueError: there is no such name, or type.
    """
    name, kind = str(said["name"]), str(said.get("kind", "A"))
    try:
        name_of(canonical(name))
        return name, int(dns.rdatatype.from_text(kind))
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{name!r} {kind!r} cannot be asked for: {error}") from error


def network_id(text: object) -> NetworkId:
    """Return the id of a network."""
    return NetworkId(str(text))


def _named(item: dict[str, Any]) -> Named:
    if "network" in item:
        return _network(item["network"])
    if "endpoint" in item:
        return _endpoint(item["endpoint"])
    return _record(item["record"])


def _network(said: dict[str, Any]) -> NamedNetwork:
    return NamedNetwork(
        id=network_id(said["id"]),
        name=str(said.get("name", "")),
        ttl_s=int(said.get("ttl_s", DEFAULT_TTL_S)),
        subnets=tuple(ipaddress.ip_network(text) for text in said.get("subnets", ())),
        is_internal=bool(said.get("is_internal", False)),
    )


def _endpoint(said: dict[str, Any]) -> NamedEndpoint:
    return NamedEndpoint(
        id=EndpointId(str(said["id"])),
        network_id=network_id(said.get("network_id", "")),
        label=str(said.get("label", "")),
        names=tuple(str(name) for name in said.get("names", ())),
        addresses=tuple(ipaddress.ip_address(text) for text in said.get("addresses", ())),
        ports=tuple((Protocol(name), int(port)) for name, port in said.get("ports", ())),
    )


def _record(said: dict[str, Any]) -> NamedRecord:
    return NamedRecord(
        network_id=network_id(said["network_id"]),
        name=str(said["name"]),
        kind=RecordKind(said["kind"]),
        values=tuple(str(value) for value in said.get("values", ())),
    )
