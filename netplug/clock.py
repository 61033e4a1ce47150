"""The one place that reads time, so that everything else can be given it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """Return the present as an aware UTC datetime; it may jump when the host's clock is set."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The host's own clocks."""

    def now(self) -> datetime:
        """Return the present as an aware UTC datetime."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock

    def monotonic_s(self) -> float:
        """Return seconds since boot or so; never goes back."""
        return time.monotonic()
