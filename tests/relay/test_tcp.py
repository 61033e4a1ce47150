"""Connections through the relay: every byte, every end, in both directions."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from tests.relay.conftest import Rig

SHARE = 25  # connections of one port in a relay with room for 100 descriptors
STREAM = socket.SOCK_STREAM
MANY = bytes(range(256)) * (32 * 1024)  # 8 MiB, more than all buffers on the way


def stuff(rig: Rig, sock: socket.socket) -> int:
    """Send until nothing more is taken; return how much was."""
    sent = idle = 0
    while idle < 50:
        try:
            sent += sock.send(MANY)
            idle = 0
        except BlockingIOError:
            rig.turns(1)
            idle += 1
    return sent


@pytest.mark.parametrize(
    ("listens_on", "target_on"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "127.0.0.1"), ("127.0.0.1", "::1"), ("::1", "::1")],
)
def test_relay_between_any_families_carries_both_ways(
    rig: Rig, listens_on: str, target_on: str
) -> None:
    port, target = rig.bound(STREAM, listens_on), rig.bound(STREAM, target_on)
    rig.add([port], target)

    client, server = rig.pair(port, target)
    client.send(b"question")
    question = rig.until(lambda: server.recv(99))
    server.send(b"answer")

    assert question == b"question"
    assert rig.until(lambda: client.recv(99)) == b"answer"


def test_relay_of_a_run_connects_port_by_port(rig: Rig) -> None:
    first = rig.bound(STREAM)
    number = first.getsockname()[1]
    second = rig.keep(socket.socket())
    second.bind(("127.0.0.1", number + 1))
    second.listen()
    ports = [rig.bound(STREAM) for _ in range(2)]
    rig.add(ports, first)

    client, _ = rig.pair(ports[1], second)

    assert client.getpeername() == ports[1].getsockname()


def test_client_that_ends_writing_gets_the_whole_answer(rig: Rig) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    client, server = rig.pair(port, target)

    client.send(b"question")
    client.shutdown(socket.SHUT_WR)
    assert rig.read_all(server) == b"question"
    rig.turns(5)
    server.send(b"late ")
    rig.turns(5)
    server.send(b"answer")
    server.close()

    assert rig.read_all(client) == b"late answer"


def test_server_that_ends_writing_gets_the_rest(rig: Rig) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    client, server = rig.pair(port, target)

    server.shutdown(socket.SHUT_WR)
    assert rig.read_all(client) == b""
    client.send(b"still here")
    client.close()

    assert rig.read_all(server) == b"still here"


@pytest.mark.parametrize("towards_client", [False, True])
def test_much_data_arrives_whole(rig: Rig, *, towards_client: bool) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    client, server = rig.pair(port, target)
    sender, receiver = (server, client) if towards_client else (client, server)

    received, view = bytearray(), memoryview(MANY)
    while len(received) < len(MANY):
        if view:
            try:
                view = view[sender.send(view) :]
            except BlockingIOError:
                rig.turns(1)
        received += rig.until(lambda: receiver.recv(1 << 20)) if not view else read_now(receiver)

    assert bytes(received) == MANY


def read_now(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return b""


def test_receiver_that_does_not_read_holds_up_the_sender(rig: Rig) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    client, server = rig.pair(port, target)

    first = stuff(rig, client)
    second = stuff(rig, client)
    client.close()

    assert second == 0
    assert len(rig.read_all(server)) == first


def test_target_that_refuses_resets_the_client(rig: Rig) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    target.close()

    client = rig.connected(port)

    with pytest.raises(ConnectionResetError):
        rig.until(lambda: client.recv(99))


@pytest.mark.parametrize("by_client", [False, True])
def test_reset_is_passed_on(rig: Rig, *, by_client: bool) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    ends = rig.pair(port, target)
    breaking, other = ends if by_client else ends[::-1]
    rig.turns(5)

    breaking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    breaking.close()

    with pytest.raises(ConnectionResetError):
        rig.until(lambda: other.recv(99))


def test_server_that_answers_and_closes_early_is_still_heard(rig: Rig) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    client, server = rig.pair(port, target)

    server.send(b"too large")
    server.close()
    with suppress(BrokenPipeError):
        for _ in range(20):
            client.send(b"x" * 1000)
            rig.turns(1)

    assert rig.until(lambda: client.recv(99)) == b"too large"


def test_without_descriptors_the_next_client_waits_for_its_turn(small_rig: Rig) -> None:
    rig = small_rig
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    client, server = rig.pair(port, target)

    waiting = rig.connected(port)
    rig.turns(5)
    warning = rig.heard()
    with pytest.raises(BlockingIOError):
        target.accept()
    client.close()
    server.close()
    following, _ = rig.until(target.accept)
    rig.keep(following).send(b"next")

    assert "no descriptor" in warning["warning"]
    assert rig.until(lambda: waiting.recv(99)) == b"next"


def test_port_with_its_share_of_connections_lets_those_of_others_in(rig: Rig) -> None:
    flooded, other, target = rig.bound(STREAM), rig.bound(STREAM), rig.bound(STREAM)
    rig.add([flooded], target, number=1)
    rig.add([other], target, number=2)
    pairs = [rig.pair(flooded, target) for _ in range(SHARE)]

    waiting = rig.connected(flooded)
    rig.turns(5)
    warning = rig.heard()
    with pytest.raises(BlockingIOError):
        target.accept()
    rig.pair(other, target)
    for sock in pairs[0]:
        sock.close()
    following, _ = rig.until(target.accept)
    rig.keep(following).send(b"next")

    assert "a port has all connections" in warning["warning"]
    assert rig.until(lambda: waiting.recv(99)) == b"next"


def test_port_that_waits_for_room_can_be_removed(rig: Rig) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    for _ in range(SHARE):
        rig.pair(port, target)
    rig.connected(port)
    rig.turns(5)

    rig.tell({"remove": 1})

    assert "warning" in rig.heard()
    assert rig.heard() == {"removed": 1}


def test_without_descriptors_again_and_again_there_is_one_warning_a_minute(
    small_rig: Rig,
) -> None:
    rig = small_rig
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)

    def fill() -> None:
        client, server = rig.pair(port, target)
        waiting = rig.connected(port)
        rig.turns(5)
        client.close()
        server.close()
        following, _ = rig.until(target.accept)
        following.close()
        waiting.close()
        rig.turns(5)

    fill()
    assert "no descriptor" in rig.heard()["warning"]
    fill()
    with pytest.raises(BlockingIOError):
        rig.daemon.recv(99)
    rig.now_s += 60
    fill()
    assert "no descriptor" in rig.heard()["warning"]


def test_remove_breaks_connections_and_is_answered(rig: Rig) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    rig.add([port], target)
    client, server = rig.pair(port, target)
    rig.turns(5)

    rig.tell({"remove": 1})

    assert rig.heard() == {"removed": 1}
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(99)


def test_remove_lets_go_of_the_port(rig: Rig) -> None:
    port, target = rig.bound(STREAM), rig.bound(STREAM)
    address = port.getsockname()
    rig.add([port], target)
    port.close()

    rig.tell({"remove": 1})

    assert rig.heard() == {"removed": 1}
    again = rig.keep(socket.socket())
    again.bind(address)
