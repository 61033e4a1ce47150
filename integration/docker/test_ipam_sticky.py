"""A name has the same address and MAC again after everything that can happen to its container.

This engine does not say for whom it asks: pynet tells it from the engine's events.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from integration.docker.conftest import IMAGE, PYNET_IPAM, World
from integration.lab.waiting import eventually

TIMES = 20
COMPOSE = f"""\
version: "2.4"
services:
  web:
    image: {IMAGE}
    command: ["sh", "-c", "trap 'exit 0' TERM; sleep 900 & wait"]
  db:
    image: {IMAGE}
    command: ["sh", "-c", "trap 'exit 0' TERM; sleep 900 & wait"]
networks:
  default:
    external:
      name: blue
"""


class Place(NamedTuple):
    """Where a container is on a network."""

    ipv4: str
    ipv6: str
    mac: str


def place(world: World, box: str, network: str = "blue") -> Place:
    """Return where a running container is."""
    on = world.inspect(box)["NetworkSettings"]["Networks"][network]
    return Place(on["IPAddress"], on["GlobalIPv6Address"], on["MacAddress"])


def outcomes(world: World, network: str = "blue") -> dict[str, str]:
    """Return what pynet says of each owner's addresses."""
    leases = world.pynet.admin("GET", f"/v1/ipam/leases?pool={network}").body["leases"]
    return {lease["owner"]: lease["sticky"] for lease in leases}


def until_named(world: World, box: str) -> None:
    """Wait until pynet has been told whose an address is."""
    eventually(lambda: box in outcomes(world), f"{box} is known", detail=lambda: outcomes(world))


def until_followed(world: World) -> None:
    """Wait until pynet follows the engine again; who asks before waits for that 50 ms at most."""

    def answers() -> bool:
        return bool(world.pynet.admin("GET", "/v1/status").body["engine"]["version"])

    eventually(answers, "the engine is followed")


@pytest.fixture
def others(world: World) -> None:
    """A network with two containers that run and one that ended."""
    world.dual_stack("blue", 1)
    for name in ("one", "two"):
        world.box(name, "blue")
    world.docker("run", "--name", "ended", "--network", "blue", IMAGE, "true")


@pytest.mark.usefixtures("others")
def test_name_that_is_removed_and_run_again_among_others(world: World) -> None:
    world.box("web", "blue")
    before = place(world, "web")

    seen = set()
    for number in range(TIMES):
        world.docker("rm", "--force", "web")
        if number % 5 == 0:
            world.docker("rm", "--force", "two")
            world.box("two", "blue")
        world.box("web", "blue")
        seen.add(place(world, "web"))

    assert seen == {before}
    eventually(lambda: outcomes(world)["web"] == "kept", "pynet says that it was kept")
    assert world.pynet.pynet_json("ipam", "audit")["findings"] == []


@pytest.mark.usefixtures("others")
@pytest.mark.needs("docker-compose")
def test_service_that_is_recreated(world: World, project: Path) -> None:
    world.host.write_file(str(project / "docker-compose.yml"), COMPOSE)
    world.engine.compose(project, "up", "--detach")
    before = place(world, "project_web_1")

    seen = set()
    for _ in range(TIMES):
        world.engine.compose(
            project, "up", "--detach", "--force-recreate", "--no-deps", "--timeout", "1", "web"
        )
        seen.add(place(world, "project_web_1"))

    assert seen == {before}


@pytest.mark.usefixtures("others")
def test_container_that_stops_and_starts_over_restarts_of_everything(world: World) -> None:
    world.docker("rm", "ended")
    world.box("web", "blue")
    before = place(world, "web")
    until_named(world, "web")

    world.docker("restart", "--time", "1", "web")
    assert place(world, "web") == before

    world.docker("stop", "--time", "1", "web")
    world.pynet.kill()
    world.pynet.start()
    world.docker("start", "web")
    assert place(world, "web") == before

    for end in (world.engine.stop, world.engine.kill):
        world.docker("rm", "--force", "web")
        end()
        world.engine.start()
        until_followed(world)
        world.box("web", "blue")
        assert place(world, "web") == before
        until_named(world, "web")


def test_only_container_of_a_network_comes_back_with_the_engine(world: World) -> None:
    """Dockerd starts it before it serves its API."""
    world.dual_stack("blue", 1)
    world.box("web", "blue", "--restart", "always")
    before = place(world, "web")
    until_named(world, "web")

    for end in (world.engine.stop, world.engine.kill):
        end()
        world.engine.start()
        eventually(lambda: place(world, "web").ipv4 != "", "the container runs again")
        assert place(world, "web") == before


def test_name_never_gets_what_is_kept_for_another_while_others_are_free(world: World) -> None:
    world.network("blue", *PYNET_IPAM, "--subnet", "10.93.1.0/29")  # five for containers
    kept = {}
    for name in ("one", "two", "three"):
        world.box(name, "blue")
        kept[name] = place(world, name)
        until_named(world, name)
        world.docker("rm", "--force", name)

    for name in ("four", "five"):
        world.box(name, "blue")
        assert place(world, name) not in kept.values()
    world.box("six", "blue")
    assert place(world, "six") in kept.values()


def test_network_that_keeps_nothing_gives_addresses_in_turn(world: World) -> None:
    off = ("--ipam-opt", "sticky=off")
    world.network("blue", *PYNET_IPAM, "--subnet", "10.93.1.0/24", *off)

    seen = []
    for _ in range(3):
        world.box("web", "blue")
        seen.append(place(world, "web").ipv4)
        world.docker("rm", "--force", "web")

    assert seen == ["10.93.1.2", "10.93.1.3", "10.93.1.4"]


def test_several_that_start_at_once_get_what_is_kept_for_nobody(world: World) -> None:
    """Best effort: this engine does not tell them apart, and each may get a new address."""
    world.dual_stack("blue", 1)
    names = ("one", "two", "three")
    for name in names:
        world.box(name, "blue")
        until_named(world, name)
    before = {name: place(world, name) for name in names}
    world.docker("stop", "--time", "1", *names)

    world.docker("start", *names)
    for name in names:
        until_named(world, name)

    for name in names:
        others = {p for other, p in before.items() if other != name}
        assert place(world, name) not in others
    assert set(outcomes(world).values()) <= {"", "kept", "ambiguous"}
