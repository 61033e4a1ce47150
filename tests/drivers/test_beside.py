"""Two endpoints of one sandbox: what each may send is shown in tests/golden, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drivers.bridge import BridgeDriver
from drivers.host import HostDriver
from netplug.contract.driver import NetworkDriver
from netplug.model import Endpoint, EndpointId, Network
from netplug.plan.objects import KernelObject, RoutedSource, RoutedVeth, SpoofGuard, Sysctl
from netplug.plan.text import objects_text
from netplug.view import View
from tests.conftest import Golden
from tests.drivers.networks import endpoint, host_network, network, on_host, view

DRIVERS: dict[str, NetworkDriver] = {"bridge": BridgeDriver(), "host": HostDriver()}
JOINED = "/var/run/docker/netns/4e1c0f2a9b77"
BRIDGE = network("10.9.0.1/24", "fd09::1/64")
BACK = network("10.10.0.1/24", number=2)
LAN = host_network("192.0.2.1/24", "2001:db8::1/64", number=3)
FAR = host_network("198.51.100.1/24", number=4)
INNER = replace(host_network("10.11.0.1/24", number=5), is_internal=True, parent=None)
INNER_BRIDGE = network("10.12.0.1/24", is_internal=True, number=6)
MACVLAN = host_network("192.0.2.1/24", options={"mode": "macvlan"}, number=7)
UNGUARDED = replace(LAN, options=(("spoof_guard", "off"),))
ADDRESSES = {
    BRIDGE.id: ("10.9.0.2/24", "fd09::2/64"),
    BACK.id: ("10.10.0.2/24",),
    LAN.id: ("192.0.2.5/24", "2001:db8::5/64"),
    FAR.id: ("198.51.100.5/24",),
    INNER.id: ("10.11.0.5/24",),
    INNER_BRIDGE.id: ("10.12.0.5/24",),
    MACVLAN.id: ("192.0.2.9/24",),
}


def on(net: Network, *, sandbox: str = JOINED) -> Endpoint:
    made = endpoint(net, *ADDRESSES[net.id], sandbox=sandbox)
    return replace(made, id=EndpointId(net.id[:1] * 64))


def planned(net: Network, *others: Endpoint | Network) -> frozenset[KernelObject]:
    """Return the plan of an endpoint on a network, beside others in its sandbox."""
    endpoints = [on(o) if isinstance(o, Network) else o for o in others]
    known = view(*(n for n in others if isinstance(n, Network)), net, on(net), *endpoints)
    return DRIVERS[net.driver].plan_endpoint(on(net), net, known)


def sent(objects: frozenset[KernelObject], net: Network) -> set[str]:
    """Return the addresses that may be sent from by way of an endpoint besides its own."""
    found = {o.address for o in objects if isinstance(o, RoutedSource)}
    found |= {a for o in objects if isinstance(o, SpoofGuard) for a in o.addresses}
    return set(map(str, found - {address.ip for address in on(net).addresses}))


def is_loose(objects: frozenset[KernelObject]) -> bool:
    """Return whether the host's own check of reverse paths stands back."""
    loose = any(o.is_loose for o in objects if isinstance(o, RoutedVeth))
    return loose or any(o.value == "2" for o in objects if isinstance(o, Sysctl))


@pytest.mark.parametrize(
    ("case", "net", "others"),
    [
        ("host/routed-endpoint-beside-another-and-a-bridge", LAN, (FAR, BRIDGE)),
        ("host/routed-endpoint-beside-another-spoof-guard-off", UNGUARDED, (FAR,)),
        ("bridge/endpoint-beside-a-routed-one", BRIDGE, (LAN, FAR)),
    ],
)
def test_plan_endpoint_of_each_case_is_as_agreed(
    case: str, net: Network, others: tuple[Network, ...], golden: Golden
) -> None:
    golden(f"tests/golden/{case}.txt", objects_text(planned(net, *others)))


@pytest.mark.parametrize(
    ("net", "other", "addresses"),
    [
        (LAN, FAR, {"198.51.100.5"}),
        (FAR, LAN, {"192.0.2.5", "2001:db8::5"}),
        (LAN, BRIDGE, {"10.9.0.2", "fd09::2"}),
        (BRIDGE, LAN, {"192.0.2.5", "2001:db8::5"}),
        (BRIDGE, BACK, set()),
        (LAN, MACVLAN, set()),
        (BRIDGE, MACVLAN, set()),
        (LAN, INNER, set()),
        (INNER, LAN, set()),
        (LAN, INNER_BRIDGE, set()),
        (INNER_BRIDGE, LAN, set()),
        (BRIDGE, INNER, set()),
    ],
)
def test_endpoint_sends_for_others_of_its_sandbox_that_the_host_routes_to(
    net: Network, other: Network, addresses: set[str]
) -> None:
    objects = planned(net, other)

    assert sent(objects, net) == addresses
    assert is_loose(objects) is bool(addresses)


@pytest.mark.parametrize("sandbox", ["", "/var/run/docker/netns/another"])
def test_endpoint_sends_for_no_other_sandbox(sandbox: str) -> None:
    for net, other in ((LAN, FAR), (BRIDGE, FAR)):
        objects = planned(net, replace(on(other), sandbox=sandbox))

        assert (sent(objects, net), is_loose(objects)) == (set(), False)


def test_endpoint_of_ipv6_alone_leaves_the_hosts_check_of_ipv4_as_it_is() -> None:
    for net in (FAR, BRIDGE):
        six = replace(on(LAN), addresses=on(LAN).addresses[1:])
        known = view(net, LAN, on(net), six)

        objects = DRIVERS[net.driver].plan_endpoint(on(net), net, known)

        assert (sent(objects, net), is_loose(objects)) == ({"2001:db8::5"}, False)


def test_bridge_endpoint_of_which_no_address_is_known_stays_so() -> None:
    bare = replace(on(BRIDGE), addresses=())
    known = view(BRIDGE, LAN, bare, on(LAN))

    objects = DRIVERS["bridge"].plan_endpoint(bare, BRIDGE, known)

    assert [o.addresses for o in objects if isinstance(o, SpoofGuard)] == [frozenset()]
    assert not is_loose(objects)


def test_bridge_endpoint_without_a_guard_leaves_the_hosts_check_as_it_is() -> None:
    open_bridge = replace(BRIDGE, options=(("spoof_guard", "off"),))

    assert not is_loose(planned(open_bridge, LAN))


def test_endpoint_beside_one_of_a_network_that_is_gone_is_planned_as_alone() -> None:
    known: View = on_host(LAN, on(LAN), on(FAR))

    assert sent(DRIVERS["host"].plan_endpoint(on(LAN), LAN, known), LAN) == set()
