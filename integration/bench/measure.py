"""What is made of the samples: medians, ratios, goals, and whose turn it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TypeVar

T = TypeVar("T")


class Operation(StrEnum):
    """What is timed, in the words of the report."""

    NETWORK_CREATE = "network create"
    NETWORK_RM = "network rm"
    NETWORK_RM_GONE = "network rm, links gone"
    CONNECT = "network connect"
    DISCONNECT = "network disconnect"
    DISCONNECT_GONE = "network disconnect, links gone"
    START = "container start"


RATIO_GOALS = {
    Operation.NETWORK_CREATE: 0.30,
    Operation.NETWORK_RM: 0.35,
    Operation.CONNECT: 1.0,
    Operation.DISCONNECT: 0.5,
    Operation.START: 1.0,
}
"""The most that pynet's median may be of Docker's."""

GROWTH_GOAL = 1.2
"""The most that a median at any size may be of the one at the smallest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One timing: of which side, beside how many other networks of that side."""

    size: int
    side: str
    operation: Operation
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A ratio, and the most or least that it should be; without a goal it is only told."""

    ratio: float
    goal: float | None = None
    is_least: bool = False

    @property
    def is_met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.is_least else self.ratio <= self.goal


def values(samples: Sequence[Sample], side: str, operation: Operation, size: int) -> list[float]:
    """Return the timings of one kind, in ms and in the order in which they were taken."""
    return [s.ms for s in samples if (s.side, s.operation, s.size) == (side, operation, size)]


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return how many times theirs ours is.

    Raises:
        statistics.StatisticsError: one of them has no samples.
    """
    return median(ours) / median(theirs)


def in_turn(sides: Sequence[T], run: int) -> list[T]:
    """Return the sides in the order of a run: every other run begins with the last."""
    return list(reversed(sides)) if run % 2 else list(sides)
