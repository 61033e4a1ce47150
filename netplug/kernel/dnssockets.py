"""A DNS client's sockets: opened where it is, and what leads its questions to them.

These run inside the client's network namespace, on a thread that `netplug.kernel.netns` has moved
there; those of the host's own addresses anywhere. All sockets are nonblocking.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event

from netplug.errors import Conflict, KernelRefused, Unsupported
from netplug.kernel.firewall import netfilter, overlay
from netplug.kernel.firewall.overlay import MARK, PORT, RESOLVER, Ports
from netplug.kernel.sandbox import is_own_namespace
from netplug.model import IPAddress
from netplug.plan.resolverlink import HOST_RESOLVER_PORT

Sockets = tuple[socket.socket, ...]

_BACKLOG = 256
_LAST_ANSWERS_S = 0.005  # an answer of our own takes 0.1 ms
_ANY_PORT = 0
_IP_FREEBIND = 15  # linux/in.h; of IPv6 sockets too: net/ipv6/af_inet6.c, inet6_bind
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h
_INTERFACE = struct.Struct("=16sH14x")  # struct ifreq
_NO_NF_TABLES = frozenset(
    {errno.EOPNOTSUPP, errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL}
)


def open_overlay(path: str) -> Sockets:
    """Open a UDP and a TCP socket beside Docker's resolver, and the table that leads to them.

    They get the ports that a table of ours names, so that connections go on; that table is not
    touched then. Otherwise, or if somebody has one of the ports, the table is made anew.

    Raises:
        Conflict: it is the daemon's own namespace.
        Unsupported: the kernel has no nf_tables.
        KernelRefused: anything else.
    """
    _refuse_own(path)
    with _netfilter() as opened:
        _raise_loopback()
        known = overlay.read(opened)
        if known is not None:
            with suppress(OSError):
                return _pair(str(RESOLVER), known.udp, known.tcp, mark=MARK)
        try:
            sockets = _pair(str(RESOLVER), _ANY_PORT, _ANY_PORT, mark=MARK)
        except OSError as error:
            raise _refused(f"bind {RESOLVER} in {path}", error) from error
        try:
            udp, tcp = (sock.getsockname()[1] for sock in sockets)
            overlay.put(opened, Ports(udp=udp, tcp=tcp))
        except BaseException as error:
            close(sockets)
            if isinstance(error, KernelRefused) and error.code in _NO_NF_TABLES:
                raise Unsupported(
                    "DNS beside Docker's", f"this kernel has no nf_tables ({error.reason})"
                ) from error
            raise
        return sockets


def close_overlay(path: str) -> None:
    """Give a sandbox back to Docker's resolver, and let answers under way arrive.

    Raises:
        KernelRefused: the kernel refuses.
    """
    if is_own_namespace(path):
        return
    with _netfilter() as opened:
        if (ports := overlay.read(opened)) is not None:
            overlay.put(opened, ports, leads=False)
            Event().wait(_LAST_ANSWERS_S)
        overlay.remove(opened)


def open_own(path: str) -> Sockets:
    """Open 127.0.0.11 port 53 itself, where no Docker has it.

    Raises:
        Conflict: it is the daemon's own namespace.
        KernelRefused: somebody has the port, or anything else.
    """
    _refuse_own(path)
    _raise_loopback()
    try:
        return _pair(str(RESOLVER), PORT, PORT)
    except OSError as error:
        raise _refused(f"bind {RESOLVER}:{PORT} in {path}", error) from error


def open_at(addresses: tuple[IPAddress, ...]) -> Sockets:
    """Open port 53 of addresses of this namespace, UDP and TCP each, all or none.

    The addresses may be given to a link later: until then nothing arrives.

    Raises:
        KernelRefused: somebody has the port, or anything else.
    """
    return _pairs(addresses, PORT)


def open_for_host(addresses: tuple[IPAddress, ...]) -> Sockets:
    """Open our port of the addresses at which the host itself asks.

    Raises:
        KernelRefused: somebody has the port, or anything else.
    """
    return _pairs(addresses, HOST_RESOLVER_PORT)


def _pairs(addresses: tuple[IPAddress, ...], port: int) -> Sockets:
    with ExitStack() as undo:
        found: Sockets = ()
        for address in addresses:
            try:
                pair = _pair(str(address), port, port)
            except OSError as error:
                raise _refused(f"bind {address} port {port}", error) from error
            undo.callback(close, pair)
            found += pair
        undo.pop_all()
    return found


def open_forwarder(transport: str) -> Sockets:
    """Open a socket to Docker's resolver, past our table; a TCP one may still be connecting.

    Raises:
        KernelRefused: it cannot be reached.
    """
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        with suppress(BlockingIOError):
            sock.connect((str(RESOLVER), PORT))
    except OSError as error:
        sock.close()
        raise _refused(f"connect to {RESOLVER}:{PORT}", error) from error
    return (sock,)


def close(sockets: Sockets) -> None:
    """Close sockets."""
    for sock in sockets:
        sock.close()


def _refuse_own(path: str) -> None:
    if is_own_namespace(path):
        raise Conflict(f"namespace {path}", "is the host's own")


@contextmanager
def _netfilter() -> Iterator[socket.socket]:
    try:
        opened = netfilter.open_socket()
    except OSError as error:
        raise Unsupported("DNS beside Docker's", "this kernel has no nf_tables") from error
    with opened:
        yield opened


def _pair(address: str, udp_port: int, tcp_port: int, *, mark: int = 0) -> Sockets:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as undo:
        udp, tcp = (
            undo.enter_context(socket.socket(family, kind | socket.SOCK_NONBLOCK))
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        )
        # Connections of an earlier process may linger on the port.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock, port in ((udp, udp_port), (tcp, tcp_port)):
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if mark:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            sock.bind((address, port))
        tcp.listen(_BACKLOG)
        undo.pop_all()
    return udp, tcp


def _raise_loopback() -> None:
    """Set `lo` up, as whoever made the namespace is about to: heartbeats go through it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, _GET_FLAGS, _INTERFACE.pack(b"lo", 0))
            _, flags = _INTERFACE.unpack(answer)
            if not flags & _UP:
                fcntl.ioctl(sock, _SET_FLAGS, _INTERFACE.pack(b"lo", flags | _UP))
        except OSError as error:
            raise _refused("set lo up", error) from error


def _refused(step: str, error: OSError) -> KernelRefused:
    code = error.errno or 0
    reason = "the port is in use" if code == errno.EADDRINUSE else os.strerror(code)
    return KernelRefused(step, reason, code)
