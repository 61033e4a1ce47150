"""The text of objects and plans; it is what people and golden files see."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netplug.model import Protocol, StaticRoute
from netplug.plan.diff import Change, Create, Delete, Step, diff
from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    KernelObject,
    LinkPolicy,
    LocalSubnet,
    Masquerade,
    Route,
    RoutedFilter,
    RoutedPair,
    RoutedSource,
    SandboxFilter,
    SandboxLink,
    SpoofGuard,
    Sublink,
    Sysctl,
    Veth,
)
from netplug.plan.text import difference_text, object_text, objects_text, plan_text, step_text
from tests.conftest import Golden

WEB = Bridge(
    name="py-web",
    mac="02:50:00:00:00:01",
    mtu_bytes=1500,
    policy=LinkPolicy.NO_EGRESS | LinkPolicy.ROUTED_IPV6,
    has_ipv6=True,
)
OBJECTS: frozenset[KernelObject] = frozenset(
    {
        Sysctl(name="net/ipv4/ip_forward", value="1"),
        Firewall(has_ipv6=True, filters_bridged=False),
        WEB,
        Bridge(name="py-bare"),
        Address(link="py-web", address=ip_interface("10.9.0.1/24")),
        Address(link="py-web", address=ip_interface("fd09::1/64")),
        Masquerade(subnet=ip_network("10.9.0.0/24")),
        LocalSubnet(subnet=ip_network("10.9.0.0/24"), link="py-web"),
        Veth(
            name="pyv1",
            peer="pyp1",
            peer_mac="02:42:0a:09:00:02",
            mtu_bytes=1500,
            bridge="py-web",
            is_isolated=False,
            is_guarded=True,
            is_lent=True,
        ),
        SpoofGuard(
            link="pyv1",
            mac="02:42:0a:09:00:02",
            addresses=frozenset({ip_address("fd09::2"), ip_address("10.9.0.2")}),
        ),
        SpoofGuard(link="pyv2", mac="02:42:0a:09:00:03"),
        SandboxLink(
            host_link="pyv2",
            peer="pyp2",
            netns="/run/netns/a",
            name="eth0",
            mac="02:42:0a:09:00:03",
            addresses=(ip_interface("10.9.0.3/24"), ip_interface("fd09::3/64")),
            gateways=(ip_address("10.9.0.1"),),
        ),
        SandboxLink(
            host_link="eth0",
            peer="pyp3",
            netns="/run/netns/b",
            name="eth0",
            routes=(
                StaticRoute(destination=ip_network("169.254.80.1/32")),
                StaticRoute(
                    destination=ip_network("10.9.0.0/25"), next_hop=ip_address("169.254.80.1")
                ),
            ),
            sublink=Sublink(name="pyp3", kind="ipvlan", parent="eth0", mode="l3", flag="private"),
        ),
        SandboxFilter(
            link="pyp3",
            netns="/run/netns/b",
            ports=frozenset({(Protocol.UDP, 53, 53), (Protocol.TCP, 8000, 8009)}),
        ),
        SandboxFilter(link="pyp4", netns="/run/netns/c", guards=True, ports=frozenset()),
        Route(destination=ip_network("10.9.0.4/32"), link="pyv4"),
        RoutedFilter(),
        RoutedPair(source=ip_network("10.9.0.0/24"), destination=ip_network("10.8.0.0/24")),
        RoutedSource(link="pyv4", address=ip_address("10.8.0.4")),
    }
)
SEEN: frozenset[KernelObject] = frozenset(
    {
        Sysctl(name="net/ipv4/ip_forward", value="0"),
        replace(WEB, mtu_bytes=1400, policy=LinkPolicy.NONE),
        Bridge(name="py-old"),
        Address(link="py-old", address=ip_interface("10.8.0.1/24")),
    }
)


def test_objects_of_every_kind_read_as_agreed(golden: Golden) -> None:
    golden("tests/golden/plan/objects.txt", objects_text(OBJECTS))


def test_plan_of_every_kind_of_step_reads_as_agreed(golden: Golden) -> None:
    golden("tests/golden/plan/steps.txt", plan_text(diff(OBJECTS, SEEN)))


@pytest.mark.parametrize("obj", sorted(OBJECTS, key=object_text), ids=lambda o: type(o).__name__)
def test_object_text_is_one_line_whatever_the_object(obj: KernelObject) -> None:
    assert "\n" not in object_text(obj)
    assert object_text(obj) + "\n" in objects_text(OBJECTS)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Create(WEB), "bridge py-web is missing"),
        (Delete(WEB), "bridge py-web is ours and not wanted"),
        (
            Change(WEB, replace(WEB, mtu_bytes=1400), frozenset({"mtu_bytes"})),
            "bridge py-web is off: mtu_bytes 1400 -> 1500",
        ),
    ],
)
def test_difference_text_states_what_the_step_would_mend(step: Step, text: str) -> None:
    assert difference_text(step) == text


def test_step_text_of_rules_of_an_earlier_run_says_so() -> None:
    wish = Firewall(has_ipv6=True, filters_bridged=False)
    differing = frozenset({"has_ipv6", "filters_bridged"})

    assert step_text(Change(wish, Firewall(), differing)) == (
        "change firewall PYNET: rules of an earlier run are replaced"
    )


def test_step_text_of_a_value_that_was_not_read_says_unknown() -> None:
    step = Change(WEB, Bridge(name="py-web"), frozenset({"mtu_bytes"}))

    assert step_text(step) == "change bridge py-web: mtu_bytes unknown -> 1500"
