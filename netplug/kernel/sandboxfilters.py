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
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import ExitStack, aclosing, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from pyroute2.netlink.exceptions import NetlinkError

from netplug.errors import Conflict, KernelRefused, PynetError
from netplug.kernel import netns
from netplug.kernel.firewall import image, sandboxed
from netplug.kernel.firewall.glance import Generation
from netplug.kernel.firewall.image import Image
from netplug.kernel.firewall.netfilter import open_socket
from netplug.kernel.namespaces import Namespaces, is_namespace
from netplug.kernel.nlattr import U32, attribute
from netplug.kernel.rtnl import (
    IFLA_EXT_MASK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    RTEXT_FILTER_SKIP_STATS,
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
from netplug.kernel.sandboxforms import SandboxForms
from netplug.plan.objects import Key, SandboxFilter

log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_A_TIME = 8  # namespaces entered at a time, as in netplug.kernel.dnsplaces
_PATIENCE_S = 60.0  # from Join to the start of a container dockerd takes a second
_LINK_GROUP = 1  # linux/rtnetlink.h, RTMGRP_LINK
_BUFFER_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """What was put in place, and what it has to look like."""

    wish: SandboxFilter
    name: str
    index: int
    tables: tuple[Image, ...]
    generation: int | None = None
    """That of nftables when they were last looked at."""

    def is_of(self, link: Link) -> bool:
        """Return whether it is bound to that link under its present name."""
        return (link.name, link.index) == (self.name, self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a look into a namespace shows."""

    links: tuple[Link, ...]
    generation: int
    is_whole: bool


class SandboxFilters:
    """The filters of all sandboxes of an installation."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._namespaces = Namespaces()
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        self._known: dict[Key, SandboxFilter] = {}
        self._placed: dict[Key, _Placed] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        # one that nobody holds or awaits is gone
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._forms = SandboxForms()

    async def close(self) -> None:
        """Wait for nothing more; the filters stay."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._forms.close()
        self._namespaces.close()

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
        work = partial(_remove, wish.link)
        async with self._lock(wish.key):
            try:
                if is_namespace(wish.netns) and not is_own_namespace(wish.netns):
                    await self._inside(wish.netns, work, then=socket.socket.close)
            except (PynetError, OSError) as error:
                if is_namespace(wish.netns):
                    log.warning("filter not removed", extra=_about(wish, error))

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
        placed = self._placed.get(wish.key)
        seen = await self._inside(wish.netns, partial(_look, placed))
        if self._placed.get(wish.key) is not placed:  # it was put just now, or its link went
            return True
        link = next((one for one in seen.links if self._is_it(wish, one)), None)
        if link is None or (placed is None and _is_to_come(wish, link)):
            return True
        if placed is None or placed.wish != wish or not placed.is_of(link):
            return False
        if seen.is_whole:
            self._placed[wish.key] = replace(placed, generation=seen.generation)
        return seen.is_whole

    async def _follow(self, wish: SandboxFilter) -> None:
        """Put a filter in place, and say why if it cannot be."""
        try:
            if is_own_namespace(wish.netns):
                raise Conflict(f"namespace {wish.netns}", "is the host's own")
            async with self._lock(wish.key), asyncio.timeout(_PATIENCE_S):
                forms = await self._forms.of(wish)
                await self._namespaces.appears(wish.netns)
                await self._place_until_named(wish, forms)
        except TimeoutError:
            if wish.key not in self._placed:
                log.warning("nothing filtered", extra=_about(wish, "no such link came up"))
        except (PynetError, OSError) as error:
            if is_namespace(wish.netns):
                log.warning("nothing filtered", extra=_about(wish, error))

    async def _place_until_named(self, wish: SandboxFilter, forms: Collection[Image]) -> None:
        """Put a filter in place, and again whenever its link has changed its first name."""
        async with aclosing(self._links(wish)) as links:
            async for link in links:
                placed = self._placed.get(wish.key)
                if placed is None and _is_to_come(wish, link):
                    continue
                if placed is None or not placed.is_of(link):
                    placed = await self._place(wish, link, forms)
                if placed is not None and placed.name != wish.link:
                    return

    async def _place(
        self, wish: SandboxFilter, link: Link, forms: Collection[Image]
    ) -> _Placed | None:
        """Put a filter in place for a link; None if that just got another name, or went."""
        name, index = str(link.name), link.index
        tables = sandboxed.tables(forms, wish, name=name, index=index)
        try:
            work = partial(_install, wish.link, tables)
            await self._inside(wish.netns, work, then=socket.socket.close)
        except KernelRefused as error:
            if error.code == errno.ENOENT:  # the next message tells
                return None
            raise
        placed = _Placed(wish=wish, name=name, index=index, tables=tables)
        self._placed[wish.key] = placed
        return placed

    async def _links(self, wish: SandboxFilter) -> AsyncGenerator[Link]:
        """Yield the link of a filter as it is, and whenever it has changed."""
        opened = await self._inside(wish.netns, _open_watch, undo=socket.socket.close)
        loop = asyncio.get_running_loop()
        alias = self._alias(wish).encode()
        try:
            while True:
                try:
                    data = await loop.sock_recv(opened, _BUFFER_BYTES)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    _ask_for_links(opened)  # some of it was lost
                    continue
                for kind, _, _, body in messages(data):
                    if alias not in body or not self._is_it(wish, link := decode_link(body)):
                        continue
                    if kind == RTM_NEWLINK:
                        yield link
                    elif kind == RTM_DELLINK:
                        self._placed.pop(wish.key, None)
        finally:
            opened.close()

    async def _inside(
        self,
        path: str,
        work: Callable[[], T],
        *,
        then: Callable[[T], None] | None = None,
        undo: Callable[[T], None] | None = None,
    ) -> T:
        """Run `work` inside; who is cancelled meanwhile waits for it, and undoes it."""
        async with self._slots:
            entering = netns.inside(path, work, then=then)
            try:
                return await asyncio.shield(entering)
            except asyncio.CancelledError:
                with suppress(Exception):
                    done = await entering
                    if undo is not None:
                        undo(done)
                raise

    def _is_it(self, wish: SandboxFilter, link: Link) -> bool:
        return link.alias == self._alias(wish)

    def _alias(self, wish: SandboxFilter) -> str:
        return f"pynet {self._instance} {wish.link}"

    def _lock(self, key: Key) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

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


def _look(placed: _Placed | None) -> _Seen:
    """Return what there is in the thread's namespace; nothing is listed where nothing changed."""
    rtnl = Rtnl()
    with closing(Generation()) as numbers:
        try:
            numbers.open()
            rtnl.open()
            links, generation = rtnl.links(), numbers.number()
        except NetlinkError as error:
            raise KernelRefused("list links", str(error), error.code) from error
        finally:
            rtnl.close()
    is_whole = placed is not None and (placed.generation == generation or _are_there(placed.tables))
    return _Seen(links=tuple(links), generation=generation, is_whole=is_whole)


def _install(link: str, tables: tuple[Image, ...]) -> socket.socket:
    """Make the tables in the thread's namespace.

    Return a socket that is still to be closed: until what was deleted is free, that takes 10 ms.
    Source: Linux net/netfilter/nf_tables_api.c, nft_rcv_nl_event.
    """
    with ExitStack() as stack:
        opened = stack.enter_context(open_socket())
        image.put(opened, tables, instead_of=sandboxed.names(link))
        stack.pop_all()
    return opened


def _remove(link: str) -> socket.socket:
    """Remove what tables a link has in the thread's namespace; return the same."""
    with ExitStack() as stack:
        opened = stack.enter_context(open_socket())
        image.remove(opened, sandboxed.names(link))
        stack.pop_all()
    return opened


def _are_there(tables: tuple[Image, ...]) -> bool:
    """Return whether the tables of the thread's namespace are as they were made."""
    with closing(open_socket()) as opened:
        return all(image.read(opened, one.family, one.name) == one for one in tables)


def _open_watch() -> socket.socket:
    """Return a socket that hears of the links of the thread's namespace, and of each change.

    Who asks waits for whoever is changing a link, anywhere: not for the event loop.
    """
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
    opened = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        opened.bind((0, _LINK_GROUP))
        _ask_for_links(opened)
    except BaseException:
        opened.close()
        raise
    return opened


def _ask_for_links(opened: socket.socket) -> None:
    """Have the links that are there told like those that change."""
    wish = encode_link(Link()) + attribute(IFLA_EXT_MASK, U32.pack(RTEXT_FILTER_SKIP_STATS))
    opened.send(encode_message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, wish))


def _about(wish: SandboxFilter, reason: object) -> dict[str, str]:
    return {"link": wish.link, "netns": wish.netns, "reason": str(reason)}
