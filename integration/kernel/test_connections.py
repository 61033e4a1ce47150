"""Which tracked connections are forgotten when a port changes hands, closes, or networks part."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from integration.lab.process import run
from netplug.kernel.linux import LinuxKernel
from netplug.model import Protocol
from netplug.plan.diff import Create, Delete, Step
from netplug.plan.objects import Firewall, LocalSubnet, OpenPort, PeerSubnet, PortForward

HOST, CLIENT, INSIDE = "192.0.2.1", "192.0.2.9", "10.9.0.2"
HOST6, CLIENT6, INSIDE6 = "2001:db8::1", "2001:db8::9", "fd09::2"
SENT, DONE = ("--state", "SYN_SENT"), ("--state", "ESTABLISHED", "--status", "ASSURED")
TAGS = ("--orig-vtag", "1", "--reply-vtag", "2")
ASKED, ANSWERED = ("--state", "COOKIE_WAIT", *TAGS), ("--state", "ESTABLISHED", *TAGS)
ECHO = ("--icmp-type", "8", "--icmp-code", "0", "--icmp-id", "7")

FORWARD = PortForward(
    protocol=Protocol.TCP,
    address=ip_address("0.0.0.0"),
    first=8080,
    to_address=ip_address(INSIDE),
    to_port=80,
)
FORWARD6 = replace(FORWARD, address=ip_address("::"), to_address=ip_address(INSIDE6))

pytestmark = pytest.mark.needs("root", "iptables", "ip6tables", "ipset", "nft", "conntrack")


def track(name: int, protocol: str, to: str, port: int = 0, *state: str, by: str = "") -> None:
    """Track a connection, known by the port of its client."""
    source = by or (CLIENT6 if ":" in to else CLIENT)
    ports = ["--sport", str(name), "--dport", str(port)] if port else []
    words = ["-p", protocol, "-s", source, "-d", to, *ports, *state, "-t", "60"]
    run(["conntrack", "-I", *words])


def tracked() -> set[int]:
    """Return the names of what is tracked; that of an echo is its number."""
    listed = "".join(run(["conntrack", "-L", "-f", f]).stdout for f in ("ipv4", "ipv6"))
    return {
        int(name)
        for line in listed.splitlines()
        for name in re.findall(r"(?:sport|id)=(\d+)", line)[:1]
    }


@pytest.fixture
async def kernel(network: None) -> AsyncIterator[LinuxKernel]:
    for address in (f"{HOST}/24", f"{HOST6}/64"):
        run(["ip", "address", "add", address, "dev", "lo"])
    opened = LinuxKernel("0f3a")
    await opened.open()
    try:
        await opened.apply(Create(Firewall(has_ipv6=True, filters_bridged=False)))
        yield opened
    finally:
        await opened.close()


@pytest.mark.parametrize("how", [Create, Delete])
@pytest.mark.parametrize(
    ("forward", "address", "elsewhere"),
    [
        (FORWARD, HOST, INSIDE),
        (FORWARD6, HOST6, INSIDE6),
        (replace(FORWARD, address=ip_address(HOST)), HOST, "127.0.0.1"),
        (replace(FORWARD6, address=ip_address(HOST6)), HOST6, "::1"),
        (replace(FORWARD, first=8000, to_port=8000, count=100), HOST, INSIDE),
    ],
    ids=["any-ipv4", "any-ipv6", "one-ipv4", "one-ipv6", "run"],
)
async def test_port_that_changes_hands_keeps_only_tcp_whose_handshake_is_done(
    kernel: LinuxKernel,
    forward: PortForward,
    address: str,
    elsewhere: str,
    how: type[Create | Delete],
) -> None:
    for protocol, states in (
        (Protocol.TCP, (SENT, DONE)),
        (Protocol.UDP, ((),)),
        (Protocol.SCTP, (ASKED, ANSWERED)),
    ):
        run(["conntrack", "-F"])
        for name, state in enumerate(states, 1):
            track(name, protocol, address, 8080, *state)
        track(5, protocol, address, 80, *states[0])
        track(6, protocol, elsewhere, 8080, *states[0])
        other = Protocol.TCP if protocol is Protocol.UDP else Protocol.UDP
        track(7, other, address, 8080, *(SENT if other is Protocol.TCP else ()))
        step: Step = how(replace(forward, protocol=protocol))

        await kernel.apply(step)
        await kernel.settle()

        stays = {2} if protocol is Protocol.TCP else set()
        assert tracked() == {5, 6, 7} | stays, protocol


async def test_port_that_is_published_keeps_connections_that_lead_there_already(
    kernel: LinuxKernel,
) -> None:
    answers = ("-r", INSIDE, "-q", CLIENT, "--reply-port-src", "80", "--reply-port-dst")
    udp = replace(FORWARD, protocol=Protocol.UDP)
    track(1, "udp", HOST, 8080, *answers, "1")
    track(2, "udp", HOST, 8080)

    await kernel.apply(Create(udp))
    await kernel.settle()
    assert tracked() == {1}

    await kernel.apply(Delete(udp))
    await kernel.settle()
    assert tracked() == set()


@pytest.mark.parametrize("inside", [INSIDE, INSIDE6])
async def test_open_port_that_is_closed_is_closed_to_those_who_used_it(
    kernel: LinuxKernel, inside: str
) -> None:
    for protocol in Protocol:
        opened = OpenPort(protocol=protocol, address=ip_address(inside), port=53)
        await kernel.apply(Create(opened))
        run(["conntrack", "-F"])
        state = {Protocol.TCP: SENT, Protocol.SCTP: ANSWERED}.get(protocol, ())
        track(1, protocol, inside, 53, *state)
        track(2, protocol, inside, 54, *state)
        track(3, protocol, HOST6 if ":" in inside else HOST, 53, *state)

        await kernel.apply(Delete(opened))
        await kernel.settle()

        assert tracked() == {2, 3}, protocol


async def test_networks_that_part_end_what_they_had_to_say_to_each_other(
    kernel: LinuxKernel,
) -> None:
    for number in (1, 2):
        home = ip_network(f"10.9{number}.0.0/24")
        await kernel.apply(Create(LocalSubnet(subnet=home, link=f"py-{number}")))
    peer = PeerSubnet(subnet=ip_network("10.91.0.0/24"), link="py-2")
    await kernel.apply(Create(peer))
    track(1, "tcp", "10.92.0.2", 80, *DONE, by="10.91.0.2")
    track(2, "udp", "10.92.0.2", 80, by="10.91.0.2")
    track(7, "icmp", "10.92.0.2", 0, *ECHO, by="10.91.0.2")
    track(3, "tcp", "10.91.0.3", 80, *DONE, by="10.91.0.2")
    track(4, "tcp", HOST, 80, *DONE, by="10.91.0.2")
    track(5, "tcp", "10.92.0.2", 80, *DONE, by="10.93.0.2")

    await kernel.apply(Delete(peer))

    assert tracked() == {3, 4, 5}
