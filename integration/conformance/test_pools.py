"""Pools that pynet chooses, in the shapes of each release, to the end of the ranges."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.conformance.client import Refused
from integration.conformance.conftest import DOCKERD_STARTS
from integration.conformance.dockerd import Dockerd
from integration.conformance.methods import RELEASE_POOL, REQUEST_POOL
from integration.conformance.plugin import Plugin
from integration.conformance.replies import prefix
from integration.conformance.specs import EndpointSpec, NetworkSpec, Subnet
from integration.lab import Daemon, Lab

SLICES = ["10.66.0.0/24", "10.66.1.0/24", "10.66.2.0/24", "10.66.3.0/24"]
RANGES = {
    "PYNET_IPAM_RANGES_IPV4": "10.66.0.0/22",
    "PYNET_IPAM_RANGES_IPV6": "fd66::/60 size 62",
}


@pytest.fixture(scope="module")
def plugin(lab: Lab) -> Iterator[Plugin]:
    """A host whose pynet has room for four automatic pools of each family."""
    host = lab.host()
    try:
        host.run(["sh", "-ec", DOCKERD_STARTS])
        plugin = Plugin(host=host, pynet=Daemon(host, flags=["--docker-host", "none"], env=RANGES))
        plugin.start()
        yield plugin
    finally:
        host.close()


def pools(dockerd: Dockerd) -> list[str]:
    return [str(a.pool) for n in dockerd.networks for a in n.allocations]


def test_automatic_pools_that_dockerd_rejects_are_followed_by_others(
    plugin: Plugin, dockerd: Dockerd
) -> None:
    dockerd.routed = [prefix(text) for text in (*SLICES[:2], SLICES[3])]

    for name in ("blue", "green"):
        if name == "green":
            dockerd.routed = dockerd.routed[:2]
        dockerd.create(NetworkSpec(name=name))

    assert pools(dockerd) == [SLICES[2], SLICES[3]]
    assert plugin.counts()["pools"] == 2


def test_automatic_pools_that_dockerd_rejects_all_end_in_an_error(
    plugin: Plugin, dockerd: Dockerd
) -> None:
    dockerd.routed = [prefix("10.66.0.0/16")]
    dockerd.activate()
    del dockerd.calls[:]

    with pytest.raises(Refused, match=r"nothing free in the automatic ranges 10\.66\.0\.0/22: "):
        dockerd.create(NetworkSpec(name="blue"))

    assert dockerd.calls.count(REQUEST_POOL) == len(SLICES) + 1
    assert dockerd.calls.count(RELEASE_POOL) == len(SLICES)
    assert set(plugin.counts().values()) == {0}


def test_automatic_pools_until_none_is_left_and_again_when_one_is(
    plugin: Plugin, dockerd: Dockerd
) -> None:
    made = [dockerd.create(NetworkSpec(name=f"net{n}", v6=(Subnet(),))) for n in range(4)]

    with pytest.raises(Refused, match="remove a network, or give one a --subnet"):
        dockerd.create(NetworkSpec(name="blue"))
    with pytest.raises(Refused, match=r"nothing free in the automatic ranges fd66::/60"):
        dockerd.create(NetworkSpec(name="blue", v4=(Subnet(pool="10.61.0.0/24"),), v6=(Subnet(),)))

    of_ipv6 = {f"fd66:0:0:{n}::/62" if n else "fd66::/62" for n in ("", "4", "8", "c")}
    assert set(pools(dockerd)) == {*SLICES, *of_ipv6}
    freed = {a.pool for a in made[1].allocations}
    dockerd.remove(made[1])
    again = dockerd.create(NetworkSpec(name="blue", v6=(Subnet(),)))
    assert {a.pool for a in again.allocations} == freed


def test_pools_of_a_size_only_are_cut_to_it(plugin: Plugin, dockerd: Dockerd) -> None:
    small = NetworkSpec(name="blue", v4=(Subnet(pool="0.0.0.0/26"),), v6=(Subnet(pool="::/80"),))

    first = dockerd.create(small)
    second = dockerd.create(small)

    assert [a.pool.network.prefixlen for a in first.allocations] == [26, 80]
    assert len(set(pools(dockerd))) == 4
    web = dockerd.run("web", EndpointSpec(network=second))
    for allocation in second.allocations:
        assert allocation.gateway is not None
        assert web.sandbox.reaches(str(allocation.gateway.ip))


def test_network_of_several_pools_of_a_size_has_them_all(
    plugin: Plugin, either_dockerd: Dockerd
) -> None:
    wish = (Subnet(pool="0.0.0.0/28"), Subnet(pool="0.0.0.0/30"), Subnet(pool="10.61.0.0/31"))

    blue = either_dockerd.create(NetworkSpec(name="blue", v4=wish))

    assert [a.pool.network.prefixlen for a in blue.allocations] == [28, 30, 31]


@pytest.mark.parametrize("size", [48, 80, 112, 127])
def test_network_of_any_size_of_ipv6_connects(plugin: Plugin, newest: Dockerd, size: int) -> None:
    subnet = Subnet(pool=f"fd61:{size}::/{size}")

    blue = newest.create(NetworkSpec(name="blue", v4=(), v6=(subnet,)))

    (allocation,) = blue.allocations
    web = newest.run("web", EndpointSpec(network=blue))
    assert web.on(blue).held[0].address.network.prefixlen == size
    assert allocation.gateway is not None
    assert web.sandbox.reaches(str(allocation.gateway.ip))
