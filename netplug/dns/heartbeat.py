"""Keep the rules of a sandbox alive that send its questions here.

They hold for 10 s after a byte from our socket to a port where nobody listens. If this process
hangs or dies, no byte is sent, and the questions go to Docker's resolver as before.
"""

from __future__ import annotations

import contextlib
import socket
from collections import OrderedDict

from netplug.loop import Loop

TARGET = ("127.0.0.11", 9)
BEAT_S = 4.0


class Heartbeat:
    """Sends from each socket every 4 s; the one that is due next comes first."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._sockets: OrderedDict[str, tuple[float, socket.socket]] = OrderedDict()

    def start(self, client_id: str, sock: socket.socket) -> None:
        """Send now, and from now on."""
        self._beat(client_id, sock)
        self._loop.tick(self._tick, is_on=True)

    def stop(self, client_id: str) -> None:
        """Send no more."""
        if self._sockets.pop(client_id, None) and not self._sockets:
            self._loop.tick(self._tick, is_on=False)

    def _tick(self) -> None:
        while self._sockets:
            client_id, (due_s, sock) = next(iter(self._sockets.items()))
            if due_s > self._loop.now_s:
                return
            self._beat(client_id, sock)

    def _beat(self, client_id: str, sock: socket.socket) -> None:
        # The rule that counts the byte drops it, which is told as EPERM. Other errors are those of
        # a namespace that goes away.
        with contextlib.suppress(OSError):
            sock.sendto(b"\0", TARGET)
        self._sockets[client_id] = (self._loop.now_s + BEAT_S, sock)
        self._sockets.move_to_end(client_id)
