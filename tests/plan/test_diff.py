"""Single cases of the comparison that the laws do not spell out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netplug.errors import Conflict
from netplug.plan.diff import Change, Create, Delete, Plan, diff, differing_fields
from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    Foreign,
    LinkPolicy,
    LocalSubnet,
    RoutedFilter,
    SandboxLink,
    Sysctl,
    Veth,
)
from netplug.plan.order import goes_with, is_removable, is_shared, stands_on

BRIDGE = Bridge(
    name="py-web", mac="02:50:00:00:00:01", mtu_bytes=1500, policy=LinkPolicy.NONE, has_ipv6=False
)
VETH = Veth(name="pyv1", peer="pyp1", peer_mac="02:42:00:00:00:01", bridge="py-web")
INSIDE = SandboxLink(
    host_link="pyv1",
    peer="pyp1",
    netns="/run/netns/a",
    name="eth0",
    addresses=(ip_interface("10.9.0.2/24"),),
    gateways=(ip_address("10.9.0.1"),),
)
GATEWAY = Address(link="py-web", address=ip_interface("10.9.0.1/24"))


def test_diff_of_a_field_nobody_cares_about_is_empty() -> None:
    assert diff([Bridge(name="py-web")], [BRIDGE]) == Plan()


def test_diff_of_a_field_that_cannot_be_read_back_is_empty() -> None:
    assert diff([VETH], [Veth(name="pyv1", bridge="py-web")]) == Plan()


def test_diff_of_two_fields_is_one_change() -> None:
    seen = replace(BRIDGE, mtu_bytes=1400, has_ipv6=True)

    assert diff([BRIDGE], [seen]).steps == (
        Change(BRIDGE, seen, frozenset({"mtu_bytes", "has_ipv6"})),
    )


def test_diff_where_a_link_is_of_another_type_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="link py-web exists as a veth"):
        diff([BRIDGE], [Veth(name="py-web")])


def test_diff_where_a_stranger_has_an_unwanted_name_says_nothing() -> None:
    stranger = Foreign(key=Bridge(name="docker0").key, description="a bridge link")

    assert diff([], [stranger]) == Plan()


def test_diff_of_a_missing_lent_link_reports_it_and_makes_nothing() -> None:
    lent = replace(VETH, is_lent=True)

    assert diff([lent], []) == Plan(lost=(lent,))


def test_diff_of_a_missing_link_that_is_not_lent_makes_it() -> None:
    assert diff([VETH], []).steps == (Create(VETH),)


def test_diff_deletes_a_link_inside_only_with_its_host_end() -> None:
    assert diff([], [VETH, INSIDE]).steps == (Delete(VETH),)


def test_diff_deletes_nothing_that_has_no_owner() -> None:
    assert diff([], [Sysctl(name="net/ipv4/ip_forward", value="1")]) == Plan()


def test_diff_adds_before_it_deletes() -> None:
    new = Address(link="py-web", address=ip_interface("10.9.0.254/24"))

    assert diff([BRIDGE, new], [BRIDGE, GATEWAY]).steps == (Create(new), Delete(GATEWAY))


def test_diff_of_equal_rank_is_in_the_order_of_names() -> None:
    bridges = [Bridge(name=f"py-{letter}") for letter in "cab"]

    assert [s.object.key.name for s in diff(bridges, []).steps] == ["py-a", "py-b", "py-c"]
    assert [s.object.key.name for s in diff([], bridges).steps] == ["py-c", "py-b", "py-a"]


def test_differing_fields_of_an_empty_list_that_is_wanted_compares_it() -> None:
    bare = replace(INSIDE, gateways=())

    assert differing_fields(bare, INSIDE) == {"gateways"}


def test_order_knows_what_goes_along_and_what_stands_on_a_link() -> None:
    local = LocalSubnet(subnet=ip_network("10.9.0.0/24"), link="py-web")

    assert (goes_with(INSIDE), goes_with(GATEWAY)) == (VETH.key, None)
    assert (stands_on(INSIDE), stands_on(GATEWAY)) == (VETH.key, BRIDGE.key)
    assert stands_on(local) is None


def test_order_knows_what_is_shared_and_what_has_no_owner() -> None:
    firewall = Firewall(has_ipv6=True, filters_bridged=True)

    shared = [is_shared(obj) for obj in (firewall, RoutedFilter(), BRIDGE)]
    assert shared == [True, True, False]
    assert (is_removable(firewall), is_removable(Sysctl(name="a", value="1"))) == (True, False)
