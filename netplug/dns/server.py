"""UDP: a socket of a client; and the hot path.

A socket has its turn for some datagrams: few at first, twice as many after each turn in which all
of so many were cheap, so that who floods one socket delays the answers of others by a short turn.
While others ask too, turns stay short, and a client's share is a tenth of what it has alone.
Who has spent its share is not read for a moment: what it sends then fills the queue of its own
socket, and is lost there.
"""

from __future__ import annotations

import socket
from functools import partial

from netplug.contract.names import Source
from netplug.dns import batch, wire
from netplug.dns.client import PAUSE_S, Client
from netplug.dns.resolver import Resolver
from netplug.loop import READ

_FEW, _MANY = 4, batch.DATAGRAMS  # a turn
_CONTENDED = 16  # a turn while others ask too
_SINGLE = 16  # a turn where each has its own system calls; 110 us of hits
_CUT_BYTES = wire.HEADER_BYTES - 1


class UdpPort:
    """A bound socket, and the client that is behind it."""

    __slots__ = ("_client", "_handle", "_is_open", "_most", "_resolver", "sock")

    def __init__(self, resolver: Resolver, client: Client, sock: socket.socket) -> None:
        self.sock = sock
        self._client = client
        self._resolver = resolver
        self._is_open = True
        self._most = _FEW
        many = resolver.batch is not None and client.guard is None and sock.family == socket.AF_INET
        self._handle = self._receive_many if many else self._receive_each
        sock.setblocking(False)
        resolver.loop.watch(sock.fileno(), READ, self._handle)

    def _receive_many(self, _: int) -> None:
        """Answer some of what is waiting, of any who may ask; hits first."""
        client, now_s, slots = self._client, self._resolver.loop.now_s, self._resolver.batch
        assert slots is not None  # noqa: S101 - for types: else this is not the handler
        if not self._resolver.has_turn(client):
            self._pause()
            return
        most = min(self._most, _CONTENDED) if self._resolver.is_contended else self._most
        fd = self.sock.fileno()
        sizes = slots.receive(fd, most)
        memory, answer_sizes = slots.slots, slots.answer_sizes
        find, note, names = client.scope.datagrams.get, self._resolver.log.note, Source.NAMES
        misses: list[tuple[int, bytes]] = []
        at = number = first = 0
        for size in sizes:
            data = memory[at : at + size]
            answers = find(data[2:])
            if answers is None:
                misses.append((number, data))
                slots.send(fd, first, number)
                first = number + 1
            else:
                answer = next(answers)
                note((now_s, client, data, answer, names, 0.0))
                size = len(answer) + 2
                memory[at + 2 : at + size] = answer
                answer_sizes[number] = size
            at += batch.SLOT_BYTES
            number += 1
        slots.send(fd, first, number)
        if hits := number - len(misses):
            self._count(hits)
        if misses:
            self._most = _FEW
            self._answer_misses(slots, misses)
        elif number == most:
            self._most = min(2 * most, _MANY)

    def _receive_each(self, _: int) -> None:
        """Answer some of what is waiting, of those who may ask."""
        client, now_s = self._client, self._resolver.loop.now_s
        if not self._resolver.has_turn(client):
            self._pause()
            return
        receive, send = self.sock.recvfrom, self.sock.sendto
        find, guard = client.scope.datagrams.get, client.guard
        note, names = self._resolver.log.note, Source.NAMES
        hits = 0
        try:
            for _datagram in range(_SINGLE):
                data, asker = receive(wire.LARGEST_BYTES)
                answers = find(data[2:])
                if answers is None or (guard is not None and not guard(asker[0])):
                    self._answer(data, asker)
                    break
                answer = next(answers)
                note((now_s, client, data, answer, names, 0.0))
                hits += 1
                send(data[:2] + answer, asker)
        except OSError:  # nothing is waiting, or an answer has no room or nobody to go to
            pass
        self._count(hits)

    def close(self) -> None:
        """Close the socket."""
        if self._is_open:
            self._is_open = False
            self._resolver.loop.discard(self.sock)

    def _count(self, hits: int) -> None:
        """Count answers that were kept; none but those of names that are there are."""
        counters = self._client.counters
        self._client.tokens -= hits
        counters.queries += hits
        counters.hits += hits
        counters.rcodes[wire.Rcode.NOERROR] += hits
        self._resolver.log.count(hits)

    def _answer_misses(self, slots: batch.Batch, misses: list[tuple[int, bytes]]) -> None:
        for number, data in misses:
            # What is longer than any question of use is malformed, which its first bytes suffice
            # to tell.
            question = data[:_CUT_BYTES] if slots.is_cut(number) else data
            self._answer(question, slots.asker(number))

    def _answer(self, data: bytes, asker: tuple[str, int]) -> None:
        guard = self._client.guard
        if guard is not None and not guard(asker[0]):
            reply = self._turned_away(data)
        else:
            respond = partial(self._send, asker)
            reply = self._resolver.handle(self._client, data, respond, host=asker[0])
        if reply is not None:
            self._send(asker, reply)

    def _turned_away(self, data: bytes) -> bytes | None:
        """Refuse a question of who may not ask here."""
        self._client.counters.queries += 1
        self._client.tokens -= 1
        if len(data) < 4 or data[2] & 0x80:
            return None
        self._client.counters.rcodes[wire.Rcode.REFUSED] += 1
        return wire.failure(data, wire.Rcode.REFUSED)

    def _send(self, asker: tuple[str, int], reply: bytes) -> None:
        """Send an answer, now or later; it is lost if the socket does not take it."""
        if self._is_open:
            try:
                self.sock.sendto(reply, asker)
            except OSError:
                return

    def _pause(self) -> None:
        loop = self._resolver.loop
        loop.watch(self.sock.fileno(), 0, self._handle)
        loop.at(loop.now_s + PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._is_open:
            self._resolver.loop.watch(self.sock.fileno(), READ, self._handle)
