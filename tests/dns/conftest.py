"""The resolver in this process, on loopback: the test is its daemon, its clients, its upstreams."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import dns.message
import pytest

from netplug.dns import forward
from netplug.dns.control import Control
from netplug.dns.resolvconf import HostResolvers
from netplug.loop import Descriptors, Loop
from tests.dns.forwarding import Docker

T = TypeVar("T")
_TURNS = 2000

FRONT = {"id": "n1", "name": "front", "subnets": ["10.0.0.0/24", "fd00::/64"]}
BACK = {"id": "n2", "name": "back", "subnets": ["10.0.1.0/24"]}
WEB = {
    "id": "e1",
    "network_id": "n1",
    "label": "web",
    "names": ["web", "www", "*.apps"],
    "addresses": ["10.0.0.2", "fd00::2"],
    "ports": [["tcp", 80]],
}
DB = {
    "id": "e2",
    "network_id": "n2",
    "label": "db",
    "names": ["db"],
    "addresses": ["10.0.1.2"],
}


class Rig:
    """A resolver that runs only while the test waits for something."""

    def __init__(self, path: Path) -> None:
        self.now_s = 1000.0
        self.look_s = 0.0  # how much later it is after each look at the clock
        self.resolv_conf = path / "resolv.conf"
        self._loop = Loop(self._monotonic_s)
        self._opened: list[socket.socket] = []
        self.daemon, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.keep(self.daemon)
        host = HostResolvers(lambda: self.now_s, str(self.resolv_conf))
        descriptors = Descriptors(Descriptors.RESERVE + 1000)
        self.control = Control(self._loop, descriptors, theirs, lambda: 5000.0, host)

    def _monotonic_s(self) -> float:
        self.now_s += self.look_s
        return self.now_s

    def keep(self, sock: socket.socket) -> socket.socket:
        """Make a socket one of the test's: nonblocking, and closed at its end."""
        sock.setblocking(False)
        self._opened.append(sock)
        return sock

    def bound(self, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
        sock = self.keep(socket.socket(socket.AF_INET, kind))
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def tell(self, message: object, sockets: tuple[socket.socket, ...] = ()) -> None:
        text = json.dumps(message).encode()
        socket.send_fds(self.daemon, [text], [sock.fileno() for sock in sockets])
        self.turns(2)

    def put(self, *items: dict[str, Any]) -> None:
        self.tell({"change": {"puts": list(items)}})

    def drop(self, *items: dict[str, Any]) -> None:
        self.tell({"change": {"drops": list(items)}})

    def client(self, client_id: str = "c1", **said: object) -> tuple[socket.socket, socket.socket]:
        """Open a client; return a UDP socket that is connected to its port, and its TCP port."""
        spec = {"id": client_id, "kind": "overlay", "label": client_id, **said}
        ports = (self.bound(), self.bound(socket.SOCK_STREAM))
        self.tell({"client": {"network_ids": ["n1"], **spec}}, ports)
        return self.connected(ports[0]), ports[1]

    def connected(self, port: socket.socket) -> socket.socket:
        client = self.keep(socket.socket(socket.AF_INET, port.type))
        client.connect_ex(port.getsockname())
        return client

    def heard(self) -> dict[str, Any]:
        """Return what the resolver says next."""
        said: dict[str, Any] = json.loads(self.until(lambda: self.daemon.recv(65536)))
        return said

    def ask(self, client: socket.socket, name: str, kind: str = "A", **how: Any) -> Any:
        query = dns.message.make_query(name, kind, **how)
        client.send(query.to_wire())
        return self.answer(client)

    def answer(self, client: socket.socket) -> Any:
        return dns.message.from_wire(self.until(lambda: client.recv(65536)))

    def is_silent(self, client: socket.socket) -> bool:
        self.turns(5)
        try:
            client.recv(65536)
        except BlockingIOError:
            return True
        return False

    def until(self, attempt: Callable[[], T]) -> T:
        """Run the resolver until `attempt` no longer has to wait, and return its result."""
        for _ in range(_TURNS):
            try:
                return attempt()
            except BlockingIOError:
                self._loop.run_once(0.01)
        raise AssertionError("it waits for ever")

    def turns(self, count: int = 3) -> None:
        """Let the resolver do what there is to do."""
        for _ in range(count):
            self._loop.run_once(0)

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        self.turns()

    def close(self) -> None:
        self.control.close()
        for sock in self._opened:
            sock.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    assert rig.heard() == {"ready": True}
    rig.put({"network": FRONT}, {"network": BACK}, {"endpoint": WEB}, {"endpoint": DB})
    yield rig
    rig.close()


@pytest.fixture
def docker(rig: Rig) -> Docker:
    return Docker(rig)


@pytest.fixture
def hosts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Two resolvers of the host."""
    first = rig.bound()
    port = first.getsockname()[1]
    second = rig.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    second.bind(("127.0.0.2", port))
    monkeypatch.setattr(forward, "_PORT", port)
    rig.resolv_conf.write_text("search x\nnameserver 127.0.0.1\nnameserver 127.0.0.2 # second\n")
    return [first, second]
