"""Slices come in order, and never where something is already."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam.ranges import next_free
from netplug.model import IPNetwork, PoolRange

RANGES = (IPv4Network("10.0.0.0/26"), IPv4Network("10.0.1.0/27"))


def _of(ranges: Iterable[IPNetwork], size: int) -> tuple[PoolRange, ...]:
    return tuple(PoolRange(base, size) for base in ranges)


def _networks(prefixlens: st.SearchStrategy[int]) -> st.SearchStrategy[IPv4Network]:
    first = int(RANGES[0].network_address)
    return st.builds(
        lambda offset, prefixlen: IPv4Network((first + offset, prefixlen), strict=False),
        st.integers(0, 511),
        prefixlens,
    )


@given(
    prefixlen=st.integers(27, 32),
    obstacles=st.lists(_networks(st.integers(24, 32)), max_size=12),
    after=st.none() | _networks(st.integers(27, 32)),
)
def test_next_free_any_obstacles_is_the_first_slice_behind_the_cursor(
    prefixlen: int, obstacles: list[IPv4Network], after: IPv4Network | None
) -> None:
    slices = [s for whole in RANGES for s in whole.subnets(new_prefix=prefixlen)]
    free = [s for s in slices if not any(s.overlaps(obstacle) for obstacle in obstacles)]
    behind = [s for s in free if after and s.network_address > after.broadcast_address]

    chosen = next_free(_of(RANGES, prefixlen), obstacles, after)

    assert chosen == next(iter(behind or free), None)


@given(
    obstacles=st.lists(_networks(st.integers(24, 32)), max_size=12),
    prefixlens=st.lists(st.integers(27, 32), min_size=1, max_size=12),
)
def test_next_free_repeated_never_overlaps_what_it_gave(
    obstacles: list[IPv4Network], prefixlens: list[int]
) -> None:
    given_out: list[IPNetwork] = list(obstacles)
    after: IPNetwork | None = None

    for prefixlen in prefixlens:
        chosen = next_free(_of(RANGES, prefixlen), given_out, after)
        if chosen is not None:
            assert not any(chosen.overlaps(other) for other in given_out)
            given_out.append(chosen)
            after = chosen


@given(
    sizes=st.tuples(st.integers(26, 32), st.integers(27, 32)),
    obstacles=st.lists(_networks(st.integers(24, 32)), max_size=12),
)
def test_next_free_until_nothing_is_cuts_each_range_in_its_own_size(
    sizes: tuple[int, int], obstacles: list[IPv4Network]
) -> None:
    ranges = tuple(map(PoolRange, RANGES, sizes))
    free = [
        s
        for whole, size in zip(RANGES, sizes, strict=True)
        for s in whole.subnets(new_prefix=size)
        if not any(s.overlaps(obstacle) for obstacle in obstacles)
    ]
    taken: list[IPNetwork] = list(obstacles)
    after: IPNetwork | None = None

    for expected in free:
        after = next_free(ranges, taken, after)
        assert after == expected
        taken.append(expected)

    assert next_free(ranges, taken, after) is None


def test_next_free_slice_of_millions_is_found_without_a_look_at_those_before_it() -> None:
    base = IPv6Network("fd00::/48")
    obstacles = [IPv6Network("fd00::/49"), IPv6Network("fd00:0:0:8000::/64")]

    chosen = next_free(_of([base], 127), obstacles, None)

    assert chosen == ip_network("fd00:0:0:8001::/127")


def test_next_free_ranges_out_of_order_follows_the_addresses() -> None:
    chosen = next_free(_of(RANGES[::-1], 27), (), None)

    assert chosen == ip_network("10.0.0.0/27")


def test_next_free_only_the_cursor_left_returns_it() -> None:
    whole = (IPv4Network("10.0.0.0/24"),)

    assert next_free(_of(whole, 24), (), whole[0]) == whole[0]


def test_next_free_cursor_at_the_end_of_all_addresses_wraps() -> None:
    whole = (IPv4Network("255.255.255.0/24"),)

    chosen = next_free(_of(whole, 25), (), ip_network("255.255.255.128/25"))

    assert chosen == ip_network("255.255.255.0/25")


@pytest.mark.parametrize("obstacle", ["fd00::/16", "fd00:0:0:1::/64", "fd00::5/128"])
def test_next_free_ipv6_goes_round_the_obstacle(obstacle: str) -> None:
    whole = (IPv6Network("fd00::/48"), IPv6Network("fdff::/48"))

    chosen = next_free(_of(whole, 64), [ip_network(obstacle)], ip_network("fd00::/64"))

    assert chosen is not None
    assert chosen.prefixlen == 64
    assert not chosen.overlaps(ip_network(obstacle))


def test_next_free_obstacle_of_the_other_family_is_passed_over() -> None:
    chosen = next_free(_of(RANGES, 27), [IPv6Network("::/0"), IPv6Network("::a00:0/128")], None)

    assert chosen == ip_network("10.0.0.0/27")
