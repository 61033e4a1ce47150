"""What the links of the host are like, and which types of links its kernel has."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
import struct
from collections.abc import Collection
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError

from netplug.kernel import rtnl
from netplug.kernel.linkops import name_of, refused
from netplug.kernel.links import Links
from netplug.kernel.nlattr import U32, attribute
from netplug.model import LinkFacts, Parent

_SYS_LINKS = Path("/sys/class/net")
_SIOCGIWNAME = 0x8B01  # linux/wireless.h


class HostLinks:
    """Looks at links whosever they are."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._kinds: set[str] = set()

    def named(self, name: str) -> LinkFacts | None:
        """Return what the link of that name is like, if there is one."""
        return _facts(self._links.find(name))

    def find(self, parent: Parent) -> LinkFacts | None:
        """Return the link that `parent` describes, as `netplug.contract.kernel` has it."""
        named = self._links.find(parent.name)
        if named is not None and parent.mac in ("", named.address):
            return _facts(named)
        if parent.vlan_of or not parent.mac:  # a VLAN has the MAC of what it is on
            return None
        indexed = self._links.find(index=parent.index)
        if indexed is not None and indexed.address == parent.mac:
            return _facts(indexed)
        alike = [link for link in self._links.every() if link.address == parent.mac]
        return _facts(alike[0]) if len(alike) == 1 else None

    async def kinds(self, wished: Collection[str]) -> frozenset[str]:
        """Return which of these types of links the kernel has; it may load a module to tell."""
        if unknown := set(wished) - self._kinds:
            self._kinds |= await asyncio.to_thread(_tried, unknown)
        return frozenset(self._kinds & set(wished))


def _tried(kinds: Collection[str]) -> set[str]:
    """Return those kinds of which a link could be made.

    Each request asks for a link without queues, which is refused for every type that is known.
    Source: Linux net/core/rtnetlink.c rtnl_newlink, rtnl_create_link.
    """
    requests = rtnl.Rtnl()
    requests.open()
    try:
        return {kind for kind in kinds if _is_known(requests, kind)}
    finally:
        requests.close()


def _is_known(requests: rtnl.Rtnl, kind: str) -> bool:
    wish = rtnl.encode_link(rtnl.Link(kind=kind))
    wish += attribute(rtnl.IFLA_NUM_TX_QUEUES, U32.pack(0))
    flags = rtnl.NLM_F_ACK | rtnl.NLM_F_CREATE | rtnl.NLM_F_EXCL
    try:
        requests.ask(rtnl.RTM_NEWLINK, flags, wish)
    except NetlinkError as error:
        if error.code == errno.EPERM:
            raise refused(f"ask for links of type {kind}", error) from error
        return bool(error.code != errno.EOPNOTSUPP)
    return True


def _facts(link: rtnl.Link | None) -> LinkFacts | None:
    if link is None or link.name is None:
        return None
    return LinkFacts(
        name=link.name,
        index=link.index,
        mac=link.address or "",
        mtu_bytes=link.mtu or 0,
        kind=link.kind or "",
        master=name_of(link.master),
        is_loopback=link.is_loopback,
        is_wireless=_is_wireless(link.name, link.index),
        is_up=bool(link.is_up),
    )


def _is_wireless(name: str, index: int) -> bool:
    """Ask the driver as of old; newer ones tell in /sys, which may be another namespace's."""
    request = struct.pack("16s16x", name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCGIWNAME, request)
        except OSError:
            pass
        else:
            return True
    shown = _SYS_LINKS / name
    try:
        is_same = int((shown / "ifindex").read_text()) == index
    except (OSError, ValueError):
        return False
    return is_same and (shown / "phy80211").exists()
