"""What the relay makes of what the daemon says, and of its end."""

from __future__ import annotations

import socket

import pytest

from tests.relay.conftest import Rig


def add(**changes: object) -> dict[str, object]:
    return {"add": 1, "protocol": "tcp", "to": "127.0.0.1", "port": 80, **changes}


@pytest.mark.parametrize(
    "message",
    [
        7,
        [],
        {},
        "remove",
        {"remove": []},
        add(protocol="sctp"),
        add(port="http"),
        {"add": 1, "protocol": "udp"},
    ],
    ids=repr,
)
def test_message_that_makes_no_sense_is_answered_and_its_sockets_are_closed(
    rig: Rig, message: object
) -> None:
    port = rig.bound(socket.SOCK_STREAM)
    address = port.getsockname()

    rig.tell(message, [port.fileno()])
    port.close()

    assert "not understood" in rig.heard()["warning"]
    again = rig.keep(socket.socket())
    again.bind(address)


def test_bytes_that_are_no_json_are_answered(rig: Rig) -> None:
    rig.daemon.send(b"\xff\0{")

    assert "not understood" in rig.heard()["warning"]


def test_socket_of_another_kind_is_refused_and_the_relay_goes_on(rig: Rig) -> None:
    port, target = rig.bound(socket.SOCK_STREAM), rig.bound(socket.SOCK_STREAM)
    pipe, other = socket.socketpair()
    with pipe, other:
        rig.tell(add(), [pipe.fileno()])

    assert "not understood" in rig.heard()["warning"]
    rig.add([port], target, number=2)
    client, server = rig.pair(port, target)
    server.send(b"well")
    assert rig.until(lambda: client.recv(99)) == b"well"


def test_remove_of_what_is_not_there_is_answered_all_the_same(rig: Rig) -> None:
    rig.tell({"remove": 9})

    assert rig.heard() == {"removed": 9}


def test_end_of_the_daemon_is_the_end(rig: Rig) -> None:
    rig.daemon.close()

    rig.control.run()

    assert rig.control.is_over
