"""UDP: a connected socket to the target for each client, so that answers find their way back."""

from __future__ import annotations

import errno
import socket
import struct
from collections import OrderedDict

from netplug.loop import READ, Descriptors, Loop

Target = tuple[str, int]
# Who asks, at which port of ours, and which address of ours.
_Asker = tuple[int, tuple[str, int] | tuple[str, int, int, int], bytes]

IDLE_S = 90.0  # moby: cmd/docker-proxy/udp_proxy_linux.go, UDPConnTrackTimeout
CLIENTS = 4096  # of all ports together; one costs a descriptor and about 2 KiB
PORT_CLIENTS = 1024  # so that a flood of them drives out none of another port's

_BUFFER = bytearray(65536)  # no datagram is longer
_VIEW = memoryview(_BUFFER)
_DATAGRAMS = 64  # a batch; others have their turn after it
_RECEIVE_BYTES = 1 << 18

_IP_PKTINFO = 8  # linux/in.h; the socket module has no name for it
_PKTINFO = struct.Struct("=i4s4s")  # struct in_pktinfo: link, address to answer from, destination
_PKTINFO6 = struct.Struct("=16sI")  # struct in6_pktinfo: destination, link
_ANCILLARY_BYTES = socket.CMSG_SPACE(max(_PKTINFO.size, _PKTINFO6.size))


class Udp:
    """What all UDP ports share: the clients, the longest silent first."""

    def __init__(self, loop: Loop, descriptors: Descriptors) -> None:
        self.loop = loop
        self._descriptors = descriptors
        self._clients: OrderedDict[_Asker, Client] = OrderedDict()
        self._most_of_port = min(PORT_CLIENTS, descriptors.share)

    def open_port(self, sock: socket.socket, target: Target) -> UdpPort:
        """Receive from a bound socket, for `target`; the socket is closed with the port."""
        port = UdpPort(self, sock, target)
        self.loop.watch(sock.fileno(), READ, port.receive)
        self._descriptors.take(1)
        return port

    def forget(self, port: UdpPort) -> None:
        """Receive no more from a port, and drop its clients."""
        for asker in list(port.askers):
            self._drop(asker)
        self.loop.discard(port.sock)
        self._descriptors.give(1)

    def client(self, asker: _Asker, port: UdpPort) -> Client | None:
        """Return the client of that address, made if need be; `None` if it cannot be."""
        client = self._clients.get(asker)
        if client is None:
            client = self._new_client(asker, port)
        if client is not None:
            self.heard(client)
        return client

    def heard(self, client: Client) -> None:
        """Note that a client, or the target for it, has said something."""
        client.heard_s = self.loop.now_s
        self._clients.move_to_end(client.asker)
        client.port.askers.move_to_end(client.asker)

    def _new_client(self, asker: _Asker, port: UdpPort) -> Client | None:
        is_full = len(self._clients) >= CLIENTS or not self._descriptors.has(1)
        if is_full or len(port.askers) >= self._most_of_port:
            if not self._clients:
                return None
            self._drop(next(iter(port.askers or self._clients)))
        try:
            sock = _connected(port.target)
        except OSError:  # no route, no descriptor: as a network would, drop what was sent
            return None
        client = Client(self, port, asker, sock)
        self._clients[asker] = client
        port.askers[asker] = None
        self._descriptors.take(1)
        self.loop.watch(sock.fileno(), READ, client.receive)
        self.loop.tick(self._drop_silent, is_on=True)
        return client

    def _drop(self, asker: _Asker) -> None:
        client = self._clients.pop(asker)
        del client.port.askers[asker]
        self.loop.discard(client.sock)
        self._descriptors.give(1)

    def _drop_silent(self) -> None:
        while self._clients:
            asker, client = next(iter(self._clients.items()))
            if self.loop.now_s - client.heard_s < IDLE_S:
                return
            self._drop(asker)
        self.loop.tick(self._drop_silent, is_on=False)


class UdpPort:
    """A bound socket.

    If it is bound to every address, each datagram tells which one it was sent to: the answer must
    come from there, or the client would not know it for one.
    """

    __slots__ = ("_shared", "askers", "sock", "target")

    def __init__(self, shared: Udp, sock: socket.socket, target: Target) -> None:
        self.sock = sock
        self.target = target
        self.askers: OrderedDict[_Asker, None] = OrderedDict()  # the longest silent first
        self._shared = shared
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        if sock.getsockname()[0] == "0.0.0.0":  # noqa: S104 - it is looked at
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        elif sock.getsockname()[0] == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    def receive(self, _: int) -> None:
        """Pass on some of what is waiting."""
        number = self.sock.fileno()
        for _datagram in range(_DATAGRAMS):
            try:
                size, ancillary, _flags, address = self.sock.recvmsg_into(
                    [_BUFFER], _ANCILLARY_BYTES
                )
            except OSError:  # nothing is waiting, or an old answer found nobody
                return
            local = ancillary[0][2] if ancillary else b""
            client = self._shared.client((number, address, local), self)
            if client is not None:
                client.send(_VIEW[:size])

    def close(self) -> None:
        """Close the socket, and forget its clients."""
        self._shared.forget(self)


class Client:
    """The sender of datagrams, and the socket that stands for it towards the target."""

    __slots__ = ("_ancillary", "_shared", "asker", "heard_s", "port", "sock")

    def __init__(self, shared: Udp, port: UdpPort, asker: _Asker, sock: socket.socket) -> None:
        self.port = port
        self.asker = asker
        self.sock = sock
        self.heard_s = 0.0
        self._shared = shared
        self._ancillary = _source(asker[2])

    def send(self, data: memoryview) -> None:
        """Send to the target; nobody there, or no room, is no reason to give up."""
        try:
            self.sock.send(data)
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                return
            self._send_again(data)

    def receive(self, _: int) -> None:
        """Pass on some of what the target answered."""
        for _datagram in range(_DATAGRAMS):
            try:
                size = self.sock.recv_into(_BUFFER)
            except OSError:  # nothing is waiting, or ECONNREFUSED
                return
            self._shared.heard(self)
            try:
                self.port.sock.sendmsg([_VIEW[:size]], self._ancillary, 0, self.asker[1])
            except OSError:  # the client is out of reach, or the address is no longer ours
                continue

    def _send_again(self, data: memoryview) -> None:
        """Send once more: the error was about an earlier datagram, this one was not sent."""
        try:
            self.sock.send(data)
        except OSError:
            return


def _connected(target: Target) -> socket.socket:
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(target)
    except OSError:
        sock.close()
        raise
    return sock


def _source(local: bytes) -> list[tuple[int, int, bytes]]:
    """Return what makes an answer come from where a datagram was sent to, as received with it.

    The link is left to the routes, as for any answer, unless the address exists once a link.
    """
    if len(local) == _PKTINFO.size:
        _, source, destination = _PKTINFO.unpack(local)
        return [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, source, destination))]
    if len(local) == _PKTINFO6.size:
        destination, link = _PKTINFO6.unpack(local)
        if destination[0] == 0xFF:  # multicast: nothing can come from there
            return []
        is_link_local = destination[0] == 0xFE and destination[1] & 0xC0 == 0x80
        packed = _PKTINFO6.pack(destination, link if is_link_local else 0)
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed)]
    return []
