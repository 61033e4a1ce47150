"""Docker's `-p` syntax: `[[IP:][HOST_PORT[-HOST_PORT]]:]PORT[-PORT][/PROTOCOL]`.

    port_requests("127.0.0.1:8080:80")[0].host_port == 8080

Source: docker/go-connections nat/nat.go, ParsePortSpec. Not here: what Docker's daemon sends, which
is numbers by then (`netplug.api.wire`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

from netplug.model import HostPorts, IPAddress, Origin, PortRequest, Protocol

_OURS = Origin.PYNET
_LAST_PORT = 65535
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def port_requests(text: str) -> tuple[PortRequest, ...]:
    """Return what `text` asks for: one request, or one a port where the host chooses for several.

    Raises:
        ValueError: in a sentence that names `text`.
    """
    try:
        return tuple(_requests(text))
    except ValueError as error:
        raise ValueError(f"port mapping {text!r}: {error}") from None


def host_ports(text: str) -> HostPorts:
    """Return the published ports that `[IP:]HOST_PORT[-HOST_PORT][/PROTOCOL]` names.

    Raises:
        ValueError: in a sentence that names `text`.
    """
    try:
        address, protocol = _without_protocol(text)
        ip, _, ports = address.rpartition(":")
        first, last = _range(ports)
        if not first:
            raise ValueError(f"{ports!r} is not a port from 1 to {_LAST_PORT}")
        return HostPorts(protocol=protocol, first=first, last=last, host_ip=_address(ip))
    except ValueError as error:
        raise ValueError(f"host port {text!r}: {error}") from None


def _requests(text: str) -> Iterator[PortRequest]:
    rest, protocol = _without_protocol(text)
    rest, _, inside = rest.rpartition(":")
    ip, _, outside = rest.rpartition(":")
    host_ip = _address(ip)
    first, last = _range(inside)
    if not first:
        raise ValueError("a container has no port 0")
    host_first, host_last = _range(outside or "0")
    if not host_first and host_last:
        raise ValueError(f"{outside} begins with 0, which is the host's choice")
    if not host_first:
        for port in range(first, last + 1):
            yield PortRequest(protocol=protocol, container_port=port, host_ip=host_ip, origin=_OURS)
        return
    if last > first and host_last - host_first != last - first:
        raise ValueError(f"{outside} and {inside} are not equally many ports")
    yield PortRequest(
        protocol=protocol,
        container_port=first,
        host_ip=host_ip,
        host_port=host_first,
        host_port_end=host_first if last > first else host_last,
        count=last - first + 1,
        origin=_OURS,
    )


def _without_protocol(text: str) -> tuple[str, Protocol]:
    rest, _, word = text.partition("/")
    try:
        return rest, Protocol(word.lower() or Protocol.TCP)
    except ValueError:
        raise ValueError(f"{word!r} is not {' or '.join(Protocol)}") from None


def _range(text: str) -> tuple[int, int]:
    """Return the first and the last port of `text`, which are equal for a single one."""
    match = _PORTS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a port from 1 to {_LAST_PORT}, nor a range of them")
    first = int(match[1])
    last = int(match[2] or first)
    if last > _LAST_PORT:
        raise ValueError(f"{last} is beyond the last port, {_LAST_PORT}")
    if last < first:
        raise ValueError(f"{text} ends before it begins")
    return first, last


def _address(text: str) -> IPAddress | None:
    """Return an address of the host; IPv6 may stand in brackets, as `docker ps` shows it."""
    if not text:
        return None
    try:
        address = ip_address(text[1:-1] if re.fullmatch(r"\[.*:.*\]", text) else text)
    except ValueError:
        raise ValueError(f"{text!r} is not an address of the host") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{text!r} has a zone, which a published port cannot have")
    return address
