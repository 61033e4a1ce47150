"""What dockerd reads in answers, as strictly as Go: unknown keys pass, wrong JSON types do not."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from msgspec import Struct, field

IPInterface = IPv4Interface | IPv6Interface


class BadReply(AssertionError):
    """dockerd would not take this answer."""


class Reply(Struct):
    """Any answer; network drivers fail with `Err`, IPAM drivers with `Error`."""

    err: str | None = field(name="Err", default=None)
    error: str | None = field(name="Error", default=None)


class Manifest(Reply):
    implements: list[str] | None = field(name="Implements", default=None)


class NetworkCapability(Reply):
    scope: str | None = field(name="Scope", default=None)
    connectivity_scope: str | None = field(name="ConnectivityScope", default=None)
    gw_alloc_checker: bool | None = field(name="GwAllocChecker", default=None)


class IpamCapability(Reply):
    requires_mac: bool | None = field(name="RequiresMACAddress", default=None)
    requires_replay: bool | None = field(name="RequiresRequestReplay", default=None)


class Spaces(Reply):
    local: str | None = field(name="LocalDefaultAddressSpace", default=None)
    global_: str | None = field(name="GlobalDefaultAddressSpace", default=None)


class GatewaySkip(Reply):
    ipv4: bool | None = field(name="SkipIPv4", default=None)
    ipv6: bool | None = field(name="SkipIPv6", default=None)


class PoolGranted(Reply):
    pool_id: str | None = field(name="PoolID", default=None)
    pool: str | None = field(name="Pool", default=None)
    data: dict[str, str] | None = field(name="Data", default=None)


class AddressGranted(Reply):
    address: str | None = field(name="Address", default=None)
    data: dict[str, str] | None = field(name="Data", default=None)


class Interface(Struct):
    address: str | None = field(name="Address", default=None)
    address_ipv6: str | None = field(name="AddressIPv6", default=None)
    mac: str | None = field(name="MacAddress", default=None)


class EndpointCreated(Reply):
    interface: Interface | None = field(name="Interface", default=None)


class InterfaceName(Struct):
    src_name: str | None = field(name="SrcName", default=None)
    dst_prefix: str | None = field(name="DstPrefix", default=None)


class StaticRoute(Struct):
    destination: str = field(name="Destination")
    route_type: int = field(name="RouteType", default=0)
    next_hop: str | None = field(name="NextHop", default=None)


class Joined(Reply):
    interface_name: InterfaceName | None = field(name="InterfaceName", default=None)
    gateway: str | None = field(name="Gateway", default=None)
    gateway_ipv6: str | None = field(name="GatewayIPv6", default=None)
    static_routes: list[StaticRoute] | None = field(name="StaticRoutes", default=None)
    disables_gateway_service: bool | None = field(name="DisableGatewayService", default=None)


class OperInfo(Reply):
    value: dict[str, object] | None = field(name="Value", default=None)


def prefix(text: str | None) -> IPInterface:
    """Read a CIDR as `netip.ParsePrefix` of 27 and later does; what it takes, all releases take.

    Raises:
        BadReply: it is empty or sloppily written.
    """
    if not text or not re.fullmatch(r"[0-9a-fA-F:.]+/(0|[1-9]\d*)", text):
        raise BadReply(f"{text!r} is no CIDR for netip.ParsePrefix")
    return ip_interface(text)


def unmodified(given: Interface, answered: Interface | None) -> None:
    """Refuse an answer that has a member which the request had, be it equal.

    Source: moby libnetwork/drivers/remote/driver.go, CreateEndpoint; libnetwork#665.

    Raises:
        BadReply: it has one.
    """
    for member in Interface.__struct_fields__ if answered else ():
        if getattr(given, member) and getattr(answered, member):
            raise BadReply(f"driver modified interface {member}: {answered}")
