"""What the kernel in memory knows of the host's own links, and how links on them read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from netplug.model import LinkFacts, Parent
from netplug.plan.objects import (
    Bridge,
    KernelObject,
    LinkPolicy,
    RoutedVeth,
    Shim,
    Sublink,
    Sysctl,
    Vlan,
)

ETH0 = LinkFacts(name="eth0", index=2, mac="02:00:00:00:00:aa")
LINK_KINDS = frozenset({"macvlan", "ipvlan", "vlan"})
HOST_SWITCHES = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
)

_MTU_BYTES = 1500
_MAC = "02:00:00:00:00:01"
_FORWARD_IPV6 = "net/ipv6/conf/all/forwarding"
_OF_A_LINK = (
    ("net/ipv4/conf/{}/forwarding", "0"),
    ("net/ipv4/neigh/{}/proxy_delay", "80"),
    ("net/ipv6/conf/{}/accept_ra", "1"),
    ("net/ipv6/conf/{}/forwarding", "0"),
    ("net/ipv6/conf/{}/proxy_ndp", "0"),
    ("net/ipv6/neigh/{}/proxy_delay", "80"),
)


def switches_of(link: str) -> dict[str, str]:
    """Return the switches of a link of the host's, as they are by default."""
    return {name.format(link): value for name, value in _OF_A_LINK}


def reverse_path_of(bridge: Bridge) -> Sysctl:
    """Return the switch of a bridge by which its reverse paths are checked, as it is by default."""
    return Sysctl(name=f"net/ipv4/conf/{bridge.name}/rp_filter", value="0", link=bridge.name)


def moved_by(name: str, value: str, present: Mapping[str, str]) -> dict[str, str]:
    """Return which of the `present` switches another one moves when it gets `value`."""
    if name != _FORWARD_IPV6:
        return {}
    return {
        switch: now
        for switch, now in present.items()
        if switch.startswith("net/ipv6/conf/")
        and switch != name
        and (
            switch.endswith("/forwarding")
            or (switch.endswith("/accept_ra") and (value, now) == ("1", "1"))
        )
    }


def moved_to(switch: str, value: str) -> str:
    """Return what a switch that is moved becomes."""
    return "2" if switch.endswith("/accept_ra") else value


def facts_of(vlan: Vlan, uplinks: Mapping[str, LinkFacts]) -> LinkFacts:
    """Return what a VLAN of ours is like: it has MAC and MTU of its parent."""
    parent = uplinks.get(vlan.parent, ETH0)
    index = 1000 + vlan.vlan_id
    return replace(parent, name=vlan.name, index=index, kind="vlan", is_up=vlan.is_up is not False)


def find(parent: Parent, links: Iterable[LinkFacts]) -> LinkFacts | None:
    """Return the link that `parent` describes."""
    every = list(links)
    for link in every:
        if link.name == parent.name and parent.mac in ("", link.mac):
            return link
    if parent.vlan_of or not parent.mac:
        return None
    alike = [link for link in every if link.mac == parent.mac]
    same = [link for link in alike if link.index == parent.index]
    return same[0] if same else alike[0] if len(alike) == 1 else None


def readable(obj: KernelObject, macs: Mapping[str, str]) -> KernelObject:
    """Return a link as a look-up shows it; `macs` are those of the host's links."""
    match obj:
        case RoutedVeth():
            return replace(
                obj,
                peer=None,
                peer_mac=None,
                is_lent=None,
                mac=obj.mac or _MAC,
                mtu_bytes=obj.mtu_bytes or _MTU_BYTES,
                policy=obj.policy or LinkPolicy.NONE,
                has_ipv6=bool(obj.has_ipv6),
                is_loose=bool(obj.is_loose),
                is_up=obj.is_up is not False,
            )
        case Vlan():
            return replace(obj, is_up=obj.is_up is not False)
        case Sublink():
            is_macvlan = obj.kind == "macvlan"
            has_own_mac = is_macvlan and obj.mode != "passthru"
            return replace(
                obj,
                flag="" if is_macvlan else obj.flag or "bridge",
                mac=(obj.mac or _MAC) if has_own_mac else macs.get(obj.parent, _MAC),
                mtu_bytes=obj.mtu_bytes or _MTU_BYTES,
                is_lent=None,
            )
        case Shim():
            return replace(
                obj,
                mac=obj.mac or _MAC,
                has_ipv6=bool(obj.has_ipv6),
                is_up=obj.is_up is not False,
            )
        case _:
            return obj
