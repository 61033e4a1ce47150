"""Questions that the resolvers of the host answer, which the test is."""

from __future__ import annotations

import socket
import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest

from netplug.dns import forward
from netplug.dns.forward import (
    DEADLINE_S,
    EVERYBODYS_FLIGHTS,
)
from tests.dns.conftest import Rig
from tests.dns.forwarding import NAME, Docker, reply_to, say, sent


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
