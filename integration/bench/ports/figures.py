"""What is measured of published ports, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from statistics import median

FLAT_GOAL = 1.1
"""How many times pynet's rate beside the most ports the one beside the fewest may be."""

RATE_GOAL = 1.0
"""How many times pynet's rate beside the fewest ports Docker's may be."""

PUBLISH_GOAL = 0.5
"""The most that pynet's time to publish a port may be of Docker's."""

START_GOAL = 0.95
"""The most that pynet's start of a container with a port may be of Docker's."""

RANGE_RULES_GOAL = 1
RANGE_MIB_GOAL = 5.0


class Way(StrEnum):
    """What publishes the port of a container, in the words of the report."""

    CONNECT = "network connect"
    START = "container start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Connections made within a moment to a port of a side, beside so many others."""

    side: str
    others: int
    per_second: float
    median_us: float
    p99_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The same done to a container without a port and, right before or after, to one with."""

    side: str
    others: int
    way: Way
    plain_ms: float
    published_ms: float

    @property
    def port_ms(self) -> float:
        """Return what the port cost; noise can make it negative."""
        return self.published_ms - self.plain_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The two calls to pynet that publish a port and take it back."""

    others: int
    publish_ms: float
    revoke_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """The rules that the first packet of a connection was held against, by chain."""

    side: str
    others: int
    chains: Mapping[str, int]

    @property
    def rules(self) -> int:
        return sum(self.chains.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeFigures:
    """A range of ports on pynet: what is there because of it, and the time that it took."""

    ports: int
    rules: int
    elements: int
    daemon_mib: float
    slab_mib: float
    publish_ms: tuple[float, ...]
    revoke_ms: tuple[float, ...]

    @property
    def mib(self) -> float:
        """Return the memory that the daemon and the kernel's slabs grew by."""
        return self.daemon_mib + self.slab_mib


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that so many percent of all do not exceed.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


def burst(side: str, others: int, per_second: float, took_us: Sequence[float]) -> Burst:
    """Sum up what a client told."""
    return Burst(
        side=side,
        others=others,
        per_second=per_second,
        median_us=median(took_us),
        p99_us=percentile(took_us, 99),
    )
