"""Links and their addresses: bridges and veth pairs, looked up by name, made in one message each.

What a container's start and stop need goes through `rtnl`; lists of addresses, routes and removals
through pyroute2.

A veth pair is created by one netlink message that also puts it on its bridge, in its device group
and gives the other end its address and MTU. The alias takes a second message; a link with our
group and no alias is therefore ours as well (a crash came in between), and a link with our group
and another installation's alias is not.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Collection
from ipaddress import ip_interface
from typing import Any

from pyroute2 import AsyncIPRoute, IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netplug.errors import Conflict, KernelRefused
from netplug.kernel import rtnl, switches
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
_DOOMED_GROUP = GROUP_BASE | LinkPolicy.DOOMED

_OUR_KINDS = frozenset({"bridge", "veth"})
_RTM_F_FIB_MATCH = 0x2000  # linux/rtnetlink.h: return the route itself, not what it resolves to
_DEFAULT_ROUTE_PREFIXLEN = 1  # a VPN covers 0.0.0.0/0 by its two halves
_REACHED_DIRECTLY = frozenset({1, 2, 3})  # linux/rtnetlink.h: unicast, local, broadcast

LinkObject = Bridge | Veth


class Links:
    """The links of one network namespace, over two netlink sockets."""

    def __init__(self, instance: str) -> None:
        self._alias = f"pynet {instance}"
        self._ip = AsyncIPRoute(ext_ack=True)
        self._rtnl = rtnl.Rtnl()

    async def open(self) -> None:
        """Open the netlink sockets in the caller's network namespace."""
        self._rtnl.open()
        await self._ip.setup_endpoint()

    async def close(self) -> None:
        """Close the netlink sockets."""
        self._rtnl.close()
        self._ip.close()

    async def look(self, name: str) -> LinkObject | Foreign | None:
        """Return the link called `name`; `None` if there is none or it is on its way out."""
        try:
            found = self._rtnl.link(name)
        except NetlinkError as error:
            raise refused(f"look up link {name}", error) from error
        return self._read(found) if found else None

    async def all(self) -> list[LinkObject | Foreign]:
        """Return every bridge and veth; those that are not ours as `Foreign`."""
        try:
            found = self._rtnl.links()
        except NetlinkError as error:
            raise refused("list each link", error) from error
        bridges_and_veths = [link for link in found if link.kind in _OUR_KINDS]
        return [link for link in map(self._read, bridges_and_veths) if link is not None]

    async def addresses_of(self, links: Collection[str]) -> frozenset[Address]:
        """Return the addresses of `links` other than link-local IPv6; lists the whole table."""
        names = {index: name for name in links if (index := index_of(name))}
        if not names:
            return frozenset()
        found = set()
        match = {"index": next(iter(names))} if len(names) == 1 else {}
        async for message in self._dump("addr", **match):
            if (name := names.get(message["index"])) is None:
                continue
            local = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
            address = ip_interface(f"{local}/{message['prefixlen']}")
            if not address.ip.is_link_local:
                found.add(Address(link=name, address=address))
        return frozenset(found)

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

    async def change(self, link: LinkObject, differing: frozenset[str]) -> None:
        """Give an existing link the values of its `differing` fields."""
        if "mtu_bytes" in differing:
            self._set(link.name, mtu=link.mtu_bytes)
        if "is_up" in differing:
            self._set(link.name, is_up=link.is_up, alias=self._alias)
        match link:
            case Bridge():
                self._change_bridge(link, differing)
            case Veth(bridge=bridge, is_isolated=is_isolated):
                if "bridge" in differing and bridge:
                    self._set(link.name, master=self._own_bridge(bridge))
                if differing & {"bridge", "is_isolated"}:
                    self._set(link.name, is_isolated=bool(is_isolated))

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
        try:
            self._rtnl.add_address(self._index(address.link), address.address)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise refused(f"add address {address.key}", error) from error

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

    def _make_bridge(self, bridge: Bridge) -> None:
        self._add(
            rtnl.Link(
                name=bridge.name,
                kind="bridge",
                group=GROUP_BASE | (bridge.policy or LinkPolicy.NONE),
                address=bridge.mac,
                mtu=bridge.mtu_bytes,
            )
        )
        _set_ipv6(bridge.name, is_on=bool(bridge.has_ipv6))
        self._set(bridge.name, is_up=True, alias=self._alias)

    def _change_bridge(self, bridge: Bridge, differing: frozenset[str]) -> None:
        if "mac" in differing:
            self._set(bridge.name, address=bridge.mac)
        if "policy" in differing and bridge.policy is not None:
            self._set(bridge.name, group=GROUP_BASE | bridge.policy)
        if "has_ipv6" in differing:
            _set_ipv6(bridge.name, is_on=bool(bridge.has_ipv6))

    def _make_veth(self, veth: Veth) -> None:
        self._add(
            rtnl.Link(
                name=veth.name,
                kind="veth",
                group=GROUP_BASE | LinkPolicy.PORT,
                mtu=veth.mtu_bytes,
                master=self._own_bridge(veth.bridge) if veth.bridge else None,
                peer=rtnl.Link(name=veth.peer, address=veth.peer_mac, mtu=veth.mtu_bytes),
            )
        )
        _silence_ipv6(veth.name)
        isolation = {"is_isolated": True} if veth.is_isolated else {}
        self._set(veth.name, is_up=True, alias=self._alias, **isolation)

    def _own_bridge(self, name: str) -> int:
        """Return the index of a bridge of ours: a stranger may have taken its name."""
        found = self._rtnl.link(name)
        if found is None:
            raise KernelRefused(f"use link {name}", "there is no such link", errno.ENODEV)
        if isinstance(self._read(found), Foreign):
            raise Conflict(f"link {name}", "exists and is not pynet's", "remove or rename it")
        return found.index

    def _add(self, link: rtnl.Link) -> None:
        try:
            self._rtnl.add_link(link)
        except NetlinkError as error:
            raise refused(f"create {link.kind} {link.name}", error) from error

    def _set(self, name: str, **fields: Any) -> None:
        try:
            self._rtnl.set_link(rtnl.Link(name=name, **fields))
        except NetlinkError as error:
            what = ", ".join(f"{key} {value}" for key, value in fields.items())
            raise refused(f"set {what} on link {name}", error) from error

    async def _dump(self, what: str, **match: Any) -> AsyncIterator[Any]:
        try:
            async for message in await getattr(self._ip, what)("dump", **match):
                yield message
        except NetlinkError as error:
            raise refused(f"list each {what}", error) from error

    def _index(self, name: str) -> int:
        if index := index_of(name):
            return index
        raise KernelRefused(f"use link {name}", "there is no such link", errno.ENODEV)

    def _read(self, link: rtnl.Link) -> LinkObject | Foreign | None:
        name, group = link.name or "", link.group or 0
        if group == _DOOMED_GROUP:
            return None
        if group & GROUP_MASK != GROUP_BASE or not self._is_ours(link.alias):
            kind = link.kind or "physical"
            return Foreign(key=Key("link", name), description=f"a {kind} link")
        if link.kind == "bridge":
            return Bridge(
                name=name,
                mac=link.address,
                mtu_bytes=link.mtu,
                policy=LinkPolicy(group & ~GROUP_MASK),
                has_ipv6=switches.has_ipv6_on(name),
                is_up=link.is_up,
            )
        return Veth(
            name=name,
            mtu_bytes=link.mtu,
            bridge=name_of(link.master),
            is_isolated=bool(link.is_isolated),
            is_up=link.is_up,
        )

    def _is_ours(self, alias: str | None) -> bool:
        return alias is None or alias == self._alias


def index_of(name: str) -> int:
    """Return the index of a link of this namespace, 0 if there is none. One ioctl, no dump."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def name_of(index: int | None) -> str:
    """Return the name of a link of this namespace, empty if there is none."""
    try:
        return socket.if_indextoname(index) if index else ""
    except OSError:
        return ""


def refused(step: str, error: NetlinkError) -> KernelRefused:
    """Translate a netlink error; the kernel's own words where it gave any."""
    return KernelRefused(step, str(error.args[1] if len(error.args) > 1 else error), error.code)


def _remove_group(group: int) -> None:
    with IPRoute() as ip:
        ip.link("del", group=group)


def _set_ipv6(link: str, *, is_on: bool) -> None:
    if switches.read(f"net/ipv6/conf/{link}/disable_ipv6") is None:
        return
    switches.write(f"net/ipv6/conf/{link}/accept_ra", "0")
    switches.write(f"net/ipv6/conf/{link}/disable_ipv6", "0" if is_on else "1")


def _silence_ipv6(port: str) -> None:
    """Keep a bridge port from sending router solicitations and listener reports of its own."""
    name = f"net/ipv6/conf/{port}/disable_ipv6"
    if switches.read(name) == "0":
        switches.write(name, "1")
