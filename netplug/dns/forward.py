"""Questions that others answer: Docker's resolver in a sandbox, or the resolvers of the host.

A question is passed on, and its answer back, as it is but for the id. Equal questions of a client
at the same time are asked once.
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from netplug.contract.names import Source
from netplug.dns.answer import Reply
from netplug.dns.lines import DatagramLine, Line, SharedLine, StreamLine
from netplug.dns.resolvconf import HostResolvers
from netplug.dns.upstream import RETRY_S, Kept, UpstreamCache
from netplug.dns.wire import Query, Rcode
from netplug.loop import Descriptors, Loop

CLIENT_FLIGHTS = 1024  # questions of a client that wait for others
HOST_FLIGHTS = CLIENT_FLIGHTS // 4  # those of one of several that share a client
# Questions of all clients that take a descriptor each, and how many every client may have anyway.
ALL_FLIGHTS, EVERYBODYS_FLIGHTS = 4096, 16
# A socket to Docker's resolver for one question costs the daemon a visit of the client's namespace.
STREAMS_NEEDED = 4
DEADLINE_S = 5.0  # a stub resolver asks again after that
DOCKER_DEADLINE_S = 13.0  # moby: daemon/libnetwork/resolver.go, 3 upstreams of 4 s; then silence
AGAIN_S = 0.5  # a question that is asked once more after that is passed on once more
STALE_AFTER_S = 1.8  # RFC 8767, section 5
HOST_ATTEMPT_S = 1.5  # then the next resolver of the host is asked
IDLE_S = 30.0
# The way to Docker's resolver is that of a socket's first datagram, which connection tracking keeps
# to: not where it listens when it was started anew. So no socket is kept for long, nor one that
# nothing is heard of; Docker's own patience with an upstream is 4 s.
LINE_S = 30.0
SILENT_S = 4.0
RENEW_S = 1.0  # a socket that refuses is not replaced before

_SWEEP_S = 0.1
_PORT = 53
_TRY_NEXT = frozenset({Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED})  # as glibc does

# What is answered, without the id: None is a failure, and nothing is nothing.
Deliver = Callable[["Waiter", bytes | None, Source], None]
Need = Callable[[str, str, "Forwarder"], int]
# Whether it is a stream, what others are asked, and our name that leads there, if one does: so what
# is put together of both answers is so once for all that wait.
_Key = tuple[bool, bytes, bytes]


@dataclass(slots=True)
class Waiter:
    """Who asked, and how the answer gets there.

    `asked` is what others are asked, `query` what is answered: not the same where a CNAME of ours
    leads to `asked`. Then `reply` is our part of the answer.
    """

    query: Query
    is_stream: bool
    respond: Callable[[bytes], None]
    began_s: float
    asked: Query
    reply: Reply | None = None
    host: str = ""  # which of those that share a client


@dataclass(slots=True, eq=False)
class Flight:
    """A question on its way, and who waits for it."""

    key: _Key
    query: Query
    is_stream: bool
    began_s: float
    stale: Kept | None
    waiters: list[Waiter] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)  # of its own
    number: bytes = b""  # its id on the shared line, and when it was asked there
    asked_s: float = 0.0
    sent_s: float = 0.0
    attempts: int = 0
    attempt_s: float = 0.0
    last_word: bytes | None = None
    request: int = 0  # for the socket of a stream
    is_over: bool = False


class Upstreams:
    """What all forwarders share: the loop, the total of dear flights, the host's resolvers."""

    def __init__(
        self, loop: Loop, descriptors: Descriptors, host: HostResolvers, need: Need
    ) -> None:
        self.loop = loop
        self.descriptors = descriptors
        self.host = host
        self.need = need
        self.dear = 0  # flights that take a descriptor each
        self._busy: set[Forwarder] = set()
        self._is_sweeping = False

    def watch(self, forwarder: Forwarder) -> None:
        """Look after the flights and idle sockets of a forwarder until there are none."""
        self._busy.add(forwarder)
        if not self._is_sweeping:
            self._is_sweeping = True
            self.loop.at(self.loop.now_s + _SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        with ExitStack() as every:  # a bug with one stops neither the others nor the next sweep
            every.callback(self._sweep_again)
            for forwarder in self._busy:
                every.callback(self._sweep_one, forwarder)

    def _sweep_one(self, forwarder: Forwarder) -> None:
        if not forwarder.sweep():
            self._busy.discard(forwarder)

    def _sweep_again(self) -> None:
        self._is_sweeping = bool(self._busy)
        if self._is_sweeping:
            self.loop.at(self.loop.now_s + _SWEEP_S, self._sweep)


class Forwarder:
    """The questions of one client that others answer."""

    def __init__(
        self, upstreams: Upstreams, client_id: str, deliver: Deliver, *, is_docker: bool
    ) -> None:
        self._upstreams = upstreams
        self._loop = upstreams.loop
        self._client_id = client_id
        self._deliver = deliver
        self._is_docker = is_docker
        self._cache = UpstreamCache()
        self._flights: dict[_Key, Flight] = {}
        self._waiters = 0
        self._hosts: Counter[str] = Counter()
        self._dear = 0  # flights that take a descriptor each
        self._shared: SharedLine | None = None
        self._shared_number = 0  # of the request for it, and when that was made
        self._needed_s = 0.0
        self._streams: dict[int, Flight] = {}  # by the request for their sockets
        self._unneeded: deque[Flight] = deque()  # streams whose sockets are not asked for yet

    def ask(self, waiter: Waiter) -> tuple[bytes | None, Source] | None:
        """Return what is known, or None: it is delivered later."""
        now_s, query = self._loop.now_s, waiter.asked
        key = query.upstream_key
        kept = None if query.has_options else self._cache.get(key, now_s)
        if kept is not None and kept.is_fresh(now_s):
            return _as_of(kept, now_s, waiter), Source.CACHE
        if kept is not None and now_s < kept.retry_s:
            return _as_of(kept, now_s, waiter), Source.STALE
        own = b"" if waiter.reply is None else waiter.query.lower
        flight_key = (waiter.is_stream, key, own)
        flight = self._flights.get(flight_key)
        if self._is_full(waiter, is_new=flight is None):
            return (kept.aged(now_s), Source.STALE) if kept else (None, Source.NOBODY)
        self._waiters += 1
        self._hosts[waiter.host] += 1
        if flight is not None:
            flight.waiters.append(waiter)
            self._ask_again(flight)
            return None
        flight = Flight(flight_key, query, waiter.is_stream, now_s, kept, [waiter], sent_s=now_s)
        self._flights[flight_key] = flight
        self._count(flight, 1)
        self._upstreams.watch(self)
        if self._is_docker:
            self._ask_docker(flight)
        else:
            self._ask_host(flight)
        return None

    def take(self, number: int, sock: socket.socket | None) -> bool:
        """Take a socket that was asked for, or that it cannot be had; return whether it is kept."""
        if number == self._shared_number:
            self._shared_number = 0
            return self._take_shared(sock)
        flight = self._streams.pop(number, None)
        self._need_streams()
        if flight is None or flight.is_over:
            return False
        if sock is None:
            self._finish(flight, None)
            return False
        self._upstreams.descriptors.take(1)
        done = partial(self._finish, flight)
        flight.lines.append(StreamLine(self._loop, sock, flight.query, done))
        return True

    def sweep(self) -> bool:
        """Give up what took too long; return whether anything is left to look after."""
        now_s = self._loop.now_s
        deadline_s = DOCKER_DEADLINE_S if self._is_docker else DEADLINE_S
        for flight in list(self._flights.values()):
            if now_s - flight.began_s >= deadline_s:
                self._give_up(flight)
            elif flight.stale and now_s - flight.began_s >= STALE_AFTER_S:
                self._serve_stale(flight, flight.stale)
            elif not self._is_docker and now_s - flight.attempt_s >= HOST_ATTEMPT_S:
                self._ask_host(flight)
        self._need_streams()
        shared = self._shared
        if shared is not None and shared.is_idle and now_s - shared.used_s >= IDLE_S:
            self._close_shared()
        elif shared is not None and (now_s - self._needed_s >= LINE_S or self._is_silent(shared)):
            self._need_shared()
        return bool(self._flights) or self._shared is not None

    def flights(self) -> tuple[Flight, ...]:
        """Return the questions that are on their way."""
        return tuple(self._flights.values())

    def close(self) -> None:
        """Close all sockets; nobody who waits is answered."""
        for flight in list(self._flights.values()):
            self._end(flight)
        self._waiters = 0
        self._hosts.clear()
        self._close_shared()
        self._streams.clear()
        self._unneeded.clear()
        self._shared_number = 0

    def _is_full(self, waiter: Waiter, *, is_new: bool) -> bool:
        """Return whether no more may wait."""
        if waiter.host and self._hosts[waiter.host] >= HOST_FLIGHTS:
            return True
        is_dear = is_new and (waiter.is_stream or not self._is_docker)
        all_are_taken = self._upstreams.dear >= ALL_FLIGHTS and self._dear >= EVERYBODYS_FLIGHTS
        return self._waiters >= CLIENT_FLIGHTS or (is_dear and all_are_taken)

    def _count(self, flight: Flight, change: int) -> None:
        if flight.is_stream or not self._is_docker:
            self._dear += change
            self._upstreams.dear += change

    def _ask_docker(self, flight: Flight) -> None:
        if flight.is_stream:
            self._unneeded.append(flight)
            self._need_streams()
        elif self._shared is not None:
            self._ask_shared(flight, self._shared)
        else:
            self._need_shared()

    def _need_streams(self) -> None:
        """Have sockets for streams, a few at a time."""
        while self._unneeded and len(self._streams) < STREAMS_NEEDED:
            flight = self._unneeded.popleft()
            if not flight.is_over:
                flight.request = self._upstreams.need(self._client_id, "tcp", self)
                self._streams[flight.request] = flight

    def _ask_again(self, flight: Flight) -> None:
        """Send a question once more that is asked once more: it, or its answer, may be lost."""
        now_s = self._loop.now_s
        if now_s - flight.sent_s < AGAIN_S:
            return
        flight.sent_s = now_s
        for line in flight.lines:
            line.again()
        if self._shared is not None and flight.number:
            self._shared.again(flight.number)

    def _need_shared(self) -> None:
        """Have a socket for all questions by UDP, in place of what there is; unless one comes."""
        now_s = self._loop.now_s
        if not self._shared_number or now_s - self._needed_s >= DEADLINE_S:
            self._needed_s = now_s
            self._shared_number = self._upstreams.need(self._client_id, "udp", self)

    def _is_silent(self, shared: SharedLine) -> bool:
        """Return whether nothing was heard since something was asked long ago."""
        until_s = self._loop.now_s - SILENT_S
        return any(
            flight.number and shared.heard_s < flight.asked_s <= until_s
            for flight in self._flights.values()
        )

    def _take_shared(self, sock: socket.socket | None) -> bool:
        """Ask on a new socket what waits for it, and what is not answered on the old one."""
        if sock is not None:
            self._close_shared()
        waiting = [f for f in self._flights.values() if not f.is_stream and not f.number]
        if sock is None:
            for flight in waiting:
                self._finish(flight, None)
            return False
        self._shared = SharedLine(self._loop, sock)
        self._upstreams.descriptors.take(1)
        self._upstreams.watch(self)
        for flight in waiting:
            self._ask_shared(flight, self._shared)
        return True

    def _ask_shared(self, flight: Flight, shared: SharedLine) -> None:
        flight.asked_s = self._loop.now_s
        flight.number = shared.ask(flight.query, lambda wire: self._docker_said(flight, wire))

    def _docker_said(self, flight: Flight, wire: bytes | None) -> None:
        """Take an answer; where nobody listens any more, ask on another socket."""
        if wire is None and self._loop.now_s - self._needed_s >= RENEW_S:
            self._close_shared()
            self._need_shared()
        else:
            self._finish(flight, wire)

    def _close_shared(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None
            for flight in self._flights.values():
                flight.number = b""
            self._upstreams.descriptors.give(1)

    def _ask_host(self, flight: Flight) -> None:
        """Ask the host's next resolver; the earlier ones may still answer, and the first wins.

        When all were asked, and said that they cannot help, what the last said is the answer.
        """
        servers = self._upstreams.host.servers()
        while flight.attempts < len(servers):
            server = servers[flight.attempts]
            flight.attempts += 1
            flight.attempt_s = self._loop.now_s
            sock = self._open(server, is_stream=flight.is_stream)
            if sock is None:
                continue
            self._ask_on(sock, flight)
            return
        if not flight.lines:
            self._loop.at(self._loop.now_s, lambda: self._finish(flight, flight.last_word))

    def _ask_on(self, sock: socket.socket, flight: Flight) -> None:
        kind = StreamLine if flight.is_stream else DatagramLine
        line: Line = kind(
            self._loop, sock, flight.query, lambda wire: self._host_said(flight, line, wire)
        )
        flight.lines.append(line)

    def _open(self, server: str, *, is_stream: bool) -> socket.socket | None:
        if not self._upstreams.descriptors.has(1):
            return None
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind = socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM
        try:
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        except OSError:
            return None
        try:
            sock.connect((server, _PORT))
        except BlockingIOError:
            pass
        except OSError:
            sock.close()
            return None
        self._upstreams.descriptors.take(1)
        return sock

    def _host_said(self, flight: Flight, line: Line, wire: bytes | None) -> None:
        if line not in flight.lines:
            return
        if wire is not None and wire[3] & 0xF not in _TRY_NEXT:
            self._finish(flight, wire)
            return
        flight.last_word = wire or flight.last_word
        self._hang_up(flight, line)
        self._ask_host(flight)

    def _give_up(self, flight: Flight) -> None:
        """End a flight that took too long; Docker's resolver would say nothing then."""
        if self._is_docker and flight.stale is None:
            self._end(flight)
            self._tell(flight, b"", Source.NOBODY)
        else:
            self._finish(flight, flight.last_word)

    def _finish(self, flight: Flight, wire: bytes | None) -> None:
        if flight.is_over:
            return
        self._end(flight)
        now_s = self._loop.now_s
        is_failure = wire is None or wire[3] & 0xF == Rcode.SERVFAIL
        if is_failure and flight.stale is not None:
            flight.stale.retry_s = now_s + RETRY_S
            self._tell(flight, flight.stale.aged(now_s), Source.STALE)
        elif wire is None:
            self._tell(flight, None, Source.NOBODY)
        else:
            self._tell(flight, wire[2:], Source.UPSTREAM)
            if not flight.query.has_options:
                self._cache.put(flight.query.upstream_key, wire, now_s, is_docker=self._is_docker)

    def _serve_stale(self, flight: Flight, stale: Kept) -> None:
        """Answer with what is stale; the flight goes on, so that there is something fresh later."""
        self._tell(flight, stale.aged(self._loop.now_s), Source.STALE)

    def _tell(self, flight: Flight, body: bytes | None, source: Source) -> None:
        waiters, flight.waiters = flight.waiters, []
        self._waiters -= len(waiters)
        for waiter in waiters:
            self._hosts[waiter.host] -= 1
            if not self._hosts[waiter.host]:
                del self._hosts[waiter.host]
        with ExitStack() as every:  # a bug with one does not stop the others
            for waiter in reversed(waiters):
                every.callback(self._deliver, waiter, body, source)

    def _end(self, flight: Flight) -> None:
        """Take a flight out; those who wait are still to be told, or are gone."""
        flight.is_over = True
        self._count(flight, -1)
        self._flights.pop(flight.key, None)
        if self._shared is not None and flight.number:
            self._shared.forget(flight.number)
        self._streams.pop(flight.request, None)
        for line in list(flight.lines):
            self._hang_up(flight, line)

    def _hang_up(self, flight: Flight, line: Line) -> None:
        flight.lines.remove(line)
        line.close()
        self._upstreams.descriptors.give(1)


def _as_of(kept: Kept, now_s: float, waiter: Waiter) -> bytes:
    """Return what is kept with its TTLs as they are now, unless it is too long to be sent."""
    is_too_long = not waiter.is_stream and len(kept.wire) + 2 > waiter.query.size
    return kept.wire if is_too_long else kept.aged(now_s)
