"""A message of a client to its answer, by whichever way that takes.

The hot path, a datagram that was asked before, does not come here: see `netplug.dns.server`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dns.name

from netplug.contract.names import Change, ClientKind, NameClient, Source
from netplug.dns import batch, wire
from netplug.dns.answer import Forward, Question, Refuse, Reply, answer
from netplug.dns.client import DEFAULT_RATE, LOOKED_UP, PARSED, PASSED_ON, STREAMED_ON, Client
from netplug.dns.encode import encode
from netplug.dns.forward import Forwarder, Upstreams, Waiter
from netplug.dns.querylog import NOTED_BYTES, QueryLog
from netplug.dns.scope import Scope, Scopes
from netplug.dns.splice import asked_instead, spliced
from netplug.dns.wire import HEADER_BYTES, STREAM_BYTES, Bad, Query, Rcode
from netplug.dns.zone import Zone, canonical
from netplug.loop import Descriptors, Loop
from netplug.model import NetworkId

CONTENDED_S = 1.0

Respond = Callable[[bytes], None]


class Resolver:
    """Names, clients, and what is kept of answers."""

    def __init__(self, loop: Loop, upstreams: Upstreams) -> None:
        self.loop = loop
        self.zone = Zone()
        self.scopes = Scopes(self.zone)
        self.log = QueryLog()
        self.rate = DEFAULT_RATE
        self.batch = batch.available()  # of all sockets: each has its turn
        self._upstreams = upstreams
        self._latest: Client | None = None  # that had a turn, and when it did
        self._latest_s = self._other_s = -CONTENDED_S  # and when the latest other client did

    @property
    def descriptors(self) -> Descriptors:
        """Return the count of what clients cause."""
        return self._upstreams.descriptors

    def set_domain(self, domain: str) -> None:
        """Set the domain that all names are below."""
        self.zone.domain = canonical(domain)
        self.scopes.reset()

    def change(self, change: Change) -> None:
        """Change names; what is answered from now on is the new state."""
        self.scopes.touch(self.zone.apply(change))

    def open_client(self, spec: NameClient) -> Client:
        """Return a new client."""
        client = Client(spec, self._scope(spec), self.rate)
        client.tokens_s = self.loop.now_s
        self._set_up(client)
        return client

    def change_client(self, client: Client, spec: NameClient) -> None:
        """Change what is said of a client."""
        old, client.scope = client.scope, self._scope(spec)
        self.scopes.close(old)
        client.spec = spec
        self._set_up(client)

    def close_client(self, client: Client) -> None:
        """Forget a client; its ports are the caller's to close."""
        if client.forwarder is not None:
            client.forwarder.close()
            client.forwarder = None
        client.guard = None
        if client is self._latest:
            self._latest = None
        self.scopes.close(client.scope)

    @property
    def is_contended(self) -> bool:
        """Return whether another client than the one that has its turn had one within a second."""
        return self.loop.now_s - self._other_s < CONTENDED_S

    def has_turn(self, client: Client) -> bool:
        """Note that a client has questions, and return whether it may have them answered now."""
        if client is not self._latest:
            self._latest, self._other_s = client, self._latest_s
        self._latest_s = self.loop.now_s
        return client.may_ask(self.loop.now_s, is_contended=self.is_contended)

    def handle(
        self,
        client: Client,
        data: bytes,
        respond: Respond,
        *,
        is_stream: bool = False,
        host: str = "",
    ) -> bytes | None:
        """Return the answer to a message, or None: it comes by `respond`, or not at all.

        At a gateway `host`, who asks, pays for it out of its part of the client's share.
        """
        if client.spec.kind is not ClientKind.GATEWAY:
            return self._handle(client, data, respond, is_stream, "")
        before = client.tokens
        reply = self._handle(client, data, respond, is_stream, host)
        client.may_send(host, self.loop.now_s, before - client.tokens)
        return reply

    def _handle(
        self, client: Client, data: bytes, respond: Respond, is_stream: bool, host: str
    ) -> bytes | None:
        client.counters.queries += 1
        client.tokens -= PARSED
        query = wire.parse(data)
        if query is None:
            return None
        if isinstance(query, Bad):
            return self._done(client, data, query.reply, Source.NOBODY)
        refused = _refused(query)
        if refused is not None:
            reply = wire.refusal(query, refused)
            return self._done(client, data, reply, Source.NOBODY, refused)
        key = query.key
        answers = client.scope.kept(is_stream=is_stream).get(key)
        if answers is not None:
            client.counters.hits += 1
            return self._done(client, data, with_question(next(answers), query), Source.NAMES)
        waiter = Waiter(query, is_stream, respond, self.loop.now_s, asked=query, host=host)
        return self._look_up(client, query, key, waiter)

    def preview(
        self, asker: Client | Sequence[NetworkId], name: str, kind: int
    ) -> Reply | Forward | Refuse:
        """Return what a question would be answered, without asking anybody or counting it."""
        if isinstance(asker, Client):
            outcome = answer(Question(name=name, kind=kind), self.zone, asker.scope.asker)
            is_dead_end = isinstance(outcome, Forward) and self._is_shut_in(asker)
            return Refuse(reason="nothing of this client goes upstream") if is_dead_end else outcome
        return answer(Question(name=name, kind=kind), self.zone, self.scopes.asker(asker))

    def _look_up(self, client: Client, query: Query, key: bytes, waiter: Waiter) -> bytes | None:
        client.tokens -= LOOKED_UP
        client.counters.misses += 1
        question = Question(name=wire.text_of(query.lower), kind=query.kind)
        names: set[str] = set()
        outcome = answer(question, self.zone, client.scope.asker, names)
        if isinstance(outcome, Reply):
            if outcome.outside and self._goes_outside(client, outcome, outcome.outside, waiter):
                return self._forward(client, waiter)
            body = self._encoded(client.scope, outcome, query, key, waiter.is_stream, names)
            return self._done(client, query.data, with_question(body, query), Source.NAMES)
        if isinstance(outcome, Refuse) or self._is_shut_in(client):
            reply = wire.refusal(query, Rcode.REFUSED)
            return self._done(client, query.data, reply, Source.NOBODY)
        return self._forward(client, waiter)

    def _encoded(
        self, scope: Scope, reply: Reply, query: Query, key: bytes, is_stream: bool, names: set[str]
    ) -> bytes:
        wires = encode(reply, query, STREAM_BYTES if is_stream else query.limit)
        # Of names that are not there, there is no end; and what leads outside is answered otherwise
        # for a client that may go there.
        if reply.rcode != Rcode.NOERROR or reply.outside is not None:
            return wires[0]
        return next(self.scopes.keep(scope, key, is_stream, wires, names))

    def _goes_outside(
        self, client: Client, reply: Reply, target: dns.name.Name, waiter: Waiter
    ) -> bool:
        """Have the target of a CNAME asked, if others may be asked for this client."""
        asked = asked_instead(waiter.query, target)
        if asked is None or self._is_shut_in(client):
            return False
        waiter.asked, waiter.reply = asked, reply
        return True

    def _forward(self, client: Client, waiter: Waiter) -> bytes | None:
        assert client.forwarder is not None  # noqa: S101 - for types: the client is not shut in
        client.counters.misses -= 1
        known = client.forwarder.ask(waiter)
        if known is None:
            client.tokens -= (STREAMED_ON if waiter.is_stream else PASSED_ON) - LOOKED_UP
            client.counters.forwarded += 1
            return None
        body, source = known
        if body is not None:
            client.counters.hits += 1
            client.tokens += LOOKED_UP - PARSED
        return self._done(client, waiter.query.data, self._fitted(client, body, waiter), source)

    def _delivered(
        self, client: Client, waiter: Waiter, body: bytes | None, source: Source
    ) -> None:
        """Send an answer that came later; an empty one is none."""
        if body == b"":
            client.counters.dropped += 1
            return
        reply = self._fitted(client, body, waiter)
        took_s = self.loop.now_s - waiter.began_s
        waiter.respond(self._done(client, waiter.query.data, reply, source, took_s=took_s))

    def _fitted(self, client: Client, body: bytes | None, waiter: Waiter) -> bytes:
        """Return what an upstream's answer becomes; who has it put together pays for the time."""
        if waiter.reply is None:
            return _fitting(body, waiter)
        began_s = self.loop.monotonic_s()
        reply = spliced(waiter.reply, waiter.query, body, is_stream=waiter.is_stream)
        client.charge(self.loop.monotonic_s() - began_s)
        return reply

    def _done(
        self,
        client: Client,
        data: bytes,
        reply: bytes,
        source: Source,
        rcode: Rcode | None = None,
        took_s: float = 0.0,
    ) -> bytes:
        """Count an answer, and return it."""
        client.counters.rcodes[reply[3] & 0xF if rcode is None else rcode] += 1
        noted = reply[2 : 2 + NOTED_BYTES]
        self.log.note((self.loop.now_s, client, data, noted, source, took_s))
        self.log.count(1)
        return reply

    def _is_shut_in(self, client: Client) -> bool:
        """Return whether nothing goes upstream: it was said so, or all networks are internal.

        In a sandbox Docker's resolver decides the latter for itself.
        """
        if client.forwarder is None:
            return True
        if client.spec.kind is ClientKind.OVERLAY:
            return False
        networks = [self.zone.network(network_id) for network_id in client.scope.asker.network_ids]
        return bool(networks) and all(network and network.is_internal for network in networks)

    def _scope(self, spec: NameClient) -> Scope:
        is_host = spec.kind is ClientKind.HOST
        return self.scopes.open(spec.network_ids, is_host=is_host, left=spec.left_to_docker)

    def _set_up(self, client: Client) -> None:
        spec = client.spec
        client.guard = self._guard(client)
        forwards = spec.forwards and spec.kind is not ClientKind.HOST
        if forwards and client.forwarder is None:
            client.forwarder = Forwarder(
                self._upstreams,
                spec.id,
                lambda waiter, body, source: self._delivered(client, waiter, body, source),
                is_docker=spec.kind is ClientKind.OVERLAY,
            )
        elif not forwards and client.forwarder is not None:
            client.forwarder.close()
            client.forwarder = None

    def _guard(self, client: Client) -> Callable[[str], bool] | None:
        """Return what tells whether an address may ask; None where the socket tells.

        At a gateway those of the network's endpoints may. At the host's own address only that
        address itself, which is what the host asks from, and which no packet from outside has.
        Source: Linux net/ipv4/fib_frontend.c, __fib_validate_source.
        """
        if client.spec.kind is ClientKind.HOST:
            return frozenset(map(str, client.spec.listen)).__contains__
        if client.spec.kind is not ClientKind.GATEWAY:
            return None

        def may_ask(host: str) -> bool:
            is_ours = any(host in self.zone.addresses(i) for i in client.spec.network_ids)
            return is_ours and client.may_send(host, self.loop.now_s)

        return may_ask


def with_question(body: bytes, query: Query) -> bytes:
    """Return an answer with the id and the name of a question, as it was spelt."""
    end = HEADER_BYTES + len(query.qname)
    if body[10 : end - 2].lower() != query.lower:  # a failure without the question
        return query.data[:2] + body
    return query.data[:2] + body[:10] + query.qname + body[end - 2 :]


def _refused(query: Query) -> Rcode | None:
    if query.version:
        return Rcode.BADVERS
    return None if query.klass == wire.IN else Rcode.REFUSED


def _fitting(body: bytes | None, waiter: Waiter) -> bytes:
    """Return an upstream's answer as it is, or what tells that it does not fit, or failed."""
    query = waiter.query
    if body is None:
        return wire.refusal(query, Rcode.SERVFAIL)
    if not waiter.is_stream and len(body) + 2 > query.size:
        return wire.truncated(query, body[0] << 8 | body[1])
    return with_question(body, query)
