"""Free slices of the ranges that automatic pools are cut from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from ipam.pool import overlaps
from netplug.model import IPNetwork


def next_free(
    ranges: Sequence[IPNetwork],
    prefixlen: int,
    obstacles: Iterable[IPNetwork],
    after: IPNetwork | None,
) -> IPNetwork | None:
    """Return the first slice behind `after` that overlaps no obstacle, wrapping round once.

    `ranges` are of one family, and none is smaller than a slice; slices come in address order.
    Returns None when nothing is free; `after` itself comes last.

    An obstacle no larger than a slice spoils that one slice, which makes thousands of pools a set
    to look into; the few larger ones are cut out of the ranges beforehand.
    """
    size = 1 << (ranges[0].max_prefixlen - prefixlen)
    spoiled: set[int] = set()
    large: list[IPNetwork] = []
    for obstacle in obstacles:
        if obstacle.version != ranges[0].version:
            continue
        if obstacle.prefixlen >= prefixlen:
            spoiled.add(int(obstacle.network_address) & -size)
        elif any(overlaps(obstacle, whole) for whole in ranges):
            large.append(obstacle)

    spans = _without(ranges, large) if large else _spans(ranges)
    behind = int(after.broadcast_address) + 1 if after else 0
    for start in chain(_starts(spans, size, behind), _starts(spans, size, 0)):
        if start not in spoiled:
            return type(ranges[0])((start, prefixlen))
    return None


def _spans(ranges: Iterable[IPNetwork]) -> list[tuple[int, int]]:
    return sorted((int(r.network_address), int(r.broadcast_address)) for r in ranges)


def _without(ranges: Iterable[IPNetwork], large: Iterable[IPNetwork]) -> list[tuple[int, int]]:
    # Costs 80 ms to import, and most hosts route nothing larger than a slice in the ranges.
    from netaddr import IPSet

    free = IPSet(map(str, ranges)) - IPSet(map(str, large))
    return [(span.first, span.last) for span in free.iter_ipranges()]


def _starts(spans: Iterable[tuple[int, int]], size: int, minimum: int) -> Iterator[int]:
    aligned = -(-minimum // size) * size
    for first, last in spans:
        yield from range(max(first, aligned), last + 1, size)
