"""The life of a network and its containers on the host's own network, without a bridge."""

from __future__ import annotations

import json

import pytest

from integration.conformance.dockerd import Dockerd
from integration.conformance.kernel import host_link_of, look
from integration.conformance.methods import SKIP
from integration.conformance.plugin import Plugin
from integration.conformance.records import Network
from integration.conformance.specs import BLUE, BLUE6, GREEN, GREEN6, EndpointSpec, NetworkSpec

ROUTED = {"driver": "host"}


def routed(dockerd: Dockerd, *, name: str = "blue", is_internal: bool = False) -> Network:
    v4, v6 = (BLUE, BLUE6) if name == "blue" else (GREEN, GREEN6)
    return dockerd.create(
        NetworkSpec(name=name, v4=(v4,), v6=(v6,), options=ROUTED, is_internal=is_internal)
    )


def test_network_has_no_link_and_no_gateway_where_dockerd_asks(
    plugin: Plugin, dockerd: Dockerd
) -> None:
    before = look(plugin.host).links

    blue = routed(dockerd)

    assert look(plugin.host).links == before
    asks = dockerd.release.checks_gateway_allocation
    assert (SKIP in dockerd.calls) == asks
    assert [a.gateway is None for a in blue.allocations] == [asks, asks]


def test_run_joins_a_sandbox_to_the_host_itself(plugin: Plugin, dockerd: Dockerd) -> None:
    blue = routed(dockerd)

    web, db = (dockerd.run(name, EndpointSpec(network=blue)) for name in ("web", "db"))

    link = look(plugin.host).links[host_link_of(web.on(blue).id)]
    assert (link.kind, link.master, link.is_up) == ("veth", "", True)
    for version, own in ((4, plugin.host.v4), (6, plugin.host.v6)):
        assert web.sandbox.reaches(db.on(blue).ip(version))
        assert web.sandbox.reaches(str(own.ip))
        assert _routes(plugin, version) == {c.on(blue).ip(version) for c in (web, db)}
    dockerd.stop(db)
    assert _routes(plugin, 4) == {web.on(blue).ip()}


@pytest.mark.parametrize("order", [("blue", "green"), ("green", "blue")])
def test_run_on_two_networks_reaches_those_of_both(
    plugin: Plugin, either_dockerd: Dockerd, order: tuple[str, str]
) -> None:
    networks = [routed(either_dockerd, name=name) for name in order]
    others = [either_dockerd.run(f"on-{n.name}", EndpointSpec(network=n)) for n in networks]

    web = either_dockerd.run("web", *(EndpointSpec(network=n) for n in networks))

    for other, network in zip(others, networks, strict=True):
        for version in (4, 6):
            assert web.sandbox.reaches(other.on(network).ip(version))
            assert other.sandbox.reaches(web.on(network).ip(version))
    for own in (plugin.host.v4, plugin.host.v6):
        assert web.sandbox.reaches(str(own.ip))


def test_internal_containers_reach_each_other_and_nobody_else(
    plugin: Plugin, either_dockerd: Dockerd
) -> None:
    blue = routed(either_dockerd, is_internal=True)

    web, db = (either_dockerd.run(name, EndpointSpec(network=blue)) for name in ("web", "db"))

    assert web.sandbox.reaches(db.on(blue).ip())
    assert web.sandbox.reaches(db.on(blue).ip(6))
    assert not web.sandbox.reaches(str(plugin.host.v4.ip))


def test_connect_disconnect_and_a_crash_leave_the_others_alone(
    plugin: Plugin, either_dockerd: Dockerd
) -> None:
    blue, green = (routed(either_dockerd, name=name) for name in ("blue", "green"))
    web, db = (either_dockerd.run(name, EndpointSpec(network=blue)) for name in ("web", "db"))

    either_dockerd.connect(web, EndpointSpec(network=green))
    either_dockerd.disconnect(web, green)
    assert web.sandbox.reaches(db.on(blue).ip())
    assert web.sandbox.reaches(db.on(blue).ip(6))
    address = web.on(blue).ip()
    either_dockerd.crash(web)

    assert address not in _routes(plugin, 4)
    assert db.sandbox.reaches(str(plugin.host.v4.ip))


def test_container_and_network_outlive_restarts(plugin: Plugin, either_dockerd: Dockerd) -> None:
    blue = routed(either_dockerd)
    web = either_dockerd.run("web", EndpointSpec(network=blue))

    plugin.restart_after_kill()
    either_dockerd.restart_with_live_restore()

    assert web.sandbox.reaches(str(plugin.host.v4.ip))
    db = either_dockerd.run("db", EndpointSpec(network=blue))
    assert web.sandbox.reaches(db.on(blue).ip())
    assert web.sandbox.reaches(db.on(blue).ip(6))


def _routes(plugin: Plugin, version: int) -> set[str]:
    """Return the addresses of containers that the host has a route to."""
    command = ["ip", "-json", f"-{version}", "route", "show", "proto", "89"]
    return {route["dst"] for route in json.loads(plugin.host.run(command).stdout)}
