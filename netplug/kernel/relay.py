"""The daemon's side of the relay process: start it, hand it sockets, start it again if it dies."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from netplug.kernel.worker import PACKET_SOCKETS, Packet, Start, Worker, starter
from netplug.model import IPAddress, Protocol

_MODULE = "netplug.relay"
_REMOVED_S = 2.0  # an answer takes 1 ms; a process that does not answer is ended instead

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """Bound sockets, and where what they get is to go: a port each, from `to_port` on.

    TCP sockets must listen already. The descriptors stay the caller's.
    """

    protocol: Protocol
    fds: Sequence[int]
    to_address: IPAddress
    to_port: int


class Relay:
    """One process for everything that is relayed; it is started when there is something."""

    def __init__(self, start: Start | None = None) -> None:
        self._worker = Worker("the relay of published ports", start or starter(_MODULE), self)
        self._relayed: dict[int, Relayed] = {}
        self._numbers = 0
        self._told: set[int] = set()
        self._removals: dict[int, asyncio.Future[None]] = {}

    def add(self, relayed: Relayed) -> int:
        """Relay from now on, or as soon as the process runs; return a number for `remove`."""
        self._numbers += 1
        self._relayed[self._numbers] = relayed
        self._worker.start()
        self._worker.say(partial(self._addition, self._numbers))
        return self._numbers

    async def remove(self, number: int) -> None:
        """Stop relaying. The process has closed its descriptors when this returns."""
        if not self._relayed.pop(number, None) or number not in self._told:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._removals[number] = done
        self._worker.say(partial(self._removal, number))
        try:
            async with asyncio.timeout(_REMOVED_S):
                await asyncio.shield(done)
        except TimeoutError:
            log.warning("the relay does not answer, ending it")
            self._worker.kill()
            await done

    async def close(self) -> None:
        """End the process; nothing is relayed any more."""
        self._relayed.clear()
        await self._worker.close()

    def begin(self) -> None:
        """Say what is relayed to a new process."""
        for number in self._relayed:
            self._worker.say(partial(self._addition, number))

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take note of a warning, or that descriptors are closed."""
        if "warning" in message:
            log.warning("the relay warns", extra={"reason": message["warning"]})
        removed = message.get("removed")
        done = self._removals.pop(removed, None) if isinstance(removed, int) else None
        if done is not None and not done.done():
            done.set_result(None)

    def end(self) -> None:
        """Note that the process is dead: it has forgotten everything."""
        self._told.clear()
        for done in self._removals.values():
            if not done.done():
                done.set_result(None)
        self._removals.clear()

    def _addition(self, number: int) -> Iterator[Packet]:
        if number not in self._relayed or number in self._told:
            return
        self._told.add(number)
        relayed = self._relayed[number]
        for start in range(0, len(relayed.fds), PACKET_SOCKETS):
            message = {
                "add": number,
                "protocol": str(relayed.protocol),
                "to": str(relayed.to_address),
                "port": relayed.to_port + start,
            }
            fds = relayed.fds[start : start + PACKET_SOCKETS]
            yield Packet(text=json.dumps(message).encode(), fds=fds)

    def _removal(self, number: int) -> Iterator[Packet]:
        yield Packet(text=json.dumps({"remove": number}).encode())
