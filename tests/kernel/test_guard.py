"""The text of the spoof guard, and what is read back; integration/kernel sends the packets."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplug.kernel.firewall.guard import (
    Element,
    add_text,
    chains,
    elements,
    guard_of,
    install_text,
    link_local,
)
from netplug.plan.objects import SpoofGuard

MAC = "02:42:0a:09:00:02"
GUARD = SpoofGuard(
    link="pyv1", mac=MAC, addresses=frozenset({ip_address("10.9.0.2"), ip_address("fd09::2")})
)
BARE = SpoofGuard(link="pyv2", mac=MAC)

_macs = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
_addresses = st.frozensets(st.ip_addresses(), max_size=4)


def test_elements_are_the_mac_the_addresses_and_the_link_local_one() -> None:
    assert elements(GUARD) == {
        Element("macs", "pyv1", MAC),
        Element("ipv4", "pyv1", f"{MAC} . 10.9.0.2"),
        Element("ipv6", "pyv1", f"{MAC} . 0xfd090000000000000000000000000002"),
        Element("ipv6", "pyv1", f"{MAC} . 0xfe8000000000000000420afffe090002"),
    }


def test_elements_without_addresses_are_the_mac_and_the_port() -> None:
    assert elements(BARE) == {Element("macs", "pyv2", MAC), Element("bare", "pyv2")}


@given(mac=_macs, addresses=_addresses)
def test_guard_of_its_elements_is_the_guard(mac: str, addresses: frozenset[object]) -> None:
    own = frozenset(a for a in addresses if a != link_local(mac))
    guard = SpoofGuard(link="pyv1", mac=mac, addresses=own)  # type: ignore[arg-type]

    assert guard_of("pyv1", elements(guard)) == guard


@pytest.mark.parametrize("missing", sorted(elements(GUARD), key=str), ids=lambda e: e.set)
def test_guard_of_less_than_all_elements_is_no_whole_one(missing: Element) -> None:
    found = guard_of("pyv1", elements(GUARD) - {missing})

    assert found.key == GUARD.key
    assert found != GUARD


@pytest.mark.parametrize(
    "more",
    [
        Element("bare", "pyv1"),
        Element("macs", "pyv1", "02:42:0a:09:00:07"),
        Element("ipv4", "pyv1", "02:42:0a:09:00:07 . 10.9.0.2"),
        Element("ipv4", "pyv1", f"{MAC} . 10.9.0.7"),
        Element("ipv6", "pyv1", f"{MAC} . 0xfe800000000000000000000000000007"),
    ],
    ids=lambda e: e.set,
)
def test_guard_of_more_than_its_elements_is_another(more: Element) -> None:
    assert guard_of("pyv1", elements(GUARD) | {more}) != GUARD


def test_add_text_has_a_line_for_each_element() -> None:
    assert add_text(elements(BARE)).splitlines() == [
        'add element bridge pynet bare { "pyv2" }',
        f'add element bridge pynet macs {{ "pyv2" . {MAC} }}',
    ]


@pytest.mark.parametrize(
    ("element", "rest"),
    [
        (Element("bare", "pyv1"), ""),
        (Element("macs", "pyv1", MAC), "02420a0900020000"),
        (Element("ipv4", "pyv1", f"{MAC} . 10.9.0.2"), "02420a09000200000a090002"),
        (Element("ipv6", "pyv1", f"{MAC} . 0x7"), "02420a0900020000" + "07".rjust(32, "0")),
    ],
    ids=lambda e: getattr(e, "set", ""),
)
def test_key_of_an_element_fills_each_part_up_to_four_bytes(element: Element, rest: str) -> None:
    assert element.key == b"pyv1".ljust(16, b"\0") + bytes.fromhex(rest)


def test_install_text_makes_each_chain_before_a_jump_to_it() -> None:
    seen: set[str] = set()
    for name, rules in chains().items():
        words = " ".join(rules).replace(",", " ").split()
        targets = {word for before, word in pairwise(words) if before == "jump"}

        assert targets <= seen
        seen.add(name)
    assert seen == set(chains())


def test_install_text_empties_no_set() -> None:
    assert not [
        line for line in install_text().splitlines() if line.startswith(("flush set", "delete"))
    ]


def test_link_local_is_that_of_rfc_4291() -> None:
    assert link_local("34:56:78:9a:bc:de") == ip_address("fe80::3656:78ff:fe9a:bcde")
