"""Addresses as people and programs write them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from netplug.leases import IPAddress


def parse_address(text: str) -> IPAddress:
    """Return the address that `text` is.

    One with a zone is refused: it is equal to no other, and the same address once it is recorded.

    Raises:
        ValueError: it is none.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{text!r} has a zone, which an address of a network cannot have")
    return address


def parse_network(text: str, *, strict: bool = True) -> IPv4Network | IPv6Network:
    """Return the network that `text` is; its host bits may be set if it is not `strict`.

    Raises:
        ValueError: it is none, or has a zone.
    """
    network = ip_network(text, strict=strict)
    parse_address(str(network.network_address))
    return network
