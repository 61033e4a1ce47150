"""Addresses that rest after their release; kept in memory only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from netplug.model import IPAddress, PoolId

_Place = tuple[PoolId, IPAddress]


@dataclass(slots=True)
class Cooldown:
    """Which addresses rest, each for `duration_s` since its last release; 0 is not at all."""

    duration_s: float
    _ends_s: dict[_Place, float] = field(default_factory=dict)
    _queue: deque[tuple[float, _Place]] = field(default_factory=deque)

    def begin(self, pool_id: PoolId, address: IPAddress, now_s: float) -> None:
        """Let an address rest from now on."""
        place = (pool_id, address)
        self._ends_s[place] = now_s + self.duration_s
        self._queue.append((self._ends_s[place], place))

    def over(self, now_s: float) -> dict[PoolId, list[IPAddress]]:
        """Return the addresses that have rested enough, once; the cost is theirs only."""
        rested: dict[PoolId, list[IPAddress]] = {}
        while self._queue and self._queue[0][0] <= now_s:
            end_s, place = self._queue.popleft()
            if self._ends_s.get(place) == end_s:  # else it was leased and released again
                del self._ends_s[place]
                rested.setdefault(place[0], []).append(place[1])
        return rested
