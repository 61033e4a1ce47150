"""No address twice, none outside, and a released one rests until its turn comes again."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.allocator import choose
from ipam.pool import hosts
from netplug.contract.ipam import AddressRequest
from netplug.errors import Conflict, InvalidRequest, PoolExhausted
from netplug.model import IPAddress, Lease, LeaseKind, Pool
from tests.ipam.worlds import NOW, lease_next, leases_of, pool_of, view_of

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
    with pytest.raises(PoolExhausted, match=f"nothing free in pool {pool.id}: every address"):
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
        (LeaseKind.ENDPOINT, "db", "db"),
        (LeaseKind.ENDPOINT, "", "an endpoint"),
        (LeaseKind.GATEWAY, "", "the gateway"),
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


def test_choose_full_slash_16_is_exhausted_without_a_look_at_its_addresses() -> None:
    pool = pool_of("10.9.0.0/16")
    one = Lease(pool_id=pool.id, address=ip_address("10.9.0.1"), created_at=NOW)

    class Full(dict[IPAddress, Lease]):
        def __contains__(self, address: object) -> bool:
            raise AssertionError(f"looked at {address}")

    leases = Full({IPv4Address(host): one for host in hosts(pool.network)})

    with pytest.raises(PoolExhausted):
        choose(AddressRequest(pool_id=pool.id), pool, leases)
