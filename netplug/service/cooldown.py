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
    _ends_s: dict[PoolId, dict[IPAddress, float]] = field(default_factory=dict)
    _queue: deque[tuple[float, _Place]] = field(default_factory=deque)

    def begin(self, pool_id: PoolId, address: IPAddress, now_s: float) -> None:
        """Let an address rest from now on."""
        end_s = now_s + self.duration_s
        self._ends_s.setdefault(pool_id, {})[address] = end_s
        self._queue.append((end_s, (pool_id, address)))

    def forget(self, pool_id: PoolId) -> None:
        """Let no address of a pool rest that is gone: one that is called so later is another."""
        self._ends_s.pop(pool_id, None)

    def rests(self, pool_id: PoolId, address: IPAddress) -> bool:
        """Return whether an address rests, or has rested enough and was not returned as such."""
        return address in self._ends_s.get(pool_id, ())

    def over(self, now_s: float) -> dict[PoolId, list[IPAddress]]:
        """Return the addresses that have rested enough, once; the cost is theirs only."""
        rested: dict[PoolId, list[IPAddress]] = {}
        while self._queue and self._queue[0][0] <= now_s:
            end_s, (pool_id, address) = self._queue.popleft()
            ends_s = self._ends_s.get(pool_id, {})
            if ends_s.get(address) == end_s:  # else it was leased and released again
                del ends_s[address]
                rested.setdefault(pool_id, []).append(address)
        return rested
