"""What is measured of leasing addresses, and the goals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

OPERATION_GOAL_US = 20.0
"""The most that leasing or releasing an address may take in process, whatever is leased."""

MEMORY_GOAL_MIB = 200.0
"""The most that a million leases may make the process larger by."""


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
