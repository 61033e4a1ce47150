"""What the links of networks and endpoints are called, and their MACs."""

from __future__ import annotations

from netplug.model import Endpoint, Network


def host_link_name(endpoint: Endpoint) -> str:
    """Return the name of the veth end that stays with the host."""
    return f"pyv{endpoint.short_id}"


def peer_link_name(endpoint: Endpoint) -> str:
    """Return the name of the link for the sandbox until it is renamed in there."""
    return f"pyp{endpoint.short_id}"


def network_mac(network: Network) -> str:
    """Derive a locally administered address, so that the gateway's MAC survives a reboot."""
    digits = network.id[:8].rjust(8, "0")
    try:
        tail = int(digits, 16)
    except ValueError:  # a swarm network's id is base 36
        tail = int.from_bytes(network.id[:4].encode().rjust(4, b"\0"))
    octets = [0x02, 0x50, *tail.to_bytes(4)]
    return ":".join(f"{octet:02x}" for octet in octets)
