"""Free slices of the ranges that automatic pools are cut from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ipam.pool import ends
from netplug.model import IPNetwork, PoolRange

Span = tuple[int, int]
"""The first address of a network, and the first behind it, as integers."""


def next_free(
    ranges: Sequence[PoolRange], obstacles: Iterable[IPNetwork], after: IPNetwork | None
) -> IPNetwork | None:
    """Return the first slice behind `after` that overlaps no obstacle, wrapping round once.

    `ranges` are of one family, and none is smaller than its slices; slices come in address order.
    Returns None when nothing is free; `after` itself comes last.
    """
    spans = _spans(obstacles, ranges[0].base)
    behind = ends(after)[1] + 1 if after else 0
    free = [_Slices(r, spans) for r in sorted(ranges, key=lambda r: int(r.base.network_address))]
    for minimum in dict.fromkeys((behind, 0)):
        for slices in free:
            for start in slices.starts(minimum):
                return type(slices.range.base)((start, slices.range.size))
    return None


def _spans(obstacles: Iterable[IPNetwork], like: IPNetwork) -> list[Span]:
    """Return the spans of those of the same family; there may be thousands."""
    lengths = [1 << (like.max_prefixlen - size) for size in range(like.max_prefixlen + 1)]
    found = []
    for obstacle in obstacles:
        if obstacle.version == like.version:
            first = int(obstacle.network_address)
            found.append((first, first + lengths[obstacle.prefixlen]))
    return found


class _Slices:
    """The free slices of one range, worked out when they are asked for.

    An obstacle no larger than a slice spoils that one slice, which makes thousands of pools a set
    to look into; the few larger ones are cut out of the range.
    """

    def __init__(self, wanted: PoolRange, obstacles: Sequence[Span]) -> None:
        self.range = wanted
        self._size = 1 << (wanted.base.max_prefixlen - wanted.size)
        self._obstacles = obstacles
        self._free: tuple[list[Span], set[int]] | None = None

    def starts(self, minimum: int) -> Iterator[int]:
        """Yield the first address of each free slice that begins at `minimum` or later."""
        if minimum > ends(self.range.base)[1]:
            return
        if self._free is None:
            self._free = self._work_out()
        spans, spoiled = self._free
        aligned = -(-minimum // self._size) * self._size
        for first, behind in spans:
            for start in range(max(first, aligned), behind, self._size):
                if start not in spoiled:
                    yield start

    def _work_out(self) -> tuple[list[Span], set[int]]:
        """Return the spans without large obstacles, and the starts of slices that small ones spoil.

        Both kinds are aligned to their size, so that a span is a multiple of a slice.
        """
        size, (first, last) = self._size, ends(self.range.base)
        large, spoiled = [], set()
        for start, end in self._obstacles:
            if end - start <= size:
                spoiled.add(start & -size)
            elif start <= last and end > first:
                large.append((start, end))
        spans = _without(large, self.range.base) if large else [(first, last + 1)]
        return spans, spoiled


def _without(obstacles: Iterable[Span], whole: IPNetwork) -> list[Span]:
    """Return what is left of a range."""
    # Costs 80 ms to import, and most hosts route nothing larger than a slice in the ranges.
    from netaddr import IPAddress, IPRange, IPSet

    taken = [
        IPRange(IPAddress(first, whole.version), IPAddress(behind - 1, whole.version))
        for first, behind in obstacles
    ]
    left = IPSet([str(whole)]) - IPSet(taken)
    return [(span.first, span.last + 1) for span in left.iter_ipranges()]
