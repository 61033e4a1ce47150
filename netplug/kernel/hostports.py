"""Ports of the host that are ours: bound sockets, and the relay behind some of them."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from array import array
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn
from typing import Protocol as Interface

from netplug.errors import KernelRefused, NotFound, PortTaken, Unsupported
from netplug.kernel import portholder
from netplug.kernel.portholder import Holder
from netplug.kernel.relay import Relay, Relayed
from netplug.model import IPAddress, Protocol
from netplug.plan.objects import SOCKET_MARK, HostPort, Key

_CHUNK = 64  # sockets bound or closed at a time, about 1 ms; others have their turn in between
_MOST_FILES = 1 << 20  # the default of fs.nr_open, linux/fs/file.c
_BACKLOG = 4096  # the kernel's own limit is net.core.somaxconn, 4096 too
_SMALLEST = 1  # the kernel makes 2304 of it
_OURSELVES = "pynet"
_TYPES = {
    Protocol.TCP: (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    Protocol.UDP: (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    Protocol.SCTP: (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}
_RELAYED = frozenset({Protocol.TCP, Protocol.UDP})
_NO_SUCH_PROTOCOL = frozenset({errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT})

SocketsOn = Callable[[Protocol, IPAddress, int], tuple[Holder, ...]]


class Relays(Interface):
    """What is needed of `netplug.kernel.relay.Relay`."""

    def add(self, relayed: Relayed) -> int:
        """Relay from now on; return a number for `remove`."""
        ...

    async def remove(self, number: int) -> None:
        """Stop relaying."""
        ...

    async def close(self) -> None:
        """End everything."""
        ...


@dataclass(slots=True)
class _Run:
    """A run of ports that is held. Plain descriptors: a run may have 10 000."""

    port: HostPort
    fds: array[int]
    relay_number: int = 0


class HostPorts:
    """The host ports that pynet holds, in the network namespace in which they are taken.

    One change at a time: who waits for a port to be free finds it free.
    """

    def __init__(
        self, relay: Relays | None = None, sockets_on: SocketsOn = portholder.sockets_on
    ) -> None:
        self._relay = Relay() if relay is None else relay
        self._sockets_on = sockets_on
        self._runs: dict[Key, _Run] = {}
        self._claims = _Claims()
        self._one_at_a_time = asyncio.Lock()

    async def open(self) -> None:
        """Allow this process as many descriptors as it may have: each port takes one.

        Root may raise its own limit (CAP_SYS_RESOURCE). The relay inherits it: each
        of its connections takes two.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for limit in (max(_MOST_FILES, hard), hard):
            with suppress(ValueError, OSError):  # not allowed, or beyond fs.nr_open
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
                return

    async def close(self) -> None:
        """Release every port and end the relay."""
        await self._relay.close()
        async with self._one_at_a_time:
            for run in list(self._runs.values()):
                run.relay_number = 0
                await self._forget(run)

    def held(self) -> frozenset[HostPort]:
        """Return what is held."""
        return frozenset(run.port for run in self._runs.values())

    def under(self, key: Key) -> HostPort | None:
        """Return what is held under a key."""
        run = self._runs.get(key)
        return run.port if run else None

    async def take(self, port: HostPort) -> None:
        """Bind every port of the run, or none; what is held already gets its relay changed.

        The relay may begin later than this returns: clients wait for it in the backlog.

        Raises:
            PortTaken: a port of the run is in use.
            NotFound: the host does not have the address.
            Unsupported: the kernel does not have the protocol.
            KernelRefused: anything else, such as too many open files.
        """
        async with self._one_at_a_time:
            run = self._runs.get(port.key)
            if run is None:
                run = _Run(_without_relay(port), await self._bind_all(port))
                self._runs[port.key] = run
                try:
                    await self._set_relay(run, port)
                except BaseException:
                    await self._forget(run)
                    raise
            elif run.port != port:
                await self._set_relay(run, port)

    async def release(self, port: HostPort) -> None:
        """Let the run go, and end its relay; nothing happens if it is not held."""
        async with self._one_at_a_time:
            if (run := self._runs.get(port.key)) is not None:
                await self._forget(run)

    async def _forget(self, run: _Run) -> None:
        if run.relay_number:
            await self._relay.remove(run.relay_number)
        del self._runs[run.port.key]
        self._claims.remove(run.port)
        await _close_all(run.fds)

    async def _bind_all(self, port: HostPort) -> array[int]:
        taken = self._claims.first_overlap(port)
        if taken is not None:
            raise PortTaken(_text(port, taken), _OURSELVES)
        fds = array("i")
        try:
            for number in range(port.first, port.first + port.count):
                fds.append(await self._bind(port, number))
                if len(fds) % _CHUNK == 0:
                    await asyncio.sleep(0)
        except BaseException:
            await _close_all(fds)
            raise
        self._claims.add(port)
        return fds

    async def _bind(self, port: HostPort, number: int) -> int:
        try:
            try:
                return _bound(port, number, is_shared=False)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not await self._is_left_over(port, number):
                    raise
                return _bound(port, number, is_shared=True)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                await self._taken(port, number, error)
            _refuse(port, number, error)

    async def _is_left_over(self, port: HostPort, number: int) -> bool:
        """Return whether only connections have the port, such as those in TIME_WAIT.

        It may then be bound beside them, with SO_REUSEADDR. Not without looking: the kernel would
        let two sockets with it share a port as long as neither listens, and ours do not.
        """
        if port.protocol is not Protocol.TCP:
            return False
        return portholder.are_connections(await self._holders(port, number))

    async def _taken(self, port: HostPort, number: int, error: OSError) -> NoReturn:
        holders = await self._holders(port, number)
        holder = await asyncio.to_thread(portholder.describe, holders)
        raise PortTaken(_text(port, number), holder) from error

    async def _holders(self, port: HostPort, number: int) -> tuple[Holder, ...]:
        try:
            return await asyncio.to_thread(self._sockets_on, port.protocol, port.address, number)
        except OSError:  # sock_diag is a module, and may not be there
            return ()

    async def _set_relay(self, run: _Run, port: HostPort) -> None:
        """Relay `run` as `port` says, and no longer as it was."""
        await self._stop_relay(run)
        if port.relay_to is not None and port.protocol in _RELAYED:
            if port.protocol is Protocol.TCP:
                await self._listen(run)
            to_port = port.first if port.relay_port is None else port.relay_port
            run.relay_number = self._relay.add(
                Relayed(
                    protocol=port.protocol,
                    fds=run.fds,
                    to_address=port.relay_to,
                    to_port=to_port,
                )
            )
        run.port = port

    async def _stop_relay(self, run: _Run) -> None:
        if run.relay_number:
            await self._relay.remove(run.relay_number)
            run.relay_number = 0
            await _each(run, _quieten)
        run.port = _without_relay(run.port)

    async def _listen(self, run: _Run) -> None:
        try:
            await _each(run, _listen)
        except OSError as error:
            await _each(run, _quieten)
            _refuse(run.port, run.port.first, error)


class _Claims:
    """Which ports are ours, so that a collision with ourselves is seen without the kernel.

    The kernel would not always tell: see `HostPorts._is_left_over`.
    """

    def __init__(self) -> None:
        # By protocol and address: the runs as (first, last), sorted; none overlaps another.
        self._runs: dict[tuple[Protocol, IPAddress], list[tuple[int, int]]] = {}

    def add(self, port: HostPort) -> None:
        runs = self._runs.setdefault((port.protocol, port.address), [])
        runs.insert(bisect_left(runs, _span(port)), _span(port))

    def remove(self, port: HostPort) -> None:
        runs = self._runs[port.protocol, port.address]
        del runs[bisect_left(runs, _span(port))]
        if not runs:
            del self._runs[port.protocol, port.address]

    def first_overlap(self, port: HostPort) -> int | None:
        """Return the lowest port of the run that is ours already."""
        first, last = _span(port)
        found: list[int] = []
        for (protocol, address), runs in self._runs.items():
            if protocol is not port.protocol or not _meet(address, port.address):
                continue
            at = bisect_left(runs, (first, 0))
            found += [
                max(first, a) for a, b in runs[max(at - 1, 0) : at + 1] if a <= last and b >= first
            ]
        return min(found, default=None)


def _span(port: HostPort) -> tuple[int, int]:
    return port.first, port.first + port.count - 1


def _meet(one: IPAddress, other: IPAddress) -> bool:
    """Return whether one port of two addresses of the host is one port."""
    if one.version != other.version:
        return False
    return one == other or one.is_unspecified or other.is_unspecified


def _bound(port: HostPort, number: int, *, is_shared: bool) -> int:
    """Return the descriptor of a bound socket.

    A TCP socket neither listens nor allows another to share its port, so that clients get a reset.
    """
    family = _family(port)
    kind, transport = _TYPES[port.protocol]
    with socket.socket(family, kind | socket.SOCK_NONBLOCK, transport) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with suppress(PermissionError):  # only root marks, and only root has a firewall
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, SOCKET_MARK)
        if port.protocol is Protocol.UDP:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALLEST)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(port.address), number))
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return sock.detach()


async def _each(run: _Run, change: Callable[[socket.socket], None]) -> None:
    """Change every socket of a run."""
    family = _family(run.port)
    kind, transport = _TYPES[run.port.protocol]
    for done, fd in enumerate(run.fds, 1):
        sock = socket.socket(family, kind, transport, fileno=fd)
        try:
            change(sock)
        finally:
            sock.detach()
        if done % _CHUNK == 0:
            await asyncio.sleep(0)


def _listen(sock: socket.socket) -> None:
    """Let clients connect.

    With SO_REUSEADDR, which accepted sockets inherit: those that remain in TIME_WAIT must not be in
    the way of the next one to bind the port. Nobody else can, as long as this one listens.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.listen(_BACKLOG)


def _quieten(sock: socket.socket) -> None:
    """Make a socket as it was when it was bound.

    Source: Linux net/ipv4/af_inet.c, inet_shutdown: a listening socket goes back to being bound.
    """
    if sock.type == socket.SOCK_DGRAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALLEST)
        return
    with suppress(OSError):  # it does not listen
        sock.shutdown(socket.SHUT_RD)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


async def _close_all(fds: array[int]) -> None:
    """Close descriptors, and empty the array; in one go when cancelled."""
    try:
        while fds:
            _close_some(fds)
            await asyncio.sleep(0)
    finally:
        while fds:
            _close_some(fds)


def _close_some(fds: array[int]) -> None:
    for _ in range(min(_CHUNK, len(fds))):
        os.close(fds.pop())


def _refuse(port: HostPort, number: int, error: OSError) -> NoReturn:
    """Raise what a refusal of the kernel means."""
    code = error.errno or 0
    if code == errno.EADDRNOTAVAIL:
        hint = "no interface of this host has it"
        raise NotFound("host address", str(port.address), hint) from error
    if code in _NO_SUCH_PROTOCOL:
        raise Unsupported(str(port.protocol), "this kernel does not have it") from error
    reason = error.strerror or "unknown"
    if code == errno.EMFILE:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        reason = f"each port takes an open file, and the limit is {limit}; raise LimitNOFILE="
    raise KernelRefused(f"hold host port {_text(port, number)}", reason, code) from error


def _family(port: HostPort) -> socket.AddressFamily:
    return socket.AF_INET if port.address.version == 4 else socket.AF_INET6


def _without_relay(port: HostPort) -> HostPort:
    return replace(port, relay_to=None, relay_port=None)


def _text(port: HostPort, number: int) -> str:
    return f"{number}/{port.protocol} on {port.address}"
