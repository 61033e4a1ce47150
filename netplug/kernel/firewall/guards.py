"""Spoof guards in the kernel: what is in the sets of the guard's table, and how it gets there."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from netplug.errors import KernelRefused, Unsupported
from netplug.kernel.firewall.guard import (
    SETS,
    TABLE,
    Element,
    add_text,
    change,
    elements,
    guard_of,
    install_text,
)
from netplug.kernel.firewall.nft import Nft
from netplug.plan.objects import Key, SpoofGuard

log = logging.getLogger(__name__)

_PROBE = "bridge pynet-probe"
_NOTHING: frozenset[Element] = frozenset()


class Guards:
    """The guard's table of one network namespace, changed one transaction an endpoint.

    `known` are the guards as the last acknowledged change or inventory left them.
    """

    def __init__(self, nft: Nft) -> None:
        self._nft = nft
        self._rules = ""
        self._present: dict[str, frozenset[Element]] = {}
        self._one_at_a_time = asyncio.Lock()  # a listing takes several answers
        self._is_supported: bool | None = None
        self.known: dict[Key, SpoofGuard] = {}

    async def is_supported(self) -> bool:
        """Return whether this kernel takes the table; it is tried once, under another name."""
        if self._is_supported is None:
            text = f"{install_text(_PROBE)}delete table {_PROBE}"
            try:
                await self._nft.run(text)
                self._is_supported = True
            except (KernelRefused, Unsupported) as error:
                log.warning("endpoints are not kept from spoofing", extra={"reason": str(error)})
                self._is_supported = False
        return self._is_supported

    async def install(self) -> None:
        """Make the table, or its rules anew; what guards stays. Without support, do nothing.

        Raises:
            KernelRefused: it is refused; what was there before the call stays.
        """
        if not await self.is_supported():
            return
        try:
            await self._nft.run(install_text())
        except KernelRefused:  # the sets of an earlier version may be of other types
            kept = {g.link: elements(g) for g in self.known.values() if g.mac}
            anew = f"add table {TABLE}\ndelete table {TABLE}\n{install_text()}"
            await self._nft.run(anew + add_text(frozenset().union(*kept.values())))
            self._present = kept
        self._rules = await self._listed_rules()

    async def remove(self) -> None:
        """Remove the table; one that is not there is passed over."""
        if await self.is_supported():
            await self._nft.run(f"add table {TABLE}\ndelete table {TABLE}")
        self._rules = ""
        self._present.clear()
        self.known.clear()

    async def is_whole(self) -> bool:
        """Return whether the table is as `install` left it."""
        if not await self.is_supported():
            return True
        return bool(self._rules) and self._rules == await self._listed_rules()

    async def is_present(self) -> bool:
        """Return whether there is a table of ours at all."""
        return await self.is_supported() and bool(await self._listed_rules())

    async def put(self, guard: SpoofGuard) -> None:
        """Let a port send what `guard` has, and nothing else.

        Raises:
            Unsupported: this kernel cannot guard.
            KernelRefused: there is no table.
        """
        if not await self.is_supported():
            raise Unsupported("the spoof guard", "this kernel filters no bridged packets by nft")
        wanted = elements(guard)
        async with self._one_at_a_time:
            before = self._present.get(guard.link, _NOTHING)
            try:
                await self._nft.change(change(before - wanted, wanted))
            except KernelRefused as error:
                if error.code != errno.ENOENT or not self._rules:
                    raise
                await self.install()  # somebody has just removed the table
                await self._nft.change(change(_NOTHING, wanted))
            self._present[guard.link] = wanted
            self.known[guard.key] = guard

    async def withdraw(self, guard: SpoofGuard) -> None:
        """Let a port send nothing; one that could not is fine."""
        if not await self.is_supported():
            return
        async with self._one_at_a_time:
            gone = self._present.get(guard.link, _NOTHING)
            if guard.mac:
                gone |= elements(guard)
            try:
                await self._nft.change(change(gone, ()))
            except KernelRefused as error:
                if error.code != errno.ENOENT:  # there is no table
                    raise
            self._present.pop(guard.link, None)
            self.known.pop(guard.key, None)

    async def inventory(self) -> frozenset[SpoofGuard]:
        """Return the guards, read afresh; one that is only partly there has no MAC.

        Raises:
            KernelRefused: the sets cannot be read.
        """
        by_link: dict[str, set[Element]] = {}
        is_supported = await self.is_supported()
        async with self._one_at_a_time:
            for name in SETS if is_supported else ():
                for element in await self._listed(name):
                    by_link.setdefault(element.link, set()).add(element)
            self._present = {link: frozenset(found) for link, found in by_link.items()}
            found = frozenset(guard_of(link, of_link) for link, of_link in self._present.items())
            self.known = {guard.key: guard for guard in found}
        return found

    async def _listed(self, name: str) -> Iterable[Element]:
        try:
            text = await self._nft.run(f"list set {TABLE} {name}", is_json=True)
        except KernelRefused as error:
            if error.code == errno.ENOENT:
                return ()
            raise
        return _parsed(name, text)

    async def _listed_rules(self) -> str:
        """Return our chains as nft shows them; empty if there is no table."""
        try:
            return await self._nft.run(f"list table {TABLE}", is_terse=True)
        except KernelRefused as error:
            if error.code == errno.ENOENT:
                return ""
            raise


def _parsed(name: str, text: str) -> Iterator[Element]:
    """Yield the elements in a list of libnftables-json(5)."""
    for entry in msgspec.json.decode(text)["nftables"]:
        raw: Any
        for raw in entry.get("set", {}).get("elem", ()):
            link, *value = raw["concat"] if isinstance(raw, dict) else [raw]
            yield Element(name, link, " . ".join(map(str, value)))
