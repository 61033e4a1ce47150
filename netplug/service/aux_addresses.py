"""The auxiliary addresses of a network: which leases they are, once the network names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from netplug.model import Lease, LeaseKind, Network
from netplug.view import View


def aux_leases(network: Network, view: View) -> Iterator[Lease]:
    """Yield the leases of a network's auxiliary addresses as such, under their names.

    dockerd asks for them like for any other address; only CreateNetwork tells what they are.
    """
    for name, address in (aux for subnet in network.subnets for aux in subnet.aux):
        for pool_id in network.pool_ids:
            if lease := view.leases_of(pool_id).get(address):
                yield replace(lease, kind=LeaseKind.AUX, owner=name)
