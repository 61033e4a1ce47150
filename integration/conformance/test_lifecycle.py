"""From `docker network create` to `docker network rm`: the calls, then the kernel."""

from __future__ import annotations

from integration.conformance.dockerd import Dockerd
from integration.conformance.kernel import (
    bridge_of,
    host_link_of,
    look,
    wait_until_gone,
    wait_until_like,
)
from integration.conformance.methods import (
    ACTIVATION,
    CREATE,
    CREATE_NETWORK,
    DELETE,
    DELETE_NETWORK,
    INFO,
    JOIN,
    LEAVE,
    PROGRAM,
    RELEASE,
    RELEASE_POOL,
    REQUEST,
    REQUEST_POOL,
    REVOKE,
    SKIP,
    SPACES,
)
from integration.conformance.plugin import Plugin
from integration.conformance.specs import BLUE, BLUE6, GREEN, GREEN6, EndpointSpec, NetworkSpec
from integration.lab import Lab

CREATION = {
    "20.10": [*ACTIVATION, SPACES, REQUEST_POOL, REQUEST],
    "24": [*ACTIVATION, SPACES, REQUEST_POOL, REQUEST],
    "27": [*ACTIVATION, SPACES, SPACES, REQUEST_POOL, REQUEST],
    "28": [*ACTIVATION, SKIP, SPACES, SPACES, REQUEST_POOL, REQUEST],
    "29": [*ACTIVATION, SKIP, SPACES, SPACES, REQUEST_POOL, REQUEST],
}


def test_create_makes_a_bridge_with_the_gateway(plugin: Plugin, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), options={"mtu": "1400"}))

    bridge = look(plugin.host).links[bridge_of(blue.id)]
    assert (bridge.kind, bridge.is_up, bridge.mtu_bytes) == ("bridge", True, 1400)
    assert bridge.addresses == {"10.61.0.1/24"}
    assert dockerd.calls == [*CREATION[dockerd.release.name], CREATE_NETWORK]


def test_create_without_subnet_gets_pools_that_nobody_routes(
    plugin: Plugin, either_dockerd: Dockerd
) -> None:
    networks = [either_dockerd.create(NetworkSpec(name=name)) for name in ("blue", "green")]

    pools = [allocation.pool.network for n in networks for allocation in n.allocations]
    assert not pools[0].overlaps(pools[1])
    bridges = [look(plugin.host).links[bridge_of(n.id)] for n in networks]
    gateways = [{str(n.allocations[0].gateway)} for n in networks]
    assert [bridge.addresses for bridge in bridges] == gateways


def test_run_joins_a_sandbox_to_the_bridge(plugin: Plugin, lab: Lab, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), options={"mtu": "1400"}))
    del dockerd.calls[:]

    web = dockerd.run("web", EndpointSpec(network=blue))

    (endpoint,) = web.endpoints
    assert dockerd.calls == [REQUEST, CREATE, JOIN, PROGRAM, INFO]
    port = look(plugin.host).links[host_link_of(endpoint.id)]
    assert (port.kind, port.master, port.is_up) == ("veth", bridge_of(blue.id), True)
    assert port.mtu_bytes == 1400
    inside = web.sandbox.run(["ip", "-oneline", "link", "show", "eth0"]).stdout
    assert "mtu 1400" in inside
    assert f"link/ether {endpoint.mac}" in inside

    db = dockerd.run("db", EndpointSpec(network=blue))
    assert web.sandbox.reaches(db.on(blue).ip())
    assert web.sandbox.reaches("10.61.0.1")
    assert web.sandbox.reaches(str(lab.underlay.internet_v4))
    assert plugin.reaches(endpoint.ip())


def test_run_on_two_networks_leaves_by_the_first_by_name(
    plugin: Plugin, lab: Lab, dockerd: Dockerd
) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    green = dockerd.create(NetworkSpec(name="green", v4=(GREEN,)))

    web = dockerd.run("web", EndpointSpec(network=green), EndpointSpec(network=blue))

    assert {e.interface for e in web.endpoints} == {"eth0", "eth1"}
    route = web.sandbox.run(["ip", "route", "show", "default"]).stdout
    assert f"via 10.61.0.1 dev {web.on(blue).interface}" in route
    for gateway in ("10.61.0.1", "10.62.0.1", str(lab.underlay.internet_v4)):
        assert web.sandbox.reaches(gateway)


def test_connect_and_disconnect_move_the_way_out(plugin: Plugin, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    green = dockerd.create(NetworkSpec(name="green", v4=(GREEN,)))
    web = dockerd.run("web", EndpointSpec(network=green))
    del dockerd.calls[:]

    endpoint = dockerd.connect(web, EndpointSpec(network=blue))

    assert dockerd.calls == [INFO, REQUEST, CREATE, JOIN, REVOKE, PROGRAM, INFO, INFO]
    assert endpoint.interface == "eth1"
    assert look(plugin.host).ports_of(bridge_of(blue.id)) == {host_link_of(endpoint.id)}
    assert web.sandbox.reaches("10.61.0.1")
    del dockerd.calls[:]

    dockerd.disconnect(web, blue)

    assert dockerd.calls == [REVOKE, LEAVE, PROGRAM, DELETE, RELEASE, INFO]
    assert web.sandbox.reaches("10.62.0.1")
    wait_until_gone(plugin.host, host_link_of(endpoint.id))


def test_stop_gives_link_and_address_back(plugin: Plugin, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    before = look(plugin.host)
    web = dockerd.run("web", EndpointSpec(network=blue))
    del dockerd.calls[:]

    dockerd.stop(web)

    assert dockerd.calls == [REVOKE, LEAVE, DELETE, RELEASE]
    wait_until_like(plugin.host, before)
    assert plugin.counts() == {"networks": 1, "endpoints": 0, "pools": 1, "leases": 1}


def test_stop_of_a_container_whose_namespace_is_gone(plugin: Plugin, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    before = look(plugin.host)
    web = dockerd.run("web", EndpointSpec(network=blue))

    dockerd.crash(web)

    wait_until_like(plugin.host, before)


def test_start_after_stop_may_have_the_same_address(
    plugin: Plugin, either_dockerd: Dockerd
) -> None:
    blue = either_dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))

    for _ in range(2):
        web = either_dockerd.run("web", EndpointSpec(network=blue, ip="10.61.0.77"))
        assert web.on(blue).ip() == "10.61.0.77"
        assert web.sandbox.reaches("10.61.0.1")
        either_dockerd.stop(web)


def test_remove_leaves_nothing(plugin: Plugin, dockerd: Dockerd) -> None:
    before = look(plugin.host)
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), v6=(BLUE6,)))
    assert any("10.61.0.0/24" in member for member in look(plugin.host).members)
    del dockerd.calls[:]

    dockerd.remove(blue)

    releases = [RELEASE, RELEASE_POOL]
    assert dockerd.calls == [*releases, *releases, DELETE_NETWORK]
    wait_until_like(plugin.host, before)


def test_dual_stack_reaches_both_ways(plugin: Plugin, lab: Lab, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), v6=(BLUE6,)))
    green = dockerd.create(NetworkSpec(name="green", v4=(GREEN,), v6=(GREEN6,)))

    web = dockerd.run("web", EndpointSpec(network=blue), EndpointSpec(network=green))
    db = dockerd.run("db", EndpointSpec(network=blue))

    assert look(plugin.host).links[bridge_of(blue.id)].addresses == {"10.61.0.1/24", "fd61::1/64"}
    assert [h.address.version for h in web.on(blue).held] == [4, 6]
    for address in (db.on(blue).ip(4), db.on(blue).ip(6), "fd61::1", "fd62::1"):
        assert web.sandbox.reaches(address)
    assert web.sandbox.reaches(str(lab.underlay.internet_v6))
