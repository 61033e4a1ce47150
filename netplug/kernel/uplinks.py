"""Links that the host's own network comes into: routed veth pairs, VLANs, macvlan and ipvlan.

As in `netplug.kernel.links`, one message makes a link and a second one marks it; a link in our
group without an alias was left by a crash in between, and reads as not yet finished.
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from ipaddress import IPv6Interface

from netplug.errors import KernelRefused
from netplug.kernel import rtnl, switches
from netplug.kernel.linkops import LinkOps, name_of, needed_index, set_ipv6, silence_ipv6
from netplug.kernel.sublinks import IPVLAN, MACVLAN, VLAN
from netplug.plan.objects import GROUP_BASE, LinkPolicy, RoutedVeth, Shim, Sublink, Vlan

UplinkObject = RoutedVeth | Vlan | Sublink | Shim

_FIXED = frozenset({"kind", "parent", "mode", "flag", "vlan_id"})
_SUBLINK_GROUP = GROUP_BASE | LinkPolicy.PORT
_NO_GROUP = 0


class Uplinks:
    """Makes, changes and reads such links."""

    def __init__(self, ops: LinkOps) -> None:
        self._ops = ops

    def make(self, link: UplinkObject) -> None:
        """Make a link and mark it as ours; all but sublinks are up.

        Raises:
            KernelRefused: the name is taken, the parent is missing, or an attribute is refused.
        """
        match link:
            case RoutedVeth():
                self._make_routed(link)
            case Vlan():
                self._make_vlan(link)
            case Sublink():
                self._make_sublink(link)
            case Shim():
                self._make_shim(link)

    @staticmethod
    def must_be_made_anew(differing: Collection[str]) -> bool:
        """Return whether a field differs that a link has for life."""
        return not _FIXED.isdisjoint(differing)

    def change(self, link: UplinkObject, differing: Collection[str]) -> None:
        """Give an existing link the values of its `differing` fields."""
        if isinstance(link, RoutedVeth | Sublink) and "mtu_bytes" in differing:
            self._ops.set(link.name, mtu=link.mtu_bytes)
        if not isinstance(link, Vlan) and "mac" in differing and not _is_passthru(link):
            self._ops.set(link.name, address=link.mac)
        if isinstance(link, RoutedVeth):
            self._change_routed(link, differing)
        if isinstance(link, Shim) and "has_ipv6" in differing:
            set_ipv6(link.name, is_on=bool(link.has_ipv6))
        if isinstance(link, Sublink):
            self._ops.set(link.name, alias=self._ops.alias_of(link.name))
        elif isinstance(link, Vlan):
            self._ops.set(link.name, is_up=link.is_up, alias=self._ops.alias, group=_NO_GROUP)
        elif "is_up" in differing:
            self._ops.set(link.name, is_up=link.is_up, alias=self._ops.alias)

    def read(self, link: rtnl.Link, policy: LinkPolicy) -> UplinkObject | None:
        """Return what a link with our mark is; `None` if it is nothing that we make."""
        if link.kind == "veth":
            return _read_routed(link, policy)
        if link.kind in (MACVLAN, IPVLAN) and policy & LinkPolicy.PORT:
            return Sublink(
                name=link.name or "",
                kind=link.kind,
                parent=name_of(link.parent),
                mode=link.mode or "",
                flag=link.flag or "",
                mac=link.address,
                mtu_bytes=link.mtu if link.alias else 0,
            )
        if link.kind == MACVLAN:
            return Shim(
                name=link.name or "",
                parent=name_of(link.parent),
                mac=link.address,
                has_ipv6=link.has_ipv6,
                is_up=link.is_up,
            )
        return _read_vlan(link, is_up=False) if link.kind == VLAN else None

    def vlan(self, link: rtnl.Link) -> Vlan | None:
        """Return the VLAN that a link without our group is, if its alias is ours."""
        if link.kind != VLAN or link.alias != self._ops.alias:
            return None
        return _read_vlan(link, is_up=bool(link.is_up))

    def _make_routed(self, veth: RoutedVeth) -> None:
        self._ops.add(
            rtnl.Link(
                name=veth.name,
                kind="veth",
                group=_group(veth),
                mtu=veth.mtu_bytes,
                address=veth.mac,
                peer=rtnl.Link(name=veth.peer, address=veth.peer_mac, mtu=veth.mtu_bytes),
            )
        )
        _set_routing(veth)
        _set_routed_ipv6(veth)
        self._finish_routed(veth, is_up=True)

    def _change_routed(self, veth: RoutedVeth, differing: Collection[str]) -> None:
        if "policy" in differing:
            self._ops.set(veth.name, group=_group(veth))
        if not {"policy", "is_loose"}.isdisjoint(differing):
            _set_routing(veth)
        if "has_ipv6" in differing:
            _set_routed_ipv6(veth)
        if "mac" in differing:
            self._add_link_local(veth)
        if "is_up" in differing:
            self._finish_routed(veth, is_up=bool(veth.is_up))

    def _finish_routed(self, veth: RoutedVeth, *, is_up: bool) -> None:
        if veth.peer:
            try:
                self._ops.set(veth.peer, alias=self._ops.alias_of(veth.peer))
            except KernelRefused as error:
                if error.code != errno.ENODEV:  # it is in its sandbox
                    raise
        self._ops.set(veth.name, is_up=is_up, alias=self._ops.alias)

    def _add_link_local(self, veth: RoutedVeth) -> None:
        """Add the address that follows from a new MAC: the kernel does so only for the first."""
        if veth.mac and switches.has_ipv6_on(veth.name):
            self._ops.add_address(veth.name, link_local(veth.mac))

    def _make_vlan(self, vlan: Vlan) -> None:
        """Make a VLAN. With its alias it leaves our group: to rules it is a link of the host's."""
        self._ops.add(
            rtnl.Link(
                name=vlan.name,
                kind=VLAN,
                group=GROUP_BASE,
                parent=needed_index(vlan.parent),
                vlan_id=vlan.vlan_id,
            )
        )
        self._ops.set(vlan.name, is_up=True, alias=self._ops.alias, group=_NO_GROUP)

    def _make_sublink(self, sublink: Sublink) -> None:
        """Make a sublink, in the group of ports: it takes no part until it is moved."""
        self._ops.add(
            rtnl.Link(
                name=sublink.name,
                kind=sublink.kind,
                group=_SUBLINK_GROUP,
                parent=needed_index(sublink.parent),
                mode=sublink.mode,
                flag=sublink.flag,
                address=sublink.mac,
                mtu=sublink.mtu_bytes,
            )
        )
        silence_ipv6(sublink.name)  # until it is moved: a namespace gives it fresh switches
        self._ops.set(sublink.name, alias=self._ops.alias_of(sublink.name))

    def _make_shim(self, shim: Shim) -> None:
        self._ops.add(
            rtnl.Link(
                name=shim.name,
                kind=MACVLAN,
                group=GROUP_BASE,
                parent=needed_index(shim.parent),
                mode="bridge",
                address=shim.mac,
            )
        )
        switches.write(f"net/ipv4/conf/{shim.name}/arp_filter", "1")
        set_ipv6(shim.name, is_on=bool(shim.has_ipv6))
        self._ops.set(shim.name, is_up=True, alias=self._ops.alias)


def link_local(mac: str) -> IPv6Interface:
    """Return the link-local address of a MAC: RFC 4291 section 2.5.1 and appendix A."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 0x02
    packed = bytes.fromhex("fe80000000000000") + octets[:3] + b"\xff\xfe" + octets[3:]
    return IPv6Interface((packed, 64))


def _read_routed(link: rtnl.Link, policy: LinkPolicy) -> RoutedVeth:
    """Return a routed veth with the policy that holds: without its switches, a bit does not."""
    if not link.forwards_ipv4:
        policy &= ~LinkPolicy.ROUTED_LINK
    if not (link.is_strict or link.is_loose):
        policy &= ~LinkPolicy.STRICT
    return RoutedVeth(
        name=link.name or "",
        mac=link.address,
        mtu_bytes=link.mtu,
        policy=policy,
        has_ipv6=link.has_ipv6 and link.forwards_ipv6,
        is_loose=link.is_loose,
        is_up=link.is_up,
    )


def _read_vlan(link: rtnl.Link, *, is_up: bool) -> Vlan:
    return Vlan(
        name=link.name or "",
        parent=name_of(link.parent),
        vlan_id=link.vlan_id or 0,
        is_up=is_up,
    )


def _is_passthru(link: UplinkObject) -> bool:
    """Return whether a new MAC would be its parent's, the host's own, too.

    Source: Linux drivers/net/macvlan.c, macvlan_set_mac_address.
    """
    return isinstance(link, Sublink) and link.mode == "passthru"


def _group(veth: RoutedVeth) -> int:
    return GROUP_BASE | (veth.policy or LinkPolicy.NONE)


def _set_routing(veth: RoutedVeth) -> None:
    switches.write(f"net/ipv4/conf/{veth.name}/forwarding", "1")
    reverse_path = f"net/ipv4/conf/{veth.name}/rp_filter"
    if veth.is_loose:
        switches.write(reverse_path, "2")
    elif (veth.policy or LinkPolicy.NONE) & LinkPolicy.STRICT:
        switches.write(reverse_path, "1")
    elif switches.read(reverse_path) != "0":
        switches.write(reverse_path, "0")


def _set_routed_ipv6(veth: RoutedVeth) -> None:
    if veth.has_ipv6 and switches.read(f"net/ipv6/conf/{veth.name}/forwarding") is not None:
        switches.write(f"net/ipv6/conf/{veth.name}/autoconf", "0")
        switches.write(f"net/ipv6/conf/{veth.name}/addr_gen_mode", "0")  # from the MAC
        switches.write(f"net/ipv6/conf/{veth.name}/forwarding", "1")
    set_ipv6(veth.name, is_on=bool(veth.has_ipv6))
