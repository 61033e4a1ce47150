"""The sockets of questions that others answer, and how many may be on their way."""

from __future__ import annotations

import socket

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rrset

from netplug.dns.forward import (
    CLIENT_FLIGHTS,
    DOCKER_DEADLINE_S,
    IDLE_S,
    LINE_S,
    RENEW_S,
    SILENT_S,
    STREAMS_NEEDED,
)
from tests.dns.conftest import Rig
from tests.dns.forwarding import NAME, Docker, reply_to, sent


def test_silence_of_docker_is_silence(rig: Rig, docker: Docker) -> None:
    client, _ = rig.client()
    sent(client)
    docker.give_socket()

    rig.later(DOCKER_DEADLINE_S + 0.2)

    assert rig.is_silent(client)
    assert rig.control.clients["c1"].counters.dropped == 1
    assert not rig.control.clients["c1"].forwarder.flights()  # type: ignore[union-attr]


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
