"""dockerd restarted, killed, and the whole host rebooted, with containers running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.conftest import EngineHost
from integration.docker.conftest import FORGOTTEN_DEADLINE_S, OUR_LINK, World
from integration.lab import Daemon, Engine, Lab, eventually

Words = tuple[str, ...]

ALWAYS = ("--restart", "always")


@pytest.fixture
def pair(world: World, ipam: Words) -> tuple[str, str]:
    """Two containers that come back by themselves, and their network."""
    world.network("blue", *ipam)
    for name in ("one", "two"):
        world.box(name, "blue", *ALWAYS)
    return "one", "two"


@pytest.fixture
def live(lab: Lab) -> Iterator[World]:
    """A world in which containers outlive dockerd."""
    host = lab.host()
    engine, pynet = Engine(host, live_restore=True), Daemon(host)
    pynet.start()
    engine.start()
    engine.image("pynet-box")
    world = World(EngineHost(host=host, engine=engine, pynet=pynet))
    yield world
    world.clear()
    world.wait_until_empty()
    host.close()


def test_containers_come_back_after_an_orderly_restart(world: World, pair: tuple[str, str]) -> None:
    world.engine.restart()

    wait_until_whole(world, pair)


def test_containers_come_back_after_every_crash(world: World, pair: tuple[str, str]) -> None:
    world.engine.kill()
    world.engine.start()
    assert_reachable(world, pair)

    world.engine.kill()
    world.pynet.kill()
    world.pynet.start()
    world.engine.start()
    assert_reachable(world, pair)

    reboot(world, pair)
    world.pynet.start()
    world.engine.start()
    assert_reachable(world, pair)

    wait_until_whole(world, pair)
    world.box("three", "blue")
    assert world.pings("three", "one")


def test_containers_outlive_every_way_to_end_dockerd(live: World, ipam: Words) -> None:
    live.network("blue", *ipam)
    live.network("red", *ipam)
    live.box("one", "blue")
    live.box("two", "blue")
    address = live.address("two", "blue")

    with live.traffic("one", address):
        live.engine.restart()
        live.engine.kill()
        live.engine.start()
        live.pynet.kill()
        live.engine.kill()
        live.pynet.start()
        live.engine.start()

    assert live.address("two", "blue") == address
    live.box("three", "blue")
    assert live.address("three", "blue") not in (address, live.address("one", "blue"))
    assert live.pings("three", "two")
    live.docker("network", "connect", "red", "one")
    assert live.pings("one", live.gateway("red"))
    assert len(live.endpoints()) == 4
    live.verify()


def assert_reachable(world: World, pair: tuple[str, str]) -> None:
    """Wait until both run, and prove that they reach each other and the host."""
    eventually(
        lambda: all(world.inspect(box)["State"]["Running"] for box in pair), "containers run"
    )
    one, two = pair
    assert world.pings(one, two)
    assert world.pings(two, world.gateway("blue"))


def wait_until_whole(world: World, pair: tuple[str, str]) -> None:
    """Wait until nothing of the containers' former lives is left.

    With addresses from pynet, dockerd deletes the old endpoints when it starts. With its own, it
    does not load the plugin in time to tell, and pynet finds out by itself.
    """
    assert_reachable(world, pair)
    eventually(
        lambda: len(world.endpoints()) == len(pair),
        "the endpoints of the former containers go",
        deadline_s=FORGOTTEN_DEADLINE_S,
        detail=lambda: str(world.endpoints()),
    )
    ports = [link for link in world.links() if link.startswith("pyv")]
    assert len(ports) == len(pair)
    world.verify()


def reboot(world: World, pair: tuple[str, str]) -> None:
    """End what runs in the host, and take all that goes with the power: links, rules and sets."""
    processes = [str(world.inspect(box)["State"]["Pid"]) for box in pair]
    world.engine.kill()
    world.pynet.kill()
    world.host.run(["kill", "-9", *processes])
    world.host.run(["sh", "-c", "umount /run/docker/netns/*; rm /run/docker/netns/*"], check=False)
    for link in world.links():
        if OUR_LINK.match(link) or link.startswith(("docker", "veth")):
            world.host.run(["ip", "link", "del", link], check=False)
    for command in ("iptables", "ip6tables"):
        for table in ("mangle", "filter", "nat"):
            world.host.run([command, "-t", table, "-F"])
            world.host.run([command, "-t", table, "-X"])
    world.host.run(["ipset", "destroy"])
    world.add_strange_rules()
