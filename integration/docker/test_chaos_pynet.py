"""pynet killed at any moment: traffic goes on, docker recovers, and nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle

import pytest

from integration.docker.conftest import IDLE, IMAGE, PYNET_IPAM, World

Words = tuple[str, ...]

# From before the first plugin call to behind most of what runs at once here.
MOMENTS_S = (0.05, 0.05, 0.1, 0.1, 0.15, 0.2)
# dockerd repeats a call that broke with the body that it has read already: an empty one.
CUT_OFF = "the body is empty; a call that broke must be made again whole"


@pytest.fixture
def pair(world: World, ipam: Words) -> tuple[str, str]:
    """Two containers on network `blue`, and the address of the second."""
    world.network("blue", *ipam)
    world.box("one", "blue")
    world.box("two", "blue")
    return "one", world.address("two", "blue")


def test_traffic_goes_on_however_pynet_ends_and_starts(world: World, pair: tuple[str, str]) -> None:
    with world.traffic(*pair):
        world.pynet.kill()
        world.pynet.start()
        world.pynet.restart()
        for moment_s in (0.2, 0.4, 0.6):
            world.pynet.kill()
            world.pynet.start(wait=False)
            time.sleep(moment_s)  # a moment to kill at, not a wait for something
        world.pynet.kill()
        world.pynet.start()

    world.verify()


def test_docker_waits_for_a_daemon_that_is_away(world: World, pair: tuple[str, str]) -> None:
    world.pynet.kill()

    with started(lambda: world.box("three", "blue")) as started_box:
        assert not started_box.done()
        world.pynet.start()

    assert world.pings("three", pair[1])


def test_container_that_ended_while_pynet_was_away_leaves_nothing(
    world: World, pair: tuple[str, str]
) -> None:
    world.pynet.kill()

    with started(lambda: world.docker("rm", "--force", "two")):
        world.pynet.start()

    assert [e["name"] for e in world.endpoints() if e["joined"]] == ["one"]
    assert world.pings("one", world.gateway("blue"))


@pytest.mark.timeout(240)
def test_daemon_killed_amid_everything_at_once(world: World) -> None:
    for name, ipam in (("blue", PYNET_IPAM), ("red", ())):
        world.network(name, *ipam)
        for side in ("one", "two"):
            world.box(f"{name}-{side}", name)

    with (
        world.traffic("blue-one", world.address("blue-two", "blue")),
        world.traffic("red-one", world.address("red-two", "red")),
    ):
        for moment_s, name in zip(MOMENTS_S, cycle(("blue", "red")), strict=False):
            round_of_everything(world, name, moment_s)

    assert world.pings("blue-two", world.address("blue-one", "blue"))
    world.verify()


def round_of_everything(world: World, name: str, moment_s: float) -> None:
    """Have docker do all it can on networks of one kind, and kill pynet in the middle."""
    commands = list(prepared(world, name))
    with ThreadPoolExecutor(len(commands)) as pool:
        ends = [pool.submit(world.docker, *command, check=False) for command in commands]
        time.sleep(moment_s)  # a moment to kill at, not a wait for something
        world.pynet.kill()
        world.pynet.start()
    for end in ends:
        done = end.result()
        assert done.returncode == 0 or CUT_OFF in done.stderr, done.stderr
    tidy(world, name)


def prepared(world: World, name: str) -> Iterator[Words]:
    """Make what is to be changed, and yield the docker commands that change it."""
    ipam = PYNET_IPAM if name == "blue" else ()
    for network in ("side", "going"):
        world.network(f"{name}-{network}", *ipam)
    on_side = ("--network", f"{name}-side")
    world.docker("create", "--name", f"{name}-starting", *on_side, IMAGE, *IDLE)
    for box in ("connecting", "leaving", "stopping"):
        world.box(f"{name}-{box}", f"{name}-side")
    yield "network", "create", "-d", "pynet", *ipam, f"{name}-coming"
    yield "network", "rm", f"{name}-going"
    yield "start", f"{name}-starting"
    yield "network", "connect", name, f"{name}-connecting"
    yield "network", "disconnect", f"{name}-side", f"{name}-leaving"
    yield "kill", f"{name}-stopping"


def tidy(world: World, name: str) -> None:
    """Remove what a round left, as a user would: by name, and in vain where it never came up."""
    boxes = ("starting", "connecting", "leaving", "stopping")
    world.docker("rm", "--force", *(f"{name}-{box}" for box in boxes))
    there = world.docker("network", "ls", "--format", "{{.Name}}").stdout.split()
    networks = [f"{name}-{network}" for network in ("side", "going", "coming")]
    world.remove_networks(*(network for network in networks if network in there))


@contextmanager
def started(work: Callable[[], object]) -> Iterator[Future[object]]:
    """Have `work` done beside the body, and wait for it behind."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield future
        future.result()
