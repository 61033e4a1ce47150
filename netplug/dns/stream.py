"""TCP: connections of a client, each with any number of questions, answered as they can be."""

from __future__ import annotations

import socket
from collections import OrderedDict

from netplug.contract.names import ClientKind
from netplug.dns.client import PAUSE_S, Client
from netplug.dns.resolver import Resolver
from netplug.dns.wire import Rcode, failure
from netplug.loop import READ, READABLE, WRITE

IDLE_S = 10.0
CONNECTIONS, HOST_CONNECTIONS = 64, 8  # a client, and one of several that share a client

_ACCEPTS = 16  # a turn
_READ_BYTES = 1024  # a turn: some 30 questions, or a part of one
_UNSENT_BYTES = 128 * 1024  # no more is read while so much waits for a slow reader
_TURN_S = 0.002  # for what has come on all connections of a client
_SWEEP_S = 1.0

_BUFFER = bytearray(_READ_BYTES)
_VIEW = memoryview(_BUFFER)


class TcpPort:
    """A listening socket of a client, and its connections, the longest idle first."""

    def __init__(self, resolver: Resolver, client: Client, sock: socket.socket) -> None:
        self.sock = sock
        self.resolver = resolver
        self.client = client
        self._connections: OrderedDict[Connection, None] = OrderedDict()
        self._is_open = True
        self._is_sweeping = False
        self._turn_s = self._spent_s = 0.0
        sock.setblocking(False)
        resolver.loop.watch(sock.fileno(), READ, self._accept)

    def __len__(self) -> int:
        return len(self._connections)

    def used(self, connection: Connection) -> None:
        """Note that a connection got somewhere."""
        connection.used_s = self.resolver.loop.now_s
        self._connections.move_to_end(connection)

    def has_time(self) -> bool:
        """Return whether the client may have more of this turn of the loop."""
        now_s = self.resolver.loop.now_s
        if now_s != self._turn_s:
            self._turn_s, self._spent_s = now_s, 0.0
        return self._spent_s < _TURN_S

    def spend(self, took_s: float) -> None:
        """Count time that a message took."""
        self._spent_s += took_s
        self.client.charge(took_s)

    def forget(self, connection: Connection) -> None:
        """Note that a connection is closed."""
        if self._connections.pop(connection, 0) is None:
            self.resolver.descriptors.give(1)

    def close(self) -> None:
        """Close the socket and all connections."""
        if self._is_open:
            self._is_open = False
            for connection in list(self._connections):
                connection.close()
            self.resolver.loop.discard(self.sock)

    def _accept(self, _: int) -> None:
        for _client in range(_ACCEPTS):
            try:
                sock, address = self.sock.accept()
            except BlockingIOError:
                return
            except OSError:  # of that one client, or no descriptor is left: others may end soon
                return
            self._take(sock, str(address[0]))

    def _take(self, sock: socket.socket, host: str) -> None:
        """Serve a connection; the longest idle one makes room if need be."""
        guard = self.client.guard
        if guard is not None and not guard(host):
            sock.close()
            return
        if self.client.spec.kind is ClientKind.GATEWAY:
            of_host = [c for c in self._connections if c.host == host]
            if len(of_host) >= HOST_CONNECTIONS:
                of_host[0].close()
        if len(self._connections) >= CONNECTIONS:
            next(iter(self._connections)).close()
        if not self.resolver.descriptors.has(1):
            sock.close()
            return
        self.resolver.descriptors.take(1)
        self._connections[Connection(self, sock, host)] = None
        if not self._is_sweeping:
            self._is_sweeping = True
            self.resolver.loop.at(self.resolver.loop.now_s + _SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now_s = self.resolver.loop.now_s
        for connection in list(self._connections):
            if now_s - connection.used_s < IDLE_S:
                break
            connection.close()
        self._is_sweeping = bool(self._connections)
        if self._is_sweeping:
            self.resolver.loop.at(now_s + _SWEEP_S, self._sweep)


class Connection:
    """Messages with their length before them, both ways.

    It is used when a whole message has come or an answer has gone, not when a part of one has:
    who sends a byte every now and then is closed like who sends nothing.
    """

    __slots__ = (
        "_events",
        "_is_behind",
        "_is_open",
        "_port",
        "_received",
        "_sock",
        "_unsent",
        "host",
        "used_s",
    )

    def __init__(self, port: TcpPort, sock: socket.socket, host: str) -> None:
        self.host = host
        self.used_s = port.resolver.loop.now_s
        self._port = port
        self._sock = sock
        self._received = bytearray()
        self._unsent = bytearray()
        self._is_open = True
        self._is_behind = False  # whether a whole message is left
        self._events = 0
        sock.setblocking(False)
        self._watch()

    def close(self) -> None:
        """Close it, whatever is unsent."""
        if self._is_open:
            self._is_open = False
            self._port.resolver.loop.discard(self._sock)
            self._port.forget(self)

    def _is_closed(self) -> bool:
        return not self._is_open

    def _watch(self) -> None:
        """Wait for what is to be done next; if it may go on, that is when it can be written to."""
        events = WRITE if self._unsent or self._is_behind else 0
        if len(self._unsent) < _UNSENT_BYTES and not self._is_behind:
            events |= READ
        self._listen(events)

    def _listen(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._port.resolver.loop.watch(self._sock.fileno(), events, self._handle)

    def _handle(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self._is_open and self._is_behind:
            self._take_messages()
        elif self._is_open and events & READABLE:
            self._read()
        if self._is_open and self._events:
            self._watch()

    def _read(self) -> None:
        if not self._may_go_on():
            return
        try:
            size = self._sock.recv_into(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self.close()
            return
        self._received += _VIEW[:size]
        self._take_messages()

    def _may_go_on(self) -> bool:
        """Return whether there is time for a message now; who has spent its share pauses."""
        client, loop = self._port.client, self._port.resolver.loop
        guard = client.guard
        if not self._port.resolver.has_turn(client) or (guard is not None and not guard(self.host)):
            self._listen(0)
            loop.at(loop.now_s + PAUSE_S, self._resume)
            return False
        return self._port.has_time()

    def _resume(self) -> None:
        if self._is_open:
            self._watch()

    def _take_messages(self) -> None:
        """Answer what has come, while there is time and room for answers."""
        at, received = 0, self._received
        while end := _end_of_message(received, at):
            if len(self._unsent) >= _UNSENT_BYTES or not self._may_go_on():
                break
            message = bytes(received[at + 2 : end])
            at = end
            self._take_message(message)
            if self._is_closed():
                return
        self._is_behind = end > 0
        del received[:at]

    def _take_message(self, message: bytes) -> None:
        port, resolver = self._port, self._port.resolver
        began_s = resolver.loop.monotonic_s()
        port.used(self)
        respond, host = self._respond, self.host
        reply = resolver.handle(port.client, message, respond, is_stream=True, host=host)
        if reply is not None:
            self._respond(reply)
        port.spend(resolver.loop.monotonic_s() - began_s)

    def _respond(self, reply: bytes) -> None:
        """Send an answer, now or as soon as there is room for it."""
        if not self._is_open:
            return
        if len(reply) > 0xFFFF:
            reply = failure(reply, Rcode.SERVFAIL)
        self._unsent += len(reply).to_bytes(2) + reply
        self._flush()
        if not self._is_closed() and self._events:
            self._watch()

    def _flush(self) -> None:
        if not self._unsent:
            return
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if sent:
            del self._unsent[:sent]
            self._port.used(self)


def _end_of_message(received: bytearray, at: int) -> int:
    """Return where a message ends, 0 if not all of it is there."""
    if len(received) - at < 2:
        return 0
    end = at + 2 + (received[at] << 8 | received[at + 1])
    return end if len(received) >= end else 0
