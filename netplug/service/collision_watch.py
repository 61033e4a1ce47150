"""Tell of what comes to be in use where a network of ours is: a VPN that goes up, say."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from netplug.clock import Clock
from netplug.errors import PynetError
from netplug.service.fights import REST_S
from netplug.service.journal import Journal
from netplug.service.networks import Networks
from netplug.service.reached import Collision, collisions

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How long there may be a collision before it is seen, on a host with few networks."""

_RESTS = 50
_LONGEST_REST_S = 5.0
"""How many times as long as a look took is the rest after it: beside 4000 networks it takes some
20 ms. What a busy machine makes of it is no reason to rest for long."""


@dataclass(slots=True)
class CollisionWatch:
    """Looks again and again. What is seen twice is told once, and so is its end."""

    networks: Networks
    journal: Journal
    clock: Clock
    _seen: frozenset[str] = frozenset()
    _told: Mapping[str, Collision] = field(default_factory=lambda: MappingProxyType({}))
    _has_failed: bool = False

    async def found(self) -> list[Collision]:
        """Return what collides now.

        Raises:
            KernelRefused: what the host reaches cannot be listed.
        """
        networks = self.networks
        if not networks.state.view.networks:
            return []
        reached = await networks.kernel.reached((4, 6))
        view = networks.state.view
        return collisions(view, reached | view.beside_us, networks.drivers)

    async def look(self) -> float:
        """Tell what is new and what is over; return how long to wait until the next look."""
        began_s = self.clock.monotonic_s()
        try:
            now = {c.text: c for c in await self.found()}
        except PynetError as error:
            if not self._has_failed:
                log.warning("collisions cannot be looked for", extra={"reason": str(error)})
            self._has_failed = True
            return REST_S
        self._has_failed = False
        self._tell(now)
        rest_s = _RESTS * (self.clock.monotonic_s() - began_s)
        return min(max(LOOK_S, rest_s), _LONGEST_REST_S)

    def _tell(self, now: Mapping[str, Collision]) -> None:
        lasting = {text: c for text, c in now.items() if text in self._seen or text in self._told}
        for text in lasting.keys() - self._told.keys():
            self.journal.note("collision", text, network=lasting[text].network.id)
        for text in self._told.keys() - lasting.keys():
            self.journal.note("collision", f"over: {text}", network=self._told[text].network.id)
        self._seen, self._told = frozenset(now), lasting
