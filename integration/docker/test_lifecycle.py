"""What a user does with networks and containers all day, with pynet's addresses and Docker's."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.docker.conftest import World
from integration.lab import eventually

Words = tuple[str, ...]

COMPOSE = """
version: "3"
services:
  web: {image: pynet-box, command: sleep 900, stop_signal: KILL, networks: [front]}
  app: {image: pynet-box, command: sleep 900, stop_signal: KILL, networks: [front, back]}
  db: {image: pynet-box, command: sleep 900, stop_signal: KILL, networks: [back]}
networks:
  front: {driver: pynet}
  back: {driver: pynet, ipam: {driver: pynet}}
"""


def test_network_is_shown_by_docker_and_pynet_until_removed(world: World, ipam: Words) -> None:
    network_id = world.network("blue", *ipam)

    shown = world.inspect_network("blue")
    ours = world.pynet.admin("GET", f"/v1/networks/{network_id}").body
    assert shown["Driver"] == "pynet"
    assert shown["IPAM"]["Config"][0]["Subnet"] == ours["subnets"][0]["pool"]
    eventually(
        lambda: world.networks()[0]["name"] == "blue",
        "pynet learns the network's name",
    )
    assert world.pynet.pynet("network", "ls").stdout.count("blue") == 1
    world.verify()

    world.docker("network", "rm", "blue")

    world.wait_until_empty()


def test_containers_reach_each_other_by_name_and_address(world: World, ipam: Words) -> None:
    world.network("blue", *ipam)
    world.box("one", "blue")
    world.box("two", "blue")

    assert world.pings("one", "two")
    assert world.pings("two", world.address("one", "blue"))
    assert world.pings("one", world.gateway("blue"))
    world.verify()


def test_connected_container_has_a_link_on_each_network(world: World, ipam: Words) -> None:
    for network in ("blue", "red"):
        world.network(network, *ipam)
    world.box("one", "blue")
    world.box("two", "red")
    before = world.exec("one", "ip", "-o", "link").stdout.count("\n")

    world.docker("network", "connect", "red", "one")

    assert world.pings("one", "two")
    assert world.exec("one", "ip", "-o", "link").stdout.count("\n") == before + 1

    world.docker("network", "disconnect", "red", "one")

    assert not world.pings("one", world.address("two", "red"), wait_s=1)
    assert world.exec("one", "ip", "-o", "link").stdout.count("\n") == before
    assert len(world.endpoints()) == 2
    world.verify()


def test_last_network_disconnected_and_connected_again(world: World, ipam: Words) -> None:
    world.network("blue", *ipam)
    world.box("one", "blue")
    world.box("two", "blue")

    world.docker("network", "disconnect", "blue", "one")
    world.docker("network", "connect", "blue", "one")

    assert world.pings("one", "two")
    assert len(world.endpoints()) == 2


def test_stopped_container_holds_nothing_and_comes_back(world: World, ipam: Words) -> None:
    world.network("blue", *ipam)
    world.box("one", "blue")
    world.box("two", "blue")

    world.docker("stop", "one")
    assert len(world.endpoints()) == 1
    world.docker("start", "one")
    assert world.pings("one", "two")
    world.docker("restart", "one")
    assert world.pings("one", "two")
    assert len(world.endpoints()) == 2
    world.verify()


@pytest.mark.parametrize("how", ["docker", "host"])
def test_killed_container_gives_everything_back(world: World, ipam: Words, how: str) -> None:
    world.network("blue", *ipam)
    world.box("one", "blue")

    if how == "docker":
        world.docker("kill", "--signal", "KILL", "one")
    else:
        world.host.run(["kill", "-9", str(world.inspect("one")["State"]["Pid"])])
    eventually(lambda: not world.endpoints(), "the killed container's endpoint goes")

    world.docker("start", "one")
    assert world.pings("one", world.gateway("blue"))


def test_container_that_restarts_itself_gets_a_link_again(world: World, ipam: Words) -> None:
    world.network("blue", *ipam)
    world.box("one", "blue", "--restart", "always")
    (before,) = world.endpoints()

    world.host.run(["kill", "-9", str(world.inspect("one")["State"]["Pid"])])

    eventually(
        lambda: [e["id"] for e in world.endpoints()] not in ([], [before["id"]]),
        "the container comes back",
    )
    assert world.pings("one", world.gateway("blue"))


def test_renamed_container_is_known_by_its_new_name(world: World, ipam: Words) -> None:
    world.network("blue", *ipam)
    world.box("one", "blue")

    world.docker("rename", "one", "uno")

    eventually(
        lambda: [e["name"] for e in world.endpoints()] == ["uno"], "pynet learns the new name"
    )


def test_prune_removes_what_is_unused_only(world: World, ipam: Words) -> None:
    world.network("blue", *ipam)
    world.network("red", *ipam)
    world.box("one", "blue")
    world.docker("create", "--name", "idle", "--network", "red", "pynet-box")

    world.docker("system", "prune", "--force")

    (left,) = world.networks()
    assert left["id"] == world.inspect_network("blue")["Id"]
    assert world.pings("one", world.gateway("blue"))
    world.verify()


def test_network_in_use_is_not_removed(world: World, ipam: Words) -> None:
    world.network("blue", *ipam)
    world.box("one", "blue")

    refused = world.docker("network", "rm", "blue", check=False)

    assert refused.returncode != 0
    assert "has active endpoints" in refused.stderr
    assert world.pings("one", world.gateway("blue"))


def test_removed_container_frees_its_address(world: World, ipam: Words) -> None:
    world.network("blue", *ipam, "--subnet", "10.90.1.0/29")
    world.box("one", "blue", "--ip", "10.90.1.5")

    world.docker("rm", "--force", "one")
    world.box("two", "blue", "--ip", "10.90.1.5")

    assert world.address("two", "blue") == "10.90.1.5"


def test_container_that_cannot_start_leaves_nothing(world: World, ipam: Words) -> None:
    world.network("blue", *ipam)

    refused = world.docker("run", "--network", "blue", "pynet-box", "/no/such", check=False)

    assert refused.returncode == 127
    assert world.endpoints() == []
    world.verify()


@pytest.mark.needs("docker-compose")
def test_compose_project_with_two_networks_comes_and_goes(world: World, project: Path) -> None:
    world.host.write_file(str(project / "docker-compose.yml"), COMPOSE)

    world.engine.compose(project, "up", "--detach")

    web, app, db = (
        world.engine.compose(project, "ps", "-q", service).stdout.strip()
        for service in ("web", "app", "db")
    )
    assert world.pings(app, "web")
    assert world.pings(app, "db")
    assert not world.pings(web, world.address(db, "project_back"), wait_s=1)
    assert len(world.endpoints()) == 4
    world.verify()

    world.engine.compose(project, "down")

    world.wait_until_empty()
    world.verify()
