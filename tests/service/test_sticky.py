"""Addresses that are kept: who asks, who turns out to have asked, and who comes too late."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netplug.contract.engine import (
    EngineContainer,
    EngineEndpoint,
    EngineNetwork,
    ListedContainer,
    ListedPlace,
)
from netplug.contract.ipam import AddressRequest, PoolRequest
from netplug.errors import StoreUnavailable
from netplug.model import Endpoint, EndpointId, Lease, LeaseKind, Pool, PoolId, Stickiness, Sticky
from netplug.service.candidates import Candidates
from netplug.service.kept import Change, learned, refreshed, stale
from netplug.service.standalone import AttachWish, NetworkWish
from netplug.view import View
from tests.service.world import COOLDOWN_S, NETNS, NOON, World, network, refuse_commits

POOL_ID = PoolId("pynet-local/10.1.0.0/24")
FRONT = replace(network(1), name="front", pool_ids=(POOL_ID,))
COMPOSE = {
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "www",
    "com.docker.compose.container-number": "1",
}
WEEK = timedelta(days=7)


@pytest.fixture
async def pool(world: World) -> Pool:
    """The pool of a network of Docker's, and an engine that is followed."""
    wish = PoolRequest(space="pynet-local", network=ip_network("10.1.0.0/24"))
    pool = await world.addresses.request_pool(wish)
    await world.networks.create(FRONT)
    list_resting(world)
    return pool


def list_resting(world: World, *names: str, **labels: str) -> None:
    """Let the engine list all containers that there are: these, which have run before."""
    world.addresses.candidates.listed(
        [
            ListedContainer(
                id=f"id-{name}",
                name=name,
                labels=labels,
                is_running=False,
                has_started=True,
                places=(ListedPlace(network="front", network_id=FRONT.id),),
            )
            for name in names
        ],
        besides=frozenset(),
    )


async def ask(world: World, name: str = "", address: str = "") -> Lease:
    """Request an address as dockerd does; before Engine 29 without a name."""
    wanted = ip_address(address) if address else None
    lease, _ = await world.addresses.request_address(
        AddressRequest(pool_id=POOL_ID, address=wanted, owner=name, name=name)
    )
    return lease


async def give_back(world: World, lease: Lease) -> None:
    await world.addresses.release_address(POOL_ID, lease.address)


def is_withheld(world: World, lease: Lease) -> bool:
    """Whether an address is given out only when no other is left, leased or not."""
    number, book = int(lease.address), world.state.view.leases_of(POOL_ID).drop(lease.address)
    return book.next_free(number, number, spares_withheld=True) is None


async def name_endpoint(world: World, lease: Lease, name: str, **labels: str) -> Endpoint:
    """Make the endpoint that has a lease, and let the engine say whose it is."""
    endpoint_id = EndpointId(f"{int(lease.address):064x}")
    if endpoint_id not in world.state.view.endpoints:
        made = Endpoint(
            id=endpoint_id,
            network_id=FRONT.id,
            mac="02:42:0a:01:00:02",
            addresses=(ip_interface(f"{lease.address}/24"),),
            created_at=NOON,
        )
        await world.endpoints.create(made)
    listed = EngineEndpoint(id=endpoint_id, name=name, container_id=f"id-{name}")
    world.engine.listed = {
        FRONT.id: EngineNetwork(
            id=FRONT.id, name="front", driver="pynet", endpoints={endpoint_id: listed}
        )
    }
    world.engine.inspectable = {
        f"id-{name}": EngineContainer(
            id=f"id-{name}", name=name, labels=labels, aliases={endpoint_id: ()}
        )
    }
    await world.identities.learn(world.engine.snapshot(world.clock.now()))
    return world.state.view.endpoints[endpoint_id]


def kept(world: World) -> dict[str, str]:
    return {str(s.address): s.name for s in world.state.view.sticky_of(POOL_ID)}


def lease_at(world: World, address: str) -> Lease:
    return world.state.view.leases_of(POOL_ID)[ip_address(address)]


async def test_what_is_kept_no_more_soon_after_its_release_rests_on(
    world: World, pool: Pool
) -> None:
    old = await ask(world, "web")
    await give_back(world, old)

    await ask(world, "web", "10.1.0.9")

    assert is_withheld(world, old)
    world.clock.advance(COOLDOWN_S)
    await ask(world)
    assert not is_withheld(world, old)


async def test_what_turns_out_to_be_kept_no_more_rests_on(world: World, pool: Pool) -> None:
    old = await ask(world, "web")
    await give_back(world, old)

    await name_endpoint(world, await ask(world), "web")

    assert world.state.view.sticky_of(POOL_ID).get(old.address) is None
    assert is_withheld(world, old)


async def test_pool_of_the_same_name_later_knows_nothing_of_what_rested(
    world: World, pool: Pool
) -> None:
    old = await ask(world, "web")
    await give_back(world, old)
    await world.addresses.release_pool(POOL_ID)
    await world.addresses.request_pool(PoolRequest(space="pynet-local", network=pool.network))
    await ask(world, "web", str(old.address))

    await ask(world, "web", "10.1.0.9")

    assert not is_withheld(world, old)


async def test_a_name_gets_its_address_back_after_a_restart_of_the_daemon(
    world: World, pool: Pool
) -> None:
    first = await ask(world, "web")
    await give_back(world, first)

    after = await world.restarted()
    await ask(after, "db")
    again = await ask(after, "web")

    assert (again.address, again.sticky) == (first.address, Stickiness.KEPT)


async def test_the_only_candidate_gets_its_address_back(world: World, pool: Pool) -> None:
    first = await ask(world, "web")
    await give_back(world, first)
    list_resting(world, "web")

    again = await ask(world)

    assert (again.address, again.owner, again.sticky) == (first.address, "web", Stickiness.KEPT)


async def test_of_several_candidates_none_gets_what_is_kept(world: World, pool: Pool) -> None:
    for lease in [await ask(world, "web"), await ask(world, "db")]:
        await give_back(world, lease)
    list_resting(world, "web", "db")

    lease = await ask(world)

    assert str(lease.address) == "10.1.0.3"
    assert (lease.owner, lease.sticky) == ("", Stickiness.NONE)


async def test_candidates_come_one_by_one_until_each_is_given_back(
    world: World, pool: Pool
) -> None:
    list_resting(world, "web")
    first = await ask(world)

    second = await ask(world)
    await give_back(world, first)
    third = await ask(world)

    assert (first.owner, second.owner) == ("web", "")
    assert (third.owner, third.address) == ("web", first.address)


async def test_a_candidate_whose_grant_is_not_stored_asks_again(world: World, pool: Pool) -> None:
    list_resting(world, "web")
    world.let(refuse_commits(0))
    with pytest.raises(StoreUnavailable):
        await ask(world)

    assert (await ask(world)).owner == "web"


async def test_a_name_is_matched_by_the_service_of_its_container(world: World, pool: Pool) -> None:
    list_resting(world, "a1b2_web", **COMPOSE)
    first = await ask(world, "a1b2_web")
    await give_back(world, first)
    list_resting(world, "web", **COMPOSE)

    again = await ask(world, "web")

    assert (again.address, again.sticky) == (first.address, Stickiness.KEPT)


async def test_while_the_engine_starts_the_only_one_who_is_missing_gets_its_address(
    world: World, pool: Pool
) -> None:
    first = await ask(world, "web")
    await ask(world, "db")
    await give_back(world, first)
    world.addresses.candidates.lost(lambda: None)

    assert (await ask(world)).address == first.address
    assert (await ask(world)).sticky is Stickiness.NONE


async def test_without_an_engine_nobody_is_guessed(world: World, pool: Pool) -> None:
    await give_back(world, await ask(world, "web"))
    alone = replace(world.addresses, candidates=Candidates(world.clock, has_engine=False))

    lease, _ = await alone.request_address(AddressRequest(pool_id=POOL_ID))

    assert (str(lease.address), lease.owner) == ("10.1.0.2", "")


async def test_an_attachment_gets_its_address_back(world: World) -> None:
    await world.standalone.create(NetworkWish(name="lab"))
    wish = AttachWish(network="lab", netns=NETNS, name="a")
    first = await world.standalone.attach(wish)
    await world.standalone.detach("a")

    again = await world.standalone.attach(wish)

    assert (again.addresses, again.mac) == (first.addresses, first.mac)


async def test_an_attachment_to_a_network_that_keeps_nothing_gets_another(world: World) -> None:
    await world.standalone.create(NetworkWish(name="lab", ipam_options=(("sticky", "off"),)))
    wish = AttachWish(network="lab", netns=NETNS, name="a")
    first = await world.standalone.attach(wish)
    await world.standalone.detach("a")

    again = await world.standalone.attach(wish)

    assert again.addresses != first.addresses
    assert world.state.view.sticky == {}


async def test_what_a_pool_keeps_goes_with_it(world: World, pool: Pool) -> None:
    await ask(world, "web")

    await world.addresses.release_pool(pool.id)

    assert world.state.view.sticky == {}
    assert (await world.restarted()).state.view.sticky == {}


async def test_learn_of_a_new_name_keeps_its_address(world: World, pool: Pool) -> None:
    lease = await ask(world)

    await name_endpoint(world, lease, "web", **COMPOSE)

    after = await world.restarted()
    assert lease_at(after, "10.1.0.1") == replace(lease, owner="web", sticky=Stickiness.NEW)
    (known,) = after.state.view.sticky_of(POOL_ID)
    assert (known.name, known.service) == ("web", "shop/www/1")


async def test_learn_of_a_name_that_was_known_before_leases_had_owners(
    world: World, pool: Pool
) -> None:
    lease = await ask(world)
    await name_endpoint(world, lease, "web")
    await world.state.commit(puts=(lease,), drops=tuple(world.state.view.sticky_of(POOL_ID)))

    after = await world.restarted()
    await after.identities.learn(world.engine.snapshot(world.clock.now()))

    assert lease_at(after, "10.1.0.1").owner == "web"
    assert kept(after) == {"10.1.0.1": "web"}


async def test_learn_of_who_got_another_address_says_so_and_keeps_the_new_one(
    world: World, pool: Pool
) -> None:
    await give_back(world, await ask(world, "web"))
    lease = await ask(world)

    await name_endpoint(world, lease, "web")

    assert lease_at(world, "10.1.0.2").sticky is Stickiness.AMBIGUOUS
    assert kept(world) == {"10.1.0.2": "web"}


async def test_learn_of_who_was_guessed_right_changes_nothing(world: World, pool: Pool) -> None:
    await give_back(world, await ask(world, "web"))
    world.clock.advance(60)
    list_resting(world, "web")
    lease = await ask(world)

    await name_endpoint(world, lease, "web")

    assert lease_at(world, "10.1.0.1") == lease
    assert kept(world) == {"10.1.0.1": "web"}


async def test_learn_of_a_wrong_guess_leaves_the_address_kept_for_whom_it_was(
    world: World, pool: Pool
) -> None:
    await give_back(world, await ask(world, "web"))
    await give_back(world, await ask(world, "db"))
    world.clock.advance(60)
    list_resting(world, "web")
    lease = await ask(world)
    assert lease.owner == "web"

    await name_endpoint(world, lease, "db")

    found = lease_at(world, "10.1.0.1")
    assert (found.owner, found.sticky) == ("db", Stickiness.AMBIGUOUS)
    assert kept(world) == {"10.1.0.1": "web", "10.1.0.2": "db"}


async def test_learn_of_a_wrong_guess_at_somebody_new_keeps_nothing_for_them(
    world: World, pool: Pool
) -> None:
    list_resting(world, "web")
    lease = await ask(world)
    assert kept(world) == {"10.1.0.1": "web"}

    await name_endpoint(world, lease, "db")

    assert kept(world) == {"10.1.0.1": "db"}


async def test_learn_of_who_asked_for_an_address_keeps_it_for_them(
    world: World, pool: Pool
) -> None:
    await give_back(world, await ask(world, "web"))
    world.clock.advance(60)
    lease = await ask(world, address="10.1.0.1")

    await name_endpoint(world, lease, "db")

    assert kept(world) == {"10.1.0.1": "db"}
    assert lease_at(world, "10.1.0.1").sticky is Stickiness.NONE


async def test_learn_of_a_rename_keeps_the_address_for_the_new_name(
    world: World, pool: Pool
) -> None:
    await give_back(world, await ask(world, "web"))
    world.clock.advance(60)
    lease = await ask(world, "web")
    await name_endpoint(world, lease, "web")

    await name_endpoint(world, lease, "shop")

    assert kept(world) == {"10.1.0.1": "shop"}
    found = lease_at(world, "10.1.0.1")
    assert (found.owner, found.sticky) == ("shop", Stickiness.KEPT)


async def test_learn_where_nothing_is_kept_names_the_owner_only(world: World) -> None:
    wish = PoolRequest(
        space="pynet-local", network=ip_network("10.1.0.0/24"), options=(("sticky", "off"),)
    )
    await world.addresses.request_pool(wish)
    await world.networks.create(FRONT)
    list_resting(world, "web")
    lease = await ask(world)

    await name_endpoint(world, lease, "web")

    assert lease_at(world, "10.1.0.1") == replace(lease, owner="web")
    assert kept(world) == {}


async def test_learned_leaves_what_is_no_endpoints_alone(world: World, pool: Pool) -> None:
    lease, _ = await world.addresses.request_address(
        AddressRequest(pool_id=POOL_ID, kind=LeaseKind.RESERVED, address=ip_address("10.1.0.9"))
    )
    endpoint = await name_endpoint(world, lease, "web")

    change = learned(world.state.view, replace(endpoint, name=""), endpoint, NOON)

    assert (change.puts, change.drops) == ((), ())
    assert kept(world) == {}


async def test_the_sweep_forgets_who_did_not_come_back_in_time(world: World, pool: Pool) -> None:
    await give_back(world, await ask(world, "gone"))
    await ask(world, "here")
    world.clock.advance(WEEK.total_seconds())

    await world.addresses.refresh_kept()
    assert sorted(kept(world).values()) == ["gone", "here"]

    world.clock.advance(WEEK.total_seconds() / 8 + 1)
    await world.addresses.refresh_kept()
    assert sorted(kept(world).values()) == ["here"]
    assert sorted(kept(await world.restarted()).values()) == ["here"]


async def test_the_sweep_leaves_alone_whose_address_is_being_granted_again(
    world: World, pool: Pool
) -> None:
    await give_back(world, await ask(world, "late"))
    world.clock.advance(2 * WEEK.total_seconds())

    async with world.store.held() as arrived:
        asked = asyncio.create_task(ask(world, "late"))
        await arrived.get()
        await world.addresses.refresh_kept()
    await asked

    assert kept(world) == {"10.1.0.1": "late"}


async def test_the_sweep_writes_many_in_parts(world: World, pool: Pool) -> None:
    written: list[int] = []
    many = [
        Sticky(pool_id=POOL_ID, name=str(n), address=ip_address("10.1.0.0") + n, held_at=NOON)
        for n in range(600)
    ]
    await world.state.commit(puts=many)
    world.clock.advance(2 * WEEK.total_seconds())
    world.store.before_commit = lambda batch: written.append(len(batch.drops))

    await world.addresses.refresh_kept()

    assert written == [500, 100]
    assert kept(world) == {}


def change(view: View, now: datetime) -> Change:
    return refreshed(view, stale(view, WEEK, now), WEEK, now)


def test_refreshed_counts_from_the_release_and_not_for_whoever_has_it_by_mistake(
    world: World,
) -> None:
    sticky = Sticky(pool_id=POOL_ID, name="web", address=ip_address("10.1.0.2"), held_at=NOON)
    pool = Pool(id=POOL_ID, space="x", network=ip_network("10.1.0.0/24"), created_at=NOON)
    lease = Lease(pool_id=POOL_ID, address=sticky.address, owner="web", created_at=NOON)
    soon, late = NOON + timedelta(days=1), NOON + timedelta(days=8)

    held = world.state.view.with_records([pool, sticky, lease])
    taken = held.with_records([replace(lease, owner="db")])

    assert change(held, NOON).puts == ()
    assert change(held, soon).puts == (replace(sticky, held_at=soon),)
    assert change(held, late).drops == ()
    assert change(taken, soon).puts == ()
    assert change(taken, late).drops == (sticky,)


def test_refreshed_drops_what_belongs_to_no_pool(world: World) -> None:
    sticky = Sticky(pool_id=POOL_ID, name="web", address=ip_address("10.1.0.2"), held_at=NOON)
    orphan = world.state.view.with_records([sticky])

    assert change(orphan, NOON).drops == (sticky,)
