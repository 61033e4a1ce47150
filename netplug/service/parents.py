"""The links of the host's that networks stand on: which one, who else does, what became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from netplug.contract.driver import FactsWish, NetworkDriver
from netplug.contract.kernel import Kernel
from netplug.model import HostFacts, LinkFacts, Network, NetworkState, Parent
from netplug.plan.objects import KernelObject
from netplug.service.state import State
from netplug.view import View


async def grounded(
    network: Network, driver: NetworkDriver, kernel: Kernel, state: State
) -> tuple[Network, HostFacts]:
    """Return a new network on the link that it is to stand on, and what the host is like.

    Raises:
        InvalidOptions: with every problem of the options.
        NotFound, Unsupported: there is no such link, or none that would do.
    """
    facts = await kernel.facts(driver.facts_wanted(network))
    state.learn(facts)
    parent = driver.parent(network, state.view.with_facts(facts))
    mtu_bytes = facts.uplink_mtu_bytes
    if parent is not None:
        link = facts.links.get(parent.name) or facts.links.get(parent.vlan_of)
        mtu_bytes = link.mtu_bytes if link else mtu_bytes
        if base := facts.links.get(parent.vlan_of):
            parent = replace(parent, index=base.index, mac=base.mac)
    return replace(network, parent=parent, uplink_mtu_bytes=mtu_bytes), facts


def all_wishes(wishes: Collection[FactsWish]) -> FactsWish:
    """Return one wish for all that is wished for."""
    return FactsWish(
        links=frozenset().union(*(w.links for w in wishes)),
        kinds=frozenset().union(*(w.kinds for w in wishes)),
        wants_uplink=any(w.wants_uplink for w in wishes),
    )


def beside(network: Network, view: View) -> list[Network]:
    """Return the other networks on the parent of a network; none if it has none."""
    if network.parent is None:
        return []
    return [
        other
        for other in view.networks.values()
        if other.id != network.id and other.parent and other.parent.name == network.parent.name
    ]


def less(
    objects: Collection[KernelObject], others: Collection[KernelObject]
) -> frozenset[KernelObject]:
    """Return those of `objects` of which `others` have none of the same key."""
    keys = {o.key for o in others}
    return frozenset(o for o in objects if o.key not in keys)


def _no_links() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the parents are. `changes` are the networks as they follow them; `news` are sentences.

    `names` are the new names of links that were renamed; `gone` are the names of links that are no
    more, each with a sentence.
    """

    changes: tuple[Network, ...] = ()
    names: Mapping[str, str] = field(default_factory=_no_links)
    news: tuple[str, ...] = ()
    gone: Mapping[str, str] = field(default_factory=_no_links)


STANDING = Standing()


async def standing(view: View, kernel: Kernel) -> Standing:
    """Look for the parent of each network, under whatever name; one or two look-ups a parent.

    A network follows its parent's name and MTU. Where the parent is a VLAN of ours, it is the link
    below that may have moved.
    """
    changes: list[Network] = []
    news: list[str] = []
    names: dict[str, str] = {}
    gone: dict[str, str] = {}
    for base, networks in _by_base(view).items():
        link = await _found(base, kernel)
        if link is None:
            gone[base.name] = _gone_text(base, networks)
            continue
        followed = [await _followed(network, link, kernel) for network in networks]
        moved = [(n, after) for n, after in zip(networks, followed, strict=True) if n != after]
        changes += [after for _, after in moved]
        if base.mac and link.mac != base.mac:
            news.append(f"parent {base.name} has another MAC, {link.mac}")
        if link.name != base.name:
            names[base.name] = link.name
            news.append(f"parent {base.name} is called {link.name} now")
        news += dict.fromkeys(
            f"the MTU of parent {after.parent.name} is {after.uplink_mtu_bytes} now"
            for before, after in moved
            if after.parent and before.uplink_mtu_bytes != after.uplink_mtu_bytes
        )
    return Standing(changes=tuple(changes), names=names, news=tuple(news), gone=gone)


def _by_base(view: View) -> Mapping[Parent, list[Network]]:
    """Return the networks on each link of the host's that pynet did not make."""
    found: dict[Parent, list[Network]] = defaultdict(list)
    for network in view.networks.values():
        if network.parent is not None and network.state is NetworkState.READY:
            found[_base(network.parent)].append(network)
    return found


def _base(parent: Parent) -> Parent:
    return Parent(name=parent.vlan_of or parent.name, index=parent.index, mac=parent.mac)


async def _found(base: Parent, kernel: Kernel) -> LinkFacts | None:
    """Return a link; without one of its MAC, that of its name, which was given another or replaced.

    Bonds, bridges and exchanged cards have another MAC, and another index, after each boot.
    """
    return await kernel.find(base) or await kernel.find(replace(base, index=0, mac=""))


async def _followed(network: Network, link: LinkFacts, kernel: Kernel) -> Network:
    parent = network.parent
    if parent is None:
        return network
    now = replace(parent, index=link.index, mac=link.mac)
    if not parent.vlan_of:
        now = replace(now, name=link.name)
        return replace(network, parent=now, uplink_mtu_bytes=link.mtu_bytes)
    vlan = await kernel.find(replace(parent, index=0, mac="")) or link
    now = replace(now, vlan_of=link.name)
    return replace(network, parent=now, uplink_mtu_bytes=vlan.mtu_bytes)


def _gone_text(base: Parent, networks: Collection[Network]) -> str:
    labels = sorted(n.label for n in networks)
    shown = f"network {labels[0]}" + (f" and {len(labels) - 1} more" if labels[1:] else "")
    return f"link {base.name} is gone, on which {shown} stood"
