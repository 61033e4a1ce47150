"""The link of the host's that a network stands on: which, whether it would do, who shares it."""

from __future__ import annotations

from collections.abc import Iterator

from drivers.host.options import HostOptions, Mode, parse
from netplug.contract.driver import FactsWish
from netplug.errors import Conflict, NotFound, Unsupported
from netplug.model import LinkFacts, Network, Parent
from netplug.plan.objects import Vlan
from netplug.view import View

VLAN_ID_MAX = 4094  # IEEE 802.1Q: 4095 is reserved, 0 is no VLAN

_KINDS: dict[Mode, frozenset[str]] = {
    Mode.ROUTED: frozenset(),
    Mode.MACVLAN: frozenset({"macvlan"}),
    Mode.IPVLAN: frozenset({"ipvlan"}),
}


def facts_wanted(options: HostOptions, network: Network) -> FactsWish:
    """Return the links and the types of links that the choice of a parent depends on."""
    vlan = _split(options.parent)
    names = {options.parent, vlan[0] if vlan else ""} - {""}
    return FactsWish(
        links=frozenset(names),
        kinds=_KINDS[options.mode] | ({"vlan"} if vlan else set()),
        wants_uplink=not options.parent and not network.is_internal,
    )


def choose(options: HostOptions, network: Network, view: View) -> Parent | None:
    """Return the parent that a network asks for, else the uplink; an internal one needs none.

    `NAME.ID` is a VLAN for pynet to make where there is no such link, and where there is, but a
    network of ours had it made.

    Raises:
        NotFound: there is no such link.
        Unsupported: none is named, and the host has no default route.
    """
    if network.is_internal and not options.parent:
        return None
    name = options.parent or view.facts.uplink
    if not name:
        raise Unsupported(
            "driver=host without a parent",
            "this host has no default route; name a link with -o parent=NAME",
        )
    link = view.facts.links.get(name)
    others = (n.parent for n in _others(network, view))
    made = next((p for p in others if p and p.name == name and p.vlan_id), None)
    if made is not None:
        return _parent(link, vlan_of=made.vlan_of, vlan_id=made.vlan_id) if link else made
    return _parent(link) if link else _vlan(name, view)


def refuse_unfit(parent: Parent, options: HostOptions, view: View) -> None:
    """Refuse a parent that cannot carry what the mode makes, as far as the facts tell.

    Raises:
        Unsupported: why not, and what to do instead.
    """
    links, kinds = view.facts.links, view.facts.link_kinds
    link = links.get(parent.vlan_of or parent.name)
    if link is not None and link.is_loopback:
        raise Unsupported(
            f"parent={parent.name}",
            f"{link.name} is a loopback link, which leads to no other host; name another",
        )
    if link is not None and link.master:
        raise Unsupported(
            f"parent={parent.name}",
            f"{link.name} is a port of {link.master}; use parent={link.master}",
        )
    if link is not None and link.is_wireless and options.mode is not Mode.ROUTED:
        raise Unsupported(
            f"mode={options.mode} on {parent.name}",
            "it is wireless, and an access point knows each station by one MAC; use mode=routed",
        )
    if missing := _KINDS[options.mode] - kinds:
        raise Unsupported(
            f"mode={options.mode}", f"this kernel has no {', '.join(missing)}; use mode=routed"
        )
    if parent.vlan_id and parent.name not in links and "vlan" not in kinds:
        raise Unsupported(
            f"parent={parent.name}",
            f"this kernel has no VLANs; use parent={parent.vlan_of}, or another link that exists",
        )


def mtu_problems(parent: Parent, options: HostOptions, view: View) -> Iterator[str]:
    """Yield what is wrong with an MTU that is larger than the parent's."""
    links = view.facts.links
    link = links.get(parent.name) or links.get(parent.vlan_of)
    if link is not None and options.mtu_bytes > link.mtu_bytes:
        yield f"mtu={options.mtu_bytes}: parent {link.name} carries {link.mtu_bytes} bytes"


def refuse_neighbours(parent: Parent, options: HostOptions, network: Network, view: View) -> None:
    """Refuse a parent of which other networks make what goes with no other.

    The kernel gives a link's frames to its macvlans or to its ipvlans, and the last ipvlan made
    sets the mode and flag of all.
    Source: Linux net/core/dev.c netdev_rx_handler_register; drivers/net/macvlan.c
    macvlan_common_newlink; drivers/net/ipvlan/ipvlan_main.c ipvlan_link_new.

    Raises:
        Conflict: naming the other network and what to do instead.
    """
    for other in on_parent(parent, network, view):
        theirs = parse(other.options)
        what, by = f"parent {parent.name}", f"of network {other.label}"
        if options.takes_parent:
            raise Conflict(
                what,
                f"is that {by} too, and macvlan_mode=passthru shares it with nobody",
                "use macvlan_mode=bridge, or another parent",
            )
        if theirs.takes_parent:
            raise Conflict(
                what,
                f"is that {by} alone, by macvlan_mode=passthru",
                "choose another parent",
            )
        if {options.mode, theirs.mode} == {Mode.MACVLAN, Mode.IPVLAN}:
            raise Conflict(
                what,
                f"carries the {theirs.mode} links {by}, and the kernel has one type on a link",
                f"use mode={theirs.mode} or mode=routed, or another parent",
            )
        if options.mode is theirs.mode is Mode.IPVLAN and _ways(options) != _ways(theirs):
            mode, flag = _ways(theirs)
            raise Conflict(
                what,
                f"carries ipvlan links {by} in mode {mode} with flag {flag}, which all there have",
                f"use ipvlan_mode={mode} and ipvlan_flag={flag}, or another parent",
            )


def on_parent(parent: Parent, network: Network, view: View) -> Iterator[Network]:
    """Yield the other networks that stand on a parent."""
    for other in _others(network, view):
        if other.parent is not None and other.parent.name == parent.name:
            yield other


def vlans(parent: Parent) -> Iterator[Vlan]:
    """Yield the VLAN that a parent is, if pynet makes it; equal for all networks on it."""
    if parent.vlan_id:
        yield Vlan(name=parent.name, parent=parent.vlan_of, vlan_id=parent.vlan_id, is_up=True)


def _others(network: Network, view: View) -> Iterator[Network]:
    return (n for n in view.networks.values() if n.id != network.id and n.driver == network.driver)


def _ways(options: HostOptions) -> tuple[str, str]:
    return options.ipvlan_mode, options.flag_in_effect


def _parent(link: LinkFacts, vlan_of: str = "", vlan_id: int = 0) -> Parent:
    return Parent(name=link.name, index=link.index, mac=link.mac, vlan_of=vlan_of, vlan_id=vlan_id)


def _vlan(name: str, view: View) -> Parent:
    """Return a VLAN that pynet has to make."""
    hint = "'ip link' shows what there is"
    if (vlan := _split(name)) is None:
        raise NotFound("link", name, hint)
    of, vlan_id = vlan
    if of not in view.facts.links:
        raise NotFound("link", name, f"nor {of!r}, of which it would be a VLAN; {hint}")
    if not 1 <= vlan_id <= VLAN_ID_MAX:
        raise NotFound("link", name, f"a VLAN has a number from 1 to {VLAN_ID_MAX}")
    return Parent(name=name, vlan_of=of, vlan_id=vlan_id)


def _split(name: str) -> tuple[str, int] | None:
    """Return the link and the number that a VLAN's name is made of, None if it is no such name."""
    of, _, digits = name.rpartition(".")
    if of and digits.isascii() and digits.isdigit() and str(int(digits)) == digits:
        return of, int(digits)
    return None
