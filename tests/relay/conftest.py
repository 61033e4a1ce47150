"""The relay in this process, on loopback: the test is its daemon, its clients and its targets."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from netplug.loop import Descriptors, Loop
from netplug.relay.control import Control

T = TypeVar("T")
_TURNS = 2000


class Rig:
    """A relay that runs only while the test waits for something."""

    def __init__(self, descriptors: int) -> None:
        self.now_s = 0.0
        self._loop = Loop(lambda: self.now_s)
        self._opened: list[socket.socket] = []
        self.daemon, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.keep(self.daemon)
        self.control = Control(self._loop, Descriptors(Descriptors.RESERVE + descriptors), theirs)

    def keep(self, sock: socket.socket) -> socket.socket:
        """Make a socket one of the test's: nonblocking, and closed at its end."""
        sock.setblocking(False)
        self._opened.append(sock)
        return sock

    def bound(self, kind: socket.SocketKind, host: str = "127.0.0.1") -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = self.keep(socket.socket(family, kind))
        sock.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def add(self, ports: list[socket.socket], target: socket.socket, number: int = 1) -> None:
        kind = "tcp" if ports[0].type == socket.SOCK_STREAM else "udp"
        host, port = target.getsockname()[:2]
        message = {"add": number, "protocol": kind, "to": host, "port": port}
        self.tell(message, [sock.fileno() for sock in ports])

    def tell(self, message: object, fds: list[int] | None = None) -> None:
        socket.send_fds(self.daemon, [json.dumps(message).encode()], fds or [])
        self.turns(2)

    def heard(self) -> dict[str, Any]:
        """Return what the relay says next."""
        said: dict[str, Any] = json.loads(self.until(lambda: self.daemon.recv(4096)))
        return said

    def connected(self, port: socket.socket, host: str | None = None) -> socket.socket:
        """Return a client of a port."""
        client = self.keep(socket.socket(port.family, port.type))
        address = port.getsockname()
        client.connect_ex((host or address[0], *address[1:]))
        return client

    def pair(
        self, port: socket.socket, target: socket.socket
    ) -> tuple[socket.socket, socket.socket]:
        """Return a client of a port, and the server's end of its connection."""
        client = self.connected(port)
        server, _ = self.until(target.accept)
        return client, self.keep(server)

    def until(self, attempt: Callable[[], T]) -> T:
        """Run the relay until `attempt` no longer has to wait, and return its result."""
        for _ in range(_TURNS):
            try:
                return attempt()
            except BlockingIOError:
                self._loop.run_once(0.01)
        raise AssertionError("it waits for ever")

    def turns(self, count: int) -> None:
        """Let the relay do what there is to do."""
        for _ in range(count):
            self._loop.run_once(0)

    def read_all(self, sock: socket.socket) -> bytes:
        """Return everything up to the end."""
        parts = []
        while part := self.until(lambda: sock.recv(1 << 20)):
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        self.control.close()
        for sock in self._opened:
            sock.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig(descriptors=100)
    assert rig.heard() == {"ready": True}
    yield rig
    rig.close()


@pytest.fixture
def small_rig() -> Iterator[Rig]:
    """A relay with room for a port and one connection, or three clients."""
    rig = Rig(descriptors=3)
    assert rig.heard() == {"ready": True}
    yield rig
    rig.close()
