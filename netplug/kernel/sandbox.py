"""The inside of a sandbox that pynet fills itself: move a link in, name it, address it."""

from __future__ import annotations

import asyncio
import errno
import os
from ipaddress import ip_address, ip_interface

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netplug.errors import Conflict, KernelRefused
from netplug.kernel import netns
from netplug.kernel.links import index_of, refused
from netplug.plan.objects import SandboxLink

_RTPROT_STATIC = 4  # linux/rtnetlink.h
_MAIN_TABLE = 254


async def fill(link: SandboxLink) -> None:
    """Move `link.peer` into the sandbox and configure it; finishes what an earlier try began.

    Raises:
        KernelRefused: the namespace or the link is missing, or an attribute is refused.
        Conflict: the sandbox has another link of that name, or is the host's own namespace.
    """
    if is_own_namespace(link.netns):
        raise Conflict(f"namespace {link.netns}", "is the host's own")
    index = index_of(link.peer)
    if index:
        if await netns.inside(link.netns, lambda: index_of(link.name)):
            raise Conflict(f"interface {link.name}", f"exists in {link.netns}", "name another")
        await asyncio.to_thread(_move, index, link)
    host_index = index_of(link.host_link)
    await netns.inside(link.netns, lambda: _configure(link, host_index))


async def look(link: SandboxLink) -> SandboxLink | None:
    """Return the link as it is in the sandbox; `None` if it or the sandbox is not there."""
    if not os.path.exists(link.netns):  # noqa: ASYNC240 - procfs or nsfs, never a disk
        return None
    if is_own_namespace(link.netns):
        return None
    host_index = index_of(link.host_link)
    return await netns.inside(link.netns, lambda: _read(link, host_index))


def is_own_namespace(path: str) -> bool:
    """Return whether `path` leads to the daemon's own network namespace."""
    try:
        return os.path.samefile(path, "/proc/self/ns/net")
    except OSError:
        return False


def _move(index: int, link: SandboxLink) -> None:
    try:
        with open(link.netns, "rb") as namespace, IPRoute() as ip:
            ip.link("set", index=index, net_ns_fd=namespace.fileno())
    except OSError as error:
        raise KernelRefused(
            f"enter the namespace {link.netns}", error.strerror or "unknown", error.errno or 0
        ) from error
    except NetlinkError as error:
        raise refused(f"move {link.peer} into {link.netns}", error) from error


def _configure(link: SandboxLink, host_index: int) -> None:
    with IPRoute() as ip:
        try:
            if index := index_of(link.peer):
                ip.link("set", index=index, ifname=link.name)
            index = _index_of_other_end(ip, link.name, host_index)
            if not index:
                raise KernelRefused(
                    f"configure {link.name} in {link.netns}",
                    f"the other end of {link.host_link} is not there",
                    errno.ENODEV,
                )
            ip.link("set", index=index, state="up", **({"address": link.mac} if link.mac else {}))
            loopback = index_of("lo")
            ip.link("set", index=loopback, state="up")
            for address in link.addresses:
                _tolerate_existing(
                    ip,
                    "addr",
                    index=index,
                    address=str(address.ip),
                    prefixlen=address.network.prefixlen,
                    **({"flags": 2} if address.version == 6 else {}),
                )
            for gateway in link.gateways:
                _tolerate_existing(
                    ip,
                    "route",
                    dst="default" if gateway.version == 4 else "::/0",
                    gateway=str(gateway),
                    oif=index,
                    proto=_RTPROT_STATIC,
                )
        except NetlinkError as error:
            raise refused(f"configure {link.name} in {link.netns}", error) from error


def _tolerate_existing(ip: IPRoute, what: str, **attributes: object) -> None:
    try:
        getattr(ip, what)("add", **attributes)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise


def _index_of_other_end(ip: IPRoute, name: str, host_index: int) -> int:
    """Return the index of the link called `name` if it is the other end of our veth, else 0.

    A namespace of the same name may be another one by now, with a link of the same name.
    """
    index = index_of(name)
    if not index:
        return 0
    message = next(iter(ip.link("get", index=index)))
    return index if message.get("IFLA_LINK") == host_index else 0


def _read(link: SandboxLink, host_index: int) -> SandboxLink | None:
    with IPRoute() as ip:
        index = _index_of_other_end(ip, link.name, host_index)
        if not index:
            return None
        message = next(iter(ip.link("get", index=index)))
        addresses = {
            ip_interface(f"{a.get('IFA_LOCAL') or a.get('IFA_ADDRESS')}/{a['prefixlen']}")
            for a in ip.addr("dump", index=index)
        }
        gateways = {
            ip_address(gateway)
            for route in ip.route("dump", table=_MAIN_TABLE, oif=index)
            if not route["dst_len"] and (gateway := route.get("RTA_GATEWAY"))
        }
    return SandboxLink(
        host_link=link.host_link,
        peer=link.peer,
        netns=link.netns,
        name=link.name,
        mac=message.get("IFLA_ADDRESS"),
        addresses=tuple(a for a in link.addresses if a in addresses),
        gateways=tuple(g for g in link.gateways if g in gateways),
    )
