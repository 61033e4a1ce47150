"""A host with pynet in it for each module, and for each test a dockerd of each release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from integration.conformance import kernel
from integration.conformance.dockerd import Dockerd
from integration.conformance.releases import RELEASES
from integration.conformance.specs import Subnet
from integration.lab import Daemon, Host, Lab

NEEDS = ("root", "ip", "nsenter", "setpriv", "unshare", "bridge", "veth", "ipset", "ping")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """pynet in a host, and nothing else."""

    host: Host
    pynet: Daemon

    def counts(self) -> dict[str, int]:
        """What pynet has on record."""
        status = self.pynet.admin("GET", "/v1/status").body
        return {what: status[what] for what in ("networks", "endpoints", "pools", "leases")}

    def dockerd(self, release: str) -> Dockerd:
        return Dockerd(RELEASES[release], self.host, self.pynet.plugin_socket)

    def restart_after_kill(self) -> None:
        self.pynet.kill()
        self.pynet.start()

    def reaches(self, address: str) -> bool:
        argv = ["ping", "-c", "1", "-w", "2", address]
        return self.host.run(argv, check=False).returncode == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/conformance" in item.path.as_posix():
            item.add_marker(pytest.mark.needs(*NEEDS))


@pytest.fixture(scope="module")
def plugin(lab: Lab) -> Iterator[Plugin]:
    host = lab.host()
    try:
        plugin = Plugin(host=host, pynet=Daemon(host, flags=["--docker-host", "none"]))
        plugin.pynet.start()
        yield plugin
    finally:
        host.close()


@pytest.fixture
def untouched(plugin: Plugin) -> Iterator[kernel.Picture]:
    """The kernel before the test; after it, the kernel and pynet's records must be empty again."""
    before = kernel.look(plugin.host)
    yield before
    kernel.wait_until_like(plugin.host, before)
    assert plugin.counts() == dict.fromkeys(("networks", "endpoints", "pools", "leases"), 0)


@pytest.fixture
def make_dockerd(plugin: Plugin, untouched: kernel.Picture) -> Iterator[Callable[[str], Dockerd]]:
    """Makes a dockerd of a release. Whatever is left on it is removed, and it must not warn."""
    made: list[Dockerd] = []

    def make(release: str) -> Dockerd:
        made.append(plugin.dockerd(release))
        return made[-1]

    yield make
    for dockerd in made:
        dockerd.close()
        assert dockerd.warnings == []


@pytest.fixture(params=RELEASES)
def dockerd(request: pytest.FixtureRequest, make_dockerd: Callable[[str], Dockerd]) -> Dockerd:
    """A dockerd, once of each release."""
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


BLUE = Subnet(pool="10.61.0.0/24")
GREEN = Subnet(pool="10.62.0.0/24")
BLUE6 = Subnet(pool="fd61::/64")
GREEN6 = Subnet(pool="fd62::/64")
