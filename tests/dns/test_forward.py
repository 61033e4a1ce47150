"""Questions that others answer: the test is Docker's resolver, or the host's."""

from __future__ import annotations

import socket
import struct
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest

from netplug.dns import forward
from netplug.dns.forward import (
    CLIENT_FLIGHTS,
    DEADLINE_S,
    DOCKER_DEADLINE_S,
    EVERYBODYS_FLIGHTS,
    IDLE_S,
    LINE_S,
    RENEW_S,
    SILENT_S,
    STALE_AFTER_S,
    STREAMS_NEEDED,
)
from netplug.dns.splice import _both
from netplug.dns.upstream import RETRY_S
from tests.dns.conftest import Rig

NAME = "example.com."


class Docker:
    """Docker's resolver, as far as it is seen through sockets that the daemon opens."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.sock = rig.bound()
        self.asker: Any = None

    def give_socket(self) -> None:
        need = self.rig.heard()
        assert (need["need"], need["transport"]) == ("forwarder", "udp")
        sock = self.rig.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.connect(self.sock.getsockname())
        self.rig.tell({"forwarder": need["number"]}, (sock,))

    def heard(self) -> bytes:
        text, self.asker = self.rig.until(lambda: self.sock.recvfrom(65536))
        return text

    def say(self, text: bytes) -> None:
        self.sock.sendto(text, self.asker)

    def answer(self, *records: str, rcode: int = 0, ttl: int = 100) -> dns.message.Message:
        """Answer the next question."""
        query = dns.message.from_wire(self.heard())
        reply = reply_to(query, *records, rcode=rcode, ttl=ttl)
        self.say(reply.to_wire())
        return query


def reply_to(
    query: dns.message.Message, *records: str, rcode: int = 0, ttl: int = 100
) -> dns.message.Message:
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(rcode)  # type: ignore[arg-type]
    name = query.question[0].name
    for record in records:
        kind, _, value = record.partition(" ")
        section = reply.authority if kind == "SOA" else reply.answer
        section.append(dns.rrset.from_text(name, ttl, "IN", kind, value))
    return reply


@pytest.fixture
def docker(rig: Rig) -> Docker:
    return Docker(rig)


def sent(client: socket.socket, name: str = NAME, kind: str = "A", **how: Any) -> bytes:
    text = dns.message.make_query(name, kind, **how).to_wire()
    client.send(text)
    return text


def test_question_and_answer_pass_unchanged_but_for_the_id(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    option = dns.edns.GenericOption(65001, b"odd")
    text = sent(client, "eXample.COM", "TYPE4711", use_edns=0, payload=3000, options=[option])
    docker.give_socket()

    passed_on = docker.heard()
    reply = reply_to(dns.message.from_wire(passed_on), "TYPE4711 \\# 3 abcdef").to_wire() + b""
    docker.say(reply)

    assert passed_on[2:] == text[2:]
    assert rig.until(lambda: client.recv(65536)) == text[:2] + reply[2:]


def test_answer_is_kept_for_its_ttl_and_grows_older(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    assert rig.answer(client).answer[0].ttl == 100

    rig.later(60)
    sent(client, "EXAMPLE.com")

    reply = rig.answer(client)
    assert (reply.answer[0].ttl, str(reply.question[0].name)) == (40, "EXAMPLE.com.")
    assert rig.control.clients["c1"].counters.hits == 1


def test_other_clients_do_not_get_what_is_kept(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    other, _ = rig.client("c2")
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    rig.answer(client)

    sent(other)

    assert rig.heard()["client"] == "c2"


@pytest.mark.parametrize(
    ("name", "records", "rcode", "ttl"),
    [
        (NAME, ("A 192.0.2.1",), 0, 600),  # a name that only dockerd has
        (NAME, ("A 192.0.2.1",), 0, 0),
        (NAME, (), 2, 0),
        (NAME, (), 3, 0),  # without a SOA
        (NAME, ("SOA a. b. 1 1 1 1 50",), 3, 50),  # dockerd may have it the next moment
        (NAME, ("SOA a. b. 1 1 1 1 50",), 0, 50),
    ],
)
def test_what_may_not_be_kept_is_asked_again(
    rig: Rig, docker: Docker, name: str, records: tuple[str, ...], rcode: int, ttl: int
) -> None:
    client, _ = rig.client()
    sent(client, name)
    docker.give_socket()
    for _ in range(2):
        docker.answer(*records, rcode=rcode, ttl=ttl)
        assert rig.answer(client).rcode() == rcode
        sent(client, name)
    assert docker.heard()


@pytest.mark.parametrize("records", [["NULL \\# 0"] * 65, ["TXT " + '"' + "x" * 250 + '"'] * 17])
def test_fat_answer_is_passed_on_but_not_kept(rig: Rig, docker: Docker, records: list[str]) -> None:
    client, _ = rig.client()
    sent(client, NAME, "ANY", use_edns=0, payload=4096)
    docker.give_socket()
    query = dns.message.from_wire(docker.heard())
    reply = reply_to(query)
    for number, record in enumerate(records):
        kind, _, value = record.partition(" ")
        owner = dns.name.from_text(f"x{number}.example.com")
        reply.answer.append(dns.rrset.from_text(owner, 100, "IN", kind, value))

    docker.say(reply.to_wire(max_size=65535))

    assert rig.answer(client).rcode() == 0
    sent(client, NAME, "ANY", use_edns=0, payload=4096)
    assert docker.heard()


def test_nothing_is_kept_for_half_a_minute_at_most(rig: Rig, hosts: list[socket.socket]) -> None:
    client, _ = rig.client(kind="own")
    sent(client)
    say(rig, hosts[0], "SOA a. b. 1 1 1 1 5000", rcode=3)
    rig.answer(client)

    rig.later(29)
    assert rig.ask(client, NAME).rcode() == 3
    rig.later(2)
    sent(client)

    assert rig.until(lambda: hosts[0].recv(9999))


def test_equal_questions_are_asked_once(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    for number in range(5):
        sent(client, NAME if number % 2 else NAME.upper(), id=number)
    docker.give_socket()

    docker.answer("A 192.0.2.1")

    assert {rig.answer(client).id for _ in range(5)} == set(range(5))
    assert rig.is_silent(docker.sock)


def test_silence_of_docker_is_silence(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()

    rig.later(DOCKER_DEADLINE_S + 0.2)

    assert rig.is_silent(client)
    assert rig.control.clients["c1"].counters.dropped == 1
    assert not rig.control.clients["c1"].forwarder.flights()  # type: ignore[union-attr]


def test_answer_of_docker_may_take_long(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()

    for _ in range(12):
        rig.later(1)
    docker.answer("A 192.0.2.1")

    assert rig.answer(client).answer


@pytest.mark.parametrize("kind", ["overlay", "own"])
def test_question_that_is_asked_again_is_passed_on_again(
    rig: Rig, docker: Docker, hosts: list[socket.socket], kind: str
) -> None:
    client, _ = rig.client(kind=kind)
    text = sent(client)
    if kind == "overlay":
        docker.give_socket()
    other = docker.sock if kind == "overlay" else hosts[0]
    lost = rig.until(lambda: other.recv(9999))
    client.send(text)
    assert rig.is_silent(other)

    rig.later(1)
    client.send(text)
    query, asker = rig.until(lambda: other.recvfrom(9999))
    other.sendto(reply_to(dns.message.from_wire(query), "A 192.0.2.1").to_wire(), asker)

    assert query == lost
    assert [rig.answer(client).rcode() for _ in range(3)] == [0, 0, 0]


def test_stale_answer_is_better_than_none_and_replaced_by_a_late_one(
    rig: Rig, docker: Docker
) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    rig.answer(client)
    rig.later(1000)
    sent(client)
    docker.give_socket()
    assert rig.is_silent(client)

    rig.later(STALE_AFTER_S + 0.2)
    reply = rig.answer(client)
    docker.answer("A 192.0.2.2")
    rig.turns()

    assert (str(reply.answer[0][0]), reply.answer[0].ttl) == ("192.0.2.1", 30)
    assert str(rig.ask(client, NAME).answer[0][0]) == "192.0.2.2"


def test_after_a_failure_the_stale_answer_is_given_at_once_for_a_while(
    rig: Rig, docker: Docker
) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    rig.answer(client)
    rig.later(101)
    sent(client)
    docker.give_socket()
    docker.answer(rcode=2)

    assert rig.answer(client).answer[0].ttl == 30
    assert rig.ask(client, NAME).answer[0].ttl == 30
    rig.later(RETRY_S + 1)
    sent(client)
    docker.give_socket()
    assert docker.heard()


def test_forged_answers_are_not_taken(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    query = docker.heard()
    good = reply_to(dns.message.from_wire(query), "A 192.0.2.1").to_wire()
    wrong_id = bytes([good[0] ^ 1]) + good[1:]
    wrong_name = good.replace(b"example", b"exemple")
    for forged in (wrong_id, wrong_name, query, good[:11], b"", good[:2]):
        docker.say(forged)
    assert rig.is_silent(client)

    docker.say(good)

    assert rig.answer(client).answer


def test_nobody_there_is_a_failure_at_once(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    docker.sock.close()
    sent(client)
    need = rig.heard()
    free = rig.bound()
    address = free.getsockname()
    free.close()
    sock = rig.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.connect(address)

    rig.tell({"forwarder": need["number"]}, (sock,))

    assert rig.answer(client).rcode() == 2


def test_socket_that_cannot_be_had_is_a_failure(rig: Rig) -> None:
    client, _ = rig.client()
    sent(client)

    rig.tell({"forwarder": rig.heard()["number"], "error": "the namespace is gone"})

    assert rig.answer(client).rcode() == 2


def test_idle_socket_is_given_up(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1", ttl=0)
    rig.answer(client)

    rig.later(IDLE_S + 1)
    sent(client)

    assert rig.heard()["need"] == "forwarder"


def test_client_with_too_many_questions_on_their_way_is_told_so(rig: Rig) -> None:
    client, _ = rig.client()
    for number in range(CLIENT_FLIGHTS):
        sent(client, f"x{number}.example")
        rig.turns(1)

    assert rig.ask(client, "one.more.example").rcode() == 2
    rig.tell({"forget": "c1"})
    assert rig.control.clients == {}


def test_stale_answer_is_better_than_being_told_so(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    rig.answer(client)
    rig.later(101)
    for number in range(CLIENT_FLIGHTS):
        sent(client, f"x{number}.example")
        rig.turns(1)

    assert rig.ask(client, NAME).answer[0].ttl == 30


def test_clients_that_take_all_flights_leave_every_other_some(
    rig: Rig, hosts: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "ALL_FLIGHTS", 40)
    greedy, _ = rig.client(kind="own")
    other, _ = rig.client("c2", kind="own")
    docker, _ = rig.client("c3")
    for number in range(40):
        sent(greedy, f"x{number}.example")
        rig.turns(1)
    assert rig.ask(greedy, NAME).rcode() == 2

    for number in range(EVERYBODYS_FLIGHTS):
        sent(other, f"x{number}.example")
        assert rig.is_silent(other)
    assert rig.ask(other, NAME).rcode() == 2
    sent(docker)
    assert rig.heard()["need"] == "forwarder"
    rig.tell({"forget": "c1"})
    assert rig.control.resolver._upstreams.dear == EVERYBODYS_FLIGHTS


def test_late_socket_is_closed(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    number = rig.heard()["number"]
    rig.tell({"forget": "c1"})
    ours, theirs = socket.socketpair()

    rig.tell({"forwarder": number}, (theirs,))
    theirs.close()
    rig.keep(ours)

    assert rig.until(lambda: ours.recv(9)) == b""


def test_question_by_tcp_is_passed_on_by_tcp(rig: Rig) -> None:
    _, port = rig.client()
    upstream = rig.bound(socket.SOCK_STREAM)
    stream = rig.connected(port)
    text = dns.message.make_query(NAME, "A").to_wire()
    stream.send(len(text).to_bytes(2) + text)
    need = rig.heard()
    assert need["transport"] == "tcp"
    rig.tell({"forwarder": need["number"]}, (rig.connected(upstream),))
    server, _ = rig.until(upstream.accept)
    rig.keep(server)
    asked = rig.until(lambda: server.recv(999))

    reply = reply_to(dns.message.from_wire(asked[2:]), *(f"A 10.9.{i}.1" for i in range(60)))
    wire = reply.to_wire()
    server.send(len(wire).to_bytes(2) + wire)

    received = rig.until(lambda: stream.recv(65536))
    assert received[2:] == text[:2] + wire[2:]
    client, _ = rig.client("c1")  # over UDP the same does not fit
    assert rig.ask(client, NAME).flags & dns.flags.TC


def test_questions_by_tcp_get_sockets_a_few_at_a_time(rig: Rig) -> None:
    _, port = rig.client()
    stream = rig.connected(port)
    before = rig.control.clients["c1"].tokens
    for number in range(STREAMS_NEEDED + 2):
        text = dns.message.make_query(f"x{number}.example", "A").to_wire()
        stream.send(len(text).to_bytes(2) + text)
    numbers = [rig.heard()["number"] for _ in range(STREAMS_NEEDED)]
    assert rig.is_silent(rig.daemon)
    assert before - rig.control.clients["c1"].tokens > 2000

    rig.tell({"forwarder": numbers[0], "error": "it is gone"})

    assert rig.heard()["transport"] == "tcp"
    assert rig.is_silent(rig.daemon)
    rig.later(DOCKER_DEADLINE_S + 0.2)
    for number in numbers[1:]:
        rig.tell({"forwarder": number, "error": "it is gone"})
    assert rig.is_silent(rig.daemon)


@pytest.fixture
def hosts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Two resolvers of the host."""
    first = rig.bound()
    port = first.getsockname()[1]
    second = rig.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    second.bind(("127.0.0.2", port))
    monkeypatch.setattr(forward, "_PORT", port)
    rig.resolv_conf.write_text("search x\nnameserver 127.0.0.1\nnameserver 127.0.0.2 # second\n")
    return [first, second]


def say(rig: Rig, server: socket.socket, *records: str, rcode: int = 0) -> None:
    text, asker = rig.until(lambda: server.recvfrom(9999))
    reply = reply_to(dns.message.from_wire(text), *records, rcode=rcode)
    server.sendto(reply.to_wire(), asker)


@pytest.mark.parametrize("kind", ["own", "gateway"])
def test_host_resolvers_are_asked_in_turn(rig: Rig, hosts: list[socket.socket], kind: str) -> None:
    client, _ = rig.client(kind=kind)
    rig.put({"endpoint": {"id": "me", "network_id": "n1", "names": [], "addresses": ["127.0.0.1"]}})
    sent(client)
    say(rig, hosts[0], rcode=5)

    say(rig, hosts[1], "A 192.0.2.1")

    assert str(rig.answer(client).answer[0][0]) == "192.0.2.1"


def test_silent_host_resolver_is_passed_over(rig: Rig, hosts: list[socket.socket]) -> None:
    client, _ = rig.client(kind="own")
    sent(client)
    rig.turns()

    rig.later(1.6)
    say(rig, hosts[1], "A 192.0.2.1")

    assert rig.answer(client).answer


def test_slow_host_resolver_may_answer_after_the_next_was_asked(
    rig: Rig, hosts: list[socket.socket]
) -> None:
    client, _ = rig.client(kind="own")
    sent(client)
    for _ in range(4):
        rig.later(1)
    say(rig, hosts[1], rcode=2)
    assert rig.is_silent(client)

    say(rig, hosts[0], "A 192.0.2.1")

    assert rig.answer(client).answer
    assert rig.control.resolver.descriptors.has(1000 - 2)


def test_host_resolvers_that_are_all_silent_fail_at_the_deadline(
    rig: Rig, hosts: list[socket.socket]
) -> None:
    client, _ = rig.client(kind="own")
    sent(client)
    rig.turns()
    for _ in range(4):
        rig.later(1)
    assert rig.is_silent(client)

    rig.later(1.2)

    assert rig.answer(client).rcode() == 2
    assert rig.control.resolver.descriptors.has(1000 - 2)


def test_refusal_by_all_is_the_answer(rig: Rig, hosts: list[socket.socket]) -> None:
    client, _ = rig.client(kind="own")
    sent(client)

    for server in hosts:
        say(rig, server, rcode=5)

    assert rig.answer(client).rcode() == 5


def test_names_do_not_leave_internal_networks(rig: Rig, hosts: list[socket.socket]) -> None:
    rig.put({"network": {"id": "n1", "name": "front", "is_internal": True}})
    client, _ = rig.client(kind="own")

    assert rig.ask(client, NAME).rcode() == 5
    assert rig.is_silent(hosts[0])


def test_that_there_is_no_single_label_is_not_kept(rig: Rig, hosts: list[socket.socket]) -> None:
    client, _ = rig.client(kind="own")
    for _ in range(2):
        sent(client, "single.")
        say(rig, hosts[0], "SOA a. b. 1 1 1 1 50", rcode=3)
        assert rig.answer(client).rcode() == 3


def test_our_own_address_for_the_host_is_no_resolver_for_others(
    rig: Rig, hosts: list[socket.socket]
) -> None:
    rig.client("host", kind="host", listen=["127.0.0.1"])
    client, _ = rig.client(kind="own")
    sent(client, "db.back")
    say(rig, hosts[1], rcode=3)
    assert rig.answer(client).rcode() == 3
    assert rig.is_silent(hosts[0])

    rig.tell({"forget": "host"})
    sent(client, "db.back")

    assert rig.until(lambda: hosts[0].recv(9999))


def test_changed_resolv_conf_is_read_again(rig: Rig, hosts: list[socket.socket]) -> None:
    client, _ = rig.client(kind="own")
    sent(client)
    say(rig, hosts[0], "A 192.0.2.1")
    rig.answer(client)
    rig.resolv_conf.write_text("nameserver 127.0.0.2\n")

    rig.later(2)
    sent(client, "other.example")
    say(rig, hosts[1], "A 192.0.2.2")

    assert str(rig.answer(client).answer[0][0]) == "192.0.2.2"


def test_cname_of_ours_that_leads_outside_is_answered_with_what_is_there(
    rig: Rig, docker: Docker
) -> None:
    record = {"network_id": "n1", "name": "away", "kind": "CNAME", "values": ["example.com."]}
    rig.put({"record": record})
    client, _ = rig.client()
    sent(client, "Away.Front")
    docker.give_socket()
    query = docker.answer("A 192.0.2.1")

    reply = rig.answer(client)

    assert str(query.question[0].name) == NAME
    assert str(reply.question[0].name) == "Away.Front."
    lines = [line for rrset in reply.answer for line in rrset.to_text().splitlines()]
    assert lines == ["Away.Front. 5 IN CNAME example.com.", "example.com. 100 IN A 192.0.2.1"]
    assert len(rig.ask(client, "away").answer) == 2  # from what is kept of theirs


def test_cname_of_ours_that_leads_outside_fails_with_it(rig: Rig, docker: Docker) -> None:
    record = {"network_id": "n1", "name": "away", "kind": "CNAME", "values": ["example.com."]}
    rig.put({"record": record})
    shut_in, _ = rig.client("c2", forwards=False)
    client, _ = rig.client()
    assert str(rig.ask(shut_in, "away").answer[0][0]) == NAME

    sent(client, "away")
    docker.give_socket()
    docker.answer(rcode=2)

    assert rig.answer(client).rcode() == 2


@pytest.mark.parametrize(
    ("flags", "counts", "rest"),
    [(b"\x81\x83", (0, 0, 0, 0), b""), (b"\x81\x80", (1, 1, 0, 0), b"\0\0\x29\x04\xd0" + bytes(6))],
    ids=["a header that is NXDOMAIN", "an answer that is an OPT"],
)
def test_odd_answers_are_no_end_of_the_waiting(
    rig: Rig,
    hosts: list[socket.socket],
    flags: bytes,
    counts: tuple[int, int, int, int],
    rest: bytes,
) -> None:
    client, _ = rig.client(kind="own")
    sent(client)
    text, asker = rig.until(lambda: hosts[0].recvfrom(9999))
    question = text[12:] if counts[0] else b""

    odd = text[:2] + flags + struct.pack("!HHHH", *counts) + question + rest
    hosts[0].sendto(odd, asker)
    rig.turns()
    rig.later(DEADLINE_S + 0.2)

    rig.until(lambda: client.recv(9999))
    assert not list(rig.control.clients["c1"].forwarder.flights())  # type: ignore[union-attr]


def test_bug_with_one_who_waits_stops_neither_the_others_nor_the_sweep(
    rig: Rig, hosts: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = rig.client(kind="own")
    sent(client, id=1)
    sent(client, id=2)
    rig.turns()
    flight = rig.control.clients["c1"].forwarder.flights()[0]  # type: ignore[union-attr]
    flight.waiters[0].respond = lambda _: 1 / 0  # type: ignore[assignment]

    with pytest.raises(ZeroDivisionError):
        rig.later(DEADLINE_S + 0.2)

    assert rig.answer(client).id == 2
    sent(client, id=3)
    rig.turns()
    rig.later(DEADLINE_S + 0.2)
    assert rig.answer(client).id == 3


def test_cname_of_ours_that_leads_to_a_fat_answer_is_not_taken_apart(
    rig: Rig, docker: Docker
) -> None:
    record = {"network_id": "n1", "name": "away", "kind": "CNAME", "values": ["example.com."]}
    rig.put({"record": record})
    client, _ = rig.client()
    sent(client, "away", use_edns=0, payload=4096)
    docker.give_socket()
    docker.answer(*(f"A 10.9.{i}.1" for i in range(65)))

    reply = rig.answer(client)

    assert reply.flags & dns.flags.TC
    assert not reply.answer


def test_answer_of_ours_and_others_is_put_together_once_for_all_that_wait(
    rig: Rig, docker: Docker
) -> None:
    names = ["away", "gone"]
    for name in names:
        record = {"network_id": "n1", "name": name, "kind": "CNAME", "values": ["example.com."]}
        rig.put({"record": record})
    client, _ = rig.client()
    _both.cache_clear()
    for number in range(20):
        sent(client, ["away", "aWay", "gone", "goNE"][number % 4], id=number)
    docker.give_socket()

    for _ in names:
        docker.answer("A 192.0.2.1")

    replies = [rig.answer(client) for _ in range(20)]
    assert {reply.id for reply in replies} == set(range(20))
    assert {str(reply.answer[0].name) for reply in replies} == {"away.", "aWay.", "gone.", "goNE."}
    assert _both.cache_info().misses == 2


def test_socket_that_nothing_is_heard_of_is_replaced_and_the_question_asked_again(
    rig: Rig, docker: Docker
) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.heard()
    restarted = Docker(rig)

    rig.later(SILENT_S + 0.1)
    restarted.give_socket()
    restarted.answer("A 192.0.2.1")

    assert rig.answer(client).answer
    rig.later(SILENT_S + 0.1)
    assert rig.is_silent(rig.daemon)


def test_socket_that_refuses_is_replaced_and_the_question_asked_again(
    rig: Rig, docker: Docker
) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    rig.answer(client)
    rig.later(RENEW_S)
    docker.sock.close()
    restarted = Docker(rig)

    sent(client, "other.example.com")
    restarted.give_socket()
    restarted.answer("A 192.0.2.2")

    assert str(rig.answer(client).answer[0][0]) == "192.0.2.2"


def test_busy_socket_is_replaced_after_a_while(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client, "x0.example.com")
    docker.give_socket()
    docker.answer("A 192.0.2.1")
    for number in range(1, int(LINE_S) + 1):
        rig.later(1)
        sent(client, f"x{number}.example.com")
        docker.answer("A 192.0.2.1")
    sent(client)
    docker.heard()
    restarted = Docker(rig)

    rig.later(0.2)
    restarted.give_socket()
    restarted.answer("A 192.0.2.9")

    replies = [rig.answer(client) for _ in range(int(LINE_S) + 2)]
    assert str(replies[-1].answer[0][0]) == "192.0.2.9"
    assert rig.control.resolver.descriptors.has(1000 - 3)
