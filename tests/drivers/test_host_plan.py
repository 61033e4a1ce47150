"""What a host network is made of; tests/golden/host shows it, case by case."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from drivers.host import HostDriver
from netplug.model import Endpoint, Network, NetworkId, Parent, Protocol
from netplug.plan.objects import (
    Firewall,
    LinkPolicy,
    RoutedFilter,
    RoutedPair,
    RoutedPort,
    RoutedVeth,
    SandboxFilter,
    Shim,
    Sublink,
    Sysctl,
    Vlan,
)
from netplug.plan.text import objects_text
from tests.conftest import Golden
from tests.drivers.networks import (
    TEN,
    endpoint,
    host_network,
    on_host,
    published,
    with_ports,
)

DRIVER = HostDriver()
V4, V6 = "192.0.2.1/24", "2001:db8::1/64"
E4, E6 = "192.0.2.5/24", "2001:db8::5/64"
JOINED = "/var/run/docker/netns/4e1c0f2a9b77"
STANDALONE = "/run/netns/web"
MACVLAN, IPVLAN = {"mode": "macvlan"}, {"mode": "ipvlan"}
L3 = {**IPVLAN, "ipvlan_mode": "l3"}
HOST = {"host": "192.0.2.254"}


NETWORKS: dict[str, Network] = {
    "routed": host_network(V4, V6),
    "routed-ipv4-only": host_network(V4),
    "routed-ipv6-only": host_network(V6, has_ipv4=False),
    "routed-several-subnets": host_network(V4, "198.51.100.1/24", V6),
    "routed-icc-off": host_network(V4, options={"icc": "false"}),
    "routed-masquerade": host_network(V4, V6, options={"masquerade": "true"}),
    "routed-internal": host_network(V4, V6, parent=None, is_internal=True),
    "routed-on-a-vlan": host_network(V4, V6, parent=TEN),
    "macvlan": host_network(V4, V6, options=MACVLAN),
    "macvlan-on-a-vlan": host_network(V4, parent=TEN, options=MACVLAN),
    "macvlan-host-access": host_network(V4, V6, options={**MACVLAN, "host_access": "on"}),
    "macvlan-host-access-with-addresses": host_network(
        V4,
        V6,
        aux={**HOST, "router": "192.0.2.253"},
        options={**MACVLAN, "host_access": "on"},
    ),
    "ipvlan": host_network(V4, options=IPVLAN),
    "ipvlan-on-a-vlan": host_network(V4, parent=TEN, options=IPVLAN),
}


_SHIM = host_network(V4, V6, aux={"host": "2001:db8::fe"}, options={**MACVLAN, "host_access": "on"})


ENDPOINTS: dict[str, tuple[Network, Endpoint]] = {
    name: (on, joined)
    for name, on, joined in (
        (
            "routed-endpoint",
            host_network(V4, V6),
            endpoint(host_network(V4), E4, E6, sandbox=JOINED),
        ),
        (
            "routed-endpoint-lent",
            host_network(V4, options={"mtu": "1400"}),
            endpoint(host_network(V4), E4, sandbox=JOINED, is_lent=True),
        ),
        (
            "routed-endpoint-standalone",
            host_network(V4, V6),
            endpoint(host_network(V4), E4, E6, sandbox=STANDALONE, interface="eth0"),
        ),
        (
            "routed-endpoint-internal",
            host_network(V4, V6, parent=None, is_internal=True),
            endpoint(host_network(V4), E4, E6, sandbox=STANDALONE, interface="eth0"),
        ),
        (
            "routed-endpoint-icc-off-spoof-guard-off",
            host_network(V4, options={"icc": "false", "spoof_guard": "off"}),
            endpoint(host_network(V4), E4, sandbox=JOINED),
        ),
        (
            "routed-endpoint-with-published-ports",
            host_network(V4, V6, options={"ports": "published"}),
            with_ports(endpoint(host_network(V4), E4, E6, sandbox=JOINED)),
        ),
        (
            "routed-endpoint-with-open-ports",
            host_network(V4, V6),
            with_ports(endpoint(host_network(V4), E4, E6, sandbox=JOINED)),
        ),
        ("routed-endpoint-before-join", host_network(V4), endpoint(host_network(V4), E4)),
        (
            "routed-endpoint-without-an-address",
            host_network(),
            endpoint(host_network(), sandbox=JOINED),
        ),
        (
            "macvlan-endpoint",
            host_network(V4, V6, options=MACVLAN),
            endpoint(host_network(V4), E4, E6, sandbox=JOINED),
        ),
        (
            "macvlan-endpoint-lent",
            host_network(V4, options=MACVLAN),
            endpoint(host_network(V4), E4, sandbox=JOINED, is_lent=True),
        ),
        (
            "macvlan-endpoint-standalone",
            host_network(V4, V6, options=MACVLAN),
            endpoint(host_network(V4), E4, E6, sandbox=STANDALONE, interface="eth0"),
        ),
        (
            "macvlan-endpoint-icc-off-spoof-guard-off",
            host_network(V4, options={**MACVLAN, "icc": "false", "spoof_guard": "off"}),
            endpoint(host_network(V4), E4, sandbox=JOINED),
        ),
        (
            "macvlan-endpoint-with-published-ports",
            host_network(V4, options={**MACVLAN, "ports": "published", "spoof_guard": "off"}),
            with_ports(endpoint(host_network(V4), E4, sandbox=JOINED)),
        ),
        (
            "macvlan-endpoint-passthru",
            host_network(V4, options={**MACVLAN, "macvlan_mode": "passthru", "parent": "eth0"}),
            replace(endpoint(host_network(V4), E4, sandbox=JOINED), mac=""),
        ),
        (
            "macvlan-endpoint-host-access",
            host_network(V4, V6, options={**MACVLAN, "host_access": "on"}),
            endpoint(host_network(V4), E4, E6, sandbox=JOINED),
        ),
        (
            "macvlan-endpoint-host-access-ipv6",
            _SHIM,
            endpoint(_SHIM, E4, E6, sandbox=JOINED),
        ),
        (
            "ipvlan-endpoint",
            host_network(V4, options=IPVLAN),
            replace(endpoint(host_network(V4), E4, sandbox=JOINED), mac=""),
        ),
        (
            "ipvlan-endpoint-l3-standalone",
            host_network(V4, V6, options={**L3, "icc": "false", "ports": "published"}),
            replace(
                endpoint(host_network(V4), E4, E6, sandbox=STANDALONE, interface="eth0"), mac=""
            ),
        ),
    )
}


@pytest.mark.parametrize("case", NETWORKS)
def test_plan_network_of_each_case_is_as_agreed(case: str, golden: Golden) -> None:
    planned = DRIVER.plan_network(NETWORKS[case], on_host())

    golden(f"tests/golden/host/{case}.txt", objects_text(planned))


@pytest.mark.parametrize("case", ENDPOINTS)
def test_plan_endpoint_of_each_case_is_as_agreed(case: str, golden: Golden) -> None:
    on, joined = ENDPOINTS[case]

    planned = DRIVER.plan_endpoint(joined, on, on_host())

    golden(f"tests/golden/host/{case}.txt", objects_text(planned))


@pytest.mark.parametrize("case", NETWORKS)
def test_validate_of_each_case_accepts_it(case: str) -> None:
    DRIVER.validate(NETWORKS[case], on_host(NETWORKS[case]))


@pytest.mark.parametrize("case", ENDPOINTS)
def test_validate_of_each_endpoints_case_accepts_it(case: str) -> None:
    on, joined = ENDPOINTS[case]

    DRIVER.validate_endpoint(joined, on, on_host(on, joined))


@pytest.mark.parametrize("options", [{}, MACVLAN, IPVLAN])
@pytest.mark.parametrize(("has_ipv6", "filters_bridged"), [(True, False), (False, True)])
def test_plan_network_asks_for_the_firewall_that_the_host_can_have(
    has_ipv6: bool, filters_bridged: bool, options: dict[str, str]
) -> None:
    facts = on_host(has_ipv6=has_ipv6, filters_bridged=filters_bridged)

    planned = DRIVER.plan_network(host_network(V4, options=options), facts)

    assert Firewall(has_ipv6=has_ipv6, filters_bridged=filters_bridged) in planned
    assert (RoutedFilter() in planned) == (options == {})


@pytest.mark.parametrize("options", [{}, MACVLAN, IPVLAN])
@pytest.mark.parametrize("parent", [Parent(name="eth0"), TEN])
def test_plan_network_of_two_on_one_parent_has_equal_shared_objects(
    parent: Parent, options: dict[str, str]
) -> None:
    one, two = (
        DRIVER.plan_network(
            host_network(gateway, V6, parent=parent, options=options, number=n), on_host()
        )
        for n, gateway in enumerate((V4, "198.51.100.1/24"), start=1)
    )

    assert {o for o in one if isinstance(o, Sysctl | Vlan)} == {
        o for o in two if isinstance(o, Sysctl | Vlan)
    }


def test_plan_network_borrows_what_does_not_go_with_a_vlan_of_ours() -> None:
    planned = DRIVER.plan_network(host_network(V4, V6, parent=TEN), on_host())

    assert {o.name for o in planned if isinstance(o, Sysctl) and o.is_borrowed} == {
        "net/ipv6/conf/all/forwarding",
        "net/ipv6/conf/default/forwarding",
    }


def test_plan_network_without_a_record_of_the_parent_has_the_one_asked_for() -> None:
    options = {**MACVLAN, "parent": "eth1", "host_access": "on"}
    made = host_network(V4, parent=None, options=options)

    assert [o.parent for o in DRIVER.plan_network(made, on_host()) if isinstance(o, Shim)] == [
        "eth1"
    ]


def test_plan_network_routed_without_a_record_of_the_parent_changes_nothing_of_it() -> None:
    planned = DRIVER.plan_network(host_network(V4, parent=None), on_host())

    assert not [o for o in planned if isinstance(o, Sysctl)]


def test_plan_network_with_peers_lets_each_reach_the_other_by_its_own_plan() -> None:
    one, two = host_network(V4, V6), host_network("198.51.100.1/24", number=2)
    one, two = replace(one, peers=(two.id, NetworkId("f" * 64))), replace(two, peers=(one.id,))
    known = on_host(one, two)

    pairs = [
        {o for o in DRIVER.plan_network(n, known) if isinstance(o, RoutedPair)} for n in (one, two)
    ]

    a, b = ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24")
    v6 = ip_network("2001:db8::/64")
    assert pairs == [
        {
            RoutedPair(source=a, destination=a),
            RoutedPair(source=v6, destination=v6),
            RoutedPair(source=a, destination=b),
        },
        {RoutedPair(source=b, destination=b), RoutedPair(source=b, destination=a)},
    ]


def test_plan_ports_of_a_host_address_opens_nothing() -> None:
    on = host_network(V4, V6, options={"ports": "published"})
    serving = with_ports(endpoint(on, E4, E6, sandbox=JOINED))

    opened = {o for o in DRIVER.plan_ports(serving, on) if isinstance(o, RoutedPort)}

    assert {o.first for o in opened} == {80, 9000}
    assert {o.address for o in opened if o.first == 9000} == {ip_address("192.0.2.5")}


def test_plan_ports_of_an_internal_network_opens_nothing() -> None:
    on = host_network(V4, parent=None, is_internal=True, options={"ports": "published"})

    assert not DRIVER.plan_ports(with_ports(endpoint(on, E4, sandbox=JOINED)), on)


@pytest.mark.parametrize("options", [MACVLAN, IPVLAN])
def test_plan_endpoint_without_published_ports_closes_all_where_those_alone_are_open(
    options: dict[str, str],
) -> None:
    on = host_network(V4, options={**options, "ports": "published"})

    planned = DRIVER.plan_endpoint(endpoint(on, E4, sandbox=JOINED), on, on_host())

    assert [o.ports for o in planned if isinstance(o, SandboxFilter)] == [frozenset()]


def test_plan_endpoint_of_a_run_of_ports_opens_it_in_the_sandbox() -> None:
    on = host_network(V4, options={**MACVLAN, "ports": "published"})
    serving = with_ports(endpoint(on, E4, sandbox=JOINED))

    planned = DRIVER.plan_endpoint(serving, on, on_host())

    assert [o.ports for o in planned if isinstance(o, SandboxFilter)] == [
        frozenset({(Protocol.TCP, 80, 80), (Protocol.TCP, 9000, 9001)})
    ]


def test_plan_endpoint_opens_what_is_published_for_either_family_as_one_run() -> None:
    on = host_network(V4, V6, options={**MACVLAN, "ports": "published"})
    ports = (
        published(80, 8000, (ip_address("0.0.0.0"),), count=10),
        published(85, 9000, (ip_address("::"),), count=10),
    )
    serving = replace(endpoint(on, E4, E6, sandbox=JOINED), ports=ports)

    planned = DRIVER.plan_endpoint(serving, on, on_host())

    assert [o.ports for o in planned if isinstance(o, SandboxFilter)] == [
        frozenset({(Protocol.TCP, 80, 94)})
    ]


@pytest.mark.parametrize(
    ("runs", "opened"),
    [
        ([(80, 1), (80, 1)], [(80, 1)]),
        ([(85, 1), (80, 11)], [(80, 11)]),
        ([(80, 11), (88, 8)], [(80, 16)]),
        ([(82, 2), (80, 2)], [(80, 4)]),
        ([(80, 2), (83, 1)], [(80, 2), (83, 1)]),
    ],
)
def test_plan_ports_of_runs_that_overlap_are_one_run(
    runs: list[tuple[int, int]], opened: list[tuple[int, int]]
) -> None:
    on = host_network(V4, options={"ports": "published"})
    everywhere = (ip_address("0.0.0.0"),)
    ports = tuple(published(first, 8000, everywhere, count=count) for first, count in runs)
    serving = replace(endpoint(on, E4, sandbox=JOINED), ports=ports)

    planned = DRIVER.plan_ports(serving, on)

    found = sorted((o.first, o.count) for o in planned if isinstance(o, RoutedPort))
    assert found == opened


@pytest.mark.parametrize("mode", ["bridge", "private", "vepa", "passthru"])
def test_plan_endpoint_has_the_macvlan_mode_that_was_asked_for(mode: str) -> None:
    on = host_network(V4, options={**MACVLAN, "macvlan_mode": mode})

    assert _sublink(on).mode == mode


@pytest.mark.parametrize("flag", ["bridge", "private", "vepa"])
@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_plan_endpoint_has_the_ipvlan_mode_and_flag_that_were_asked_for(
    mode: str, flag: str
) -> None:
    made = _sublink(host_network(V4, options={**IPVLAN, "ipvlan_mode": mode, "ipvlan_flag": flag}))

    assert (made.mode, made.flag) == (mode, flag)


@pytest.mark.parametrize(
    ("options", "is_internal", "policy"),
    [
        ({}, False, LinkPolicy.OPEN | LinkPolicy.STRICT),
        ({"ports": "published"}, False, LinkPolicy.STRICT),
        ({"spoof_guard": "off"}, False, LinkPolicy.OPEN),
        ({"icc": "false"}, False, LinkPolicy.OPEN | LinkPolicy.STRICT | LinkPolicy.APART),
        ({}, True, LinkPolicy.NO_EGRESS | LinkPolicy.STRICT),
        ({"icc": "0"}, True, LinkPolicy.NO_EGRESS | LinkPolicy.STRICT | LinkPolicy.APART),
    ],
)
def test_policy_of_a_routed_link_is_what_was_asked_for(
    options: dict[str, str], is_internal: bool, policy: LinkPolicy
) -> None:
    on = host_network(V4, options=options, is_internal=is_internal)

    planned = DRIVER.plan_endpoint(endpoint(on, E4, sandbox=JOINED), on, on_host())

    assert [o.policy for o in planned if isinstance(o, RoutedVeth)] == [
        LinkPolicy.ROUTED_LINK | policy
    ]


def test_names_of_links_fit_the_kernels_limit() -> None:
    on = host_network(V4, options={**MACVLAN, "host_access": "on"})
    (shim,) = (o for o in DRIVER.plan_network(on, on_host()) if isinstance(o, Shim))

    assert len(shim.name) <= 15
    assert len(DRIVER.attachment(endpoint(on), on).link) <= 15


def _sublink(on: Network) -> Sublink:
    planned = DRIVER.plan_endpoint(endpoint(on, E4, sandbox=JOINED), on, on_host())
    (found,) = (o for o in planned if isinstance(o, Sublink))
    return found
