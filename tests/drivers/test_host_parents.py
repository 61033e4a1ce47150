"""Which link a host network stands on, and which will not do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drivers.host import HostDriver
from netplug.contract.driver import FactsWish
from netplug.errors import InvalidOptions, NotFound, Unsupported
from netplug.model import (
    LinkFacts,
    Network,
    NetworkState,
    Parent,
)
from tests.drivers.networks import LAN, TEN, UPLINK, host_network, on_host

DRIVER = HostDriver()
V4, OTHER = "192.0.2.1/24", "198.51.100.1/24"
MACVLAN, IPVLAN = {"mode": "macvlan"}, {"mode": "ipvlan"}
SECOND = LinkFacts(name="eth1", index=3, mac="52:54:00:00:00:03", mtu_bytes=9000)
MADE = LinkFacts(name="eth0.10", index=9, mac=UPLINK.mac, kind="vlan")


def asked(options: dict[str, str], **fields: bool) -> Network:
    """A network as it is asked for, before its parent is chosen."""
    return host_network(V4, parent=None, options=options, number=2, **fields)


@pytest.mark.parametrize(
    ("options", "wish"),
    [
        ({}, FactsWish(wants_uplink=True)),
        ({"parent": "eth1"}, FactsWish(links=frozenset({"eth1"}))),
        (MACVLAN, FactsWish(kinds=frozenset({"macvlan"}), wants_uplink=True)),
        (
            {**IPVLAN, "parent": "eth0.10"},
            FactsWish(links=frozenset({"eth0", "eth0.10"}), kinds=frozenset({"ipvlan", "vlan"})),
        ),
    ],
)
def test_facts_wanted_are_what_the_choice_depends_on(
    options: dict[str, str], wish: FactsWish
) -> None:
    assert DRIVER.facts_wanted(asked(options)) == wish


def test_facts_wanted_of_an_internal_network_are_none() -> None:
    assert DRIVER.facts_wanted(asked({}, is_internal=True)) == FactsWish()


def test_facts_wanted_of_bad_options_refuses_them() -> None:
    with pytest.raises(InvalidOptions):
        DRIVER.facts_wanted(asked({"mode": "bridge"}))


def test_parent_is_the_uplink_unless_one_is_named() -> None:
    host = on_host(links=(UPLINK, SECOND))

    assert DRIVER.parent(asked({}), host) == LAN
    assert DRIVER.parent(asked({"parent": "eth1"}), host) == Parent(
        name="eth1", index=3, mac=SECOND.mac
    )


def test_parent_of_an_internal_network_is_none() -> None:
    assert DRIVER.parent(asked({}, is_internal=True), on_host(uplink="", links=())) is None


def test_parent_without_a_default_route_says_to_name_one() -> None:
    with pytest.raises(Unsupported, match=r"no default route; name a link with -o parent=NAME"):
        DRIVER.parent(asked({}), on_host(uplink=""))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("eth7", "no link 'eth7'; 'ip link' shows what there is"),
        ("eth7.10", "no link 'eth7.10'; nor 'eth7', of which it would be a VLAN; 'ip link'"),
        ("eth0.0", "no link 'eth0.0'; a VLAN has a number from 1 to 4094"),
        ("eth0.4095", "no link 'eth0.4095'; a VLAN has a number from 1 to 4094"),
        ("eth0.010", "no link 'eth0.010'; 'ip link' shows what there is"),
        ("eth0.lan", "no link 'eth0.lan'; 'ip link' shows what there is"),
        (".10", "no link '.10'; 'ip link' shows what there is"),
    ],
)
def test_parent_that_is_not_there_says_what_to_look_at(name: str, hint: str) -> None:
    with pytest.raises(NotFound) as refusal:
        DRIVER.parent(asked({"parent": name}), on_host())

    assert str(refusal.value).startswith(hint)


@pytest.mark.parametrize("vlan_id", [1, 10, 4094])
def test_parent_with_a_number_is_a_vlan_for_pynet_to_make(vlan_id: int) -> None:
    chosen = DRIVER.parent(asked({"parent": f"eth0.{vlan_id}"}), on_host())

    assert chosen == Parent(name=f"eth0.{vlan_id}", vlan_of="eth0", vlan_id=vlan_id)


def test_parent_with_a_number_that_exists_is_the_users_own() -> None:
    chosen = DRIVER.parent(asked({"parent": "eth0.10"}), on_host(links=(UPLINK, MADE)))

    assert chosen == Parent(name="eth0.10", index=9, mac=MADE.mac)


def test_parent_that_another_network_had_made_is_shared() -> None:
    made = host_network(OTHER, parent=TEN)
    host = on_host(made, links=(UPLINK, MADE))

    assert DRIVER.parent(asked({"parent": "eth0.10"}), host) == replace(TEN, index=9, mac=MADE.mac)


def test_parent_that_another_network_had_made_and_lost_is_shared_all_the_same() -> None:
    renamed = replace(TEN, vlan_of="lan0")

    assert (
        DRIVER.parent(asked({"parent": "eth0.10"}), on_host(host_network(OTHER, parent=renamed)))
        == renamed
    )


def test_parent_that_a_network_of_another_driver_has_is_no_vlan_of_ours() -> None:
    elsewhere = replace(host_network(OTHER, parent=TEN), driver="vxlan")
    host = on_host(elsewhere, links=(UPLINK, MADE))

    assert DRIVER.parent(asked({"parent": "eth0.10"}), host) == Parent(
        name="eth0.10", index=9, mac=MADE.mac
    )


@pytest.mark.parametrize(
    ("options", "link", "sentence"),
    [
        ({}, {"is_loopback": True}, "parent=eth0 is not supported: eth0 is a loopback link, "),
        (
            {},
            {"master": "br0"},
            "parent=eth0 is not supported: eth0 is a port of br0; use parent=br0",
        ),
        (
            MACVLAN,
            {"is_wireless": True},
            "mode=macvlan on eth0 is not supported: it is wireless, and an access point knows "
            "each station by one MAC; use mode=routed",
        ),
        (IPVLAN, {"is_wireless": True}, "mode=ipvlan on eth0 is not supported: it is wireless"),
    ],
)
@pytest.mark.parametrize("parent", ["", "eth0.10"])
def test_validate_of_a_parent_that_will_not_do_says_what_will(
    options: dict[str, str], link: dict[str, str | bool], sentence: str, parent: str
) -> None:
    host = on_host(links=(LinkFacts(name="eth0", index=2, **link),))  # type: ignore[arg-type]
    given = {**options, "parent": parent} if parent else options

    with pytest.raises(Unsupported) as refusal:
        DRIVER.validate(asked(given), host)

    assert str(refusal.value).startswith(
        sentence.replace("parent=eth0 ", f"parent={parent or 'eth0'} ").replace(
            "on eth0", f"on {parent or 'eth0'}"
        )
    )


def test_validate_of_a_wireless_parent_takes_it_for_routing() -> None:
    DRIVER.validate(asked({}), on_host(links=(replace(UPLINK, is_wireless=True),)))


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
def test_validate_of_a_kind_that_the_kernel_lacks_says_so(kind: str) -> None:
    with pytest.raises(Unsupported, match=f"this kernel has no {kind}; use mode=routed"):
        DRIVER.validate(asked({"mode": kind}), on_host(link_kinds=frozenset({"vlan"})))


def test_validate_of_a_vlan_that_the_kernel_cannot_make_says_so() -> None:
    host = on_host(link_kinds=frozenset())

    with pytest.raises(Unsupported, match=r"this kernel has no VLANs; use parent=eth0, or another"):
        DRIVER.validate(asked({"parent": "eth0.10"}), host)


def test_validate_of_a_vlan_that_is_there_asks_no_more_of_the_kernel() -> None:
    made = host_network(OTHER, parent=TEN)
    host = on_host(made, links=(UPLINK, MADE), link_kinds=frozenset())

    DRIVER.validate(asked({"parent": "eth0.10"}), host)


@pytest.mark.parametrize("parent", ["eth0", "eth0.10"])
def test_validate_of_an_mtu_above_the_parents_says_how_much_that_carries(parent: str) -> None:
    with pytest.raises(InvalidOptions, match="mtu=1501: parent eth0 carries 1500 bytes"):
        DRIVER.validate(asked({"mtu": "1501", "parent": parent}), on_host())


def test_validate_of_an_mtu_up_to_the_parents_accepts_it() -> None:
    host = on_host(links=(UPLINK, SECOND))

    DRIVER.validate(asked({"mtu": "9000", "parent": "eth1"}), host)
    DRIVER.validate(asked({"mtu": "9000"}, is_internal=True), host)


def test_validate_of_a_network_that_is_built_asks_no_more_of_the_host() -> None:
    built = replace(host_network(V4, options={**MACVLAN, "mtu": "9000"}), state=NetworkState.READY)

    DRIVER.validate(built, on_host(built, links=(), link_kinds=frozenset()))


def test_validate_of_a_parent_that_nobody_asked_about_leaves_it_to_the_kernel() -> None:
    DRIVER.validate(host_network(V4, options={"mtu": "9000"}), on_host(links=()))
