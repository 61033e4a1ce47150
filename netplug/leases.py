"""The leases of a pool: a value that is replaced, and cheap to replace.

    book = LeaseBook(pool.id)
    leased = book.put(lease)                     # book is as it was
    leased.next_free(first, last, spares_withheld=True)

A book is a radix tree in which every node has 64 places. Leaves stand for 64 addresses each, and a
branch for 64 runs of addresses of one size; where there would be only one child, there is no
branch. Each node knows which of its places are leased to the last address: that makes the look for
a free address a walk down, whatever is leased. A change makes the nodes of one such walk anew and
shares all others. A lease costs some 16 bytes and its owner's name; it is made when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import NewType

IPAddress = IPv4Address | IPv6Address

PoolId = NewType("PoolId", str)


class LeaseKind(StrEnum):
    """What an address is leased for; a static one is an address that the caller named."""

    DYNAMIC = "dynamic"
    STATIC = "static"
    GATEWAY = "gateway"
    AUX = "aux"
    RESERVED = "reserved"

    @property
    def is_for_endpoint(self) -> bool:
        """Return whether an endpoint has it, or is about to."""
        return self in (LeaseKind.DYNAMIC, LeaseKind.STATIC)


class Stickiness(StrEnum):
    """Whether whoever leases an address had it before: it was kept, there was none, or another.

    It is another where it could not be told in time who asked. Nothing is said while that is not
    known, of addresses that were asked for, and of pools that keep none.
    """

    NONE = ""
    KEPT = "kept"
    NEW = "new"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One address of a pool, taken; `created_at` is aware."""

    pool_id: PoolId
    address: IPAddress
    kind: LeaseKind = LeaseKind.DYNAMIC
    owner: str = ""
    sticky: Stickiness = Stickiness.NONE
    created_at: datetime


class LeaseBook(Mapping[IPAddress, Lease]):
    """The leases of one pool by address, in the order of addresses. Never changed.

    Addresses may be withheld besides, leased or not: while they are free, they are given out only
    when no other is left. Withheld addresses are no entries.
    """

    __slots__ = ("_counts", "_root", "_version", "pool_id")

    def __init__(self, pool_id: PoolId) -> None:
        """Begin without leases."""
        self.pool_id = pool_id
        self._version = 0
        self._root: _Node | None = None
        self._counts = _NO_COUNTS

    def put(self, lease: Lease) -> LeaseBook:
        """Return a book with `lease` in the place of whatever the address is leased for."""
        return self.changed([(lease.address, lease)])

    def drop(self, address: IPAddress) -> LeaseBook:
        """Return a book without that lease; itself if there is none."""
        return self.changed([(address, None)])

    def changed(
        self,
        changes: Sequence[tuple[IPAddress, Lease | None]],
        withheld: Iterable[IPAddress] = (),
    ) -> LeaseBook:
        """Return a book with many changes made at once, in their order; None drops.

        Then the addresses of `withheld` are withheld, too.

        Raises:
            ValueError: an address is of another family than those that are there.
        """
        edit, counts, version = _Edit(self._root), list(self._counts), self._version
        if len(changes) > 1:
            changes = sorted(changes, key=_number)  # leaf by leaf; those of one keep their order
        for address, lease in changes:
            if lease is not None:
                version = _same_family(address, version)
            elif address.version != version:
                continue
            number = int(address)
            leaf, place = edit.at(number), number & _LAST
            if leaf.full >> place & 1:
                counts[leaf.stamp(place) & _KIND] -= 1
            elif lease is None:
                continue
            if lease is None:
                edit.leaf = leaf.without(place)
            else:
                stamp = _stamp(lease)
                counts[stamp & _KIND] += 1
                edit.leaf = leaf.having(place, stamp, lease.owner)
        for address in withheld:
            version = _same_family(address, version)
            edit.withhold(edit.at(int(address)).withheld | 1 << (int(address) & _LAST))
        return self._having(edit.root(), counts, version)

    def withhold(self, addresses: Iterable[IPAddress]) -> LeaseBook:
        """Return a book in which these are withheld, too.

        Raises:
            ValueError: one is of another family than those that are there.
        """
        return self.changed((), addresses)

    def release_withheld(self, addresses: Iterable[IPAddress]) -> LeaseBook:
        """Return a book in which these are withheld no more; those that are not are passed over."""
        edit = _Edit(self._root)
        for address in addresses:
            if address.version == self._version:
                edit.withhold(edit.at(int(address)).withheld & ~(1 << (int(address) & _LAST)))
        return self._having(edit.root(), self._counts, self._version)

    def next_free(self, first: int, last: int, *, spares_withheld: bool) -> int | None:
        """Return the lowest address from `first` to `last` that is not leased, or None.

        With `spares_withheld`, it is not withheld either.
        """
        found = first if self._root is None else _free_from(self._root, first, spares_withheld)
        return found if found <= last else None

    def count(self, kind: LeaseKind) -> int:
        """Return how many leases are of that kind."""
        return self._counts[_KINDS.index(kind)]

    @property
    def is_blank(self) -> bool:
        """Return whether nothing is leased and nothing withheld."""
        return self._root is None

    def __getitem__(self, address: IPAddress) -> Lease:
        if (leaf := self._leaf_of(address)) is None:
            raise KeyError(address)
        return self._lease(leaf, int(address) & _LAST, address)

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, IPv4Address | IPv6Address):
            return False
        return self._leaf_of(address) is not None

    def __iter__(self) -> Iterator[IPAddress]:
        return (address for _, _, address in self._places())

    def __len__(self) -> int:
        return sum(self._counts)

    def __repr__(self) -> str:
        return f"LeaseBook({self.pool_id!r}, {len(self)} leases)"

    def values(self) -> ValuesView[Lease]:
        """Return the leases in the order of their addresses."""
        return _Leases(self)

    def _places(self) -> Iterator[tuple[_Leaf, int, IPAddress]]:
        make = IPv6Address if self._version == 6 else IPv4Address
        for leaf in _leaves(self._root):
            for place in _places_in(leaf.full):
                yield leaf, place, make(leaf.first + place)

    def _lease(self, leaf: _Leaf, place: int, address: IPAddress) -> Lease:
        stamp = leaf.stamp(place)
        return Lease(
            pool_id=self.pool_id,
            address=address,
            kind=_KINDS[stamp & _KIND],
            owner=leaf.owners[leaf.index(place)],
            sticky=_STICKINESSES[stamp >> _KIND_BITS & _STICKINESS],
            created_at=_EPOCH + (stamp >> _KIND_BITS + _STICKINESS_BITS) * _MICROSECOND,
        )

    def _leaf_of(self, address: IPAddress) -> _Leaf | None:
        """Return the leaf on which an address is leased."""
        if address.version != self._version:
            return None
        number = int(address)
        leaf = _leaf_at(self._root, number)
        return leaf if leaf is not None and leaf.full >> (number & _LAST) & 1 else None

    def _having(self, root: _Node | None, counts: Iterable[int], version: int) -> LeaseBook:
        if root is self._root:
            return self
        book = LeaseBook(self.pool_id)
        book._root = root
        book._counts = tuple(counts)
        book._version = 0 if root is None else version
        return book


class _Leases(ValuesView[Lease]):
    """All leases of a book, without a walk down for each."""

    _mapping: LeaseBook

    def __iter__(self) -> Iterator[Lease]:
        book = self._mapping
        return (book._lease(*place) for place in book._places())


_BITS = 6
_LAST = (1 << _BITS) - 1
_ALL = (1 << 64) - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KINDS = tuple(LeaseKind)
_KIND_BITS = 3
_KIND = (1 << _KIND_BITS) - 1
_STICKINESSES = tuple(Stickiness)
_STICKINESS_BITS = 2
_STICKINESS = (1 << _STICKINESS_BITS) - 1
_NO_COUNTS = (0,) * len(_KINDS)
_STAMP = Struct("<q")


def _number(change: tuple[IPAddress, Lease | None]) -> int:
    return int(change[0])


def _same_family(address: IPAddress, version: int) -> int:
    if address.version != (version or address.version):
        raise ValueError(f"{address} among leases of IPv{version}")
    return address.version


def _stamp(lease: Lease) -> int:
    """Return kind, stickiness and time in one number: until the year 9999 it has 63 bits."""
    since = (lease.created_at - _EPOCH) // _MICROSECOND
    said = since << _STICKINESS_BITS | _STICKINESSES.index(lease.sticky)
    return said << _KIND_BITS | _KINDS.index(lease.kind)


class _Leaf:
    """64 addresses from `first` on. `full` are the leased ones, `busy` the withheld ones too.

    `owners` and `stamps` are of the leased ones only, in order.
    """

    __slots__ = ("busy", "first", "full", "owners", "stamps", "withheld")
    shift = 0

    def __init__(
        self,
        first: int,
        full: int = 0,
        withheld: int = 0,
        owners: tuple[str, ...] = (),
        stamps: bytes = b"",
    ) -> None:
        self.first = first
        self.full = full
        self.withheld = withheld
        self.busy = full | withheld
        self.owners = owners
        self.stamps = stamps

    def index(self, place: int) -> int:
        return (self.full & (1 << place) - 1).bit_count()

    def stamp(self, place: int) -> int:
        (stamp,) = _STAMP.unpack_from(self.stamps, self.index(place) * _STAMP.size)
        return int(stamp)

    def having(self, place: int, stamp: int, owner: str) -> _Leaf:
        before, behind = self._around(place)
        return _Leaf(
            self.first,
            self.full | 1 << place,
            self.withheld,
            (*self.owners[:before], owner, *self.owners[behind:]),
            self.stamps[: before * _STAMP.size]
            + _STAMP.pack(stamp)
            + self.stamps[behind * _STAMP.size :],
        )

    def without(self, place: int) -> _Leaf:
        before, behind = self._around(place)
        return _Leaf(
            self.first,
            self.full & ~(1 << place),
            self.withheld,
            self.owners[:before] + self.owners[behind:],
            self.stamps[: before * _STAMP.size] + self.stamps[behind * _STAMP.size :],
        )

    def _around(self, place: int) -> tuple[int, int]:
        """Return where what belongs to a place ends and begins before and behind it."""
        index = self.index(place)
        return index, index + (self.full >> place & 1)


class _Branch:
    """64 runs of `1 << shift` addresses from `first` on. A child may begin behind its run's first.

    `present` are the runs with a child; `full` those leased to the last address, `busy` those
    leased or withheld.
    """

    __slots__ = ("busy", "children", "first", "full", "present", "shift")

    def __init__(
        self,
        first: int,
        shift: int,
        present: int = 0,
        full: int = 0,
        busy: int = 0,
        children: tuple[_Node, ...] = (),
    ) -> None:
        self.first = first
        self.shift = shift
        self.present = present
        self.full = full
        self.busy = busy
        self.children = children

    def child(self, place: int) -> _Node | None:
        bit = 1 << place
        if not self.present & bit:
            return None
        return self.children[(self.present & bit - 1).bit_count()]

    def having(self, child: _Node) -> _Branch:
        bit = 1 << (child.first - self.first >> self.shift)
        before = (self.present & bit - 1).bit_count()
        behind = before + 1 if self.present & bit else before
        full, busy = self.full & ~bit, self.busy & ~bit
        if child.busy == _ALL and child.shift + _BITS == self.shift:
            busy |= bit
            full |= bit if child.full == _ALL else 0
        return _Branch(
            self.first,
            self.shift,
            self.present | bit,
            full,
            busy,
            (*self.children[:before], child, *self.children[behind:]),
        )

    def without(self, place: int) -> _Node:
        """Return what is left without a child; the last child takes the branch's place."""
        bit = 1 << place
        before = (self.present & bit - 1).bit_count()
        children = self.children[:before] + self.children[before + 1 :]
        if len(children) == 1:
            return children[0]
        return _Branch(
            self.first,
            self.shift,
            self.present & ~bit,
            self.full & ~bit,
            self.busy & ~bit,
            children,
        )


_Node = _Leaf | _Branch


class _Edit:
    """Changes of a tree, leaf by leaf: what follows on the same leaf costs no walk."""

    __slots__ = ("_before", "_path", "_root", "leaf")

    def __init__(self, root: _Node | None) -> None:
        self._root = root
        self._path: list[_Branch] = []
        self.leaf = self._before = _NO_LEAF

    def at(self, number: int) -> _Leaf:
        """Go to the leaf of an address, and return it."""
        if number >> _BITS != self.leaf.first >> _BITS:
            self._root = self.root()
            self._path = []
            leaf = _leaf_at(self._root, number, self._path)
            self.leaf = self._before = leaf or _Leaf(number & ~_LAST)
        return self.leaf

    def withhold(self, withheld: int) -> None:
        """Let these be what is withheld on the leaf."""
        leaf = self.leaf
        if withheld != leaf.withheld:
            self.leaf = _Leaf(leaf.first, leaf.full, withheld, leaf.owners, leaf.stamps)

    def root(self) -> _Node | None:
        """Return the tree as it is now."""
        if self.leaf is self._before:
            return self._root
        if not self.leaf.busy or not self._before.busy:  # one comes or goes
            return _with_leaf(self._root, self.leaf)
        node: _Node = self.leaf
        for branch in reversed(self._path):
            node = branch.having(node)
        return node


_NO_LEAF = _Leaf(-1)


def _leaf_at(node: _Node | None, number: int, path: list[_Branch] | None = None) -> _Leaf | None:
    """Return the leaf that stands for an address, if there is one, and the `path` to it."""
    while node is not None and number >> node.shift + _BITS == node.first >> node.shift + _BITS:
        if isinstance(node, _Leaf):
            return node
        if path is not None:
            path.append(node)
        node = node.child(number - node.first >> node.shift)
    return None


def _with_leaf(node: _Node | None, leaf: _Leaf) -> _Node | None:
    """Return the tree with `leaf` in the place of the one before; without, if it is empty."""
    if node is None:
        return leaf if leaf.busy else None
    distance = leaf.first ^ node.first
    if distance >> node.shift + _BITS:
        return _joined(node, leaf, distance) if leaf.busy else node
    if isinstance(node, _Leaf):
        return leaf if leaf.busy else None
    place = leaf.first - node.first >> node.shift
    child = _with_leaf(node.child(place), leaf)
    if child is not None:
        return node.having(child)
    return node.without(place) if node.present >> place & 1 else node


def _joined(node: _Node, leaf: _Leaf, distance: int) -> _Branch:
    """Return the lowest branch that both fit in."""
    shift = (distance.bit_length() - 1) // _BITS * _BITS
    first = leaf.first >> shift + _BITS << shift + _BITS
    return _Branch(first, shift).having(node).having(leaf)


def _free_from(node: _Node, first: int, spares_withheld: bool) -> int:
    """Return the lowest free address not below `first`, which may lie behind the node.

    A place that is not taken may be taken from `first` on; then the next one that is not taken, of
    the lowest node on the way with such a place, has a free address.
    """
    way: list[tuple[_Node, int, int]] = []
    while True:
        shift = node.shift
        place = first - node.first >> shift
        if place < 0 or place > _LAST:
            return first
        free = ((node.busy if spares_withheld else node.full) ^ _ALL) >> place
        while not free & 1:
            if free:
                skip = (free & -free).bit_length() - 1
                place, free = place + skip, free >> skip
                first = node.first + (place << shift)
            else:
                behind = node.first + (1 << shift + _BITS)
                if not way:
                    return behind
                node, place, free = way.pop()
                shift, place, free = node.shift, place + 1, free >> 1
                first = node.first + (place << shift)
                if behind < first:  # the child did not reach to the end of its place
                    return behind
        child = node.child(place) if isinstance(node, _Branch) else None
        if child is None:
            return first
        way.append((node, place, free))
        node = child


def _leaves(node: _Node | None) -> Iterator[_Leaf]:
    waiting = [] if node is None else [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Leaf):
            yield node
        else:
            waiting.extend(reversed(node.children))


def _places_in(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
