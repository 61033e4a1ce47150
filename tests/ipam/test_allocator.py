"""No address twice, none outside, and a released one rests until its turn comes again."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.pool import hosts
from netplug.errors import Conflict, InvalidRequest, PoolExhausted
from netplug.model import IPAddress, Lease, LeaseKind, Pool
from netplug.view import View
from tests.ipam.worlds import lease_next, leases_of, pool_of, view_of

SMALL_POOLS = [
    pool_of("10.9.0.0/28"),
    pool_of("10.9.0.0/30"),
    pool_of("10.9.0.0/31"),
    pool_of("10.9.0.7/32"),
    pool_of("10.9.0.0/24", "10.9.0.0/28"),
    pool_of("10.9.0.0/24", "10.9.0.240/28"),
    pool_of("10.9.0.0/24", "10.9.0.254/31"),
    pool_of("fd00::/124"),
    pool_of("fd00::/126"),
    pool_of("fd00::/127"),
    pool_of("fd00::1/128"),
    pool_of("fd00::/64", "fd00::/124"),
    pool_of("fd00::/64", "fd00::ffff:ffff:ffff:fff0/124"),
]
ANY_SMALL_POOL = st.sampled_from(SMALL_POOLS)


def _size(pool: Pool) -> int:
    return len(hosts(pool.network, pool.sub_range))


@pytest.mark.parametrize("pool", SMALL_POOLS, ids=lambda pool: str(pool.id))
def test_choose_until_exhausted_gives_every_address_once(pool: Pool) -> None:
    view = view_of(pool)
    chosen = []

    for _ in range(_size(pool)):
        address, view = lease_next(view, pool)
        chosen.append(int(address))

    assert chosen == list(hosts(pool.network, pool.sub_range))
    with pytest.raises(PoolExhausted, match=f"nothing free in pool {pool.id}: .* leased"):
        lease_next(view, pool)


@given(pool=ANY_SMALL_POOL, data=st.data())
def test_choose_any_history_never_repeats_nor_leaves_the_range(
    pool: Pool, data: st.DataObject
) -> None:
    view = view_of(pool)
    leased: dict[IPAddress, Lease] = {}

    for is_release in data.draw(st.lists(st.booleans(), max_size=40)):
        if is_release and leased:
            released = data.draw(st.sampled_from(sorted(leased, key=int)))
            view = view.without([leased.pop(released)])
        elif len(leased) < _size(pool):
            address, view = lease_next(view, pool)
            assert address not in leased
            assert int(address) in hosts(pool.network, pool.sub_range)
            leased[address] = view.leases_of(pool.id)[address]


@given(pool=ANY_SMALL_POOL, data=st.data())
def test_choose_after_release_reuses_only_when_the_cursor_wraps(
    pool: Pool, data: st.DataObject
) -> None:
    view = view_of(pool)
    for _ in range(data.draw(st.integers(0, _size(pool) - 1))):
        _, view = lease_next(view, pool)
    last, view = lease_next(view, pool)
    never_used = _size(pool) - len(view.leases_of(pool.id))
    view = view.without([view.leases_of(pool.id)[last]])

    order = []
    for _ in range(never_used + 1):
        address, view = lease_next(view, pool)
        order.append(address)

    assert order.index(last) == never_used


@pytest.mark.parametrize("cursor", ["10.9.0.3", "10.9.0.200"], ids=["below", "above"])
def test_choose_cursor_outside_the_range_begins_at_its_start(cursor: str) -> None:
    pool = pool_of("10.9.0.0/24", "10.9.0.64/28", cursor=cursor)

    address, _ = lease_next(view_of(pool), pool)

    assert address == ip_address("10.9.0.64")


def test_choose_ipv6_slash_64_after_the_last_address_wraps_to_the_first() -> None:
    pool = pool_of("fd00::/64", cursor="fd00::ffff:ffff:ffff:ffff")

    address, _ = lease_next(view_of(pool), pool)

    assert address == ip_address("fd00::1")


def test_choose_range_full_but_not_the_pool_is_exhausted() -> None:
    pool = pool_of("10.9.0.0/24", "10.9.0.64/31")
    view = view_of(pool, *leases_of(pool, ["10.9.0.64", "10.9.0.65"]))

    with pytest.raises(PoolExhausted):
        lease_next(view, pool)


def test_choose_gateway_is_the_first_free_of_the_pool_not_of_the_range() -> None:
    pool = pool_of("10.9.0.0/24", "10.9.0.64/28", cursor="10.9.0.66")
    view = view_of(pool, *leases_of(pool, ["10.9.0.1"]))

    address, _ = lease_next(view, pool, kind=LeaseKind.GATEWAY)

    assert address == ip_address("10.9.0.2")


@pytest.mark.parametrize(
    ("network", "gateway"),
    [
        ("10.9.0.0/30", "10.9.0.1"),
        ("10.9.0.0/31", "10.9.0.0"),
        ("10.9.0.7/32", "10.9.0.7"),
        ("fd00::/64", "fd00::1"),
        ("fd00::/127", "fd00::"),
        ("fd00::1/128", "fd00::1"),
    ],
)
def test_choose_gateway_of_an_empty_pool_is_its_first_host(network: str, gateway: str) -> None:
    pool = pool_of(network)

    address, _ = lease_next(view_of(pool), pool, kind=LeaseKind.GATEWAY)

    assert address == ip_address(gateway)


@pytest.mark.parametrize("address", ["10.9.0.1", "10.9.0.64", "10.9.0.254"])
def test_choose_given_address_may_lie_outside_the_range(address: str) -> None:
    pool = pool_of("10.9.0.0/24", "10.9.0.64/28")

    chosen, _ = lease_next(view_of(pool), pool, address)

    assert chosen == ip_address(address)


@pytest.mark.parametrize(
    ("network", "address", "problem"),
    [
        ("10.9.0.0/24", "10.8.0.1", "address 10.8.0.1 lies outside pool 10.9.0.0/24"),
        ("10.9.0.0/24", "fd00::1", "address fd00::1 lies outside pool 10.9.0.0/24"),
        ("10.9.0.0/24", "10.9.0.0", "address 10.9.0.0 is the network address of 10.9.0.0/24"),
        ("10.9.0.0/30", "10.9.0.3", "address 10.9.0.3 is the broadcast address of 10.9.0.0/30"),
        ("fd00::/64", "fd00::", "address fd00:: is the subnet-router anycast address of fd00::/64"),
    ],
)
def test_choose_given_address_that_no_host_may_have_is_refused(
    network: str, address: str, problem: str
) -> None:
    pool = pool_of(network)

    with pytest.raises(InvalidRequest) as refusal:
        lease_next(view_of(pool), pool, address)

    assert refusal.value.problems == (problem,)


@pytest.mark.parametrize(
    ("kind", "owner", "holder"),
    [
        (LeaseKind.DYNAMIC, "db", "db"),
        (LeaseKind.DYNAMIC, "", "an endpoint"),
        (LeaseKind.STATIC, "", "an endpoint"),
        (LeaseKind.GATEWAY, "", "the gateway"),
        (LeaseKind.AUX, "", "an auxiliary address"),
        (LeaseKind.AUX, "router", "router"),
        (LeaseKind.RESERVED, "", "a reservation"),
    ],
)
def test_choose_given_address_that_is_leased_names_the_holder(
    kind: LeaseKind, owner: str, holder: str
) -> None:
    pool = pool_of("10.9.0.0/24")
    _, view = lease_next(view_of(pool), pool, "10.9.0.5", kind, owner)

    with pytest.raises(Conflict) as refusal:
        lease_next(view, pool, "10.9.0.5")

    assert str(refusal.value) == (
        f"address 10.9.0.5 of pool 10.9.0.0/24 is leased to {holder} "
        "since 2025-03-04 05:06:07+00:00; leave the address out to get a free one"
    )


def withheld(view: View, pool: Pool, *addresses: str) -> View:
    return view.changed(withheld=leases_of(pool, addresses))


def test_choose_takes_withheld_addresses_last_and_in_turn() -> None:
    pool = pool_of("10.9.0.0/29", cursor="10.9.0.2")
    view = withheld(view_of(pool), pool, "10.9.0.3", "10.9.0.4", "10.9.0.1")

    order = []
    for _ in range(6):
        address, view = lease_next(view, pool)
        pool = view.pools[pool.id]
        order.append(str(address))

    assert order == [f"10.9.0.{n}" for n in (5, 6, 2, 3, 4, 1)]


def test_choose_given_address_that_is_withheld_is_granted() -> None:
    pool = pool_of("10.9.0.0/24")

    chosen, _ = lease_next(withheld(view_of(pool), pool, "10.9.0.5"), pool, "10.9.0.5")

    assert chosen == ip_address("10.9.0.5")


def test_choose_exhausted_says_whose_the_addresses_are_and_what_to_do() -> None:
    pool = pool_of("10.9.0.0/29")
    view = view_of(pool)
    _, view = lease_next(view, pool, kind=LeaseKind.GATEWAY)
    _, view = lease_next(view, pool, "10.9.0.6", owner="web")
    for owner in ("db", "", "db", "mail"):
        _, view = lease_next(view, pool, owner=owner)

    with pytest.raises(PoolExhausted) as refusal:
        lease_next(view, pool)

    assert str(refusal.value) == (
        "nothing free in pool local/10.9.0.0/29: all 6 addresses are leased "
        "(6 in the pool: 4 dynamic, 1 static, 1 gateway; to db, mail, web); "
        "remove endpoints, make a network with a larger --subnet, "
        "or see 'pynet ipam audit' for leases that nobody uses"
    )


def test_choose_exhausted_range_is_told_apart_from_its_pool() -> None:
    pool = pool_of("10.9.0.0/24", "10.9.0.64/31")
    owners = ("a", "b", "c", "d")
    leases = leases_of(pool, [f"10.9.0.{n}" for n in (64, 65, 70, 71)])
    view = view_of(pool, *(replace(le, owner=o) for le, o in zip(leases, owners, strict=True)))

    with pytest.raises(
        PoolExhausted, match=r"range 10\.9\.0\.64/31 are leased \(4 in the pool: 4 dy"
    ):
        lease_next(view, pool)
    with pytest.raises(PoolExhausted, match="; to a, b, c and others"):
        lease_next(view, pool)


def test_choose_exhausted_single_address_is_told_as_one() -> None:
    pool = pool_of("10.9.0.7/32")

    with pytest.raises(PoolExhausted, match=r"its only address is leased \(1 in the pool: 1 dyn"):
        lease_next(view_of(pool, *leases_of(pool, ["10.9.0.7"])), pool)
