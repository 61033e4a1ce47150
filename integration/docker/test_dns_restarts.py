"""Names while pynet or dockerd ends and starts, and while a container goes, under load."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from integration.conftest import EngineHost, skip_without
from integration.docker.conftest import IDLE, IMAGE, PYNET_IPAM, World
from integration.docker.names import DOCKER_TTL_S, reply, told, unknown
from integration.lab import Daemon, Engine, Lab, dns_client, dns_load, eventually, probes
from integration.lab.dns_client import Question
from integration.lab.dns_load import Load
from integration.lab.upstream import Upstream

PER_SECOND = 1000
STAYING = 10
# What pynet promises for a container that it left without saying so.
FALLS_BACK_S = 30.0
# Whatever answers, it is asked for so long before something happens to it, and behind.
RUNS_S = 1.0
LOAD_ENDS_S = 15.0

WEB, SPARE = "10.93.1.10", "10.93.1.11"

pytestmark = pytest.mark.usefixtures("upstream")


@pytest.fixture(scope="module")
def engine_host(lab: Lab) -> Iterator[EngineHost]:
    """A host whose containers outlive dockerd."""
    skip_without(*probes.OF_AN_ENGINE)
    host = lab.host()
    try:
        running = EngineHost(host=host, engine=Engine(host, live_restore=True), pynet=Daemon(host))
        running.pynet.start()
        running.engine.start()
        running.engine.image("pynet-box")
        yield running
    finally:
        host.close()


@pytest.fixture
def client(world: World) -> str:
    """A container beside `web`, which pynet knows."""
    world.network("blue", *PYNET_IPAM, "--subnet", "10.93.1.0/24")
    world.box("web", "blue", "--ip", WEB, "--network-alias", "shop")
    world.box("client", "blue")
    told(world.run_in("client"), "web", WEB)
    return "client"


class Loads:
    """What two clients have found, of which the second keeps its sockets."""

    found: tuple[Load, ...] = ()

    @property
    def unanswered(self) -> int:
        return sum(load.unanswered for load in self.found)

    @property
    def answers(self) -> set[str]:
        return {answer for load in self.found for answer in load.answers}

    def last_s(self, address: str) -> float:
        """When an address was last in an answer, on the monotonic clock."""
        return max(
            (at for load in self.found for said, at in load.last_s.items() if address in said),
            default=0.0,
        )


@contextmanager
def loaded(world: World, box: str, name: str) -> Iterator[Loads]:
    """Have a name asked for all the while, 1000 times a second."""
    loads = Loads()
    commands = (
        dns_load.command(name, per_second=PER_SECOND // 2),
        dns_load.command(name, per_second=PER_SECOND // 2, stay=STAYING),
    )
    asking = [
        world.popen_in(box, command, log=f"load-{number}")
        for number, command in enumerate(commands)
    ]
    try:
        for process in asking:
            eventually(process.output, "the load has begun", detail=process.tail)
        time.sleep(RUNS_S)
        yield loads
        time.sleep(RUNS_S)
    finally:
        for process in asking:
            process.stop(grace_s=LOAD_ENDS_S)
    loads.found = tuple(dns_load.result(process.output()) for process in asking)
    assert all(load.asked > RUNS_S * PER_SECOND / 2 for load in loads.found), loads.found


def test_every_query_is_answered_while_pynet_restarts(world: World, client: str) -> None:
    with loaded(world, client, "web") as loads:
        world.pynet.restart()
        told(world.run_in(client), "web", WEB)

    assert loads.unanswered == 0, loads.found
    assert loads.answers == {WEB}


def test_stopped_pynet_leaves_docker_to_answer_at_once(world: World, client: str) -> None:
    with loaded(world, client, "web") as loads:
        world.pynet.stop()
        answered = reply(world.run_in(client), "web")

    assert (answered.values, answered.ttls) == ([WEB], {DOCKER_TTL_S})
    assert loads.unanswered == 0, loads.found
    assert loads.answers == {WEB}


def test_killed_pynet_leaves_docker_to_answer_within_half_a_minute(
    world: World, client: str
) -> None:
    world.pynet.kill()

    eventually(
        lambda: docker_answers(world, client),
        "Docker answers",
        deadline_s=FALLS_BACK_S,
    )
    world.pynet.start()

    told(world.run_in(client), "web.blue.pynet", WEB)
    told(world.run_in(client), "web", WEB)


def docker_answers(world: World, client: str) -> bool:
    (answered,) = dns_client.ask(world.run_in(client), Question("web"))
    return answered is not None and (answered.values, answered.ttls) == ([WEB], {DOCKER_TTL_S})


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_started_again_pynet_answers_in_sandboxes_that_it_left(
    world: World, client: str, how: str
) -> None:
    world.pynet.stop() if how == "stop" else world.pynet.kill()
    world.pynet.start()

    told(world.run_in(client), "web", WEB)
    told(world.run_in(client), "web.blue.pynet", WEB)
    told(world.run_in(client), "web.blue.pynet", WEB, protocol="tcp")
    world.box("late", "blue", "--ip", SPARE)
    told(world.run_in(client), "late.blue.pynet", SPARE)
    told(world.run_in("late"), "web.blue.pynet", WEB)


def test_container_that_came_while_pynet_was_away_has_names(world: World, client: str) -> None:
    world.docker("create", "--name", "late", "--network", "blue", "--ip", SPARE, IMAGE, *IDLE)
    world.docker("rename", "web", "site")
    world.pynet.stop()
    world.docker("rename", "site", "place")
    world.pynet.start()
    world.docker("start", "late")

    told(world.run_in(client), "place.blue.pynet", WEB)
    told(world.run_in(client), "late.blue.pynet", SPARE)
    unknown(world.run_in(client), "site.blue.pynet")


def test_resolver_that_dies_is_replaced(world: World, client: str) -> None:
    before = world.pynet.helper("netplug.dns")

    os.kill(before, signal.SIGKILL)

    eventually(lambda: replaced(world, before), "there is another resolver")

    told(world.run_in(client), "web.blue.pynet", WEB)
    told(world.run_in(client), "web", WEB, protocol="tcp")


def replaced(world: World, before: int) -> bool:
    with suppress(LookupError, OSError):
        return world.pynet.helper("netplug.dns") != before
    return False


def test_removed_container_is_in_no_answer_any_more(world: World, client: str) -> None:
    world.box("spare", "blue", "--ip", SPARE, "--network-alias", "shop")
    told(world.run_in(client), "shop", WEB, SPARE)

    with loaded(world, client, "shop") as loads:
        world.docker("rm", "--force", "spare")
        removed_at = time.monotonic()

    assert loads.unanswered == 0, loads.found
    assert loads.answers == {f"{WEB} {SPARE}", WEB}
    # What clients keep for the TTL comes on top.
    assert loads.last_s(SPARE) < removed_at + 1.0


def test_names_outlive_a_restart_of_dockerd(world: World, client: str) -> None:
    with loaded(world, client, "web") as loads:
        world.engine.restart()
        told(world.run_in(client), "web", WEB)

    assert loads.unanswered == 0, loads.found
    assert loads.answers == {WEB}
    assert reply(world.run_in(client), f"www.{Upstream.zone}").values == [Upstream.answer]
    world.box("late", "blue", "--ip", SPARE)
    told(world.run_in(client), "late.blue.pynet", SPARE)


def test_names_outlive_a_crash_of_dockerd(world: World, client: str) -> None:
    world.engine.kill()
    world.engine.start()

    told(world.run_in(client), "web.blue.pynet", WEB)
    world.docker("rename", "web", "site")
    told(world.run_in(client), "site.blue.pynet", WEB)
