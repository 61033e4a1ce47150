"""Many callers at once, as when a host boots or a project comes up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from integration.conformance.dockerd import Dockerd
from integration.conformance.kernel import bridge_of, host_link_of, look, wait_until_like
from integration.conformance.plugin import Plugin
from integration.conformance.records import Container, Network
from integration.conformance.specs import BLUE, BLUE6, EndpointSpec, NetworkSpec

CALLERS = 32
NETWORKS = 8
NAMES = 20
ROUNDS = 3


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CALLERS) as pool:
        yield pool


def test_callers_on_one_network_never_share_an_address(
    plugin: Plugin, dockerd: Dockerd, callers: ThreadPoolExecutor
) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    empty = look(plugin.host)

    def attach(number: int) -> Container:
        container = dockerd.prepare(f"c{number}")
        dockerd.connect(container, EndpointSpec(network=blue))
        return container

    containers = list(callers.map(attach, range(CALLERS)))

    endpoints = [container.on(blue) for container in containers]
    assert len({e.ip() for e in endpoints}) == CALLERS
    assert len({e.mac for e in endpoints}) == CALLERS
    ports = {host_link_of(e.id) for e in endpoints}
    assert look(plugin.host).ports_of(bridge_of(blue.id)) == ports
    list(callers.map(dockerd.stop, containers))
    wait_until_like(plugin.host, empty)
    assert plugin.counts()["leases"] == 1


def test_callers_that_come_and_go_leave_nothing(
    plugin: Plugin, newest: Dockerd, callers: ThreadPoolExecutor
) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    empty = look(plugin.host)

    def come_and_go(number: int) -> None:
        for _ in range(ROUNDS):
            container = newest.prepare(f"c{number}")
            newest.connect(container, EndpointSpec(network=blue, ip=f"10.61.0.{100 + number}"))
            newest.stop(container)

    list(callers.map(come_and_go, range(CALLERS)))

    wait_until_like(plugin.host, empty)
    assert plugin.counts() == {"networks": 1, "endpoints": 0, "pools": 1, "leases": 1}


def test_names_recreated_at_once_have_their_addresses_again(
    plugin: Plugin, newest: Dockerd, callers: ThreadPoolExecutor
) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,), v6=(BLUE6,)))
    names = [f"web-{number}" for number in range(NAMES)]

    def attach(name: str) -> Container:
        container = newest.prepare(name)
        newest.connect(container, EndpointSpec(network=blue))
        return container

    def recreate(container: Container) -> Container:
        newest.stop(container)
        return attach(container.name)

    def places(containers: Iterable[Container]) -> dict[str, tuple[str, str, str]]:
        on = {container.name: container.on(blue) for container in containers}
        return {name: (e.ip(), e.ip(6), e.mac) for name, e in on.items()}

    containers = list(callers.map(attach, names))
    before = places(containers)
    plugin.pynet.kill()
    plugin.start()
    newcomer = callers.submit(attach, "newcomer")

    assert places(callers.map(recreate, containers)) == before
    assert newcomer.result().on(blue).ip() not in {place[0] for place in before.values()}


def test_networks_made_at_once_do_not_overlap(
    plugin: Plugin, newest: Dockerd, callers: ThreadPoolExecutor
) -> None:
    newest.activate()

    def create(number: int) -> Network:
        return newest.create(NetworkSpec(name=f"n{number}"))

    networks = list(callers.map(create, range(NETWORKS)))

    pools = {str(n.allocations[0].pool.network) for n in networks}
    assert len(pools) == NETWORKS
    links = look(plugin.host).links
    assert all(bridge_of(n.id) in links for n in networks)
    list(callers.map(newest.remove, networks))
