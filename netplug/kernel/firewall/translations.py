"""Published ports in the kernel: what is in the maps of our tables, and how it gets there."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from netplug.contract.kernel import Translation
from netplug.errors import KernelRefused, Unsupported
from netplug.kernel.firewall.nft import Nft
from netplug.kernel.firewall.rules import IPV4, IPV6, Family
from netplug.kernel.firewall.tables import (
    MAPS,
    ROUTED,
    Element,
    elements,
    family_of,
    forward_of,
    install_text,
    table_of,
)
from netplug.plan.objects import Key, PortForward

log = logging.getLogger(__name__)

_Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Hits:
    """Packets, and their bytes, that opened a connection through an element."""

    packets: int = 0
    bytes: int = 0


class Translations:
    """The maps of one network namespace, changed one transaction a forward.

    `known` are the forwards as the last acknowledged change or inventory left them. `lost` is told
    of which family all elements of the table are gone. `filters_routed` tells whether tables are
    made with what decides who reaches routed endpoints; None until it is looked up what is there.
    """

    def __init__(self, nft: Nft, lost: Callable[[Family], None] = lambda _: None) -> None:
        self._nft = nft
        self._lost = lost
        self._rules: dict[Family, str] = {}
        self._one_at_a_time = asyncio.Lock()  # a listing takes several answers
        self.known: dict[Key, PortForward] = {}
        self.filters_routed: bool | None = None

    async def install(self, family: Family) -> None:
        """Make our table, or its rules anew; what is translated stays translated.

        Raises:
            KernelRefused, Unsupported: this kernel has no nftables, or too old ones.
        """
        table = table_of(family)
        anew = f"add table {table}\ndelete table {table}\n"  # an earlier version's may be otherwise
        routed = await self.finds_routed_filter()
        texts = [
            install_text(family, filters_routed=routed, guards_relay=guards)
            for guards in (True, False)
        ]
        for number, text in enumerate((*texts, *(anew + text for text in texts)), 1):
            try:
                await self._nft.run(text)
            except KernelRefused:
                if number == 2 * len(texts):
                    raise
                continue
            if text.startswith(anew):
                self._lose(family)
            if text.endswith(texts[1]):
                log.warning("internal networks are not kept from relayed ports: no nft_socket here")
            break
        self._rules[family] = await self._listed_rules(family)

    async def remove(self, family: Family) -> None:
        """Remove our table; one that is not there is passed over."""
        table = table_of(family)
        try:
            await self._nft.run(f"add table {table}\ndelete table {table}")
        finally:
            self.filters_routed = False
            self._rules.pop(family, None)
            self._lose(family)

    async def is_whole(self, family: Family) -> bool:
        """Return whether our table is as `install` left it."""
        rules = self._rules.get(family)
        return bool(rules) and rules == await self._listed_rules(family)

    async def finds_routed_filter(self) -> bool:
        """Return whether tables are made with what decides who reaches routed endpoints.

        At first that is as an earlier run left it: what it decides must not end with its daemon.
        """
        if self.filters_routed is None:
            self.filters_routed = bool(await self.deciding((IPV4, IPV6)))
        return self.filters_routed

    async def deciding(self, families: Iterable[Family]) -> frozenset[Family]:
        """Return those of `families` whose table decides who reaches routed endpoints."""
        return frozenset([f for f in families if _decides(await self._listed_rules(f))])

    def decides(self, family: Family) -> bool:
        """Return whether the table did so when `install` last read it back."""
        return _decides(self._rules.get(family, ""))

    async def is_present(self, family: Family) -> bool:
        """Return whether there is a table of ours at all; a kernel without nftables has none."""
        try:
            return bool(await self._listed_rules(family))
        except (KernelRefused, Unsupported):
            return False

    async def add(self, forward: PortForward) -> None:
        """Translate a port from now on, in place of what it was translated to before.

        If somebody has just removed the table, it is made again.
        """
        family = family_of(forward.address)
        lines = [f"add element {e.table} {e.map} {{ {e.text} }}" for e in elements(forward)]
        async with self._one_at_a_time:
            try:
                await self._nft.run("\n".join(lines))
            except KernelRefused as error:
                if error.code == errno.EEXIST:
                    await self._delete(elements(forward))
                elif error.code == errno.ENOENT and family in self._rules:
                    await self.install(family)
                else:
                    raise
                await self._nft.run("\n".join(lines))
            self.known[forward.key] = forward

    async def remove_forward(self, forward: PortForward) -> None:
        """Translate a port no more; one that was not is fine."""
        async with self._one_at_a_time:
            await self._delete(elements(forward))
            self.known.pop(forward.key, None)

    async def inventory(self, wanted: Collection[PortForward]) -> frozenset[PortForward]:
        """Return what is translated, read afresh: of what is wanted as it is, the rest by element.

        Raises:
            KernelRefused: the maps cannot be read.
        """
        async with self._one_at_a_time:
            found = await self._found(wanted)
            self.known = {forward.key: forward for forward in found}
        return frozenset(found)

    async def _found(self, wanted: Collection[PortForward]) -> set[PortForward]:
        present = {_place(e): e for e, _ in await self._listed()}
        found: set[PortForward] = set()
        claimed: set[_Place] = set()
        for wish in wanted:
            parts = list(elements(wish))
            seen = [present.get(_place(e)) for e in parts]
            claimed.update(_place(e) for e in parts)
            if seen == parts:
                found.add(wish)
            elif any(seen):
                found.add(replace(wish, to_port=0))  # partly there: to be made anew
        found.update(forward_of(e) for place, e in present.items() if place not in claimed)
        return found

    def _lose(self, family: Family) -> None:
        """Forget what was known of a family's table."""
        self.known = {
            key: forward
            for key, forward in self.known.items()
            if family_of(forward.address) is not family
        }
        self._lost(family)

    async def counted(self) -> Mapping[Key, Translation]:
        """Return each known forward with what its elements have counted."""
        listed = {_place(e): (e, hits) for e, hits in await self._listed()}
        return {
            key: _sum(listed[place] for e in elements(forward) if (place := _place(e)) in listed)
            for key, forward in self.known.items()
        }

    async def _delete(self, gone: Iterable[Element]) -> None:
        """Delete elements in one transaction; if one of them is missing, one by one."""
        lines = [f"delete element {e.table} {e.map} {{ {e.key} }}" for e in gone]
        try:
            await self._nft.run("\n".join(lines))
        except KernelRefused as error:
            if error.code != errno.ENOENT:
                raise
            if len(lines) > 1:
                for line in lines:
                    await self._delete_one(line)

    async def _delete_one(self, line: str) -> None:
        try:
            await self._nft.run(line)
        except KernelRefused as error:
            if error.code != errno.ENOENT:
                raise

    async def _listed(self) -> list[tuple[Element, Hits]]:
        found: list[tuple[Element, Hits]] = []
        for family in (IPV4, IPV6):
            for name in MAPS:
                found += await self._listed_map(table_of(family), name)
        return found

    async def _listed_map(self, table: str, name: str) -> list[tuple[Element, Hits]]:
        try:
            text = await self._nft.run(f"list map {table} {name}", is_json=True)
        except KernelRefused as error:
            if error.code == errno.ENOENT:
                return []
            raise
        return parse_map(table, name, text)

    async def _listed_rules(self, family: Family) -> str:
        """Return our chains as nft shows them, without counters; empty if there is no table."""
        try:
            return await self._nft.run(f"list table {table_of(family)}", is_terse=True)
        except KernelRefused as error:
            if error.code == errno.ENOENT:
                return ""
            raise


def _decides(listed: str) -> bool:
    return f"chain {ROUTED} {{" in listed


def _place(element: Element) -> _Place:
    return element.table, element.map, element.key


def _sum(listed: Iterable[tuple[Element, Hits]]) -> Translation:
    found = list(listed)
    return Translation(
        packets=sum(hits.packets for _, hits in found),
        bytes=sum(hits.bytes for _, hits in found),
        rules=tuple(f"{e.table} {e.map} {{ {e.text} }}" for e, _ in found),
    )


def parse_map(table: str, name: str, text: str) -> list[tuple[Element, Hits]]:
    """Return the elements of a map as `nft -j list map` prints it; see libnftables-json(5)."""
    maps = [entry["map"] for entry in msgspec.json.decode(text)["nftables"] if "map" in entry]
    return [_parsed(table, name, raw) for found in maps for raw in found.get("elem", ())]


def _parsed(table: str, name: str, raw: Any) -> tuple[Element, Hits]:
    """Read one element: a pair of key and value, the key with its counter."""
    key, value = raw
    counter: dict[str, int] = {}
    if "elem" in key:
        counter = key["elem"].get("counter") or {}
        key = key["elem"]["val"]
    element = Element(table, name, text_of(key), text_of(value))
    return element, Hits(counter.get("packets", 0), counter.get("bytes", 0))


def text_of(value: Any) -> str:
    """Return one element, or a part of it, as nft takes it; see libnftables-json(5)."""
    match value:
        case {"concat": parts}:
            return " . ".join(text_of(part) for part in parts)
        case {"range": [first, last]}:
            return f"{text_of(first)}-{text_of(last)}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case _:
            return str(value)
