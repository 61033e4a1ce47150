"""Put the packet filter back within seconds after somebody else cleared it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from netplug.clock import Clock
from netplug.errors import PynetError
from netplug.service.fights import REST_S, Fights
from netplug.service.reconcile import Reconciler

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How long rules may be off before the next look."""

_FOUGHT = "somebody removes pynet's rules again and again; putting them back more slowly"
_BUSY_AFTER = 5  # looks in a row that found others' changes only


@dataclass(slots=True)
class RuleWatch:
    """Looks again and again; rests longer where looking or mending does not help."""

    reconciler: Reconciler
    clock: Clock
    _fruitless: int = 0
    _fights: Fights = field(default_factory=lambda: Fights(_FOUGHT))
    _has_failed: bool = False

    async def look(self) -> float:
        """Mend what is off; return how long to wait until the next look, in seconds."""
        try:
            report = await self.reconciler.mend_firewall()
        except PynetError as error:
            if not self._has_failed:
                log.warning("rules cannot be checked", extra={"reason": str(error)})
            self._has_failed = True
            return REST_S
        self._has_failed = False
        now_s = self.clock.monotonic_s()
        if report is None:
            self._fruitless = 0
        elif report.steps:
            self._fruitless = 0
            self._fights.note_heal(now_s)
        else:
            self._fruitless += 1
        is_busy = self._fruitless >= _BUSY_AFTER
        return REST_S if self._fights.is_on(now_s) or is_busy else LOOK_S
