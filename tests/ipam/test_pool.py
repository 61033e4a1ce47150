"""What a pool is, and which requests make sense."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.pool import check, hosts, is_automatic, is_sticky, option_problems, overlaps, pool_id
from netplug.errors import InvalidRequest
from netplug.model import IPNetwork
from tests.ipam.worlds import pool_request


@st.composite
def _networks(draw: st.DrawFn) -> IPNetwork:
    """Networks crowded together, so that many overlap."""
    base, bits = draw(st.sampled_from([("10.0.0.0", 32), ("fd00::", 128)]))
    prefixlen = draw(st.integers(bits - 6, bits))
    offset = draw(st.integers(0, 63))
    first = int(ip_network(base).network_address) + offset
    return ip_network((first, prefixlen), strict=False)


@given(_networks(), _networks())
def test_overlaps_any_two_networks_agrees_with_ipaddress(a: IPNetwork, b: IPNetwork) -> None:
    assert overlaps(a, b) == a.overlaps(b)


@given(_networks())
def test_hosts_any_network_agrees_with_ipaddress(network: IPNetwork) -> None:
    expected = [int(host) for host in network.hosts()]

    assert list(hosts(network)) == expected


@pytest.mark.parametrize(
    ("network", "sub_range", "first", "last"),
    [
        ("10.9.0.0/30", "10.9.0.0/30", "10.9.0.1", "10.9.0.2"),
        ("10.9.0.0/24", "10.9.0.0/25", "10.9.0.1", "10.9.0.127"),
        ("10.9.0.0/24", "10.9.0.128/25", "10.9.0.128", "10.9.0.254"),
        ("10.9.0.0/24", "10.9.0.7/32", "10.9.0.7", "10.9.0.7"),
        ("fd00::/64", "fd00::/112", "fd00::1", "fd00::ffff"),
        (
            "fd00::/64",
            "fd00::ffff:ffff:ffff:0/112",
            "fd00::ffff:ffff:ffff:0",
            "fd00::ffff:ffff:ffff:ffff",
        ),
    ],
)
def test_hosts_sub_range_at_an_edge_keeps_the_rules_of_the_pool(
    network: str, sub_range: str, first: str, last: str
) -> None:
    found = hosts(ip_network(network), ip_network(sub_range))

    assert (found.start, found.stop - 1) == (
        int(ip_network(first).network_address),
        int(ip_network(last).network_address),
    )


def test_pool_id_without_sub_range_has_two_parts() -> None:
    assert pool_id("local", ip_network("10.9.0.0/16")) == "local/10.9.0.0/16"


def test_pool_id_with_sub_range_has_three_parts() -> None:
    wanted = pool_id("local", ip_network("fd00::/64"), ip_network("fd00::/80"))

    assert wanted == "local/fd00::/64/fd00::/80"


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("", True),
        ("0.0.0.0/24", True),
        ("::/96", True),
        ("10.9.0.0/24", False),
        ("fd00::/64", False),
    ],
)
def test_is_automatic_only_without_a_given_network(network: str, expected: bool) -> None:
    assert is_automatic(pool_request(network)) is expected


@pytest.mark.parametrize(
    ("network", "sub_range"),
    [
        ("", ""),
        ("10.9.0.0/24", ""),
        ("10.9.0.0/24", "10.9.0.0/24"),
        ("10.9.0.0/24", "10.9.0.128/25"),
        ("10.9.0.0/31", "10.9.0.0/32"),
        ("fd00::/64", "fd00::ffff:0/112"),
        ("::/96", ""),
        ("169.254.7.0/24", ""),
        ("100.64.0.0/10", ""),
        ("2001:db8::/64", ""),
    ],
)
def test_check_sensible_request_passes(network: str, sub_range: str) -> None:
    check(pool_request(network, sub_range))


@pytest.mark.parametrize(
    ("network", "sub_range", "problem"),
    [
        ("0.0.0.0/0", "", "pool 0.0.0.0/0 is every address there is"),
        *(
            (
                pool,
                "",
                f"pool {pool} has {kind} addresses, which hosts of a network cannot have",
            )
            for pool, kind in (
                ("127.5.0.0/24", "loopback"),
                ("::1/128", "loopback"),
                ("224.5.0.0/24", "multicast"),
                ("ff05::/64", "multicast"),
                ("fe80::/64", "link-local"),
                ("0.5.0.0/24", "reserved"),
                ("255.255.255.0/24", "reserved"),
            )
        ),
        ("", "10.9.0.0/25", "range 10.9.0.0/25 needs a pool that it lies in"),
        ("0.0.0.0/24", "10.9.0.0/25", "range 10.9.0.0/25 needs a pool that it lies in"),
        ("10.9.0.0/24", "10.8.0.0/25", "range 10.8.0.0/25 lies outside pool 10.9.0.0/24"),
        ("10.9.0.0/24", "10.9.0.0/23", "range 10.9.0.0/23 lies outside pool 10.9.0.0/24"),
        ("10.9.0.0/24", "fd00::/80", "range fd00::/80 lies outside pool 10.9.0.0/24"),
        (
            "10.9.0.0/24",
            "10.9.0.255/32",
            "range 10.9.0.255/32 has no address that a host of pool 10.9.0.0/24 may have",
        ),
    ],
)
def test_check_senseless_networks_are_refused(network: str, sub_range: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check(pool_request(network, sub_range))

    assert refusal.value.problems == (problem,)


@pytest.mark.parametrize(
    ("network", "is_ipv6", "problem"),
    [
        ("fd00::/64", False, "pool fd00::/64 is IPv6, but IPv4 was asked for"),
        ("10.9.0.0/24", True, "pool 10.9.0.0/24 is IPv4, but IPv6 was asked for"),
    ],
)
def test_check_families_mixed_are_refused(network: str, is_ipv6: bool, problem: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check(pool_request(network, is_ipv6=is_ipv6))

    assert refusal.value.problems == (problem,)


def test_check_several_problems_lists_all_of_them() -> None:
    request = pool_request(
        "10.9.0.0/24", "10.8.0.0/25", is_ipv6=True, options=(("a", "1"), ("b", "2"))
    )

    with pytest.raises(InvalidRequest) as refusal:
        check(request)

    assert refusal.value.problems == (
        "unknown IPAM option 'a'",
        "unknown IPAM option 'b'",
        "pool 10.9.0.0/24 is IPv4, but IPv6 was asked for",
        "range 10.8.0.0/25 lies outside pool 10.9.0.0/24",
    )


def test_option_problems_misspelt_key_names_the_nearest() -> None:
    problems = option_problems([("overlp", "allow"), ("zzz", ""), ("overlap", "yes")])

    assert problems == [
        "unknown IPAM option 'overlp', did you mean 'overlap'?",
        "unknown IPAM option 'zzz'",
        "IPAM option overlap='yes': allow or refuse is wanted",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [((), True), ((("sticky", "on"),), True), ((("sticky", "off"),), False)],
)
def test_is_sticky_unless_it_is_switched_off(
    options: tuple[tuple[str, str], ...], expected: bool
) -> None:
    assert is_sticky(pool_request("10.9.0.0/24", options=options)) is expected
