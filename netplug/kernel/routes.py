"""Routes to endpoints, and the addresses that the host answers for: theirs, on its own network.

Both carry a protocol number of ours, by which lists are filtered and nothing of others is removed.
One is looked up by its address, without a list: of a route, the kernel is asked which one it would
take; of a proxied address, whether it has it.

Source: linux/rtnetlink.h, linux/neighbour.h; Linux net/ipv4/route.c inet_rtm_getroute,
net/core/neighbour.c.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from netplug.errors import Conflict
from netplug.kernel import rtnl
from netplug.kernel.announce import Announcer
from netplug.kernel.linkops import index_of, name_of, needed_index, refused
from netplug.kernel.nlattr import U32, attribute, attributes
from netplug.model import IPAddress, IPNetwork
from netplug.plan.objects import ProxyNeighbour, Route

T = TypeVar("T")

PROTOCOL = 89
"""Who made a route or a proxied address: us. No routing daemon has this number."""

_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_NEWNEIGH, _RTM_DELNEIGH, _RTM_GETNEIGH = 28, 29, 30
_RTA_DST, _RTA_OIF, _RTA_TABLE = 1, 4, 15
_RT_TABLE_MAIN, _RTN_UNICAST = 254, 1
_RTM_F_LOOKUP_TABLE, _RTM_F_FIB_MATCH = 0x1000, 0x2000
_SCOPE_UNIVERSE = 0  # a narrower one lets the host send from a link-local address
_NDA_DST, _NDA_LLADDR, _NDA_PROTOCOL, _NTF_PROXY = 1, 2, 12, 0x08
_NUD_STALE = 0x04

_ROUTE = struct.Struct("=BBBBBBBBI")
# struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
_NEIGHBOUR = struct.Struct("=BxHiHBB")  # struct ndmsg: family, padding, index, state, flags, type

_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})
_GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """A route as the kernel has it, of a table, on the link with that index."""

    destination: IPNetwork
    index: int
    table: int
    protocol: int


@dataclass(frozen=True, slots=True)
class FoundProxy:
    """An address that the kernel answers for on the link with that index."""

    address: IPAddress
    index: int
    protocol: int


class Routes:
    """Routes and proxied addresses of one network namespace."""

    def __init__(self, requests: rtnl.Rtnl) -> None:
        self._rtnl = requests
        self._routes = {family: rtnl.Memo(decode_route) for family in _FAMILIES}
        self._all_state: tuple[object, ...] = ()
        self._all: frozenset[Route] = frozenset()
        self._proxies = rtnl.Memo(decode_proxy)
        self._proxies_state: tuple[object, ...] = ()
        self._ours: frozenset[ProxyNeighbour] = frozenset()
        self._of_others: set[ProxyNeighbour] = set()
        self._announcer = Announcer()

    def close(self) -> None:
        """Close what is not the caller's."""
        self._announcer.close()

    def look(self, route: Route) -> Route | None:
        """Return the route if it is there and ours."""
        index = index_of(route.link)
        return route if index and self._is_there(route.destination, index) else None

    def add(self, route: Route) -> None:
        """Add a route; one of ours that is there already is fine.

        Raises:
            Conflict: the same destination is routed elsewhere, or by somebody else.
            KernelRefused: there is no such link, or it is down.
        """
        index = needed_index(route.link)
        flags = rtnl.NLM_F_ACK | rtnl.NLM_F_CREATE | rtnl.NLM_F_EXCL
        try:
            self._rtnl.ask(_RTM_NEWROUTE, flags, encode_route(route.destination, index))
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise refused(f"add {route.key}", error) from error
            if not self._is_listed(route.destination, index):
                raise self._conflict(route.destination) from error

    def remove(self, route: Route) -> None:
        """Remove a route of ours; one that is not there is fine."""
        index = index_of(route.link)
        if not index:
            return
        try:
            message = encode_route(route.destination, index)
            self._rtnl.ask(_RTM_DELROUTE, rtnl.NLM_F_ACK, message)
        except NetlinkError as error:
            if error.code not in _GONE:
                raise refused(f"remove {route.key}", error) from error

    def all(self, names: Mapping[int, str]) -> frozenset[Route]:
        """Return every route of ours on links of those names.

        The kernel leaves out the routes of others, from Linux 4.20 on.
        """
        found = [
            route
            for family, memo in self._routes.items()
            for route in self._dump(_RTM_GETROUTE, _routes_wanted(family), memo)
        ]
        state = (names, *(memo.changes for memo in self._routes.values()))
        if state != self._all_state:
            self._all_state = state
            self._all = frozenset(
                Route(destination=r.destination, link=names[r.index])
                for r in found
                if (r.table, r.protocol) == (_RT_TABLE_MAIN, PROTOCOL) and r.index in names
            )
        return self._all

    def look_proxy(self, proxy: ProxyNeighbour) -> ProxyNeighbour | None:
        """Return the proxied address if it is there, whoever added it."""
        return proxy if self._proxy(proxy) else None

    def add_proxy(self, proxy: ProxyNeighbour) -> None:
        """Answer for an address, and announce it: it may have been elsewhere until now.

        One that is answered for already stays as it is, whoever added it.

        Raises:
            KernelRefused: there is no such link.
        """
        index = needed_index(proxy.link)
        if self._proxy(proxy):
            return  # adding it again would take it from who added it
        flags = rtnl.NLM_F_ACK | rtnl.NLM_F_CREATE
        message = encode_proxy(proxy.address, index)
        message += attribute(_NDA_PROTOCOL, bytes([PROTOCOL]))
        try:
            self._rtnl.ask(_RTM_NEWNEIGH, flags, message)
        except NetlinkError as error:
            raise refused(f"add {proxy.key}", error) from error
        self._announcer.announce(proxy.address, proxy.link)

    def introduce(self, addresses: Collection[IPAddress], mac: str, link: str) -> None:
        """Tell the host which MAC neighbours on a link have, until it finds another.

        A stale entry is used at once, and asked after by the kernel 5 s later. One that the host
        was asking for in vain is answered.
        Source: Linux net/core/neighbour.c neigh_add, neigh_event_send.
        """
        index = index_of(link)
        flags = rtnl.NLM_F_ACK | rtnl.NLM_F_CREATE | rtnl.NLM_F_REPLACE
        hardware = attribute(_NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
        for address in addresses if index else ():
            head = _NEIGHBOUR.pack(_family(address), 0, index, _NUD_STALE, 0, 0)
            message = head + attribute(_NDA_DST, address.packed) + hardware
            with suppress(NetlinkError):  # IPv6 may be off there
                self._rtnl.ask(_RTM_NEWNEIGH, flags, message)

    def remove_proxy(self, proxy: ProxyNeighbour) -> None:
        """Answer no more for an address; that of somebody else is left as it is."""
        found = self._proxy(proxy)
        if found is None or found.protocol != PROTOCOL:
            return
        try:
            message = encode_proxy(proxy.address, found.index)
            self._rtnl.ask(_RTM_DELNEIGH, rtnl.NLM_F_ACK, message)
        except NetlinkError as error:
            if error.code not in _GONE:
                raise refused(f"remove {proxy.key}", error) from error

    def proxies(
        self, names: Mapping[int, str], wanted: Collection[ProxyNeighbour]
    ) -> frozenset[ProxyNeighbour]:
        """Return each proxied address of ours, and those of others that are among `wanted`."""
        message = _NEIGHBOUR.pack(socket.AF_UNSPEC, 0, 0, 0, _NTF_PROXY, 0)
        found = self._dump(_RTM_GETNEIGH, message, self._proxies)
        state = (names, self._proxies.changes)
        if state != self._proxies_state:
            self._proxies_state = state
            there = {
                ProxyNeighbour(address=p.address, link=names[p.index]): p.protocol
                for p in found
                if p.index in names
            }
            self._ours = frozenset(p for p, protocol in there.items() if protocol == PROTOCOL)
            self._of_others = there.keys() - self._ours
        if not self._of_others:
            return self._ours
        return self._ours | (self._of_others & set(wanted))

    def _is_there(self, destination: IPNetwork, index: int) -> bool:
        """Return whether that route is ours; lists only where the kernel asks another table first.

        That of a network is listed too: what is taken to its first address may be narrower.
        """
        found = self._match(destination)
        if found is None:
            return False
        if found.table == _RT_TABLE_MAIN and destination.num_addresses == 1:
            route = (found.destination, found.index, found.protocol)
            return route == (destination, index, PROTOCOL)
        return self._is_listed(destination, index)

    def _is_listed(self, destination: IPNetwork, index: int) -> bool:
        listed = self._listed(destination, index=index, protocol=PROTOCOL)
        return any(route.index == index for route in listed)

    def _match(self, destination: IPNetwork) -> FoundRoute | None:
        """Return the route that is taken to the first address of a network."""
        first = destination.network_address
        flags = _RTM_F_FIB_MATCH  # tell the route itself, and its table, which IPv6 always does
        if first.version == 4:
            flags |= _RTM_F_LOOKUP_TABLE
        message = _ROUTE.pack(*(_family(first), first.max_prefixlen, 0, 0, 0, 0, 0, 0, flags))
        try:
            body = self._rtnl.ask(_RTM_GETROUTE, 0, message + attribute(_RTA_DST, first.packed))
        except NetlinkError as error:
            if error.code in _NO_ROUTE:
                return None
            raise refused(f"look up the route to {destination}", error) from error
        return decode_route(body)

    def _listed(
        self, destination: IPNetwork, *, index: int = 0, protocol: int = 0
    ) -> list[FoundRoute]:
        """Return the routes of the main table to exactly that destination."""
        wish = _routes_wanted(_family(destination.network_address), protocol)
        if index:
            wish += attribute(_RTA_OIF, U32.pack(index))
        found = self._dump(_RTM_GETROUTE, wish, rtnl.Memo(decode_route))
        return [
            route
            for route in found
            if (route.destination, route.table) == (destination, _RT_TABLE_MAIN)
            and route.protocol == (protocol or route.protocol)
        ]

    def _conflict(self, destination: IPNetwork) -> Conflict:
        for route in self._listed(destination):
            where = name_of(route.index) or "another link"
            whose = "pynet's" if route.protocol == PROTOCOL else f"protocol {route.protocol}"
            return Conflict(f"route {destination}", f"exists, on {where} ({whose})", "remove it")
        return Conflict(f"route {destination}", "exists", "remove it")

    def _proxy(self, proxy: ProxyNeighbour) -> FoundProxy | None:
        index = index_of(proxy.link)
        if not index:
            return None
        try:
            body = self._rtnl.ask(_RTM_GETNEIGH, 0, encode_proxy(proxy.address, index))
        except NetlinkError as error:
            if error.code in _GONE:
                return None
            raise refused(f"look up {proxy.key}", error) from error
        return decode_proxy(body)

    def _dump(self, kind: int, wish: bytes, memo: rtnl.Memo[T]) -> list[T]:
        try:
            return self._rtnl.dump(kind, wish, memo)
        except NetlinkError as error:
            what = "route" if kind == _RTM_GETROUTE else "proxied address"
            raise refused(f"list each {what}", error) from error


def encode_route(destination: IPNetwork, index: int) -> bytes:
    """Return `struct rtmsg` and the attributes of a route of ours."""
    head = _ROUTE.pack(
        *(_family(destination.network_address), destination.prefixlen, 0, 0),
        *(_RT_TABLE_MAIN, PROTOCOL, _SCOPE_UNIVERSE, _RTN_UNICAST, 0),
    )
    packed = destination.network_address.packed
    return head + attribute(_RTA_DST, packed) + attribute(_RTA_OIF, U32.pack(index))


def decode_route(body: bytes) -> FoundRoute:
    """Return the route of an RTM_NEWROUTE message."""
    family, length, _, _, table, protocol, _, _, _ = _ROUTE.unpack_from(body)
    found = dict(attributes(body[_ROUTE.size :]))
    size = 4 if family == socket.AF_INET else 16
    link, whole = found.get(_RTA_OIF), found.get(_RTA_TABLE)
    return FoundRoute(
        destination=ip_network((found.get(_RTA_DST, bytes(size)), length)),
        index=U32.unpack(link)[0] if link else 0,
        table=U32.unpack(whole)[0] if whole else table,
        protocol=protocol,
    )


def encode_proxy(address: IPAddress, index: int) -> bytes:
    """Return `struct ndmsg` and the address of a proxied address."""
    head = _NEIGHBOUR.pack(_family(address), 0, index, 0, _NTF_PROXY, 0)
    return head + attribute(_NDA_DST, address.packed)


def decode_proxy(body: bytes) -> FoundProxy:
    """Return the proxied address of an RTM_NEWNEIGH message."""
    _, _, index, _, _, _ = _NEIGHBOUR.unpack_from(body)
    found = dict(attributes(body[_NEIGHBOUR.size :]))
    return FoundProxy(
        address=ip_address(found[_NDA_DST]),
        index=index,
        protocol=found.get(_NDA_PROTOCOL, b"\0")[0],
    )


def _routes_wanted(family: int, protocol: int = PROTOCOL) -> bytes:
    return _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, protocol, 0, 0, 0)


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
