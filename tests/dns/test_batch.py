"""Many datagrams in one turn: each asker gets its own answers, whatever else there is."""

from __future__ import annotations

import socket

import dns.message
import pytest

from netplug.dns import batch
from netplug.dns.batch import DATAGRAMS, SLOT_BYTES
from tests.dns.conftest import WEB, Rig


def question(name: str, number: int = 0) -> bytes:
    return dns.message.make_query(name, "A", id=number).to_wire()


def received(rig: Rig, sock: socket.socket, count: int) -> list[bytes]:
    return [rig.until(lambda: sock.recv(65536)) for _ in range(count)]


def answered(rig: Rig, client_id: str = "c1") -> int:
    return rig.control.clients[client_id].counters.queries


def flood(rig: Rig, sock: socket.socket, count: int) -> list[int]:
    """Ask what is kept; return how many each turn answers."""
    rig.ask(sock, "web")
    before = answered(rig)
    for number in range(count):
        sock.send(question("web", number))
    turns = []
    while answered(rig) < before + count:
        seen = answered(rig)
        rig.turns(1)
        turns.append(answered(rig) - seen)
    return turns


def test_hits_are_answered_in_their_order_each_with_its_id(rig: Rig) -> None:
    client, _ = rig.client()

    flood(rig, client, 150)

    assert [reply[:2] for reply in received(rig, client, 150)] == [
        number.to_bytes(2) for number in range(150)
    ]


def test_turn_grows_with_hits_and_shrinks_with_a_miss(rig: Rig) -> None:
    client, _ = rig.client()

    assert flood(rig, client, 150) == [4, 8, 16, 32, 64, 26]
    received(rig, client, 150)
    assert flood(rig, client, 70) == [64, 6]
    received(rig, client, 70)
    rig.ask(client, "www")
    assert flood(rig, client, 4 + 8) == [4, 8]


def test_each_asker_gets_its_own_answers(rig: Rig) -> None:
    client, _ = rig.client()
    port = rig.control.clients["c1"].ports[0].sock
    askers = [client, rig.connected(port), rig.connected(port)]
    names = ["web", "www", "x.apps"]
    for name in names:
        rig.ask(client, name)
    for number in range(60):
        askers[number % 3].send(question(names[number // 3 % 3], number))

    for index, asker in enumerate(askers):
        for number in range(index, 60, 3):
            (reply,) = received(rig, asker, 1)
            message = dns.message.from_wire(reply)
            name = str(message.question[0].name)
            assert (message.id, name) == (number, f"{names[number // 3 % 3]}.")
            assert str(message.answer[0][0]) == "10.0.0.2"


def test_hits_misses_and_what_is_malformed_in_one_turn(rig: Rig) -> None:
    client, _ = rig.client()
    flood(rig, client, 150)
    received(rig, client, 150)
    other = rig.connected(rig.control.clients["c1"].ports[0].sock)
    refused = question("x.pynet", 3)
    padded = question("web", 5) + bytes(SLOT_BYTES)  # malformed, and longer than a slot
    sent = [question("web", 1), question("www", 2), refused, question("web", 4), padded]
    sent += [b"a", question("web", 6)[:15], b"\0\7\x80" + bytes(SLOT_BYTES), question("web", 8)]
    before = answered(rig)
    for data in sent:
        client.send(data)
        other.send(data)

    rig.turns(1)

    assert answered(rig) == before + 2 * len(sent)
    for asker in (client, other):
        replies = [(reply[1], reply[3] & 0xF) for reply in received(rig, asker, 7)]
        assert replies == [(1, 0), (4, 0), (8, 0), (2, 0), (3, 3), (5, 1), (6, 1)]
        assert rig.is_silent(asker)


def test_question_that_fills_its_slot_is_cut_only_if_there_is_more(rig: Rig) -> None:
    client, _ = rig.client()
    plain = question("web")
    room = SLOT_BYTES - len(plain) - 15
    option = b"\0\x0c" + room.to_bytes(2) + bytes(room)
    opt = b"\0\0\x29\x10\0\0\0\0\0" + len(option).to_bytes(2) + option
    whole = plain[:11] + b"\1" + plain[12:] + opt
    assert len(whole) == SLOT_BYTES

    for data in (whole, whole + b"\0"):
        client.send(data)

    assert [reply[3] & 0xF for reply in received(rig, client, 2)] == [0, 1]


def test_longest_answers_find_room_in_their_slots(rig: Rig) -> None:
    client, _ = rig.client()
    addresses = [f"10.0.{i // 250}.{i % 250 + 1}" for i in range(300)]
    rig.put({"endpoint": {**WEB, "addresses": addresses}})
    query = dns.message.make_query("web", "A", use_edns=0, payload=SLOT_BYTES).to_wire()

    for _ in range(40):
        client.send(query)
    replies = [dns.message.from_wire(reply) for reply in received(rig, client, 40)]

    assert {len(reply.answer[0]) for reply in replies} == {254}
    assert len({str(reply.answer[0][0]) for reply in replies}) > 1


def test_answer_that_cannot_be_sent_does_not_keep_others_back(rig: Rig) -> None:
    slots = batch.available()
    assert slots is not None
    server, client = rig.bound(), rig.bound()
    for number in range(3):
        client.sendto(bytes([number]) * 9, server.getsockname())
    assert slots.receive(server.fileno(), DATAGRAMS) == [9, 9, 9]
    for number, size in enumerate((9, SLOT_BYTES * 20, 9)):  # no datagram is so long
        slots.answer_sizes[number] = size

    slots.send(server.fileno(), 0, 3)

    assert received(rig, client, 2) == [bytes(9), b"\2" * 9]
    assert slots.asker(2) == client.getsockname()
    assert slots.receive(server.fileno(), DATAGRAMS) == []


def test_without_the_calls_all_is_answered_as_well(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.control.resolver, "batch", None)
    client, _ = rig.client()

    assert flood(rig, client, 40) == [16, 16, 8]
    assert [reply[1] for reply in received(rig, client, 40)] == list(range(40))


@pytest.mark.parametrize("name", ["recvmmsg", "sendmmsg"])
def test_libc_without_the_calls_is_no_failure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        def __init__(self, _: None) -> None:
            setattr(self, "recvmmsg" if name == "sendmmsg" else "sendmmsg", print)

    monkeypatch.setattr(batch.ctypes, "CDLL", Libc)

    assert batch.available() is None


def contended(rig: Rig) -> tuple[socket.socket, socket.socket]:
    """Return two clients, both of which have just asked."""
    rig.tell({"settings": {"rate": 10_000}})
    client, other = rig.client()[0], rig.client("c2")[0]
    rig.ask(client, "web")
    rig.ask(other, "web")
    rig.ask(client, "web")
    return client, other


def test_contended_client_has_short_turns_and_a_tenth_of_its_rate(rig: Rig) -> None:
    client, other = contended(rig)
    for number in range(250):
        client.send(question("web", number))
    before = answered(rig)

    rig.later(0.06)  # 50 ms worth of a tenth is saved
    rig.turns(20)
    assert 50 <= answered(rig) - before < 50 + 16
    assert rig.ask(other, "web").answer
    rig.later(0.05)
    rig.turns(20)

    assert 100 <= answered(rig) - before < 100 + 16


def test_contention_ends_a_second_after_the_last_turn_of_another(rig: Rig) -> None:
    client, _ = contended(rig)
    for number in range(250):
        client.send(question("web", number))
    rig.later(0.06)
    rig.turns(20)

    rig.now_s += 1.0
    rig.turns(20)

    assert answered(rig) == 2 + 250
    assert len(received(rig, client, 250)) == 250


def test_client_alone_does_not_contend_with_itself(rig: Rig) -> None:
    client, port = rig.client()
    rig.client("c2")
    stream = rig.connected(port)
    asked = question("web")
    stream.send(len(asked).to_bytes(2) + asked)
    received(rig, stream, 1)

    assert flood(rig, client, 150) == [4, 8, 16, 32, 64, 26]
    assert not rig.control.resolver.is_contended
    rig.tell({"forget": "c1"})
    assert rig.heard() == {"forgotten": "c1"}
