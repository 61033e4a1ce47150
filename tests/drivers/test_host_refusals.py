"""Host networks and endpoints that are refused, with the reason and what to do instead."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from drivers.host import HostDriver
from netplug.errors import Conflict, InvalidOptions
from netplug.model import (
    EndpointId,
    Network,
    NetworkId,
    Parent,
)
from tests.drivers.networks import NOON, endpoint, host_network, network, on_host

DRIVER = HostDriver()
V4, V6, OTHER = "192.0.2.1/24", "2001:db8::1/64", "198.51.100.1/24"
MACVLAN, IPVLAN = {"mode": "macvlan"}, {"mode": "ipvlan"}
PASSTHRU = {**MACVLAN, "macvlan_mode": "passthru", "parent": "eth0"}


def asked(options: dict[str, str], **fields: bool) -> Network:
    """A network as it is asked for, before its parent is chosen."""
    return host_network(V4, parent=None, options=options, number=2, **fields)


@pytest.mark.parametrize(
    ("mine", "theirs", "sentence"),
    [
        (
            PASSTHRU,
            {},
            "is that of network net1 too, and macvlan_mode=passthru shares it with nobody; "
            "use macvlan_mode=bridge, or another parent",
        ),
        (
            PASSTHRU,
            PASSTHRU,
            "is that of network net1 too, and macvlan_mode=passthru shares it with nobody; "
            "use macvlan_mode=bridge, or another parent",
        ),
        (
            {},
            PASSTHRU,
            "is that of network net1 alone, by macvlan_mode=passthru; choose another parent",
        ),
        (
            MACVLAN,
            IPVLAN,
            "carries the ipvlan links of network net1, and the kernel has one type on a link; "
            "use mode=ipvlan or mode=routed, or another parent",
        ),
        (
            IPVLAN,
            MACVLAN,
            "carries the macvlan links of network net1, and the kernel has one type on a link; "
            "use mode=macvlan or mode=routed, or another parent",
        ),
        (
            {**IPVLAN, "ipvlan_mode": "l3"},
            IPVLAN,
            "carries ipvlan links of network net1 in mode l2 with flag bridge, which all there "
            "have; use ipvlan_mode=l2 and ipvlan_flag=bridge, or another parent",
        ),
        (
            IPVLAN,
            {**IPVLAN, "icc": "false"},
            "carries ipvlan links of network net1 in mode l2 with flag private, which all there "
            "have; use ipvlan_mode=l2 and ipvlan_flag=private, or another parent",
        ),
    ],
)
def test_validate_beside_a_network_that_does_not_go_with_it_names_that(
    mine: dict[str, str], theirs: dict[str, str], sentence: str
) -> None:
    with pytest.raises(Conflict) as refusal:
        DRIVER.validate(asked(mine), on_host(host_network(OTHER, options=theirs)))

    assert str(refusal.value) == f"parent eth0 {sentence}"


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({}, MACVLAN),
        (IPVLAN, {}),
        (MACVLAN, {**MACVLAN, "macvlan_mode": "private"}),
        (IPVLAN, {**IPVLAN, "ports": "published"}),
    ],
)
def test_validate_beside_a_network_that_goes_with_it_accepts_it(
    mine: dict[str, str], theirs: dict[str, str]
) -> None:
    DRIVER.validate(asked(mine), on_host(host_network(OTHER, options=theirs)))


def test_validate_beside_networks_on_other_parents_is_free() -> None:
    there = host_network(OTHER, parent=Parent(name="eth1"), options=IPVLAN)
    internal = host_network("203.0.113.1/24", parent=None, is_internal=True, number=3)

    DRIVER.validate(asked(PASSTHRU), on_host(there, internal))


@pytest.mark.parametrize("driver", ["bridge", "host"])
def test_validate_of_a_subnet_of_another_network_names_it(driver: str) -> None:
    other = replace(network(V4), driver=driver)

    with pytest.raises(Conflict, match=r"overlaps 192\.0\.2\.0/24 of network net1; choose another"):
        DRIVER.validate(asked({}), on_host(other))


@pytest.mark.parametrize(
    ("refused", "problem"),
    [
        (
            asked(MACVLAN, is_internal=True),
            "mode=macvlan contradicts --internal: its endpoints are on the parent's own network; "
            "use mode=routed or driver=bridge",
        ),
        (
            asked(IPVLAN, is_internal=True),
            "mode=ipvlan contradicts --internal: its endpoints are on the parent's own network; "
            "use mode=routed or driver=bridge",
        ),
        (
            asked({"parent": "eth0"}, is_internal=True),
            "parent=eth0 contradicts --internal: nothing of such a network leaves the host",
        ),
        (
            asked({**MACVLAN, "macvlan_mode": "vepa", "icc": "false"}),
            "icc=false contradicts macvlan_mode=vepa, where the switch decides; "
            "use macvlan_mode=private",
        ),
        (
            asked({**PASSTHRU, "icc": "false"}),
            "icc=false contradicts macvlan_mode=passthru, which has a single endpoint",
        ),
        (
            asked({**MACVLAN, "macvlan_mode": "passthru"}),
            "macvlan_mode=passthru takes its parent from the host, which would be cut off by its "
            "uplink: name a link with parent=",
        ),
        (
            asked({**IPVLAN, "ipvlan_flag": "vepa", "icc": "false"}),
            "icc=false contradicts ipvlan_flag=vepa, where the switch decides; "
            "use ipvlan_flag=private",
        ),
        (
            asked({**MACVLAN, "macvlan_mode": "private", "host_access": "on"}),
            "host_access=on needs macvlan_mode=bridge with ICC: in other modes the kernel passes "
            "no frame between the host's link and an endpoint's",
        ),
        (
            asked({**MACVLAN, "icc": "false", "host_access": "on"}),
            "host_access=on needs macvlan_mode=bridge with ICC: in other modes the kernel passes "
            "no frame between the host's link and an endpoint's",
        ),
        (
            host_network(V4, V6, options={"mtu": "1000"}),
            "mtu=1000: IPv6 needs at least 1280 bytes",
        ),
        (host_network(has_ipv4=False), "neither IPv4 nor IPv6 is enabled"),
    ],
)
def test_validate_of_options_that_contradict_the_network_refuses_them(
    refused: Network, problem: str
) -> None:
    with pytest.raises(InvalidOptions) as refusal:
        DRIVER.validate(refused, on_host())

    assert refusal.value.problems == (problem,)


def test_validate_lists_every_contradiction() -> None:
    made = host_network(V4, V6, options={"mtu": "68", "parent": "eth0"}, is_internal=True)

    with pytest.raises(InvalidOptions) as refusal:
        DRIVER.validate(made, on_host())

    assert len(refusal.value.problems) == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"icc": "false"}, "a network that keeps its endpoints apart has no peers"),
        (MACVLAN, "a network of mode=macvlan has no peers"),
        (IPVLAN, "a network of mode=ipvlan has no peers"),
    ],
)
def test_validate_of_peers_where_there_can_be_none_says_so(
    options: dict[str, str], problem: str
) -> None:
    joined = replace(asked(options), peers=(NetworkId("f" * 64),))

    with pytest.raises(InvalidOptions, match=problem):
        DRIVER.validate(joined, on_host())


def test_validate_of_peers_of_a_routed_network_accepts_them() -> None:
    one = host_network(OTHER)

    DRIVER.validate(replace(asked({}), peers=(one.id,)), on_host(one))


def test_validate_endpoint_lists_every_unknown_option() -> None:
    on = host_network(V4)
    wrong = replace(endpoint(on), options=(("isolate", "none"), ("color", "red")))

    with pytest.raises(InvalidOptions) as refusal:
        DRIVER.validate_endpoint(wrong, on, on_host(on))

    assert refusal.value.problems == ("unknown option 'isolate'", "unknown option 'color'")


@pytest.mark.parametrize("options", [IPVLAN, PASSTHRU])
def test_validate_endpoint_with_a_mac_that_cannot_be_says_whose_it_has(
    options: dict[str, str],
) -> None:
    on = host_network(V4, options=options)

    with pytest.raises(Conflict, match=r"cannot be had on network net1: its endpoints have that"):
        DRIVER.validate_endpoint(endpoint(on), on, on_host(on))


def test_validate_endpoint_of_a_second_in_passthru_names_the_first() -> None:
    on = host_network(V4, options=PASSTHRU)
    first = replace(endpoint(on), mac="", name="web", id=EndpointId("d" * 64))
    second = replace(endpoint(on), mac="")

    with pytest.raises(Conflict, match=r"has its only endpoint, web, by macvlan_mode=passthru"):
        DRIVER.validate_endpoint(second, on, on_host(on, first))
    DRIVER.validate_endpoint(first, on, on_host(on, first))


def test_validate_endpoint_with_a_mac_of_another_on_the_parent_names_that() -> None:
    on, beside = host_network(V4, options=MACVLAN), host_network(OTHER, options=MACVLAN, number=2)
    first = replace(endpoint(beside), name="web", id=EndpointId("d" * 64))

    with pytest.raises(Conflict, match=r"is that of endpoint web on the same parent"):
        DRIVER.validate_endpoint(endpoint(on), on, on_host(on, beside, first))


@pytest.mark.parametrize("parent", [Parent(name="eth1"), None])
def test_validate_endpoint_with_a_mac_of_another_elsewhere_accepts_it(
    parent: Parent | None,
) -> None:
    on = host_network(V4, options=MACVLAN, parent=parent)
    beside = host_network(OTHER, options=MACVLAN, number=2)
    first = replace(endpoint(beside), id=EndpointId("d" * 64))
    other_mac = replace(endpoint(on), id=EndpointId("c" * 64), mac="02:42:00:00:00:09")

    DRIVER.validate_endpoint(endpoint(on), on, on_host(on, beside, first, other_mac))


def test_validate_does_not_compare_a_network_with_itself() -> None:
    kept = host_network(V4, options=PASSTHRU)

    DRIVER.validate(replace(kept, created_at=NOON + timedelta(days=1)), on_host(kept))
