"""What must stay closed beside what is published: to other networks, the LAN and Docker's own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from integration.docker.conftest import World
from integration.lab import Host, Lab, Process, eventually, talk
from integration.lab.talk import NOBODY, Expected, misheard, tcp, udp

FAMILIES = (4, 6)
INNER_GATEWAYS = ("10.93.2.1", "fd93:2::1")
LOOPBACK = ("127.0.0.1", "[::1]")
# Docker's networks are learned from its events.
CLOSED_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def stranger(lab: Lab) -> Iterator[Host]:
    """Another host of the LAN, which sends its packets to wherever it likes."""
    host = lab.host()
    yield host
    host.close()


@pytest.fixture
def route(world: World, stranger: Host) -> Iterator[None]:
    """The stranger sends packets for the container subnets of the tests to our host."""
    for number in (1, 2, 3):
        v4, v6 = str(world.host.v4.ip), str(world.host.v6.ip)
        stranger.run(["ip", "route", "add", f"10.93.{number}.0/24", "via", v4])
        stranger.run(["ip", "route", "add", f"fd93:{number}::/64", "via", v6])
    yield
    for number in (1, 2, 3):
        stranger.run(["ip", "route", "del", f"10.93.{number}.0/24"])
        stranger.run(["ip", "route", "del", f"fd93:{number}::/64"])


@pytest.fixture
def martians(world: World) -> Iterator[None]:
    """The host takes packets for 127.0.0.1 from everywhere, as some load balancers make it."""
    setting = "net.ipv4.conf.all.route_localnet"
    world.host.run(["sysctl", "-qw", f"{setting}=1"])
    yield
    world.host.run(["sysctl", "-qw", f"{setting}=0"])


def serving(world: World, name: str, network: str, *words: str) -> Process:
    """Start a container with a server on its ports 80 and 81."""
    world.box(name, network, *words)
    return world.serve(name, "tcp/80-81", "udp/80-81")


def at_container(world: World, box: str, network: str, answer: str) -> Expected:
    """Questions to the container's own addresses, at its port, the next and a published one."""
    expected: dict[talk.Question, str] = {}
    for version in FAMILIES:
        address = world.address(box, network, version=version)
        for port in (80, 81):
            said = answer if answer == NOBODY else f"{answer}:{port}"
            expected |= {tcp(address, port): said, udp(address, port): said}
        expected[tcp(address, 8080)] = NOBODY
    return expected


def at_host(world: World, answer: str, port: int = 8080) -> Expected:
    return {tcp(address, port): answer for address in (world.host.v4.ip, world.host.v6.ip)}


# Between networks


def test_networks_reach_each_other_through_published_ports_only(world: World) -> None:
    world.dual_stack("blue", 1)
    world.dual_stack("red", 2)
    serving(world, "one", "blue", "-p", "8080:80")
    world.box("far", "red")

    closed = at_container(world, "one", "blue", NOBODY)
    assert misheard(world.run_in("far"), {**closed, **at_host(world, "one:80")}) == ""


def test_peers_reach_each_other_until_they_are_no_more(world: World) -> None:
    for number, name in enumerate(("blue", "red", "green"), start=1):
        world.dual_stack(name, number)
        serving(world, name, name)
    to_blue = {who: at_container(world, "blue", "blue", who) for who in ("blue", NOBODY)}
    to_red = {who: at_container(world, "red", "red", who) for who in ("red", NOBODY)}

    world.wait_until_named("blue", "red")
    world.pynet.pynet("network", "peer", "blue", "red")

    assert misheard(world.run_in("red"), to_blue["blue"]) == ""
    assert misheard(world.run_in("blue"), to_red["red"]) == ""
    assert misheard(world.run_in("green"), {**to_blue[NOBODY], **to_red[NOBODY]}) == ""
    world.pynet.restart()
    assert misheard(world.run_in("red"), to_blue["blue"]) == ""

    world.pynet.pynet("network", "unpeer", "blue", "red")

    assert misheard(world.run_in("red"), to_blue[NOBODY]) == ""
    assert misheard(world.run_in("blue"), to_red[NOBODY]) == ""
    world.verify()


def test_internal_network_reaches_no_published_port_and_is_not_reached(
    world: World, lab: Lab, stranger: Host, route: None
) -> None:
    world.dual_stack("blue", 1)
    world.dual_stack("inner", 2, "--internal")
    serving(world, "one", "blue", "-p", "8080:80")
    serving(world, "hidden", "inner")
    world.box("beside", "inner")
    break_out(world, "hidden")

    closed = {**at_container(world, "one", "blue", NOBODY), **at_host(world, NOBODY)}
    closed |= {tcp(gateway, 8080): NOBODY for gateway in INNER_GATEWAYS}
    with lab.underlay.popen(talk.server("lan", ["tcp/9999"]), log="server-lan"):
        there = lab.underlay.internet_v4
        assert misheard(world.run_in("hidden"), {**closed, tcp(there, 9999): NOBODY}) == ""
        assert misheard(world.run_in("one"), {tcp(there, 9999): "lan:9999"}) == ""
    hidden = at_container(world, "hidden", "inner", NOBODY)
    assert misheard(stranger.run, hidden) == ""
    assert misheard(world.run_in("one"), hidden) == ""
    assert misheard(world.run_in("beside"), at_container(world, "hidden", "inner", "hidden")) == ""


def break_out(world: World, box: str) -> None:
    """Give a container of an internal network default routes."""
    for gateway in INNER_GATEWAYS:
        world.inside(box, "ip", "route", "replace", "default", "via", gateway)


def test_internal_network_reaches_no_port_that_pynet_itself_carries(world: World) -> None:
    world.network("plain", "--subnet", "10.93.1.0/24")
    world.dual_stack("inner", 2, "--internal")
    world.box("one", "plain", "-p", "8080:80")
    world.serve("one", "tcp/80")
    world.box("hidden", "inner")
    break_out(world, "hidden")

    closed = {**at_host(world, NOBODY), **{tcp(ip, 8080): NOBODY for ip in INNER_GATEWAYS}}
    assert misheard(world.run_in("hidden"), closed) == ""
    assert misheard(world.host.run, at_host(world, "one:80")) == ""


# Within a network


def test_containers_without_icc_do_not_reach_each_other(world: World, lab: Lab) -> None:
    world.dual_stack("blue", 1, "-o", "com.docker.network.bridge.enable_icc=false")
    serving(world, "one", "blue", "-p", "8080:80")
    world.box("two", "blue")

    assert misheard(world.run_in("two"), at_container(world, "one", "blue", NOBODY)) == ""
    assert misheard(world.host.run, at_container(world, "one", "blue", "one")) == ""
    assert misheard(lab.underlay.run, at_host(world, "one:80")) == ""


def test_containers_without_icc_reach_the_ports_of_other_networks_only(world: World) -> None:
    world.dual_stack("blue", 1, "-o", "com.docker.network.bridge.enable_icc=false")
    world.dual_stack("red", 2)
    serving(world, "one", "blue", "-p", "8080:80")
    world.box("two", "blue")
    world.box("three", "red")

    assert misheard(world.run_in("two"), at_host(world, NOBODY)) == ""
    assert misheard(world.run_in("three"), at_host(world, "one:80")) == ""


def test_spokes_reach_hubs_but_not_each_other(world: World) -> None:
    world.dual_stack("wheel", 1, "-o", "isolate=ports")
    world.dual_stack("red", 2)
    serving(world, "hub", "name=wheel,driver-opt=isolate=none")
    serving(world, "late", "red")
    world.docker("network", "connect", "--driver-opt", "isolate=none", "wheel", "late")
    for spoke in ("one", "two"):
        serving(world, spoke, "wheel")

    hubs = {hub: at_container(world, hub, "wheel", hub) for hub in ("hub", "late")}
    for one, other in (("one", "two"), ("two", "one")):
        closed = at_container(world, other, "wheel", NOBODY)
        assert misheard(world.run_in(one), {**closed, **hubs["hub"], **hubs["late"]}) == ""
    spokes = at_container(world, "one", "wheel", "one")
    assert misheard(world.run_in("hub"), {**spokes, **hubs["late"]}) == ""
    world.verify()


# From the LAN


def test_lan_host_with_a_route_reaches_published_ports_only(
    world: World, stranger: Host, route: None
) -> None:
    world.dual_stack("blue", 1)
    serving(world, "one", "blue", "-p", "8080:80")

    stranger.run(["ping", "-c", "1", "-W", "2", "10.93.1.1"])  # the route does lead here
    stranger.run(["ping", "-c", "1", "-W", "2", "fd93:1::1"])
    closed = at_container(world, "one", "blue", NOBODY)
    assert misheard(stranger.run, {**closed, **at_host(world, "one:80")}) == ""


def test_loopback_port_is_not_reached_from_the_lan_or_a_container(
    world: World, stranger: Host, route: None, martians: None
) -> None:
    world.dual_stack("blue", 1)
    words = [f"{ip}:8080:80/{protocol}" for ip in LOOPBACK for protocol in ("tcp", "udp")]
    serving(world, "one", "blue", *(word for mapping in words for word in ("-p", mapping)))
    world.box("near", "blue")
    world.box("own", "bridge")
    astray(stranger.run, str(world.host.v4.ip))
    astray(world.run_in("near"), "10.93.1.1")
    astray(world.run_in("own"), "172.17.0.1")

    closed = {**at_container(world, "one", "blue", NOBODY), **at_host(world, NOBODY)}
    loopback = {tcp("127.0.0.1", 8080): NOBODY, udp("127.0.0.1", 8080): NOBODY}
    for run, link in (
        (stranger.run, Host.uplink),
        (world.run_in("near"), world.bridge("blue")),
        (world.run_in("own"), "docker0"),
    ):
        with arriving(world, link) as packets:
            assert misheard(run, loopback) == ""
            assert packets() >= len(loopback)
    assert misheard(stranger.run, closed) == ""
    here = {tcp("127.0.0.1", 8080): "one:80", udp("127.0.0.1", 8080): "one:80"}
    assert misheard(world.host.run, {**here, tcp("::1", 8080): "one:80"}) == ""


def astray(run: talk.Runner, gateway: str) -> None:
    """Have a host or container send what is for 127.0.0.1 to a neighbour."""
    run(["sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"], stdin="")
    run(["ip", "address", "del", "127.0.0.1/8", "dev", "lo"], stdin="")
    run(["ip", "route", "add", "127.0.0.1", "via", gateway], stdin="")


@contextmanager
def arriving(world: World, link: str) -> Iterator[Callable[[], int]]:
    """Count what comes for 127.0.0.1 through a link or a port of it, before any rule sees it."""
    ports = json.loads(world.host.run(["ip", "-json", "link", "show", "master", link]).stdout)
    links = ", ".join([link, *(port["ifname"] for port in ports)])
    chain = f"{{ type filter hook ingress devices = {{ {links} }} priority -500; }}"
    table = f"""
        add table netdev probe
        add chain netdev probe ingress {chain}
        add rule netdev probe ingress ip daddr 127.0.0.1 counter
    """
    world.host.run(["nft", "-f", "-"], stdin=table)

    def packets() -> int:
        listed = world.host.run(["nft", "list", "table", "netdev", "probe"]).stdout
        counted = re.search(r"counter packets (\d+)", listed)
        assert counted, listed
        return int(counted[1])

    yield packets
    world.host.run(["nft", "delete", "table", "netdev", "probe"])


# Docker's own


def test_dockers_own_networks_are_reached_through_published_ports_only(world: World) -> None:
    world.dual_stack("blue", 1)
    serving(world, "one", "blue", "-p", "8080:80")
    serving(world, "plain", "bridge", "-p", "8090:80")
    world.docker("network", "create", "--internal", "inner")
    serving(world, "hidden", "inner")
    closed = {
        **{tcp(world.address("plain", "bridge"), port): NOBODY for port in (80, 81)},
        **{tcp(world.address("hidden", "inner"), port): NOBODY for port in (80, 81)},
    }
    ours = {tcp(world.address("one", "blue"), port): NOBODY for port in (80, 81)}

    eventually(
        lambda: misheard(world.run_in("one"), closed) == "",
        "Docker's networks are closed to ours",
        deadline_s=CLOSED_WITHIN_S,
        detail=lambda: misheard(world.run_in("one"), closed),
    )
    host = world.host.v4.ip
    assert misheard(world.run_in("one"), {tcp(host, 8090): "plain:80"}) == ""
    assert misheard(world.run_in("plain"), {**ours, tcp(host, 8080): "one:80"}) == ""
    assert misheard(world.run_in("hidden"), ours) == ""
