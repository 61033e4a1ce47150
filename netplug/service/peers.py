"""Which networks may be peers, and how one is without another."""

from __future__ import annotations

from dataclasses import replace

from netplug.errors import Conflict
from netplug.model import Network, NetworkId


def refuse_peers(a: Network, b: Network) -> None:
    """Refuse two networks that no driver lets reach each other.

    Raises:
        Conflict: they are one, of different drivers, or one of them is internal.
    """
    if a.id == b.id:
        raise Conflict(f"network {a.label}", "cannot be its own peer")
    for network in (a, b):
        if network.is_internal:
            raise Conflict(f"network {network.label}", "is internal and has no peers")
    if a.driver != b.driver:
        raise Conflict(
            f"networks {a.label} and {b.label}",
            f"are of different drivers, {a.driver} and {b.driver}",
        )


def without_peer(network: Network, peer_id: NetworkId) -> Network:
    """Return a network that is no peer of another."""
    return replace(network, peers=tuple(p for p in network.peers if p != peer_id))
