"""What dockerd and the services are told of host networks, and the laws of all plans."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.host import HostDriver
from drivers.links import network_mac
from netplug.contract.driver import Attachment, GatewaySkip, NameMode, NameOptions
from netplug.errors import InvalidOptions
from netplug.model import EndpointId, StaticRoute
from netplug.plan.objects import (
    KernelObject,
)
from netplug.plan.order import rank
from tests.drivers.networks import (
    endpoint,
    host_network,
    on_host,
    with_ports,
    without_gateways,
)

DRIVER = HostDriver()
V4, V6 = "192.0.2.1/24", "2001:db8::1/64"
E4, E6 = "192.0.2.5/24", "2001:db8::5/64"
JOINED = "/var/run/docker/netns/4e1c0f2a9b77"
MACVLAN, IPVLAN = {"mode": "macvlan"}, {"mode": "ipvlan"}
L3 = {**IPVLAN, "ipvlan_mode": "l3"}


def test_attachment_routed_leads_everything_through_the_hosts_end() -> None:
    on = host_network(V4, V6)

    attached = DRIVER.attachment(endpoint(on, E4, E6), on)

    four, six = ip_address("169.254.81.17"), ip_address("fe80::50:11ff:fe11:1111")
    assert network_mac(on) == "02:50:11:11:11:11"
    assert attached == Attachment(
        host_link="pyveeeeeeeeeeee",
        link="pypeeeeeeeeeeee",
        prefix="eth",
        gateways=(four, six),
        routes=(
            StaticRoute(destination=ip_network(four)),
            StaticRoute(destination=ip_network(six)),
            StaticRoute(destination=IPv4Network("192.0.2.0/25"), next_hop=four),
            StaticRoute(destination=IPv4Network("192.0.2.128/25"), next_hop=four),
            StaticRoute(destination=IPv6Network("2001:db8::/65"), next_hop=six),
            StaticRoute(destination=IPv6Network("2001:db8:0:0:8000::/65"), next_hop=six),
        ),
    )


def test_attachment_routed_internal_leads_to_the_subnet_alone() -> None:
    on = host_network(V4, parent=None, is_internal=True)

    attached = DRIVER.attachment(endpoint(on, E4), on)

    assert attached.gateways == ()
    assert len(attached.routes) == 3


def test_attachment_routed_of_a_single_address_has_no_rest_of_a_subnet() -> None:
    on = host_network("192.0.2.1/32", options={"iface_prefix": "lan"})

    attached = DRIVER.attachment(endpoint(on, "192.0.2.1/32"), on)

    assert [r.next_hop for r in attached.routes] == [None]
    assert attached.prefix == "lan"


@pytest.mark.parametrize(
    "options", [MACVLAN, IPVLAN, {**MACVLAN, "macvlan_mode": "passthru", "parent": "eth0"}]
)
def test_attachment_on_the_parents_network_has_the_gateway_that_was_given(
    options: dict[str, str],
) -> None:
    on = host_network(V4, V6, options=options)
    joined = endpoint(on, E4, E6)

    assert DRIVER.attachment(joined, on) == Attachment(
        link="pypeeeeeeeeeeee",
        prefix="eth",
        gateways=(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
    )
    assert DRIVER.attachment(joined, without_gateways(on)).gateways == ()


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_attachment_of_an_ipvlan_that_routes_has_everything_on_the_link(mode: str) -> None:
    on = host_network(V4, V6, options={**IPVLAN, "ipvlan_mode": mode})

    attached = DRIVER.attachment(endpoint(on, E4, E6), on)

    assert attached.gateways == ()
    assert attached.routes == (
        StaticRoute(destination=IPv4Network("0.0.0.0/0")),
        StaticRoute(destination=IPv6Network("::/0")),
    )


@pytest.mark.parametrize("options", [{}, MACVLAN, IPVLAN, L3])
@pytest.mark.parametrize("is_internal", [False, True])
def test_skip_gateways_is_for_both_families_in_every_mode(
    options: dict[str, str], is_internal: bool
) -> None:
    skip = DRIVER.skip_gateways(options, is_internal=is_internal)

    assert skip == GatewaySkip(ipv4=True, ipv6=True)


def test_skip_gateways_of_bad_options_refuses_them() -> None:
    with pytest.raises(InvalidOptions):
        DRIVER.skip_gateways({"mode": "bridge"}, is_internal=False)


@pytest.mark.parametrize(
    ("options", "gives"),
    [
        ({}, True),
        (MACVLAN, True),
        ({**MACVLAN, "macvlan_mode": "passthru", "parent": "eth0"}, False),
        (IPVLAN, False),
        (L3, False),
    ],
)
def test_gives_mac_where_the_kernel_does(options: dict[str, str], gives: bool) -> None:
    assert DRIVER.gives_mac(host_network(V4, options=options)) is gives


def test_name_service_is_what_was_asked_and_never_at_the_host() -> None:
    asked = host_network(V4, V6, options={"dns": "off", "dns_ttl": "60"})

    assert DRIVER.name_service(asked) == NameOptions(mode=NameMode.OFF, ttl_s=60)
    assert DRIVER.name_service(host_network(V4)) == NameOptions()


def test_host_addresses_are_all_whatever_pynet_publishes_on() -> None:
    assert DRIVER.host_addresses(host_network(V4)) == (ip_address("0.0.0.0"), ip_address("::"))


_options = st.sampled_from(
    [
        {},
        {"icc": "false"},
        {"masquerade": "1"},
        {"ports": "published"},
        {"spoof_guard": "off", "mtu": "1400"},
        MACVLAN,
        {**MACVLAN, "host_access": "on", "ports": "published"},
        {**MACVLAN, "macvlan_mode": "vepa", "spoof_guard": "off"},
        IPVLAN,
        {**L3, "ipvlan_flag": "private", "ports": "published"},
    ]
)


_addresses = st.sampled_from([(E4,), (E6,), (E4, E6), ()])


@given(_options, _addresses, st.booleans(), st.sampled_from(["", "eth0"]), st.booleans())
def test_plan_of_anything_keeps_the_laws(
    options: dict[str, str], addresses: tuple[str, ...], is_lent: bool, interface: str, shares: bool
) -> None:
    on = host_network(V4, V6, options=options)
    sandbox = JOINED
    one = with_ports(
        endpoint(on, *addresses, sandbox=sandbox, interface=interface, is_lent=is_lent)
    )
    two = replace(
        one,
        id=EndpointId("d" * 64),
        addresses=tuple(ip_interface(a.replace("5/", "6/")) for a in addresses),
        interface=interface and "eth1",
        sandbox=sandbox if shares else f"{sandbox}0",
    )
    known = on_host(on, one, two)

    plans = [DRIVER.plan_endpoint(e, on, known) for e in (one, two)]
    whole = DRIVER.plan_network(on, known)

    assert DRIVER.plan_ports(one, on) <= plans[0]
    assert _keys(plans[0]).isdisjoint(_keys(plans[1]))
    assert all(_keys(plan).isdisjoint(_keys(whole)) for plan in plans)
    for objects in (*plans, whole):
        assert len(_keys(objects)) == len(objects)
        assert all(rank(o) >= 0 and o.key.name for o in objects)
    assert plans[0] == DRIVER.plan_endpoint(one, on, on_host(on, two))


def _keys(objects: frozenset[KernelObject]) -> set[object]:
    return {o.key for o in objects}
