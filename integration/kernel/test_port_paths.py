"""Which way packets to published ports take, and which way they must not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from integration.kernel.paths import HOST, HOST_ADDRESS, LAN, World
from integration.lab import probes
from integration.lab.frames import Hop, ipv4, send
from integration.lab.process import Process, run
from integration.lab.talk import NOBODY, Expected, heard, tcp, udp
from netplug.kernel.linux import LinuxKernel
from netplug.model import PortMapping, PortRequest, Protocol

EVERYWHERE = ("0.0.0.0", "::")
PROTOCOLS = (Protocol.TCP, Protocol.UDP)

pytestmark = pytest.mark.needs(*probes.OF_A_LAB, "iptables", "ip6tables", "ipset", "nft")


def published(
    host_port: int, port: int, protocol: Protocol = Protocol.TCP, at: tuple[str, ...] = EVERYWHERE
) -> PortMapping:
    asked = PortRequest(
        protocol=protocol, container_port=port, host_port=host_port, host_port_end=host_port
    )
    return PortMapping(asked=asked, host_ips=tuple(map(ip_address, at)), host_port=host_port)


@pytest.fixture
async def world(network: None, tmp_path: Path) -> AsyncIterator[World]:
    kernel = LinuxKernel("0f3a")
    await kernel.open()
    try:
        with ExitStack() as stack:
            yield World(kernel, tmp_path, stack)
    finally:
        await kernel.close()


async def test_unguarded_endpoint_is_not_heard_from_a_loopback_address(world: World) -> None:
    world.network("web", 1, spoof_guard="off")
    endpoint = world.endpoint("one", "web", 2)
    await world.converge()
    run(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0"])
    hop = Hop(endpoint.mac, str(world.bridge("web").mac))
    run(["nft", "-f", "-"], stdin=COUNTED_BY_THE_HOST)

    sources = ("127.0.0.1", "127.0.0.2", "10.91.0.2")
    send(world.run_in("one"), "eth0", [ipv4(hop, source, "10.91.0.1", b"?") for source in sources])

    listed = run(["nft", "list", "set", "inet", "probe", "seen"]).stdout
    assert "10.91.0.2" in listed
    assert "127.0.0" not in listed


COUNTED_BY_THE_HOST = """
    add table inet probe
    add set inet probe seen { type ipv4_addr; flags dynamic; }
    add chain inet probe input { type filter hook input priority 0; }
    add rule inet probe input udp dport 9 add @seen { ip saddr }
"""


async def test_relayed_port_of_the_loopback_is_not_reached_from_the_lan(world: World) -> None:
    world.lan()
    world.network("web", 1)
    only_ipv6 = world.endpoint("one", "web", 2)
    world.endpoints["one"] = replace(only_ipv6, addresses=only_ipv6.addresses[1:])
    world.publish("one", *[published(8080, 80, p, ("127.0.0.1",)) for p in PROTOCOLS])
    await world.converge()
    world.serve("one", "tcp/80", "udp/80")
    run(["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"])
    astray = world.run_in(LAN)
    astray(["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"])
    astray(["ip", "address", "del", "127.0.0.1/8", "dev", "lo"])
    astray(["ip", "route", "add", "127.0.0.1", "via", HOST_ADDRESS])

    questions = (tcp("127.0.0.1", 8080), udp("127.0.0.1", 8080))
    assert await world.misheard(HOST, dict.fromkeys(questions, "one:80")) == ""
    assert await world.misheard(LAN, dict.fromkeys(questions, NOBODY)) == ""


GATEWAYS = ("10.91.0.1", "fd91::1")


def answered(port: int, answer: str, *addresses: str) -> Expected:
    """What is asked of the host at a published port, over TCP and UDP."""
    return {ask(a, port): answer for a in addresses or GATEWAYS for ask in (tcp, udp)}


@pytest.mark.parametrize("filters_bridged", [True, False])
async def test_published_ports_of_isolated_endpoints_are_reached_by_hubs_and_others_only(
    world: World, filters_bridged: bool
) -> None:
    world.filter_bridged(filters_bridged)
    world.lan()
    world.network("wheel", 1, isolate="ports")
    world.network("other", 2)
    world.endpoint("hub", "wheel", 2, isolate="none")
    world.endpoint("one", "wheel", 3)
    world.endpoint("two", "wheel", 4)
    world.endpoint("far", "other", 2)
    for port, box in ((8080, "hub"), (8081, "one"), (8082, "two")):
        world.publish(box, *[published(port, 80, p) for p in PROTOCOLS])
    await world.converge()
    servers = {box: world.serve(box, "tcp/80", "udp/80") for box in ("hub", "one", "two")}
    own_link = f"{link_local(world.bridge('wheel').name)}%eth0"

    closed = answered(8082, NOBODY, *GATEWAYS, HOST_ADDRESS, own_link)
    assert await world.misheard("one", closed | answered(8081, NOBODY)) == ""
    assert "two 80" not in servers["two"].output()
    assert "one 80" not in servers["one"].output()
    for box in ("hub", "one"):
        assert await world.misheard(box, answered(8080, "hub:80")) == "", box
    spokes = answered(8081, "one:80") | answered(8082, "two:80")
    for box in ("hub", "far", HOST):
        assert await world.misheard(box, spokes) == "", box
    outside = answered(8081, "one:80", HOST_ADDRESS, "2001:db8::1")
    assert await world.misheard(LAN, outside) == ""


@pytest.mark.parametrize("filters_bridged", [True, False])
async def test_endpoints_without_icc_do_not_reach_each_others_published_ports(
    world: World, filters_bridged: bool
) -> None:
    world.filter_bridged(filters_bridged)
    world.network("quiet", 1, icc="false")
    for number, box in ((2, "one"), (3, "two")):
        world.endpoint(box, "quiet", number)
    world.publish("one", *[published(8080, 80, p) for p in PROTOCOLS])
    await world.converge()
    serving = world.serve("one", "tcp/80", "udp/80")
    own_link = f"{link_local(world.bridge('quiet').name)}%eth0"

    assert await world.misheard("two", answered(8080, NOBODY, *GATEWAYS, own_link)) == ""
    assert "one 80" not in serving.output()
    assert await world.misheard(HOST, answered(8080, "one:80")) == ""


def link_local(link: str) -> str:
    """Return the host's link-local address on a link."""
    shown = json.loads(run(["ip", "-json", "-6", "address", "show", "dev", link]).stdout)
    return next(str(a["local"]) for a in shown[0]["addr_info"] if a["scope"] == "link")


@pytest.mark.parametrize("filters_bridged", [True, False])
async def test_port_of_a_container_on_two_networks_is_reached_from_both(
    world: World, filters_bridged: bool
) -> None:
    world.filter_bridged(filters_bridged)
    for number, name in enumerate(("front", "back", "other"), 1):
        world.network(name, number)
    world.endpoint("web", "front", 2)
    world.endpoint("web-back", "back", 2, sandbox="web")
    for number, name in enumerate(("front", "back", "other"), 1):
        world.endpoint(f"by-{name}", name, 2 + number)
    world.publish("web", *[published(8080, 80, p) for p in PROTOCOLS])
    await world.converge()
    world.serve("web", "tcp/80", "udp/80")

    for box in ("web", "by-front", "by-back", "by-other"):
        for gateway in ("10.91.0.1", "fd91::1", "10.92.0.1", "fd92::1", "10.93.0.1", "fd93::1"):
            asked = {tcp(gateway, 8080): "web:80", udp(gateway, 8080): "web:80"}
            assert await world.misheard(box, asked) == "", (box, gateway)
    for box, seen in (("by-back", "10.91.0.1"), ("by-other", "10.93.0.5")):
        assert await world.client_seen(box, tcp("10.91.0.1", 8080)) == seen


async def test_ipv6_port_is_reached_by_link_local_addresses(world: World) -> None:
    world.lan()
    for number, name in enumerate(("web", "other"), 1):
        world.network(name, number)
    world.endpoint("one", "web", 2)
    world.endpoint("near", "web", 3)
    world.endpoint("far", "other", 2)
    world.publish("one", *[published(8080, 80, p) for p in PROTOCOLS])
    await world.converge()
    world.serve("one", "tcp/80", "udp/80")

    for box, link, on_host in (
        (LAN, "eth0", "up0"),
        (HOST, "up0", "up0"),
        ("near", "eth0", world.bridge("web").name),
        ("one", "eth0", world.bridge("web").name),
        ("far", "eth0", world.bridge("other").name),
    ):
        address = f"{link_local(on_host)}%{link}"
        asked = {tcp(address, 8080): "one:80", udp(address, 8080): "one:80"}
        assert await world.misheard(box, asked) == "", box
    others = {tcp(a, 8080): "one:80" for a in ("fd92::1", "2001:db8::1")}
    assert await world.misheard("far", others) == ""


async def test_client_whose_first_packet_was_lost_finds_the_port_at_another_container(
    world: World,
) -> None:
    world.lan()
    world.network("web", 1)
    world.endpoint("one", "web", 2)
    world.endpoint("two", "web", 3)
    world.publish("one", published(8080, 80))
    await world.converge()
    world.serve("two", "tcp/80")
    drops = ["iptables", "-I", "INPUT", "-p", "tcp", "-j", "DROP"]
    world.run_in("one")(drops)

    waiting = asyncio.create_task(world.misheard(LAN, {tcp(HOST_ADDRESS, 8080): "two:80"}))
    while not dropped(world):
        await asyncio.sleep(0.05)
    world.publish("one")
    world.publish("two", published(8080, 80))
    await world.converge()

    assert await waiting == ""


def dropped(world: World) -> int:
    listed = world.run_in("one")(["iptables", "-nvxL", "INPUT"]).stdout
    return int(listed.splitlines()[2].split()[0])


async def test_routed_port_that_is_closed_no_longer_answers_who_used_it(world: World) -> None:
    world.lan()
    world.network("web", 1, gateway_mode_ipv4="routed")
    world.endpoint("one", "web", 2)
    world.publish("one", published(53, 53, Protocol.UDP, ("0.0.0.0",)))
    await world.converge()
    world.serve("one", "udp/53")
    flow = world.flow(LAN, udp("10.91.0.2", 53), every_s=0.05)
    await world.until(lambda: any(answer for _, answer in heard(flow.output())), "it is answered")

    world.publish("one")
    await world.converge()

    closed_at = time.monotonic()
    await world.until(lambda: asked_after(flow, closed_at), "it is asked again")
    assert not [a for at, a in heard(flow.output()) if a and at > closed_at]


async def test_peers_that_part_do_not_finish_what_they_were_saying(world: World) -> None:
    for number, name in enumerate(("web", "db"), 1):
        world.network(name, number)
        world.endpoint(name, name, 2)
    world.peer("web", "db")
    await world.converge()
    world.serve("db", "udp/53")
    flows = [world.flow("web", udp(ip, 53), every_s=0.05) for ip in ("10.92.0.2", "fd92::2")]
    for flow in flows:
        await world.until(lambda f=flow: any(a for _, a in heard(f.output())), "it is answered")

    world.part("web", "db")
    await world.converge()

    parted_at = time.monotonic()
    for flow in flows:
        await world.until(lambda f=flow: asked_after(f, parted_at), "it is asked again")
        assert not [a for at, a in heard(flow.output()) if a and at > parted_at]


def asked_after(flow: Process, moment: float) -> bool:
    """Tell whether a few questions were asked since."""
    return sum(at > moment for at, _ in heard(flow.output())) > 5
