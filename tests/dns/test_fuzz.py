"""Anything may come: a handler that never raises, never answers nonsense, never keeps more."""

from __future__ import annotations

import os
import random
import struct

import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest

from netplug.contract.names import ClientKind, NameClient, Source
from netplug.dns import rdatas, wire
from netplug.dns.answer import Asker, Records, Reply
from netplug.dns.client import Client
from netplug.dns.forward import CLIENT_FLIGHTS
from netplug.dns.lines import is_answer
from netplug.dns.querylog import described
from netplug.dns.scope import SCOPE_ANSWERS, Scope
from netplug.dns.splice import spliced
from netplug.dns.upstream import ENTRIES, UpstreamCache
from tests.dns.conftest import Rig

DATAGRAMS = int(os.environ.get("PYNET_FUZZ_DATAGRAMS", "50000"))

_NAMES = ["web", "www.front", "web.front.pynet", "a.apps", "db", "x.pynet", "example.com", "."]
_NAMES += ["_80._tcp.web", "2.0.0.10.in-addr.arpa", "9.0.0.10.in-addr.arpa", "w" * 63, "a." * 120]


def messages(random_: random.Random, count: int) -> list[bytes]:
    """Return questions, answers, updates and the like, well-formed."""
    made = []
    for _ in range(count):
        kind = random_.choice([1, 28, 12, 33, 16, 255, 252, 6, 65, random_.randrange(1, 65536)])
        message = dns.message.make_query(
            random_.choice(_NAMES),
            dns.rdatatype.RdataType.make(kind),
            random_.choice([1, 1, 1, 1, 1, 3, 255]),
            use_edns=random_.choice([None, 0, 0, 1]),
            payload=random_.randrange(65536),
            want_dnssec=random_.random() < 0.2,
        )
        text = message.to_wire()
        made.append(text)
        if random_.random() < 0.1:
            made.append(dns.message.make_response(message).to_wire())
    return made


def mutated(random_: random.Random, text: bytes) -> bytes:
    """Return a message with something wrong with it, perhaps."""
    data = bytearray(text)
    for _ in range(random_.randrange(4)):
        at = random_.randrange(len(data)) if data else 0
        match random_.randrange(8):
            case 0:
                data = data[:at]
            case 1:
                data[at:at] = random_.randbytes(random_.randrange(40))
            case 2:
                data[at : at + 2] = struct.pack("!H", 0xC000 | random_.randrange(len(data) + 1))
            case 3 if len(data) >= 12:  # counts lie
                struct.pack_into("!H", data, random_.choice([4, 6, 8, 10]), random_.randrange(9))
            case 4:
                data[at : at + 1] = bytes([random_.choice([0, 63, 64, 127, 192, 255])])
            case 5:
                data[at : at + 2] = random_.randbytes(2)
            case 6 if len(data) > 12:
                end = random_.randrange(12, len(data))
                data[12:end] = data[12:end].swapcase()
            case _:
                data += data[at:]
    return bytes(data[:65535])


def check(data: bytes, reply: bytes | None, limit: int) -> None:
    if reply is None:
        return
    assert len(data) >= 4
    assert not data[2] & 0x80
    assert reply[:2] == data[:2]
    assert reply[2] & 0x80
    assert 12 <= len(reply) <= limit


@pytest.mark.timeout(max(20, DATAGRAMS / 1000))
def test_handler_survives_any_datagram_and_keeps_no_more_than_it_may(rig: Rig) -> None:
    rig.client()
    client = rig.control.clients["c1"]
    random_ = random.Random(20261125)
    corpus = messages(random_, 300)
    sent: list[bytes] = []

    for number in range(DATAGRAMS):
        data = mutated(random_, random_.choice(corpus))
        is_stream = number % 8 == 0
        reply = rig.control.resolver.handle(client, data, sent.append, is_stream=is_stream)
        check(data, reply, 65535 if is_stream else wire.LARGEST_BYTES)
        if reply is not None and number % 50 == 0:
            dns.message.from_wire(reply)
        if number % 5000 == 0:
            rig.later(6)
            while not rig.is_silent(rig.daemon):
                pass

    assert client.counters.queries == DATAGRAMS
    assert len(client.scope) <= SCOPE_ANSWERS
    assert rig.control.resolver.descriptors.has(1)
    assert client.counters.rcodes[wire.Rcode.FORMERR]
    rig.later(14)
    forwarder = client.forwarder
    assert forwarder is not None
    assert len(forwarder.flights()) == 0 < CLIENT_FLIGHTS


@pytest.mark.timeout(max(20, DATAGRAMS / 1000))
def test_anything_may_come_from_an_upstream() -> None:
    random_ = random.Random(4)
    query = wire.parse(dns.message.make_query("web.example", "A").to_wire())
    assert isinstance(query, wire.Query)
    reply = dns.message.make_response(dns.message.from_wire(query.data))
    for kind, value in (("CNAME", "x.example."), ("TXT", "text"), ("MX", "1 x."), ("SOA", SOA)):
        reply.answer.append(dns.rrset.from_text("web.example.", 9, "IN", kind, value))
    target = Records(owner=dns.name.root, ttl_s=5, datas=(rdatas.ptr(dns.name.root),))
    ours = Reply(answer=(target,))
    cache = UpstreamCache()

    for number in range(DATAGRAMS // 200):
        body = mutated(random_, reply.to_wire() if number % 100 else reply.to_wire()[:12])
        is_ours = is_answer(body, query)
        if is_ours and len(body) >= 12:
            cache.put(b"%d" % (number % 2000), body, number, is_docker=bool(number % 2))
            kept = cache.get(b"%d" % (number % 2000), number)
            if kept is not None:
                kept.aged(number + 9)
        assert len(spliced(ours, query, body[2:], is_stream=False)) <= 512
        described((0.0, CLIENT, query.data, body[2:], Source.UPSTREAM, 0.0))

    assert len(cache) <= ENTRIES


SOA = "a. b. 1 2 3 4 5"
CLIENT = Client(
    NameClient(id="c", kind=ClientKind.OWN, label="c"), Scope((), Asker(network_ids=())), 1
)
HEADER = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
TAIL = b"\x00\x01\x00\x01"


@pytest.mark.parametrize(
    "data",
    [
        HEADER,
        HEADER[:4],
        HEADER[:11],
        HEADER + b"\xc0\x0c" + TAIL,  # a pointer to itself
        HEADER + b"\x01a\xc0\x0c" + TAIL,  # and one that loops
        HEADER + b"\x40" + b"a" * 64 + b"\0" + TAIL,  # a label that is too long
        HEADER + b"\x3f" + b"a" * 10 + b"\0" + TAIL,  # a length that lies
        HEADER + (b"\x3f" + b"a" * 63) * 4 + b"\0" + TAIL,  # a name that is too long
        HEADER + b"\x03web",
        HEADER + b"\x03web\0\0\1\0",
        HEADER + b"\x03web\0" + TAIL + b"more",
        HEADER[:5] + b"\0" + HEADER[6:],  # no question
        HEADER[:5] + b"\2" + HEADER[6:] + (b"\x03web\0" + TAIL) * 2,
        HEADER[:7] + b"\1" + HEADER[8:] + b"\x03web\0" + TAIL + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4aaaa",
        HEADER[:11] + b"\1" + b"\x03web\0" + TAIL + b"\0\0\x29\x10\0\0\0\0\0\0\x09a",
        HEADER[:11] + b"\2" + b"\x03web\0" + TAIL + b"\0\0\x29\x10\0\0\0\0\0\0\0" * 2,
        HEADER[:11] + b"\1" + b"\x03web\0" + TAIL + b"\1a\0\0\x29\x10\0\0\0\0\0\0\0",
        HEADER[:10] + b"\xff\xff" + b"\x03web\0" + TAIL,
        HEADER + b"a" * 65523,
    ],
)
def test_malformed_question_gets_formerr(data: bytes) -> None:
    outcome = wire.parse(data)

    assert isinstance(outcome, wire.Bad)
    assert outcome.reply == b"\x12\x34\x81\x81" + bytes(8)


@pytest.mark.parametrize("data", [b"", b"\x12", b"\x12\x34\x01", b"\x12\x34\x80\x00" + HEADER])
def test_what_is_no_question_gets_silence(data: bytes) -> None:
    assert wire.parse(data) is None


def test_other_opcodes_are_not_implemented() -> None:
    outcome = wire.parse(HEADER[:2] + b"\x28\x00" + HEADER[4:])

    assert isinstance(outcome, wire.Bad)
    assert outcome.rcode is wire.Rcode.NOTIMP


@pytest.mark.parametrize("name", ["web.front", "a\\.b.c", "\\200x", ""])
def test_text_of_a_name_tells_dots_in_labels_from_those_between(name: str) -> None:
    text = wire.text_of(dns.name.from_text(name).to_wire())

    assert text == name.replace("\\200", "\xc8")


def test_plainest_datagram_is_its_own_key() -> None:
    for edns in (None, 0):
        query = dns.message.make_query("web.front", "AAAA", use_edns=edns, payload=1232).to_wire()
        parsed = wire.parse(query)
        assert isinstance(parsed, wire.Query)
        assert parsed.key == query[2:]
