"""The MTU of a link of ours inside a sandbox that somebody else configures."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from dataclasses import replace

from pyroute2.netlink.exceptions import NetlinkError

from netplug.errors import KernelRefused
from netplug.kernel import netns, rtnl
from netplug.kernel.linkops import refused
from netplug.plan.objects import Key, SandboxMtu

_RTMGRP_LINK = 1  # linux/rtnetlink.h
_BUFFER_BYTES = 64 * 1024


class SandboxMtus:
    """Looks them up and sets them, by the alias that a link keeps in its sandbox."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._seen: dict[Key, SandboxMtu] = {}
        self._changes: socket.socket | None = None
        self._of_links: dict[int, int] = {}

    def open(self) -> None:
        """Listen to changes of the links of the caller's network namespace."""
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._changes = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._changes.bind((0, _RTMGRP_LINK))
        requests = rtnl.Rtnl()
        requests.open()
        try:
            self._of_links = {link.index: link.mtu or 0 for link in requests.links()}
        finally:
            requests.close()

    def close(self) -> None:
        """Listen no more."""
        if self._changes is not None:
            self._changes.close()
            self._changes = None

    async def look(self, wish: SandboxMtu) -> SandboxMtu:
        """Return the MTU that there is; the wish itself where there is no such link."""
        if not os.path.exists(wish.netns):  # noqa: ASYNC240 - procfs or nsfs, never a disk
            return wish
        try:
            link = await netns.inside(wish.netns, lambda: self._find(wish))
        except KernelRefused:  # it went away meanwhile
            return wish
        if link is None or link.mtu is None:
            return wish
        found = replace(wish, mtu_bytes=link.mtu)
        self._seen[wish.key] = found
        return found

    async def put(self, wish: SandboxMtu) -> None:
        """Give the link its MTU; one that is not there is passed over.

        Raises:
            KernelRefused: the MTU is refused.
        """
        if not os.path.exists(wish.netns):  # noqa: ASYNC240 - procfs or nsfs, never a disk
            return
        await netns.inside(wish.netns, lambda: self._set(wish))
        self._seen.pop(wish.key, None)

    async def glance(self, wishes: Collection[SandboxMtu]) -> set[SandboxMtu]:
        """Return what `look` does of each, as it was seen before where that was as wished.

        Unless the MTU of a link of the host's has changed since: the kernel lowers that of the
        sublinks with their parent's, in whatever sandbox, and does not raise it again.
        Source: Linux drivers/net/macvlan.c macvlan_device_event.
        """
        wanted = {wish.key: wish for wish in wishes}
        if self._has_changed():
            self._seen.clear()
        self._seen = {key: seen for key, seen in self._seen.items() if key in wanted}
        return {
            wish if self._seen.get(key) == wish else await self.look(wish)
            for key, wish in wanted.items()
        }

    def _has_changed(self) -> bool:
        """Return whether the MTU of a link of the host's may be another than at the last call."""
        has_changed = False
        while self._changes is not None:
            try:
                data = self._changes.recv(_BUFFER_BYTES)
            except BlockingIOError:
                return has_changed
            except OSError:  # some of it was lost
                has_changed = True
                continue
            for kind, _, _, body in rtnl.messages(data):
                link = rtnl.decode_link(body)
                if kind == rtnl.RTM_DELLINK:
                    self._of_links.pop(link.index, None)
                elif link.mtu is not None:
                    has_changed |= self._of_links.get(link.index, link.mtu) != link.mtu
                    self._of_links[link.index] = link.mtu
        return has_changed

    def _find(self, wish: SandboxMtu) -> rtnl.Link | None:
        requests = rtnl.Rtnl()
        requests.open()
        try:
            alias = f"{self._alias} {wish.link}"
            return next((link for link in requests.links() if link.alias == alias), None)
        except NetlinkError as error:
            raise refused(f"list the links in {wish.netns}", error) from error
        finally:
            requests.close()

    def _set(self, wish: SandboxMtu) -> None:
        link = self._find(wish)
        if link is None:
            return
        requests = rtnl.Rtnl()
        requests.open()
        try:
            requests.set_link(rtnl.Link(name=link.name, mtu=wish.mtu_bytes))
        except NetlinkError as error:
            step = f"set mtu {wish.mtu_bytes} on {link.name} in {wish.netns}"
            raise refused(step, error) from error
        finally:
            requests.close()
