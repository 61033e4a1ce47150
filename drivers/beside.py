"""From which addresses of others of its sandbox an endpoint answers."""

from __future__ import annotations

from netplug.model import Endpoint, IPAddress, Network
from netplug.view import View

_BRIDGE, _HOST, _ROUTED = "bridge", "host", "routed"


def answered_for(endpoint: Endpoint, network: Network, view: View) -> frozenset[IPAddress]:
    """Return the addresses of the sandbox, of other endpoints, that it may send from by this one.

    A sandbox answers by its default route, whichever of its addresses was asked. All of them are
    its own, so that nobody else is forged, and answers pass the host, as the questions did. What is
    internal stays apart in both directions: nobody beyond its network asks for it. An address of
    one bridge is asked for on that bridge, and those of macvlan and ipvlan past the host.
    """
    others = ((e, view.networks.get(e.network_id)) for e in view.beside(endpoint))
    return frozenset(
        address.ip
        for other, theirs in others
        if theirs is not None and _answer_for_each_other(network, theirs)
        for address in other.addresses
    )


def _answer_for_each_other(one: Network, other: Network) -> bool:
    pair = (one, other)
    if any(n.is_internal or not (n.driver == _BRIDGE or _is_routed(n)) for n in pair):
        return False
    return any(map(_is_routed, pair))


def _is_routed(network: Network) -> bool:
    """Return whether each endpoint has a link of its own, by which the host routes to it."""
    return network.driver == _HOST and dict(network.options).get("mode", _ROUTED) == _ROUTED
