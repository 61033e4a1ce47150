"""What the daemon says: these sockets are for that target; those no longer.

A message is a JSON object in a packet of its own:

    {"add": 7, "protocol": "tcp", "to": "10.0.0.2", "port": 80}   and bound sockets, for the target
                                                                  ports from 80 on; may be repeated
    {"remove": 7}        answered with {"removed": 7} when their descriptors are closed

The relay says {"ready": true} first, and {"warning": text} when an operator may want to know.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from netplug.loop import READ, Descriptors, Loop
from netplug.relay.tcp import Tcp, TcpPort
from netplug.relay.udp import Udp, UdpPort

_MESSAGE_BYTES = 4096
_MESSAGE_SOCKETS = 253  # include/net/scm.h, SCM_MAX_FD


class Control:
    """The relay, as the daemon sees it."""

    def __init__(self, loop: Loop, descriptors: Descriptors, daemon: socket.socket) -> None:
        self._loop = loop
        self._daemon = daemon
        self._tcp = Tcp(loop, descriptors, self._warn)
        self._transports: dict[str, Tcp | Udp] = {
            "tcp": self._tcp,
            "udp": Udp(loop, descriptors),
        }
        self._ports: dict[int, list[TcpPort | UdpPort]] = {}
        self.is_over = False
        daemon.setblocking(False)
        loop.watch(daemon.fileno(), READ, self._listen)
        self._say(ready=True)

    def run(self) -> None:
        """Serve until the daemon is gone."""
        while not self.is_over:
            self._loop.run_once()

    def close(self) -> None:
        """Close everything."""
        for number in list(self._ports):
            self._remove(number)
        self._tcp.close()
        self._loop.discard(self._daemon)
        self._loop.close()

    def _listen(self, _: int) -> None:
        try:
            text, fds, flags, _address = socket.recv_fds(
                self._daemon, _MESSAGE_BYTES, _MESSAGE_SOCKETS
            )
        except BlockingIOError:
            return
        except OSError:
            self.is_over = True
            return
        if not text:
            self.is_over = True
        elif flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            # Sockets are lost: no descriptor was left for them. A new process has none in use.
            self._warn("no descriptor is left for the sockets of a port; starting anew")
            self.is_over = True
        else:
            self._obey(text, fds)

    def _obey(self, text: bytes, fds: list[int]) -> None:
        sockets = [socket.socket(fileno=fd) for fd in reversed(fds)]
        try:
            message = json.loads(text)
            if "remove" in message:
                number = int(message["remove"])
                self._remove(number)
                self._loop.afterwards(lambda: self._say(removed=number))
            else:
                self._add(message, sockets)
        except (ValueError, KeyError, TypeError, OSError) as error:
            self._warn(f"a message was not understood: {error!r}")
        for sock in sockets:
            sock.close()

    def _add(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        """Open ports on `sockets`, last first, and take those that are in use from the list."""
        shared = self._transports[message["protocol"]]
        ports = self._ports.setdefault(message["add"], [])
        host, first = str(message["to"]), int(message["port"])
        for offset in range(len(sockets)):
            ports.append(shared.open_port(sockets[-1], (host, first + offset)))
            sockets.pop()

    def _remove(self, number: int) -> None:
        for port in self._ports.pop(number, ()):
            port.close()

    def _warn(self, text: str) -> None:
        self._say(warning=text)

    def _say(self, **message: object) -> None:
        try:
            self._daemon.send(json.dumps(message).encode())
        except OSError:  # it is gone, which reading will tell; or it does not listen
            return
