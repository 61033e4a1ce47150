"""Who keeps which address of a pool while not running: a value that is replaced, as `leases` are.

    book = StickyBook().changed({sticky.address: sticky})
    book.of("web", "shop/www/1")                 # what a name or a replica of a service has

Each address is kept for one at the most, and so is each name and each replica; whoever changes a
book sees to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from netplug.leases import IPAddress, PoolId

# What is on top is copied at each change, all of it when there is too much: together that is
# cheapest where this many times the square root is on top.
_TOP = 4**2

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sticky:
    """An address that is kept for a container's name and for a replica of a Compose service.

    `service` is "PROJECT/SERVICE/NUMBER", or empty. `held_at` is when the address was last known
    to be leased to them.
    """

    pool_id: PoolId
    name: str
    service: str = ""
    address: IPAddress
    held_at: datetime

    def is_of(self, name: str, service: str) -> bool:
        """Return whether it is kept for that name, or for that replica."""
        return self.name == name or (bool(service) and self.service == service)


class StickyBook:
    """What is kept of one pool. Never changed; a change costs the root of the number of entries."""

    __slots__ = ("_by_address", "_by_name", "_by_service")

    def __init__(self) -> None:
        """Begin without entries."""
        self._by_address: _Layered[IPAddress, Sticky] = _Layered()
        self._by_name: _Layered[str, IPAddress] = _Layered()
        self._by_service: _Layered[str, IPAddress] = _Layered()

    def changed(self, changes: Mapping[IPAddress, Sticky | None]) -> StickyBook:
        """Return a book with many changes made at once; None drops."""
        book = StickyBook()
        book._by_address = self._by_address.changed(changes)
        book._by_name = self._renamed(self._by_name, changes, lambda sticky: sticky.name)
        book._by_service = self._renamed(self._by_service, changes, lambda sticky: sticky.service)
        return book

    def get(self, address: IPAddress) -> Sticky | None:
        """Return for whom an address is kept."""
        return self._by_address.get(address)

    def of(self, name: str, service: str) -> tuple[Sticky, ...]:
        """Return what is kept for a replica and for a name, that of the replica first."""
        addresses = (
            self._by_service.get(service) if service else None,
            self._by_name.get(name) if name else None,
        )
        found = (self._by_address.get(address) for address in addresses if address is not None)
        return tuple(dict.fromkeys(sticky for sticky in found if sticky is not None))

    def __iter__(self) -> Iterator[Sticky]:
        return iter(self._by_address)

    def __contains__(self, address: IPAddress) -> bool:
        return self.get(address) is not None

    def __len__(self) -> int:
        return len(self._by_address)

    def _renamed(
        self,
        known: _Layered[str, IPAddress],
        changes: Mapping[IPAddress, Sticky | None],
        word: Callable[[Sticky], str],
    ) -> _Layered[str, IPAddress]:
        """Return an index by one word of each entry, after the same changes."""
        moved: dict[str, IPAddress | None] = {}
        for address in changes:
            before = self._by_address.get(address)
            if before is not None and known.get(word(before)) == address:
                moved[word(before)] = None
        for address, sticky in changes.items():
            if sticky is not None and word(sticky):
                moved[word(sticky)] = address
        return known.changed(moved)


class _Layered(Generic[_Key, _Value]):
    """A mapping that is replaced: a large one, shared by many, under the few latest changes."""

    __slots__ = ("_base", "_count", "_top")

    def __init__(self) -> None:
        self._base: dict[_Key, _Value] = {}
        self._top: dict[_Key, _Value | None] = {}
        self._count = 0

    def get(self, key: _Key) -> _Value | None:
        return self._top[key] if key in self._top else self._base.get(key)

    def changed(self, changes: Mapping[_Key, _Value | None]) -> _Layered[_Key, _Value]:
        """Return a mapping with these changes; None drops."""
        if not changes:
            return self
        new: _Layered[_Key, _Value] = _Layered()
        new._base, new._top = self._base, {**self._top, **changes}
        new._count = self._count
        for key, value in changes.items():
            new._count += (value is not None) - (self.get(key) is not None)
        if len(new._top) ** 2 > _TOP * len(new._base):
            merged = {**new._base, **new._top}
            new._base = {key: value for key, value in merged.items() if value is not None}
            new._top = {}
        return new

    def __iter__(self) -> Iterator[_Value]:
        yield from (value for key, value in self._base.items() if key not in self._top)
        yield from (value for value in self._top.values() if value is not None)

    def __len__(self) -> int:
        return self._count
