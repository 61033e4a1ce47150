"""A process of our own that works for the daemon: start it, talk to it, start it again if it dies.

    worker = Worker("the relay of published ports", start, owner)
    worker.start()

They talk over a SOCK_SEQPACKET socket of which the process inherits its end: one JSON object a
packet, sockets beside it. The process says `{"ready": true}` first.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Interface

from netplug.kernel import proc

PACKET_SOCKETS = 250  # the kernel's limit is 253: include/net/scm.h, SCM_MAX_FD
PAUSE_S = (0.1, 30.0)  # before the second start, and at most; it doubles from start to start

_READY_S = 10.0  # starting takes 0.1 s on an idle machine
_PACKET_BYTES = 64 * 1024
_STEADY_S = 60.0  # a process that lived so long was well: the next one is started soon

log = logging.getLogger(__name__)


class Process(Interface):
    """What is needed of `asyncio.subprocess.Process`."""

    def kill(self) -> None:
        """End it at once."""
        ...

    async def wait(self) -> int:
        """Return when it has ended."""
        ...


Start = Callable[[int], Awaitable[Process]]


def starter(module: str, *needs: str) -> Start:
    """Return what starts a module of ours as a process, which gets the socket's number to read.

    `needs` are the packages of others that it imports.
    """

    async def start(fd: int) -> Process:
        return await proc.start_module(module, str(fd), fd=fd, needs=needs)

    return start


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A message, encoded, and descriptors, at most `PACKET_SOCKETS`, which stay the sender's."""

    text: bytes
    fds: Sequence[int] = ()


Packets = Callable[[], Iterable[Packet]]
"""What is to be said, made up when its turn comes: much may have changed by then."""


class Owner(Interface):
    """Whom a process works for. None of these waits."""

    def begin(self) -> None:
        """Say everything that a new process must know: it is ready."""
        ...

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take note of what the process says."""
        ...

    def end(self) -> None:
        """Take note that the process is dead: all that it knew and held is gone."""
        ...


class Worker:
    """One process at a time, from `start` to `close`; `what` names it in the log."""

    def __init__(
        self, what: str, start: Start, owner: Owner, *, pause_s: tuple[float, float] = PAUSE_S
    ) -> None:
        self._what = what
        self._pause_s = pause_s
        self._start = start
        self._owner = owner
        self._link: _Link | None = None
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """Return whether there is a process that listens."""
        return self._link is not None

    def start(self) -> None:
        """Have a process from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._what)

    def say(self, packets: Packets) -> None:
        """Have something said after all that was said before; lost if no process is ready."""
        if self._link is not None:
            self._link.say(packets)

    def kill(self) -> None:
        """End the process, which does not do its work; another one is started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """End the process for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        pause_s, longest_s = self._pause_s
        while True:
            began_s = asyncio.get_running_loop().time()
            try:
                reason = await self._serve()
            except Exception as error:  # the head of a task
                reason = str(error)
            if asyncio.get_running_loop().time() - began_s > _STEADY_S:
                pause_s, _ = self._pause_s
            log.warning(
                "%s ended, starting it again",
                self._what,
                extra={"reason": reason, "pause_s": pause_s},
            )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, longest_s)

    async def _serve(self) -> str:
        """Run one process until it ends, and return why."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.setblocking(False)
            with theirs:
                self._process = process = await self._start(theirs.fileno())
            try:
                return await self._talk(_Link(ours, self._owner.hear))
            finally:
                self.kill()
                await process.wait()
                self._link = self._process = None
                self._owner.end()

    async def _talk(self, link: _Link) -> str:
        try:
            async with asyncio.timeout(_READY_S):
                await link.ready()
        except TimeoutError:
            return f"it was not ready after {_READY_S:g} s"
        self._link = link
        self._owner.begin()
        return await link.run()


class _Link:
    """The socket to one process."""

    def __init__(self, sock: socket.socket, hear: Callable[[Mapping[str, Any]], None]) -> None:
        self._sock = sock
        self._hear_one = hear
        self._queue: deque[Packets] = deque()
        self._has_work = asyncio.Event()

    def say(self, packets: Packets) -> None:
        """Have something said to the process."""
        self._queue.append(packets)
        self._has_work.set()

    async def ready(self) -> None:
        """Return when the process says that it is there.

        Raises:
            OSError: it has ended.
        """
        while (message := await self._receive()) is not None:
            if "ready" in message:
                return
        raise OSError("it ended before it was ready")

    async def run(self) -> str:
        """Tell the process what is queued until it ends; return why that was."""
        telling = asyncio.create_task(self._tell(), name="worker-tell")
        hearing = asyncio.create_task(self._hear(), name="worker-hear")
        try:
            await asyncio.wait((telling, hearing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            telling.cancel()
            hearing.cancel()
            results = await asyncio.gather(telling, hearing, return_exceptions=True)
        return next((str(r) for r in results if isinstance(r, Exception)), "its process ended")

    async def _hear(self) -> None:
        while (message := await self._receive()) is not None:
            self._hear_one(message)

    async def _receive(self) -> dict[str, Any] | None:
        """Return the next message; None at the end. What is none is left out."""
        while text := await asyncio.get_running_loop().sock_recv(self._sock, _PACKET_BYTES):
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(text)
                if isinstance(message, dict):
                    return message
            log.warning("a packet of a worker is no message", extra={"start": repr(text[:99])})
        return None

    async def _tell(self) -> None:
        while True:
            while self._queue:
                for packet in self._queue.popleft()():
                    await self._send(packet)
            self._has_work.clear()
            await self._has_work.wait()

    async def _send(self, packet: Packet) -> None:
        rights = array.array("i", packet.fds)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if packet.fds else []
        while True:
            try:
                self._sock.sendmsg([packet.text], ancillary)
            except BlockingIOError:
                await _writable(self._sock)
            else:
                await asyncio.sleep(0)  # others have their turn while much is said
                return


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(sock, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(sock)
