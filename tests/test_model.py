"""The view: a value that is replaced, with records that have one place each."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplug.model import (
    Endpoint,
    EndpointId,
    HostFacts,
    HostState,
    Lease,
    Network,
    NetworkId,
    Pool,
    PoolId,
    Record,
    Sticky,
)
from netplug.view import View
from tests.service.world import NOON

HOST = HostState(instance="0f3a", ula=IPv6Network("fd12:3456:789a::/48"))
EMPTY = View(host=HOST)
NETWORKS = [Network(id=NetworkId(c * 64), created_at=NOON) for c in "ab"]
ENDPOINTS = [
    Endpoint(id=EndpointId(c * 64), network_id=n.id, mac="02:42:00:00:00:02", created_at=NOON)
    for c, n in zip("cd", NETWORKS, strict=True)
]
POOLS = [
    Pool(id=PoolId(f"local/{n}"), space="local", network=ip_network(n), created_at=NOON)
    for n in ("10.9.0.0/24", "10.10.0.0/24")
]
LEASES = [
    Lease(pool_id=pool.id, address=ip_address(address), created_at=NOON)
    for pool, address in zip(POOLS, ("10.9.0.2", "10.10.0.2"), strict=True)
]
STICKIES = [
    Sticky(pool_id=lease.pool_id, name=name, address=lease.address + number, held_at=NOON)
    for number, (lease, name) in enumerate(zip(LEASES, ("web", "db"), strict=True))
]
RECORDS: list[Record] = [*NETWORKS, *ENDPOINTS, *POOLS, *LEASES, *STICKIES]

some_records = st.lists(st.sampled_from(RECORDS), max_size=8)


def content(view: View) -> set[Record]:
    leases = {lease for held in view.leases.values() for lease in held.values()}
    return {
        *view.networks.values(),
        *view.endpoints.values(),
        *view.pools.values(),
        *leases,
        *(sticky for book in view.sticky.values() for sticky in book),
    }


@given(some_records)
def test_with_records_holds_each_once(records: list[Record]) -> None:
    assert content(EMPTY.with_records(records)) == set(records)


@given(some_records)
def test_without_takes_back_what_with_records_put(records: list[Record]) -> None:
    leases = [record for record in records if isinstance(record, Lease | Sticky)]
    others = [record for record in records if not isinstance(record, Lease | Sticky)]

    assert EMPTY.with_records(records).without([*leases, *others]) == EMPTY


@given(some_records, some_records)
def test_change_leaves_the_view_before_it_alone(first: list[Record], then: list[Record]) -> None:
    before = EMPTY.with_records(first)

    before.with_records(then).without(first)

    assert content(before) == set(first)


@given(some_records)
def test_without_of_what_is_not_there_changes_nothing(records: list[Record]) -> None:
    assert EMPTY.without(records) == EMPTY


def test_with_records_replaces_the_namesake() -> None:
    renamed = replace(NETWORKS[0], name="web")

    view = EMPTY.with_records([NETWORKS[0], renamed])

    assert set(view.networks.values()) == {renamed}


def test_with_records_takes_a_host_and_without_keeps_it() -> None:
    other = HOST.with_engine("engine-1")

    view = EMPTY.with_records([other])

    assert view.host == other
    assert view.without([other]).host == other


def test_without_a_pool_drops_its_leases_and_no_other() -> None:
    view = EMPTY.with_records(RECORDS).without([POOLS[0]])

    assert view.leases_of(POOLS[0].id) == {}
    assert set(view.leases) == {POOLS[1].id}
    assert set(view.sticky) == {POOLS[1].id}


def test_what_is_kept_is_withheld_for_exactly_as_long() -> None:
    address = STICKIES[1].address
    book = EMPTY.with_records([POOLS[1], STICKIES[1]])

    rested = book.without_withheld({POOLS[1].id: [address]})
    after = rested.without([STICKIES[1]])

    def next_free(view: View) -> int | None:
        leases = view.leases_of(POOLS[1].id)
        return leases.next_free(int(address), int(address) + 1, spares_withheld=True)

    assert [next_free(view) for view in (book, rested, after)] == [
        int(address) + 1,
        int(address) + 1,
        int(address),
    ]


def test_network_of_a_pool_is_the_one_that_has_it_now() -> None:
    one, other = POOLS
    with_one, with_other = (replace(NETWORKS[0], pool_ids=(pool.id,)) for pool in POOLS)

    has_one = EMPTY.with_records([with_one, NETWORKS[1]])
    has_other = has_one.with_records([with_other])
    moved = has_one.with_records([replace(NETWORKS[1], pool_ids=(one.id,)), with_other])
    gone = moved.without([with_other])

    assert [view.network_of(one.id) for view in (EMPTY, has_one, has_other)] == [
        None,
        with_one,
        None,
    ]
    assert has_other.network_of(other.id) == with_other
    assert moved.network_of(one.id) == replace(NETWORKS[1], pool_ids=(one.id,))
    assert (gone.network_of(other.id), set(gone.pool_users)) == (None, {one.id})


def test_endpoints_of_a_network_are_its_own() -> None:
    view = EMPTY.with_records(RECORDS)

    assert view.endpoints_of(NETWORKS[0].id) == (ENDPOINTS[0],)
    assert view.endpoints_of(NetworkId("f" * 64)) == ()


def test_beside_are_the_others_of_a_sandbox_for_as_long_as_they_are_in_it() -> None:
    one, two = (replace(e, sandbox="/run/netns/web") for e in ENDPOINTS)
    both = EMPTY.with_records([one, two])

    assert (both.beside(one), both.beside(two)) == ((two,), (one,))
    assert both.with_records([replace(two, name="db", sandbox="/run/netns/db")]).beside(one) == ()
    assert both.without([two]).beside(one) == ()
    assert EMPTY.with_records(ENDPOINTS).beside(ENDPOINTS[0]) == ()


def test_with_facts_keeps_the_records() -> None:
    view = EMPTY.with_records(RECORDS)

    assert content(view.with_facts(HostFacts(has_ipv6=False))) == content(view)


@pytest.mark.parametrize("record", [NETWORKS[0], ENDPOINTS[0]])
def test_label_is_the_name_or_the_short_id(record: Network | Endpoint) -> None:
    assert record.label == record.short_id == record.id[:12]
    assert replace(record, name="web").label == "web"


def test_view_cannot_be_changed() -> None:
    view = EMPTY.with_records(RECORDS)

    for mapping in (view.networks, view.endpoints, view.pools, view.leases):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index]
