"""Reserved addresses: kept from everybody, all of a request or none, and given back."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from netplug.contract.ipam import AddressRequest
from netplug.errors import Conflict, InvalidRequest, NotFound, PoolExhausted
from netplug.model import LeaseKind, Network, Pool
from netplug.service.standalone import AttachWish, NetworkWish, SubnetWish
from tests.service.world import NETNS, World, messages, network

POOL_ID = "pynet-local/10.9.0.0/28"


@pytest.fixture
async def pool(world: World) -> Pool:
    """The IPv4 pool of a network `lab`, 14 addresses less gateway and an aux address."""
    subnets = (
        SubnetWish(pool=ip_network("10.9.0.0/28"), aux=(("printer", ip_address("10.9.0.14")),)),
        SubnetWish(pool=ip_network("fd09::/64"), is_ipv6=True),
    )
    made = await world.standalone.create(NetworkWish(name="lab", has_ipv6=True, subnets=subnets))
    assert isinstance(made, Network)
    return world.state.view.pools[made.pool_ids[0]]


def reserved(world: World) -> dict[str, str]:
    view = world.state.view
    leases = [lease for pool_id in view.pools for lease in view.leases_of(pool_id).values()]
    return {str(e.address): e.owner for e in leases if e.kind is LeaseKind.RESERVED}


@pytest.mark.parametrize("reference", ["lab", POOL_ID, "10.9.0.0/28"])
async def test_reserve_by_any_name_of_the_pool_survives_a_restart(
    world: World, pool: Pool, reference: str
) -> None:
    leases = await world.reservations.reserve(reference, ["10.9.0.5", "10.9.0.7-10.9.0.8"], "nas")

    assert [str(lease.address) for lease in leases] == ["10.9.0.5", "10.9.0.7", "10.9.0.8"]
    assert reserved(await world.restarted()) == dict.fromkeys(
        ("10.9.0.5", "10.9.0.7", "10.9.0.8"), "nas"
    )
    assert messages(world)[-1] == (f"10.9.0.5, 10.9.0.7, 10.9.0.8 of {reference} reserved for nas")


async def test_reserved_addresses_are_given_to_nobody(world: World, pool: Pool) -> None:
    await world.reservations.reserve("lab", ["10.9.0.2-10.9.0.12"], "")

    lease, _ = await world.addresses.request_address(AddressRequest(pool_id=pool.id))

    assert str(lease.address) == "10.9.0.13"
    with pytest.raises(PoolExhausted):
        await world.addresses.request_address(AddressRequest(pool_id=pool.id))
    with pytest.raises(Conflict):
        await world.standalone.attach(
            AttachWish(network="lab", netns=NETNS, addresses=(ip_address("10.9.0.2"),))
        )


async def test_late_release_by_dockerd_leaves_a_reservation_alone(world: World, pool: Pool) -> None:
    await world.reservations.reserve("lab", ["10.9.0.5"], "nas")

    await world.addresses.release_address(pool.id, ip_address("10.9.0.5"))

    assert reserved(world) == {"10.9.0.5": "nas"}


async def test_reserve_a_network_passes_over_what_no_endpoint_could_have(
    world: World, pool: Pool
) -> None:
    await world.reservations.reserve("lab", ["10.9.0.0/28"], "")

    assert set(reserved(world)) == {f"10.9.0.{n}" for n in range(2, 14)}


async def test_reserve_of_both_families_of_a_network_finds_their_pools(
    world: World, pool: Pool
) -> None:
    await world.reservations.reserve("lab", ["fd09::5", "10.9.0.5"], "")

    assert set(reserved(world)) == {"fd09::5", "10.9.0.5"}


async def test_address_that_is_named_several_times_is_reserved_and_given_back_once(
    world: World, pool: Pool
) -> None:
    texts = ["10.9.0.5", "10.9.0.4-10.9.0.6", "10.9.0.5"]

    made = await world.reservations.reserve("lab", texts, "")
    gone = await world.reservations.unreserve("lab", texts)

    assert sorted(str(lease.address) for lease in made) == ["10.9.0.4", "10.9.0.5", "10.9.0.6"]
    assert sorted(gone, key=lambda lease: lease.address) == sorted(
        made, key=lambda lease: lease.address
    )
    with pytest.raises(InvalidRequest, match="network address"):
        await world.reservations.reserve("lab", ["10.9.0.0/28", "10.9.0.0"], "")


async def test_release_of_a_reserved_address_leaves_it_reserved(world: World, pool: Pool) -> None:
    await world.reservations.reserve("lab", ["10.9.0.5"], "nas")

    await world.addresses.release_address(pool.id, ip_address("10.9.0.5"))

    assert reserved(world) == {"10.9.0.5": "nas"}
    assert reserved(await world.restarted()) == {"10.9.0.5": "nas"}


async def test_reserve_again_keeps_it_and_takes_a_new_note(world: World, pool: Pool) -> None:
    (first,) = await world.reservations.reserve("lab", ["10.9.0.5"], "nas")
    world.clock.advance(5)

    (same,) = await world.reservations.reserve("lab", ["10.9.0.5"], "")
    (noted,) = await world.reservations.reserve("lab", ["10.9.0.5"], "printer")

    assert same == first
    assert (noted.created_at, noted.owner) == (first.created_at, "printer")


@pytest.mark.parametrize("text", ["fd09::5%eth0", "fd09::5%eth0-fd09::6"])
async def test_reserve_an_address_with_a_zone_is_refused(
    world: World, pool: Pool, text: str
) -> None:
    with pytest.raises(InvalidRequest, match="has a zone"):
        await world.reservations.reserve("lab", [text], "")


async def test_reserve_what_an_endpoint_has_reserves_nothing(world: World, pool: Pool) -> None:
    attached = await world.standalone.attach(AttachWish(network="lab", netns=NETNS, name="a"))
    held = next(a.ip for a in attached.addresses if a.version == 4)

    with pytest.raises(Conflict, match=rf"{held} \(dynamic, a\) is leased; nothing was reserved"):
        await world.reservations.reserve("lab", ["10.9.0.9", "10.9.0.0/28"], "")

    assert reserved(world) == {}


@pytest.mark.parametrize("address", ["10.9.0.1", "10.9.0.14"])
async def test_reserve_an_address_of_the_networks_own_is_refused(
    world: World, pool: Pool, address: str
) -> None:
    with pytest.raises(Conflict, match="is leased"):
        await world.reservations.reserve("lab", [address], "")


async def test_reserve_while_the_address_is_being_granted_waits_and_is_refused(
    world: World, pool: Pool
) -> None:
    wish = AddressRequest(pool_id=pool.id, address=ip_address("10.9.0.5"))

    granted, refused = await asyncio.gather(
        world.addresses.request_address(wish),
        world.reservations.reserve("lab", ["10.9.0.5"], ""),
        return_exceptions=True,
    )

    assert isinstance(granted, tuple)
    assert isinstance(refused, Conflict)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ([], "an address is wanted"),
        (["nas"], "'nas' does not appear to be an IPv4 or IPv6 address"),
        (["10.9.0.5/28"], "10.9.0.5/28 has host bits set"),
        (["10.9.0.0"], "address 10.9.0.0 is the network address of 10.9.0.0/28"),
        (["10.9.0.9-10.9.0.2"], "it ends before it begins"),
        (["10.9.0.9-fd09::1"], "it ends before it begins"),
        (["10.9.1.1"], "10.9.1.1 lies outside 10.9.0.0/28 and fd09::/64"),
        (["10.9.0.2-10.9.0.20"], "10.9.0.2-10.9.0.20 lies outside"),
        (["fd09::/64"], "18446744073709551616 addresses are too many: at most 4096 at once"),
    ],
)
async def test_reserve_of_what_makes_no_sense_is_refused(
    world: World, pool: Pool, texts: list[str], problem: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await world.reservations.reserve("lab", texts, "")

    assert problem in str(caught.value)
    assert reserved(world) == {}


async def test_unreserve_gives_back_what_is_reserved_of_a_run(world: World, pool: Pool) -> None:
    await world.reservations.reserve("lab", ["10.9.0.5", "10.9.0.7"], "")

    leases = await world.reservations.unreserve(POOL_ID, ["10.9.0.0/29"])

    assert [str(lease.address) for lease in leases] == ["10.9.0.5", "10.9.0.7"]
    assert reserved(world) == {}
    with pytest.raises(NotFound, match=r"no reservation of '10\.9\.0\.5 in pool"):
        await world.reservations.unreserve("lab", ["10.9.0.5"])


@pytest.mark.parametrize("text", ["10.9.0.1", "10.9.0.14", "10.9.0.0/28"])
async def test_unreserve_takes_nothing_that_was_not_reserved(
    world: World, pool: Pool, text: str
) -> None:
    with pytest.raises(NotFound, match="no reservation of"):
        await world.reservations.unreserve("lab", [text])

    assert ip_address("10.9.0.1") in world.state.view.leases_of(pool.id)


async def test_pools_of_what_there_is_not_is_not_found(world: World, pool: Pool) -> None:
    with pytest.raises(NotFound, match="no pool or network 'none'"):
        await world.reservations.reserve("none", ["10.9.0.5"], "")


async def test_pools_of_a_network_with_dockers_addresses_is_refused(world: World) -> None:
    made = await world.networks.create(network(1))

    with pytest.raises(Conflict, match="has its addresses from Docker"):
        world.reservations.pools_of(made.id)


async def test_reservations_are_no_fault(world: World, pool: Pool) -> None:
    await world.reservations.reserve("lab", ["10.9.0.5"], "")
    world.clock.advance(3600)
    await world.identities.learn(world.engine.snapshot(world.clock.now()))

    assert (await world.auditor.audit()).findings == ()
