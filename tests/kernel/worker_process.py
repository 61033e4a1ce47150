"""A process that works for the daemon, played by a test: what it says is the test's to say."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import Any


class FakeProcess:
    """The other end of the socket; what is said here is the test's to say."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.starts = 0
        self.sock = socket.socket()
        self._ended = asyncio.Event()

    async def start(self, fd: int) -> FakeProcess:
        self.sock.close()
        self.sock = socket.socket(fileno=os.dup(fd))
        self.sock.setblocking(False)
        self._ended.clear()
        self.starts += 1
        self.started.set()
        return self

    def kill(self) -> None:
        self.sock.close()
        self._ended.set()

    def die(self) -> None:
        """End, as a crash would; the next one is said to when it is started."""
        self.started.clear()
        self.kill()

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    async def say(self, **message: object) -> None:
        await self.started.wait()
        self.sock.send(json.dumps(message).encode())

    async def hear(self) -> tuple[dict[str, Any], int]:
        """Return the next message, and how many descriptors came with it."""
        while True:
            try:
                text, fds, _, _ = socket.recv_fds(self.sock, 65536, 253)
            except BlockingIOError:
                await asyncio.sleep(0)
                continue
            for fd in fds:
                os.close(fd)
            return json.loads(text), len(fds)

    def is_told_nothing(self) -> bool:
        try:
            self.sock.recv(1)
        except BlockingIOError:
            return True
        return False
