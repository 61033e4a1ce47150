"""Links and their addresses: looked up by name, made in one message each.

What a container's start and stop need goes through `rtnl`, removals through pyroute2. Bridges and
their ports are made here, links on or towards the host's own network in `netplug.kernel.uplinks`.

A veth pair is created by one netlink message that also puts it on its bridge, in its device group
and gives the other end its address and MTU. The alias takes a second message; a link with our
group and no alias is therefore ours as well (a crash came in between), and a link with our group
and another installation's alias is not.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Collection, Mapping

from pyroute2 import AsyncIPRoute, IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netplug.errors import Conflict, KernelRefused
from netplug.kernel import rtnl, switches
from netplug.kernel.linkops import (
    LinkOps,
    index_of,
    name_of,
    refused,
    set_ipv6,
    silence_ipv6,
)
from netplug.kernel.reach import Reach
from netplug.kernel.routes import Routes
from netplug.kernel.sublinks import IPVLAN, MACVLAN, VLAN
from netplug.kernel.uplinks import UplinkObject, Uplinks
from netplug.model import IPAddress
from netplug.plan.objects import (
    GROUP_BASE,
    GROUP_MASK,
    Address,
    Bridge,
    Foreign,
    Key,
    LinkPolicy,
    Veth,
)

_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENXIO})
_PORT_SWITCHES = ("is_isolated", "is_hairpin")
_DOOMED_GROUP = GROUP_BASE | LinkPolicy.DOOMED

_OUR_KINDS = frozenset({"bridge", "veth", MACVLAN, IPVLAN, VLAN})

_RTM_F_FIB_MATCH = 0x2000  # linux/rtnetlink.h: return the route itself, not what it resolves to
_DEFAULT_ROUTE_PREFIXLEN = 1  # a VPN covers 0.0.0.0/0 by its two halves
_REACHED_DIRECTLY = frozenset({1, 2, 3})  # linux/rtnetlink.h: unicast, local, broadcast

LinkObject = Bridge | Veth | UplinkObject


class Links:
    """The links of one network namespace, over two netlink sockets."""

    def __init__(self, instance: str) -> None:
        self._ip = AsyncIPRoute(ext_ack=True)
        self._rtnl = rtnl.Rtnl()
        self._ops = LinkOps(self._rtnl, instance)
        self._uplinks = Uplinks(self._ops)
        self._seen: dict[int, tuple[rtnl.Link, LinkObject | Foreign | None]] = {}
        self.names: Mapping[int, str] = {}
        self.routes = Routes(self._rtnl)
        self.reach = Reach(self._rtnl)
        self.alias = self._ops.alias

    async def open(self) -> None:
        """Open the netlink sockets in the caller's network namespace."""
        self._rtnl.open()
        await self._ip.setup_endpoint()

    async def close(self) -> None:
        """Close the netlink sockets."""
        self.routes.close()
        self._rtnl.close()
        self._ip.close()

    async def look(self, name: str) -> LinkObject | Foreign | None:
        """Return the link called `name`; `None` if there is none or it is on its way out."""
        found = self._ops.find(name)
        return self._read(found) if found else None

    async def all(self) -> list[LinkObject | Foreign]:
        """Return every link of a kind that we make; those that are not ours as `Foreign`.

        `names` are those of every link from now on.
        """
        links = self.every()
        names = {link.index: link.name or "" for link in links}
        if names != self.names:  # of a master or a parent, too
            self._seen = {}
            self.names = names
        before, self._seen = self._seen, {}
        for link in links:
            if link.kind in _OUR_KINDS:
                known = before.get(link.index)
                if known is None or known[0] is not link:
                    known = (link, self._read(link))
                self._seen[link.index] = known
        return [seen for _, seen in self._seen.values() if seen is not None]

    def find(self, name: str = "", *, index: int = 0) -> rtnl.Link | None:
        """Return the link of that name, or of that index, whosever it is."""
        try:
            return self._rtnl.link(name) if name else self._rtnl.link_of(index)
        except NetlinkError as error:
            raise refused(f"look up link {name or index}", error) from error

    def every(self) -> list[rtnl.Link]:
        """Return every link, whosever it is."""
        try:
            return self._rtnl.links()
        except NetlinkError as error:
            raise refused("list each link", error) from error

    async def addresses_of(self, links: Collection[str]) -> frozenset[Address]:
        """Return the addresses of `links` other than link-local IPv6.

        Those of one link are found by its index; for more, the whole table is listed.
        """
        names = {index: name for name in links if (index := index_of(name))}
        if not names:
            return frozenset()
        only = next(iter(names)) if len(names) == 1 else 0
        try:
            present = self._rtnl.addresses(only)
        except NetlinkError as error:
            if error.code in _GONE:
                return frozenset()
            raise refused("list each address", error) from error
        return frozenset(
            Address(link=names[index], address=address)
            for index, address in present
            if index in names and (address.version == 4 or not address.ip.is_link_local)
        )

    async def on_link(self, address: IPAddress) -> str:
        """Return the link on which `address` is reached without a gateway, empty if none is."""
        try:
            routes = await self._ip.route("get", dst=str(address), flags=_RTM_F_FIB_MATCH)
        except NetlinkError:  # no route at all
            return ""
        route = routes[0]
        is_default = route["dst_len"] <= _DEFAULT_ROUTE_PREFIXLEN
        if is_default or route.get("RTA_GATEWAY") or route["type"] not in _REACHED_DIRECTLY:
            return ""
        return name_of(route.get("RTA_OIF"))

    async def make(self, link: LinkObject) -> None:
        """Make a link, up, and mark it as ours.

        Raises:
            KernelRefused: the name is taken, the bridge is missing, or an attribute is refused.
        """
        match link:
            case Bridge():
                self._make_bridge(link)
            case Veth():
                self._make_veth(link)
            case _:
                self._uplinks.make(link)

    async def change(self, link: LinkObject, differing: frozenset[str]) -> None:
        """Give an existing link the values of its `differing` fields.

        What cannot change, such as the parent of a link, makes it anew.
        """
        match link:
            case Bridge() | Veth():
                self._change_own(link, differing)
            case _ if self._uplinks.must_be_made_anew(differing):
                await asyncio.to_thread(_remove_link, link.name)
                self._uplinks.make(link)
            case _:
                self._uplinks.change(link, differing)

    async def doom(self, name: str) -> None:
        """Mark a link for `remove_doomed`; one that is gone is passed over."""
        try:
            self._rtnl.set_link(rtnl.Link(name=name, group=_DOOMED_GROUP))
        except NetlinkError as error:
            if error.code not in _GONE:
                raise refused(f"mark link {name} for removal", error) from error

    async def remove_doomed(self) -> None:
        """Remove every marked link in one request, which costs one grace period for all.

        On a thread: the kernel carries requests out inside send(2), here for 20-40 ms.
        Source: Linux net/core/rtnetlink.c rtnl_group_dellink.
        """
        try:
            await asyncio.to_thread(_remove_group, _DOOMED_GROUP)
        except NetlinkError as error:
            if error.code not in _GONE:
                raise refused("remove the links in the group of the doomed", error) from error

    async def add_address(self, address: Address) -> None:
        """Add an address; one that is there already is fine."""
        self._ops.add_address(address.link, address.address)

    async def remove_address(self, address: Address) -> None:
        """Remove an address; one that is not there is fine."""
        index = index_of(address.link)
        if not index:
            return
        try:
            self._rtnl.remove_address(index, address.address)
        except NetlinkError as error:
            if error.code not in _GONE:
                raise refused(f"remove address {address.key}", error) from error

    def _change_own(self, link: Bridge | Veth, differing: frozenset[str]) -> None:
        if "mtu_bytes" in differing:
            self._ops.set(link.name, mtu=link.mtu_bytes)
        if "is_up" in differing:
            self._ops.set(link.name, is_up=link.is_up, alias=self._ops.alias)
        match link:
            case Bridge():
                self._change_bridge(link, differing)
            case Veth(bridge=bridge):
                if "bridge" in differing and bridge:
                    self._ops.set(link.name, master=self._own_bridge(bridge))
                if "is_guarded" in differing:
                    self._ops.set(link.name, group=_port_group(link))
                if switches := _port_switches(link, differing):
                    self._ops.set(link.name, **switches)

    def _make_bridge(self, bridge: Bridge) -> None:
        self._ops.add(
            rtnl.Link(
                name=bridge.name,
                kind="bridge",
                group=GROUP_BASE | (bridge.policy or LinkPolicy.NONE),
                address=bridge.mac,
                mtu=bridge.mtu_bytes,
            )
        )
        set_ipv6(bridge.name, is_on=bool(bridge.has_ipv6))
        if bridge.routes_localnet:
            _set_route_localnet(bridge.name, is_on=True)
        self._ops.set(bridge.name, is_up=True, alias=self._ops.alias)

    def _change_bridge(self, bridge: Bridge, differing: frozenset[str]) -> None:
        if "mac" in differing:
            self._ops.set(bridge.name, address=bridge.mac)
        if "policy" in differing and bridge.policy is not None:
            self._ops.set(bridge.name, group=GROUP_BASE | bridge.policy)
        if "has_ipv6" in differing:
            set_ipv6(bridge.name, is_on=bool(bridge.has_ipv6))
        if "routes_localnet" in differing:
            _set_route_localnet(bridge.name, is_on=bool(bridge.routes_localnet))

    def _make_veth(self, veth: Veth) -> None:
        self._ops.add(
            rtnl.Link(
                name=veth.name,
                kind="veth",
                group=_port_group(veth),
                mtu=veth.mtu_bytes,
                master=self._own_bridge(veth.bridge) if veth.bridge else None,
                peer=rtnl.Link(name=veth.peer, address=veth.peer_mac, mtu=veth.mtu_bytes),
            )
        )
        silence_ipv6(veth.name)
        asked = [name for name in _PORT_SWITCHES if getattr(veth, name)]
        self._ops.set(veth.name, is_up=True, alias=self._ops.alias, **_port_switches(veth, asked))

    def _own_bridge(self, name: str) -> int:
        """Return the index of a bridge of ours: a stranger may have taken its name."""
        found = self._ops.find(name)
        if found is None:
            raise KernelRefused(f"use link {name}", "there is no such link", errno.ENODEV)
        if isinstance(self._read(found), Foreign):
            raise Conflict(f"link {name}", "exists and is not pynet's", "remove or rename it")
        return found.index

    def _read(self, link: rtnl.Link) -> LinkObject | Foreign | None:
        name, group = link.name or "", link.group or 0
        if group == _DOOMED_GROUP:
            return None
        is_of_group = group & GROUP_MASK == GROUP_BASE and self._ops.is_ours(link.alias)
        policy = LinkPolicy(group & ~GROUP_MASK) if is_of_group else LinkPolicy.NONE
        if is_of_group and link.kind == "bridge":
            return Bridge(
                name=name,
                mac=link.address,
                mtu_bytes=link.mtu,
                policy=policy,
                has_ipv6=link.has_ipv6,
                routes_localnet=link.routes_localnet,
                is_up=link.is_up,
            )
        if is_of_group and link.kind == "veth" and policy & LinkPolicy.PORT:
            return Veth(
                name=name,
                mtu_bytes=link.mtu,
                bridge=name_of(link.master),
                is_isolated=bool(link.is_isolated),
                is_hairpin=bool(link.is_hairpin),
                is_guarded=bool(policy & LinkPolicy.GUARDED),
                is_up=link.is_up,
            )
        found = self._uplinks.read(link, policy) if is_of_group else self._uplinks.vlan(link)
        kind = link.kind or "physical"
        return found or Foreign(key=Key("link", name), description=f"a {kind} link")


def _remove_group(group: int) -> None:
    with IPRoute() as ip:
        ip.link("del", group=group)


def _remove_link(name: str) -> None:
    """Remove one link at once, by a socket of this thread's own."""
    requests = rtnl.Rtnl()
    requests.open()
    try:
        requests.remove_link(name)
    except NetlinkError as error:
        if error.code not in _GONE:
            raise refused(f"remove link {name}", error) from error
    finally:
        requests.close()


def _set_route_localnet(link: str, *, is_on: bool) -> None:
    switches.write(_route_localnet(link), "1" if is_on else "0")


def _route_localnet(link: str) -> str:
    return f"net/ipv4/conf/{link}/route_localnet"


def _port_group(veth: Veth) -> int:
    return GROUP_BASE | LinkPolicy.PORT | (LinkPolicy.GUARDED if veth.is_guarded else 0)


def _port_switches(veth: Veth, differing: Collection[str]) -> dict[str, bool]:
    """Return the switches of a bridge port to set: those that differ, on another bridge all."""
    names = [n for n in _PORT_SWITCHES if n in differing or "bridge" in differing]
    return {n: bool(getattr(veth, n)) for n in names if getattr(veth, n) is not None}
