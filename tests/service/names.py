"""An embedded DNS in memory: it keeps what it is told, and notes in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from netplug.contract.names import (
    Change,
    ClientCounters,
    LoggedQuery,
    NameAnswer,
    NameClient,
    Named,
    NamedEndpoint,
    NamedNetwork,
    NamedRecord,
    NameProblem,
)
from netplug.errors import DeadlineExceeded, NotFound
from netplug.model import NetworkId


def key_of(named: Named) -> tuple[object, ...]:
    match named:
        case NamedNetwork() | NamedEndpoint():
            return (type(named), named.id)
        case NamedRecord():
            return (named.network_id, named.name, named.kind)


@dataclass
class MemoryNames:
    """Fulfils `netplug.contract.names.Names`."""

    known: dict[tuple[object, ...], Named] = field(default_factory=dict)
    clients: dict[str, NameClient] = field(default_factory=dict)
    told: list[object] = field(default_factory=list)
    asked: list[tuple[str | Sequence[NetworkId], str, str]] = field(default_factory=list)
    answer: NameAnswer = field(default_factory=lambda: NameAnswer(rcode="NXDOMAIN"))
    counters: dict[str, ClientCounters] = field(default_factory=dict)
    logged: list[LoggedQuery] = field(default_factory=list)
    goes_on: bool = False
    is_followed: bool = False
    is_hung: bool = False
    not_served: tuple[NameProblem, ...] = ()

    async def open(self) -> None:
        self.told.append("open")

    async def close(self, *, is_stop: bool) -> None:
        self.told.append("stop" if is_stop else "close")

    def change(self, change: Change) -> None:
        self.told.append(change)
        for named in change.drops:
            del self.known[key_of(named)]
        for named in change.puts:
            self.known[key_of(named)] = named

    def serve(self, client: NameClient) -> None:
        self.told.append(client)
        self.clients[client.id] = client

    def forget(self, client_id: str) -> None:
        self.told.append(client_id)
        del self.clients[client_id]

    async def statistics(self) -> Mapping[str, ClientCounters]:
        if self.is_hung:
            raise DeadlineExceeded("the DNS resolver", 3.0)
        return self.counters

    async def lookup(self, asker: str | Sequence[NetworkId], name: str, kind: str) -> NameAnswer:
        if isinstance(asker, str) and asker not in self.clients:
            raise NotFound("client", asker)
        self.asked.append((asker, name, kind))
        return self.answer

    async def follow(self) -> AsyncIterator[LoggedQuery]:
        self.is_followed = True
        try:
            for query in self.logged:
                yield query
            if self.goes_on:
                await asyncio.Event().wait()
        finally:
            self.is_followed = False

    def problems(self) -> tuple[NameProblem, ...]:
        return self.not_served

    @property
    def networks(self) -> list[str]:
        return [n.name for n in self.known.values() if isinstance(n, NamedNetwork)]

    @property
    def endpoints(self) -> dict[str, NamedEndpoint]:
        return {n.id: n for n in self.known.values() if isinstance(n, NamedEndpoint)}

    def take(self) -> list[object]:
        """Return what was told since the last time."""
        told, self.told = self.told, []
        return told
