"""What a container that lies about who it is can do to its neighbours and to the world."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from integration.docker.conftest import World
from integration.lab import Lab, Process, Underlay, eventually, frames
from integration.lab.frames import Hop

OTHERS_MAC = "02:42:de:ad:be:ef"
OTHERS_IPV4, OTHERS_IPV6 = "10.93.1.99", "fd93:1::99"
GATEWAY_IPV4, GATEWAY_IPV6 = "10.93.1.1", "fd93:1::1"
GUARD = [
    pytest.param((), False, id="guarded"),
    pytest.param(("-o", "spoof_guard=off"), True, id="unguarded"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What identifies a container on its network."""

    mac: str
    ipv4: str
    ipv6: str


def card(world: World, box: str) -> Card:
    link = world.exec(box, "cat", "/sys/class/net/eth0/address").stdout.strip()
    ipv4, ipv6 = (world.address(box, "blue", version=version) for version in (4, 6))
    return Card(mac=link, ipv4=ipv4, ipv6=ipv6)


def lies(liar: Card, victim: Card) -> dict[str, bytes]:
    """Frames for a neighbour in which one thing is not the sender's own."""
    hop, strange = Hop(liar.mac, victim.mac), Hop(OTHERS_MAC, victim.mac)
    return {
        "IPv4 source": frames.ipv4(hop, OTHERS_IPV4, victim.ipv4, b"lie"),
        "IPv6 source": frames.ipv6(hop, OTHERS_IPV6, victim.ipv6, b"lie"),
        "the gateway's IPv4 source": frames.ipv4(hop, GATEWAY_IPV4, victim.ipv4, b"lie"),
        "MAC over IPv4": frames.ipv4(strange, liar.ipv4, victim.ipv4, b"lie"),
        "MAC over IPv6": frames.ipv6(strange, liar.ipv6, victim.ipv6, b"lie"),
        "ARP sender": frames.arp_reply(hop, GATEWAY_IPV4, victim.ipv4),
        "ARP sender's MAC": frames.arp_reply(strange, liar.ipv4, victim.ipv4),
        "ND target": frames.nd_advertisement(hop, liar.ipv6, victim.ipv6, GATEWAY_IPV6),
    }


def truths(honest: Card, neighbour: Card) -> dict[str, bytes]:
    hop = Hop(honest.mac, neighbour.mac)
    return {
        "ARP": frames.arp_reply(hop, honest.ipv4, neighbour.ipv4),
        "ND": frames.nd_advertisement(hop, honest.ipv6, neighbour.ipv6, honest.ipv6),
        "IPv6": frames.ipv6(hop, honest.ipv6, neighbour.ipv6, b"truth"),
        "IPv4": frames.ipv4(hop, honest.ipv4, neighbour.ipv4, b"truth"),
    }


@contextmanager
def listening(process: Process) -> Iterator[Process]:
    with process:
        eventually(lambda: frames.LISTENING in process.output(), "the listener listens")
        yield process


def wait_until_heard(listener: Process, data: bytes) -> None:
    """Wait for what was sent last: what was sent before it has then arrived, or never will."""
    eventually(lambda: data.hex() in listener.output(), "the last frame arrives")


@pytest.mark.parametrize(("words", "arrive"), GUARD)
def test_lies_arrive_at_a_neighbour_only_without_the_guard(
    world: World, words: tuple[str, ...], arrive: bool
) -> None:
    world.dual_stack("blue", 1, *words)
    world.box("liar", "blue")
    world.box("victim", "blue")
    liar, victim = card(world, "liar"), card(world, "victim")
    told, true = lies(liar, victim), truths(liar, victim)

    with listening(world.popen_in("victim", frames.listener("eth0"), log="victim")) as listener:
        frames.send(world.run_in("liar"), "eth0", [*told.values(), *true.values()])
        wait_until_heard(listener, true["IPv4"])
        heard = listener.output()

    assert [name for name, frame in true.items() if frame.hex() not in heard] == []
    arrived = [name for name, frame in told.items() if frame.hex() in heard]
    assert arrived == (list(told) if arrive else [])


@pytest.mark.parametrize(("words", "leave"), GUARD)
def test_lies_leave_the_host_only_without_the_guard(
    world: World, lab: Lab, words: tuple[str, ...], leave: bool
) -> None:
    world.dual_stack("blue", 1, *words)
    world.box("liar", "blue")
    liar = card(world, "liar")
    told = {b"lie over IPv4", b"lie over IPv6", b"lie from nowhere", b"lie by MAC"}

    with listening(lab.underlay.popen(frames.listener("underlay"), log="frames")) as listener:
        frames.send(world.run_in("liar"), "eth0", list(outbound(world, lab.underlay, liar)))
        wait_until_heard(listener, b"truth over IPv4")
        wait_until_heard(listener, b"truth over IPv6")
        heard = listener.output()

    assert {data for data in told if data.hex() in heard} == (told if leave else set())


def outbound(world: World, underlay: Underlay, liar: Card) -> Iterator[bytes]:
    """Frames for the internet, through the gateway, with lies and truths of either family."""
    shown = world.host.run(["ip", "link", "show", world.bridge("blue")]).stdout
    gateway = re.search(r"link/ether (\S+)", shown)
    assert gateway
    hop, strange = Hop(liar.mac, gateway[1]), Hop(OTHERS_MAC, gateway[1])
    ipv4, ipv6 = str(underlay.internet_v4), str(underlay.internet_v6)
    yield frames.ipv4(hop, OTHERS_IPV4, ipv4, b"lie over IPv4")
    yield frames.ipv4(hop, "10.77.7.7", ipv4, b"lie from nowhere")
    yield frames.ipv4(strange, liar.ipv4, ipv4, b"lie by MAC")
    yield frames.ipv6(hop, OTHERS_IPV6, ipv6, b"lie over IPv6")
    yield frames.ipv6(hop, liar.ipv6, ipv6, b"truth over IPv6")
    yield frames.ipv4(hop, liar.ipv4, ipv4, b"truth over IPv4")
