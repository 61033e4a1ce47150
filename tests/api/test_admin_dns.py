"""The admin socket's names keep to docs/admin-api.md."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from netplug.contract.names import ClientCounters, LoggedQuery, NameAnswer, NameProblem, Source
from netplug.model import Identity
from tests.api.conftest import Client, Reply
from tests.api.test_admin import SHAPES, assert_shape, attached
from tests.service.world import DOCKERS_SANDBOX, NETNS, NOON, World, joined, network


@pytest.fixture(autouse=True)
def _started(world: World) -> None:
    world.names.start()


async def refused(admin: Client, verb: str, path: str, body: object = None) -> tuple[int, str]:
    reply = await admin.send(verb, path, b"" if body is None else json.dumps(body))
    return reply.status, reply.body["error"]["message"]


async def log_lines(admin: Client, path: str) -> list[Any]:
    async with admin.session.get(f"http://x{path}") as response:
        return [json.loads(line) for line in (await response.text()).splitlines() if line]


async def test_names_are_listed_as_documented(admin: Client) -> None:
    plugged = await attached(admin)

    rows = (await admin.get("/v1/dns?network=web"))["names"]

    assert_shape(rows[0], "Name")
    address = plugged["addresses"][0].partition("/")[0]
    assert [(r["name"], r["origin"], r["values"]) for r in rows] == [
        ("a", "attachment", [address]),
        ("www", "alias", [address]),
    ]


async def test_names_say_where_they_are_from(admin: Client, world: World) -> None:
    made = await world.networks.create(network(1, "10.9.0.1/24", "fd09::1/64"))
    who = Identity(aliases=("x", "*.x"), hostname="h", short_id="0123456789ab", service="s")
    plugged = replace(await joined(world, made), name="web", identity=who)
    await world.state.commit(puts=(plugged,))
    off = await world.networks.create(network(2, options=[("dns", "off")]))
    await world.state.commit(puts=(replace(await joined(world, off, 3), name="y", identity=who),))

    rows = (await admin.get("/v1/dns"))["names"]

    assert [(r["name"], r["origin"]) for r in rows] == [
        ("web", "container"),
        ("s", "service"),
        ("h", "hostname"),
        ("0123456789ab", "id"),
        ("x", "alias"),
        ("*.x", "alias"),
    ]


async def test_add_as_documented_is_listed_and_removed(admin: Client) -> None:
    await attached(admin)

    made = await admin.post("/v1/dns", SHAPES["NameAdd"])

    assert_shape(made, "Name")
    assert (made["origin"], made["type"], made["values"]) == ("manual", "A", ["10.9.0.9"])
    assert (await admin.get("/v1/dns"))["names"][-1] == made
    assert await admin.send("DELETE", "/v1/dns/web/db?type=a") == Reply(200, {}, "application/json")
    assert len((await admin.get("/v1/dns"))["names"]) == 2


async def test_add_of_a_wildcard_is_removed_by_its_quoted_name(admin: Client) -> None:
    await attached(admin)
    await admin.post("/v1/dns", {"network": "web", "name": "*.db", "values": ["fd00::1"]})

    assert (await admin.send("DELETE", "/v1/dns/web/%2A.db")).status == 200


async def test_add_refuses_with_the_reason(admin: Client) -> None:
    await attached(admin)
    shadow = {"network": "web", "name": "WWW", "values": ["10.9.0.9"]}
    broken = {"network": "web", "name": "db", "values": ["x"], "type": "A"}
    strange = {"network": "web", "name": "db", "values": ["x"], "type": "MX"}

    assert await refused(admin, "POST", "/v1/dns", shadow) == (
        409,
        "name www is that of a on network web",
    )
    assert await refused(admin, "POST", "/v1/dns", broken) == (
        400,
        "invalid request: A 'x': an IPv4 address is wanted",
    )
    status, message = await refused(admin, "POST", "/v1/dns", strange)
    assert (status, "one of A, AAAA, CNAME, TXT, SRV is wanted" in message) == (400, True)


async def test_lookup_answers_as_documented(admin: Client, world: World) -> None:
    made = await attached(admin)
    world.dns.answer = NameAnswer(
        rcode="NOERROR",
        records=("a. 5 IN A 10.9.0.2",),
        network_id=made["network_id"],
        owners=("a",),
        reason="it is so",
    )

    answer = await admin.get("/v1/dns/lookup?name=a&type=a&network=web")

    assert_shape(answer, "Lookup")
    assert (answer["network"], answer["source"]) == ("web", "names")
    await admin.get("/v1/dns/lookup?name=b&container=a")
    assert world.dns.asked == [([made["network_id"]], "a", "A"), (NETNS, "b", "A")]


async def test_lookup_for_nobody_in_particular_is_the_hosts(admin: Client, world: World) -> None:
    status, message = await refused(admin, "GET", "/v1/dns/lookup?name=a")
    assert (status, "network or container is wanted" in message) == (400, True)
    status, message = await refused(admin, "GET", "/v1/dns/lookup?network=web")
    assert (status, message) == (400, "invalid request: name is wanted")


async def test_lookup_on_a_network_without_names_says_why(admin: Client, world: World) -> None:
    await world.networks.create(network(2, options=[("dns", "off")]))

    status, message = await refused(admin, "GET", "/v1/dns/lookup?name=a&network=2000")

    assert (status, "it was made with dns=off" in message) == (404, True)


async def test_lookup_as_a_container_on_two_networks_is_its_own(
    admin: Client, world: World
) -> None:
    for number in (1, 2):
        made = await world.networks.create(network(number))
        plugged = await joined(world, made, number + 1)
        await world.state.commit(puts=(replace(plugged, name="one"),))

    await admin.get("/v1/dns/lookup?name=b&container=one")

    assert world.dns.asked == [(DOCKERS_SANDBOX, "b", "A")]


@pytest.mark.parametrize(("mode", "status"), [("gateway", 200), ("off", 404)])
async def test_lookup_as_a_container_that_is_not_asked_inside_is_that_of_its_network(
    admin: Client, world: World, mode: str, status: int
) -> None:
    made = await world.networks.create(network(1, options=[("dns", mode)]))
    await world.state.commit(puts=(replace(await joined(world, made), name="one"),))

    reply = await admin.send("GET", "/v1/dns/lookup?name=b&container=one", b"")

    assert reply.status == status
    assert world.dns.asked == ([([made.id], "b", "A")] if status == 200 else [])


async def test_counters_are_as_documented(admin: Client, world: World) -> None:
    await attached(admin)
    world.dns.counters = {
        "host": ClientCounters(queries=1),
        NETNS: ClientCounters(queries=9, hits=7, rcodes={"NOERROR": 9}),
    }

    clients = (await admin.get("/v1/dns/counters"))["clients"]

    assert_shape(clients[0], "DnsClient")
    assert [(c["label"], c["kind"], c["networks"], c["queries"]) for c in clients] == [
        ("a", "own", ["web"], 9),
        ("host", "host", [], 1),
    ]


def question(number: int, label: str = "a") -> LoggedQuery:
    return LoggedQuery(
        at=NOON + timedelta(seconds=number),
        client_id=DOCKERS_SANDBOX,
        label=label,
        name="b.web.pynet",
        kind="A",
        rcode="NOERROR",
        source=Source.NAMES,
        records=("10.9.0.3",),
        took_s=0.0002,
    )


async def test_log_is_as_documented(admin: Client, world: World) -> None:
    world.dns.logged = [question(0), question(1, "b")]

    lines = await log_lines(admin, "/v1/dns/log?follow=1")

    assert_shape(lines[0], "Query")
    assert [(line["label"], line["took_ms"]) for line in lines] == [("a", 0.2), ("b", 0.2)]


async def test_log_of_one_container_leaves_out_the_others(admin: Client, world: World) -> None:
    world.dns.logged = [question(0), question(1, "b")]

    assert [line["label"] for line in await log_lines(admin, "/v1/dns/log?container=b")] == ["b"]


async def test_log_that_is_not_followed_ends_when_nothing_more_comes(
    admin: Client, world: World
) -> None:
    world.dns.logged = [question(0)]
    world.dns.goes_on = True

    assert len(await log_lines(admin, "/v1/dns/log")) == 1
    assert world.dns.is_followed is False


async def test_status_tells_for_whom_names_are_not_answered(admin: Client, world: World) -> None:
    world.dns.not_served = (
        NameProblem(client_id="x", label="web", reason="no nf_tables"),
        NameProblem(client_id="", label="", reason="it is down"),
        NameProblem(client_id="y", label="db", reason="its namespace is gone"),
        NameProblem(client_id="z", label="shop", reason="no nf_tables"),
    )

    dns = (await admin.get("/v1/status"))["dns"]

    assert dns["problems"] == [
        "web and 1 more: no nf_tables",
        "it is down",
        "db: its namespace is gone",
    ]
