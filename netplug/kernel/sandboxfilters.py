"""Filters of macvlan and ipvlan links, in the sandboxes themselves: put, looked at, withdrawn.

    filters = SandboxFilters("0f3a")
    filters.put(SandboxFilter(link="pyp0123456789ab", netns="/run/docker/netns/1a2b", guards=True))

A link is known by its alias, since somebody else moves it in and renames it. From Linux 6.16 on an
egress hook follows the name and not the link, so that a link is watched until it has its name.
Before that, and while it is down, it sends nothing and is left alone: who is about to rename it and
set it up would wait for our transaction.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from netplug.errors import Conflict, KernelRefused, PynetError, Unsupported
from netplug.kernel import netns
from netplug.kernel.firewall import sandboxed, texts
from netplug.kernel.namespaces import Namespaces, is_namespace
from netplug.kernel.rtnl import (
    NLM_F_DUMP,
    NLM_F_REQUEST,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    Link,
    Rtnl,
    decode_link,
    encode_link,
    encode_message,
    messages,
)
from netplug.kernel.sandbox import is_own_namespace
from netplug.plan.objects import Key, SandboxFilter

log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_A_TIME = 8  # namespaces entered at a time, as in netplug.kernel.dnsplaces
_PATIENCE_S = 60.0  # from Join to the start of a container dockerd takes a second
_LINK_GROUP = 1  # linux/rtnetlink.h, RTMGRP_LINK
_BUFFER_BYTES = 32 * 1024
_SAMPLE = SandboxFilter(
    link="probe", netns="", mac="02:50:00:00:00:01", addresses=frozenset({ip_address("fe80::1")})
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """What was put in place, and what it looked like then."""

    wish: SandboxFilter
    name: str
    index: int
    generation: int
    listing: tuple[str, ...]

    def is_of(self, link: Link) -> bool:
        """Return whether it is bound to that link under its present name."""
        return (link.name, link.index) == (self.name, self.index)


class SandboxFilters:
    """The filters of all sandboxes of an installation."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._namespaces = Namespaces()
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        self._known: dict[Key, SandboxFilter] = {}
        self._placed: dict[Key, _Placed] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._locks: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._has_library = True
        self._guarding: asyncio.Task[bool] | None = None

    async def close(self) -> None:
        """Wait for nothing more; the filters stay."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._namespaces.close()

    async def is_guard_supported(self) -> bool:
        """Return whether this kernel filters what a sandbox sends: from Linux 5.16 on.

        It is tried once, in a namespace of its own.
        """
        if self._guarding is None:
            self._guarding = asyncio.create_task(self._probe())
        return await asyncio.shield(self._guarding)

    async def settle(self) -> None:
        """Wait until nothing is on its way any more: a minute, where a link does not come."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def known(self, key: Key) -> SandboxFilter | None:
        """Return the filter that was put under that key."""
        return self._known.get(key)

    def put(self, wish: SandboxFilter) -> None:
        """Put a filter in place as soon as its namespace and its link are there.

        One that is in place already is replaced in one transaction. What fails is logged, and
        missing in the next inventory.
        """
        self._forget(wish.key)
        self._known[wish.key] = wish
        task = asyncio.create_task(self._follow(wish), name=str(wish.key))
        self._tasks[wish.key] = task
        task.add_done_callback(partial(self._ended, wish.key))

    async def withdraw(self, wish: SandboxFilter) -> None:
        """Forget a filter, and remove its tables where the namespace is still there."""
        self._forget(wish.key)
        text = sandboxed.remove_text(wish.link, can_guard=await self.is_guard_supported())
        async with self._locks[wish.key]:
            try:
                if is_namespace(wish.netns) and not is_own_namespace(wish.netns):
                    await self._nft(wish.netns, text)
            except PynetError as error:
                if is_namespace(wish.netns):
                    log.warning("filter not removed", extra=_about(wish, error))
        self._locks.pop(wish.key, None)

    async def inventory(self, wanted: Collection[SandboxFilter]) -> set[SandboxFilter]:
        """Return those that are in place, and those whose namespace or link is not there.

        One that this process has not put is left out as soon as its namespace is there.
        """
        seen = await asyncio.gather(*map(self._is_as_wanted, wanted))
        return {wish for wish, is_there in zip(wanted, seen, strict=True) if is_there}

    async def _is_as_wanted(self, wish: SandboxFilter) -> bool:
        if not is_namespace(wish.netns) or is_own_namespace(wish.netns):
            return True
        if self._known.get(wish.key) != wish:
            return False
        if wish.key in self._tasks:  # it is on its way
            return True
        try:
            return await self._is_whole(wish)
        except (PynetError, OSError):
            return not is_namespace(wish.netns)  # it vanished

    async def _is_whole(self, wish: SandboxFilter) -> bool:
        link, generation = await self._look(wish)
        placed = self._placed.get(wish.key)
        if link is None or (placed is None and _is_to_come(wish, link)):
            return True
        if placed is None or placed.wish != wish or not placed.is_of(link):
            return False
        if placed.generation == generation:
            return True
        try:
            listing = await self._listed(wish)
        except KernelRefused as error:
            if error.code == errno.ENOENT:
                return False
            raise
        if self._placed.get(wish.key) is placed and listing == placed.listing:
            self._placed[wish.key] = replace(placed, generation=generation)
        return listing == placed.listing

    async def _follow(self, wish: SandboxFilter) -> None:
        """Put a filter in place, and say why if it cannot be."""
        try:
            if is_own_namespace(wish.netns):
                raise Conflict(f"namespace {wish.netns}", "is the host's own")
            async with self._locks[wish.key], asyncio.timeout(_PATIENCE_S):
                await self._namespaces.appears(wish.netns)
                await self._place_until_named(wish)
        except TimeoutError:
            if wish.key not in self._placed:
                log.warning("nothing filtered", extra=_about(wish, "no such link came up"))
        except (PynetError, OSError) as error:
            if is_namespace(wish.netns):
                log.warning("nothing filtered", extra=_about(wish, error))

    async def _place_until_named(self, wish: SandboxFilter) -> None:
        """Put a filter in place, and again whenever its link has changed its first name."""
        async with aclosing(self._links(wish)) as links:
            async for link in links:
                placed = self._placed.get(wish.key)
                if placed is None and _is_to_come(wish, link):
                    continue
                if placed is None or not placed.is_of(link):
                    placed = await self._place(wish, link)
                if placed is not None and placed.name != wish.link:
                    return

    async def _place(self, wish: SandboxFilter, link: Link) -> _Placed | None:
        """Put a filter in place for a link; None if that just got another name, or went."""
        can_guard = await self.is_guard_supported()
        name, index = str(link.name), link.index
        text = sandboxed.install_text(wish, name=name, index=index, can_guard=can_guard)
        listings = sandboxed.list_texts(wish, can_guard=can_guard)
        try:
            try:
                listing, generation = await self._nft(wish.netns, text, *listings)
            except KernelRefused as error:
                if error.code != errno.EEXIST:
                    raise
                text = sandboxed.remove_text(wish.link, can_guard=can_guard) + text
                listing, generation = await self._nft(wish.netns, text, *listings)
        except KernelRefused as error:
            if error.code == errno.ENOENT:  # the next message tells
                return None
            raise
        self._placed[wish.key] = placed = _Placed(
            wish=wish,
            name=name,
            index=index,
            generation=generation + 1,  # if it is another, somebody else changed something
            listing=_words(listing),
        )
        return placed

    async def _links(self, wish: SandboxFilter) -> AsyncGenerator[Link]:
        """Yield the link of a filter as it is, and whenever it has changed."""
        opened = await self._inside(wish.netns, _open_watch, undo=socket.socket.close)
        loop = asyncio.get_running_loop()
        try:
            _ask_for_links(opened)
            while True:
                try:
                    data = await loop.sock_recv(opened, _BUFFER_BYTES)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    _ask_for_links(opened)  # some of it was lost
                    continue
                for kind, _, _, body in messages(data):
                    if kind == RTM_NEWLINK and self._is_it(wish, link := decode_link(body)):
                        yield link
                    elif kind == RTM_DELLINK and self._is_it(wish, decode_link(body)):
                        self._placed.pop(wish.key, None)
        finally:
            opened.close()

    async def _look(self, wish: SandboxFilter) -> tuple[Link | None, int]:
        """Return the link of a filter, and how often nftables changed beside it."""
        links, generation = await self._inside(wish.netns, _glance)
        return next((one for one in links if self._is_it(wish, one)), None), generation

    async def _listed(self, wish: SandboxFilter) -> tuple[str, ...]:
        can_guard = await self.is_guard_supported()
        listings = sandboxed.list_texts(wish, can_guard=can_guard)
        listing, _ = await self._nft(wish.netns, *listings)
        return _words(listing)

    async def _nft(self, path: str, *commands: str) -> tuple[str, int]:
        """Run each text as a transaction; return what they print, and the generation before."""
        if self._has_library:
            try:
                return await self._inside(path, partial(texts.run, commands))
            except OSError:
                self._has_library = False
        generation = await self._inside(path, texts.generation)
        return await texts.fork(["nsenter", f"--net={path}"], commands), generation

    async def _probe(self) -> bool:
        sample = replace(_SAMPLE, guards=True)
        text = sandboxed.install_text(sample, name="lo", index=1, can_guard=True)
        try:
            try:
                await netns.apart(partial(texts.run, [text]))
            except OSError:
                self._has_library = False
                await texts.fork(["unshare", "--net"], [text])
        except (KernelRefused, Unsupported) as error:
            reason = {"reason": str(error)}
            log.warning("macvlan and ipvlan links are not kept from spoofing", extra=reason)
            return False
        return True

    async def _inside(
        self, path: str, work: Callable[[], T], undo: Callable[[T], None] | None = None
    ) -> T:
        """Run `work` inside; who is cancelled meanwhile waits for it, and undoes it."""
        async with self._slots:
            entering = asyncio.ensure_future(netns.inside(path, work))
            try:
                return await asyncio.shield(entering)
            except asyncio.CancelledError:
                with suppress(Exception):
                    done = await entering
                    if undo is not None:
                        undo(done)
                raise

    def _is_it(self, wish: SandboxFilter, link: Link) -> bool:
        return link.alias == f"pynet {self._instance} {wish.link}"

    def _forget(self, key: Key) -> None:
        if task := self._tasks.pop(key, None):
            task.cancel()
        self._known.pop(key, None)
        self._placed.pop(key, None)

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]


def _is_to_come(wish: SandboxFilter, link: Link) -> bool:
    """Return whether a link is down under its first name: just moved in, and not set up yet.

    Source: Linux net/packet/af_packet.c, packet_snd: what is down sends nothing.
    """
    return link.name == wish.link and not link.is_up


def _glance() -> tuple[list[Link], int]:
    """Return the links and the generation of nftables of the thread's namespace."""
    rtnl = Rtnl()
    try:
        rtnl.open()
        return rtnl.links(), texts.generation()
    except NetlinkError as error:
        raise KernelRefused("list links", str(error), error.code) from error
    finally:
        rtnl.close()


def _open_watch() -> socket.socket:
    """Return a socket that hears of each change of a link of the thread's namespace."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
    opened = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        opened.bind((0, _LINK_GROUP))
    except BaseException:
        opened.close()
        raise
    return opened


def _ask_for_links(opened: socket.socket) -> None:
    """Have the links that are there told like those that change."""
    opened.send(encode_message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, encode_link(Link())))


def _words(listing: str) -> tuple[str, ...]:
    """Return what is listed in an order of its own: the kernel's of a set may change."""
    return tuple(sorted(listing.replace(",", " ").split()))


def _about(wish: SandboxFilter, reason: object) -> dict[str, str]:
    return {"link": wish.link, "netns": wish.netns, "reason": str(reason)}
