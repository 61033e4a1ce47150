"""The link that carries the addresses at which the host itself asks for names.

Nobody listens on port 53 there: whoever wants that port on every address of the host, a DNS server
in a container for one, could not have it then. What the host asks is led to a port of our own.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_interface

from netplug.model import IPAddress, Protocol
from netplug.plan.objects import Address, Bridge, KernelObject, LinkPolicy, PortForward

RESOLVER_LINK = "pynet-dns"

HOST_RESOLVER_PORT = 25353
"""Where the resolver listens at that address: below the ports that the kernel chooses from."""

_DNS_PORT = 53


def plan_resolver_link(addresses: Collection[IPAddress]) -> frozenset[KernelObject]:
    """Return a bridge without ports, the addresses on it, and what leads port 53 to ours.

    Nothing where there are none. Without ports it has no carrier, which an address of the host's
    own does not need.
    """
    if not addresses:
        return frozenset()
    return frozenset(
        {
            Bridge(
                name=RESOLVER_LINK,
                policy=LinkPolicy.NO_EGRESS,
                has_ipv6=any(address.version == 6 for address in addresses),
                is_up=True,
            ),
            *(Address(link=RESOLVER_LINK, address=ip_interface(address)) for address in addresses),
            *(
                PortForward(
                    protocol=protocol,
                    address=address,
                    first=_DNS_PORT,
                    to_address=address,
                    to_port=HOST_RESOLVER_PORT,
                )
                for address in addresses
                for protocol in (Protocol.UDP, Protocol.TCP)
            ),
        }
    )
