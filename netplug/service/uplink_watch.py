"""Follow the links that networks stand on, and put back within seconds what is lost there."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from netplug.clock import Clock
from netplug.errors import PynetError
from netplug.service.fights import REST_S, Fights
from netplug.service.reconcile import Reconciler

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How long an uplink may be off before the next look."""

_FOUGHT = "somebody changes uplinks again and again; putting things back more slowly"


@dataclass(slots=True)
class UplinkWatch:
    """Looks again and again while networks have parents; rests longer where that does not help."""

    reconciler: Reconciler
    clock: Clock
    _fights: Fights = field(default_factory=lambda: Fights(_FOUGHT))
    _has_failed: bool = False

    async def look(self) -> float:
        """Mend what is off; return how long to wait until the next look, in seconds."""
        try:
            report = await self.reconciler.mend_uplinks()
        except PynetError as error:
            if not self._has_failed:
                log.warning("uplinks cannot be checked", extra={"reason": str(error)})
            self._has_failed = True
            return REST_S
        self._has_failed = False
        now_s = self.clock.monotonic_s()
        if report is not None and report.steps and not report.news:
            self._fights.note_heal(now_s)
        has_problems = report is not None and bool(report.problems)
        return REST_S if self._fights.is_on(now_s) or has_problems else LOOK_S
