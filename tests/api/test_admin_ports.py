"""The admin socket's published ports keep to docs/admin-api.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from netplug.contract.kernel import Translation
from netplug.errors import KernelRefused
from netplug.model import Endpoint, Network, Subnet
from netplug.plan.objects import Key
from tests.api.conftest import Client, Reply
from tests.api.test_admin import JSON, SHAPES, assert_shape, attached
from tests.service.world import World, joined, network


async def published(admin: Client, *ports: str, container: str = "a") -> list[Any]:
    reply = await admin.post("/v1/ports", {"container": container, "ports": ports})
    rows: list[Any] = reply["ports"]
    return rows


async def on_two_networks(world: World, *, second: Network) -> tuple[Endpoint, Endpoint]:
    """Put the container c on network 1 and on `second`."""
    found = []
    for on in (network(1), second):
        made = await world.networks.create(on)
        plugged = replace(await joined(world, made, 2 + len(found)), name="c")
        await world.state.commit(puts=(plugged,))
        found.append(plugged)
    return found[0], found[1]


async def test_publish_as_documented_answers_as_documented(admin: Client) -> None:
    plugged = await attached(admin)

    made = await admin.post("/v1/ports", SHAPES["Publish"])

    fixed, chosen = made["ports"][0], made["ports"][-1]
    for row in made["ports"]:
        assert_shape(row, "Port", "rules")
        assert (row["endpoint_id"], row["origin"]) == (plugged["id"], "pynet")
    assert (fixed["host_port"], fixed["container_ip"]) == (8080, "10.9.0.2")
    assert (chosen["host_ip"], chosen["protocol"]) == ("127.0.0.1", "udp")
    assert chosen["host_port"]


async def test_publish_answers_the_new_ports_and_list_has_all_in_order(admin: Client) -> None:
    await attached(admin)
    earlier = await published(admin, "127.0.0.1:80:80/udp")

    made = await published(admin, "127.0.0.1:81:80", "127.0.0.1:80:80")

    assert [row["host_port"] for row in made] == [80, 81]
    assert (await admin.get("/v1/ports"))["ports"] == [*made, *earlier]


async def test_publish_answers_what_was_made_where_counters_cannot_be_read(
    admin: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse() -> Mapping[Key, Translation]:
        raise KernelRefused("run nft", "it is locked")

    await attached(admin)
    monkeypatch.setattr(world.kernel, "translations", refuse)

    (row,) = await published(admin, "127.0.0.1:8080:80")

    assert (row["host_port"], row["packets"]) == (8080, 0)


async def test_publish_of_a_range_answers_its_ends(admin: Client) -> None:
    await attached(admin)

    (row,) = await published(admin, "127.0.0.1:8000-8009:9000-9009")

    assert (row["host_port"], row["host_port_end"]) == (8000, 8009)
    assert (row["container_port"], row["container_port_end"]) == (9000, 9009)


@pytest.mark.parametrize("ports", [["x", "8080:80/icmp"], []])
async def test_publish_that_makes_no_sense_lists_each_problem_and_does_nothing(
    admin: Client, ports: list[str]
) -> None:
    await attached(admin)
    body = {"container": "a", "ports": ["80", *ports] if ports else []}

    reply = await admin.send("POST", "/v1/ports", json.dumps(body))

    assert (reply.status, reply.body["error"]["kind"]) == (400, "InvalidRequest")
    assert len(reply.body["error"]["problems"]) == max(1, len(ports))
    assert (await admin.get("/v1/ports")) == {"ports": []}


async def test_publish_of_a_container_that_is_not_there_is_404(admin: Client) -> None:
    reply = await admin.send("POST", "/v1/ports", json.dumps({"container": "x", "ports": ["80"]}))

    assert (reply.status, reply.body["error"]["kind"]) == (404, "NotFound")


@pytest.mark.parametrize(
    "change",
    [{"is_internal": True}, {"subnets": (Subnet(pool=network(2).subnets[0].pool),)}],
    ids=["internal", "without a gateway"],
)
async def test_publish_on_several_networks_takes_the_one_that_leads_outside(
    admin: Client, world: World, change: dict[str, Any]
) -> None:
    outward, inward = await on_two_networks(world, second=replace(network(2), **change))

    for row in await published(admin, "127.0.0.1:8080:80", container="c"):
        assert row["endpoint_id"] == outward.id
    assert world.state.view.endpoints[inward.id].ports == ()


async def test_publish_on_several_networks_takes_the_one_that_is_named(
    admin: Client, world: World
) -> None:
    _, second = await on_two_networks(world, second=network(2))
    body = {"container": "c", "ports": ["127.0.0.1:8080:80"]}

    refused = await admin.send("POST", "/v1/ports", json.dumps(body))
    elsewhere = await world.networks.create(network(3))
    nowhere = await admin.send("POST", "/v1/ports", json.dumps({**body, "network": elsewhere.id}))
    made = await admin.post("/v1/ports", {**body, "network": second.network_id[:12]})

    assert (refused.status, refused.body["error"]["message"]) == (
        409,
        "container c is on several networks; choose one with --network",
    )
    assert (nowhere.status, nowhere.body["error"]["message"]) == (
        404,
        f"no endpoint of c on network {elsewhere.label!r}",
    )
    assert {row["endpoint_id"] for row in made["ports"]} == {second.id}


async def test_publish_where_a_network_is_routed_names_no_port_of_the_host(
    admin: Client, world: World
) -> None:
    made = await world.networks.create(network(1, options=[("gateway_mode_ipv4", "routed")]))
    plugged = await joined(world, made)

    (row,) = await published(admin, "8080:80", container=plugged.short_id)

    assert (row["host_ip"], row["host_port"], row["host_port_end"]) == ("", 0, 0)
    assert (row["container_ip"], row["container_port"]) == ("10.1.0.2", 80)


async def test_unpublish_takes_the_port_back_from_the_network_that_has_it(
    admin: Client, world: World
) -> None:
    _, second = await on_two_networks(world, second=network(2))
    for port in ("127.0.0.1:8080:80", "127.0.0.1:8080:80/udp"):
        await published(admin, port, container=second.short_id)

    done = await admin.send("DELETE", "/v1/ports/c/127.0.0.1%3A8080%2Fudp")
    again = await admin.send("DELETE", f"/v1/ports/c/8080/udp?network={second.network_id}")

    assert done == Reply(200, {}, JSON)
    assert (again.status, again.body["error"]["kind"]) == (404, "NotFound")
    assert [m.asked.protocol for m in world.state.view.endpoints[second.id].ports] == ["tcp"]


async def test_unpublish_takes_the_address_into_account_to_find_the_network(
    admin: Client, world: World
) -> None:
    first, second = await on_two_networks(world, second=network(2))
    await published(admin, "127.0.0.1:8080:80", container=first.short_id)
    await published(admin, "127.0.0.2:8080:80", container=second.short_id)

    done = await admin.send("DELETE", "/v1/ports/c/127.0.0.2%3A8080")

    assert done.status == 200
    assert len(world.state.view.endpoints[first.id].ports) == 1
    assert world.state.view.endpoints[second.id].ports == ()


async def test_unpublish_of_what_is_no_port_is_400(admin: Client) -> None:
    await attached(admin)

    reply = await admin.send("DELETE", "/v1/ports/a/http")

    assert (reply.status, reply.body["error"]["kind"]) == (400, "InvalidRequest")
