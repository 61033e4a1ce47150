"""The link for the host's own questions, as kernel objects."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from netplug.model import Protocol
from netplug.plan.objects import Address, Bridge, PortForward
from netplug.plan.resolverlink import (
    HOST_RESOLVER_PORT,
    RESOLVER_LINK,
    plan_resolver_link,
)
from netplug.settings import HOST_RESOLVER


def test_plan_has_the_address_on_a_bridge_that_is_up_and_leads_its_port_to_ours() -> None:
    planned = plan_resolver_link([HOST_RESOLVER])

    (bridge,) = (o for o in planned if isinstance(o, Bridge))
    assert (bridge.name, bridge.is_up, bridge.has_ipv6) == (RESOLVER_LINK, True, False)
    address = Address(link=RESOLVER_LINK, address=ip_interface("169.254.53.53/32"))
    forwards = {
        PortForward(
            protocol=protocol,
            address=HOST_RESOLVER,
            first=53,
            to_address=HOST_RESOLVER,
            to_port=HOST_RESOLVER_PORT,
        )
        for protocol in (Protocol.UDP, Protocol.TCP)
    }
    assert planned == {bridge, address, *forwards}


def test_plan_with_an_ipv6_address_has_ipv6_on_the_bridge() -> None:
    planned = plan_resolver_link([HOST_RESOLVER, ip_address("fd00::53")])

    assert Address(link=RESOLVER_LINK, address=ip_interface("fd00::53/128")) in planned
    assert any(isinstance(o, Bridge) and o.has_ipv6 for o in planned)


def test_plan_without_addresses_is_empty() -> None:
    assert plan_resolver_link([]) == frozenset()
