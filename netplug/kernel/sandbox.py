"""The inside of a sandbox that pynet fills itself: move a link in, name it, address it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netplug.errors import Conflict, KernelRefused
from netplug.kernel import netns
from netplug.kernel.linkops import index_of, refused
from netplug.model import IPNetwork, StaticRoute
from netplug.plan.objects import SandboxLink

_RTPROT_STATIC = 4  # linux/rtnetlink.h
_RT_SCOPE_LINK = 253
_MAIN_TABLE = 254
_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.EINVAL})  # EINVAL: no namespace any more


async def fill(link: SandboxLink) -> None:
    """Move `link.peer` into the sandbox and configure it; finishes what an earlier try began.

    Routes come before gateways, and on-link ones first: the way to a gateway may be one of them.

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


async def empty(link: SandboxLink) -> None:
    """Remove a sublink of ours from the sandbox; what is not there any more is passed over."""
    if not os.path.exists(link.netns):  # noqa: ASYNC240 - procfs or nsfs, never a disk
        return
    if is_own_namespace(link.netns):
        return
    host_index = index_of(link.host_link)
    try:
        await netns.inside(link.netns, lambda: _remove(link, host_index))
    except KernelRefused as error:
        if error.code not in _GONE:
            raise


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
            index = _index(ip, link, host_index)
            if not index:
                what = "the other end" if link.sublink is None else "the sublink"
                raise KernelRefused(
                    f"configure {link.name} in {link.netns}",
                    f"{what} of {link.host_link} is not there",
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
            for route in sorted(link.routes, key=lambda route: route.next_hop is not None):
                _tolerate_existing(ip, "route", oif=index, **_route(route))
            for gateway in link.gateways:
                default = StaticRoute(destination=_default(gateway.version), next_hop=gateway)
                _tolerate_existing(ip, "route", oif=index, **_route(default))
        except NetlinkError as error:
            raise refused(f"configure {link.name} in {link.netns}", error) from error


def _tolerate_existing(ip: IPRoute, what: str, **attributes: object) -> None:
    try:
        getattr(ip, what)("add", **attributes)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise


def _route(route: StaticRoute) -> dict[str, Any]:
    """Return a route as pyroute2 takes it."""
    version = route.destination.version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    asked: dict[str, Any] = {
        "dst": str(route.destination),
        "family": family,
        "proto": _RTPROT_STATIC,
    }
    if route.destination == _default(4):
        asked["dst"] = "default"
    if route.next_hop is not None:
        asked["gateway"] = str(route.next_hop)
    elif version == 4:
        asked["scope"] = _RT_SCOPE_LINK
    return asked


def _default(version: int) -> IPNetwork:
    return ip_network("0.0.0.0/0" if version == 4 else "::/0")


def _index(ip: IPRoute, link: SandboxLink, host_index: int) -> int:
    """Return the index of the link of that name if it is ours, else 0.

    It is the other end of our veth, or the sublink of the parent that has the alias of ours. A
    namespace of the same name may be another one by now, with a link of the same name.
    """
    index = index_of(link.name)
    if not index or not host_index:
        return 0
    message = next(iter(ip.link("get", index=index)))
    info = message.get("IFLA_LINKINFO")
    kind = info.get("IFLA_INFO_KIND") if info else None
    if link.sublink is not None:
        named = (message.get("IFLA_IFALIAS") or "").rpartition(" ")[2]
        if (kind, named) != (link.sublink.kind, link.peer):
            return 0
    return index if message.get("IFLA_LINK") == host_index else 0


def _remove(link: SandboxLink, host_index: int) -> None:
    with IPRoute() as ip:
        try:
            if index := _index(ip, link, host_index):
                ip.link("del", index=index)
        except NetlinkError as error:
            raise refused(f"remove {link.name} from {link.netns}", error) from error


def _read(link: SandboxLink, host_index: int) -> SandboxLink | None:
    with IPRoute() as ip:
        index = _index(ip, link, host_index)
        if not index:
            return None
        message = next(iter(ip.link("get", index=index)))
        addresses = {
            ip_interface(f"{a.get('IFA_LOCAL') or a.get('IFA_ADDRESS')}/{a['prefixlen']}")
            for a in ip.addr("dump", index=index)
        }
        routes = {_found(r) for r in ip.route("dump", table=_MAIN_TABLE, oif=index)}
    return SandboxLink(
        host_link=link.host_link,
        peer=link.peer,
        netns=link.netns,
        name=link.name,
        mac=message.get("IFLA_ADDRESS"),
        addresses=tuple(a for a in link.addresses if a in addresses),
        routes=tuple(r for r in link.routes if r in routes),
        gateways=tuple(
            gateway
            for gateway in link.gateways
            if StaticRoute(destination=_default(gateway.version), next_hop=gateway) in routes
        ),
        sublink=link.sublink,
    )


def _found(message: Any) -> StaticRoute:
    """Return a route that pyroute2 read."""
    default = _default(4 if message["family"] == socket.AF_INET else 6)
    target = message.get("RTA_DST") or default.network_address
    gateway = message.get("RTA_GATEWAY")
    return StaticRoute(
        destination=ip_network(f"{target}/{message['dst_len']}"),
        next_hop=ip_address(gateway) if gateway else None,
    )
