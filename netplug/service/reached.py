"""What is in use beside our networks, and which of their subnets it collides with.

A subnet is *refused* when its network is made, and *reported* when something comes later:

- overlapping a network on another link or a subnet of Docker's, or containing an address or a
  resolver of the host's: always;
- overlapping a network behind a router: if that is a part of the subnet. A larger one is fine, as
  10.0.0.0/8 of a VPN would forbid everything; but an automatic subnet has avoided that, too, so
  that one which comes later is reported.

A network on a link of the host's, whose subnet that link reaches, is where it should be.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from netplug.contract.driver import NetworkDriver
from netplug.contract.kernel import Kernel
from netplug.errors import Conflict
from netplug.model import IPNetwork, Network, Pool, Reached, Subnet, Way
from netplug.plan.objects import Bridge
from netplug.view import View

_HINT = "choose another --subnet, or give -o overlap=allow if you know better"


@dataclass(frozen=True, slots=True)
class Collision:
    """A subnet of a network, and what else is there; `reason` goes on after the subnet."""

    network: Network
    subnet: IPNetwork
    reason: str

    @property
    def text(self) -> str:
        """Return it as a sentence."""
        return f"subnet {self.subnet} of network {self.network.label} {self.reason}"


async def refuse_reached_subnets(
    network: Network, driver: NetworkDriver, view: View, kernel: Kernel
) -> None:
    """Refuse subnets that are in use beside our networks; automatic pools have avoided those.

    Raises:
        Conflict: naming what is there.
    """
    checked = [s for s in network.subnets if not _is_automatic(s, network, view)]
    if not checked or may_overlap(network, driver, view):
        return
    reached = await kernel.reached({s.pool.version for s in checked}) | view.beside_us
    for subnet in checked:
        if found := collision(network, subnet, reached, is_strict=False):
            raise Conflict(f"subnet {found.subnet}", found.reason, _HINT)


def may_overlap(network: Network, driver: NetworkDriver, view: View) -> bool:
    """Return whether the user said that the subnets of a network are in use, and that it is fine.

    Be it to the driver or to the IPAM.
    """
    return driver.may_overlap(network) or any(p.may_overlap for p in _pools(network, view))


def collision(
    network: Network, subnet: Subnet, reached: Iterable[Reached], *, is_strict: bool
) -> Collision | None:
    """Return what a subnet collides with, the worst of it; `is_strict` for automatic ones."""
    near = [r for r in reached if r.network.version == subnet.pool.version]
    near = [r for r in near if r.network.overlaps(subnet.pool)]
    if network.parent is not None:
        near = _beside_the_parent(network, near)
    found = [r for r in near if _collides(r, subnet.pool, is_strict=is_strict)]
    if not found:
        return None
    worst = min(found, key=lambda r: (_WAYS.index(r.way), r.network.prefixlen, r.where))
    return Collision(network, subnet.pool, _reason(worst, subnet.pool))


def collisions(
    view: View, reached: Collection[Reached], drivers: Mapping[str, NetworkDriver]
) -> list[Collision]:
    """Return the collisions of all networks, in one pass over thousands of them, sorted."""
    found: list[Collision] = []
    for version in (4, 6):
        spans = _Spans(view.networks.values(), version)
        near: dict[int, list[Reached]] = {}
        for one in (r for r in reached if r.network.version == version):
            for place in spans.near(one.network):
                near.setdefault(place, []).append(one)
        for place, those in near.items():
            network, subnet = spans.subnets[place]
            driver = drivers[network.driver]
            if not may_overlap(network, driver, view):
                others = _less_own(those, network, driver, view)
                is_strict = _is_automatic(subnet, network, view)
                one_found = collision(network, subnet, others, is_strict=is_strict)
                found += [one_found] if one_found else []
    return sorted(found, key=lambda c: (c.network.label, str(c.subnet)))


def _less_own(
    near: Collection[Reached], network: Network, driver: NetworkDriver, view: View
) -> list[Reached]:
    """Leave out what is on the network's own bridge, which the user may have named."""
    planned = driver.plan_network(network, view)
    own = {o.name for o in planned if isinstance(o, Bridge)}
    return [r for r in near if r.where not in own or r.way not in _ON_LINKS]


class _Spans:
    """The subnets of one family, which hardly ever overlap, in the order of their addresses."""

    def __init__(self, networks: Iterable[Network], version: int) -> None:
        found = [
            (int(s.pool.network_address), int(s.pool.broadcast_address), n, s)
            for n in networks
            for s in n.subnets
            if s.pool.version == version
        ]
        found.sort(key=lambda span: span[:2])
        self.subnets = [(network, subnet) for _, _, network, subnet in found]
        self._firsts = [first for first, _, _, _ in found]
        self._lasts = [last for _, last, _, _ in found]

    def near(self, network: IPNetwork) -> range:
        """Return the places of the subnets that `network` overlaps."""
        first, last = int(network.network_address), int(network.broadcast_address)
        return range(bisect_left(self._lasts, first), bisect_right(self._firsts, last))


_WAYS = (Way.DIRECT, Way.DOCKER, Way.GATEWAY, Way.ADDRESS, Way.RESOLVER)
_ON_LINKS = frozenset({Way.DIRECT, Way.GATEWAY, Way.ADDRESS})


def _collides(reached: Reached, subnet: IPNetwork, *, is_strict: bool) -> bool:
    match reached.way:
        case Way.DOCKER_BRIDGE:
            return False  # its own route tells, and sooner
        case Way.ROUTER:
            return False  # it is on a link's network, which tells
        case Way.GATEWAY:
            return is_strict or reached.network.prefixlen >= subnet.prefixlen
        case _:
            return True


def _beside_the_parent(network: Network, near: Collection[Reached]) -> list[Reached]:
    """Return what is on links other than a network's parent, unless the subnet is on that too."""
    parent = network.parent
    own = {parent.name, parent.vlan_of} - {""} if parent else set()
    direct = [r for r in near if r.way is Way.DIRECT]
    return [] if any(r.where in own for r in direct) else direct


def _reason(reached: Reached, subnet: IPNetwork) -> str:
    there, where = reached.network, reached.where
    is_same = there == subnet
    match reached.way:
        case Way.ADDRESS:
            return f"contains {there.network_address}, the host's own address on link {where}"
        case Way.RESOLVER:
            return f"contains {there.network_address}, a resolver of the host's ({where})"
        case Way.ROUTER:
            return f"contains {there.network_address}, a router of the host's on link {where}"
        case Way.DOCKER | Way.DOCKER_BRIDGE:
            return ("is that" if is_same else f"overlaps {there}") + f" of Docker's network {where}"
        case Way.GATEWAY:
            link = f" on link {where}" if where else ""
            start = "is in use" if is_same else f"overlaps {there}, which is in use"
            return f"{start} behind a router{link}"
        case Way.DIRECT:
            start = "is in use" if is_same else f"overlaps {there}, which is in use"
            return f"{start} on link {where}"


def _is_automatic(subnet: Subnet, network: Network, view: View) -> bool:
    return any(p.is_auto and p.network == subnet.pool for p in _pools(network, view))


def _pools(network: Network, view: View) -> list[Pool]:
    return [view.pools[pool_id] for pool_id in network.pool_ids if pool_id in view.pools]
