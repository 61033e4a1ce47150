"""Datagrams through the relay: each client's answers find it, from where it had asked."""

from __future__ import annotations

import socket

import pytest

from netplug.relay.udp import IDLE_S
from tests.relay.conftest import Rig

DATAGRAM = socket.SOCK_DGRAM


def ask(rig: Rig, client: socket.socket, target: socket.socket, text: bytes) -> object:
    """Send through the relay; return whom the target sees."""
    client.send(text)
    received, asker = rig.until(lambda: target.recvfrom(65536))
    assert received == text
    return asker


@pytest.mark.parametrize(
    ("binds", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "127.7.7.7"),
        ("::1", "::1"),
        ("::", "::1"),
    ],
)
def test_answer_comes_from_the_address_that_was_asked(rig: Rig, binds: str, asked: str) -> None:
    port, target = rig.bound(DATAGRAM, binds), rig.bound(DATAGRAM)
    rig.add([port], target)
    client = rig.connected(port, asked)  # takes datagrams of its peer only

    target.sendto(b"answer", ask(rig, client, target, b"question"))

    assert rig.until(lambda: client.recv(99)) == b"answer"


def test_each_client_gets_its_own_answers(rig: Rig) -> None:
    port, target = rig.bound(DATAGRAM), rig.bound(DATAGRAM, "::1")
    rig.add([port], target)
    clients = [rig.connected(port) for _ in range(3)]

    askers = [ask(rig, client, target, b"question") for client in clients]
    for number, asker in enumerate(askers):
        target.sendto(b"answer %d" % number, asker)

    answers = [rig.until(lambda c=client: c.recv(99)) for client in clients]
    assert answers == [b"answer 0", b"answer 1", b"answer 2"]


def test_client_is_the_same_asker_while_it_talks(rig: Rig) -> None:
    port, target = rig.bound(DATAGRAM), rig.bound(DATAGRAM)
    rig.add([port], target)
    client = rig.connected(port)
    asker = ask(rig, client, target, b"question")

    for _ in range(3):
        rig.now_s += IDLE_S - 2
        rig.turns(2)
        assert ask(rig, client, target, b"again") == asker


def test_client_that_is_silent_is_forgotten_and_may_come_back(rig: Rig) -> None:
    port, target = rig.bound(DATAGRAM), rig.bound(DATAGRAM)
    rig.add([port], target)
    client = rig.connected(port)
    asker = ask(rig, client, target, b"question")

    rig.now_s += IDLE_S + 1
    rig.turns(3)
    target.sendto(b"nobody is there", asker)
    target.sendto(b"answer", ask(rig, client, target, b"again"))

    assert rig.until(lambda: client.recv(99)) == b"answer"


def test_when_full_the_longest_silent_client_makes_room(small_rig: Rig) -> None:
    rig = small_rig
    port, target = rig.bound(DATAGRAM), rig.bound(DATAGRAM)
    rig.add([port], target)
    clients = [rig.connected(port) for _ in range(3)]
    first, second, third = clients

    asker = {client: ask(rig, client, target, b"question") for client in (first, second)}
    again = ask(rig, first, target, b"again")
    asker[third] = ask(rig, third, target, b"question")

    assert again == asker[first]
    assert ask(rig, first, target, b"still there") == asker[first]


def test_flood_of_clients_of_one_port_drives_out_none_of_another(rig: Rig) -> None:
    quiet, flooded, target = (rig.bound(DATAGRAM) for _ in range(3))
    rig.add([quiet], target, number=1)
    rig.add([flooded], target, number=2)
    client = rig.connected(quiet)
    asker = ask(rig, client, target, b"question")

    for _ in range(110):
        ask(rig, rig.connected(flooded), target, b"me too")

    assert ask(rig, client, target, b"still there") == asker


@pytest.mark.parametrize("size", [0, 1, 1400, 65507])
def test_datagram_of_any_size_arrives(rig: Rig, size: int) -> None:
    port, target = rig.bound(DATAGRAM), rig.bound(DATAGRAM)
    rig.add([port], target)
    client = rig.connected(port)

    target.sendto(b"a" * size, ask(rig, client, target, b"q" * size))

    assert rig.until(lambda: client.recv(65536)) == b"a" * size


def test_target_that_was_not_there_is_served_when_it_is(rig: Rig) -> None:
    port, target = rig.bound(DATAGRAM), rig.bound(DATAGRAM)
    address = target.getsockname()
    rig.add([port], target)
    client = rig.connected(port)
    target.close()

    for _ in range(3):
        client.send(b"lost")
        rig.turns(3)
    target = rig.keep(socket.socket(type=DATAGRAM))
    target.bind(address)
    client.send(b"first")

    assert rig.until(lambda: target.recv(99)) == b"first"


def test_remove_lets_go_of_the_port_and_its_clients(rig: Rig) -> None:
    port, target = rig.bound(DATAGRAM), rig.bound(DATAGRAM)
    address = port.getsockname()
    rig.add([port], target)
    ask(rig, rig.connected(port), target, b"question")
    port.close()

    rig.tell({"remove": 1})

    assert rig.heard() == {"removed": 1}
    again = rig.keep(socket.socket(type=DATAGRAM))
    again.bind(address)
