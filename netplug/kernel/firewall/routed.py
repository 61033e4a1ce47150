"""Who reaches the endpoints that are routed to: what is in the sets, and how it gets there."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from netplug.errors import KernelRefused, Unsupported
from netplug.kernel.firewall.batch import (
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    Batch,
    interface_key,
    number_key,
    protocol_key,
)
from netplug.kernel.firewall.nft import Nft
from netplug.kernel.firewall.rules import IPV4, IPV6, Family
from netplug.kernel.firewall.tables import PAIRS, PORTS, SOURCES, TABLE, family_of, table_of
from netplug.kernel.firewall.translations import text_of
from netplug.model import Protocol
from netplug.plan.objects import Key, RoutedPair, RoutedPort, RoutedSource

Reachable = RoutedPair | RoutedPort | RoutedSource

_NFPROTO = {IPV4: NFPROTO_IPV4, IPV6: NFPROTO_IPV6}


@dataclass(frozen=True, slots=True)
class Range:
    """One element of a set as the kernel keeps it: all from `first` to `last`, part by part.

    In a set without intervals it is `first` alone.
    """

    set: str
    first: bytes
    last: bytes = b""


class Routed:
    """The sets of one network namespace, changed one transaction an object.

    `known` is what the last acknowledged change or inventory left in them. `install` makes our
    table of a family again; `lacking` says of which families there is none, and why.
    """

    def __init__(
        self,
        nft: Nft,
        install: Callable[[Family], Awaitable[None]],
        lacking: Mapping[Family, str],
    ) -> None:
        self._nft = nft
        self._install = install
        self._lacking = lacking
        self._one_at_a_time = asyncio.Lock()  # a listing takes several answers
        self.known: dict[Key, Reachable] = {}

    async def put(self, obj: Reachable) -> None:
        """Let packets through from now on; if somebody has just removed the table, make it again.

        Raises:
            Unsupported: this kernel has no nftables, or too old ones.
            KernelRefused: the ports overlap others of the endpoint, or anything else.
        """
        family = family_of_it(obj)
        if reason := self._lacking.get(family):
            raise Unsupported("routed endpoints", reason)
        async with self._one_at_a_time:
            try:
                await self._nft.change(_adding(obj))
            except KernelRefused as error:
                if error.code != errno.ENOENT:
                    raise
                await self._install(family)
                await self._nft.change(_adding(obj))
            self.known[obj.key] = obj

    async def withdraw(self, obj: Reachable) -> None:
        """Let new connections through no more; what was not let through is fine."""
        async with self._one_at_a_time:
            if family_of_it(obj) not in self._lacking:
                element = element_of(obj)
                batch = _batch(obj)
                batch.delete(element.set, element.first, element.last)
                try:
                    await self._nft.change(batch)
                except KernelRefused as error:
                    # there is no table; or what overlaps it is there, so that it is not
                    if error.code not in {errno.ENOENT, errno.EEXIST}:
                        raise
            self.known.pop(obj.key, None)

    async def inventory(self) -> frozenset[Reachable]:
        """Return what is let through, read afresh.

        Raises:
            KernelRefused: the sets cannot be read.
        """
        found: set[Reachable] = set()
        async with self._one_at_a_time:
            for family in (IPV4, IPV6):
                for name in (PAIRS, PORTS, SOURCES) if family not in self._lacking else ():
                    found.update(await self._listed(family, name))
            self.known = {obj.key: obj for obj in found}
        return frozenset(found)

    def forget(self, family: Family) -> None:
        """Forget what was known: the table of a family is gone."""
        kept = {key: obj for key, obj in self.known.items() if family_of_it(obj) is not family}
        self.known = kept

    async def _listed(self, family: Family, name: str) -> list[Reachable]:
        try:
            text = await self._nft.run(f"list set {table_of(family)} {name}", is_json=True)
        except KernelRefused as error:
            if error.code == errno.ENOENT:
                return []
            raise
        return list(parse_set(name, text))


def family_of_it(obj: Reachable) -> Family:
    """Return the family of a pair, of a port or of a source."""
    if isinstance(obj, RoutedPort | RoutedSource):
        return family_of(obj.address)
    return family_of(obj.destination.network_address)


def element_of(obj: Reachable) -> Range:
    """Return the one element that `obj` is."""
    if isinstance(obj, RoutedSource):
        return Range(SOURCES, interface_key(obj.link) + obj.address.packed)
    if isinstance(obj, RoutedPair):
        ends = (obj.source, obj.destination)
        first = b"".join([end.network_address.packed for end in ends])
        last = b"".join([end.broadcast_address.packed for end in ends])
        return Range(PAIRS, first, last)
    start = obj.address.packed + protocol_key(obj.protocol)
    return Range(
        PORTS,
        start + number_key(obj.first, 2),
        start + number_key(obj.first + obj.count - 1, 2),
    )


def parse_set(name: str, text: str) -> Iterator[Reachable]:
    """Yield what a set as `nft -j list set` prints it holds; see libnftables-json(5).

    What is no object of ours, such as a run of addresses, is passed over.
    """
    for entry in msgspec.json.decode(text)["nftables"]:
        raw: Any
        for raw in entry.get("set", {}).get("elem", ()):
            with suppress(ValueError):
                yield _READERS[name](*text_of(raw).split(" . "))


def _source(link: str, address: str) -> RoutedSource:
    return RoutedSource(link=link, address=ip_address(address))


def _pair(source: str, destination: str) -> RoutedPair:
    return RoutedPair(source=ip_network(source), destination=ip_network(destination))


def _port(address: str, protocol: str, run: str) -> RoutedPort:
    first, _, last = run.partition("-")
    return RoutedPort(
        protocol=Protocol(protocol),
        address=ip_address(address),
        first=int(first),
        count=int(last or first) - int(first) + 1,
    )


_READERS: Mapping[str, Callable[..., Reachable]] = {PAIRS: _pair, PORTS: _port, SOURCES: _source}


def _adding(obj: Reachable) -> Batch:
    element = element_of(obj)
    batch = _batch(obj)
    batch.add(element.set, element.first, element.last)
    return batch


def _batch(obj: Reachable) -> Batch:
    return Batch(_NFPROTO[family_of_it(obj)], TABLE)
