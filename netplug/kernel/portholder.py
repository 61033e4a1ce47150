"""Who holds a port of the host: asked of the kernel only when a bind was refused."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netplug.kernel import rtnl
from netplug.kernel.nlattr import attributes
from netplug.model import IPAddress, Protocol

UNKNOWN = "another process"

_TRANSPORTS = {Protocol.TCP: socket.IPPROTO_TCP, Protocol.UDP: socket.IPPROTO_UDP}
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20  # linux/netlink.h, linux/sock_diag.h
_SKV6ONLY = 11  # INET_DIAG_SKV6ONLY
# struct inet_diag_req_v2: family, protocol, extensions, states, and struct inet_diag_sockid, of
# which only the source port is given.
_REQUEST = struct.Struct("=BBBxI2s46x")
# struct inet_diag_msg: family, state, source port, source address, inode.
_ANSWER = struct.Struct("=BB2x2s2x16s16x4x8x16xI")
# Every state, also TCP_BOUND_INACTIVE, which kernels before 6.8 have not.
_ALL_STATES = 0xFFFF_FFFF
# include/net/tcp_states.h: established, closing in some way, or TIME_WAIT.
_OF_A_CONNECTION = frozenset({1, 4, 5, 6, 8, 9, 11})
_ANSWER_BYTES = 64 * 1024
_ANSWER_S = 2
_DESCRIPTORS = 200_000  # looked at, at most; 1.5 us each

_MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A socket that has a port; `inode` 0 has no process."""

    state: int
    inode: int


def sockets_on(protocol: Protocol, address: IPAddress, port: int) -> tuple[Holder, ...]:
    """Return the sockets of this network namespace that a bind to `address` collides with.

    Kernels before 6.8 do not show TCP sockets that are bound and neither listen nor are connected.

    Raises:
        OSError: the kernel does not tell.
    """
    transport = _TRANSPORTS.get(protocol)
    if transport is None:
        return ()
    found: list[Holder] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _REQUEST.pack(family, transport, 0, _ALL_STATES, port.to_bytes(2, "big"))
        for body in _dump(request):
            _, state, number, local, inode = _ANSWER.unpack_from(body)
            if int.from_bytes(number, "big") != port:
                continue
            only_v6 = dict(attributes(body[_ANSWER.size :])).get(_SKV6ONLY) == b"\1"
            if _collides(address, family, local, is_v6_only=only_v6):
                found.append(Holder(state=state, inode=inode))
    return tuple(found)


def are_connections(holders: Collection[Holder]) -> bool:
    """Return whether nothing but connections is in the way, of a server that may be gone."""
    return bool(holders) and all(holder.state in _OF_A_CONNECTION for holder in holders)


def describe(holders: Collection[Holder]) -> str:
    """Return the process that has one of these sockets, as "nginx (pid 123)"."""
    inodes = {f"socket:[{holder.inode}]" for holder in holders if holder.inode}
    if inodes:
        for looked_at, (pid, target) in enumerate(_descriptors()):
            if target in inodes:
                return f"{_name(pid)} (pid {pid})"
            if looked_at >= _DESCRIPTORS:
                break
    return UNKNOWN


def _collides(address: IPAddress, family: int, local: bytes, *, is_v6_only: bool) -> bool:
    """Return whether a socket on `local` and a bind to `address` exclude each other.

    Our IPv6 sockets are for IPv6 only; those of others may serve IPv4 too.
    """
    theirs: IPAddress
    if family == socket.AF_INET:
        theirs = IPv4Address(local[:4])
    elif local.startswith(_MAPPED):
        theirs = IPv4Address(local[12:])
    elif address.version == 4:
        return not any(local) and not is_v6_only
    else:
        theirs = IPv6Address(local)
    if theirs.version != address.version:
        return False
    return theirs.packed == address.packed or theirs.is_unspecified or address.is_unspecified


def _dump(request: bytes) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as opened:
        opened.settimeout(_ANSWER_S)
        flags = rtnl.NLM_F_REQUEST | rtnl.NLM_F_DUMP
        opened.send(rtnl.encode_message(_SOCK_DIAG_BY_FAMILY, flags, 1, request))
        while True:
            for kind, _, _, body in rtnl.messages(opened.recv(_ANSWER_BYTES)):
                if kind == rtnl.NLMSG_DONE:
                    return
                if kind == rtnl.NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise OSError(code, os.strerror(code))
                yield body


def _descriptors() -> Iterator[tuple[str, str]]:
    """Yield each process's id with what each of its descriptors is."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it ended meanwhile, or it is none of our business
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    yield pid, os.readlink(f"/proc/{pid}/fd/{fd}")


def _name(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "a process"
