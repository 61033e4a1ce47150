"""Whether somebody undoes again and again what is put back."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

REST_S = 3.0
"""A longer pause: while others change things of their own at every look, or somebody fights us.

With the mend of a busy host behind it, a heal still takes below 5 s.
"""
_AFTER = 5  # heals within _WITHIN_S
_WITHIN_S = 30.0


@dataclass(slots=True)
class Fights:
    """Counts heals; `warning` is what is logged when a fight begins."""

    warning: str
    _heals_s: deque[float] = field(default_factory=lambda: deque(maxlen=_AFTER))
    _is_on: bool = False

    def note_heal(self, now_s: float) -> None:
        """Note that something was put back."""
        self._heals_s.append(now_s)

    def is_on(self, now_s: float) -> bool:
        """Return whether somebody goes on and on; warn when it begins."""
        recent = [at_s for at_s in self._heals_s if now_s - at_s < _WITHIN_S]
        was_on, self._is_on = self._is_on, len(recent) == _AFTER
        if self._is_on and not was_on:
            log.warning(self.warning, extra={"every_s": REST_S})
        return self._is_on
