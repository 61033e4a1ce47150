"""What a bridge network is made of; tests/golden/bridge shows it, case by case."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from drivers.bridge import BridgeDriver
from drivers.bridge.plan import bridge_name
from drivers.links import host_link_name
from netplug.contract.driver import Attachment, GatewaySkip, NameMode, NameOptions
from netplug.errors import Conflict, InvalidOptions, Unsupported
from netplug.model import Endpoint, EndpointId, Network, NetworkId, Subnet
from netplug.plan.objects import (
    Address,
    Bridge,
    DirectAnswer,
    Firewall,
    PeerSubnet,
    SpoofGuard,
    Sysctl,
    Veth,
)
from netplug.plan.text import objects_text
from tests.conftest import Golden
from tests.drivers.networks import endpoint, network, view, with_ports, without_gateways

DRIVER = BridgeDriver()
V4, V6 = "10.9.0.1/24", "fd09::1/64"
JOINED = "/var/run/docker/netns/4e1c0f2a9b77"

NETWORKS: dict[str, Network] = {
    "plain": network(V4),
    "dual-stack": network(V4, V6),
    "ipv6-only": network(V6, has_ipv4=False),
    "no-subnet": network(),
    "several-subnets": network(V4, "10.10.0.1/24", V6),
    "internal": network(V4, V6, is_internal=True),
    "isolated": without_gateways(
        network(
            V4,
            V6,
            is_internal=True,
            options={"gateway_mode_ipv4": "isolated", "gateway_mode_ipv6": "isolated"},
        )
    ),
    "isolated-with-a-gateway-all-the-same": network(
        V4, is_internal=True, options={"gateway_mode_ipv4": "isolated"}
    ),
    "routed": network(
        V4, V6, options={"gateway_mode_ipv4": "routed", "gateway_mode_ipv6": "routed"}
    ),
    "routed-ipv6-only": network(V4, V6, options={"gateway_mode_ipv6": "routed"}),
    "inhibit-ipv4": network(V4, V6, options={"inhibit_ipv4": "true"}),
    "masquerade-off": network(V4, V6, options={"masquerade": "false"}),
    "name-and-mtu": network(V4, options={"name": "br-web", "mtu": "1450"}),
    "icc-off": network(V4, options={"icc": "false"}),
    "isolated-ports": network(V4, V6, options={"isolate": "ports"}),
}

ENDPOINTS: dict[str, tuple[Network, Endpoint]] = {
    "endpoint-before-join": (network(V4), endpoint(network(V4), "10.9.0.2/24")),
    "endpoint-joined": (
        network(V4),
        endpoint(network(V4), "10.9.0.2/24", sandbox=JOINED, is_lent=True),
    ),
    "endpoint-on-a-network-with-icc-off": (
        network(V4, options={"icc": "false", "mtu": "1450"}),
        endpoint(network(V4), "10.9.0.2/24", sandbox=JOINED),
    ),
    "endpoint-with-ports": (
        network(V4, V6),
        with_ports(endpoint(network(V4), "10.9.0.2/24", "fd09::2/64", sandbox=JOINED)),
    ),
    "endpoint-with-ports-and-ipv4-only": (
        network(V4),
        with_ports(endpoint(network(V4), "10.9.0.2/24", sandbox=JOINED)),
    ),
    "endpoint-with-ports-on-a-routed-network": (
        network(V4, options={"gateway_mode_ipv4": "routed"}),
        with_ports(endpoint(network(V4), "10.9.0.2/24", sandbox=JOINED)),
    ),
    "endpoint-on-a-network-of-isolated-ports": (
        network(V4, options={"isolate": "ports"}),
        endpoint(network(V4), "10.9.0.2/24", sandbox=JOINED),
    ),
    "endpoint-that-is-the-hub": (
        network(V4, options={"isolate": "ports"}),
        replace(
            endpoint(network(V4), "10.9.0.2/24", sandbox=JOINED), options=(("isolate", "none"),)
        ),
    ),
    "endpoint-without-an-address": (network(), endpoint(network(), sandbox=JOINED)),
    "endpoint-with-the-spoof-guard-off": (
        network(V4, options={"spoof_guard": "off"}),
        endpoint(network(V4), "10.9.0.2/24", sandbox=JOINED),
    ),
    "endpoint-standalone": (
        network(V4, V6),
        endpoint(
            network(V4),
            "10.9.0.2/24",
            "fd09::2/64",
            sandbox="/run/netns/web",
            interface="eth0",
        ),
    ),
    "endpoint-standalone-on-an-internal-network": (
        network(V4, is_internal=True),
        endpoint(network(V4), "10.9.0.2/24", sandbox="/run/netns/web", interface="eth0"),
    ),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_plan_network_of_each_case_is_as_agreed(case: str, golden: Golden) -> None:
    planned = DRIVER.plan_network(NETWORKS[case], view())

    golden(f"tests/golden/bridge/{case}.txt", objects_text(planned))


@pytest.mark.parametrize("case", ENDPOINTS)
def test_plan_endpoint_of_each_case_is_as_agreed(case: str, golden: Golden) -> None:
    on, joined = ENDPOINTS[case]

    golden(
        f"tests/golden/bridge/{case}.txt", objects_text(DRIVER.plan_endpoint(joined, on, view()))
    )


@pytest.mark.parametrize("case", NETWORKS)
def test_validate_of_each_case_accepts_it(case: str) -> None:
    DRIVER.validate(NETWORKS[case], view(NETWORKS[case]))


@pytest.mark.parametrize(("has_ipv6", "filters_bridged"), [(True, False), (False, True)])
def test_plan_network_asks_for_the_firewall_that_the_host_can_have(
    has_ipv6: bool, filters_bridged: bool
) -> None:
    facts = view(has_ipv6=has_ipv6, filters_bridged=filters_bridged)

    planned = DRIVER.plan_network(network(V4), facts)

    assert Firewall(has_ipv6=has_ipv6, filters_bridged=filters_bridged) in planned


def test_plan_network_takes_the_uplinks_mtu_as_it_was_when_the_network_was_made() -> None:
    planned = DRIVER.plan_network(replace(network(V4), uplink_mtu_bytes=1420), view())

    assert _bridge(planned).mtu_bytes == 1420


def test_plan_network_of_a_swarm_id_has_a_stable_mac_of_its_own() -> None:
    swarm = replace(network(V4), id=NetworkId("kq2v5wzs8mhx1c0d9f7gjtpln"))
    first, again = DRIVER.plan_network(swarm, view()), DRIVER.plan_network(swarm, view())
    other = DRIVER.plan_network(network(V4), view())

    assert _bridge(first).mac == _bridge(again).mac != _bridge(other).mac
    assert str(_bridge(first).mac).startswith("02:50:")


def test_plan_network_of_an_internal_network_turns_no_forwarding_on() -> None:
    planned = DRIVER.plan_network(network(V4, V6, is_internal=True), view())

    assert not [o for o in planned if isinstance(o, Sysctl)]


def test_plan_network_never_puts_an_address_on_the_bridge_of_an_isolated_one() -> None:
    planned = DRIVER.plan_network(NETWORKS["isolated-with-a-gateway-all-the-same"], view())

    assert not [o for o in planned if isinstance(o, Address)]


def test_plan_network_with_peers_lets_its_subnets_into_their_bridges() -> None:
    one, two = network(V4, V6), network("10.10.0.1/24", number=2)
    gone = NetworkId("f" * 64)

    planned = DRIVER.plan_network(replace(one, peers=(two.id, gone)), view(one, two))

    assert {o for o in planned if isinstance(o, PeerSubnet)} == {
        PeerSubnet(subnet=subnet.pool, link=bridge_name(two)) for subnet in one.subnets
    }


@pytest.mark.parametrize("options", [{"icc": "false"}, {"isolate": "ports"}])
def test_validate_of_a_network_that_isolates_refuses_peers(options: dict[str, str]) -> None:
    with pytest.raises(InvalidOptions, match="has no peers"):
        DRIVER.validate(replace(network(V4, options=options), peers=(NetworkId("f" * 64),)), view())


@pytest.mark.parametrize("filters_bridged", [True, False])
def test_plan_endpoint_gets_back_what_it_sent_where_the_kernel_translates_on_the_bridge(
    filters_bridged: bool,
) -> None:
    serving = with_ports(endpoint(network(V4), "10.9.0.2/24", sandbox=JOINED))

    planned = DRIVER.plan_endpoint(serving, network(V4), view(filters_bridged=filters_bridged))

    assert [o.is_hairpin for o in planned if isinstance(o, Veth)] == [filters_bridged]


def test_plan_endpoint_in_a_shared_sandbox_names_what_it_answers_directly() -> None:
    front, back = network(V4, V6), network("10.10.0.1/24", number=2)
    one = endpoint(front, "10.9.0.2/24", "fd09::2/64", sandbox=JOINED)
    two = replace(endpoint(back, "10.10.0.2/24", sandbox=JOINED), id=EndpointId("d" * 64))
    known = view(front, back, one, two)

    planned = [
        {o for o in DRIVER.plan_endpoint(e, on, known) if isinstance(o, DirectAnswer)}
        for e, on in ((one, front), (two, back))
    ]

    assert planned == [
        {DirectAnswer(address=a.ip, link=bridge_name(back)) for a in one.addresses},
        {DirectAnswer(address=a.ip, link=bridge_name(front)) for a in two.addresses},
    ]


def test_plan_endpoint_beside_one_of_another_driver_answers_on_its_own_bridge_alone() -> None:
    front, lan = network(V4), replace(network("192.0.2.1/24", number=2), driver="host")
    one = endpoint(front, "10.9.0.2/24", sandbox=JOINED)
    two = replace(endpoint(lan, "192.0.2.5/24", sandbox=JOINED), id=EndpointId("d" * 64))

    planned = DRIVER.plan_endpoint(one, front, view(front, lan, one, two))

    assert not [o for o in planned if isinstance(o, DirectAnswer)]


def test_plan_endpoint_where_the_kernel_cannot_guard_does_without() -> None:
    joined = endpoint(network(V4), "10.9.0.2/24", sandbox=JOINED)

    planned = DRIVER.plan_endpoint(joined, network(V4), view(has_spoof_guard=False))

    assert not [o for o in planned if isinstance(o, SpoofGuard)]
    assert [o.is_guarded for o in planned if isinstance(o, Veth)] == [False]


def test_plan_endpoint_that_must_be_guarded_is_so_whatever_the_kernel_says() -> None:
    on = network(V4, options={"spoof_guard": "on"})
    joined = endpoint(on, "10.9.0.2/24", sandbox=JOINED)

    planned = DRIVER.plan_endpoint(joined, on, view(has_spoof_guard=False))

    assert [o.is_guarded for o in planned if isinstance(o, Veth)] == [True]
    assert [o for o in planned if isinstance(o, SpoofGuard)]


@pytest.mark.parametrize(("asked", "is_refused"), [("on", True), ("off", False), ("", True)])
def test_validate_of_a_guard_that_the_kernel_cannot_have_says_so(
    asked: str, is_refused: bool
) -> None:
    made = network(V4, options={"spoof_guard": asked})

    with pytest.raises(Unsupported) if is_refused else nullcontext():
        DRIVER.validate(made, view(has_spoof_guard=False))


def test_names_of_links_fit_the_kernels_limit() -> None:
    on = network(V4)

    assert len(bridge_name(on)) <= 15
    assert len(host_link_name(endpoint(on))) <= 15
    assert len(DRIVER.attachment(endpoint(on), on).link) <= 15


def test_attachment_names_the_gateway_of_each_family_of_the_endpoint() -> None:
    on = network(V4, "10.10.0.1/24", V6)

    attached = DRIVER.attachment(endpoint(on, "10.10.0.7/24", "fd09::7/64"), on)

    assert [str(gateway) for gateway in attached.gateways] == ["10.10.0.1", "fd09::1"]


def test_attachment_on_an_internal_network_has_no_gateway() -> None:
    on = network(V4, is_internal=True)

    assert DRIVER.attachment(endpoint(on, "10.9.0.2/24"), on) == Attachment(
        host_link="py-111111111111", link="pypeeeeeeeeeeee", prefix="eth"
    )


def test_attachment_has_the_prefix_that_the_user_chose() -> None:
    on = network(V4, options={"com.docker.network.container_iface_prefix": "lan"})

    assert DRIVER.attachment(endpoint(on, "10.9.0.2/24"), on).prefix == "lan"


def test_attachment_of_an_address_outside_every_subnet_has_no_gateway() -> None:
    on = network(V4)

    assert DRIVER.attachment(endpoint(on, "192.0.2.7/24"), on).gateways == ()


@pytest.mark.parametrize(
    ("options", "is_internal", "skip"),
    [
        ({}, False, GatewaySkip()),
        ({}, True, GatewaySkip()),
        ({"gateway_mode_ipv4": "isolated"}, True, GatewaySkip(ipv4=True)),
        ({"gateway_mode_ipv6": "isolated"}, True, GatewaySkip(ipv6=True)),
        ({"gateway_mode_ipv4": "isolated"}, False, GatewaySkip()),
        ({"gateway_mode_ipv4": "routed"}, True, GatewaySkip()),
    ],
)
def test_skip_gateways_is_for_isolated_families_of_internal_networks(
    options: dict[str, str], is_internal: bool, skip: GatewaySkip
) -> None:
    assert DRIVER.skip_gateways(options, is_internal=is_internal) == skip


@pytest.mark.parametrize(
    ("refused", "problem"),
    [
        (network(V4, options={"gateway_mode_ipv4": "isolated"}), "gateway_mode_ipv4=isolated"),
        (network(V4, options={"gateway_mode_ipv6": "isolated"}), "add --internal"),
        (network(V4, V6, options={"mtu": "1000"}), "IPv6 needs at least 1280 bytes"),
        (network(V4, options={"icc": "0", "isolate": "ports"}), "contradicts icc=false"),
        (network(has_ipv4=False), "neither IPv4 nor IPv6 is enabled"),
    ],
)
def test_validate_of_options_that_contradict_the_network_refuses_them(
    refused: Network, problem: str
) -> None:
    with pytest.raises(InvalidOptions, match=problem):
        DRIVER.validate(refused, view())


def test_validate_lists_every_contradiction() -> None:
    modes = {"gateway_mode_ipv4": "isolated", "gateway_mode_ipv6": "isolated", "mtu": "68"}

    with pytest.raises(InvalidOptions) as refusal:
        DRIVER.validate(network(V4, V6, options=modes), view())

    assert len(refusal.value.problems) == 3


def test_validate_of_a_small_mtu_without_ipv6_accepts_it() -> None:
    DRIVER.validate(network(V4, options={"mtu": "68"}), view())


def test_validate_of_a_bridge_name_in_use_names_the_other_network() -> None:
    first = network(V4, options={"name": "br-web"})
    second = network("10.10.0.1/24", options={"name": "br-web"}, number=2)

    with pytest.raises(Conflict, match="bridge name br-web is used by network net1"):
        DRIVER.validate(second, view(first))


@pytest.mark.parametrize("gateway", ["10.9.0.1/24", "10.9.0.129/25", "10.8.0.1/15"])
def test_validate_of_an_overlapping_subnet_names_the_other_network(gateway: str) -> None:
    with pytest.raises(Conflict, match=r"overlaps 10\.9\.0\.0/24 of network net1"):
        DRIVER.validate(network(gateway, number=2), view(network(V4, V6)))


def test_validate_of_a_neighbouring_subnet_accepts_it() -> None:
    DRIVER.validate(network("10.9.1.1/24", "fd0a::1/64", number=2), view(network(V4, V6)))


def test_validate_of_a_subnet_of_another_drivers_network_names_that() -> None:
    elsewhere = replace(network(V4), driver="host")

    with pytest.raises(Conflict, match=r"overlaps 10\.9\.0\.0/24 of network net1"):
        DRIVER.validate(network(V4, number=2), view(elsewhere))


def test_validate_of_a_bridge_name_is_no_matter_of_other_drivers() -> None:
    elsewhere = replace(network("10.10.0.1/24", options={"name": "br-web"}), driver="vxlan")

    DRIVER.validate(network(V4, options={"name": "br-web"}, number=2), view(elsewhere))


def test_validate_endpoint_accepts_dockers_own_options() -> None:
    options = (("com.docker.network.endpoint.ifname", "web0"),)

    DRIVER.validate_endpoint(replace(endpoint(network(V4)), options=options), network(V4), view())


@pytest.mark.parametrize(
    ("of_network", "of_endpoint", "problem"),
    [
        ({"icc": "false"}, "none", "isolate=none: network net1 has no ICC"),
        ({}, "ports", "isolate=ports is not that of network net1"),
        ({"isolate": "ports"}, "port", "one of none, ports is wanted, did you mean 'ports'?"),
    ],
)
def test_validate_endpoint_of_an_isolation_that_cannot_be_refuses_it(
    of_network: dict[str, str], of_endpoint: str, problem: str
) -> None:
    on = network(V4, options=of_network)

    with pytest.raises(InvalidOptions, match=problem.replace("?", r"\?")):
        DRIVER.validate_endpoint(
            replace(endpoint(on), options=(("isolate", of_endpoint),)), on, view()
        )


@pytest.mark.parametrize("isolation", ["none", "ports"])
def test_validate_endpoint_on_a_network_of_isolated_ports_accepts_both(isolation: str) -> None:
    on = network(V4, options={"isolate": "ports"})

    DRIVER.validate_endpoint(replace(endpoint(on), options=(("isolate", isolation),)), on, view())


def test_validate_endpoint_lists_every_unknown_option() -> None:
    options = (("speed", "1"), ("com.docker.network.endpoint.ifname", "a"), ("color", "red"))

    with pytest.raises(InvalidOptions) as refusal:
        DRIVER.validate_endpoint(
            replace(endpoint(network(V4)), options=options), network(V4), view()
        )

    assert refusal.value.problems == ("unknown option 'speed'", "unknown option 'color'")


def test_plan_network_of_a_subnet_without_a_gateway_has_no_address() -> None:
    bare = without_gateways(network(V4))

    assert bare.subnets == (Subnet(pool=network(V4).subnets[0].pool),)
    assert not [o for o in DRIVER.plan_network(bare, view()) if isinstance(o, Address)]


def _bridge(planned: frozenset[object]) -> Bridge:
    (found,) = (o for o in planned if isinstance(o, Bridge))
    return found


def test_name_service_is_what_was_asked_at_the_hosts_addresses() -> None:
    asked = network(V4, V6, options={"dns": "gateway", "dns_ttl": "60", "inhibit_ipv4": ""})

    assert DRIVER.name_service(asked) == NameOptions(
        mode=NameMode.GATEWAY, ttl_s=60, addresses=(ip_interface(V6).ip,)
    )
    assert DRIVER.name_service(network()) == NameOptions()


def test_validate_of_names_at_a_gateway_that_is_not_there_says_so() -> None:
    asked = network(V4, options={"dns": "gateway", "inhibit_ipv4": ""})

    with pytest.raises(InvalidOptions, match="dns=gateway needs an address of the host"):
        DRIVER.validate(asked, view())
