"""What is measured of leasing addresses, and the goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import median, quantiles
from typing import Any

OPERATION_GOAL_US = 20.0
"""The most that leasing or releasing an address may take in process, whatever is leased."""

MEMORY_GOAL_MIB = 200.0
"""The most that a million leases may make the process larger by."""

RATE_GOALS = {1: 1000.0, 32: 3000.0}
"""The least addresses that pynet should give in a second to so many callers, whatever is leased."""


class Giver(StrEnum):
    """Who gives addresses."""

    PYNET = "pynet"
    HOST_LOCAL = "host-local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Giving:
    """One round of one giver, beside so many leases and for so many callers at once.

    `work_us` is the time of a processor that asking cost the program that asks, for each answer.
    """

    giver: Giver
    leases: int
    callers: int
    calls: int
    per_second: float
    median_us: float
    p99_us: float
    work_us: float

    @classmethod
    def of_json(cls, told: Mapping[str, Any], *, giver: Giver, leases: int, callers: int) -> Giving:
        """Return what a program told that asked."""
        took_us = told["took_us"]
        return cls(
            giver=giver,
            leases=leases,
            callers=callers,
            calls=len(took_us),
            per_second=len(took_us) / told["seconds"],
            median_us=median(took_us),
            p99_us=quantiles(took_us, n=100)[-1] if len(took_us) > 1 else took_us[0],
            work_us=told["work_s"] / len(took_us) * 1e6,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcess:
    """One pool at one size: microseconds an operation, a figure a run, and the memory of leases."""

    network: str
    leases: int
    lease_us: tuple[float, ...]
    release_us: tuple[float, ...]
    mib: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> InProcess:
        """Return what a process told."""
        lists = {key: tuple(told[key]) for key in ("lease_us", "release_us")}
        return cls(network=told["network"], leases=told["leases"], mib=told["mib"], **lists)
