"""Kernel switches below /proc/sys, and what the host is like. Small files, read in microseconds."""

from __future__ import annotations

import fcntl
import itertools
import re
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

from netplug.errors import KernelRefused
from netplug.model import HostFacts

_SYS = Path("/proc/sys")
_NET = Path("/proc/self/net")
_OUR_LINKS = re.compile(r"py(-|[vh][0-9a-f]{12}\b)")
_FORWARD_IPV6 = "net/ipv6/conf/all/forwarding"
_DEFAULT_MTU_BYTES = 1500
_RTF_UP = 0x0001  # linux/route.h
_RTF_REJECT = 0x0200
_SIOCGIFMTU = 0x8921  # linux/sockios.h


def read(name: str) -> str | None:
    """Return the value of a switch, `None` where this kernel does not have it."""
    try:
        return (_SYS / name).read_text().strip()
    except OSError:
        return None


def write(name: str, value: str) -> None:
    """Set a switch.

    Raises:
        KernelRefused: there is no such switch, it is read-only, or the value is not accepted.
    """
    if (name, value) == (_FORWARD_IPV6, "1"):
        _keep_router_advertisements()
    try:
        (_SYS / name).write_text(value)
    except OSError as error:
        raise KernelRefused(
            f"set {name.replace('/', '.')} to {value}",
            error.strerror or "unknown",
            error.errno or 0,
        ) from error


def _keep_router_advertisements() -> None:
    """Let the host go on configuring itself from advertisements once it forwards.

    Source: Linux Documentation/networking/ip-sysctl.rst, accept_ra.
    """
    for name in _heeding_routers():
        (_SYS / name).write_text("2")


def _heeding_routers() -> list[str]:
    """Return the switch of each link that is configured by advertisements unless it forwards."""
    return [
        name
        for path in (_SYS / "net/ipv6/conf").glob("*/accept_ra")
        if path.parent.name not in {"all", "default"}
        and read(name := str(path.relative_to(_SYS))) == "1"
    ]


def moved_by(name: str, value: str) -> dict[str, str]:
    """Return the switches that `write` of this one changes too, with their values now.

    Source: Linux net/ipv6/addrconf.c addrconf_fixup_forwarding.
    """
    if name != _FORWARD_IPV6:
        return {}
    every = [str(path.relative_to(_SYS)) for path in (_SYS / "net/ipv6/conf").glob("*/forwarding")]
    moved = [switch for switch in every if switch != name]
    if value == "1":
        moved += _heeding_routers()
    return {switch: now for switch in moved if (now := read(switch)) is not None}


def has_ipv6_on(link: str) -> bool:
    """Return whether the host speaks IPv6 on `link`."""
    return read(f"net/ipv6/conf/{link}/disable_ipv6") == "0"


def host_facts() -> HostFacts:
    """Return what the host is like now."""
    uplink = _uplink()
    return HostFacts(
        uplink=uplink,
        uplink_mtu_bytes=_mtu_of(uplink) if uplink else _DEFAULT_MTU_BYTES,
        has_ipv6=(_SYS / "net/ipv6").exists(),
        filters_bridged=(_SYS / "net/bridge").exists(),
        ephemeral_ports=_ephemeral_ports(),
    )


def _ephemeral_ports() -> tuple[int, int]:
    first, last = (read("net/ipv4/ip_local_port_range") or "32768 60999").split()
    return int(first), int(last)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file as they are wanted, none if it cannot be read."""
    try:
        with path.open() as file:
            yield from file
    except OSError:
        return


def _ipv4_rows() -> Iterator[tuple[str, IPv4Network]]:
    """Yield the rows of /proc/net/route: device and destination; the default route comes first.

    The links that we name are passed over: their subnets and addresses are in the view.

    Source: Linux net/ipv4/fib_trie.c fib_route_seq_show; addresses are in host byte order.
    """
    for line in itertools.islice(_lines(_NET / "route"), 1, None):
        if _OUR_LINKS.match(line):
            continue
        cells = line.split()
        if len(cells) < 8 or not int(cells[3], 16) & _RTF_UP:
            continue
        address = bytes.fromhex(cells[1])[::-1]
        mask = int(cells[7], 16).bit_count()
        yield cells[0], IPv4Network((address, mask), strict=False)


def _uplink() -> str:
    """Return the link with the default route, that of IPv4 first; reads its first rows only.

    The halves 0.0.0.0/1 and 128.0.0.0/1, with which a VPN covers the default route, sort around it.
    """
    for device, network in _ipv4_rows():
        if int(network.network_address):
            break
        if not network.prefixlen and device != "*":  # a default that leads nowhere
            return device
    return _uplink_of_ipv6()


def _uplink_of_ipv6() -> str:
    found: list[tuple[int, str]] = []
    for line in _lines(_NET / "ipv6_route"):
        cells = line.split()
        if int(cells[1], 16) or int(cells[0], 16) or int(cells[8], 16) & _RTF_REJECT:
            continue
        found.append((int(cells[5], 16), cells[9]))
    return min(found)[1] if found else ""


def _mtu_of(device: str) -> int:
    """Ask by ioctl: /sys shows the namespace it was mounted in, which need not be ours."""
    request = struct.pack("16si12x", device.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            reply = fcntl.ioctl(sock, _SIOCGIFMTU, request)
        except OSError:
            return _DEFAULT_MTU_BYTES
    mtu_bytes: int = struct.unpack("16si12x", reply)[1]
    return mtu_bytes
