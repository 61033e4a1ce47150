"""Addresses as people and programs write them."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

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
