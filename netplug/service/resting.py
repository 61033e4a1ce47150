"""What can not be there without a link."""

from __future__ import annotations

from collections.abc import Collection

from netplug.plan.objects import (
    KernelObject,
    Key,
    ProxyNeighbour,
    Shim,
    Sublink,
    Sysctl,
    Veth,
    Vlan,
)
from netplug.plan.order import stands_on
from netplug.service.borrowed import link_of_switch


def resting_on(links: Collection[Key], objects: Collection[KernelObject]) -> frozenset[Key]:
    """Return the keys of `links`, and of those `objects` that rest on one, directly or not."""
    found = set(links)
    size = 0
    while found and len(found) > size:
        size = len(found)
        found |= {o.key for o in objects if _link_below(o) in found}
    return frozenset(found)


def _link_below(obj: KernelObject) -> Key | None:
    """Return the key of the link that `obj` is put on."""
    match obj:
        case Veth(bridge=bridge):
            return Key("link", bridge or "")
        case Vlan(parent=link) | Shim(parent=link) | Sublink(parent=link):
            return Key("link", link)
        case ProxyNeighbour(link=link):
            return Key("link", link)
        case Sysctl(name=name):
            return Key("link", link_of_switch(name))
        case _:
            return stands_on(obj)
