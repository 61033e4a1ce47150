"""Which subnets are refused for what is there already, and reported for what comes later."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from netplug.contract.ipam import PoolRequest
from netplug.errors import Conflict
from netplug.model import Network, Parent, Reached, Subnet, Way
from netplug.service.collision_watch import LOOK_S
from netplug.service.fights import REST_S
from netplug.service.reached import collision
from tests.service.world import World, messages, network, start

SUBNET = "10.9.0.0/24"


def seen(text: str, way: Way = Way.DIRECT, where: str = "tun0") -> Reached:
    return Reached(network=ip_network(text), way=way, where=where)


def reason(one: Reached, *, is_strict: bool = False, parent: str = "") -> str:
    """What a network of `SUBNET` is refused for, or, if strict, an automatic one reported for."""
    on = replace(network(9), parent=Parent(name=parent) if parent else None)
    found = collision(on, Subnet(pool=ip_network(SUBNET)), [one], is_strict=is_strict)
    return found.reason if found else ""


async def automatic(world: World, number: int = 1) -> Network:
    """Make a network with an automatic pool, as dockerd does."""
    pool = await world.addresses.request_pool(PoolRequest(space="pynet-local"))
    subnet = Subnet(pool=pool.network)
    wish = replace(network(number), subnets=(subnet,), pool_ids=(pool.id,))
    return await world.networks.create(wish)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (seen("10.9.0.0/24"), "is in use on link tun0"),
        (seen("10.0.0.0/8"), "overlaps 10.0.0.0/8, which is in use on link tun0"),
        (seen("10.9.0.7/32"), "overlaps 10.9.0.7/32, which is in use on link tun0"),
        (seen("10.9.1.0/24"), ""),
        (seen("fd00::/8"), ""),
        (
            seen("10.9.0.0/25", Way.GATEWAY, "eth0"),
            "overlaps 10.9.0.0/25, which is in use behind a router on link eth0",
        ),
        (
            seen("10.9.0.0/24", Way.GATEWAY, ""),
            "is in use behind a router",
        ),
        (seen("10.9.0.0/23", Way.GATEWAY), ""),
        (
            seen("10.9.0.5/32", Way.ADDRESS, "lo"),
            "contains 10.9.0.5, the host's own address on link lo",
        ),
        (
            seen("10.9.0.53/32", Way.RESOLVER, "/etc/resolv.conf"),
            "contains 10.9.0.53, a resolver of the host's (/etc/resolv.conf)",
        ),
        (
            seen("10.9.0.0/16", Way.DOCKER, "lan (macvlan)"),
            "overlaps 10.9.0.0/16 of Docker's network lan (macvlan)",
        ),
        (
            seen("10.9.0.0/24", Way.DOCKER, "lan (macvlan)"),
            "is that of Docker's network lan (macvlan)",
        ),
        (seen("10.9.0.0/16", Way.DOCKER_BRIDGE, "web (bridge)"), ""),
    ],
)
def test_collision_of_a_given_subnet_says_what_is_there(one: Reached, expected: str) -> None:
    assert reason(one) == expected


def test_collision_of_an_automatic_subnet_is_a_larger_network_behind_a_router_too() -> None:
    found = reason(seen("10.0.0.0/8", Way.GATEWAY), is_strict=True)

    assert found == "overlaps 10.0.0.0/8, which is in use behind a router on link tun0"


@pytest.mark.parametrize(
    "one",
    [
        seen("10.9.0.0/16", Way.DIRECT, "eth0"),
        seen("10.9.0.1/32", Way.RESOLVER, "/etc/resolv.conf"),
        seen("10.9.0.9/32", Way.ADDRESS, "eth0"),
        seen("10.9.0.0/24", Way.DOCKER, "lan (macvlan)"),
    ],
)
def test_collision_on_the_parents_own_network_is_none(one: Reached) -> None:
    assert reason(one, parent="eth0") == ""


def test_collision_with_two_links_in_the_parents_network_is_none() -> None:
    on = replace(network(9), parent=Parent(name="eth0"))
    both = [seen("10.9.0.0/16", where="eth0"), seen("10.9.0.0/16", where="wlan0")]

    assert collision(on, Subnet(pool=ip_network(SUBNET)), both, is_strict=False) is None


def test_collision_with_several_names_the_worst_and_widest() -> None:
    several = [
        seen("10.9.0.5/32", Way.ADDRESS),
        seen("10.9.0.0/24"),
        seen("10.9.0.0/16"),
        seen("10.9.0.53/32", Way.RESOLVER),
    ]

    found = collision(network(9), Subnet(pool=ip_network(SUBNET)), several, is_strict=False)

    assert found is not None
    assert found.reason == "overlaps 10.9.0.0/16, which is in use on link tun0"


# creation


@pytest.mark.parametrize("way", [Way.ADDRESS, Way.RESOLVER, Way.DIRECT, Way.GATEWAY])
async def test_create_of_a_given_subnet_that_is_in_use_is_refused_with_the_way_out(
    world: World, way: Way
) -> None:
    kept = world.kept
    world.kernel.reach.add(seen("10.1.0.5/32", way))

    with pytest.raises(Conflict, match=r"^subnet 10\.1\.0\.0/24 .*10\.1\.0\.5.*overlap=allow"):
        await world.networks.create(network(1))

    assert world.kept == kept


async def test_create_of_a_subnet_of_dockers_is_refused(world: World) -> None:
    lan = seen("10.1.0.0/16", Way.DOCKER, "lan (macvlan)")
    world.state.learn_engine_subnets(frozenset(), frozenset({lan}))

    with pytest.raises(Conflict, match=r"overlaps 10\.1\.0\.0/16 of Docker's network lan"):
        await world.networks.create(network(1))


async def test_create_that_may_overlap_by_the_driver_is_made_and_never_reported(
    world: World,
) -> None:
    world.kernel.reach.add(seen("10.1.0.0/16"))

    made = await world.networks.create(network(1, options=[("overlap", "allow")]))

    assert made in world.state.view.networks.values()
    assert await world.collisions.found() == []


async def test_create_that_may_overlap_by_the_ipam_is_made_and_never_reported(
    world: World,
) -> None:
    world.kernel.reach.add(seen("10.1.0.0/16"))
    allowed = PoolRequest(
        space="pynet-local", network=ip_network("10.1.0.0/24"), options=(("overlap", "allow"),)
    )
    pool = await world.addresses.request_pool(allowed)

    await world.networks.create(replace(network(1), pool_ids=(pool.id,)))

    assert await world.collisions.found() == []
    after = await world.restarted()
    assert await after.collisions.found() == []


async def test_request_pool_that_is_automatic_avoids_dockers_other_networks(world: World) -> None:
    beside = frozenset(
        {
            seen("10.208.0.0/24", Way.DOCKER, "lan (macvlan)"),
            seen("10.208.1.0/24", Way.DOCKER_BRIDGE, "web (bridge)"),
        }
    )
    world.state.learn_engine_subnets(frozenset(), beside)

    pool = await world.addresses.request_pool(PoolRequest(space="pynet-local"))

    assert str(pool.network) == "10.208.2.0/24"


# what comes later


async def test_collision_that_comes_later_is_one_event_once_it_is_seen_twice(world: World) -> None:
    made = await automatic(world)
    before = messages(world)
    world.kernel.routes[ip_network("10.208.0.0/12")] = "tun0"

    pauses = [await world.collisions.look() for _ in range(3)]

    (event,) = world.journal.past()[len(before) :]
    assert (event.kind, event.network) == ("collision", made.id)
    assert event.message == (
        f"subnet 10.208.0.0/24 of network {made.label} "
        "overlaps 10.208.0.0/12, which is in use on link tun0"
    )
    assert pauses == [LOOK_S] * 3


async def test_collision_that_is_seen_once_is_no_event(world: World) -> None:
    await automatic(world)
    before = messages(world)
    world.kernel.routes[ip_network("10.208.0.0/12")] = "tun0"

    await world.collisions.look()
    world.kernel.routes.clear()
    await world.collisions.look()
    await world.collisions.look()

    assert messages(world) == before


async def test_collision_that_is_over_is_told_once(world: World) -> None:
    await automatic(world)
    world.kernel.routes[ip_network("10.208.0.0/12")] = "tun0"
    await world.collisions.look()
    await world.collisions.look()
    before = messages(world)

    world.kernel.routes.clear()
    await world.collisions.look()
    await world.collisions.look()

    assert [m.startswith("over: subnet 10.208.0.0/24") for m in messages(world)[len(before) :]] == [
        True
    ]


async def test_collision_that_ends_with_its_network_is_over(world: World) -> None:
    made = await automatic(world)
    world.kernel.routes[ip_network("10.208.0.0/12")] = "tun0"
    await world.collisions.look()
    await world.collisions.look()

    await world.networks.delete(made.id)
    await world.collisions.look()

    assert messages(world)[-1].startswith("over: ")


async def test_collisions_are_those_of_the_networks_that_are_hit(world: World) -> None:
    for number in range(1, 9):
        await world.networks.create(network(number, f"10.9.{number}.1/24", f"fd0{number}::1/64"))
    world.kernel.routes[ip_network("10.9.2.0/23")] = "tun0"
    world.kernel.reach.add(seen("10.9.8.8/32", Way.RESOLVER, "/etc/resolv.conf"))
    world.kernel.reach.add(seen("fd05::/16", Way.DIRECT, "tun0"))
    world.kernel.reach.add(seen("10.8.0.0/16", Way.DIRECT, "tun0"))

    found = await world.collisions.found()

    hit = sorted(str(c.subnet) for c in found)
    assert hit == ["10.9.2.0/24", "10.9.3.0/24", "10.9.8.0/24", "fd05::/64"]


async def test_collision_with_a_networks_own_bridge_is_none(world: World) -> None:
    named = network(1, "10.9.0.1/24", options=[("name", "br-web")])
    await world.networks.create(named)
    world.kernel.routes[ip_network("10.9.0.0/24")] = "br-web"
    world.kernel.reach.add(seen("10.9.0.1/32", Way.ADDRESS, "br-web"))

    assert await world.collisions.found() == []


async def test_look_that_the_kernel_refuses_rests_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = await start()
    await world.networks.create(network(1))

    async def refuse(versions: object) -> frozenset[Reached]:
        raise Conflict("the kernel", "says no")

    world.kernel.reached = refuse  # type: ignore[method-assign]

    pauses = [await world.collisions.look(), await world.collisions.look()]

    assert pauses == [REST_S, REST_S]
    assert [r.message for r in caplog.records].count("collisions cannot be looked for") == 1
