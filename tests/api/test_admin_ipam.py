"""The admin socket's /v1/ipam keeps to docs/admin-api.md."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from netplug.contract.ipam import AddressRequest
from netplug.contract.kernel import SandboxFacts
from netplug.model import PoolId
from tests.api.conftest import Client
from tests.api.test_admin import SHAPES, assert_shape, attached, shape_of
from tests.service.world import GRACE, World

POOL = "pynet-local/10.9.0.0/24"
LOST = ip_address("10.9.0.77")


async def leaked(world: World, admin: Client) -> None:
    """Lease an address that nobody has, and let the grace period pass."""
    await attached(admin)
    wish = AddressRequest(pool_id=PoolId(POOL), address=LOST)
    await world.addresses.request_address(wish)
    world.clock.advance(GRACE.total_seconds() + 1)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))


@pytest.mark.parametrize("query", ["", "?pool=web", f"?pool={POOL}"])
async def test_leases_of_all_of_a_network_or_of_a_pool(admin: Client, query: str) -> None:
    await attached(admin)

    leases = (await admin.get(f"/v1/ipam/leases{query}"))["leases"]

    assert_shape(leases[1], "Lease")
    assert [(e["address"], e["kind"], e["owner"]) for e in leases] == [
        ("10.9.0.1", "gateway", "web"),
        ("10.9.0.2", "dynamic", "a"),
    ]


async def test_lease_without_an_owner_shows_who_has_the_address(
    admin: Client, world: World
) -> None:
    await attached(admin)
    await world.addresses.release_address(PoolId(POOL), ip_address("10.9.0.2"))
    wish = AddressRequest(pool_id=PoolId(POOL), address=ip_address("10.9.0.2"))
    await world.addresses.request_address(wish)

    leases = (await admin.get("/v1/ipam/leases"))["leases"]

    assert (leases[1]["kind"], leases[1]["owner"]) == ("static", "a")


async def test_reservations_are_made_and_given_back(admin: Client) -> None:
    await attached(admin)

    made = await admin.post("/v1/ipam/reservations", SHAPES["Reserve"])
    path = "/v1/ipam/reservations?pool=web&address=10.9.0.5&address=10.9.0.64/28"
    gone = await admin.send("DELETE", path)

    assert_shape(made["leases"][0], "Lease")
    assert len(made["leases"]) == 1 + 10 + 16
    assert {(e["kind"], e["owner"]) for e in made["leases"]} == {("reserved", "printers")}
    assert (gone.status, len(gone.body["leases"])) == (200, 17)


async def test_audit_finds_and_repairs(admin: Client, world: World) -> None:
    await leaked(world, admin)

    audit = await admin.get("/v1/ipam/audit")
    ids = [finding["id"] for finding in audit["findings"]]
    repaired = await admin.post("/v1/ipam/audit", {"findings": ids})

    assert shape_of(audit) == shape_of(SHAPES["Audit"])
    assert audit["findings"][0]["networks"] == ["web"]
    assert repaired == {"repaired": audit["findings"], "findings": [], "problem": ""}


async def test_audit_leaves_alone_what_it_was_not_told_to_repair(
    admin: Client, world: World
) -> None:
    await leaked(world, admin)

    left = await admin.post("/v1/ipam/audit", {"findings": []})

    assert (left["repaired"], len(left["findings"])) == ([], 1)
    assert LOST in world.state.view.leases_of(PoolId(POOL))


async def test_release_of_a_lease_that_nobody_has(admin: Client, world: World) -> None:
    await leaked(world, admin)
    path = f"/v1/ipam/leases?pool=web&address={LOST}"
    world.kernel.inhabitants["/run/netns/b"] = SandboxFacts(frozenset({LOST}), is_inhabited=True)

    refused = await admin.send("DELETE", path)
    world.kernel.inhabitants.clear()
    released = await admin.send("DELETE", path)
    gone = await admin.send("DELETE", path)

    assert (refused.status, refused.body["error"]["kind"]) == (409, "Conflict")
    assert "it is in sandbox /run/netns/b" in refused.body["error"]["message"]
    assert (released.status, released.body, gone.status) == (200, {}, 404)


async def test_release_of_a_network_with_two_pools_finds_the_one_of_the_address(
    admin: Client, world: World
) -> None:
    await admin.post("/v1/networks", {"name": "dual", "ipv6": True})
    for pool in world.state.view.pools.values():
        await world.addresses.request_address(AddressRequest(pool_id=pool.id))
    world.clock.advance(GRACE.total_seconds() + 1)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    reply = await admin.send("DELETE", "/v1/ipam/leases?pool=dual&address=10.208.0.2")
    elsewhere = await admin.send("DELETE", "/v1/ipam/leases?pool=dual&address=10.9.0.2")

    assert (reply.status, reply.body, elsewhere.status) == (200, {}, 409)
    assert [len(book) for book in world.state.view.leases.values()] == [1, 2]


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("DELETE", "leases?pool=web&address=x", None, 400),
        ("DELETE", "leases?pool=none&address=10.9.0.2", None, 404),
        ("DELETE", "reservations?pool=web", None, 400),
        ("DELETE", "reservations?pool=web&address=10.9.0.2", None, 404),
        ("POST", "reservations", {"pool": "web", "addresses": ["10.9.0.2"]}, 409),
        ("POST", "reservations", {"pool": "web"}, 400),
        ("POST", "audit", {}, 400),
        ("GET", "leases?pool=none", None, 404),
    ],
)
async def test_call_that_makes_no_sense_is_refused(
    admin: Client, verb: str, path: str, body: object, status: int
) -> None:
    await attached(admin)

    reply = await admin.send(verb, f"/v1/ipam/{path}", json.dumps(body) if body else b"")

    assert reply.status == status, reply


async def test_show_of_a_network_with_two_pools_names_them(admin: Client) -> None:
    await admin.post("/v1/networks", {"name": "dual", "ipv6": True})

    reply = await admin.send("GET", "/v1/ipam/pools/dual")

    assert reply.status == 409
    assert "pynet-local/10.208.0.0/24" in reply.body["error"]["message"]


@pytest.mark.parametrize("name", ["leases", "audit"])
async def test_show_of_a_network_that_is_called_like_a_call(admin: Client, name: str) -> None:
    await admin.post("/v1/networks", {"name": name})

    shown = await admin.get(f"/v1/ipam/pools/{name}")

    assert shown["networks"] == [name]


async def test_nothing_is_no_name_of_the_only_pool_there_is(admin: Client) -> None:
    await attached(admin)
    nameless = {"pool": "", "addresses": ["10.9.0.9"]}

    shown = await admin.send("GET", "/v1/ipam/pools/")
    reserved = await admin.send("POST", "/v1/ipam/reservations", json.dumps(nameless))

    assert (shown.status, reserved.status) == (404, 404)
