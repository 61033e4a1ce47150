"""Which subnets the host reaches already, on links that are not the network's."""

from __future__ import annotations

from netplug.contract.kernel import Kernel
from netplug.errors import Conflict
from netplug.model import Network, Subnet, View


async def refuse_reached_subnets(network: Network, view: View, kernel: Kernel) -> None:
    """Refuse subnets that lie on another link of the host; automatic pools avoid those.

    The subnet of a network with a parent may be a part of the parent's.

    Raises:
        Conflict: naming the link.
    """
    parent = network.parent
    own = {parent.name, parent.vlan_of} if parent else set()
    pools = [view.pools.get(pool_id) for pool_id in network.pool_ids]
    checked = {pool.network for pool in pools if pool is not None and pool.is_auto}
    for subnet in network.subnets:
        if subnet.pool in checked or _is_of_a_network(subnet, view):
            continue
        link = await kernel.link_towards(subnet.pool)
        if link and link not in own:
            raise Conflict(
                f"subnet {subnet.pool}", f"is in use on link {link}", "choose another --subnet"
            )


def _is_of_a_network(subnet: Subnet, view: View) -> bool:
    """Return whether a network of ours has this very subnet; the driver refuses that better."""
    return any(subnet.pool == other.pool for n in view.networks.values() for other in n.subnets)
