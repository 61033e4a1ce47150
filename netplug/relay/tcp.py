"""TCP: accept, connect to the target, copy both ways until both have ended."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable

from netplug.loop import READ, READABLE, WRITE, Descriptors, Loop

Target = tuple[str, int]

PORT_CONNECTIONS = 4096  # so that those of one port leave memory, too, for others

_BUFFER = bytearray(64 * 1024)  # as much may wait in each direction of a connection
_VIEW = memoryview(_BUFFER)
_NOTHING = memoryview(b"")
_ACCEPTS = 64  # a batch; others have their turn after it
_WARNING_S = 60.0  # from one to the next
_ABORT = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 s; the same in both byte orders' first byte
# A container that does not answer at all is given up after about 30 s: its client waits no longer,
# and both descriptors are free again.
_SYN_RETRIES = 4
# Dead peers are found as Go's standard library, and so docker-proxy, finds them.
# Source: Go net/tcpsock.go, defaultTCPKeepAliveIdle and following.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 9),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
_NO_MORE_CONNECTION = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Tcp:
    """What all TCP ports share: when no descriptor is left, none of them accepts.

    One that has its share of connections stops alone.
    """

    def __init__(self, loop: Loop, descriptors: Descriptors, warn: Callable[[str], None]) -> None:
        self.loop = loop
        self.descriptors = descriptors
        self._warn = warn
        self._ports: dict[int, TcpPort] = {}
        self._epoll = select.epoll()
        self._is_full = False
        self._most_of_port = min(PORT_CONNECTIONS, descriptors.share // 2)
        self._next_warning_s = 0.0
        loop.watch(self._epoll.fileno(), READ, self._accept)

    def open_port(self, sock: socket.socket, target: Target) -> TcpPort:
        """Accept from a listening socket, for `target`; the socket is closed with the port."""
        sock.setblocking(False)
        for level, option, value in _KEEPALIVE:  # accepted sockets inherit them
            sock.setsockopt(level, option, value)
        port = TcpPort(self, sock, target)
        self._epoll.register(sock.fileno(), READ)
        self._ports[sock.fileno()] = port
        self.descriptors.take(1)
        return port

    def forget(self, port: TcpPort) -> None:
        """Accept no more from a port."""
        del self._ports[port.sock.fileno()]
        if not port.is_paused:
            self._epoll.unregister(port.sock.fileno())
        self.descriptors.give(1)

    def has_room_for(self, port: TcpPort) -> bool:
        """Return whether a port may have another connection; if not, it accepts none for now."""
        if len(port.connections) < self._most_of_port:
            return True
        port.is_paused = True
        self._epoll.unregister(port.sock.fileno())
        self._warn_of_fullness("a port has all connections that it may have; new clients wait")
        return False

    def ended(self, port: TcpPort) -> None:
        """Accept again what had to wait for the end of a connection of a port."""
        if port.is_paused and port.sock.fileno() in self._ports:
            port.is_paused = False
            self._epoll.register(port.sock.fileno(), READ)
        self.resume()

    def resume(self) -> None:
        """Accept again, if that had to stop and there is room now."""
        if self._is_full and self.descriptors.has(2):
            self._is_full = False
            self.loop.watch(self._epoll.fileno(), READ, self._accept)
            self.loop.tick(self.resume, is_on=False)

    def full(self) -> None:
        """Accept nothing for now; clients wait in the backlog of the listening sockets."""
        if not self._is_full:
            self._is_full = True
            self._warn_of_fullness("no descriptor is left for another connection; new clients wait")
            self.loop.watch(self._epoll.fileno(), 0, self._accept)
            self.loop.tick(self.resume, is_on=True)

    def close(self) -> None:
        """Close the shared epoll; the ports are closed by then."""
        self.loop.watch(self._epoll.fileno(), 0, self._accept)
        self._epoll.close()

    def _warn_of_fullness(self, text: str) -> None:
        """Warn, but not each time: when it is full, each end of a connection makes it so again."""
        if self.loop.now_s >= self._next_warning_s:
            self._next_warning_s = self.loop.now_s + _WARNING_S
            self._warn(text)

    def _accept(self, _: int) -> None:
        for fd, _event in self._epoll.poll(0, _ACCEPTS):
            if fd in self._ports:
                self._ports[fd].accept()
            if self._is_full:
                return


class TcpPort:
    """A listening socket and its connections."""

    __slots__ = ("_shared", "_target", "connections", "is_paused", "sock")

    def __init__(self, shared: Tcp, sock: socket.socket, target: Target) -> None:
        self.sock = sock
        self.connections: set[Connection] = set()
        self.is_paused = False
        self._shared = shared
        self._target = target

    def accept(self) -> None:
        """Accept some of those who wait."""
        shared = self._shared
        for _ in range(_ACCEPTS):
            if not shared.descriptors.has(2):
                shared.full()
                return
            if not shared.has_room_for(self):
                return
            try:
                client, _address = self.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_MORE_CONNECTION:
                    shared.full()
                    return
                continue  # of that one client: ECONNABORTED, EPROTO, ...
            self._connect(client)

    def close(self) -> None:
        """Close the socket, and break its connections."""
        self._shared.forget(self)
        for connection in list(self.connections):
            connection.abort()
        self._shared.loop.discard(self.sock)

    def _connect(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
            server = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            _reset(client)
            client.close()
            self._shared.full()
            return
        for level, option, value in _KEEPALIVE:
            server.setsockopt(level, option, value)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, _SYN_RETRIES)
        self._shared.descriptors.take(2)
        connection = Connection(self._shared, self, client, server)
        self.connections.add(connection)
        connection.connect(self._target)


class End:
    """One end of a connection, and what was read from it but not yet written to the other."""

    __slots__ = ("events", "has_ended", "is_passed_on", "other", "sock", "unsent")

    other: End

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.events = -1  # watched for
        self.unsent = _NOTHING
        self.has_ended = False  # nothing more is read
        self.is_passed_on = False  # and the other end was told


class Connection:
    """Two sockets that get each other's bytes and each other's end."""

    __slots__ = ("_client", "_port", "_server", "_shared")

    def __init__(
        self, shared: Tcp, port: TcpPort, client: socket.socket, server: socket.socket
    ) -> None:
        self._shared = shared
        self._port = port
        self._client = End(client)
        self._server = End(server)
        self._client.other = self._server
        self._server.other = self._client

    def connect(self, target: Target) -> None:
        """Begin to connect to `target`; nothing is read from the client until that is done."""
        code = self._server.sock.connect_ex(target)
        if code == errno.EINPROGRESS:
            self._shared.loop.watch(self._server.sock.fileno(), WRITE, self._connected)
        elif code:
            self.abort()
        else:
            self._watch()

    def abort(self) -> None:
        """Close both ends with a reset."""
        _reset(self._client.sock)
        _reset(self._server.sock)
        self._close()

    def _connected(self, _: int) -> None:
        if self._server.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
        else:
            self._watch()

    def _watch(self) -> None:
        self._watch_end(self._client)
        self._watch_end(self._server)

    def _watch_end(self, end: End) -> None:
        events = WRITE if end.other.unsent else 0
        if not end.has_ended and not end.unsent:
            events |= READ
        if events != end.events:
            end.events = events
            handler = self._on_client if end is self._client else self._on_server
            self._shared.loop.watch(end.sock.fileno(), events, handler)

    def _on_client(self, events: int) -> None:
        self._handle(self._client, events)

    def _on_server(self, events: int) -> None:
        self._handle(self._server, events)

    def _handle(self, end: End, events: int) -> None:
        if end.other.unsent and events & ~READ:
            end.other.unsent = end.other.unsent[_send(end.other, end.other.unsent) :]
        if events & READABLE and not end.has_ended and not end.unsent and not self._read(end):
            self.abort()
            return
        for one in (end, end.other):
            if one.has_ended and not one.unsent and not one.is_passed_on:
                one.is_passed_on = True
                _end_writing(one.other.sock)
        if end.is_passed_on and end.other.is_passed_on:
            self._close()
        else:
            self._watch()

    def _read(self, end: End) -> bool:
        """Read once from `end`; return whether it still stands."""
        try:
            size = end.sock.recv_into(_BUFFER)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not size:
            end.has_ended = True
            return True
        sent = _send(end, _VIEW[:size])
        if sent < size:
            end.unsent = memoryview(bytes(_VIEW[sent:size]))
        return True

    def _close(self) -> None:
        self._shared.loop.discard(self._client.sock)
        self._shared.loop.discard(self._server.sock)
        self._shared.descriptors.give(2)
        self._port.connections.discard(self)
        self._shared.ended(self._port)


def _send(end: End, data: memoryview) -> int:
    """Write what was read from `end` to the other, and return how much of it is dealt with.

    If the other takes no more, what `end` has to say is of no use; but what the other said before
    is still passed on: a server may answer and close before it was told everything.
    """
    try:
        return end.other.sock.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        end.has_ended = True
        return len(data)


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)


def _end_writing(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:  # it is gone already, which reading from it will tell
        return
