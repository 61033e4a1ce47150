"""A client: whose names it may know, what it may cost, what it asked."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Protocol

from netplug.contract.names import NameClient
from netplug.dns.forward import Forwarder
from netplug.dns.scope import Scope
from netplug.dns.wire import Rcode

DEFAULT_RATE = 200_000.0  # a second; a hit is 1, and takes about 7 us of a core
PARSED, LOOKED_UP, PASSED_ON, STREAMED_ON = 2, 20, 20, 400  # what other answers cost
CONTENDED_SHARE = 0.1  # of the rate, while others ask too
CONTENDED_SAVED_S = 0.05
PAUSE_S = 0.01  # of who has spent its share

_MEMINFO = 55  # asm-generic/socket.h, SO_MEMINFO; the socket module has no name for it
_DROPS = 8  # linux/sock_diag.h, SK_MEMINFO_DROPS
_WORD = struct.Struct("=I")


class Port(Protocol):
    """A socket of a client."""

    sock: socket.socket

    def close(self) -> None:
        """Close it."""
        ...


class Counters:
    """What became of a client's questions."""

    __slots__ = ("dropped", "forwarded", "hits", "misses", "queries", "rcodes")

    def __init__(self) -> None:
        self.queries = self.hits = self.misses = self.forwarded = self.dropped = 0
        self.rcodes = [0] * 32


class Client:
    """Belongs to one thread, as everything here."""

    __slots__ = (
        "_rate",
        "_spent",
        "_spent_s",
        "counters",
        "forwarder",
        "guard",
        "ports",
        "scope",
        "spec",
        "tokens",
        "tokens_s",
    )

    def __init__(self, spec: NameClient, scope: Scope, rate: float) -> None:
        self.spec = spec
        self.scope = scope
        self.counters = Counters()
        self.forwarder: Forwarder | None = None
        self.guard: Callable[[str], bool] | None = None  # whether an address may ask
        self.ports: list[Port] = []
        self.tokens = self._rate = rate
        self.tokens_s = 0.0
        self._spent: dict[str, float] = {}
        self._spent_s = 0.0

    def may_ask(self, now_s: float, *, is_contended: bool) -> bool:
        """Return whether there is anything left to spend.

        A second's worth is saved at most. While others ask too, a tenth of the rate is to be spent,
        and 50 ms worth of that is saved.
        """
        passed_s = now_s - self.tokens_s
        if passed_s > 0:
            rate = self._rate * CONTENDED_SHARE if is_contended else self._rate
            most = rate * CONTENDED_SAVED_S if is_contended else rate
            self.tokens = min(most, self.tokens + passed_s * rate)
            self.tokens_s = now_s
        return self.tokens > 0

    def charge(self, took_s: float) -> None:
        """Have the client pay for time, of which a second is all that it has for a second."""
        self.tokens -= took_s * self._rate

    def may_send(self, host: str, now_s: float, cost: float = 1.0) -> bool:
        """Count what one of several that share a client costs.

        None may have more than half of what they have together while others ask too.
        """
        if now_s - self._spent_s >= 1.0:
            self._spent_s = now_s
            self._spent.clear()
        spent = self._spent[host] = self._spent.get(host, 0.0) + cost
        return spent <= self._rate * CONTENDED_SHARE / 2

    def statistics(self) -> dict[str, object]:
        """Return the counters, by name."""
        counters = self.counters
        named = {code.value: code.name for code in Rcode}
        rcodes = {named.get(i, f"RCODE{i}"): n for i, n in enumerate(counters.rcodes) if n}
        return {
            "queries": counters.queries,
            "hits": counters.hits,
            "misses": counters.misses,
            "forwarded": counters.forwarded,
            "failed": counters.rcodes[Rcode.SERVFAIL],
            "refused": counters.rcodes[Rcode.REFUSED],
            "dropped": counters.dropped + sum(_drops(port.sock) for port in self.ports),
            "rcodes": rcodes,
        }


def _drops(sock: socket.socket) -> int:
    """Return how many datagrams found no room in a socket."""
    try:
        info = sock.getsockopt(socket.SOL_SOCKET, _MEMINFO, _WORD.size * (_DROPS + 1))
        return int(_WORD.unpack_from(info, _WORD.size * _DROPS)[0])
    except (OSError, struct.error):
        return 0
