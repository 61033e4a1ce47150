"""Routed containers while the uplink, routes, proxied addresses, pynet and dockerd come and go."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from integration.docker.conftest import World, sent_and_received
from integration.docker.lan import (
    HEALED_S,
    ROUTER,
    addresses,
    on_lan,
    reached,
    reached_from_lan,
    wait_until_healed,
)
from integration.lab import Underlay, eventually

RENAMED = "lan0"


@pytest.fixture
def container(world: World, request: pytest.FixtureRequest) -> list[str]:
    """The addresses of a container, `one`, which is routed unless a test says otherwise."""
    on_lan(world, "blue", "-o", f"mode={getattr(request, 'param', 'routed')}")
    world.box("one", "blue", "--restart", "always")
    return addresses(world, "one", "blue")


in_each_mode = pytest.mark.parametrize(
    "container",
    ["routed", pytest.param("macvlan", marks=pytest.mark.needs("macvlan"))],
    indirect=True,
)


def settle(world: World, link: str) -> None:
    """Give the uplink back what it loses by going down, as whoever manages the network does."""
    lines = [
        f"address replace {world.host.v6} dev {link} nodad",
        f"route replace default via {ROUTER[0]} dev {link}",
        f"route replace ::/0 via {ROUTER[1]} dev {link}",
    ]
    world.host.run(["ip", "-batch", "-"], stdin="\n".join(lines))


def bounce(world: World, link: str, name: str) -> None:
    """Take a link down, give it a name, and take it up again."""
    lines = [f"link set {link} down", *([f"link set {link} name {name}"] if name != link else [])]
    world.host.run(["ip", "-batch", "-"], stdin="\n".join([*lines, f"link set {name} up"]))
    settle(world, name)


@contextmanager
def traffic_from_lan(underlay: Underlay, to: str) -> Iterator[None]:
    """Ping from the LAN all the while, and prove at the end that no answer was lost."""
    sender = underlay.popen(["ping", "-i", "0.02", to], log="lan-traffic")
    eventually(lambda: "icmp_seq=" in sender.output(), "traffic flows", detail=sender.output)
    yield
    sent, answered = sent_and_received(sender)
    assert sent - answered <= 1, f"{sent} packets sent and {answered} answered"


@contextmanager
def followed(world: World, name: str) -> Iterator[None]:
    """Give a link that name in the body, and wait until pynet has heard of it."""

    def heard() -> int:
        return world.pynet.pynet("events").stdout.count(f"is called {name} now")

    before = heard()
    yield
    eventually(lambda: heard() > before, f"pynet calls the link {name}", deadline_s=HEALED_S)


# Faults: what is done to the host


def routes_flushed(world: World) -> None:
    for family in ("-4", "-6"):
        world.host.run(["ip", family, "route", "flush", "proto", "89"])


def proxies_removed(world: World) -> None:
    for family in ("-4", "-6"):
        shown = world.host.run(["ip", family, "neighbour", "show", "proxy"]).stdout
        for line in shown.splitlines():
            address, *words = line.split()
            link = words[words.index("dev") + 1]
            world.host.run(["ip", "neighbour", "delete", "proxy", address, "dev", link])


def switches_off(world: World) -> None:
    for name in ("ipv4.conf.uplink0.forwarding", "ipv6.conf.uplink0.proxy_ndp"):
        world.host.run(["sysctl", "-qw", f"net.{name}=0"])


def uplink_down_and_up(world: World) -> None:
    bounce(world, world.host.uplink, world.host.uplink)


def container_link_down(world: World) -> None:
    (endpoint,) = world.endpoints()
    world.host.run(["ip", "link", "set", endpoint["link"], "down"])


@pytest.mark.parametrize(
    "fault",
    [
        routes_flushed,
        proxies_removed,
        switches_off,
        uplink_down_and_up,
        container_link_down,
    ],
)
def test_fault_is_healed_in_seconds(
    world: World,
    underlay: Underlay,
    container: list[str],
    fault: Callable[[World], None],
) -> None:
    assert reached_from_lan(underlay, container) == {*container}

    fault(world)
    underlay.forget_neighbours()

    wait_until_healed(underlay, container)
    assert reached(world, "one", ROUTER) == {*ROUTER}
    eventually(
        lambda: world.pynet.pynet("verify", check=False).returncode == 0,
        "all is as planned",
        deadline_s=HEALED_S,
    )


@in_each_mode
def test_renamed_uplink_is_followed_there_and_back(
    world: World, underlay: Underlay, container: list[str]
) -> None:
    uplink = world.host.uplink
    try:
        with followed(world, RENAMED):
            bounce(world, uplink, RENAMED)
        underlay.forget_neighbours()
        wait_until_healed(underlay, container)
    finally:
        with followed(world, uplink):
            bounce(world, RENAMED, uplink)
    underlay.forget_neighbours()

    wait_until_healed(underlay, container)
    world.box("two", "blue")
    assert reached(world, "two", [*container, *ROUTER]) == {*container, *ROUTER}


@in_each_mode
def test_mtu_of_the_uplink_becomes_that_of_the_container(
    world: World, underlay: Underlay, container: list[str]
) -> None:
    def has(mtu: int) -> bool:
        shown = world.exec("one", "cat", "/sys/class/net/eth0/mtu").stdout.strip()
        return shown == str(mtu)

    for mtu in (1400, 1500):
        world.host.run(["ip", "link", "set", world.host.uplink, "mtu", str(mtu)])
        eventually(lambda mtu=mtu: has(mtu), f"the MTU is {mtu}", deadline_s=HEALED_S)
    assert reached_from_lan(underlay, container) == {*container}


def test_traffic_goes_on_however_pynet_ends_and_starts(
    world: World, underlay: Underlay, container: list[str]
) -> None:
    with traffic_from_lan(underlay, container[0]), traffic_from_lan(underlay, container[1]):
        world.pynet.restart()
        world.pynet.kill()
        world.pynet.start()
        world.wait_until_ready()
    world.verify()


def test_container_is_reached_after_restarts_of_it_and_of_dockerd(
    world: World, underlay: Underlay, container: list[str]
) -> None:
    world.docker("restart", "one")
    wait_until_healed(underlay, addresses(world, "one", "blue"))

    world.engine.process.signal(signal.SIGKILL)
    world.engine.process.wait()
    world.pynet.kill()
    world.pynet.start()
    world.engine.start()

    eventually(
        lambda: [e["joined"] for e in world.endpoints()] == [True], "the container comes back"
    )
    now = addresses(world, "one", "blue")
    assert reached_from_lan(underlay, now) == {*now}
    assert reached(world, "one", ROUTER) == {*ROUTER}
