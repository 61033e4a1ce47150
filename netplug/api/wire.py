"""Docker's plugin protocol: JSON to typed values and back. Nothing else knows Docker's spelling.

Decoding is lenient where Go's is (unknown keys, null for an empty value) and strict on types; every
problem of a request is listed. Source: moby libnetwork/drivers/remote/api/api.go and
libnetwork/ipams/remote/api/api.go, Engine 20.10 to 29.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address, ip_interface
from typing import Any, TypeVar

import msgspec

from netplug import labels
from netplug.addresses import parse_address, parse_network
from netplug.contract.driver import Attachment
from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.errors import InvalidRequest
from netplug.model import (
    Endpoint,
    EndpointId,
    IPAddress,
    IPNetwork,
    LeaseKind,
    Network,
    NetworkId,
    PoolId,
    PortRequest,
    Protocol,
    Subnet,
)

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
LOCAL_SPACE, GLOBAL_SPACE = "pynet-local", "pynet-global"
DRIVER_OPTION = "driver"
DEFAULT_DRIVER = "bridge"
_GATEWAY_REQUEST = "com.docker.network.gateway"
_NEXT_HOP, _CONNECTED = 0, 1  # moby libnetwork/types/types.go

Body = TypeVar("Body", bound=msgspec.Struct)
Options = dict[str, Any]
RawOptions = dict[str, msgspec.Raw]
"""Options that are read when they are wanted: a range of 10 000 ports is 0.8 MB of JSON."""


class IpamData(msgspec.Struct, rename="pascal"):
    """One subnet of CreateNetwork."""

    address_space: str | None = None
    pool: str | None = None
    gateway: str | None = None
    aux_addresses: dict[str, str] | None = None


class CreateNetworkBody(msgspec.Struct):
    """NetworkDriver.CreateNetwork."""

    network_id: str = msgspec.field(name="NetworkID")
    options: Options | None = msgspec.field(name="Options", default=None)
    ipv4_data: list[IpamData] | None = msgspec.field(name="IPv4Data", default=None)
    ipv6_data: list[IpamData] | None = msgspec.field(name="IPv6Data", default=None)


class NetworkBody(msgspec.Struct):
    """A call that names a network."""

    network_id: str = msgspec.field(name="NetworkID")


class OptionsBody(msgspec.Struct, rename="pascal"):
    """NetworkDriver.GwAllocCheck."""

    options: Options | None = None


class EndpointBody(msgspec.Struct):
    """A call that names an endpoint."""

    network_id: str = msgspec.field(name="NetworkID")
    endpoint_id: str = msgspec.field(name="EndpointID")


class InterfaceBody(msgspec.Struct):
    """The interface of CreateEndpoint; what is unset is empty."""

    address: str | None = msgspec.field(name="Address", default=None)
    address_ipv6: str | None = msgspec.field(name="AddressIPv6", default=None)
    mac_address: str | None = msgspec.field(name="MacAddress", default=None)


class CreateEndpointBody(EndpointBody):
    """NetworkDriver.CreateEndpoint; its options are read one by one, ports are not among them."""

    interface: InterfaceBody | None = msgspec.field(name="Interface", default=None)
    options: RawOptions | None = msgspec.field(name="Options", default=None)


class JoinBody(EndpointBody):
    """NetworkDriver.Join; its options are those of ProgramExternalConnectivity."""

    sandbox_key: str = msgspec.field(name="SandboxKey")


class PortBinding(msgspec.Struct, rename="pascal"):
    """One published port; `host_port` 0 leaves the choice to the driver.

    Otherwise it chooses from `host_port` to `host_port_end`, which are equal for a fixed port.
    """

    proto: int = 0
    port: int = 0
    host_port: int = 0
    host_port_end: int = 0
    host_ip: str | None = msgspec.field(name="HostIP", default=None)


class ProgramBody(EndpointBody):
    """NetworkDriver.ProgramExternalConnectivity."""

    options: RawOptions | None = msgspec.field(name="Options", default=None)


class RequestPoolBody(msgspec.Struct):
    """IpamDriver.RequestPool."""

    address_space: str | None = msgspec.field(name="AddressSpace", default=None)
    pool: str | None = msgspec.field(name="Pool", default=None)
    sub_pool: str | None = msgspec.field(name="SubPool", default=None)
    options: dict[str, str] | None = msgspec.field(name="Options", default=None)
    v6: bool | None = msgspec.field(name="V6", default=None)


class PoolBody(msgspec.Struct):
    """IpamDriver.ReleasePool."""

    pool_id: str = msgspec.field(name="PoolID")


class AddressBody(msgspec.Struct):
    """IpamDriver.RequestAddress and ReleaseAddress."""

    pool_id: str = msgspec.field(name="PoolID")
    address: str | None = msgspec.field(name="Address", default=None)
    options: dict[str, Any] | None = msgspec.field(name="Options", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """A decoded CreateNetwork; `spaces` are the address spaces of the subnets, in order."""

    network: Network
    spaces: tuple[str, ...]


def decode(raw: bytes, body: type[Body]) -> Body:
    """Return `raw` as a `body`.

    Raises:
        InvalidRequest: it is empty (dockerd re-sends a broken call without its body), no JSON, or
            of the wrong types.
    """
    if not raw.strip():
        raise InvalidRequest(["the body is empty; a call that broke must be made again whole"])
    try:
        return msgspec.json.decode(raw, type=body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest([str(error)]) from error
    except RecursionError as error:
        raise InvalidRequest(["the body is nested too deeply"]) from error


def encode(value: object) -> bytes:
    """Return `value` as JSON."""
    return msgspec.json.encode(value)


def network_request(body: CreateNetworkBody, now: datetime) -> NetworkRequest:
    """Return what CreateNetwork asks for.

    Raises:
        InvalidRequest: with everything that does not parse.
    """
    problems: list[str] = []
    options = body.options or {}
    data = [*(body.ipv4_data or ()), *(body.ipv6_data or ())]
    subnets = [(d, _subnet(d, problems)) for d in data]
    raw = generic_options(options, problems)
    has_ipv4 = _flag(options, labels.ENABLE_IPV4, True, problems)
    has_ipv6 = _flag(options, labels.ENABLE_IPV6, bool(body.ipv6_data), problems)
    is_internal = _flag(options, labels.INTERNAL, False, problems)
    _check_id("NetworkID", body.network_id, problems)
    if problems:
        raise InvalidRequest(problems)
    driver = raw.pop(DRIVER_OPTION, DEFAULT_DRIVER)
    return NetworkRequest(
        network=Network(
            id=NetworkId(body.network_id),
            driver=driver,
            options=tuple(sorted(raw.items())),
            is_internal=is_internal,
            has_ipv4=has_ipv4,
            has_ipv6=has_ipv6,
            subnets=tuple(s for _, s in subnets if s is not None),
            created_at=now,
        ),
        spaces=tuple(d.address_space or "" for d, s in subnets if s is not None),
    )


def generic_options(options: Mapping[str, Any], problems: list[str]) -> dict[str, str]:
    """Return the `-o` options; what is not a string to a string is a problem."""
    generic = options.get(labels.GENERIC) or {}
    if not isinstance(generic, dict):
        problems.append(f"{labels.GENERIC} is not an object")
        return {}
    problems += [
        f"option {key!r} is not a string" for key, v in generic.items() if not isinstance(v, str)
    ]
    return {key: value for key, value in generic.items() if isinstance(value, str)}


def is_internal(options: Mapping[str, Any]) -> bool:
    """Return whether `--internal` was given."""
    return options.get(labels.INTERNAL) is True


def endpoint_request(body: CreateEndpointBody, now: datetime) -> Endpoint:
    """Return the endpoint that CreateEndpoint asks for; its MAC is empty if none was given.

    Raises:
        InvalidRequest: with everything that does not parse.
    """
    problems: list[str] = []
    interface = body.interface or InterfaceBody()
    addresses = [
        _parse(ip_interface, text, problems)
        for text in (interface.address, interface.address_ipv6)
        if text
    ]
    mac = mac_text(interface.mac_address or "", problems)
    _check_id("EndpointID", body.endpoint_id, problems)
    if problems:
        raise InvalidRequest(problems)
    options = {
        key: msgspec.json.decode(raw, type=str)
        for key, raw in (body.options or {}).items()
        if bytes(raw).startswith(b'"')
    }
    return Endpoint(
        id=EndpointId(body.endpoint_id),
        network_id=NetworkId(body.network_id),
        mac=mac,
        addresses=tuple(a for a in addresses if a is not None),
        options=tuple(sorted((k, v) for k, v in options.items() if k not in _BINARY_OPTIONS)),
        created_at=now,
    )


def endpoint_reply(asked: CreateEndpointBody, endpoint: Endpoint) -> dict[str, object]:
    """Return only what was empty in the request: dockerd refuses even an equal echo."""
    is_asked = asked.interface is not None and asked.interface.mac_address
    if is_asked or not endpoint.mac:
        return {}
    return {"Interface": {"MacAddress": endpoint.mac}}


def join_reply(attachment: Attachment) -> dict[str, object]:
    """Return the answer to Join."""
    gateways = {gateway.version: str(gateway) for gateway in attachment.gateways}
    return {
        "InterfaceName": {"SrcName": attachment.link, "DstPrefix": attachment.prefix},
        "Gateway": gateways.get(4, ""),
        "GatewayIPv6": gateways.get(6, ""),
        "StaticRoutes": [
            {
                "Destination": str(route.destination),
                "RouteType": _NEXT_HOP if route.next_hop else _CONNECTED,
                "NextHop": str(route.next_hop or ""),
            }
            for route in attachment.routes
        ],
        "DisableGatewayService": attachment.needs_no_gateway_service,
    }


def port_requests(options: Mapping[str, msgspec.Raw]) -> tuple[PortRequest, ...]:
    """Return the ports that a sandbox wants published; runs that dockerd spelled out are one each.

    Raises:
        InvalidRequest: naming every mapping that makes no sense.
    """
    try:
        raw = options.get(labels.PORT_MAP, b"null")
        bindings = msgspec.json.decode(raw, type=list[PortBinding] | None) or []
    except msgspec.MsgspecError as error:
        raise InvalidRequest([f"{labels.PORT_MAP}: {error}"]) from error
    problems: list[str] = []
    requests = [
        replace(request, count=count)
        for first, count in _runs(bindings)
        if (request := _port_request(first, problems)) is not None
    ]
    if problems:
        raise InvalidRequest(problems)
    return tuple(requests)


def crosses_families(options: Mapping[str, msgspec.Raw]) -> bool:
    """Return whether host ports of IPv6 may lead to an endpoint that has IPv4 only."""
    return bytes(options.get(labels.NO_PROXY_6TO4, b"")) != b"true"


def pool_request(body: RequestPoolBody) -> PoolRequest:
    """Return what RequestPool asks for.

    Raises:
        InvalidRequest: with everything that does not parse.
    """
    problems: list[str] = []
    network = _network("pool", body.pool, problems)
    sub_range = _network("range", body.sub_pool, problems)
    if problems:
        raise InvalidRequest(problems)
    return PoolRequest(
        space=body.address_space or LOCAL_SPACE,
        network=network,
        sub_range=sub_range,
        is_ipv6=bool(body.v6) or (network is not None and network.version == 6),
        options=tuple(sorted((body.options or {}).items())),
    )


def address_request(body: AddressBody) -> AddressRequest:
    """Return what RequestAddress asks for.

    Raises:
        InvalidRequest: the address does not parse.
    """
    options = body.options or {}
    is_gateway = options.get(labels.REQUEST_ADDRESS_TYPE) == _GATEWAY_REQUEST
    said = options.get(labels.ENDPOINT_NAME)
    name = said if isinstance(said, str) else ""
    return AddressRequest(
        pool_id=PoolId(body.pool_id),
        address=address_of(body) if body.address else None,
        kind=LeaseKind.GATEWAY if is_gateway else LeaseKind.DYNAMIC,
        owner=name,
        name=name,
    )


def address_of(body: AddressBody) -> IPAddress:
    """Return the address of a request.

    Raises:
        InvalidRequest: it does not parse.
    """
    try:
        return parse_address(body.address or "")
    except ValueError as error:
        raise InvalidRequest([str(error)]) from error


def mac_text(text: str, problems: list[str]) -> str:
    """Return a MAC in lower case with colons; `text` may be empty."""
    if not text:
        return ""
    digits = text.replace("-", ":").lower().split(":")
    try:
        octets = bytes(int(d, 16) for d in digits)
    except ValueError:
        octets = b""
    if len(octets) != 6 or octets[0] & 1 or any(len(d) != 2 for d in digits):
        problems.append(f"{text!r} is not the MAC of a single station")
        return ""
    return octets.hex(":")


# IANA protocol numbers
_PROTOCOLS = {6: Protocol.TCP, 17: Protocol.UDP, 132: Protocol.SCTP}
_LAST_PORT = 65535
_BINARY_OPTIONS = frozenset({"com.docker.network.endpoint.macaddress"})


def _port_request(binding: PortBinding, problems: list[str]) -> PortRequest | None:
    end = binding.host_port_end or binding.host_port
    protocol = _PROTOCOLS.get(binding.proto)
    spelled = "-".join(str(port) for port in dict.fromkeys((binding.host_port, end)))
    text = f"{binding.host_ip or ''}:{spelled}:{binding.port}/{protocol or binding.proto}"
    host_ip = _parse(ip_address, binding.host_ip, problems) if binding.host_ip else None
    if protocol is None:
        problems.append(f"port mapping {text}: protocol {binding.proto} cannot be published")
    elif not 1 <= binding.port <= _LAST_PORT:
        problems.append(f"port mapping {text}: {binding.port} is no port of a container")
    elif not 0 <= binding.host_port <= end <= _LAST_PORT:
        problems.append(f"port mapping {text}: {spelled} is no range of ports")
    elif not binding.host_port and end:
        problems.append(f"port mapping {text}: a range cannot begin with port 0")
    else:
        return PortRequest(
            protocol=protocol,
            container_port=binding.port,
            host_ip=host_ip,
            host_port=binding.host_port,
            host_port_end=end,
        )
    return None


def _runs(bindings: list[PortBinding]) -> Iterator[tuple[PortBinding, int]]:
    """Yield the first binding of each run and its length: fixed ports that follow each other."""
    bindings.sort(key=lambda b: (b.proto, b.host_ip or "", b.host_port, b.port))
    run: list[PortBinding] = []
    count = 0
    for binding in bindings:
        if run and _is_behind(run[0], count, binding):
            count += 1
            continue
        if run:
            yield run[0], count
        run, count = [binding], 1
    if run:
        yield run[0], count


def _is_behind(first: PortBinding, count: int, binding: PortBinding) -> bool:
    """Return whether `binding` makes the run of `count` ports from `first` on one longer."""
    port, host_port = first.port + count, first.host_port + count
    return (
        (binding.proto, binding.host_ip) == (first.proto, first.host_ip)
        and (binding.port, binding.host_port) == (port, host_port)
        and _is_fixed(first)
        and _is_fixed(binding)
        and max(port, host_port) <= _LAST_PORT
    )


def _is_fixed(binding: PortBinding) -> bool:
    return binding.host_port > 0 and binding.host_port_end in (0, binding.host_port)


def _check_id(key: str, text: str, problems: list[str]) -> None:
    """Refuse what cannot begin a link's name; Docker's ids are hexadecimal, swarm's base 36."""
    if not (text.isascii() and text.isalnum()):
        problems.append(f"{key} {text!r} is not an id of letters and digits")


def _parse(read: Any, text: str | None, problems: list[str]) -> Any:
    try:
        return read(text)
    except ValueError as error:
        problems.append(str(error))
        return None


def _network(what: str, text: str | None, problems: list[str]) -> IPNetwork | None:
    """Return a network, `None` for an empty text."""
    if not text:
        return None
    try:
        network = parse_network(text, strict=False)
    except ValueError:
        problems.append(f"{what} {text!r} is not a network such as 10.9.0.0/24 or fd00::/64")
        return None
    if int(ip_interface(text)) != int(network.network_address):
        problems.append(f"{what} {text} has host bits set; did you mean {network}?")
        return None
    return network


def _flag(options: Mapping[str, Any], key: str, default: bool, problems: list[str]) -> bool:
    value = options.get(key)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    problems.append(f"{key} is not true or false")
    return default


def _subnet(data: IpamData, problems: list[str]) -> Subnet | None:
    """Return a subnet; `None` for the null IPAM, which manages no addresses."""
    if not data.pool:
        return None
    pool = _parse(parse_network, data.pool, problems)
    gateway = _parse(ip_interface, data.gateway, problems) if data.gateway else None
    aux = tuple(_aux(data.aux_addresses or {}, problems))
    if pool is None or not pool.prefixlen:
        return None
    if gateway is not None and gateway.version != pool.version:
        problems.append(f"gateway {gateway} is not of the family of {pool}")
    return Subnet(pool=pool, gateway=gateway, aux=aux)


def _aux(given: Mapping[str, str], problems: list[str]) -> Iterator[tuple[str, IPAddress]]:
    for name, text in sorted(given.items()):
        if (address := _parse(ip_interface, text, problems)) is not None:
            yield name, address.ip
