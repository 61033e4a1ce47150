"""What the host reaches beside our networks: routes, their routers, its addresses, its resolvers.

Routes are those of every table, as a VPN may have its own (Tailscale: 52), and only those that lead
somewhere. Both lists are dumps, so that they cost a few milliseconds beside thousands of networks:
only what differs from last time is decoded, and links of ours are recognised before anything else.

Source: Linux net/ipv4/fib_frontend.c ip_valid_fib_dump_req, linux/rtnetlink.h, linux/if_addr.h.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import NamedTuple

from pyroute2.netlink.exceptions import NetlinkError

from netplug.kernel import rtnl
from netplug.kernel.linkops import name_of, refused
from netplug.kernel.nlattr import U32, attributes
from netplug.model import IPNetwork, Reached, Way

_OUR_LINKS = re.compile(r"py(-|[vh][0-9a-f]{12}\b)")
# systemd-resolved has itself in the first, and whom it asks in the second.
_RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))

_RTM_GETROUTE, _RTN_UNICAST, _RTM_F_CLONED = 26, 1, 0x200
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA = 1, 4, 5, 9, 18
_BEHIND_A_ROUTER = frozenset({_RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA})
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_ADDRESS_BYTES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
_NO_FAMILY = frozenset({errno.EOPNOTSUPP, errno.EAFNOSUPPORT})
_DEFAULTS = {4: 1, 6: 3}
"""Prefix lengths of default routes: a VPN covers them by halves, 2000::/3 is all that is global."""


class _Found(NamedTuple):
    """A route or an address as the kernel has it, on the link with that number."""

    link: int
    packed: bytes
    prefixlen: int
    way: Way
    router: bytes = b""


class Reach:
    """What the host of one network namespace reaches."""

    def __init__(self, requests: rtnl.Rtnl) -> None:
        self._rtnl = requests
        self._routes = {version: rtnl.Memo(_decode_route) for version in _FAMILIES}
        self._addresses = {version: rtnl.Memo(_decode_address) for version in _FAMILIES}
        self._ours: dict[int, frozenset[int]] = {}

    def of(self, versions: Iterable[int]) -> frozenset[Reached]:
        """Return what is reached of the families 4 and 6, but not on links that pynet names.

        Raises:
            KernelRefused: routes or addresses cannot be listed.
        """
        wanted = frozenset(versions)
        found = {reached for version in wanted for reached in self._listed(version)}
        found.update(r for r in _resolvers() if r.network.version in wanted)
        return frozenset(found)

    def _listed(self, version: int) -> Iterator[Reached]:
        family = _FAMILIES[version]
        routes = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, _RTN_UNICAST, 0)
        addresses = _ADDRESS.pack(family, 0, 0, 0, 0)
        found = self._dump(_RTM_GETROUTE, routes, self._routes[version])
        found += self._dump(rtnl.RTM_GETADDR, addresses, self._addresses[version])
        for index, packed, prefixlen, way, router in self._of_others(version, found):
            network = ip_network((packed, prefixlen))
            if prefixlen > _DEFAULTS[version] and not _is_everywhere(network):
                yield Reached(network=network, way=way, where=name_of(index))
            if router and not _is_everywhere(alone := ip_network(router)):
                yield Reached(network=alone, way=Way.ROUTER, where=name_of(index))

    def _of_others(self, version: int, found: list[_Found | None]) -> list[_Found]:
        """Return what is not on links of ours, each of which is asked for its name only once.

        A number that was not seen the last time may be another link's now.
        """
        known = self._ours.get(version, frozenset())
        others = [f for f in found if f is not None and f.link not in known]
        ours = {index for index in {f.link for f in others} if _OUR_LINKS.match(name_of(index))}
        self._ours[version] = frozenset(
            {f.link for f in found if f is not None and f.link in known} | ours
        )
        return [f for f in others if f.link not in ours]

    def _dump(self, kind: int, wish: bytes, memo: rtnl.Memo[_Found | None]) -> list[_Found | None]:
        try:
            return self._rtnl.dump(kind, wish, memo)
        except NetlinkError as error:
            if error.code in _NO_FAMILY:
                return []
            raise refused("list what the host reaches", error) from error


def _decode_route(body: bytes) -> _Found | None:
    family, length, _, _, _, _, _, kind, flags = _ROUTE.unpack_from(body)
    if kind != _RTN_UNICAST or flags & _RTM_F_CLONED:
        return None
    index, way, router = 0, Way.DIRECT, b""
    packed = bytes(_ADDRESS_BYTES.get(family, 0))  # a default route tells none
    for attribute, value in attributes(body[_ROUTE.size :]):
        if attribute == _RTA_DST:
            packed = value
        elif attribute == _RTA_OIF:
            (index,) = U32.unpack(value)
        elif attribute in _BEHIND_A_ROUTER:
            way = Way.GATEWAY
            router = value if attribute == _RTA_GATEWAY else b""
    return _Found(index, packed, length, way, router) if _is_of(family, packed) else None


def _decode_address(body: bytes) -> _Found | None:
    family, _, _, _, index = _ADDRESS.unpack_from(body)
    found = dict(attributes(body[_ADDRESS.size :]))
    packed = found.get(rtnl.IFA_LOCAL) or found.get(rtnl.IFA_ADDRESS, b"")
    return _Found(index, packed, 8 * len(packed), Way.ADDRESS) if _is_of(family, packed) else None


def _is_of(family: int, packed: bytes) -> bool:
    return len(packed) == _ADDRESS_BYTES.get(family)


def _is_everywhere(network: IPNetwork) -> bool:
    """Return whether each host, or each link, has that network for itself."""
    return network.is_loopback or network.is_multicast or network.is_link_local


def _resolvers() -> Iterator[Reached]:
    for path in _RESOLV_CONFS:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for words in map(str.split, lines):
            if len(words) < 2 or words[0] != "nameserver":
                continue
            try:
                network = ip_network(ip_address(words[1].partition("%")[0]))
            except ValueError:
                continue
            if not _is_everywhere(network):
                yield Reached(network=network, way=Way.RESOLVER, where=str(path))
