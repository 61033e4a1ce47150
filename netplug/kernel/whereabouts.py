"""Who has an address: the sandboxes that it is in, and who answers for it on a link of the host's.

Source: linux/neighbour.h; Linux net/core/neighbour.c, neigh_add: with NTF_USE the kernel looks for
a neighbour as if a packet for it were waiting, and sends nothing else.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType

from pyroute2.netlink.exceptions import NetlinkError

from netplug.contract.kernel import SandboxFacts
from netplug.errors import KernelRefused
from netplug.kernel import netns, rtnl
from netplug.kernel.linkops import index_of, name_of, refused
from netplug.kernel.links import Links
from netplug.kernel.namespaces import is_namespace
from netplug.kernel.nlattr import attribute
from netplug.kernel.sandbox import is_own_namespace
from netplug.model import IPAddress, IPInterface

# Where dockerd mounts its namespaces, and `ip netns` those that have a name.
_FOLDERS = ("/var/run/docker/netns", "/run/netns")
_PROC = "/proc"

_RTM_NEWNEIGH, _RTM_DELNEIGH, _RTM_GETNEIGH = 28, 29, 30
_NDA_DST, _NTF_USE, _NUD_NONE, _NUD_REACHABLE = 1, 0x01, 0x00, 0x02
_NEIGHBOUR = struct.Struct("=BxHiHBB")  # struct ndmsg: family, padding, index, state, flags, type
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.EINVAL})  # EINVAL: the link has no neighbours

_PATIENCE_S = 1.0  # a bridge answers within a millisecond, a busy host a little later
_POLL_S = 0.02
_AT_ONCE = 256  # the kernel keeps some 1000 neighbours before it forgets others


async def sandboxes(known: Collection[str]) -> Mapping[str, SandboxFacts]:
    """Return what is in the namespaces of these paths, and in those that lie beside them."""
    paths, inhabited = await asyncio.to_thread(_survey, known)
    found = {}
    for path, number in paths.items():
        with suppress(KernelRefused):  # it went away meanwhile
            addresses = await netns.inside(path, _addresses)
            found[path] = SandboxFacts(addresses, is_inhabited=number in inhabited)
    return MappingProxyType(found)


class Neighbours:
    """Asks who has an address; `links` knows the way to it."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def answering(self, addresses: Collection[IPAddress]) -> Mapping[IPAddress, str]:
        """Return which addresses somebody has, and the link on which the host finds them."""
        with _requests() as requests:
            own = {address.ip: name_of(index) for index, address in _listed(requests)}
            found = {a: own[a] for a in addresses if a in own}
            others = [a for a in addresses if a not in own]
            for start in range(0, len(others), _AT_ONCE):
                batch = others[start : start + _AT_ONCE]
                ways = {a: link for a in batch if (link := await self._links.on_link(a))}
                found |= await _answers(requests, ways)
        return MappingProxyType(found)


async def _answers(requests: rtnl.Rtnl, ways: Mapping[IPAddress, str]) -> dict[IPAddress, str]:
    waiting = dict(ways)
    for address, link in ways.items():
        _look_for(requests, address, index_of(link))
    found: dict[IPAddress, str] = {}
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + _PATIENCE_S
    while waiting and loop.time() < deadline_s:
        for address, link in list(waiting.items()):
            if _is_reachable(requests, address, index_of(link)):
                found[address] = waiting.pop(address)
        await asyncio.sleep(_POLL_S if waiting else 0)
    return found


def _look_for(requests: rtnl.Rtnl, address: IPAddress, index: int) -> None:
    """Have the kernel look for a neighbour; what it knew of it may be an hour old."""
    if not index or _is_reachable(requests, address, index):
        return
    _ask(requests, _RTM_DELNEIGH, rtnl.NLM_F_ACK, _neighbour(address, index, 0))
    flags = rtnl.NLM_F_ACK | rtnl.NLM_F_CREATE
    _ask(requests, _RTM_NEWNEIGH, flags, _neighbour(address, index, _NTF_USE))


def _is_reachable(requests: rtnl.Rtnl, address: IPAddress, index: int) -> bool:
    body = _ask(requests, _RTM_GETNEIGH, 0, _neighbour(address, index, 0))
    return bool(body) and bool(_NEIGHBOUR.unpack_from(body)[3] & _NUD_REACHABLE)


def _ask(requests: rtnl.Rtnl, kind: int, flags: int, message: bytes) -> bytes:
    """Send a request about a neighbour; return nothing where there is none."""
    try:
        return requests.ask(kind, flags, message)
    except NetlinkError as error:
        if error.code in _GONE:
            return b""
        raise refused("ask for a neighbour", error) from error


def _neighbour(address: IPAddress, index: int, flags: int) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    head = _NEIGHBOUR.pack(family, 0, index, _NUD_NONE, flags, 0)
    return head + attribute(_NDA_DST, address.packed)


def _survey(known: Collection[str]) -> tuple[dict[str, int], set[int]]:
    """Return each namespace once, by the first of its paths, and those that a process is in."""
    paths: dict[int, str] = {}
    for path in _paths(known):
        if is_namespace(path) and not is_own_namespace(path):
            with suppress(OSError):
                paths.setdefault(os.stat(path).st_ino, path)
    inhabited = set()
    for entry in os.scandir(_PROC):
        if entry.name.isdecimal():
            with suppress(OSError):  # it has ended
                inhabited.add(os.stat(f"{_PROC}/{entry.name}/ns/net").st_ino)
    return {path: number for number, path in paths.items()}, inhabited


def _paths(known: Collection[str]) -> Iterator[str]:
    yield from known
    folders = {os.path.dirname(path) for path in known if not path.startswith(_PROC)}
    for folder in sorted(folders | set(_FOLDERS)):
        with suppress(OSError):
            yield from sorted(entry.path for entry in os.scandir(folder))


def _addresses() -> frozenset[IPAddress]:
    """Return the addresses of the namespace that the thread is in."""
    with _requests() as requests:
        found = (address.ip for _, address in _listed(requests))
        return frozenset(a for a in found if not (a.is_loopback or a.is_link_local))


def _listed(requests: rtnl.Rtnl) -> list[tuple[int, IPInterface]]:
    try:
        return requests.addresses()
    except NetlinkError as error:
        raise refused("list each address", error) from error


@contextmanager
def _requests() -> Iterator[rtnl.Rtnl]:
    requests = rtnl.Rtnl()
    requests.open()
    try:
        yield requests
    finally:
        requests.close()
