"""A host with pynet in it for each module, and for each test a dockerd of each release."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from integration.conformance import kernel
from integration.conformance.dockerd import Dockerd
from integration.conformance.plugin import Plugin
from integration.conformance.releases import RELEASES
from integration.lab import Daemon, Lab

# moby libnetwork/drivers/bridge/setup_ip_forwarding.go
DOCKERD_STARTS = """
echo 1 > /proc/sys/net/ipv4/ip_forward
iptables -P FORWARD DROP
ip6tables -P FORWARD DROP
"""
NEEDS = (
    "root",
    "ip",
    "nsenter",
    "setpriv",
    "unshare",
    "bridge",
    "veth",
    "ipset",
    "iptables",
    "ping",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/conformance" in item.path.as_posix():
            item.add_marker(pytest.mark.needs(*NEEDS))


@pytest.fixture(scope="module")
def plugin(lab: Lab) -> Iterator[Plugin]:
    host = lab.host()
    try:
        host.run(["sh", "-ec", DOCKERD_STARTS])
        plugin = Plugin(host=host, pynet=Daemon(host, flags=["--docker-host", "none"]))
        plugin.start()
        yield plugin
    finally:
        host.close()


@pytest.fixture
def untouched(plugin: Plugin) -> Iterator[kernel.Picture]:
    """The kernel before the test; after it, the kernel and pynet's records must be like before."""
    before, counts = kernel.look(plugin.host), plugin.counts()
    yield before
    kernel.wait_until_like(plugin.host, before)
    assert plugin.counts() == counts


@pytest.fixture
def make_dockerd(plugin: Plugin, untouched: kernel.Picture) -> Iterator[Callable[[str], Dockerd]]:
    """Makes a dockerd of a release. Whatever is left on it is removed, and it must not warn."""
    made: list[Dockerd] = []

    def make(release: str) -> Dockerd:
        made.append(Dockerd(RELEASES[release], plugin.host, plugin.pynet.plugin_socket))
        return made[-1]

    yield make
    for dockerd in made:
        dockerd.close()
        assert dockerd.warnings == []


@pytest.fixture(params=RELEASES)
def dockerd(request: pytest.FixtureRequest, make_dockerd: Callable[[str], Dockerd]) -> Dockerd:
    """A dockerd, once of each release."""
    return make_dockerd(request.param)


@pytest.fixture(params=["20.10", "29"])
def either_dockerd(
    request: pytest.FixtureRequest, make_dockerd: Callable[[str], Dockerd]
) -> Dockerd:
    """The oldest and the newest, where those between do as one of them."""
    return make_dockerd(request.param)


@pytest.fixture(params=["28", "29"])
def recent_dockerd(
    request: pytest.FixtureRequest, make_dockerd: Callable[[str], Dockerd]
) -> Dockerd:
    """A dockerd of the releases that know networks without IPv4 or without gateways."""
    return make_dockerd(request.param)


@pytest.fixture
def newest(make_dockerd: Callable[[str], Dockerd]) -> Dockerd:
    return make_dockerd("29")
