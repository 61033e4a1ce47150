"""Pools and addresses as the service asks for them."""

from __future__ import annotations

import doctest
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipam
from ipam.plugin import DEFAULT_RANGES_IPV4, PoolIpam
from netplug.contract.ipam import AddressRequest, Ipam, PoolGrant
from netplug.errors import Conflict, InvalidRequest, NotFound, PoolExhausted
from netplug.model import IPNetwork, LeaseKind, Network, NetworkId, Pool, PoolId, PoolRange, Subnet
from netplug.view import View
from tests.ipam.worlds import NOW, ULA, lease_next, leases_of, pool_of, pool_request, view_of

TINY = PoolIpam(ranges_ipv4=(PoolRange(IPv4Network("10.0.0.0/22"), 24),))


def _after(view: View, grant: PoolGrant) -> View:
    return view.with_records([grant.pool] if grant.host is None else [grant.pool, grant.host])


def _network_on(pool: Pool, name: str) -> Network:
    return Network(id=NetworkId(name), name=name, pool_ids=(pool.id,), created_at=NOW)


# given pools


@pytest.mark.parametrize(
    ("network", "sub_range", "wanted"),
    [
        ("10.9.0.0/16", "", "local/10.9.0.0/16"),
        ("10.9.0.0/16", "10.9.5.0/24", "local/10.9.0.0/16/10.9.5.0/24"),
        ("fd00::/64", "", "local/fd00::/64"),
    ],
)
def test_request_pool_given_network_is_granted_as_asked(
    network: str, sub_range: str, wanted: str
) -> None:
    fulfils: Ipam = PoolIpam()

    grant = fulfils.request_pool(pool_request(network, sub_range), view_of(), (), NOW)

    assert grant == PoolGrant(pool=pool_of(network, sub_range))
    assert grant.pool.id == wanted


def test_request_pool_given_network_that_the_host_routes_is_granted() -> None:
    taken = [ip_network("10.9.0.0/16")]

    grant = PoolIpam().request_pool(pool_request("10.9.0.0/24"), view_of(), taken, NOW)

    assert grant.pool.network == ip_network("10.9.0.0/24")


def test_request_pool_overlap_names_the_pool_and_its_network() -> None:
    pool = pool_of("10.9.0.0/16")
    view = view_of(pool_of("10.8.0.0/16"), pool, _network_on(pool, "web"))

    with pytest.raises(Conflict) as refusal:
        PoolIpam().request_pool(pool_request("10.9.0.0/24"), view, (), NOW)

    assert str(refusal.value) == (
        "pool 10.9.0.0/24 overlaps 10.9.0.0/16, used by network web; choose another --subnet"
    )


def test_request_pool_overlap_with_an_unused_pool_says_so() -> None:
    with pytest.raises(Conflict, match=r"overlaps 10\.9\.0\.0/24, used by no network yet;"):
        PoolIpam().request_pool(
            pool_request("10.9.0.0/16"), view_of(pool_of("10.9.0.0/24")), (), NOW
        )


def test_request_pool_same_network_with_another_range_is_refused() -> None:
    pool = pool_of("10.9.0.0/16", "10.9.1.0/24")
    view = view_of(pool, _network_on(pool, "web"), _network_on(pool, "db"))

    with pytest.raises(Conflict, match="used by network db, web"):
        PoolIpam().request_pool(pool_request("10.9.0.0/16", "10.9.2.0/24"), view, (), NOW)


def test_request_pool_overlap_in_another_space_is_granted() -> None:
    view = view_of(pool_of("10.9.0.0/16", space="global"))

    grant = PoolIpam().request_pool(pool_request("10.9.0.0/16"), view, (), NOW)

    assert grant.pool.id == "local/10.9.0.0/16"


def test_request_pool_senseless_request_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="unknown IPAM option 'x'"):
        PoolIpam().request_pool(pool_request(options=(("x", "1"),)), view_of(), (), NOW)


# automatic pools


@pytest.mark.parametrize(
    ("network", "is_ipv6", "wanted"),
    [
        ("", False, "10.208.0.0/24"),
        ("", True, "fd12:3456:789a::/64"),
        ("0.0.0.0/28", False, "10.208.0.0/28"),
        ("0.0.0.0/12", False, "10.208.0.0/12"),
        ("::/96", True, "fd12:3456:789a::/96"),
        ("::/48", True, "fd12:3456:789a::/48"),
    ],
)
def test_request_pool_automatic_is_the_first_slice_of_that_size(
    network: str, is_ipv6: bool, wanted: str
) -> None:
    grant = PoolIpam().request_pool(pool_request(network, is_ipv6=is_ipv6), view_of(), (), NOW)

    assert grant.pool == replace(pool_of(wanted), is_auto=True)


def test_request_pool_automatic_moves_the_cursor_of_its_family_only() -> None:
    view = view_of()

    ipv4 = PoolIpam().request_pool(pool_request(), view, (), NOW)
    ipv6 = PoolIpam().request_pool(pool_request(is_ipv6=True), view, (), NOW)

    assert ipv4.host == replace(view.host, cursor_ipv4=IPv4Network("10.208.0.0/24"))
    assert ipv6.host == replace(view.host, cursor_ipv6=IPv6Network("fd12:3456:789a::/64"))


def test_request_pool_automatic_after_release_goes_on() -> None:
    view = view_of()
    first = PoolIpam().request_pool(pool_request(), view, (), NOW)
    view = _after(view, first).without([first.pool])

    second = PoolIpam().request_pool(pool_request(), view, (), NOW)

    assert second.pool.network == ip_network("10.208.1.0/24")


def test_request_pool_automatic_at_the_end_of_the_range_wraps() -> None:
    view = view_of()
    host = replace(view.host, cursor_ipv4=IPv4Network("10.223.255.0/24"))

    grant = PoolIpam().request_pool(pool_request(), view.with_records([host]), (), NOW)

    assert grant.pool.network == ip_network("10.208.0.0/24")


def test_request_pool_automatic_avoids_pools_of_every_space() -> None:
    view = view_of(pool_of("10.208.0.0/24", space="global"), pool_of("10.208.1.128/25"))

    grant = PoolIpam().request_pool(pool_request(), view, (), NOW)

    assert grant.pool.network == ip_network("10.208.2.0/24")


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [
        (["10.208.0.7/32"], "10.208.1.0/24"),
        (["10.208.0.0/13"], "10.216.0.0/24"),
        (["172.17.0.0/16", "fd00::/8"], "10.208.0.0/24"),
    ],
)
def test_request_pool_automatic_avoids_what_the_host_routes(taken: list[str], wanted: str) -> None:
    routed = [ip_network(network) for network in taken]

    grant = PoolIpam().request_pool(pool_request(), view_of(), routed, NOW)

    assert grant.pool.network == ip_network(wanted)


def test_request_pool_automatic_with_all_ranges_routed_is_exhausted() -> None:
    taken = [ip_network("10.0.0.0/8")]

    with pytest.raises(PoolExhausted, match=r"ranges 10\.208\.0\.0/12: every /24 overlaps"):
        PoolIpam().request_pool(pool_request(), view_of(), taken, NOW)


@given(
    taken=st.lists(
        st.builds(
            lambda offset, prefixlen: IPv4Network((0x0A000000 + offset, prefixlen), strict=False),
            st.integers(0, 1023),
            st.integers(23, 32),
        ),
        max_size=3,
    )
)
def test_request_pool_automatic_until_exhausted_gives_each_free_slice_once(
    taken: list[IPNetwork],
) -> None:
    slices = TINY.ranges_ipv4[0].base.subnets(new_prefix=24)
    free = [s for s in slices if not any(s.overlaps(other) for other in taken)]
    view = view_of()

    for expected in free:
        grant = TINY.request_pool(pool_request(), view, taken, NOW)
        assert grant.pool.network == expected
        view = _after(view, grant)

    with pytest.raises(PoolExhausted):
        TINY.request_pool(pool_request(), view, taken, NOW)


@pytest.mark.parametrize("network", ["0.0.0.0/11", "::/47"])
def test_request_pool_automatic_larger_than_the_range_is_refused(network: str) -> None:
    with pytest.raises(InvalidRequest, match="no automatic pool can be as large as /"):
        PoolIpam().request_pool(pool_request(network), view_of(), (), NOW)


def test_request_pool_of_a_size_uses_only_ranges_that_are_large_enough() -> None:
    ranges = (PoolRange(IPv4Network("10.0.0.0/28"), 30), PoolRange(IPv4Network("10.1.0.0/16"), 26))

    grant = PoolIpam(ranges_ipv4=ranges).request_pool(
        pool_request("0.0.0.0/24"), view_of(), (), NOW
    )

    assert grant.pool.network == ip_network("10.1.0.0/24")


def test_request_pool_automatic_cuts_each_range_in_its_own_size() -> None:
    ranges = (PoolRange(IPv4Network("10.0.0.0/29"), 30), PoolRange(IPv4Network("10.1.0.0/25"), 26))
    ranges_ipv6 = (PoolRange(IPv6Network("fd77::/60"), 62),)
    ipam = PoolIpam(ranges_ipv4=ranges, ranges_ipv6=ranges_ipv6)
    view, granted = view_of(), []

    for is_ipv6 in (False, False, False, False, True):
        grant = ipam.request_pool(pool_request(is_ipv6=is_ipv6), view, (), NOW)
        view = _after(view, grant)
        granted.append(str(grant.pool.network))

    assert granted == ["10.0.0.0/30", "10.0.0.4/30", "10.1.0.0/26", "10.1.0.64/26", "fd77::/62"]
    with pytest.raises(PoolExhausted, match=r"10\.0\.0\.0/29, 10\.1\.0\.0/25: every /30 or /26"):
        ipam.request_pool(pool_request(), view, (), NOW)


@pytest.mark.parametrize("size", [48, 64, 80, 127])
def test_request_pool_ipv6_of_any_size_is_granted_without_counting_addresses(size: int) -> None:
    first = PoolIpam().request_pool(pool_request(f"::/{size}"), view_of(), (), NOW)

    assert first.pool.network == ip_network(f"fd12:3456:789a::/{size}")
    address, _ = lease_next(view_of(first.pool), first.pool)
    assert address in first.pool.network


def test_request_pool_automatic_avoids_subnets_that_another_ipam_gave_to_a_network() -> None:
    subnet = Subnet(pool=ip_network("10.208.0.0/23"))
    network = Network(id=NetworkId("a"), subnets=(subnet,), created_at=NOW)

    grant = PoolIpam().request_pool(pool_request(), view_of(network), (), NOW)

    assert grant.pool.network == ip_network("10.208.2.0/24")


@pytest.mark.parametrize(("word", "expected"), [("allow", True), ("refuse", False)])
def test_request_pool_that_may_overlap_is_remembered(word: str, expected: bool) -> None:
    request = pool_request("10.9.0.0/24", options=(("overlap", word),))

    grant = PoolIpam().request_pool(request, view_of(), (), NOW)

    assert grant.pool.may_overlap is expected


def test_request_pool_that_may_overlap_does_not_overlap_another_pool() -> None:
    request = pool_request("10.9.0.0/24", options=(("overlap", "allow"),))

    with pytest.raises(Conflict, match="overlaps"):
        PoolIpam().request_pool(request, view_of(pool_of("10.9.0.0/16")), (), NOW)


@pytest.mark.parametrize("is_ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_request_pool_automatic_beside_4000_pools_goes_on(is_ipv6: bool) -> None:
    whole: IPNetwork = ULA if is_ipv6 else DEFAULT_RANGES_IPV4[0].base
    prefixlen = 64 if is_ipv6 else 24
    slices: list[IPNetwork] = list(islice(whole.subnets(new_prefix=prefixlen), 4001))
    pool = pool_of("10.9.0.0/24")
    pools = {PoolId(f"local/{s}"): replace(pool, network=s) for s in slices[:4000]}
    view = replace(view_of(), pools=pools)

    grant = PoolIpam().request_pool(pool_request(is_ipv6=is_ipv6), view, (), NOW)

    assert grant.pool.network == slices[4000]


# addresses


def test_request_address_unknown_pool_is_not_found() -> None:
    with pytest.raises(NotFound, match="no pool 'local/x'"):
        PoolIpam().request_address(AddressRequest(pool_id=PoolId("local/x")), view_of(), NOW)


def test_request_address_dynamic_endpoint_moves_the_cursor() -> None:
    pool = pool_of("10.9.0.0/24")
    request = AddressRequest(pool_id=pool.id, owner="db")

    grant = PoolIpam().request_address(request, view_of(pool), NOW)

    assert grant.lease == replace(leases_of(pool, ["10.9.0.1"])[0], owner="db")
    assert grant.pool == pool_of("10.9.0.0/24", cursor="10.9.0.1")


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (LeaseKind.DYNAMIC, "10.9.0.9"),
        (LeaseKind.GATEWAY, "10.9.0.9"),
        (LeaseKind.GATEWAY, None),
        (LeaseKind.AUX, "10.9.0.9"),
        (LeaseKind.RESERVED, "10.9.0.9"),
        (LeaseKind.RESERVED, None),
    ],
)
def test_request_address_anything_else_leaves_the_cursor(
    kind: LeaseKind, address: str | None
) -> None:
    pool = pool_of("10.9.0.0/24", cursor="10.9.0.3")
    request = AddressRequest(
        pool_id=pool.id, kind=kind, address=ip_address(address) if address else None
    )

    grant = PoolIpam().request_address(request, view_of(pool), NOW)

    assert grant.pool is None
    is_named = kind is LeaseKind.DYNAMIC
    assert grant.lease.kind is (LeaseKind.STATIC if is_named else kind)


# the package


def test_package_example_runs() -> None:
    assert doctest.testmod(ipam).failed == 0
