"""What fails is undone, in the way of each release, and says why in words for a user."""

from __future__ import annotations

from typing import Any

import pytest

from integration.conformance.client import Refused
from integration.conformance.dockerd import Dockerd, new_id
from integration.conformance.kernel import bridge_of, host_link_of, look, wait_until_like
from integration.conformance.methods import (
    CREATE,
    CREATE_NETWORK,
    DELETE,
    JOIN,
    LEAVE,
    RELEASE,
    RELEASE_POOL,
    REQUEST,
)
from integration.conformance.plugin import Plugin
from integration.conformance.specs import BLUE, GREEN, EndpointSpec, NetworkSpec, Subnet


def test_failed_join_is_rolled_back(plugin: Plugin, dockerd: Dockerd) -> None:
    blue = dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    ids = [new_id()]
    stranger = host_link_of(ids[0])
    plugin.host.run(["ip", "link", "add", stranger, "type", "bridge"])
    before = look(plugin.host)
    dockerd.next_endpoint_id = ids.copy().pop
    del dockerd.calls[:]

    with pytest.raises(Refused, match=f"{stranger} exists and is not pynet's"):
        dockerd.run("web", EndpointSpec(network=blue))

    leaves = [LEAVE, LEAVE] if dockerd.release.leaves_after_failed_join else []
    assert dockerd.calls == [REQUEST, CREATE, JOIN, *leaves, DELETE, RELEASE]
    assert look(plugin.host) == before
    assert plugin.counts() == {"networks": 1, "endpoints": 0, "pools": 1, "leases": 1}
    plugin.host.run(["ip", "link", "del", stranger])
    dockerd.next_endpoint_id = new_id
    assert dockerd.run("web", EndpointSpec(network=blue)).sandbox.reaches("10.61.0.1")


def test_join_that_fails_in_the_kernel_leaves_nothing(
    plugin: Plugin, either_dockerd: Dockerd
) -> None:
    blue = either_dockerd.create(NetworkSpec(name="blue", v4=(BLUE,)))
    plugin.host.run(["ip", "link", "del", bridge_of(blue.id)])
    before = look(plugin.host)

    with pytest.raises(Refused, match=bridge_of(blue.id)):
        either_dockerd.run("web", EndpointSpec(network=blue))

    wait_until_like(plugin.host, before)
    assert plugin.pynet.admin("POST", "/v1/heal").status == 200
    assert either_dockerd.run("web", EndpointSpec(network=blue)).sandbox.reaches("10.61.0.1")


def test_create_over_a_foreign_bridge_leaves_nothing(plugin: Plugin, dockerd: Dockerd) -> None:
    plugin.host.run(["ip", "link", "add", "br-lab", "type", "bridge"])
    before = look(plugin.host)
    options = {"com.docker.network.bridge.name": "br-lab"}

    with pytest.raises(Refused, match="br-lab exists and is not pynet's"):
        dockerd.create(NetworkSpec(name="blue", v4=(BLUE,), options=options))

    assert dockerd.calls[-3:] == [CREATE_NETWORK, RELEASE, RELEASE_POOL]
    assert look(plugin.host) == before
    assert set(plugin.counts().values()) == {0}
    plugin.host.run(["ip", "link", "del", "br-lab"])


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (NetworkSpec(name="x", v4=(GREEN,), options={"mut": "1400"}), "did you mean 'mtu'"),
        (NetworkSpec(name="x", v4=(GREEN,), options={"mtu": "much"}), "number of bytes"),
        (NetworkSpec(name="x", v4=(GREEN,), options={"driver": "mist"}), "driver='mist'"),
        (NetworkSpec(name="x", v4=(BLUE,)), "overlaps 10.61.0.0/24"),
        (NetworkSpec(name="x", v4=(GREEN, BLUE)), "overlaps 10.61.0.0/24"),
        (NetworkSpec(name="x", v4=(Subnet(pool="198.18.0.0/24"),)), "in use on link uplink0"),
        (NetworkSpec(name="x", v4=(Subnet(pool="10.62.0.0/24", gateway="10.63.0.1"),)), "outside"),
    ],
    ids=["option", "value", "driver", "overlap", "second-overlap", "routed", "gateway"],
)
def test_create_that_is_refused_leaves_nothing(
    plugin: Plugin, newest: Dockerd, spec: NetworkSpec, reason: str
) -> None:
    newest.create(NetworkSpec(name="blue", v4=(BLUE,)))
    before = look(plugin.host)

    with pytest.raises(Refused, match=reason):
        newest.create(spec)

    assert look(plugin.host) == before
    assert plugin.counts() == {"networks": 1, "endpoints": 0, "pools": 1, "leases": 1}


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"options": {"com.example.colour": "red"}}, "unknown option 'com.example.colour'"),
        ({"ip": "10.61.0.1"}, "leased to the gateway"),
        ({"ip": "10.61.0.255"}, "broadcast address"),
    ],
    ids=["option", "taken", "broadcast"],
)
def test_endpoint_that_is_refused_gives_its_address_back(
    plugin: Plugin, newest: Dockerd, wish: dict[str, Any], reason: str
) -> None:
    blue = newest.create(NetworkSpec(name="blue", v4=(BLUE,)))

    with pytest.raises(Refused, match=reason):
        newest.run("web", EndpointSpec(network=blue, **wish))

    assert DELETE not in newest.calls
    assert plugin.counts() == {"networks": 1, "endpoints": 0, "pools": 1, "leases": 1}


def test_full_pool_says_so(plugin: Plugin, either_dockerd: Dockerd) -> None:
    tiny = Subnet(pool="10.61.0.0/30")
    blue = either_dockerd.create(NetworkSpec(name="blue", v4=(tiny,)))
    either_dockerd.run("web", EndpointSpec(network=blue))

    said = r"nothing free in pool \S+/10\.61\.0\.0/30: all 2 .* are leased .*1 dynamic, 1 gateway"
    with pytest.raises(Refused, match=said):
        either_dockerd.run("db", EndpointSpec(network=blue))
