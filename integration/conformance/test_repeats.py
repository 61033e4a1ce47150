"""dockerd repeats itself, and asks for the removal of what never was."""

from __future__ import annotations

import pytest

from integration.conformance.client import go_json
from integration.conformance.dockerd import Dockerd, new_id
from integration.conformance.driver import endpoint_body, join_body
from integration.conformance.kernel import look, wait_until_like
from integration.conformance.plugin import Plugin
from integration.conformance.records import Network
from integration.conformance.specs import BLUE, BLUE6, GREEN, EndpointSpec, NetworkSpec

UNKNOWN = {"NetworkID": new_id(), "EndpointID": new_id()}
SANDBOX = "/var/run/docker/netns/4e1c0f2a9b77"
POOL = "pynet-local/10.61.0.0/24"


def test_each_call_twice_is_as_good_as_once(plugin: Plugin, dockerd: Dockerd) -> None:
    before = look(plugin.host)
    dockerd.client.repeats = True

    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), v6=(BLUE6,)))
    green = dockerd.create(NetworkSpec(name="green", v4=(GREEN,)))
    web = dockerd.run("web", EndpointSpec(network=blue))
    dockerd.connect(web, EndpointSpec(network=green))
    assert web.sandbox.reaches("10.61.0.1")
    assert web.sandbox.reaches("10.62.0.1")
    dockerd.disconnect(web, blue)
    assert web.sandbox.reaches("10.62.0.1")
    dockerd.stop(web)
    dockerd.remove(blue)
    dockerd.remove(green)

    wait_until_like(plugin.host, before)


def test_late_repetitions_disturb_nothing(plugin: Plugin, newest: Dockerd) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    web = newest.run("web", EndpointSpec(network=blue, mac="02:42:ac:11:00:99"))
    before = look(plugin.host)

    bodies = {
        "CreateNetwork": newest.driver.network_body(blue),
        "CreateEndpoint": endpoint_body(web.on(blue)),
        "Join": join_body(web.on(blue), web.sandbox.key),
    }
    for method, body in bodies.items():
        assert newest.client.send(f"NetworkDriver.{method}", go_json(body)).status == 200

    assert look(plugin.host) == before
    assert web.sandbox.reaches("10.61.0.1")


def test_same_id_with_other_contents_is_refused(plugin: Plugin, newest: Dockerd) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    web = newest.run("web", EndpointSpec(network=blue))
    before = look(plugin.host)
    other = Network(
        id=blue.id, spec=NetworkSpec(name="blue", options={"mtu": "1300"}), allocations=()
    )
    interface = {"Address": "10.61.0.200/24", "AddressIPv6": "", "MacAddress": ""}

    bodies = {
        "CreateNetwork": newest.driver.network_body(other),
        "CreateEndpoint": {**endpoint_body(web.on(blue)), "Interface": interface},
        "Join": join_body(web.on(blue), SANDBOX),
    }
    for method, body in bodies.items():
        assert newest.client.send(f"NetworkDriver.{method}", go_json(body)).status == 409

    assert look(plugin.host) == before
    assert web.sandbox.reaches("10.61.0.1")


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("NetworkDriver.DeleteNetwork", {"NetworkID": new_id()}, 200),
        ("NetworkDriver.DeleteEndpoint", UNKNOWN, 200),
        ("NetworkDriver.Leave", UNKNOWN, 200),
        ("NetworkDriver.EndpointOperInfo", UNKNOWN, 200),
        ("NetworkDriver.ProgramExternalConnectivity", {**UNKNOWN, "Options": {}}, 200),
        ("NetworkDriver.RevokeExternalConnectivity", UNKNOWN, 200),
        ("NetworkDriver.FreeNetwork", {"NetworkID": new_id()}, 200),
        ("NetworkDriver.AllocateNetwork", {"NetworkID": new_id(), "IPv6Data": None}, 200),
        ("NetworkDriver.DiscoverNew", {"DiscoveryType": 1, "DiscoveryData": {}}, 200),
        ("NetworkDriver.DiscoverDelete", {"DiscoveryType": 1, "DiscoveryData": {}}, 200),
        ("NetworkDriver.CreateEndpoint", {**UNKNOWN, "Interface": {}}, 400),
        ("NetworkDriver.Join", {**UNKNOWN, "SandboxKey": SANDBOX}, 400),
        ("IpamDriver.ReleasePool", {"PoolID": POOL}, 200),
        ("IpamDriver.ReleaseAddress", {"PoolID": POOL, "Address": "10.61.0.1"}, 200),
        ("IpamDriver.RequestAddress", {"PoolID": POOL, "Address": ""}, 400),
    ],
)
def test_unknown_id(newest: Dockerd, method: str, body: dict[str, object], status: int) -> None:
    for _ in range(2):
        answer = newest.client.send(method, go_json(body))
        assert (answer.status, answer.content[:1]) == (status, b"{")
