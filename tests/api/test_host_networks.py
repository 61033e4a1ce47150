"""Networks on a link of the host's, as dockerd and the CLI meet them."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import Client
from tests.service.uplinks import on_uplinks
from tests.service.world import NETNS, World

NETWORK, ENDPOINT = "4f0c" * 16, "9d1e" * 16
MAC = "02:42:0a:01:00:02"


@pytest.fixture
async def world() -> World:
    return await on_uplinks()


def created(*options: tuple[str, str]) -> dict[str, object]:
    return {
        "NetworkID": NETWORK,
        "Options": {"com.docker.network.generic": {"driver": "host", **dict(options)}},
        "IPv4Data": [{"AddressSpace": "x", "Pool": "10.1.0.0/24"}],
    }


def endpoint(mac: str = "") -> dict[str, object]:
    interface = {"Address": "10.1.0.2/24", "MacAddress": mac}
    return {"NetworkID": NETWORK, "EndpointID": ENDPOINT, "Interface": interface}


async def test_gateways_are_needed_for_no_family(plugin: Client) -> None:
    options = {"com.docker.network.generic": {"driver": "host"}}

    reply = await plugin.call("NetworkDriver.GwAllocCheck", {"Options": options})

    assert reply.body == {"SkipIPv4": True, "SkipIPv6": True}


async def test_endpoint_with_a_mac_of_its_own_is_told_it(plugin: Client) -> None:
    await plugin.call("NetworkDriver.CreateNetwork", created())

    reply = await plugin.call("NetworkDriver.CreateEndpoint", endpoint())

    assert reply.body == {"Interface": {"MacAddress": MAC}}


async def test_endpoint_with_the_mac_of_the_parent_gets_none(plugin: Client, world: World) -> None:
    await plugin.call("NetworkDriver.CreateNetwork", created(("mac", "none")))

    for _ in range(2):  # dockerd repeats what it has no answer to
        reply = await plugin.call("NetworkDriver.CreateEndpoint", endpoint())
        assert (reply.status, reply.body) == (200, {})

    (made,) = world.state.view.endpoints.values()
    assert made.mac == ""


async def test_endpoint_with_the_mac_of_the_parent_that_asks_for_another_is_refused(
    plugin: Client, world: World
) -> None:
    await plugin.call("NetworkDriver.CreateNetwork", created(("mac", "none")))

    reply = await plugin.call("NetworkDriver.CreateEndpoint", endpoint(MAC))

    assert reply.status == 400
    assert "MAC of the parent" in reply.body["Err"]
    assert world.state.view.endpoints == {}


async def test_endpoint_of_an_unknown_network_is_refused(plugin: Client) -> None:
    reply = await plugin.call("NetworkDriver.CreateEndpoint", endpoint())

    assert reply.status == 400


async def test_endpoint_joins_leaves_and_goes_as_on_a_bridge(plugin: Client, world: World) -> None:
    await plugin.call("NetworkDriver.CreateNetwork", created())
    before = world.kernel.objects
    await plugin.call("NetworkDriver.CreateEndpoint", endpoint())
    ids = {"NetworkID": NETWORK, "EndpointID": ENDPOINT}

    joined = await plugin.call("NetworkDriver.Join", {**ids, "SandboxKey": NETNS})
    left = await plugin.call("NetworkDriver.Leave", ids)
    deleted = await plugin.call("NetworkDriver.DeleteEndpoint", ids)

    assert joined.body["InterfaceName"]["SrcName"] == f"pyp{ENDPOINT[:12]}"
    assert joined.body["Gateway"] == "169.254.64.1"
    assert [reply.status for reply in (joined, left, deleted)] == [200, 200, 200]
    assert world.kernel.objects == before


async def test_parent_is_shown(admin: Client) -> None:
    made = await admin.post("/v1/networks", {"name": "lan", "driver": "host"})
    bridged = await admin.post("/v1/networks", {"name": "web"})

    assert (made["parent"], made["link"]) == ("eth0", "")
    assert bridged["parent"] == ""
    assert [s["gateway"] for s in made["subnets"]] == [None]
    assert [n["parent"] for n in (await admin.get("/v1/networks"))["networks"]] == ["eth0", ""]


async def test_dry_run_shows_what_the_host_would_lend(admin: Client) -> None:
    plan = await admin.post("/v1/networks", {"name": "lan", "driver": "host", "dry_run": True})

    assert {"action": "change", "reason": "different"}.items() <= plan["steps"][0].items()
    assert "net/ipv4/conf/eth0/forwarding" in plan["steps"][0]["object"]


async def test_attached_namespace_shows_its_link_and_ports(admin: Client) -> None:
    await admin.post("/v1/networks", {"name": "lan", "driver": "host"})

    attached = await admin.post("/v1/endpoints", {"network": "lan", "netns": NETNS, "name": "a"})
    ports = await admin.post("/v1/ports", {"container": "a", "ports": ["8080:80"]})

    assert attached["link"] == f"pyv{attached['id'][:12]}"
    (row,) = ports["ports"]
    assert (row["host_ip"], row["host_port"], row["container_port"]) == ("", 0, 80)
    assert row["container_ip"] == attached["addresses"][0].partition("/")[0]


async def test_port_goes_to_the_network_that_leads_outside(admin: Client) -> None:
    await admin.post("/v1/networks", {"name": "lan", "driver": "host"})
    await admin.post("/v1/networks", {"name": "inside", "internal": True})
    for name in ("lan", "inside"):
        await admin.post("/v1/endpoints", {"network": name, "netns": NETNS, "name": "a"})

    ports = await admin.post("/v1/ports", {"container": "a", "ports": ["80"]})

    assert [row["network"] for row in ports["ports"]] == ["lan"]


async def test_network_of_an_unknown_driver_is_refused_before_anything_is_leased(
    admin: Client, world: World
) -> None:
    reply = await admin.send("POST", "/v1/networks", json.dumps({"name": "x", "driver": "vxlan"}))

    assert reply.status == 400
    assert world.state.view.pools == {}
