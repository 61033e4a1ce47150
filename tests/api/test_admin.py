"""The admin socket keeps to docs/admin-api.md: calls, shapes and errors."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from netplug.api.admin import admin_app
from netplug.api.app import Readiness
from netplug.contract.ipam import PoolRequest
from netplug.kernel.memory import fail_at
from netplug.plan.diff import Create, Delete
from netplug.plan.objects import Bridge, Foreign, Masquerade
from netplug.settings import Settings
from tests.api.conftest import Client, Reply, served
from tests.conftest import ROOT
from tests.service.world import NETNS, World, joined, known_to_engine, network

JSON = "application/json"
DOCUMENT = (ROOT / "docs" / "admin-api.md").read_text()
SHAPES: dict[str, Any] = {
    name: json.loads(text)
    for name, text in re.findall(
        r"^(\w+) +(\{.*?\})$(?=\n\w|\n```)", DOCUMENT, flags=re.MULTILINE | re.DOTALL
    )
}


def shape_of(value: Any) -> Any:
    """Return the keys of `value` at every depth, and of lists that of the first member."""
    match value:
        case dict():
            return {key: shape_of(inner) for key, inner in value.items()}
        case [first, *_]:
            return [shape_of(first)]
        case _:
            return type(value).__name__ if value is not None else "null"


def assert_shape(value: Any, name: str, *free: str) -> None:
    """Compare with the documented example; keys in `free` hold what the user chose."""
    given, documented = shape_of(value), shape_of(SHAPES[name])
    for key in free:
        given.pop(key)
        documented.pop(key)
    assert given == documented


async def web(admin: Client) -> Any:
    return await admin.post("/v1/networks", SHAPES["NetworkCreate"])


async def attached(admin: Client) -> Any:
    await web(admin)
    return await admin.post("/v1/endpoints", SHAPES["Attach"])


def test_document_shows_every_shape() -> None:
    assert set(SHAPES) >= {
        *("Status", "Network", "NetworkCreate", "Endpoint", "Attach"),
        *("Port", "Publish", "Pool", "Lease", "Plan", "Event"),
    }


async def test_status_is_as_documented(admin: Client, world: World) -> None:
    await world.identities.learn(known_to_engine(world))
    await attached(admin)
    await world.reconciler.run()
    world.clock.advance(12.5)

    status = await admin.get("/v1/status")

    assert_shape(status, "Status")
    assert (status["state"], status["uptime_s"]) == ("ready", 12.5)
    assert [status[k] for k in ("networks", "endpoints", "pools", "leases")] == [1, 1, 1, 2]
    assert status["engine"]["version"] == "29.0.3"


async def test_status_while_starting_is_answered_at_once(tmp_path: Path) -> None:
    app = admin_app(lambda: pytest.fail("asked too early"), Readiness(), Settings())
    async with served(app, tmp_path / "admin.sock") as client:
        status = await client.get("/v1/status")

    assert (status["state"], status["engine"], status["last_reconcile"]) == ("starting", None, None)
    assert set(status) == set(SHAPES["Status"])


async def test_other_calls_while_starting_are_given_up_at_the_deadline(tmp_path: Path) -> None:
    settings = replace(Settings(), request_deadline_s=0.01)
    app = admin_app(lambda: pytest.fail("asked too early"), Readiness(), settings)
    async with served(app, tmp_path / "admin.sock") as client:
        for path in ("/v1/networks", "/v1/events"):
            reply = await client.send("GET", path)

            assert reply.status == 504
            assert reply.body["error"]["exit_code"] == 10


async def test_create_network_as_documented_answers_as_documented(
    admin: Client, world: World
) -> None:
    made = await web(admin)

    assert_shape(made, "Network", "options", "peers")
    assert (made["origin"], made["state"], made["link"]) == (
        "pynet",
        "ready",
        "py-" + made["id"][:12],
    )
    assert made["created_at"] == "2026-01-31T12:00:00.000Z"
    assert not (await world.reconciler.verify()).differences


async def test_create_network_dry_answers_a_plan_and_keeps_nothing(
    admin: Client, world: World
) -> None:
    plan = await admin.post("/v1/networks", {**SHAPES["NetworkCreate"], "dry_run": True})

    assert_shape(plan, "Plan")
    assert {step["action"] for step in plan["steps"]} <= {"create", "change"}
    assert {"missing"} <= {step["reason"] for step in plan["steps"]}
    assert world.state.view.networks == {}


async def test_create_network_with_a_name_alone_chooses_the_rest(admin: Client) -> None:
    made = await admin.post("/v1/networks", {"name": "auto", "ipv6": True})

    assert [s["pool"].count(":") > 0 for s in made["subnets"]] == [False, True]


async def test_create_network_with_an_ipv6_subnet_has_ipv6(admin: Client) -> None:
    made = await admin.post(
        "/v1/networks", {"name": "six", "ipv4": False, "subnets": [{"pool": "fd44::/64"}]}
    )

    assert (made["ipv4"], made["ipv6"]) == (False, True)
    assert [s["pool"] for s in made["subnets"]] == ["fd44::/64"]


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        ({"name": ""}, ["'' is no name for a network"]),
        ({"name": "a/b"}, ["'a/b' is no name for a network"]),
        ({"name": "a", "subnets": [{"pool": "x"}, {"gateway": "y"}]}, None),
        ({"name": "a", "color": "red"}, None),
        ({"name": 7}, None),
        ({}, None),
        ([], None),
    ],
)
async def test_create_network_that_makes_no_sense_lists_the_problems(
    admin: Client, body: object, problems: list[str] | None
) -> None:
    reply = await admin.send("POST", "/v1/networks", json.dumps(body))

    error = reply.body["error"]
    assert (reply.status, error["kind"], error["exit_code"]) == (400, "InvalidRequest", 3)
    assert error["problems"]
    assert problems in (None, error["problems"])


async def test_create_network_with_bad_options_lists_each(admin: Client) -> None:
    body = {"name": "web", "options": {"mtu": "much", "icc": "maybe"}}

    reply = await admin.send("POST", "/v1/networks", json.dumps(body))

    assert reply.body["error"]["kind"] == "InvalidOptions"
    assert len(reply.body["error"]["problems"]) == 2


async def test_inspect_network_shows_endpoints_and_objects(admin: Client) -> None:
    endpoint = await attached(admin)

    for ref in ("web", endpoint["network_id"], endpoint["network_id"][:12]):
        shown = await admin.get(f"/v1/networks/{ref}")

        (inner,) = shown.pop("endpoints")
        objects = shown.pop("objects")
        assert_shape(shown, "Network", "options", "peers")
        assert inner == endpoint
        assert any(text.startswith("sandbox-link eth0 in /run/netns/a ") for text in objects)


async def test_list_networks_is_sorted_by_name(admin: Client, world: World) -> None:
    for name in ("b", "c", "a"):
        await admin.post("/v1/networks", {"name": name})

    listed = await admin.get("/v1/networks")

    assert [n["name"] for n in listed["networks"]] == ["a", "b", "c"]


async def test_delete_network_of_our_own_takes_it_away(admin: Client, world: World) -> None:
    await web(admin)

    assert await admin.send("DELETE", "/v1/networks/web") == Reply(200, {}, JSON)

    assert (world.state.view.networks, world.state.view.pools) == ({}, {})


async def test_delete_network_of_dockers_or_in_use_is_a_conflict(
    admin: Client, world: World
) -> None:
    docker = await world.networks.create(network(1))
    await attached(admin)

    for ref in (docker.id, "web"):
        reply = await admin.send("DELETE", f"/v1/networks/{ref}")

        assert (reply.status, reply.body["error"]["kind"]) == (409, "Conflict")


async def test_peer_and_unpeer_show_on_both_networks(admin: Client) -> None:
    for name in ("web", "db"):
        await admin.post("/v1/networks", {"name": name})

    made = await admin.post("/v1/networks/web/peers", {"network": "db"})

    assert made["peers"] == ["db"]
    assert (await admin.get("/v1/networks/db"))["peers"] == ["web"]
    assert await admin.send("DELETE", "/v1/networks/db/peers/web") == Reply(200, {}, JSON)
    assert [n["peers"] for n in (await admin.get("/v1/networks"))["networks"]] == [[], []]


@pytest.mark.parametrize(
    ("verb", "path"), [("POST", "/v1/networks/web/peers"), ("DELETE", "/v1/networks/web/peers/no")]
)
async def test_peer_that_is_not_there_is_404(admin: Client, verb: str, path: str) -> None:
    await admin.post("/v1/networks", {"name": "web"})

    reply = await admin.send(verb, path, json.dumps({"network": "no"}))

    assert (reply.status, reply.body["error"]["kind"]) == (404, "NotFound")


async def test_attach_as_documented_answers_as_documented(admin: Client) -> None:
    endpoint = await attached(admin)

    assert_shape(endpoint, "Endpoint", "options")
    assert (endpoint["origin"], endpoint["sandbox"], endpoint["joined"]) == ("pynet", NETNS, True)


async def test_attach_by_pid_takes_the_namespace_of_that_process(
    admin: Client, world: World
) -> None:
    await web(admin)
    world.kernel.namespaces.add("/proc/4711/ns/net")

    endpoint = await admin.post("/v1/endpoints", {"network": "web", "pid": 4711})

    assert endpoint["sandbox"] == "/proc/4711/ns/net"


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"netns": NETNS, "pid": 7},
        {"netns": NETNS, "addresses": ["x"]},
        {"netns": NETNS, "mac": "01:00:00:00:00:00"},
        {"netns": NETNS, "speed": 9},
    ],
)
async def test_attach_that_makes_no_sense_is_refused(
    admin: Client, wish: dict[str, object]
) -> None:
    await web(admin)

    reply = await admin.send("POST", "/v1/endpoints", json.dumps({"network": "web", **wish}))

    assert (reply.status, reply.body["error"]["kind"]) == (400, "InvalidRequest")


async def test_inspect_endpoint_shows_its_objects(admin: Client) -> None:
    endpoint = await attached(admin)

    shown = await admin.get("/v1/endpoints/a")

    assert len(shown.pop("objects")) == 3
    assert shown == endpoint
    assert (await admin.get("/v1/endpoints"))["endpoints"] == [endpoint]


async def test_inspect_endpoint_before_join_has_its_link_alone(admin: Client, world: World) -> None:
    on = await world.networks.create(network(1))
    made = await joined(world, on)
    await world.state.commit(puts=(replace(made, sandbox="", is_lent=False),))

    shown = await admin.get(f"/v1/endpoints/{made.id}")

    assert (shown["link"], shown["joined"]) == ("pyv200000000000", False)
    assert [text.split()[0] for text in shown["objects"]] == ["spoof-guard", "veth"]


async def test_detach_takes_the_endpoint_away(admin: Client, world: World) -> None:
    await attached(admin)

    assert await admin.send("DELETE", "/v1/endpoints/a") == Reply(200, {}, JSON)

    assert world.state.view.endpoints == {}


async def test_list_pools_is_as_documented(admin: Client) -> None:
    await attached(admin)

    (pool,) = (await admin.get("/v1/ipam"))["pools"]

    assert_shape(pool, "Pool", "collisions")
    assert (pool["size"], pool["leased"], pool["networks"]) == (254, 2, ["web"])


@pytest.mark.parametrize(
    "ref", ["pynet-local%2F10.9.0.0%2F24", "10.9.0.0%2F24", "10.9.0.0/24", "web"]
)
async def test_show_pool_by_id_or_network_shows_its_leases(admin: Client, ref: str) -> None:
    await attached(admin)

    pool = await admin.get(f"/v1/ipam/pools/{ref}")

    leases = pool.pop("leases")
    assert_shape(pool, "Pool", "collisions")
    assert_shape(leases[0], "Lease")
    assert [lease["kind"] for lease in leases] == ["gateway", "dynamic"]
    assert leases[1]["owner"] == "a"


@pytest.mark.parametrize(
    ("verb", "path", "kind"),
    [
        ("GET", "/v1/networks/none", "network"),
        ("DELETE", "/v1/networks/none", "network"),
        ("GET", "/v1/endpoints/none", "endpoint"),
        ("DELETE", "/v1/endpoints/none", "endpoint"),
        ("GET", "/v1/ipam/pools/none", "pool"),
        ("GET", "/v1/unheard", "call"),
        ("PUT", "/v1/networks", "call"),
        ("GET", "/", "call"),
    ],
)
async def test_call_of_what_is_not_there_is_404(
    admin: Client, verb: str, path: str, kind: str
) -> None:
    reply = await admin.send(verb, path)

    assert reply.status == 404
    assert reply.body["error"]["kind"] == "NotFound"
    assert reply.body["error"]["message"].startswith(f"no {kind} ")
    assert reply.body["error"]["exit_code"] == 4


async def test_plan_shows_and_heal_does_the_same(admin: Client, world: World) -> None:
    made = await web(admin)
    await world.kernel.apply(Delete(Bridge(name=made["link"])))
    await world.kernel.apply(Create(Bridge(name="py-orphan")))

    plan = await admin.get("/v1/plan")
    healed = await admin.post("/v1/heal")

    assert_shape(plan, "Plan")
    assert healed == plan
    assert [step["reason"] for step in plan["steps"]] == ["missing", "missing", "not wanted"]
    assert (await admin.get("/v1/plan")) == {"steps": []}


async def test_heal_that_cannot_mend_everything_lists_what_is_left(
    admin: Client, world: World
) -> None:
    await world.kernel.apply(Create(Bridge(name="py-orphan")))
    world.kernel.before_step = fail_at(0)

    reply = await admin.send("POST", "/v1/heal")

    error = reply.body["error"]
    assert (reply.status, error["kind"], error["exit_code"]) == (500, "Drift", 11)
    assert len(error["problems"]) == 1


async def test_verify_tells_differences_and_strangers(admin: Client, world: World) -> None:
    made = await web(admin)
    link = Bridge(name=made["link"])
    await world.kernel.apply(Delete(link))
    await world.kernel.apply(Delete(Masquerade(subnet=ip_network("10.9.0.0/24"))))
    world.kernel.foreign[link.key] = Foreign(key=link.key, description="a macvlan link")

    verdict = await admin.get("/v1/verify")

    assert set(verdict) == {"checked", "differences", "foreign", "collisions"}
    assert verdict["differences"] == ["masquerade 10.9.0.0/24 is missing"]
    assert verdict["foreign"] == [f"link {made['link']} exists and is not pynet's (a macvlan link)"]


async def test_collision_that_came_later_is_told_by_verify_and_with_its_pool(
    admin: Client, world: World
) -> None:
    await web(admin)
    world.kernel.routes[ip_network("10.8.0.0/13")] = "tun0"

    verdict, listed = await admin.get("/v1/verify"), await admin.get("/v1/ipam")

    told = "subnet 10.9.0.0/24 of network web overlaps 10.8.0.0/13, which is in use on link tun0"
    assert (verdict["differences"], verdict["collisions"]) == ([], [told])
    assert [pool["collisions"] for pool in listed["pools"]] == [[told]]


async def test_events_are_lines_of_what_happened(admin: Client) -> None:
    await attached(admin)

    async with admin.session.get("http://x/v1/events") as response:
        lines = [json.loads(line) async for line in response.content]

    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert_shape(lines[0], "Event")
    assert [line["kind"] for line in lines] == [
        "network.create",
        "endpoint.create",
        "endpoint.join",
    ]


async def test_events_followed_go_on_until_the_daemon_ends(admin: Client, world: World) -> None:
    world.journal.note("test", "before")
    async with admin.session.get("http://x/v1/events?follow=1") as response:
        first = json.loads(await response.content.readline())
        world.journal.note("test", "meanwhile")
        second = json.loads(await response.content.readline())
        world.journal.close()
        rest = await response.content.read()

    assert [first["message"], second["message"], rest] == ["before", "meanwhile", b""]


async def test_pool_of_two_spaces_is_ambiguous_by_its_network(admin: Client, world: World) -> None:
    await web(admin)
    pool = next(iter(world.state.view.pools.values()))
    await world.addresses.request_pool(PoolRequest(space="pynet-global", network=pool.network))

    assert (await admin.send("GET", "/v1/ipam/pools/10.9.0.0%2F24")).status == 409


async def test_call_with_a_body_beyond_the_limit_is_400(admin: Client) -> None:
    reply = await admin.send("POST", "/v1/networks", b" " * (1 << 21))

    assert (reply.status, reply.body["error"]["kind"]) == (400, "InvalidRequest")
